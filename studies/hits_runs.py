"""The runs of the study of hits: which are learnt from and which are asked, and the frames that each of them gives.

All are drawn with a seed of their own, and those that are asked have numbers of the test range: no shipped model was taught,
calibrated or scored on any of them.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from numpy.random import Generator, default_rng

from beamsight.examples import TEST, TRAINING
from beamsight.frame import Frame
from beamsight.modules import Modules
from beamsight.physics.columns import Columns
from beamsight.runs import DETECTORS, FRAMES_PER_RUN, Run, indices_of, run_of
from beamsight.shots import Shot, run_numbered, shot_of
from beamsight.taking import Taken, take
from beamsight.task import Task, columns, find_task, frames_of, make_batch

TASK = "xfel-hits"
SEED = 5
BLANK = 31  # a stream of random numbers, beside those of an example
# Two of the four with 16 megapixels stand for all of these.
TWELVE = tuple(name for name in DETECTORS if name not in ("JUNGFRAU 16M", "EIGER 16M"))
# How many of a run's shots meet a crystal, and how far the tenth spot of a typical one passes what is needed to be seen: so
# that a run has hits and misses enough to count.
MET, STRENGTH = (0.2, 0.8), 1.0
# What the model of the held-out tests never sees: detectors by their family, and beamlines by wavelength, light and pulses.
NEW_LAYOUTS = ("JUNGFRAU", "AGIPD", "EIGER", "EIGER2")
KNOWN_WAVELENGTHS_M, KNOWN_LEVEL_PH = (0.85e-10, 1.45e-10), 30.0
STEADY = 500.0  # shape of the pulse energies' distribution from which on it is a storage ring's
LARGE_PX, WINDOW = 5e6, (2048, 2048)  # frames above are half as many in a run, and of blanks that window is asked


def numbers_of(which: range) -> range:
    """The numbers of the runs whose examples lie in that range."""
    return range(run_of(which[0])[0], run_of(which[-1])[0] + 1)


def drawn(numbers: Iterable[int]) -> Iterator[Run]:
    """The runs of those numbers."""
    return (run_numbered(SEED, number) for number in numbers)


def countable(run: Run) -> bool:
    """Whether a run has hits and misses enough to count."""
    return MET[0] <= run.hit_fraction <= MET[1] and run.strength >= STRENGTH


def new_layout(run: Run) -> bool:
    """Whether the detector is of a family that the held-out model never saw."""
    return run.detector.split(" ")[0] in NEW_LAYOUTS


def strangeness(run: Run) -> int:
    """In how many of three ways a beamline is new to the held-out model: wavelength, background, pulses."""
    low, high = KNOWN_WAVELENGTHS_M
    return sum((not low <= run.wavelength_m <= high, run.level_ph > KNOWN_LEVEL_PH, run.shape > STEADY))


def firsts(wanted: Callable[[Run], bool], detectors: Sequence[str] = tuple(DETECTORS)) -> list[Run]:
    """The first run of the test range on each of these detectors that is countable and wanted, where there is one."""
    found: dict[str, Run] = {}
    for run in drawn(numbers_of(TEST)):
        if run.detector in detectors and countable(run) and wanted(run):
            found.setdefault(run.detector, run)
    return [found[name] for name in detectors if name in found]


def twelve() -> tuple[list[Run], list[Run]]:
    """Six runs to learn from and six that are new to who did: the first countable ones on twelve detectors, by turns."""
    every = firsts(lambda run: True, TWELVE)
    return every[::2], every[1::2]


def layouts(most_px: float = LARGE_PX) -> list[Run]:
    """Runs on detectors that the held-out model never saw, at beamlines like those that it did."""
    return [run for run in firsts(lambda run: new_layout(run) and not strangeness(run)) if pixels(run) <= most_px]


def beamlines(most_px: float = LARGE_PX) -> list[Run]:
    """Runs at beamlines that are new to the held-out model in two ways or three, on detectors that it knows."""
    return [run for run in firsts(lambda run: not new_layout(run) and strangeness(run) >= 2) if pixels(run) <= most_px]


def held_in() -> tuple[int, ...]:
    """The numbers of the runs that the held-out model learns from, of the training range."""
    first = numbers_of(TRAINING)[0]
    numbers = range(first, first + len(numbers_of(TEST)))
    return tuple(run.number for run in drawn(numbers) if not new_layout(run) and not strangeness(run))


def pixels(run: Run) -> int:
    """Of a stored frame."""
    height, width = run.layout().shape
    return height * width


@dataclass(frozen=True)
class Shots:
    """Any number of shots of the runs of those `numbers`, none of them one that is asked: what a task is drawn from."""

    numbers: tuple[int, ...]

    def draw(self, rng: Generator) -> Shot:
        """A shot of one of them, somewhere along it."""
        run = run_numbered(SEED, int(rng.choice(self.numbers)))
        return shot_of(run, int(rng.integers(FRAMES_PER_RUN)), rng)

    def take(self, shots: Columns, _: Any, shape: tuple[int, int], seeds: torch.Tensor) -> Taken:
        """`taking.take` with what the chips of each shot's own detector do."""
        modules = columns([run_numbered(SEED, number).modules for number in shots.run.flatten().tolist()])
        return take(shots, modules, shape, seeds)

    def task(self) -> Task:
        """The task of these runs alone."""
        return replace(find_task(TASK), draw=self.draw, detector=nothing_of_its_own, expose=self.take, run=None)


def nothing_of_its_own(_: Generator) -> Modules:
    """Stands where a task draws a detector for itself: here each comes with its run."""
    return Modules()


def frames_of_run(run: Run, n: int) -> Iterator[Frame]:
    """The first `n` frames of a run, whole; half as many of large detectors."""
    task, shape = find_task(TASK), run.layout().shape
    for index in indices_of(run.number)[: n if pixels(run) <= LARGE_PX else n // 2]:
        yield frames_of(task, SEED, make_batch(task, SEED, [index], shape))[0]


def blank(number: int) -> Frame:
    """A frame without crystal of run `number`: whole up to 5 megapixels, of larger detectors a window of 2048 x 2048."""
    run = run_numbered(SEED, number)
    shot = shot_of(replace(run, hit_fraction=0.0), number % FRAMES_PER_RUN, default_rng([SEED, number, BLANK]))
    shape = run.layout().shape if pixels(run) <= LARGE_PX else WINDOW
    task, index = find_task(TASK), indices_of(number)[number % FRAMES_PER_RUN]
    return frames_of(task, SEED, make_batch(task, SEED, [index], shape, drawn=[(shot, run.modules)]))[0]
