"""Who learns in the study of lattices: the network of Table VI, HOG with a linear classifier, and our network."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.feature import hog
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from beamsight.answer import Answer, from_line
from beamsight.bundle import MODEL, Bundle
from beamsight.frame import Frame
from beamsight.physics.crystals import NAMES as LATTICES
from beamsight.recipe import Recipe
from beamsight.targets import OneOf
from beamsight.task import Task
from beamsight.train import train
from gisaxs_frames import SIDE, Dataset, Photons, Pictures, frame_of, picture
from gisaxs_scores import Said, said_of
from gisaxs_sets import Asked
from noise import probabilities

PAPER, HOG, OURS, SHIPPED = "Table VI", "HOG + linear", "ours", "shipped"
ASKED_AT_ONCE = 64
GOING_ON = 1e-3  # the learning rate of a model that knows most already
JUDGED = 4000  # frames, of which EXPOSED show the same scene: fewer scenes choose by chance


@dataclass(frozen=True)
class Learnt:
    """A training, of that `task`."""

    run: Path
    task: Task

    def names(self, frames: Sequence[Frame]) -> list[str]:
        """The most probable name of each."""
        return [self.task.target.names[k] for k in probabilities(self.run, self.task, frames).argmax(1)]


def table_vi(task: Task, learn: Dataset, folder: Path, seed: int, steps: int) -> Learnt:
    """The published network on 8-bit pictures of clean frames, trained or gone on with."""
    recipe = Recipe(
        view="counts", network="latticenet", size=SIDE, steps=steps, batch=100, learning_rate=1e-3, weight_decay=5e-4,
        warmup=min(100, steps), seed=seed, precision="fp32", validate_every=max(1, steps // 6), validation=1000, patience=0,
    )  # fmt: skip
    alone = replace(task, name="lattices-pictures", target=OneOf(LATTICES), locate=None, run=None, recipe=recipe)
    return Learnt(train(alone, folder, recipe, frames=Pictures(learn)), alone)


def ours(task: Task, learn: Sequence[Dataset], folder: Path, seed: int, steps: int, first: Path) -> Learnt:
    """The model in the folder `first`, gone on with on the photons of scenes of all those datasets."""
    recipe = replace(
        task.recipe, seed=seed, steps=steps, learning_rate=GOING_ON, size=SIDE, warmup=min(100, steps),
        validate_every=max(1, steps // 6), validation=JUDGED, patience=0, max_hours=0.0, rotate=False, mirror=False,
    )  # fmt: skip
    # Answers stay the task's, none among them, so that the last layer is kept too.
    alone = replace(task, name="lattices-photons", run=None, written=None, recipe=recipe)
    return Learnt(train(alone, folder, recipe, frames=Photons(tuple(learn)), first=first), alone)


def as_pictures(asked: Sequence[Asked]) -> list[Frame]:
    """The frames as 8-bit pictures."""
    return [frame_of(picture(one.frame.image), one.frame.key, one.name) for one in asked]


def gradients(images: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
    """Histograms of oriented gradients [N F] of pictures: nine directions, cells of 8 px, blocks of two by two (Dalal and
    Triggs, 2005)."""
    found = [hog(image, orientations=9, pixels_per_cell=(8, 8), cells_per_block=(2, 2)) for image in images]
    return np.asarray(found, np.float32)


def linear(learn: Dataset, seed: int) -> Any:
    """A linear classifier of the gradients of 8-bit pictures of clean frames: a function from pictures to names."""
    features = gradients([picture(image) for image in learn.clean])
    scaler = StandardScaler().fit(features)
    # Few features tell much alone: more slack than by default classifies unseen frames better.
    machine = LinearSVC(C=0.01, random_state=seed).fit(scaler.transform(features), learn.names)

    def names(frames: Sequence[Frame]) -> list[str]:
        return [str(name) for name in machine.predict(scaler.transform(gradients([f.image for f in frames])))]

    return names


def keep_names(path: Path, names: Sequence[str]) -> None:
    """Keeps what frames were called."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(list(names)))


def kept(path: Path, asked: Sequence[Asked]) -> float:
    """Per cent of the frames that were called rightly."""
    names = json.loads(path.read_text())
    return 100 * float(np.mean([name == one.name for name, one in zip(names, asked, strict=True)]))


def answered(bundle: Bundle, asked: Sequence[Asked], folder: Path, title: str) -> list[Said]:
    """What a model says of frames, kept line by line; goes on where it was stopped."""
    path = folder / f"{title}-{bundle.card['sha256'][MODEL][:12]}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    # What a kill left half written is asked again.
    lines = [line for line in path.read_text().splitlines(True) if line.endswith("\n")] if path.exists() else []
    path.write_text("".join(lines))
    with path.open("a") as file:
        for answer in _rest(bundle, asked[len(lines) :]):
            file.write(answer.line() + "\n")
    answers = [from_line(line) for line in path.read_text().splitlines()]
    return [said_of(one, answer) for one, answer in zip(asked, answers, strict=True)]


def _rest(bundle: Bundle, asked: Sequence[Asked]) -> Iterator[Answer]:
    for first in range(0, len(asked), ASKED_AT_ONCE):
        yield from bundle.predict(one.frame for one in asked[first : first + ASKED_AT_ONCE])
