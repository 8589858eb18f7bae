"""Does a run still look like what it began as, and like what the model knows? Numbers of each frame, watched over time.

A model is right about frames like those that it was taught and calibrated on. Whoever halves a gain, loses the beam or loads
another mask makes other frames, and no probability tells. So some numbers of every frame are kept: how they differ from those of
the runs that the model was calibrated on, and how they change along a run, is compared with what happens in normal runs.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from beamsight.frame import Frame

Floats = NDArray[np.float64]

GRID = 4  # parts a side of which the level is known
LOOKED_AT = 128  # rows, and pixels of each, at most: a run changes in all of them
# What is known of a frame, and what it means where one of them changes.
STATE = ("noise", "light", "trusted", "empty", "top", *(f"part {y},{x}" for y in range(GRID) for x in range(GRID)))
_NAMED = {
    "noise": "the noise from pixel to pixel",
    "light": "the light, in units of its noise",
    "trusted": "the share of trusted pixels",
    "empty": "the share of empty pixels",
    "top": "the pixels at the highest count",
}
FIRST, LAST = 64, 48  # frames that tell what a run is like at its start, and that tell what it is like now
ENOUGH = 24  # frames before anything is said
COMMON = 0.02  # of runs lie below, and as many above, what is common
FEWEST = 1e-3  # no spread is taken for less
ENDLESS = 1e3  # the score of what was seen and no longer is
FALSE_ALARMS = 0.01  # of normal runs may raise one


def state_of(frame: Frame) -> Floats:
    """[len(STATE)] what a frame is like: log noise from pixel to pixel, its light in units of that (asinh), the share of pixels
    that are trusted and, of these, empty, log of the pixels at the highest count, and how the light of each part of it differs.

    Of evenly spaced rows and columns, at most 128 each; NaN in parts where nothing is trusted.
    """
    down, right = (max(1, n // LOOKED_AT) for n in frame.image.shape)
    image, beside = (frame.image[::down, first::right] for first in (0, 1))
    mask, there = (frame.mask[::down, first::right] for first in (0, 1))
    mask = mask & np.isfinite(image)
    n = beside.shape[1]
    steps = np.abs(beside - image[:, :n])[mask[:, :n] & there & np.isfinite(beside)]
    noise = max(_noise(steps), 1e-6)
    values = image[mask]
    if not values.size:
        return np.full(len(STATE), np.nan)
    level = math.asinh(float(_middle(values)) / noise)
    top = math.log1p(float((values >= values.max()).sum())) if values.max() > 0 else 0.0
    whole = [math.log(noise), level, float(mask.mean()), float((values == 0).mean()), top]
    return np.array(whole + [part - level for part in _parts(image, mask, noise)])


def _noise(steps: NDArray[np.float32]) -> float:
    """The mean step from pixel to pixel, edges and spots cut; of sparse counts most steps are none, and only the others tell
    where to cut."""
    some = steps[steps > 0]
    return float(np.mean(np.minimum(steps, 4 * np.median(some)))) if some.size else 0.0


def _parts(image: NDArray[np.float32], mask: NDArray[np.bool_], noise: float) -> list[float]:
    rows, columns = (np.linspace(0, n, GRID + 1).astype(int) for n in image.shape)
    cells = [(slice(*rows[y : y + 2]), slice(*columns[x : x + 2])) for y in range(GRID) for x in range(GRID)]
    return [math.asinh(_middle(image[c][mask[c]]) / noise) if mask[c].any() else math.nan for c in cells]


def _middle(values: NDArray[np.float32]) -> float:
    """The mean without the brightest and darkest twentieth, which spots and bad pixels are among."""
    ordered = np.sort(values)
    cut = len(ordered) // 20
    return float(ordered[cut : len(ordered) - cut].mean())


@dataclass(frozen=True)
class Alarm:
    """Said once a run: after `frames` frames, which number changed and how, `score` times what normal runs do, in `words`."""

    frames: int
    number: str
    before: float
    now: float
    score: float

    @property
    def words(self) -> str:
        """In plain words what changed."""
        return f"after {self.frames:,} frames {_told(self.number, self.before, self.now)}; {_causes(self.number)}"


def _told(number: str, before: float, now: float) -> str:
    if number == "noise":
        return f"{_NAMED[number]} is {math.exp(now - before):.2g} times what it was"
    if number == "light":
        return f"{_NAMED[number]}, went from {math.sinh(before):.2g} to {math.sinh(now):.2g}"
    if number in ("trusted", "empty"):
        return f"{_NAMED[number]} went from {before:.1%} to {now:.1%}"
    if number == "top":
        return f"{_NAMED[number]} went from {math.expm1(before):.0f} to {math.expm1(now):.0f} of those looked at"
    where = number.removeprefix("part ").split(",")
    went = "a dead part" if math.isnan(now) else f"{now - before:+.2g}"
    return f"the light of the part in row {where[0]} and column {where[1]} of {GRID} x {GRID} changed against the rest ({went})"


def _causes(number: str) -> str:
    causes = {
        "noise": "look at the gain, the exposure and the beam",
        "light": "look at the beam, the sample's jet and the background",
        "trusted": "look at the mask",
        "empty": "look at the beam and at dead panels",
        "top": "look at saturation and stuck pixels",
    }
    return causes.get(number, "look at shadows, ice, the mask and dead panels")


@dataclass
class Watch:
    """Follows a run: `add` what each frame is like; `normal` is what the model's card says of normal runs (`normal_of`)."""

    normal: Mapping[str, Any]
    first: list[Floats] = field(default_factory=list)
    last: list[Floats] = field(default_factory=list)
    frames: int = 0
    alarm: Alarm | None = None

    def add(self, state: Floats) -> Alarm | None:
        """The Alarm that this frame raises; None where it raises none, or one was raised before."""
        before = self.alarm
        self.follow(state[None])
        return self.alarm if before is None else None

    def follow(self, states: Floats) -> Floats:
        """[n] after each of further frames [n F]: how much the run has changed, of what is enough for an alarm (1); NaN before
        there are enough frames. As to `add` one after the other, in a tenth of the time."""
        new = states[max(0, FIRST - len(self.first)) :]
        self.first += list(states[: len(states) - len(new)])
        told = np.full(len(states), np.nan)
        if len(new):
            seen = np.array([*self.last, *new])
            scores = _course(np.array(self.first), seen, np.asarray(self.normal["drift"]))[len(self.last) :]
            scores = scores / np.asarray(self.normal["scale"])
            told[-len(new) :] = scores.max(1) / self.normal["limit"]
            told[-len(new) :][len(self.last) + np.arange(1, len(new) + 1) < ENOUGH] = np.nan
            over = np.flatnonzero(told > 1)
            if self.alarm is None and over.size:
                at = int(over[0])
                back = at - len(told)
                self._raise(at, float(told[at]), scores[back], seen[: len(seen) + back + 1])
            self.last = list(seen[-LAST:])
        self.frames += len(states)
        return told

    def _raise(self, at: int, score: float, scores: Floats, seen: Floats) -> None:
        worst = int(np.argmax(scores))
        before, now = (float(_median(part)[worst]) for part in (np.array(self.first), seen[-LAST:]))
        self.alarm = Alarm(self.frames + at + 1, STATE[worst], before, now, score)

    @property
    def distance(self) -> float:
        """How far the run's start lies from the runs that the model was calibrated on, in half their range: the number that is
        furthest off; above 1 further than all but a hundredth of them. NaN before there are enough frames."""
        return self._furthest()[1]

    @property
    def strangest(self) -> str:
        """The number by which the run's start is furthest from those runs, in words; empty before there are enough frames."""
        number = self._furthest()[0]
        place = number.replace("part ", "part in row ").replace(",", " and column ")
        return _NAMED.get(number, f"the light of the {place}") if number else ""

    def _furthest(self) -> tuple[str, float]:
        off = _off(np.array(self.first), self.normal) if len(self.first) >= ENOUGH else np.array([math.nan])
        if np.isnan(off).all():
            return "", math.nan
        return STATE[int(np.nanargmax(off))], float(np.nanmax(off) / self.normal["far"])


