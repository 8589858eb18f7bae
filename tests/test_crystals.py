"""The lattices are what crystallography says: distances, densities, extinctions, spacing ratios."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from beamsight.physics.crystals import (
    AXES,
    EDGE,
    LAYERINGS,
    NAMES,
    PRIMITIVE,
    RODS,
    block,
    classes,
    layer,
    reciprocal,
    rods,
    structure,
)

SPACING_M = 15e-9
# Neighbours at the nearest distance; reflections that International Tables A allow; the least rods of each layer over the first.
NEIGHBOURS = {"BCC": 8, "Cub": 6, "FCC": 12, "HCP": 12}
ALLOWED = {
    "BCC": lambda h, k, m: (h + k + m) % 2 == 0,
    "Cubic": lambda h, k, m: True,
    "FCC": lambda h, k, m: h % 2 == k % 2 == m % 2,
}
RATIOS = {
    "BCC100": [1, 2**0.5, 2, 5**0.5],
    "BCC110": [1, 2 / 3**0.5, (8 / 3) ** 0.5],
    "Cubic100": [1, 2**0.5, 2, 5**0.5],
    "Cubic110": [1, 2**0.5, 3**0.5, 2],
    "FCC100": [1, 2**0.5, 2, 5**0.5],
    "FCC111": [1, 3**0.5, 2, 7**0.5],
    "HCP": [1, 3**0.5, 2, 7**0.5],
}


def points(name: str, primitive: bool, reach: int = 3) -> np.ndarray:
    vectors, places, taken = block(name, SPACING_M, primitive=primitive)
    cells = np.array(list(product(range(-reach, reach + 1), repeat=3))) @ vectors
    return (cells[:, None] + places[taken > 0]).reshape(-1, 3)


def near(name: str, primitive: bool) -> set[tuple[int, ...]]:
    """Places within three spacings of a particle, in thousandths of the spacing."""
    found = points(name, primitive, 7)
    found = found[np.linalg.norm(found, axis=1) < 3.01 * SPACING_M]
    return set(map(tuple, np.rint(found / SPACING_M * 1e3).astype(int).tolist()))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("primitive", [False, True])
def test_neighbours(name: str, primitive: bool) -> None:
    distances = np.linalg.norm(points(name, primitive), axis=1) / SPACING_M
    assert np.isclose(np.sort(distances)[1], 1)
    assert np.isclose(distances, 1).sum() == NEIGHBOURS[name[:3]]


@pytest.mark.parametrize("name", NAMES)
def test_primitive_and_upright_cells_are_one_lattice(name: str) -> None:
    a, b = near(name, False), near(name, True)
    # Rounding to a thousandth may go either way.
    assert all(any(max(abs(p - q) for p, q in zip(one, two, strict=True)) <= 1 for two in b) for one in a)
    assert len(a) == len(b)


@pytest.mark.parametrize("name", NAMES)
def test_layers_are_the_block(name: str) -> None:
    kind, plane = LAYERINGS[name], layer(name, SPACING_M)
    found = near(name, False)
    for n, h, k in product(range(-2, 3), range(-2, 3), range(-2, 3)):
        inside = (np.array([h, k]) + np.array(kind.shift) / kind.parts * (n % kind.repeat)) @ plane / SPACING_M
        place = np.array([*inside, n * kind.height])
        if np.linalg.norm(place) < 3:
            assert min(np.abs(np.array(p) / 1e3 - place).max() for p in found) < 2e-3


@pytest.mark.parametrize("name", [n for n in NAMES if n != "HCP"])
def test_extinction_rules(name: str) -> None:
    lattice, axes, kind = name[:-3], AXES[name[-3:]], LAYERINGS[name]
    edge_m, height_m = EDGE[lattice] * SPACING_M, kind.height * SPACING_M
    seen = 0
    for index in product(range(-3, 4), repeat=3):
        q = axes @ np.array(index) * 2 * np.pi / edge_m
        orders = q[:2] @ layer(name, SPACING_M).T / (2 * np.pi)
        on_rod = np.allclose(orders, np.rint(orders))
        strength = structure(name, np.rint(orders)[None], np.array([q[2] * height_m / (2 * np.pi)]), 12)[0] if on_rod else 0.0
        # A reflection lies on a rod of the layer with all twelve layers in phase, or it is extinct.
        assert np.isclose(strength, float(ALLOWED[lattice](*index)), atol=1e-9)
        seen += strength > 0.5
    assert seen > 10


def test_hcp_extinctions() -> None:
    """(h k l) of hexagonal close packing is extinct where h + 2k = 3n and l is odd; F^2 is 4 cos^2(pi ((h + 2k)/3 + l/2))."""
    for h, k, m in product(range(-3, 4), repeat=3):
        # Vectors at 60 degrees here, at 120 degrees in the tables: (h, k) -> (h, h + k).
        found = structure("HCP", np.array([[h, h + k]]), np.array([m / 2]), 12)[0]
        assert np.isclose(found, np.cos(np.pi * ((h + 2 * k) / 3 + m / 2)) ** 2, atol=1e-9)


def test_fcc_and_hcp_differ_from_three_layers_on() -> None:
    orders, turns = np.array([[h, k] for h, k in product(range(-2, 3), repeat=2)]), np.linspace(0, 1, 25)
    both = [[structure(name, orders, np.full(len(orders), t), n) for t in turns] for n in (2, 3) for name in ("FCC111", "HCP")]
    assert np.allclose(both[0], both[1])
    assert not np.allclose(both[2], both[3], atol=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_rods_have_the_ratios_of_their_layer(name: str) -> None:
    q, count = rods(name, layer(name, SPACING_M))
    distinct = [q[i] for i in range(1, RODS)]
    assert np.allclose(np.array(distinct[: len(RATIOS[name])]) / distinct[0], RATIOS[name])
    # As many rods as there are reciprocal cells in the disc, by Gauss's circle problem to the order of its circumference.
    cell = abs(np.linalg.det(reciprocal(layer(name, SPACING_M))))
    disc, rim = np.pi * q[60] ** 2 / cell, 2 * np.pi * q[60] / cell**0.5
    assert abs(count[:61].sum() - disc) < rim


def test_stretched_axes_stretch_the_rods() -> None:
    q = rods("Cubic100", layer("Cubic100", SPACING_M, (1.25, 1, 1)))[0]
    assert np.allclose(q[1:3], 2 * np.pi / SPACING_M / np.array([1.25, 1]))


def test_primitive_volumes() -> None:
    assert [round(abs(np.linalg.det(PRIMITIVE[n])), 6) for n in ("BCC", "Cubic", "FCC")] == [0.5, 1, 0.25]
    for name in NAMES:
        volumes = [abs(np.linalg.det(v)) / t.sum() for v, _, t in (block(name, 1.0, primitive=p) for p in (False, True))]
        assert np.isclose(*volumes)
        assert classes(name, np.zeros((1, 2)))[0] == 0
