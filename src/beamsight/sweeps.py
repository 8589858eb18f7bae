"""What a model is made to stand: one number at a time, worse and worse, of the detector or of the picture it took."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_type_hints

from beamsight.detector import Detector
from beamsight.disturb import DISTURBANCES
from beamsight.errors import BeamsightError, CannotRead
from beamsight.task import Task, example


@dataclass(frozen=True)
class Sweep:
    """One number, `name`d as the field of Detector or the disturbance that it sets, at `values` from mild to bad.

    `title` and `axis` (with unit) for the page; `words` a phrase with a place for the value, in percent where it is a `share`;
    `beside` fields of the detector that are set at every value, so that the number means something; `control` a disturbance
    measured at the same values for comparison.
    """

    name: str
    title: str
    axis: str
    words: str
    values: tuple[float, ...]
    beside: Mapping[str, float] = field(default_factory=dict)
    control: str | None = None
    share: bool = False

    def told(self, value: float) -> str:
        """The value in words."""
        return self.words.format(f"{100 * value:g} %" if self.share else f"{value:g}")

    @property
    def of_picture(self) -> bool:
        """Whether the finished picture is disturbed, and not the detector that takes it."""
        return self.name in DISTURBANCES

    def changed(self, detector: Any, value: float) -> Any:
        """The detector at that value; itself where the picture is what is disturbed."""
        if self.of_picture:
            return detector
        return replace(detector, **{**self.beside, self.name: _kept(type(detector), self.name, value)})

    def fits(self, detector: Any) -> bool:
        """Whether there is such a number of that detector, or of its picture."""
        return self.of_picture or {self.name, *self.beside} <= {f.name for f in fields(detector)}


UNKNOWN_TO_MASK = {"defects_masked": 0}

# What every task is measured by; a task's own `sweeps` give other values or further numbers, and () leaves one out.
EVERY = (
    Sweep("exposure", "Exposure", "share of the light", "{} of the light", (1.0, 0.3, 0.1, 0.03, 0.01), share=True),
    Sweep("spread_px", "Spread of a point", "Gaussian sigma, px", "a spread of {} px", (0.0, 1.0, 2.0, 4.0, 6.0)),
    Sweep(
        "salt_pepper",
        "Salt and pepper",
        "share of pixels at 0 or 65,536 that the mask does not know",
        "{} of pixels at 0 or 65,536",
        (0.0, 0.005, 0.025, 0.05),
        UNKNOWN_TO_MASK,
        share=True,
    ),
    Sweep(
        "counting_k",
        "Counting noise",
        "k: pixel p drawn anew from a Poisson distribution of mean p / k",
        "counting noise of k = {}",
        (0.0, 3.0, 10.0, 30.0, 100.0),
    ),
    Sweep("read_noise_counts", "Read noise", "counts rms", "a read noise of {} counts", (0.0, 1.0, 5.0, 20.0)),
    Sweep(
        "gap",
        "Gaps between modules",
        "share of the frame's side, four modules a side",
        "gaps of {} of the side",
        (0.0, 0.005, 0.01, 0.02, 0.04),
        {"module_y": 0.25, "module_x": 0.25},
        share=True,
    ),
    Sweep(
        "turn_deg",
        "Rotation",
        "degrees about the middle of the frame",
        "a turn by {} degrees",
        (0.0, 5.0, 15.0, 30.0, 45.0, 90.0),
        control="cut_corners_deg",
    ),
    Sweep(
        "centre_off_px",
        "Misaligned centre",
        "px of a 256 px frame between the told centre and the true one",
        "a centre that is {} px off",
        (0.0, 1.0, 2.0, 5.0, 10.0),
    ),
    Sweep(
        "stop_size",
        "Size of a round beamstop",
        "radius, share of the frame's side",
        "a beamstop with a radius of {} of the side",
        (0.01, 0.02, 0.04, 0.08, 0.12),
        {"stop_kind": 1, "stop_arm": 0.0, "stop_transmission": 0.0},
        share=True,
    ),
    Sweep(
        "dead",
        "Dead pixels",
        "share of pixels at 0 that the mask does not know",
        "{} of pixels dead",
        (0.0, 0.001, 0.01, 0.05),
        UNKNOWN_TO_MASK,
        share=True,
    ),
    Sweep("background_ph", "Flat background", "photons a pixel", "a background of {} photons", (0.0, 1.0, 10.0, 100.0)),
)


@dataclass(frozen=True)
class Instrument:
    """Whose robustness is asked for: the `detector` of every frame (None: drawn anew for each, as in training) and the `sweeps`
    {name: values} (empty: the task's)."""

    detector: Detector | None = None
    sweeps: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def seen(self, task: Task) -> Task:
        """The task as this instrument sees it."""
        own = self.detector
        return task if own is None else replace(task, detector=lambda _: own)


def sweeps_of(task: Task, only: Mapping[str, Sequence[float]] | None = None) -> tuple[Sweep, ...]:
    """The sweeps of a task: those of EVERY that its detectors have, with the task's own values, and its further ones; or `only`
    {name: values}.

    The centre is left out where no scene has one. Raises BeamsightError for a name that is neither a number of the task's
    detectors nor a disturbance.
    """
    scene, detector = example(task, 0, 0)
    known = {sweep.name: sweep for sweep in EVERY if sweep.fits(detector)}
    asked = dict(only) if only else {n: s.values for n, s in known.items()} | dict(task.sweeps)
    if task.place(scene, task.shape).centre_px is None:
        asked.pop("centre_off_px", None)
    some = {name: tuple(map(float, values)) for name, values in asked.items() if values}
    return tuple(_sweep(name, values, known, type(detector)) for name, values in some.items())


def strengths_of(sweeps: Sequence[Sweep]) -> int:
    """How many pictures of each scene `robustness.answered` looks at."""
    return 1 + sum(len(s.values) * (1 + (s.control is not None)) for s in sweeps)


def _sweep(name: str, values: tuple[float, ...], known: Mapping[str, Sweep], kind: type[Any]) -> Sweep:
    _check(name, kind)
    if name in known:
        return replace(known[name], values=values)
    title = name.replace("_", " ")
    return Sweep(name, title.capitalize(), name, title + " of {}", values)


def read_instrument(path: Path) -> Instrument:
    """The Instrument of a JSON file: {"detector": {field: number}, "sweeps": {name: [mild, ..., bad]}}, either may be left out.

    Fields that are not named are those of a perfect detector. Raises CannotRead where there is no such file, BeamsightError
    where it says what cannot be.
    """
    try:
        said = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise CannotRead(f"{path}: no instrument could be read ({reason}); give a JSON file as the how-to page shows") from None
    if not isinstance(said, dict) or not said or set(said) - {"detector", "sweeps"}:
        raise BeamsightError(f'{path}: an instrument is {{"detector": {{...}}, "sweeps": {{...}}}}, either may be left out')
    detector, sweeps = said.get("detector"), said.get("sweeps", {})
    return Instrument(None if detector is None else _detector(path, detector), _values(path, sweeps))


def _detector(path: Path, said: Any) -> Detector:
    names = [f.name for f in fields(Detector)]
    numbers = isinstance(said, dict) and all(map(_number, said.values()))
    if not numbers:
        raise BeamsightError(f'{path}: "detector" must give a number for each field, as {{"spread_px": 0.5}}')
    for name in said:
        _known(name, names, f"{path}: a detector")
    return Detector(**{name: _kept(Detector, name, value) for name, value in said.items()})


def _values(path: Path, said: Any) -> dict[str, tuple[float, ...]]:
    if not isinstance(said, dict) or not all(isinstance(v, list) and len(v) > 1 and all(map(_number, v)) for v in said.values()):
        raise BeamsightError(f'{path}: "sweeps" must list at least two numbers for each name, as {{"spread_px": [0, 1, 2]}}')
    for name in said:
        _check(name)
    return {name: tuple(values) for name, values in said.items()}


def _check(name: str, kind: type[Any] = Detector) -> None:
    _known(name, [*(f.name for f in fields(kind)), *DISTURBANCES], "a sweep")


def _known(name: str, names: Sequence[str], of: str) -> None:
    if name not in names:
        close = get_close_matches(name, names, n=3, cutoff=0.4) or names
        raise BeamsightError(f"{of} has no number called {name!r}; did you mean {' or '.join(close)}?")


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _kept(kind: type[Any], name: str, value: float) -> Any:
    """The value in the type of that field: counts of pixels and yes-or-no fields are whole."""
    return get_type_hints(kind)[name](value)
