"""What films are of: how deep a wave gets, and that what it does not reach is not seen."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.random import default_rng

from beamsight.physics import films
from beamsight.physics.films import Film
from beamsight.physics.gisaxs import render
from beamsight.task import columns
from beamsight.tasks.gisaxs_lattice.films import layered, single
from beamsight.tasks.gisaxs_lattice.matter import reached, unlit, within

SHAPE = (96, 96)
GOLD, POLYMER = (1.5e-5, 1e-6), (2.3e-6, 2e-9)


def film_of(layers: int, matter: tuple[float, float]) -> Film:
    film = films.powder("HCP", 2e-8, layers, radius_m=8e-9, side_rad=0.03, wavelength_m=1.24e-10, incidence_rad=np.radians(0.15))
    return replace(film, film_m=(layers - 1) * film.layer_m + 1.6e-8, film_delta=matter[0], film_beta=matter[1])


def logs(film: Film) -> np.ndarray:
    return np.log(np.maximum(render(columns([film]), SHAPE)[0].numpy(), 1e-4))


def numbers_of(film: Film) -> dict[str, float]:
    names = ("film_delta", "film_beta", "film_m", "incidence_rad", "wavelength_m")
    return {name: float(getattr(film, name)) for name in names}


@pytest.mark.parametrize(("matter", "dark"), [(GOLD, True), (POLYMER, False)])
def test_a_film_that_is_lit_in_its_first_layer_shows_one_layer(matter: tuple[float, float], dark: bool) -> None:
    film, one = film_of(4, matter), film_of(1, matter)
    assert unlit(numbers_of(film), film.layer_m) is dark
    off = np.abs(logs(film) - logs(one))[:70, 60:]  # above the horizon, beside the specular rod
    assert bool(np.median(off) < 0.1) == dark
    assert not unlit({"incidence_rad": 0.001, "wavelength_m": 1e-10}, 1e-8)  # particles in air


def test_layers_that_no_wave_reaches_may_be_left_out() -> None:
    whole = film_of(8, GOLD)
    lit, thinner = reached(numbers_of(whole), 8, whole.layer_m)
    assert 1 < lit < 8
    assert thinner["film_m"] == pytest.approx(film_of(lit, GOLD).film_m)
    off = np.abs(logs(replace(whole, layers=lit, **thinner)) - logs(film_of(lit - 1, GOLD)))[:70]
    assert np.median(off) < 0.03
    assert off.max() < 0.2
    assert reached(numbers_of(film_of(8, POLYMER)) | {"incidence_rad": 0.006}, 8, whole.layer_m) == (8, {})


def test_films_of_metal_are_drawn_and_their_light_is_a_number() -> None:
    rng, film = default_rng(2), film_of(4, POLYMER)
    drawn = [within(rng, film, 5e-8, 1.24e-10) for _ in range(300)]
    held = np.array([of.get("film_delta", 0.0) for of in drawn])
    assert 0.1 < (held == 0).mean() < 0.35
    assert held.max() > 1e-5
    scenes = [make(default_rng([6, n]), "HCP") for n in range(40) for make in (layered, single)]
    assert bool(render(columns(scenes), (32, 32)).isfinite().all())
