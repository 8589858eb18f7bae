"""What a run's page says of hits: how many along the run, how many were missed, what to look at, whether the run has changed.

Of models that name one of several and may be unsure. The last name is what is looked for ("hit"), the first its absence ("miss").
All is made of the record in one pass, in memory that does not grow with it.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beamsight.answer import UNSURE, Answer
from beamsight.answers import read_answers
from beamsight.chances import Expected, expected, wilson
from beamsight.display import data_url, picture, webp
from beamsight.marked import APART, LEAST, Marked, picture_path
from beamsight.powder import mean_of
from beamsight.run_charts import chance_chart, change_chart, hit_chart, styles
from beamsight.seen import Seen, seen
from beamsight.shift import ENOUGH, FIRST, Watch
from beamsight.state import STATE

BINS, FEWEST = 200, 25  # of a course at most, and frames in one at least
STEPS = 100_000  # of a probability that is told with five decimals
BLOCK = 1024  # states that are followed at once
POWDER_PX, POWDER_QUALITY = 448, 80


def is_run(about: dict[str, Any]) -> bool:
    """Whether `run.json` is of a model that may be unsure and whose frames come in runs: its card says what normal ones are
    like, or is too old to say."""
    return is_unsure(about) and about.get("normal", {}) is not None


def is_unsure(about: dict[str, Any]) -> bool:
    """Whether `run.json` is of a model that names one of several and may be unsure."""
    return about.get("kind") == "one_of" and about.get("sure") is not None


@dataclass
class Course:
    """What one pass over a record of `frames` lines gathers, G groups being the names and UNSURE.

    `bins` [B G] frames of each group in each of `size` frames; `chances` [G STEPS + 1] frames by the probability of the last
    name; `scores` [B] the highest of the watch in each bin (NaN: nothing known); `alarm_at` the frames after which it was raised.
    """

    names: Sequence[str]
    frames: int
    normal: dict[str, Any] | None = None
    marked: Marked = field(default_factory=Marked)
    compared: int = 0
    apart: int = 0
    saturated: int = 0
    assumed_centre: int = 0
    states: int = 0
    alarm_at: int | None = None

    def __post_init__(self) -> None:
        self.size = max(FEWEST, -(-self.frames // BINS))
        self.groups = {name: i for i, name in enumerate((*self.names, UNSURE))}
        count = -(-self.frames // self.size)
        self._bins = [[0] * len(self.groups) for _ in range(count)]
        self._chances = [[0] * (STEPS + 1) for _ in self.groups]
        self.scores = np.full(count, np.nan)
        self.watch = None if self.normal is None else Watch(self.normal)
        self._waiting: list[tuple[int, list[float | None]]] = []

    def add(self, number: int, answer: Answer) -> None:
        """Take line `number` of the record."""
        group = self.groups.get(answer.answer) if isinstance(answer.answer, str) else None
        if answer.error is not None or group is None:
            return
        self._bins[number // self.size][group] += 1
        self._chances[group][round(STEPS * min(1.0, max(0.0, answer.probability.get(self.names[-1], 0.0))))] += 1
        self.marked.add(number, answer)
        self._reasons(answer.reasons or {})
        if answer.state is not None and len(answer.state) == len(STATE):
            self.states += 1
            self._waiting.append((number, answer.state))
            if len(self._waiting) >= BLOCK:
                self.end()

    def _reasons(self, reasons: dict[str, Any]) -> None:
        self.compared += reasons.get("agree") is not None
        self.apart += reasons.get("agree") is False
        self.saturated += bool(reasons.get("saturated_px"))
        self.assumed_centre += bool(reasons.get("assumed_centre"))

    def end(self) -> None:
        """Follow the states that wait; the last call is after the last line."""
        if self.watch is not None and self._waiting:
            numbers = np.array([number for number, _ in self._waiting])
            before = self.watch.frames
            told = self.watch.follow(np.array([state for _, state in self._waiting], np.float64))
            np.fmax.at(self.scores, numbers // self.size, told)
            if self.watch.alarm is not None and self.alarm_at is None:
                self.alarm_at = int(numbers[self.watch.alarm.frames - before - 1]) + 1
        self._waiting = []

    @property
    def bins(self) -> NDArray[np.int64]:
        """See the class."""
        return np.array(self._bins, np.int64).reshape(-1, len(self.groups))

    @property
    def chances(self) -> NDArray[np.int64]:
        """See the class."""
        return np.array(self._chances, np.int64)


def course_of(folder: Path, about: dict[str, Any], frames: int) -> Course:
    """The Course of a record of so many lines."""
    course = Course(about["names"], frames, about.get("normal"))
    for number, answer in enumerate(read_answers(folder)):
        if number < frames:
            course.add(number, answer)
    course.end()
    return course


@dataclass(frozen=True)
class Share:
    """How many of the answered frames have one answer: a share, with its interval."""

    name: str
    count: int
    share: float
    low: float
    high: float


def shares(course: Course) -> list[Share]:
    """Of each group in the order in which the page tells them: what is looked for first."""
    counts = course.chances.sum(1)
    total = int(counts.sum())
    ordered = [*reversed(course.names[1:]), UNSURE, course.names[0]]
    numbers = [(name, int(counts[course.groups[name]])) for name in ordered]
    return [Share(name, n, n / max(1, total), *wilson(n, total)) for name, n in numbers]


def errors(course: Course) -> dict[str, Expected]:
    """How many frames answered with the last name are expected to be none (`false`), how many answered with the first are
    expected to be of the last (`missed`), and how many of the unsure are (`unsure`), by their calibrated probabilities."""
    chance, chances = np.arange(STEPS + 1) / STEPS, course.chances
    first, last, unsure = (course.groups[name] for name in (course.names[0], course.names[-1], UNSURE))
    return {
        "false": expected(1 - chance, chances[last]),
        "missed": expected(chance, chances[first]),
        "unsure": expected(chance, chances[unsure]),
    }


def verdict(course: Course) -> list[tuple[str, str]]:
    """(what: "calm", "alarm" or "unknown"; in words), first of changes along the run, then of how far it lies from those of the
    calibration."""
    if course.watch is None:
        return [("unknown", "No alarm can be raised: the model's card does not say what normal runs are like.")]
    if not course.states:
        return [("unknown", "No alarm can be raised: the record does not say what its frames are like.")]
    return [_changed(course, course.watch), _far(course.watch)]


def _changed(course: Course, watch: Watch) -> tuple[str, str]:
    if watch.alarm is not None:
        words = replace(watch.alarm, frames=course.alarm_at or watch.alarm.frames).words
        return "alarm", f"The run has changed: {words}. Answers from there on may be worse than stated."
    if watch.frames < FIRST + ENOUGH:
        return "unknown", f"Too short to tell whether it changes: {FIRST + ENOUGH} frames are needed, {watch.frames} are known."
    highest = np.nanmax(course.scores)
    return "calm", f"In {watch.frames:,} frames the run changed by at most {highest:.0%} of what raises one."


def _far(watch: Watch) -> tuple[str, str]:
    far, known = watch.distance, f"{watch.normal.get('runs', '')} runs of the calibration"
    if math.isnan(far):
        return "unknown", f"Too short to compare with the {known}: {ENOUGH} frames are needed."
    if far <= 1:
        return "calm", f"Its start is like the {known}: {far:.2f} of the distance that one in 100 of them exceeds."
    words = f"Its start is unlike the {known}: {far:.1f} times the distance that one in 100 of them exceeds"
    return "alarm", f"{words}; furthest off is {watch.strangest}. Its answers may be worse than stated."


@dataclass(frozen=True)
class Look:
    """A frame to look at: its line's number, its answer and its picture."""

    number: int
    answer: Answer
    picture: Seen


