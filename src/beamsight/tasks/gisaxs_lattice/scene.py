"""A drawn pattern: a film, what else scatters, and what reaches the user's file."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from beamsight.frame import Geometry
from beamsight.physics.crystals import NAMES
from beamsight.physics.films import Film

RINGS, SPOTS = 6, 24
DISTANCE_M = 2.0

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Pattern(Film):
    """A film as `Film` has it, whose fields physics reads by name, and:

    `truth` the number of its name, `alike` 1 for each lattice that would show the same; other things, tangents from the direct
    beam and photons a pixel: up to RINGS rings of `ring_rad`, `ring_ph`, relative width `ring_wide`, `ring_turned` by a wave of
    `ring_fold` turns about `ring_angle`; up to SPOTS spots at `spot_up`, `spot_across` of `spot_ph` and radius `spot_rad`;
    diffuse light `diffuse_ph` that falls as (1 + (r/`diffuse_rad`)^2)^(-`diffuse_power`/2); all `grazing` 1 behind the horizon.
    The file: `turns` quarter turns, `cover_y`, `cover_x` shares of the frame that the detector covers, and with `decades` above 0
    an 8-bit picture of the logarithm over so many decades, without a mask.
    """

    truth: int = 0
    alike: Array = field(default_factory=partial(np.zeros, (len(NAMES),)))
    ring_rad: Array = field(default_factory=partial(np.ones, (RINGS,)))
    ring_ph: Array = field(default_factory=partial(np.zeros, (RINGS,)))
    ring_wide: Array = field(default_factory=partial(np.ones, (RINGS,)))
    ring_turned: float = 0.0
    ring_fold: int = 2
    ring_angle: float = 0.0
    spot_up: Array = field(default_factory=partial(np.zeros, (SPOTS,)))
    spot_across: Array = field(default_factory=partial(np.zeros, (SPOTS,)))
    spot_ph: Array = field(default_factory=partial(np.zeros, (SPOTS,)))
    spot_rad: float = 1e-3
    diffuse_ph: float = 0.0
    diffuse_rad: float = 0.01
    diffuse_power: float = 3.0
    grazing: int = 1
    turns: int = 0
    cover_y: float = 1.0
    cover_x: float = 1.0
    decades: float = 0.0


def place(pattern: Pattern, shape: tuple[int, int]) -> Geometry:
    """Where the detector stood, for a frame of `shape` (H, W) px as it reaches the file."""
    height, width = shape if pattern.turns % 2 == 0 else shape[::-1]
    y, x = pattern.beam_y * height - 0.5, pattern.beam_x * width - 0.5
    for _ in range(pattern.turns % 4):
        y, x, height, width = width - 1 - x, y, width, height
    pixel_m = DISTANCE_M * pattern.side_rad / (shape[0] if pattern.turns % 2 == 0 else shape[1])
    return Geometry(shape, pixel_m, pattern.wavelength_m, DISTANCE_M, (y, x))
