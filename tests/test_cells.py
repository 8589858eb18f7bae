"""Unit cells against gemmi, rotations against their uniform law, intensities against Wilson's."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import gemmi
import numpy as np
import pytest
from numpy.random import default_rng
from scipy import stats

from beamsight.physics.cells import (
    BRAVAIS,
    LONGEST_M,
    SHORTEST_M,
    Cell,
    allowed,
    centric,
    draw_cell,
    draw_rotation,
    intensities,
    real_axes,
    reciprocal_axes,
)

ANGSTROM = 1e-10
CELLS = [draw_cell(default_rng(i)) for i in range(60)]
HKL = np.array([(h, k, m) for h in range(-7, 8) for k in range(-7, 8) for m in range(-7, 8) if (h, k, m) != (0, 0, 0)])
# A space group of each Bravais lattice, of the rotation group that TWOFOLD names.
GROUPS = {
    ("triclinic", "P"): "P 1", ("monoclinic", "P"): "P 1 2 1", ("monoclinic", "C"): "C 1 2 1", ("orthorhombic", "P"): "P 2 2 2",
    ("orthorhombic", "C"): "C 2 2 2", ("orthorhombic", "I"): "I 2 2 2", ("orthorhombic", "F"): "F 2 2 2",
    ("tetragonal", "P"): "P 4 2 2", ("tetragonal", "I"): "I 4 2 2", ("trigonal", "R"): "R 3 2:H", ("hexagonal", "P"): "P 6 2 2",
    ("cubic", "P"): "P 4 3 2", ("cubic", "I"): "I 4 3 2", ("cubic", "F"): "F 4 3 2",
}  # fmt: skip


def theirs(cell: Cell) -> gemmi.UnitCell:
    return gemmi.UnitCell(*(e / ANGSTROM for e in cell.edges_m), *np.degrees(cell.angles_rad))


def test_every_lattice_is_drawn_within_the_range_of_proteins() -> None:
    drawn = [draw_cell(default_rng(i)) for i in range(1500)]
    assert {(c.system, c.centring) for c in drawn} == set(BRAVAIS) == set(GROUPS)
    edges = np.array([c.edges_m for c in drawn])
    assert edges.min() >= SHORTEST_M
    assert edges.max() <= LONGEST_M
    assert 70e-10 < np.median(edges) < 100e-10


@pytest.mark.parametrize("cell", CELLS[:20], ids=lambda c: f"{c.system}-{c.centring}")
def test_axes_and_spacings_are_gemmis(cell: Cell) -> None:
    other = theirs(cell)
    np.testing.assert_allclose(real_axes(cell) / ANGSTROM, np.array(other.orth.mat.tolist()), atol=1e-9)
    np.testing.assert_allclose(reciprocal_axes(cell).T @ real_axes(cell), np.eye(3), atol=1e-12)
    spacing = 1 / np.linalg.norm(HKL @ reciprocal_axes(cell).T, axis=1) / ANGSTROM
    np.testing.assert_allclose(spacing, [other.calculate_d(hkl.tolist()) for hkl in HKL], rtol=1e-9)


@pytest.mark.parametrize("kind", GROUPS, ids=lambda k: "-".join(k))
def test_a_cell_fits_its_space_group(kind: tuple[str, str]) -> None:
    group = gemmi.SpaceGroup(GROUPS[kind])
    cells = [c for c in (draw_cell(default_rng(i)) for i in range(1500)) if (c.system, c.centring) == kind]
    assert cells
    assert all(theirs(c).is_compatible_with_spacegroup(group) for c in cells)


@pytest.mark.parametrize("kind", GROUPS, ids=lambda k: "-".join(k))
def test_extinctions_and_centric_zones_are_gemmis(kind: tuple[str, str]) -> None:
    operations = gemmi.SpaceGroup(GROUPS[kind]).operations()
    expected = np.array([not operations.is_systematically_absent(hkl.tolist()) for hkl in HKL])
    np.testing.assert_array_equal(allowed(HKL, kind[1]), expected)
    zones = np.array([operations.is_reflection_centric(hkl.tolist()) for hkl in HKL])
    np.testing.assert_array_equal(centric(HKL, kind[0]), zones)


def test_a_lattice_keeps_one_point_in_as_many_as_its_cell_has() -> None:
    share = {c: allowed(HKL, c).mean() for c in "PCIFR"}
    for centring, points in {"P": 1, "C": 2, "I": 2, "F": 4, "R": 3}.items():
        assert share[centring] == pytest.approx(1 / points, rel=0.06)


def test_orientations_are_uniform() -> None:
    rng = default_rng(0)
    turns = np.array([draw_rotation(rng) for _ in range(20000)])
    np.testing.assert_allclose(turns @ turns.transpose(0, 2, 1), np.broadcast_to(np.eye(3), turns.shape), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(turns), 1)
    # Each axis ends uniformly on the sphere, so its heights are uniform (Archimedes); the angle has density (1 - cos)/pi.
    for row in range(3):
        for column in range(3):
            assert stats.kstest(turns[:, row, column], stats.uniform(-1, 2).cdf).pvalue > 1e-4
    angle = np.arccos((np.trace(turns, axis1=1, axis2=2) - 1) / 2)
    assert stats.kstest(angle, lambda a: (a - np.sin(a)) / np.pi).pvalue > 1e-4


def test_intensities_follow_wilson() -> None:
    cell = Cell("orthorhombic", "P", (80e-10, 90e-10, 100e-10))
    grid = np.arange(-40, 41)
    hkl = np.stack(np.meshgrid(grid, grid, np.arange(1, 40), indexing="ij"), -1).reshape(-1, 3)
    found, zones = intensities(hkl, cell, 5), centric(hkl, cell.system)
    # One of two mates alone, lest each value count twice.
    assert stats.kstest(found[~zones][::7], "expon").pvalue > 1e-4
    assert stats.kstest(found[zones], stats.chi2(1).cdf).pvalue > 1e-4
    # <E^4>/<E^2>^2 is 2 and 3; the tolerance is five standard errors.
    for values, ratio in ((found[~zones], 2.0), (found[zones], 3.0)):
        assert values.mean() == pytest.approx(1, abs=5 * values.std() / len(values) ** 0.5)
        assert (values**2).mean() == pytest.approx(ratio, abs=5 * (values**2).std() / len(values) ** 0.5)


def test_friedel_mates_are_equal_and_structures_differ() -> None:
    cell = CELLS[0]
    np.testing.assert_array_equal(intensities(HKL, cell, 1), intensities(-HKL, cell, 1))
    assert abs(np.corrcoef(intensities(HKL, cell, 1), intensities(HKL, cell, 2))[0, 1]) < 0.1
