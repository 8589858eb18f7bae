"""How to train, as numbers."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """How to train. Command-line options come from these fields.

    `view` what the answer rests on: the "image" itself, its Fourier-Bessel "coefficients" about the beam, the image and its
    "rings", or all of them, "joint"; `network` by name;
    `size` side of the square that the network sees, in pixels; `steps` of `batch` frames;
    `learning_rate` at its peak, after `warmup` steps, then a cosine to zero; `precision` "bf16" or "fp32";
    `mirror` and `rotate` (quarter turns) only where the physics has the symmetry; `validate_every` steps;
    `patience` validations without a better score before training stops (0 = never), each on `validation` frames;
    `wide`: every third batch after the warm-up has windows so many times as wide, and fewer by the square, for networks that take
    any size (1 = none);
    `exposures`: the scenes of a batch come again in so many steps, each time before other detectors, where rendering costs more
    than exposing;
    with `max_hours` the cosine ends at that time if `steps` do not end it before (0 = no limit).
    """

    view: str = "image"
    network: str = "joint"
    size: int = 256
    steps: int = 5000
    batch: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    warmup: int = 300
    seed: int = 0
    precision: str = "bf16"
    mirror: bool = False
    rotate: bool = False
    validate_every: int = 500
    patience: int = 6
    validation: int = 2000
    max_hours: float = 0.0
    wide: int = 1
    exposures: int = 1
