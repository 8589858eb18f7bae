"""Runs that go wrong in the middle, and whether the alarm is raised, on the pixels of whole frames that a watch looks at."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import default_rng
from numpy.typing import NDArray

from beamsight.catalogue import SENSORS
from beamsight.runs import FRAMES_PER_RUN, Run
from beamsight.shift import Watch
from beamsight.watched import Glimpse
from hits_runs import SEED

BEGINS, FOLLOWED = 128, 200  # the frame from which on a fault is there, and how many are followed after
WATCHED, PANEL = 51, 52  # streams of random numbers, beside those of an example
DIM_PH = 0.05  # photons a pixel: of less light its loss is hardly to be seen

Floats = NDArray[np.float64]


def states(glimpse: Glimpse, frames: Sequence[int], fault: str | None = None) -> Floats:
    """[n F] what those frames of a run are like, with a fault in all of them."""
    run = CHANGES[fault](glimpse.run) if fault in CHANGES else glimpse.run
    found = []
    for frame in frames:
        image, mask = glimpse.pixels(run, frame, default_rng([SEED, run.number, frame, WATCHED]))
        if fault in SPOILS:
            image, mask = SPOILS[fault](glimpse, image, mask)
        found.append(glimpse.state(image, mask))
    return np.array(found)


def _halved(run: Run) -> Run:
    return replace(run, modules=replace(run.modules, gain=run.modules.gain / 2))


# Faults that are numbers of a run: a gain is set to its half, the jet freezes, the beam is gone.
CHANGES: dict[str, Callable[[Run], Run]] = {
    "gain halved": _halved,
    "ice": lambda run: replace(run, ice_fraction=1.0),
    "beam lost": lambda run: replace(run, dark_fraction=1.0),
}


def _wrong_mask(glimpse: Glimpse, image: Any, mask: Any) -> tuple[Any, Any]:
    """The mask of another detector, gaps of a PILATUS or, for PILATUS, of an EIGER; one's own gaps are trusted and empty."""
    (high, pitch_y), (wide, pitch_x) = (
        ((514, 551), (1030, 1040)) if "PILATUS" in glimpse.run.detector else ((195, 212), (487, 494))
    )
    row, column = glimpse.where.row[0].numpy(), glimpse.where.column[0].numpy()
    return image, (row % pitch_y < high) & (column % pitch_x < wide)


def _dead_panel(glimpse: Glimpse, image: Any, mask: Any) -> tuple[Any, Any]:
    """One sensor, or of a detector that is one sensor one chip, reads nothing, and no mask knows."""
    run, sensors = glimpse.run, len(SENSORS[glimpse.run.detector][1]())
    chips = len(run.layout().panels)
    each = chips // sensors if sensors > 1 else 1
    lost = int(default_rng([SEED, run.number, PANEL]).integers(chips // each))
    dead = (glimpse.where.panel[0].numpy() - 1) // each == lost
    dead &= glimpse.where.panel[0].numpy() > 0
    return np.where(dead & mask, np.float32(run.modules.dark_counts), image), mask


SPOILS: dict[str, Callable[[Glimpse, Any, Any], tuple[Any, Any]]] = {"wrong mask": _wrong_mask, "panel dead": _dead_panel}
FAULTS = (*CHANGES, *SPOILS)


def states_of(run: Run, folder: Path, fault: str | None = None) -> Floats:
    """[n F] what the frames of a run are like: all of a run, or after a fault; from `folder` where they are kept already."""
    path = folder / f"{run.number}-{(fault or 'normal').replace(' ', '-')}.npy"
    if not path.exists():
        frames = range(FRAMES_PER_RUN) if fault is None else range(BEGINS, BEGINS + FOLLOWED)
        values = states(Glimpse(run), frames, fault)
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