def changed(first: Floats, last: Floats, drift: Floats) -> Floats:
    """[F] how far the median of frames `last` [n F] lies from that of `first` [m F], in standard errors to which what drifts in
    normal runs, `drift` [F], is added. What was seen and no longer is, or the other way round, has changed without limit."""
    return np.asarray(_scores(first, _median(last)[None], np.array([len(last)]), drift)[0])


def _scores(first: Floats, now: Floats, frames: NDArray[np.int64], drift: Floats) -> Floats:
    """`changed` [k F] for medians `now` [k F] of so many `frames` [k]."""
    before = _median(first)
    spread = np.maximum(1.4826 * _median(np.abs(first - before)), FEWEST)
    error = 1.2533 * spread * np.sqrt(1 / len(first) + 1 / frames)[:, None]
    scores = np.abs(now - before) / np.hypot(error, drift)
    known = np.where(np.isnan(scores), np.inf, scores)
    return np.asarray(np.where(np.isnan(before) & np.isnan(now), 0.0, known))


def _course(first: Floats, later: Floats, drift: Floats) -> Floats:
    """`changed` [n F] after each of the frames `later` [n F], of that one and what came before it, LAST at most."""
    ahead = np.concatenate([np.full((LAST - 1, later.shape[1]), np.nan), later])
    frames = np.minimum(np.arange(1, len(later) + 1), LAST)
    return _scores(first, _median(np.moveaxis(sliding_window_view(ahead, LAST, 0), 2, 0)), frames, drift)


