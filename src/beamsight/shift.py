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

from beamsight.state import FAINT, GRID, STATE, share_of

Floats = NDArray[np.float64]

_NAMED = {
    "noise": "the noise from pixel to pixel",
    "light": "the light, in units of its noise",
    "trusted": "the share of trusted pixels",
    "empty": "the share of empty pixels",
    "same": "the share of pixels that read the same as their neighbour",
    "ripple": "how sharply the light changes",
}
_CAUSES = {
    "noise": "look at the gain, the exposure and the beam",
    "light": "look at the beam, the sample's jet and the background",
    "trusted": "look at the mask",
    "empty": "look at the beam and at dead panels",
    "same": "look at dead panels and the beam",
    "ripple": "look at rings of ice or powder, and at shadows",
}
FIRST, LAST = 64, 48  # frames that tell what a run is like at its start, and that tell what it is like now
ENOUGH = 24  # frames before anything is said
# Of the frames that are compared, the share that lies below the one that stands for them: the middle one, but of rings, which
# some shots show and others do not, a higher one.
MIDDLE, OFTEN = 0.5, 0.7
COMMON = 0.02  # of runs lie below, and as many above, what is common
LEAST = 0.02  # no drift and no spread is taken for less
ENDLESS = 1e3  # the score of what was seen and no longer is
FALSE_ALARMS = 0.01  # of normal runs may raise one


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
        return f"{_NAMED[number]}, went from {FAINT * math.sinh(before):.2g} to {FAINT * math.sinh(now):.2g}"
    if number in ("trusted", "empty", "same"):
        return f"{_NAMED[number]} went from {share_of(before):.1%} to {share_of(now):.1%}"
    if number == "ripple":
        return f"{_NAMED[number]} over some pixels is {math.exp((now - before) / 2):.3g} times what it was"
    where = number.removeprefix("part ").split(",")
    went = "a dead part" if math.isnan(now) else f"{now - before:+.2g}"
    return f"the light of the part in row {where[0]} and column {where[1]} of {GRID} x {GRID} changed against the rest ({went})"


def _causes(number: str) -> str:
    return _CAUSES.get(number, "look at shadows, ice, the mask and dead panels")


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
        before, now = (float(_usual(part)[worst]) for part in (np.array(self.first), seen[-LAST:]))
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
    """[F] how far what is usual in frames `last` [n F] lies from that in `first` [m F], in standard errors to which what drifts
    in normal runs, `drift` [F], is added. What was seen and no longer is, or the other way round, has changed without limit."""
    return np.asarray(_scores(first, _usual(last)[None], _known(last)[None], drift)[0])


def _scores(first: Floats, now: Floats, frames: NDArray[np.int64], drift: Floats) -> Floats:
    """`changed` [k F] for what is usual `now` [k F] in so many `frames` [k F]."""
    before = _usual(first)
    spread = np.maximum(1.4826 * _lower(np.abs(first - before), MIDDLE), LEAST)
    error = 1.2533 * spread * np.sqrt(1 / np.maximum(_known(first), 1) + 1 / np.maximum(frames, 1))
    scores = np.abs(now - before) / np.hypot(error, drift)
    known = np.where(np.isnan(scores), np.inf, scores)
    return np.asarray(np.where(np.isnan(before) & np.isnan(now), 0.0, known))


def _course(first: Floats, later: Floats, drift: Floats) -> Floats:
    """`changed` [n F] after each of the frames `later` [n F], of that one and what came before it, LAST at most."""
    ahead = np.concatenate([np.full((LAST - 1, later.shape[1]), np.nan), later])
    last = np.moveaxis(sliding_window_view(ahead, LAST, 0), 2, 0)
    return _scores(first, _usual(last), _known(last), drift)


def _known(frames: Floats) -> NDArray[np.int64]:
    """[... F] in how many of the frames [n ... F] each number is known."""
    return np.asarray((~np.isnan(frames)).sum(0))


def normal_of(runs: Sequence[Floats], false_alarms: float = FALSE_ALARMS) -> dict[str, Any]:
    """What the card says of normal runs, from what their frames are like ([n F] a run, of FIRST + LAST frames or more): how much
    each number drifts, by what its scores are measured, the score that so many of them exceed, and where runs lie and how
    widely."""
    moved = np.array([_usual(run[-LAST:]) - _usual(run[:FIRST]) for run in runs])
    # Nine in ten runs drift less than 1.645 of what is taken for a standard deviation: single wild runs do not make it wide.
    drift = np.maximum(np.nanquantile(np.abs(moved), 0.9, axis=0) / 1.645, LEAST)
    middles = np.array([_usual(run[:FIRST]) for run in runs])
    # Counters are empty or full, masks know all or nothing: where runs lie is told by their range, not by their middle.
    low, high = np.nanquantile(middles, (COMMON, 1 - COMMON), axis=0)
    centre, spread = (low + high) / 2, np.maximum((high - low) / 2, LEAST)
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
    return np.asarray(np.abs(_usual(first) - np.asarray(normal["centre"])) / np.asarray(normal["spread"]))


def _usual(frames: Floats) -> Floats:
    """What stands for frames [n ... F]: [... F], of each number the median of what is known, or what is often exceeded."""
    return _lower(frames, np.array([OFTEN if name == "ripple" else MIDDLE for name in STATE]))


def _lower(frames: Floats, share: float | Floats) -> Floats:
    """[... F] the values [n ... F] below which that share of what is known lies; NaN where nothing is."""
    ordered, known = np.sort(frames, 0), _known(frames)[None]
    at = np.maximum(known - 1, 0) * share
    low, high = (np.take_along_axis(ordered, np.asarray(n, np.int64), 0)[0] for n in (np.floor(at), np.ceil(at)))
    return np.asarray((low + high) / 2)
