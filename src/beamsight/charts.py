"""Charts as lists of points in px, which a page's template draws as SVG."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Box:
    """A chart's size and the margins around what it shows, px. Shares of its height count from below."""

    width: int = 440
    height: int = 230
    left: int = 44
    right: int = 14
    top: int = 10
    bottom: int = 40

    def x(self, share: float) -> float:
        """Where in px a share of the width lies."""
        return self.left + share * (self.width - self.left - self.right)

    def y(self, share: float) -> float:
        """Where in px a share of the height lies; what lies outside is drawn at the edge."""
        return self.top + (1 - min(1.0, max(0.0, share))) * (self.height - self.top - self.bottom)


@dataclass(frozen=True)
class Shape:
    """A line or a filled area: the class by which it is styled, its points as SVG has them, what is said of it."""

    tag: str
    style: str
    points: str
    title: str = ""


@dataclass(frozen=True)
class Chart:
    """A chart in words and shapes; ticks are (px, label), `legend` (style, words)."""

    title: str
    told: str
    x_name: str
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]
    shapes: Sequence[Shape]
    legend: Sequence[tuple[str, str]] = ()
    box: Box = field(default_factory=Box)


def joined(places: Iterable[tuple[float, float]]) -> str:
    """Points (x, y) as SVG takes them."""
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in places)


def bar(style: str, left: float, right: float, bottom: float, top: float, title: str) -> Shape:
    """A rectangle between those px."""
    return Shape("polygon", style, joined([(left, bottom), (left, top), (right, top), (right, bottom)]), title)


def stairs(edges: Sequence[float], heights: Sequence[float]) -> list[tuple[float, float]]:
    """The upper edge of bars beside each other, `edges` [n + 1] and `heights` [n] in px."""
    return [point for i, h in enumerate(heights) for point in ((edges[i], h), (edges[i + 1], h))]


def round_up(share: float) -> float:
    """The least of 1, 2, 5, 10 ... per mille that is not below a share of at most 1."""
    scales = [m * 10.0**e for e in (-3, -2, -1) for m in (1, 2, 5)]
    return next((scale for scale in scales if scale >= share), 1.0)


def frame_ticks(frames: int, box: Box) -> list[tuple[float, str]]:
    """Labels of some round numbers of frames along the width."""
    step = next(m * 10**e for e in range(19) for m in (1, 2, 5) if frames <= 6 * m * 10**e)
    return [(box.x(n / max(1, frames)), f"{n:,}") for n in range(0, frames + 1, step)]