@dataclass(frozen=True)
class Sum:
    """The sum of hits: its mean as a data URL, how many are in it, {shape: hits of other shapes}, and how many are in none."""

    url: str
    frames: int
    others: dict[str, int]
    lost: int


def section_of(folder: Path, about: dict[str, Any], frames: int) -> dict[str, Any]:
    """What the template says of a run whose record has so many lines. Raises CannotWrite where its sum of hits is broken."""
    course = course_of(folder, about, frames)
    told, last = shares(course), course.names[-1]
    hits = next(share.count for share in told if share.name == last)
    charts = [
        hit_chart(course.bins, course.names, course.size, frames),
        chance_chart(course.chances.sum(0), last, about["sure"]),
    ]
    if course.watch is not None and not np.isnan(course.scores).all():
        charts.append(change_chart(course.scores, course.size, frames))
    return {
        "answered": sum(share.count for share in told),
        "shares": told,
        "styles": styles(course.names),
        "errors": errors(course),
        "rounding": 0.5 / STEPS,
        "charts": charts,
        "verdict": verdict(course),
        "course": course,
        "apart": _looks(folder, course, APART),
        "least": _looks(folder, course, LEAST),
        "powder": _powder(folder, hits),
        "hits": hits,
    }


def _looks(folder: Path, course: Course, name: str) -> list[Look]:
    kept = [(rank, number, answer) for rank, number, answer in course.marked.kept[name] if answer is not None]
    return [Look(number, answer, seen(picture_path(folder, name, rank, number), answer)) for rank, number, answer in kept]


def _powder(folder: Path, hits: int) -> Sum | None:
    mean = mean_of(folder, POWDER_PX)
    if mean is None:
        return None
    frame, frames, others = mean
    return Sum(data_url(webp(picture(frame), POWDER_QUALITY)), frames, others, max(0, hits - frames - sum(others.values())))
