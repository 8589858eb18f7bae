"""What films scatter: sums over particles done one by one, the horizon, the critical angle, and no dependence on company."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from beamsight.physics import crystals, films, finite, gisaxs
from beamsight.physics.crystals import NAMES
from beamsight.physics.films import Film, crystal, powder
from beamsight.physics.formfactors import sphere
from beamsight.physics.fresnel import terms, waves
from beamsight.task import columns
from directions import directions, transfer

SPACING_M, SHAPE = 15e-9, (48, 40)
FILM = {"film_delta": 2e-6, "film_beta": 5e-8, "film_m": 9e-8}


def light(film: Film, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    return gisaxs.render(columns([film]), shape)[0].double().numpy()


def amplitude(film: Film, places_m: np.ndarray) -> np.ndarray:
    """|sum over particles and four terms|^2 at each pixel, particle by particle, in double precision."""
    s = columns([film])
    s = replace(s, **{n: v.double() for n, v in vars(s).items()})
    k = 2 * np.pi / film.wavelength_m
    direction, q = directions(film, SHAPE), transfer(film, SHAPE)[:2]
    matter = (s.film_delta[0, 0], s.film_beta[0, 0], s.film_m[0, 0]), (s.substrate_delta[0, 0], s.substrate_beta[0, 0])
    angle = torch.tensor(direction[2]).clamp(min=1e-6)
    wave_number = torch.tensor(k, dtype=torch.float64)
    into, out = waves(wave_number, torch.sin(s.incidence_rad[0, 0]), *matter), waves(wave_number, angle, *matter)
    weight, q_z = terms(into, out)
    body = sphere(torch.tensor(np.hypot(*q))[..., None], q_z, torch.tensor(film.radius_m, dtype=torch.float64))
    total = np.zeros(SHAPE, complex)
    for x, y, z in places_m:
        phase = np.exp(-1j * (q[0] * x + q[1] * y)[..., None] - 1j * q_z.numpy() * z)
        total += ((weight * body).numpy() * phase).sum(-1)
    return np.where(direction[2] > 0, np.abs(total) ** 2, 0)


def places(name: str, cells: tuple[int, int, int], primitive: bool, film: Film) -> np.ndarray:
    vectors, sites, taken = crystals.block(name, SPACING_M, primitive=primitive)
    index = np.array(list(np.ndindex(*cells)))
    found = ((index @ vectors)[:, None] + sites[taken > 0]).reshape(-1, 3)
    found[:, 2] += film.radius_m + film.base_m - (index @ vectors)[:, 2].min()
    cos, sin = np.cos(film.azimuth_rad), np.sin(film.azimuth_rad)
    return np.stack([found[:, 0] * cos - found[:, 1] * sin, found[:, 0] * sin + found[:, 1] * cos, found[:, 2]], 1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("primitive", [False, True])
@pytest.mark.parametrize("matter", [{}, FILM], ids=["air", "film"])
def test_finite_crystals_are_the_sum_over_their_particles(name: str, primitive: bool, matter: dict) -> None:
    cells = (4, 3, 3)
    film = crystal(name, SPACING_M, cells, primitive=primitive, azimuth_rad=0.3, base_m=4e-9, **matter)
    found, expected = light(film), amplitude(film, places(name, cells, primitive, film))
    expected *= found.mean() / expected.mean()
    # Looked up between columns of the form factor and rows of exit angles: four parts in a thousand of the brightest pixel.
    assert np.abs(found - expected).max() < 4e-3 * expected.max()
    bright = expected > 1e-3 * expected.max()
    assert np.abs(np.log(found[bright] / expected[bright])).max() < 0.1


def test_rods_stand_where_the_layers_have_them() -> None:
    """Bright columns above the horizon lie at q = 2 pi / lambda sin(theta) of the rods, within a pixel."""
    film = powder("FCC111", SPACING_M, 3, domain_m=4e-7)
    image = light(film, (100, 200))[:60].sum(0)
    pixel = film.side_rad / 100
    for rod in film.rod_q[1:4]:
        column = rod * film.wavelength_m / (2 * np.pi) / pixel + 0.5 * 200 - 0.5
        near = image[int(column) - 2 : int(column) + 4]
        assert abs(int(column) - 2 + near.argmax() - column) <= 1


@pytest.mark.parametrize("make", [lambda: powder("BCC100", SPACING_M, 4), lambda: crystal("BCC100", SPACING_M, (9, 9, 9))])
def test_nothing_leaves_below_the_horizon(make) -> None:
    film = replace(make(), spread=0.08, strewn=0.3, rough_ph=5.0)
    pixel = film.side_rad / 200
    horizon = film.beam_y * 200 - 0.5 - np.tan(film.incidence_rad) / pixel
    image = light(film, (200, 200))
    assert (image[int(np.ceil(horizon)) :] == 0).all()
    assert (image[: int(horizon)] > 0).all()


def test_light_is_brightest_at_the_critical_angle() -> None:
    """Rough and strewn particles show the Yoneda band at sqrt(2 delta), wherever the detector is."""
    delta = 5e-6
    film = powder(
        "Cubic100", SPACING_M, 1, rough_ph=100.0, lattice_ph=0.0, substrate_delta=delta, substrate_beta=1e-9, side_rad=0.02
    )
    for shape in ((400, 50), (800, 100)):
        pixel = film.side_rad / shape[0]
        horizon = film.beam_y * shape[0] - 0.5 - np.tan(film.incidence_rad) / pixel
        row = light(film, shape)[:, shape[1] // 2].argmax()
        assert abs(row - (horizon - np.sqrt(2 * delta) / pixel)) <= 1


def test_energies_and_lengths() -> None:
    assert np.isclose(films.wavelength_m(12398.4), 1e-10, rtol=1e-4)
    film = powder("HCP", SPACING_M, 4, domain_m=1e-7, disorder_m=1e-9)
    # Nothing but ratios of lengths matters: twice as long waves on twice as large a film.
    lengths = {n: 2 * v for n, v in vars(film).items() if n.endswith("_m") and n != "rod_q"}
    twice = replace(film, **lengths, rod_q=film.rod_q / 2, area_m2=film.area_m2 * 4)
    assert np.allclose(light(film), light(twice), rtol=1e-3, atol=1e-4 * light(film).max())


def scenes() -> list[Film]:
    made: list[Film] = []
    for n, name in enumerate(NAMES):
        common = {
            "spread": 0.05 * (n % 2),
            "disorder_m": 5e-10 * (n % 3),
            "shape": n % 3,
            "taper": 0.2,
            "flat_ph": 0.1,
            "stop_rad": 1e-3 * n,
        }
        made.append(powder(name, SPACING_M, 1 + n, gaussian=n % 2, paracrystal=0.03, **common, **(FILM if n % 2 else {})))
        made.append(crystal(name, SPACING_M, (10, 12, 4), primitive=bool(n % 2), **common, **(FILM if n % 3 else {})))
    return made


def test_company_does_not_matter() -> None:
    made = scenes()
    together = gisaxs._made(columns(made), SHAPE)
    for n, film in enumerate(made):
        alone = gisaxs.render(columns([film]), SHAPE)[0]
        # float32, and sines of complex phases where a neighbour's film absorbs.
        assert torch.allclose(alone, together[n], rtol=2e-3, atol=5e-5 * alone.max().item())
        assert torch.isfinite(alone).all()
        assert (alone >= 0).all()
        open_ = light(replace(film, stop_rad=0.0))
        assert np.isclose(open_.mean(), film.lattice_ph + film.flat_ph, rtol=1e-3)


def test_films_alike_are_made_together_and_stay_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    made, counts = gisaxs._made, []
    blocks = [crystal("FCC100", SPACING_M, (4, 4, n)) for n in (2, 3, 4, 5, 6, 7)]
    turned = [replace(block, turning=1, domain_m=1e-7, area_m2=SPACING_M**2) for block in blocks[:2]]
    absorbing = [replace(block, **FILM) for block in blocks[:2]]
    some = [blocks[0], turned[0], blocks[1], absorbing[0], *blocks[2:], turned[1], absorbing[1]]
    monkeypatch.setattr(gisaxs, "_made", lambda films, shape: counts.append(len(films.kind)) or made(films, shape))
    monkeypatch.setattr(gisaxs, "TOGETHER", 4 * SHAPE[0] * SHAPE[1] + 1)
    together = gisaxs.render(columns(some), SHAPE)
    assert counts == [4, 2, 1, 2, 1]  # four of six blocks, the rest; what turns, each alone
    for film, found in zip(some, together, strict=True):
        np.testing.assert_allclose(found, light(film), rtol=1e-3, atol=1e-5 * found.max().item())


@pytest.mark.parametrize("absorbed", [0.0, 0.3])
@pytest.mark.parametrize("number", [1, 2, 19, 20])
def test_sums_over_places_in_phase_and_not(number: int, absorbed: float) -> None:
    turn = torch.cat([torch.linspace(-30, 30, 4001), 2 * torch.pi * torch.arange(-3.0, 4), torch.tensor([1e-4, -1e-3])])
    turn = torch.complex(turn, torch.full_like(turn, absorbed)) if absorbed else turn
    places = np.arange(number) - (number - 1) / 2
    expected = np.exp(-1j * np.outer(turn.numpy().astype(complex), places)).sum(1)
    found = finite.ratio(turn, torch.tensor(float(number))).numpy()
    assert np.abs(found - expected).max() < 5e-4 * np.abs(expected).max()


def test_large_frames_show_the_same() -> None:
    film = powder("BCC110", SPACING_M, 4, disorder_m=1e-9, domain_m=6e-8)
    small, large = light(film, (100, 100)), light(film, (500, 500)).reshape(100, 5, 100, 5).mean((1, 3))
    above = small[:85]
    assert np.corrcoef(np.log(above).ravel(), np.log(large[:85]).ravel())[0, 1] > 0.995


def test_sizes_and_disorder_fill_the_gaps() -> None:
    """Spread sizes and strewn particles add light between the rods; displacements take it from far orders."""
    film = powder("Cubic100", SPACING_M, 4, domain_m=4e-7)
    dark = [
        np.quantile(light(replace(film, **c))[:30], 0.1) for c in ({}, {"spread": 0.1}, {"strewn": 0.5}, {"disorder_m": 2e-9})
    ]
    assert all(d > 2 * dark[0] for d in dark[1:])


@pytest.mark.parametrize("name", ["FCC100", "Cubic110"])
def test_a_crystal_in_a_thick_film_that_swallows_light_ends_in_numbers(name: str) -> None:
    film = crystal(name, 3e-8, (18, 18, 18), primitive=True, film_delta=4e-6, film_beta=8e-8, film_m=1.2e-6, incidence_rad=1.4e-3)
    pattern = light(film)
    assert np.isfinite(pattern).all()
    assert pattern.max() > 0


def test_a_thin_film_that_swallows_light_ends_in_numbers() -> None:
    """Of twelve layers that a film may have, two are there: the others would lie far above it."""
    film = powder(
        "Cubic100", 4.3e-8, 2, radius_m=1.35e-8, film_m=6.9e-8, film_delta=5.9e-6, film_beta=2.2e-8, incidence_rad=2.7e-3
    )
    assert np.isfinite(light(replace(film, spread=0.07, side_rad=0.022))).all()
