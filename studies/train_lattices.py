"""How the shipped model of lattices was made, on two cores: scenes are rendered once and exposed anew each time they are seen.

    python studies/train_lattices.py OUT --scenes 30000 --hours 0.07 0.5 [--network comparing]

OUT/pool keeps mean photons of training scenes; OUT/first learns from bright ones before detectors without fault, OUT/second
goes on, in two of three frames, with all that detectors and files do to them; with `--first RUN` it goes on from a model of that
network. `beamsight export OUT/second FOLDER` makes the model, whose card comes from scenes that are none of these. Where all that
hides a pattern is there from the beginning, little is learnt in an hour. Scenes that are seen ten times are learnt by heart:
`beamsight train gisaxs-lattice RUN --start OUT/second` goes on with fresh ones.
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
from numpy.random import Generator, default_rng

from beamsight.detector import Detector, expose
from beamsight.examples import TRAINING
from beamsight.frame import Frame, Geometry
from beamsight.task import DETECTOR, SCENE, Task, columns, find_task
from beamsight.tasks.gisaxs_lattice.scene import Pattern, place
from beamsight.train import train

SEED, VARIANTS, BRIGHT, BRIGHT_PH = 0, 16, 5, 1e3
VIEW_OF = {"comparing": "patterson", "outlining": "decades", "paired": "decades"}
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


def faultless(rng: Generator) -> Detector:
    """A detector that blurs by a pixel at most."""
    return Detector(binning=2.0, spread_px=float(rng.uniform(0, 1)))


@dataclass(frozen=True)
class Pool(Sequence[Frame]):
    """VARIANTS exposures of each scene of a pool, one after the other, the first `bright` of them before a faultless detector."""

    folder: Path
    bright: int

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

    def __getstate__(self) -> dict[str, Any]:
        # What has been opened stays here: a process that makes batches opens it for itself, or it would be sent all the light.
        return {"folder": self.folder, "bright": self.bright}

    def __len__(self) -> int:
        return len(np.load(self.folder / "numbers.npy", mmap_mode="r")) * VARIANTS

    def __getitem__(self, number: Any) -> Any:
        return self.__getitems__([number])[0]

    def __getitems__(self, numbers: Sequence[int]) -> list[Frame]:
        """The frames of those numbers, exposed at once."""
        scenes, detectors = [self._scene(n // VARIANTS) for n in numbers], [self._detector(n) for n in numbers]
        light = torch.from_numpy(self.light[[n // VARIANTS for n in numbers]])
        patterns, shape = columns(scenes), (light.shape[1], light.shape[2])
        more = (BRIGHT_PH / patterns.lattice_ph.clamp(min=1e-3)).clamp(min=1)
        light = torch.where(torch.tensor([self._bright(n) for n in numbers])[:, None, None], light * more, light)
        centres = torch.tensor([place(s, shape).centre_px for s in scenes])
        exposed = self.task.written(patterns, expose(light, columns(detectors), centres, torch.tensor(numbers)))  # type: ignore[misc]
        truths = [self.task.target.truth(row) for row in self.task.label(patterns, exposed).numpy()]
        rows = zip(exposed.counts.numpy(), exposed.mask.numpy(), numbers, truths, strict=True)
        return [Frame(counts, mask, Geometry(shape), f"pool/{n}", truth) for counts, mask, n, truth in rows]

    def _bright(self, number: int) -> bool:
        return number % VARIANTS < self.bright

    def _detector(self, number: int) -> Detector:
        rng = default_rng([SEED, number, DETECTOR])
        return faultless(rng) if self._bright(number) else self.task.detector(rng)

    def _scene(self, n: int) -> Pattern:
        values = dict(zip(NUMBERS, self.numbers[n].tolist(), strict=True))
        default = Pattern(0, 1e-8)
        return Pattern(**{name: type(getattr(default, name))(value) for name, value in values.items()})


def main() -> None:
    """The pool and both trainings; what is there goes on or is left."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--scenes", type=int, default=30_000)
    parser.add_argument("--hours", type=float, nargs=2, default=[0.07, 0.5], help="of OUT/first and OUT/second")
    parser.add_argument("--first", type=Path, help="a run or model to go on from, in place of OUT/first")
    parser.add_argument("--network", choices=VIEW_OF, default="comparing", help="of power spectra, of pictures, of both")
    parser.add_argument("--part", type=int, help="renders this part of the pool alone")
    parser.add_argument("--parts", type=int, default=2)
    options = parser.parse_args()
    task, pool = find_task("gisaxs-lattice"), options.out / "pool"
    if options.part is not None:
        render_pool(task, pool, options.scenes, options.part, options.parts)
        return
    make_pool(task, pool, options.scenes, options.parts)
    seen = {"view": VIEW_OF[options.network], "network": options.network}
    recipe = replace(task.recipe, **seen, steps=1_000_000, validate_every=1000, validation=1536, rotate=False)
    if options.first is None:
        options.first = options.out / "first"
        easy = replace(recipe, max_hours=options.hours[0], warmup=100)
        train(task, options.first, easy, frames=Pool(pool, bright=VARIANTS), ahead=2)
    hard = replace(recipe, max_hours=options.hours[1], seed=1, warmup=100)
    train(task, options.out / "second", hard, frames=Pool(pool, bright=BRIGHT), ahead=2, first=options.first)


if __name__ == "__main__":
    main()
