"""Where light goes that meets the pixels of a film's detector."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import numpy as np

from beamsight.physics.films import Film


def directions(film: Film, shape: tuple[int, int]) -> np.ndarray:
    """[3 H W] unit vectors along the beam's plane, across it and up; below the horizon they point down."""
    pixel = film.side_rad / shape[0]
    row, column = np.indices(shape)
    up = (film.beam_y * shape[0] - 0.5 - row) * pixel - np.tan(film.incidence_rad)
    across = (column - film.beam_x * shape[1] + 0.5) * pixel
    return np.stack([np.ones(shape), across, up]) / np.sqrt(1 + across**2 + up**2)


def transfer(film: Film, shape: tuple[int, int]) -> np.ndarray:
    """[3 H W] rad/m, the wave vector out less the one in."""
    into = np.array([np.cos(film.incidence_rad), 0, -np.sin(film.incidence_rad)])
    return 2 * np.pi / film.wavelength_m * (directions(film, shape) - into[:, None, None])
