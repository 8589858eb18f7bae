"""Is there a ring? A task of one screen: what the contract and the training loop are tested on."""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass

import torch
from numpy.random import Generator

from beamsight.detector import Detector, Exposed
from beamsight.examples import Examples, Source
from beamsight.frame import Geometry
from beamsight.recipe import Recipe
from beamsight.targets import OneOf, Tags
from beamsight.task import Task

SIZE = 64


@dataclass(frozen=True)
class Rings:
    """A ring of radius and height (photons a pixel; 0 = none) about a centre in shares of the side, on a flat background."""

    radius: float
    height: float
    centre_y: float
    centre_x: float
    flat: float


def draw(rng: Generator) -> Rings:
    height = rng.uniform(2, 20) if rng.random() < 0.5 else 0.0
    return Rings(rng.uniform(0.15, 0.35), height, rng.uniform(0.4, 0.6), rng.uniform(0.4, 0.6), rng.uniform(0.5, 2))


def place(rings: Rings, shape: tuple[int, int]) -> Geometry:
    return Geometry(shape, centre_px=(rings.centre_y * shape[0], rings.centre_x * shape[1]))


def render(rings: Rings, shape: tuple[int, int]) -> torch.Tensor:
    y = torch.arange(shape[0])[None, :, None] / shape[0] - rings.centre_y
    x = torch.arange(shape[1])[None, None, :] / shape[1] - rings.centre_x
    radius = torch.sqrt(y * y + x * x)
    return rings.flat + rings.height * torch.exp(-0.5 * ((radius - rings.radius) / 0.02) ** 2)


def detector(rng: Generator) -> Detector:
    return Detector(dead=0.01 * rng.random(), read_noise_counts=0.3 * rng.random())


def label(rings: Rings, exposed: Exposed) -> torch.Tensor:
    """Ring: doubtful below five photons a pixel. Strong: more than ten."""
    height = rings.height.reshape(-1)
    ring = torch.where((height > 0) & (height < 5), torch.nan, (height > 0).float())
    return torch.stack([ring, (height > 10).float()], 1)


def label_one(rings: Rings, exposed: Exposed) -> torch.Tensor:
    ring = label(rings, exposed)[:, 0]
    return torch.stack([1 - ring, ring], 1)


RECIPE = Recipe(
    network="compact",
    size=SIZE,
    steps=60,
    batch=16,
    learning_rate=3e-3,
    warmup=5,
    precision="fp32",
    mirror=True,
    rotate=True,
    validate_every=30,
)
SWEEPS = {"exposure": (1.0, 0.3), "read_noise_counts": (0.0, 1.0)}
TOY = Task("toy-rings", "Is there a ring?", Tags(("ring", "strong")), (SIZE, SIZE), draw, place, render, detector, label,
           recipe=RECIPE, sweeps=SWEEPS)  # fmt: skip
TOY_ONE = Task("toy-ring", "Ring or none?", OneOf(("none", "ring")), (SIZE, SIZE), draw, place, render, detector, label_one,
               recipe=RECIPE, sweeps=SWEEPS)  # fmt: skip


def interrupted_at(number: int) -> Callable[[Source, int], Examples]:
    """`Source.step` in a process that is sent Ctrl-C when the batch of that number is asked for."""
    made = Source.step

    def step(self: Source, asked: int) -> Examples:
        if asked == number:
            os.kill(os.getpid(), signal.SIGINT)
        return made(self, asked)

    return step
