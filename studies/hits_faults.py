"""Runs that go wrong in the middle, and whether the shift alarm is raised, on the pixels of whole frames that a watch looks at.

A watch looks at every so many rows and at pairs of columns (`shift.state_of`): of four megapixels some 30,000 pixels. What lies
between them is not made, and Bragg spots are left out; so a run costs seconds, and the numbers are those of whole frames without
crystal.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import default_rng
from numpy.typing import NDArray

from beamsight.catalogue import SENSORS
from beamsight.frame import Frame, Geometry
from beamsight.modules import expose_modules
from beamsight.physics.backgrounds import passed, scattered
from beamsight.physics.places import Places, places
from beamsight.runs import FRAMES_PER_RUN, Run
from beamsight.shift import LOOKED_AT, Watch, state_of
from beamsight.shots import shot_of
from beamsight.task import columns
from hits_runs import SEED

BEGINS, FOLLOWED = 128, 200  # the frame from which on a fault is there, and how many are followed after
WATCHED, PANEL = 51, 52  # streams of random numbers, beside those of an example
DIM_PH = 0.05  # photons a pixel: of less light its loss is hardly to be seen

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Looked:
    """The pixels of a run's frames that a watch looks at, as a small image whose every column is followed by its neighbour."""

    run: Run

    @cached_property
    def where(self) -> Places:
        """Of the whole image the rows and pairs of columns that `state_of` takes, [1 h 2 w]."""
        height, width = self.run.layout().shape
        down, right = (max(1, n // LOOKED_AT) for n in (height, width))
        panels = torch.from_numpy(self.run.layout().table(self.run.middle_px))[None]
        first = torch.arange(0, width, right)
        # Where the image ends the last column has no neighbour: another one, which `state` does not trust, keeps the pairs whole.
        pairs = torch.stack([first, (first + 1).clamp(max=width - 1)], 1).flatten()
        rows = [places(panels, torch.tensor([[y, 0]]), torch.tensor([width]), (1, width)) for y in range(0, height, down)]
        kept = {
            f.name: torch.cat([getattr(r, f.name)[..., pairs] for r in rows], 1) for f in fields(Places) if f.name != "panels"
        }
        return Places(**kept, panels=panels)

    def state(self, run: Run, frame: int, fault: str | None) -> Floats:
        """What the `frame`-th frame is like, of `run`, which is this one or what a fault made of it."""
        rng = default_rng([SEED, run.number, frame, WATCHED])
        shots = columns([shot_of(replace(run, hit_fraction=0.0), frame, rng)])
        modules, where = columns([run.modules]), self.where
        light = scattered(shots, where.y, where.x) * passed(shots, where.y, where.x) * (where.panel > 0)
        photons = light * modules.exposure + modules.background_ph
        seeds = torch.tensor([int(rng.integers(2**31))])
        exposed = expose_modules(photons, modules, where, seeds, shots.run[:, 0, 0])
        image, mask = exposed.counts[0].numpy(), exposed.mask[0].numpy()
        if fault in SPOILS:
            image, mask = SPOILS[fault](self, image, mask)
        if where.column[0, 0, -1] == where.column[0, 0, -2]:
            mask = mask & (np.arange(mask.shape[1]) < mask.shape[1] - 1)
        return state_of(Frame(image, mask, Geometry(image.shape), f"{run.number}/{frame}"))

    def states(self, frames: Sequence[int], fault: str | None = None) -> Floats:
        """[n F] of those frames, with a fault in all of them."""
        run = CHANGES[fault](self.run) if fault in CHANGES else self.run
        return np.array([self.state(run, frame, fault) for frame in frames])


def _halved(run: Run) -> Run:
    return replace(run, modules=replace(run.modules, gain=run.modules.gain / 2))


# Faults that are numbers of a run: a gain is set to its half, the jet freezes, the beam is gone.
CHANGES: dict[str, Callable[[Run], Run]] = {
    "gain halved": _halved,
    "ice": lambda run: replace(run, ice_fraction=1.0),
    "beam lost": lambda run: replace(run, dark_fraction=1.0),
}


def _wrong_mask(looked: Looked, image: Any, mask: Any) -> tuple[Any, Any]:
    """The mask of another detector, gaps of a PILATUS or, for PILATUS, of an EIGER; one's own gaps are trusted and empty."""
    (high, pitch_y), (wide, pitch_x) = (
        ((514, 551), (1030, 1040)) if "PILATUS" in looked.run.detector else ((195, 212), (487, 494))
    )
    row, column = looked.where.row[0].numpy(), looked.where.column[0].numpy()
    return image, (row % pitch_y < high) & (column % pitch_x < wide)


def _dead_panel(looked: Looked, image: Any, mask: Any) -> tuple[Any, Any]:
    """One sensor, or of a detector that is one sensor one chip, reads nothing, and no mask knows."""
    run, sensors = looked.run, len(SENSORS[looked.run.detector][1]())
    chips = len(run.layout().panels)
    each = chips // sensors if sensors > 1 else 1
    lost = int(default_rng([SEED, run.number, PANEL]).integers(chips // each))
    dead = (looked.where.panel[0].numpy() - 1) // each == lost
    dead &= looked.where.panel[0].numpy() > 0
    return np.where(dead & mask, np.float32(run.modules.dark_counts), image), mask


SPOILS: dict[str, Callable[[Looked, Any, Any], tuple[Any, Any]]] = {"wrong mask": _wrong_mask, "panel dead": _dead_panel}
FAULTS = (*CHANGES, *SPOILS)


def states_of(run: Run, folder: Path, fault: str | None = None) -> Floats:
    """[n F] what the frames of a run are like: all of a run, or after a fault; from `folder` where they are kept already."""
    path = folder / f"{run.number}-{(fault or 'normal').replace(' ', '-')}.npy"
    if not path.exists():
        frames = range(FRAMES_PER_RUN) if fault is None else range(BEGINS, BEGINS + FOLLOWED)
        values = Looked(run).states(frames, fault)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            np.save(file, values)
        part.rename(path)
    return np.asarray(np.load(path))


@dataclass(frozen=True)
class Watched:
    """What a watch said of a run: the `fault` in it, whether its background can be seen, and after how many frames it was
    `raised` (None = never) by which `number`."""

    run: int
    fault: str | None
    bright: bool
    raised: int | None
    number: str

    @property
    def found(self) -> bool:
        """Raised after the fault, and soon enough."""
        return self.raised is not None and BEGINS < self.raised <= BEGINS + FOLLOWED


def watched(run: Run, fault: str | None, normal: Mapping[str, Any], folder: Path) -> Watched:
    """What a watch that knows what is `normal` says of a run, with or without a fault."""
    states = states_of(run, folder)
    if fault is not None:
        states = np.concatenate([states[:BEGINS], states_of(run, folder, fault)])
    watch = Watch(normal)
    watch.follow(states)
    alarm = watch.alarm
    bright = run.level_ph >= DIM_PH
    return Watched(run.number, fault, bright, alarm and alarm.frames, alarm.number if alarm else "")


def faulty(run: Run, fault: str) -> bool:
    """Whether the fault would be new to the run."""
    return fault != "ice" or run.ice_fraction == 0


def fault_table(found: Sequence[Watched]) -> str:
    """How often and how soon each fault is told, and by which number most often."""
    lines = [
        f"| fault | runs | raised within {FOLLOWED} frames | before the fault | frames after it, median | told by |",
        "|---" * 6 + "|",
    ]
    for fault in (None, *FAULTS):
        some = [w for w in found if w.fault == fault]
        raised = [w for w in some if w.raised is not None] if fault is None else [w for w in some if w.found]
        early = sum(w.raised is not None and not w.found for w in some) if fault else 0
        after = sorted((w.raised or 0) - BEGINS for w in raised)
        names = sorted({w.number for w in raised}, key=lambda name: -sum(w.number == name for w in raised))[:3]
        when = str(after[len(after) // 2]) if after and fault else "-"
        lines.append(f"| {fault or 'none'} | {len(some)} | {len(raised)} | {early} | {when} | {', '.join(names)} |")
    return "\n".join(lines)
