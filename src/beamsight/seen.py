"""A frame's picture on a page, with the tiles marked where the answer says that something lies."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from beamsight.answer import TILE_PX, Answer
from beamsight.display import data_url, shape_of

MOST_TILES = 400  # are drawn, the likeliest


@dataclass(frozen=True)
class Seen:
    """A picture as a data URL ("" where there is none); the pixels [height width] that it shows, and `tiles` on them as the path
    of an SVG ("" where none are marked), with what is said of them."""

    url: str
    height: int = 0
    width: int = 0
    tiles: str = ""
    told: str = ""


def seen(path: Path, answer: Answer) -> Seen:
    """The picture kept at `path` of the frame that was answered."""
    try:
        data = path.read_bytes()
    except OSError:
        return Seen("")
    shape = shape_of(data) if answer.places else None
    if shape is None or not answer.places:
        return Seen(data_url(data))
    likely = sorted(answer.places, key=lambda place: -place[2])[:MOST_TILES]
    left_out = f", the likeliest {len(likely)} of them drawn" if len(likely) < len(answer.places) else ""
    told = f"{len(answer.places):,} of its parts of {TILE_PX} x {TILE_PX} px are marked{left_out}"
    return Seen(data_url(data), *shape, outline([(y, x) for y, x, _ in likely], shape), told)


def outline(tiles: Sequence[tuple[int, int]], shape: tuple[int, int]) -> str:
    """The path of an SVG around tiles (row, column), those beside each other in a row as one, within an image of `shape` px."""
    height, width = shape
    parts = []
    for row, first, end in _joined(sorted(set(tiles))):
        y, x = row * TILE_PX, first * TILE_PX
        bottom, right = min(height, y + TILE_PX), min(width, end * TILE_PX)
        if bottom > y and right > x:
            parts.append(f"M{x} {y}H{right}V{bottom}H{x}Z")
    return "".join(parts)


def _joined(tiles: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """(row, first column, last + 1) of tiles in order."""
    breaks = [0, *(i for i, ((a, b), (c, d)) in enumerate(pairwise(tiles), 1) if (a, b + 1) != (c, d)), len(tiles)]
    return [(tiles[a][0], tiles[a][1], tiles[b - 1][1] + 1) for a, b in pairwise(breaks) if b > a]
