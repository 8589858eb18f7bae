"""Spots obey Ewald, Bragg and Friedel; what a pulse gives them is compared with sums over wavelengths and tilts."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from dataclasses import replace

import gemmi
import numpy as np
import pytest
from numpy.random import default_rng

from beamsight.physics.bragg import (
    LEAST_PH,
    REACH,
    Camera,
    Grain,
    Pulse,
    Spots,
    brighter_neighbour,
    brightest,
    draw_pulse,
    near_sphere,
    spots,
    taken_from,
)
from beamsight.physics.cells import Cell, allowed, draw_cell, draw_rotation, intensities, reciprocal_axes

CAMERA = Camera(0.12, 75e-6, (-1100.0, 1000.0, -1050.0, 1080.0), blur_px=0.3)
SEEDS = range(12)


def grain(seed: int, **changes: object) -> Grain:
    rng = default_rng(seed)
    return replace(Grain(draw_cell(rng), draw_rotation(rng), 0.5e-6, 1e-3, 20e-20, 2e-10, seed), **changes)


def pulse(seed: int, wavelength_m: float = 1.3e-10) -> Pulse:
    return draw_pulse(default_rng(seed), wavelength_m, (1e-3, 5e-3, 2e-2)[seed % 3], seeded=seed % 4 == 0)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_points_near_the_sphere_are_those_that_asking_all_finds(seed: int) -> None:
    cell = Cell("triclinic", "P", (34e-10, 41e-10, 52e-10), (1.4, 1.7, 1.5))
    axes = draw_rotation(default_rng(seed)) @ reciprocal_axes(cell)
    wavelength, q_max, half_width = 1.3e-10, 1 / 2.5e-10, (2e7, 2e8, 2e6)[seed % 3]
    sides = [np.arange(-24, 25)] * 3
    every = np.stack(np.meshgrid(*sides, indexing="ij"), -1).reshape(-1, 3)
    q = every @ axes.T
    off = np.linalg.norm(q + np.array([0, 0, 1 / wavelength]), axis=1) - 1 / wavelength
    near = (abs(off) <= half_width) & (np.linalg.norm(q, axis=1) <= q_max) & every.any(1)
    found = near_sphere(axes, wavelength, q_max, half_width)
    assert len(np.unique(found, axis=0)) == len(found)
    assert {tuple(h) for h in found.tolist()} == {tuple(h) for h in every[near].tolist()}


@pytest.mark.parametrize("seed", SEEDS)
def test_spots_lie_within_the_width_of_the_sphere(seed: int) -> None:
    g, p = grain(seed), pulse(seed)
    found = spots(g, p, CAMERA)
    q = found.hkl @ (g.rotation @ reciprocal_axes(g.cell)).T
    length, k = np.linalg.norm(q, axis=1), 1 / p.wavelength_m
    off = np.linalg.norm(q + np.array([0, 0, k]), axis=1) - k
    tilt = g.mosaicity_rad * length
    light = (abs(p.offset).max() + REACH * p.sd.max()) * length**2 / 2 * p.wavelength_m
    # First order in the widths: five per cent more.
    assert (abs(off) <= 1.05 * (REACH * np.hypot(0.376 / g.size_m, tilt) + light)).all()
    assert allowed(found.hkl, g.cell.centring).all()
    assert (length <= 1 / g.limit_m * 1.001).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_places_obey_braggs_law_within_the_spectrum(seed: int) -> None:
    g, p = grain(seed), pulse(seed)
    found = spots(g, p, CAMERA)
    other = gemmi.UnitCell(*(e * 1e10 for e in g.cell.edges_m), *np.degrees(g.cell.angles_rad))
    spacing_m = np.array([other.calculate_d(hkl.tolist()) for hkl in found.hkl]) * 1e-10
    two_theta = np.arctan(np.hypot(found.y, found.x) * CAMERA.pixel_m / CAMERA.distance_m)
    wavelength = 2 * spacing_m * np.sin(two_theta / 2)
    off = wavelength / p.wavelength_m - 1
    assert len(found) == 0 or (off.min() > p.offset.min() - 5 * p.sd.max() and off.max() < p.offset.max() + 5 * p.sd.max())
    # And in the direction of the reflection.
    q = found.hkl @ (g.rotation @ reciprocal_axes(g.cell)).T
    np.testing.assert_allclose(found.y * q[:, 0], found.x * q[:, 1], atol=1e-6 * abs(q).max() * 1500)


def test_friedel_mates_are_equal_where_the_sphere_is_flat() -> None:
    # At a wavelength that is short beyond all beams the sphere is a plane through the origin, which cuts h and -h alike.
    cell = Cell("monoclinic", "P", (60e-10, 70e-10, 80e-10), (np.pi / 2, 1.8, np.pi / 2))
    g = Grain(cell, np.eye(3), 2e-8, 1e-4, 20e-20, 3e-10, 3)
    camera = Camera(1e4, 75e-6, (-1000.0, 1000.0, -1000.0, 1000.0))
    found = spots(g, Pulse(3e-15, np.zeros(1), np.full(1, 1e-3), np.ones(1)), camera)
    by_hkl = {tuple(hkl): n for n, hkl in enumerate(found.hkl.tolist())}
    pairs = [(n, by_hkl[(-h, -k, -m)]) for (h, k, m), n in by_hkl.items() if (-h, -k, -m) in by_hkl]
    assert len(pairs) > 200
    a, b = np.array(pairs).T
    np.testing.assert_allclose(found.photons[a], found.photons[b], rtol=0.02)
    np.testing.assert_allclose(found.y[a], -found.y[b], atol=0.05)
    np.testing.assert_allclose(found.x[a], -found.x[b], atol=0.05)


def test_what_a_pulse_gives_is_the_sum_over_its_wavelengths() -> None:
    p = pulse(1)
    off, variance = np.array([0.0, 1e-3, -2e-3, 4e-3]), np.array([1e-7, 1e-6, 4e-6, 1e-5])
    e = np.linspace(-0.05, 0.05, 200001)
    light = (p.weight * np.exp(-0.5 * ((e[:, None] - p.offset) / p.sd) ** 2) / np.sqrt(2 * np.pi) / p.sd).sum(1)
    density, mean, sd = taken_from(p, off, variance)
    for n in range(len(off)):
        taken = light * np.exp(-0.5 * (e - off[n]) ** 2 / variance[n]) / np.sqrt(2 * np.pi * variance[n])
        total = np.trapezoid(taken, e)
        centre = np.trapezoid(taken * e, e) / total
        spread = np.sqrt(np.trapezoid(taken * (e - centre) ** 2, e) / total)
        np.testing.assert_allclose([density[n], mean[n], sd[n]], [total, centre, spread], rtol=1e-5, atol=1e-9)


def test_a_crystal_turned_through_the_sphere_gives_lorentz() -> None:
    """In monochromatic light the photons of a reflection, summed over all orientations about an axis, go as 1 / sin 2theta."""
    cell = Cell("orthorhombic", "P", (50e-10, 60e-10, 70e-10))
    p = Pulse(1e-10, np.zeros(1), np.full(1, 1e-6), np.ones(1))
    camera = Camera(0.1, 75e-6, (-3000.0, 3000.0, -3000.0, 3000.0))
    sums = {}
    for hkl in ((10, 0, 0), (20, 0, 0), (30, 0, 0)):
        theta = np.arcsin(p.wavelength_m * hkl[0] / cell.edges_m[0] / 2)
        steps = theta + np.linspace(-8e-3, 8e-3, 801)
        total = 0.0
        for turn in steps:
            # About y: the reflection along a passes the sphere at q_z = -q sin theta.
            rotation = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])
            found = spots(Grain(cell, rotation, 5e-6, 1e-3, 0.0, 1.2e-10, 1), p, camera)
            total += found.photons[(found.hkl == hkl).all(1)].sum()
        polarised = np.cos(2 * theta) ** 2
        sums[hkl[0]] = total / intensities(np.array([hkl]), cell, 1)[0] / polarised * np.sin(2 * theta)
    values = np.array(list(sums.values()))
    np.testing.assert_allclose(values, values[0], rtol=0.01)


def test_a_wider_spectrum_excites_more_reflections() -> None:
    g = grain(3)
    narrow = draw_pulse(default_rng(0), 1.3e-10, 1e-3, seeded=False)
    wide = draw_pulse(default_rng(0), 1.3e-10, 2e-2, seeded=False)
    assert len(spots(g, wide, CAMERA)) > 1.5 * len(spots(g, narrow, CAMERA))


def test_a_spot_of_a_wide_band_is_long_along_the_radius() -> None:
    g = grain(5, mosaicity_rad=5e-3, size_m=5e-6)
    found = spots(g, Pulse(1.3e-10, np.zeros(1), np.full(1, 1e-2), np.ones(1)), CAMERA)
    outer = np.hypot(found.y, found.x) > 700
    assert outer.any()
    assert (found.along_px[outer] > found.across_px[outer]).all()


def test_the_brightest_are_kept_and_scaled() -> None:
    alone = spots(grain(1), pulse(1), CAMERA)
    kept = brightest([alone, alone], 50.0, 40)
    height = kept.photons / kept.along_px / kept.across_px
    assert len(kept) == 40
    assert (np.diff(height) <= 1e-9 * height[0]).all()
    assert kept.photons[9] == pytest.approx(50.0)
    every = brightest([alone], 50.0, 10**6)
    dropped = brightest([alone], 50.0, 30)
    assert (every.photons / every.along_px / every.across_px)[30] <= (
        dropped.photons / dropped.along_px / dropped.across_px
    ).min()
    assert every.photons.min() >= LEAST_PH


def test_spots_that_look_like_one_are_told() -> None:
    y, x = np.array([0.0, 1.0, 30.0, 30.0, 90.0]), np.array([0.0, 1.0, 5.0, 6.5, 0.0])
    ones = np.ones(5)
    found = brighter_neighbour(Spots(y, x, ones, ones, ones, np.zeros((5, 3), np.int64)))
    assert found.tolist() == [-1, 0, -1, 2, -1]
