"""Finite crystals at every azimuth against sums over azimuths, and against powders of layers where the two are one."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from beamsight.physics import crystals
from beamsight.physics.crystals import NAMES
from beamsight.physics.films import Film, powder, turned
from beamsight.physics.gisaxs import render
from beamsight.task import columns

SHAPE = (64, 48)
LENGTHS_M, CELLS = (5.0e-8, 4.1e-8, 3.4e-8), (10, 11, 8)
# One half of the pattern, above the horizon, to 0.7 / nm.
LOOK = {"incidence_rad": 3e-3, "side_rad": 0.0112, "beam_y": 1 + 3e-3 / 0.0112, "beam_x": 0.0, "radius_m": 6e-9}


def light(film: Film) -> np.ndarray:
    return render(columns([film]), SHAPE)[0].double().numpy()


def block(name: str) -> Film:
    film = turned(name, LENGTHS_M, CELLS, **LOOK)
    wide = np.linalg.norm(film.cell_m[:2, :2], axis=1) * film.cells[:2] / 2**0.5
    return replace(film, domain_m=float(wide.min()), area_m2=float(abs(np.linalg.det(film.cell_m[:2, :2]))) or 1.0)


def one_by_one(film: Film, azimuths: int) -> np.ndarray:
    turns = np.arange(azimuths) / azimuths * 2 * np.pi
    films = [replace(film, turning=0, azimuths=0, azimuth_rad=float(a)) for a in turns]
    # Rendered frames have a mean of their own: each azimuth's share is what it scatters.
    from beamsight.physics.gisaxs import scattered
    from beamsight.physics.grazing import exits

    total = np.zeros(SHAPE)
    for some in films:
        s = columns([some])
        total += scattered(s, exits(s, SHAPE))[0].double().numpy()
    return total


@pytest.mark.parametrize("name", NAMES)
def test_blocks_of_all_azimuths_are_the_sum_over_azimuths(name: str) -> None:
    film = block(name)
    found, expected = light(film), one_by_one(film, 720)
    # Azimuths half a degree apart leave grains of a pixel; rods have side maxima there, and tails as high here.
    logs = [gaussian_filter(np.log(v[4:] / v.mean() + 1e-3), 1.0) for v in (found, expected)]
    assert np.corrcoef(logs[0].ravel(), logs[1].ravel())[0, 1] > 0.85


@pytest.mark.parametrize("name", ["HCP", "FCC100"])
def test_a_block_at_a_few_azimuths_is_their_sum(name: str) -> None:
    film = replace(block(name), azimuths=9, azimuth_step_rad=2 * np.pi / 9)
    found, expected = light(film), one_by_one(film, 9)
    np.testing.assert_allclose(found / found.mean(), expected / expected.mean(), rtol=2e-3, atol=1e-5)


def test_a_phase_along_the_second_edge_moves_its_rods() -> None:
    # Upright edges along x and y, the beam along the first: orders of the second stand at (l - phase / 2 pi) 2 pi / its length.
    crystal = replace(turned("Cubic100", LENGTHS_M, CELLS, **LOOK), turning=0, cells=np.array([1.0, 11.0, 2.0]))
    leaning = replace(crystal, cell_m=crystal.cell_m + np.array([[0], [0], [1e-12]]))
    step = 2 * np.pi / LENGTHS_M[1] * leaning.wavelength_m / (2 * np.pi) / (LOOK["side_rad"] / SHAPE[0])
    for phase in (0.0, np.pi, 4.0):
        row = light(replace(leaning, edge_rad=phase))[30]
        found = [n for n in range(3, 44) if row[n] == row[n - 3 : n + 4].max()]
        places = (np.arange(9) - phase / (2 * np.pi)) * step - 0.5
        assert len(found) >= 2
        assert all(np.abs(places - n).min() <= 0.6 for n in found if row[n] > 0.2 * row[3:44].max())


def test_an_upright_block_of_equal_edges_is_a_powder_of_layers() -> None:
    edge = 2.4e-8
    film = turned("Cubic100", (edge,) * 3, (12, 12, 6), **LOOK, domain_m=1.2e-7, area_m2=edge**2)
    layers = powder("Cubic100", edge, 6, **LOOK, domain_m=1.2e-7, gaussian=0)
    found, expected = light(film), light(layers)
    assert np.corrcoef(*(np.log(v[4:-2]).ravel() for v in (found, expected)))[0, 1] > 0.98
    assert film.spacing_m == pytest.approx(edge)


@pytest.mark.parametrize(("name", "ratio"), [("BCC100", 3**0.5 / 2), ("FCC100", 0.5**0.5), ("Cubic100", 1.0), ("HCP", 1.0)])
def test_nearest_neighbours_of_equal_edges(name: str, ratio: float) -> None:
    assert crystals.nearest_m(crystals.edges(name, (2e-8,) * 3)) == pytest.approx(2e-8 * ratio, rel=1e-3)


def test_published_close_packings_are_one_lattice_where_edges_are_equal() -> None:
    """One particle a cell and three layers to a period: what is called HCP there is FCC 111 (the label rule)."""
    cell = crystals.edges("HCP", (1.0,) * 3)
    gram = np.array([cell @ v for v in cell])
    assert np.allclose(gram, 0.5 + 0.5 * np.eye(3), atol=1e-3)  # rhombohedral with angles of 60 degrees: face-centred cubic


def test_all_kinds_go_together_and_anywhere() -> None:
    made = [block(name) for name in NAMES] + [powder("HCP", 2e-8, 3, **LOOK)]
    together = render(columns(made), SHAPE)
    for n, film in enumerate(made):
        torch.testing.assert_close(render(columns([film]), SHAPE)[0], together[n], rtol=1e-3, atol=1e-3)
    with torch.device("meta"):
        assert render(columns(made), SHAPE).device.type == "meta"
