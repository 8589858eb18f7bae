"""How far neighbours are apart is told from the rods of a simulated film, and not where nothing is known."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from beamsight.distances import STRAIN, nearest_m
from beamsight.frame import Frame, Geometry
from beamsight.physics import films
from beamsight.physics.crystals import NAMES, rods_apart
from beamsight.physics.gisaxs import render
from beamsight.task import columns
from beamsight.tasks.gisaxs_lattice.scene import DISTANCE_M

SPACING_M, SIDE, SIDE_RAD = 1.43e-8, 256, 0.045


def frame(name: str, turns: int = 0) -> Frame:
    film = films.powder(
        name,
        SPACING_M,
        5,
        radius_m=6e-9,
        domain_m=2e-7,
        spread=0.05,
        lattice_ph=200.0,
        side_rad=SIDE_RAD,
        beam_y=0.97,
        beam_x=0.4,
    )
    image = np.random.default_rng(1).poisson(render(columns([film]), (SIDE, SIDE))[0].numpy()).astype(np.float32)
    y, x = 0.97 * SIDE - 0.5, 0.4 * SIDE - 0.5
    for _ in range(turns):
        image, (y, x) = np.rot90(image), (SIDE - 1 - x, y)
    geometry = Geometry((SIDE, SIDE), DISTANCE_M * SIDE_RAD / SIDE, film.wavelength_m, DISTANCE_M, (y, x))
    return Frame(np.ascontiguousarray(image), np.ones((SIDE, SIDE), bool), geometry, name)


@pytest.mark.parametrize("name", NAMES)
def test_the_distance_of_a_film_is_found(name: str) -> None:
    told = nearest_m(frame(name), rods_apart(name))
    assert told is not None
    distance, error = told
    assert distance == pytest.approx(SPACING_M, rel=0.015)
    assert STRAIN * distance <= error < 0.03 * distance


def test_a_turned_file_says_the_same() -> None:
    distances = [nearest_m(frame("FCC100", n), rods_apart("FCC100")) for n in (0, 1, 2)]
    assert all(d is not None and d[0] == pytest.approx(SPACING_M, rel=0.015) for d in distances)


def test_nothing_is_said_where_nothing_is_known() -> None:
    there = frame("HCP")
    for missing in ("pixel_m", "wavelength_m", "distance_m", "centre_px"):
        assert nearest_m(replace(there, geometry=replace(there.geometry, **{missing: None})), rods_apart("HCP")) is None
    noise = np.random.default_rng(2).poisson(20, (SIDE, SIDE)).astype(np.float32)
    assert nearest_m(replace(there, image=noise), rods_apart("HCP")) is None
    masked = replace(there, mask=np.zeros((SIDE, SIDE), bool))
    assert nearest_m(masked, rods_apart("HCP")) is None
