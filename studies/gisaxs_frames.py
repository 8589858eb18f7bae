"""The datasets of the study of lattices: scenes of the paper's kind, as mean photons and with the noise of photons."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from beamsight.detector import Detector
from beamsight.examples import simulate
from beamsight.frame import Frame, Geometry
from beamsight.physics.crystals import NAMES as LATTICES
from beamsight.task import DETECTOR, SCENE, Task, exposures
from gisaxs_sets import NONE, Asked

SIDE, BATCH, SEED = 100, 32, 6
EXPOSED = 8  # frames of a scene that is learnt from
MOST_DRAWN = 30  # times as many scenes as are wanted: then a lattice that gives none is left out

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Dataset:
    """Frames of `names`, `clean` mean photons and `noisy` photons [N 100 100], the `share` of scenes that were left out as
    doubtful, and the folder that keeps them."""

    clean: Floats
    noisy: Floats
    names: tuple[str, ...]
    share: float
    folder: Path | None = None

    def __reduce_ex__(self, protocol: Any) -> Any:
        # A process that makes batches opens the files for itself, or it would be sent all that they hold.
        return (of_folder, (self.folder,)) if self.folder else super().__reduce_ex__(protocol)

    def asked(self, noisy: bool, title: str) -> list[Asked]:
        """As frames of which nothing but the image is known."""
        images = self.noisy if noisy else self.clean
        return [Asked(frame_of(images[n], f"{title}/{n:06d}", name), name, (), title, "") for n, name in enumerate(self.names)]


def frame_of(image: Any, key: str, name: str) -> Frame:
    """An image with its true name."""
    image = np.asarray(image, np.float32)
    return Frame(image, np.ones(image.shape, bool), Geometry((image.shape[0], image.shape[1])), key, truth=name)


def picture(image: Floats) -> Floats:
    """Photons [... H W] to an 8-bit picture of their logarithm, 0 to 1: what the published classifiers were given."""
    logs = np.log1p(image)
    return np.asarray(np.round(255 * logs / np.maximum(logs.max((-2, -1), keepdims=True), 1e-9)) / 255, np.float32)


@dataclass(frozen=True)
class Pictures(Sequence[Frame]):
    """The clean frames of a dataset as 8-bit pictures."""

    data: Dataset

    def __len__(self) -> int:
        return len(self.data.names)

    def __getitem__(self, number: Any) -> Any:
        return frame_of(picture(self.data.clean[number]), f"picture/{number:06d}", self.data.names[number])


@dataclass(frozen=True)
class Photons(Sequence[Frame]):
    """EXPOSED frames of each scene of the datasets, one after the other: in every other one photons are counted, anew each time.
    Scenes are of each dataset in turn, as many as the smallest has."""

    data: tuple[Dataset, ...]

    def __len__(self) -> int:
        return EXPOSED * len(self.data) * min(len(one.names) for one in self.data)

    def __getitem__(self, number: Any) -> Any:
        scene, turn = divmod(number // EXPOSED, len(self.data))
        image, name = self.data[turn].clean[scene], self.data[turn].names[scene]
        image = np.random.default_rng([SEED, number, DETECTOR]).poisson(image) if number % 2 else image
        return frame_of(image, f"photons/{number:06d}", name)


def drawn_as(task: Task, draw: Callable[[Generator], Any]) -> Task:
    """The task with scenes of another kind."""
    return replace(task, draw=draw, run=None)


def store(task: Task, draw: Callable[[Generator], Any], indices: range, each: int, folder: Path) -> Dataset:
    """`each` frames of every lattice, in turn as they are drawn, kept in `folder`; read from there where they are already."""
    if not (folder / "names.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        found: dict[str, list[tuple[Floats, Floats]]] = {name: [] for name in LATTICES}
        doubtful = drawn = 0
        for clean, noisy, name in islice(examples(drawn_as(task, draw), indices), MOST_DRAWN * each * len(LATTICES)):
            drawn, doubtful = drawn + 1, doubtful + (name is None)
            if name in found and len(found[name]) < each:
                found[name].append((clean.copy(), noisy.copy()))  # of a batch, which may go then
            if all(len(of) == each for of in found.values()):
                break
        # Lattice by lattice in turn, so that any part of them, such as the one kept for validation, holds all.
        every = [(name, pairs[k]) for k in range(each) for name, pairs in found.items() if k < len(pairs)]
        for k, kind in enumerate(("clean", "noisy")):
            np.save(folder / f"{kind}.npy", np.stack([pair[k] for _, pair in every]))
        told = {"names": [name for name, _ in every], "share": doubtful / drawn}
        (folder / "names.json").write_text(json.dumps(told))
        print(f"{folder.name}: {len(every):,} frames, {doubtful:,} of {drawn:,} scenes doubtful", flush=True)
    return of_folder(folder)


def of_folder(folder: Path) -> Dataset:
    """What `store` keeps there."""
    told = json.loads((folder / "names.json").read_text())
    clean, noisy = (np.load(folder / f"{kind}.npy", mmap_mode="r") for kind in ("clean", "noisy"))
    return Dataset(clean, noisy, tuple(told["names"]), told["share"], folder)


def simulated_none(task: Task, n: int) -> Iterator[Asked]:
    """The first n test frames of the task, on its drawn detectors, that show none of the lattices."""
    frames = (frame for frame in simulate(task, MOST_DRAWN * n, SEED) if frame.truth == NONE)
    return (Asked(frame, NONE, (), "simulated", frame.key) for frame in islice(frames, n))


def examples(task: Task, indices: range) -> Iterator[tuple[Floats, Floats, str | None]]:
    """Mean photons, photons and name of scene after scene, None of a doubtful one, before a detector without fault."""
    for first in range(indices.start, indices.stop, BATCH):
        some = range(first, min(first + BATCH, indices.stop))
        drawn = [(task.draw(np.random.default_rng([SEED, i, SCENE])), Detector()) for i in some]
        scenes, exposed = exposures(task, SEED, some, drawn, (SIDE, SIDE))
        names = task.label(scenes, exposed).cpu().numpy()
        clean, noisy = exposed.photons.cpu().numpy(), exposed.counts.cpu().numpy()
        for n in range(len(some)):
            yield clean[n], noisy[n], task.target.truth(names[n])
