"""How the shipped model of lattices was made, on two cores: scenes are rendered once and exposed anew each time they are seen.

    python studies/train_lattices.py OUT --scenes 30000 --hours 0.07 0.5

OUT/pool keeps mean photons of training scenes; OUT/first learns from bright ones before detectors without fault, OUT/second
goes on with all that detectors and files do to them. `beamsight export OUT/second FOLDER` makes the model, whose card
comes from scenes that are none of these. Where all that hides a pattern is there from the beginning, little is learnt in an hour.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import default_rng

from beamsight.detector import Detector, expose
from beamsight.examples import TRAINING
from beamsight.frame import Frame, Geometry
from beamsight.task import DETECTOR, SCENE, Task, columns, find_task
from beamsight.tasks.gisaxs_lattice.scene import Pattern, place
from beamsight.train import train

SEED, VARIANTS, BRIGHT_PH = 0, 16, 1e3
NUMBERS = [f.name for f in fields(Pattern) if not isinstance(getattr(Pattern(0, 1e-8), f.name), np.ndarray)]


def render_pool(task: Task, folder: Path, scenes: int, part: int, parts: int) -> None:
    """Mean photons and numbers of every `parts`-th scene, into arrays that all processes share."""
    torch.set_num_threads(1)
    side = task.recipe.size
    light = np.lib.format.open_memmap(folder / "light.npy", mode="r+")
    numbers = np.lib.format.open_memmap(folder / "numbers.npy", mode="r+")
    for first in range(part * 32, scenes, parts * 32):
        some = range(first, min(first + 32, scenes))
        if numbers[some.stop - 1].any():  # of a run that was stopped
            continue
        drawn = [task.draw(default_rng([SEED, TRAINING[n], SCENE])) for n in some]
        light[some.start : some.stop] = task.render(columns(drawn), (side, side)).numpy()
        numbers[some.start : some.stop] = [[float(getattr(s, name)) for name in NUMBERS] for s in drawn]


def make_pool(task: Task, folder: Path, scenes: int, parts: int = 2) -> None:
    """The pool, where it is not there yet."""
    if (folder / "done").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    side = task.recipe.size
    if not (folder / "numbers.npy").exists():
        np.lib.format.open_memmap(folder / "light.npy", mode="w+", dtype=np.float32, shape=(scenes, side, side))
        np.lib.format.open_memmap(folder / "numbers.npy", mode="w+", dtype=np.float64, shape=(scenes, len(NUMBERS)))
    command = [sys.executable, __file__, str(folder.parent), "--scenes", str(scenes), "--parts", str(parts), "--part"]
    running = [subprocess.Popen([*command, str(part)]) for part in range(parts)]
    if any(process.wait() for process in running):
        raise SystemExit("a process that renders failed")
    (folder / "done").touch()


@dataclass(frozen=True)
class Pool(Sequence[Frame]):
    """VARIANTS exposures of each scene of a pool, one after the other; `bright` ones before a detector without fault."""

    folder: Path
    bright: bool

    @cached_property
    def task(self) -> Task:
        """Whose scenes these are."""
        return find_task("gisaxs-lattice")

    @cached_property
    def light(self) -> Any:
        """[N S S] mean photons."""
        return np.load(self.folder / "light.npy", mmap_mode="r")

    @cached_property
    def numbers(self) -> Any:
        """[N F] of the scenes."""
        return np.load(self.folder / "numbers.npy")

    def __len__(self) -> int:
        return len(np.load(self.folder / "numbers.npy", mmap_mode="r")) * VARIANTS

    def __getitem__(self, number: Any) -> Any:
        scene = self._scene(number // VARIANTS)
        light, detector = torch.from_numpy(self.light[number // VARIANTS].copy())[None], self._detector(number)
        if self.bright:
            light = light * max(1.0, BRIGHT_PH / max(scene.lattice_ph, 1e-3))
        shape = (light.shape[1], light.shape[2])
        scenes, centre = columns([scene]), place(scene, shape).centre_px
        exposed = expose(light, columns([detector]), torch.tensor([centre]), torch.tensor([number]))
        exposed = self.task.written(scenes, exposed)  # type: ignore[misc]
        truth = self.task.target.truth(self.task.label(scenes, exposed)[0].numpy())
        return Frame(exposed.counts[0].numpy(), exposed.mask[0].numpy(), Geometry(shape), f"pool/{number}", truth)

    def _detector(self, number: int) -> Detector:
        rng = default_rng([SEED, number, DETECTOR])
        return Detector(binning=2.0, spread_px=float(rng.uniform(0, 1))) if self.bright else self.task.detector(rng)

    def _scene(self, n: int) -> Pattern:
        values = dict(zip(NUMBERS, self.numbers[n].tolist(), strict=True))
        default = Pattern(0, 1e-8)
        return Pattern(**{name: type(getattr(default, name))(value) for name, value in values.items()})


def main() -> None:
    """The pool and both trainings; what is there goes on or is left."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--scenes", type=int, default=30_000)
    parser.add_argument("--hours", type=float, nargs=2, default=[0.07, 0.5])
    parser.add_argument("--part", type=int, help="renders this part of the pool alone")
    parser.add_argument("--parts", type=int, default=2)
    options = parser.parse_args()
    task, pool = find_task("gisaxs-lattice"), options.out / "pool"
    if options.part is not None:
        render_pool(task, pool, options.scenes, options.part, options.parts)
        return
    make_pool(task, pool, options.scenes, options.parts)
    recipe = replace(task.recipe, steps=1_000_000, validate_every=1000, validation=1536, rotate=False)
    easy = replace(recipe, max_hours=options.hours[0], warmup=100)
    train(task, options.out / "first", easy, frames=Pool(pool, bright=True), ahead=2)
    hard = replace(recipe, max_hours=options.hours[1], seed=1, warmup=100)
    train(task, options.out / "second", hard, frames=Pool(pool, bright=False), ahead=2, first=options.out / "first")


if __name__ == "__main__":
    main()
