"""Does a told distance of nearest neighbours hold? Frames of known spacing and geometry, whose lattice is given.

    python studies/gisaxs_distances.py --sets FOLDER [--frames 1500] [--quick]

In-plane powders of BornAgain (of `gisaxs_lattices.py`, those whose centre is known), and of our own simulation on its drawn
detectors, of which beam, wavelength and pixel are known exactly. Writes docs/studies/gisaxs_distances.json and its page's table.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from beamsight.distances import nearest_m
from beamsight.examples import simulate
from beamsight.frame import Frame
from beamsight.task import Task, find_task
from gisaxs_scores import interval, share
from gisaxs_sets import NONE, films
from rows import Row, machine, publish, show

SEED, SIDE = 7, 256
NEAR = 0.03  # of the true distance


@dataclass(frozen=True)
class Told:
    """The true distance and what was told of it, nm; None where nothing was."""

    true_nm: float
    nm: float | None = None
    error_nm: float = 0.0

    @property
    def off(self) -> float:
        """How far off, a share of the true distance."""
        return abs((self.nm or 0.0) - self.true_nm) / self.true_nm

    @property
    def near(self) -> bool:
        """Whether it lies within NEAR of the true one."""
        return self.off <= NEAR

    @property
    def within(self) -> bool:
        """Whether it lies within twice its error."""
        return abs((self.nm or 0.0) - self.true_nm) <= 2 * self.error_nm


def asked(task: Task, frame: Frame, name: str, true_nm: float) -> Told:
    """What a frame of that lattice tells."""
    found = nearest_m(frame, task.rods[name])
    return Told(true_nm) if found is None else Told(true_nm, 1e9 * found[0], 1e9 * found[1])


def of_bornagain(task: Task, folder: Path) -> Iterator[Told]:
    """What BornAgain's powders tell."""
    for one in films(folder):
        if one.name != NONE and one.kind.startswith("powder") and one.frame.geometry.centre_px and one.spacing_nm:
            yield asked(task, one.frame, one.name, one.spacing_nm)


def of_ours(task: Task, n: int) -> Iterator[Told]:
    """What the powders among the first n test frames tell that show their lattice, turned files too."""
    for frame in simulate(task, n, SEED, (SIDE, SIDE)):
        scene = frame.scene
        if frame.truth not in (None, NONE) and not scene.single:
            yield asked(task, frame, str(frame.truth), 1e9 * scene.spacing_m)


def rows(found: dict[str, list[Told]]) -> list[Row]:
    """The figures."""
    figures = []
    for name, every in found.items():
        told = [one for one in every if one.nm is not None]
        figures += [
            Row(f"{name}, distances told", share(one.nm is not None for one in every), "%"),
            Row(f"{name}, told within {100 * NEAR:.0f} %", share(one.near for one in told), "%"),
            Row(f"{name}, told within twice the error", share(one.within for one in told), "%"),
        ]
    return figures


def table(found: dict[str, list[Told]]) -> str:
    """Sets down."""
    heads = ("powders", "frames", "told", f"within {100 * NEAR:.0f} %", "within twice the error", "median off", "most off in ten")
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    return "\n".join(lines + [_line(name, every) for name, every in found.items()])


def _line(name: str, every: Sequence[Told]) -> str:
    told = [one for one in every if one.nm is not None]
    off = [100 * one.off for one in told] or [float("nan")]
    cells = (
        name, len(every), interval([one.nm is not None for one in every]), interval([one.near for one in told]),
        interval([one.within for one in told]), f"{np.median(off):.2f} %", f"{np.quantile(off, 0.9):.1f} %",
    )  # fmt: skip
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> None:
    """Ask, count, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=Path, required=True, help="folder of BornAgain's films")
    parser.add_argument("--frames", type=int, default=1500, help="test frames of our own simulation that are looked through")
    parser.add_argument("--quick", action="store_true", help="few frames; nothing kept in docs")
    options = parser.parse_args()
    task = find_task("gisaxs-lattice")
    ours = of_ours(task, 40 if options.quick else options.frames)
    found = {"BornAgain": list(of_bornagain(task, options.sets)), "our simulation": list(ours)}
    figures = rows(found)
    print(table(found))
    show(figures, "Distances of nearest neighbours")
    if not options.quick:
        publish(figures, "gisaxs_distances", {"distances": f"{table(found)}\n\nOn {machine()}."})


if __name__ == "__main__":
    main()
