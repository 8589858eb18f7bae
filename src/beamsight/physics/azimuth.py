"""How intensity is spread around a ring: tables [N] over the azimuth, N steps of 2 pi / N from chi = 0, of mean 1. NumPy."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

STEPS = 360
CHI = np.arange(STEPS) * 2 * np.pi / STEPS

Table = NDArray[np.float64]


def fold(n: int, eta: float, chi0: float) -> Table:
    """Poisson's kernel (1 - eta^2) / (1 + eta^2 - 2 eta cos(n (chi - chi0))): n lobes, sharper as eta nears 1; mean 1."""
    return np.asarray((1 - eta**2) / (1 + eta**2 - 2 * eta * np.cos(n * (CHI - chi0))))


def texture(rng: Generator) -> Table:
    """Many grains with preferred directions: 2-14 broad kernels of random place, weight and sharpness."""
    kernels = [
        rng.uniform(0.2, 1) * fold(2, rng.uniform(0.45, 0.8), rng.uniform(0, 2 * np.pi)) for _ in range(rng.integers(2, 15))
    ]
    table = np.sum(kernels, axis=0)
    # Kernels of random phase wash out; the power restores the irregularity that a textured ring shows.
    table = table ** rng.uniform(0.7, 2.0)
    return np.asarray(table / table.mean())


def spots(rng: Generator) -> Table:
    """Few grains: single maxima of 1-3 degrees and uneven strength on an otherwise empty or faint ring."""
    count = round(10 ** rng.uniform(0.5, 1.7))
    place, strength = rng.uniform(0, 2 * np.pi, count), rng.lognormal(0, 0.8, count)
    width = np.radians(rng.uniform(0.7, 2.5))
    distance = np.abs((CHI[:, None] - place + np.pi) % (2 * np.pi) - np.pi)
    table = np.exp(-0.5 * (distance / width) ** 2) @ strength
    table = table / max(table.mean(), 1e-9)
    smooth = rng.choice([0.0, rng.uniform(0, 0.7)])
    return np.asarray((1 - smooth) * table + smooth)
