"""The frames of the noise study: clean 16-bit pictures stored once, and the noises of the paper laid on them as they are read.

Clean: mean photons without counting noise, by a perfect detector behind the stop that its scene was drawn with, exposed so that
the 99.9th percentile of the pixels is the top of 16 bits.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import Generator, default_rng

from beamsight.detector import Detector, Exposed, expose
from beamsight.disturb import blur_px, counting_k, salt_and_pepper
from beamsight.frame import Frame, Geometry
from beamsight.task import Task, columns, example, find_task

TASK, SEED = "scattering-tags", 1
BATCH, NOISE_STREAM = 32, 20
TOP_COUNTS, TOP_SHARE = 65535.0, 0.999

# What the paper trains on: Gaussian sigma in px, share of pixels, divisor of the counts.
# In the order in which nature lays them on one frame.
RANGES = {"blur": (0.5, 6.0), "counting": (100.0, 10_000.0), "salt and pepper": (0.005, 0.05)}
STRENGTHS = {"blur": (2.0, 4.0, 6.0), "counting": (100.0, 1000.0, 10_000.0), "salt and pepper": (0.005, 0.025, 0.05)}
APPLY = {"blur": blur_px, "counting": counting_k, "salt and pepper": salt_and_pepper}
CLEAN = ("clean", 0.0)
TEST_SETS = (CLEAN, *((kind, strength) for kind, values in STRENGTHS.items() for strength in values))
# What can be seen changes with blur and with fewer counts; a struck pixel hides nothing.
SEEN = tuple(s for s in TEST_SETS if s[0] != "salt and pepper")


def perfect(detector: Detector) -> Detector:
    """A detector without fault or noise behind the stop of the given one, which no mask knows."""
    stop = {f.name: getattr(detector, f.name) for f in fields(Detector) if f.name.startswith("stop_")}
    return Detector(**(stop | {"stop_masked": 0}))


def clean_batch(indices: Sequence[int], every_truth: bool, size: int) -> tuple[Any, Any, Any]:
    """(counts [B S S] uint16, centres [B 2] px, truth [B V T]) of those examples: V the test sets of SEEN, or the clean one."""
    torch.set_num_threads(1)
    task, shape = find_task(TASK), (size, size)
    scenes, drawn = zip(*(example(task, SEED, i) for i in indices), strict=True)
    films, detectors = columns(scenes), [perfect(d) for d in drawn]
    centres = torch.tensor([task.place(s, shape).centre_px or (math.nan, math.nan) for s in scenes])
    photons, noise = task.render(films, shape), torch.tensor(indices) % 2**31

    def exposed(exposure: Any, sigma: float = 0.0) -> Exposed:
        changed = [replace(d, exposure=float(e), spread_px=sigma) for d, e in zip(detectors, exposure, strict=True)]
        return expose(photons, columns(changed), centres.nan_to_num(), noise)

    behind = exposed(torch.ones(len(scenes))).photons.flatten(1)
    full = TOP_COUNTS / behind.quantile(TOP_SHARE, dim=1).clamp(min=1e-6)
    counts = (behind * full[:, None]).clamp(max=TOP_COUNTS).round().reshape(photons.shape)
    truths = [task.label(films, seen) for seen in _seen(exposed, full, every_truth)]
    return counts.numpy().astype(np.uint16), centres.numpy(), torch.stack(truths, 1).float().numpy()


def _seen(exposed: Callable[..., Exposed], full: torch.Tensor, every_truth: bool) -> Iterator[Exposed]:
    for kind, strength in SEEN if every_truth else (CLEAN,):
        yield exposed(full / (strength if kind == "counting" else 1), strength if kind == "blur" else 0.0)


@dataclass(frozen=True)
class Clean:
    """Stored clean frames in `folder`: counts [N S S] uint16, centre [N 2] px, truth [N V T] in memory-mapped files."""

    folder: Path
    size: int

    def frame(self, number: int) -> Frame:
        """The frame of that number, with the truth of the clean picture."""
        counts, centre, truth = (_mapped(self.folder / f"{name}.npy") for name in ("counts", "centre", "truth"))
        place = None if np.isnan(centre[number]).any() else (float(centre[number, 0]), float(centre[number, 1]))
        shape = (self.size, self.size)
        named = _task().target.truth(truth[number, 0])
        image = counts[number].astype(np.float32)
        return Frame(image, np.ones(shape, bool), Geometry(shape, centre_px=place), f"{self.folder.name}/{number:08d}", named)

    def truth(self, of: tuple[str, float], n: int) -> Any:
        """[n T] what can be seen on the first n frames at that strength of SEEN."""
        return np.array(_mapped(self.folder / "truth.npy")[:n, SEEN.index(of)])


@lru_cache(maxsize=16)
def _mapped(path: Path) -> Any:
    return np.load(path, mmap_mode="r")


@lru_cache(maxsize=1)
def _task() -> Task:
    return find_task(TASK)


def store(folder: Path, indices: Sequence[int], size: int, every_truth: bool = False, jobs: int = 2) -> Clean:
    """The clean frames of the examples `indices` in `folder`, theirs alone, made by `jobs` processes; goes on where stopped."""
    folder.mkdir(parents=True, exist_ok=True)
    width, seen = _task().target.width, len(SEEN) if every_truth else 1
    shapes = {"counts": (np.uint16, (size, size)), "centre": (np.float32, (2,)), "truth": (np.float32, (seen, width))}
    done_file = folder / "done.txt"
    done = int(done_file.read_text()) if done_file.exists() else 0
    mode: Any = "r+" if done else "w+"
    files = [
        np.lib.format.open_memmap(folder / f"{name}.npy", mode, dtype, (len(indices), *shape))
        for name, (dtype, shape) in shapes.items()
    ]
    todo = [indices[first : first + BATCH] for first in range(done, len(indices), BATCH)]
    make = partial(clean_batch, every_truth=every_truth, size=size)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for made in pool.map(make, todo):
            for file, values in zip(files, made, strict=True):
                file[done : done + len(values)] = values
            done += len(made[0])
            done_file.write_text(str(done))
            if done % (BATCH * 50) == 0:
                print(f"{folder.name}: {done:,} of {len(indices):,} clean frames", flush=True)
    for file in files:
        file.flush()
    return Clean(folder, size)


@dataclass(frozen=True)
class NoisySet(Sequence[Frame]):
    """The first `n` stored frames with one noise of one strength."""

    clean: Clean
    n: int
    kind: str
    strength: float

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, number: Any) -> Any:
        frame = self.clean.frame(range(self.n)[number])
        if self.kind == "clean":
            return frame
        return APPLY[self.kind](frame, self.strength, default_rng([SEED, number, NOISE_STREAM]))


@dataclass(frozen=True)
class TrainingSet(Sequence[Frame]):
    """`n` clean frames, and with `kinds` as many others between them, each with the next kind of noise or `combined`."""

    clean: Clean
    n: int
    kinds: tuple[str, ...] = ()
    combined: bool = False

    def __len__(self) -> int:
        return 2 * self.n if self.kinds else self.n

    def __getitem__(self, number: Any) -> Any:
        number = range(len(self))[number]
        if not self.kinds:
            return self.clean.frame(number)
        # Every other one is clean, so that those kept for validation are like those learnt from.
        pair, noisy = divmod(number, 2)
        if not noisy:
            return self.clean.frame(pair)
        rng = default_rng([SEED, number, NOISE_STREAM])
        frame = self.clean.frame(self.n + pair)
        for kind in self.kinds if self.combined else (self.kinds[pair % len(self.kinds)],):
            frame = APPLY[kind](frame, drawn_strength(kind, rng), rng)
        return frame


def drawn_strength(kind: str, rng: Generator) -> float:
    """A strength of the paper's range; divisors, which span two decades, evenly in their logarithm."""
    low, high = RANGES[kind]
    return float(np.exp(rng.uniform(np.log(low), np.log(high)))) if kind == "counting" else float(rng.uniform(low, high))
