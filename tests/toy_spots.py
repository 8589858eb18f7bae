"""Are there spots, and where? A task whose frames are seen pixel by pixel, with runs of frames that share a background."""

# SPDX-License-Identifier: BSD-3-Clause

import atexit
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.random import default_rng
from numpy.typing import NDArray

from beamsight.detector import Detector, Exposed, offsets
from beamsight.export import export
from beamsight.frame import Geometry
from beamsight.recipe import Recipe
from beamsight.targets import OneOf
from beamsight.task import Task
from beamsight.train import train

SIDE, MOST, CELL, RUN_FRAMES = 128, 12, 8, 120
RUN, SHOT = 30, 31


@dataclass(frozen=True)
class Sky:
    """Spots at `y`, `x` [MOST] in sides, of `photons` [MOST] (0 = none) and a sigma of one pixel, on `flat` photons a pixel."""

    y: NDArray[np.float64]
    x: NDArray[np.float64]
    photons: NDArray[np.float64]
    flat: float


def run(number: int) -> range:
    return range(number * RUN_FRAMES, (number + 1) * RUN_FRAMES)


def flat_of(seed: int, index: int) -> float:
    """Photons a pixel, the same for all frames of a run."""
    return float(10 ** default_rng([seed, index // RUN_FRAMES, RUN]).uniform(-1, 1))


def draw(seed: int, index: int) -> Sky:
    rng = default_rng([seed, index, SHOT])
    number = int(rng.integers(0, MOST + 1)) * int(rng.random() < 0.6)
    photons = np.where(np.arange(MOST) < number, rng.uniform(60, 600, MOST), 0.0)
    return Sky(rng.uniform(0.05, 0.95, MOST), rng.uniform(0.05, 0.95, MOST), photons, flat_of(seed, index))


def place(sky: Sky, shape: tuple[int, int]) -> Geometry:
    return Geometry(shape)


def render(sky: Sky, shape: tuple[int, int]) -> torch.Tensor:
    rows, columns = offsets(shape, torch.zeros(len(sky.flat), 2))
    image = torch.zeros(()) + sky.flat
    for n in range(MOST):
        y, x = sky.y[:, n, None, None] * shape[0], sky.x[:, n, None, None] * shape[1]
        spot = torch.exp(-0.5 * (rows - y) ** 2) * torch.exp(-0.5 * (columns - x) ** 2) / (2 * torch.pi)
        image = image + sky.photons[:, n, None, None] * spot
    return image


def detector(seed: int, index: int) -> Detector:
    return Detector(read_noise_counts=0.3 * default_rng([seed, index // RUN_FRAMES, RUN]).random())


def label(sky: Sky, exposed: Exposed) -> torch.Tensor:
    number = (sky.photons > 0).sum(1)
    return torch.stack([number == 0, number > 0], 1).float()


def locate(sky: Sky, exposed: Exposed) -> torch.Tensor:
    height, width = (n // CELL for n in exposed.counts.shape[1:])
    y, x = ((v * n).floor().long() for v, n in ((sky.y, height), (sky.x, width)))
    places = torch.zeros(len(y), height * width)
    return places.scatter_reduce(1, y * width + x, (sky.photons > 0).float(), "amax").reshape(-1, height, width)


RECIPE = Recipe(
    view="contrast", network="spots", size=SIDE, steps=120, batch=16, learning_rate=3e-3, warmup=5, precision="fp32",
    mirror=True, rotate=True, validate_every=60, validation=128,
)  # fmt: skip
TOY_SPOTS = Task("toy-spots", "Spots or none?", OneOf(("miss", "hit")), (SIDE, SIDE), draw, place, render, detector, label,
                 locate=locate, run=run, views=("contrast",), recipe=RECIPE,
                 sweeps={"exposure": (1.0, 0.3)})  # fmt: skip


@cache
def trained() -> Path:
    """The folder of a model that has learnt it; made once, gone with this process."""
    folder = Path(tempfile.mkdtemp(prefix="toy-spots-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return export(train(TOY_SPOTS, folder / "run", ahead=0), folder / "bundle", TOY_SPOTS, 192, 96)
