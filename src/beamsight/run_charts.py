"""The charts of a run's page: answers along the run, how sure they are, and how the run changes."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from beamsight.answer import UNSURE
from beamsight.charts import Box, Chart, Shape, bar, frame_ticks, joined, round_up, stairs

BOX = Box(width=520, height=230, left=52, right=28)
# Odds of four bars a decade; what is less likely than one in a thousand, or more than 999, stands at the ends.
DECADES, A_DECADE = 3, 4
TOLD = (0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999)
CEILING = 5.0  # of scores that are drawn
STYLES = ("s0", "s1", "s2", "s3")  # of names from what is looked for towards its absence


def styles(names: Sequence[str]) -> dict[str, str]:
    """The class by which each answer is drawn."""
    found = {name: STYLES[min(i, len(STYLES) - 1)] for i, name in enumerate(reversed(names[1:]))}
    return found | {UNSURE: "su", names[0]: "sm"}


def hit_chart(bins: NDArray[np.int64], names: Sequence[str], size: int, frames: int) -> Chart:
    """Shares of the answers [B names and UNSURE] in every `size` frames, one upon the other; what is left is the first name."""
    answered = np.maximum(bins.sum(1), 1)
    order = [*reversed(range(1, len(names))), len(names)]
    heights = np.cumsum([bins[:, i] / answered for i in order], 0)
    top = round_up(float(heights.max(initial=0)))
    edges = [BOX.x(min(1.0, i * size / max(1, frames))) for i in range(len(bins) + 1)]
    drawn = styles(names)
    shapes, below = [], np.zeros(len(bins))
    for i, upper in zip(order, heights, strict=True):
        name = (*names, UNSURE)[i]
        low, high = ([BOX.y(v / top) for v in part] for part in (below, upper))
        points = [*stairs(edges, high), *reversed(stairs(edges, low))]
        if bins[:, i].any():
            shapes.append(Shape("polygon", drawn[name], joined(points), f"{name}: {bins[:, i].sum():,} frames"))
        below = upper
    ticks = [(BOX.y(n / 5), f"{100 * top * n / 5:g} %") for n in range(6)]
    what = f"Shares of answers along the run, of {size:,} frames at a time; above all of them: {names[0]}."
    legend = [(drawn[n], n) for n in ((*names, UNSURE)[i] for i in order)] + [("sm", f"{names[0]}: the rest")]
    return Chart("Answers along the run", what, "frame", frame_ticks(frames, BOX), ticks, shapes, legend, BOX)


def chance_chart(chances: NDArray[np.int64], name: str, sure: float) -> Chart:
    """Frames by the probability of `name` [STEPS + 1], on scales of log odds and log numbers; shaded where unsure ones lie."""
    steps = len(chances) - 1
    limits = [1 / (1 + 10 ** -(k / A_DECADE)) for k in range(-DECADES * A_DECADE, DECADES * A_DECADE + 1)]
    numbers = [int(chances[a:b].sum()) for a, b in pairwise([0, *(math.ceil(steps * p - 1e-9) for p in limits), steps + 1])]
    decades = max(1, math.ceil(math.log10(max(numbers, default=1) + 1)))
    tall = [BOX.y(_log(n) / decades) for n in numbers]
    bars = [
        bar("s0", _place(i) + 0.5, _place(i + 1) - 0.5, BOX.y(0), tall[i], f"{n:,} frames {_told(i, limits)}")
        for i, n in enumerate(numbers)
        if n
    ]
    zone = bar(
        "zone", _odds(1 - sure), _odds(sure), BOX.y(0), BOX.y(1), f"what is unsure lies between {1 - sure:.4g} and {sure:.4g}"
    )
    ticks = [(BOX.y(0), "0"), *((BOX.y(_log(10**n) / decades), f"{10**n:,}") for n in range(decades + 1))]
    what = f"Frames by the probability of {name}. What is unsure lies between {1 - sure:.4g} and {sure:.4g}."
    legend = [("s0", "frames"), ("zone", "what is unsure lies here")]
    x_ticks = [(_odds(p), f"{p:g}") for p in TOLD]
    return Chart(f"Probability of {name}", what, f"probability of {name}", x_ticks, ticks, [zone, *bars], legend, BOX)


def change_chart(scores: NDArray[np.float64], size: int, frames: int) -> Chart:
    """How much the run has changed, [B] the highest in each bin, of what raises an alarm."""
    known = np.minimum(np.nan_to_num(scores, nan=0.0, posinf=CEILING), CEILING)
    top = next((v for v in (1.5, 2.0) if known.max(initial=0) < v), CEILING)
    middles = [BOX.x(min(1.0, (i + 0.5) * size / max(1, frames))) for i in range(len(scores))]
    points = [(x, BOX.y(v / top)) for x, v in zip(middles, known, strict=True)]
    lines = [Shape("polyline", "score", joined(points[a:b] if b - a > 1 else points[a:b] * 2)) for a, b in _known(scores)]
    limit = Shape("polyline", "limit", joined([(BOX.x(v), BOX.y(1 / top)) for v in (0, 1)]), "what raises an alarm")
    ticks = [(BOX.y(v / top), f"{v:g}") for v in np.arange(0, top + 0.01, 0.5 if top <= 2 else 1)]
    what = f"How much the run has changed since its start, of what raises an alarm (1); the highest of {size:,} frames at a time."
    legend = [("score", "change since the start"), ("limit", "raises the alarm")]
    return Chart("Has the run changed?", what, "frame", frame_ticks(frames, BOX), ticks, [limit, *lines], legend, BOX)


def _log(number: int) -> float:
    return math.log10(number + 1)


def _odds(p: float) -> float:
    """Where in px a probability lies between its two ends."""
    at = (math.log10(p / (1 - p)) + DECADES) * A_DECADE if 0 < p < 1 else math.inf * (p - 0.5)
    return _place(min(max(at, -1), 2 * DECADES * A_DECADE + 1) + 1)


def _place(at: float) -> float:
    return BOX.x(at / (2 * DECADES * A_DECADE + 2))


def _told(at: int, limits: Sequence[float]) -> str:
    if at == 0:
        return f"below {limits[0]:.3g}"
    return f"from {limits[at - 1]:.3g}" + (f" to {limits[at]:.3g}" if at < len(limits) else "")


def _known(scores: NDArray[np.float64]) -> Iterator[tuple[int, int]]:
    """The runs of bins of which something is known, as first and last + 1."""
    known = np.concatenate([[False], ~np.isnan(scores), [False]])
    yield from zip(*(map(int, np.flatnonzero(part)) for part in (known[1:] & ~known[:-1], ~known[1:] & known[:-1])), strict=True)