def normal_of(runs: Sequence[Floats], false_alarms: float = FALSE_ALARMS) -> dict[str, Any]:
    """What the card says of normal runs, from what their frames are like ([n F] a run, of FIRST + LAST frames or more): how much
    each number drifts, by what its scores are measured, the score that so many of them exceed, and where runs lie and how
    widely."""
    moved = np.array([_median(run[-LAST:]) - _median(run[:FIRST]) for run in runs])
    # Nine in ten runs drift less than 1.645 of what is taken for a standard deviation: single wild runs do not make it wide.
    drift = np.maximum(np.nanquantile(np.abs(moved), 0.9, axis=0) / 1.645, FEWEST)
    middles = np.array([_median(run[:FIRST]) for run in runs])
    # Counters are empty or full, masks know all or nothing: where runs lie is told by their range, not by their middle.
    low, high = np.nanquantile(middles, (COMMON, 1 - COMMON), axis=0)
    centre, spread = (low + high) / 2, np.maximum((high - low) / 2, FEWEST)
    # Some numbers have their wild runs and others never: each is measured by what one in twenty runs exceeds.
    highest = np.array([_highest(run, drift) for run in runs])
    scale = np.maximum(np.quantile(highest, 0.95, axis=0), 1.0)
    scores = (highest / scale).max(1)
    normal = {"drift": drift.tolist(), "scale": scale.tolist(), "centre": centre.tolist(), "spread": spread.tolist()}
    far = [float(np.nanmax(_off(run[:FIRST], normal))) for run in runs]
    # Of few runs the highest is hardly what a hundredth exceeds: a half more.
    margin = 1 + 50 / len(runs) * false_alarms
    return normal | {
        "limit": float(np.quantile(scores, 1 - false_alarms)) * margin,
        "far": float(np.quantile(far, 0.99)),
        "runs": len(runs),
    }


def _highest(run: Floats, drift: Floats) -> Floats:
    """[F] the highest score of each number that a watch comes across in a run."""
    return np.asarray(np.minimum(_course(run[:FIRST], run[FIRST:], drift)[ENOUGH - 1 :].max(0), ENDLESS))


def _off(first: Floats, normal: Mapping[str, Any]) -> Floats:
    return np.asarray(np.abs(_median(first) - np.asarray(normal["centre"])) / np.asarray(normal["spread"]))


def _median(frames: Floats) -> Floats:
    """The median [... F] over frames [n ... F] of what is known; NaN where nothing is."""
    ordered, known = np.sort(frames, 0), (~np.isnan(frames)).sum(0)[None]
    middle = (np.maximum(known - 1, 0) // 2, np.minimum(known // 2, len(frames) - 1))
    low, high = (np.take_along_axis(ordered, at, 0)[0] for at in middle)
    return np.asarray((low + high) / 2)
