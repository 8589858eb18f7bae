"""Drawing what is none of the seven lattices: films without order, gratings, sheets, rings, fibres, empty frames."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.random import Generator

from beamsight.physics import films
from beamsight.physics.crystals import CLASSES, NAMES, RODS
from beamsight.physics.draws import log_uniform
from beamsight.tasks.gisaxs_lattice.films import among, particle, pattern
from beamsight.tasks.gisaxs_lattice.looking import Numbers, looked_at
from beamsight.tasks.gisaxs_lattice.matter import within
from beamsight.tasks.gisaxs_lattice.scene import RINGS, SPOTS, Pattern

NONE = len(NAMES)


def none(rng: Generator) -> Pattern:
    """Any of them, equally often."""
    kinds = (disordered, disordered, grating, empty, rings, rings, arcs, dilute, spotted, sheets)
    scene = kinds[int(rng.integers(len(kinds)))](rng)
    return replace(scene, truth=NONE, alike=among(()))


def disordered(rng: Generator) -> Pattern:
    """Particles that know no lattice, alone or with a distance that most neighbours keep."""
    diameter = log_uniform(rng, 7e-9, 3e-8)
    spacing = diameter * rng.uniform(1, 2)
    numbers = looked_at(rng, 2 * np.pi / spacing * rng.uniform(1.5, 5.5))
    layers = int(rng.integers(2, 6)) if rng.random() < 0.25 else 1
    film = films.powder("FCC111", spacing, layers, **particle(rng, diameter, spacing))
    if rng.random() < 0.6:
        # Order that ends within a neighbour or two: one broad peak, as of a liquid.
        film = replace(film, domain_m=spacing * rng.uniform(0.3, 1.0), gaussian=int(rng.random() < 0.5), strewn=0.0)
        film = replace(film, layers=1)
    else:
        film = replace(film, strewn=1.0)
    return pattern(film, "FCC111", **numbers | within(rng, film, (layers - 1) * film.layer_m, numbers["wavelength_m"]))


def grating(rng: Generator) -> Pattern:
    """Lines: orders in one direction, as streaks across the beam or as spots on an arc."""
    period = log_uniform(rng, 1.5e-8, 2e-7)
    numbers = looked_at(rng, 2 * np.pi / period * rng.uniform(2, 12))
    if rng.random() < 0.4:
        return _conical(rng, numbers)
    orders = np.arange(RODS)
    rod_count = np.zeros((RODS, CLASSES))
    rod_count[:, 0] = np.where(orders == 0, 1, 2) * (orders + 0.5)  # a powder of rods thins out as 1 / q; lines do not
    wide: Numbers = {"shape": int(rng.choice([1, 2])), "radius_m": period * rng.uniform(0.1, 0.35), "tall": rng.uniform(0.3, 2)}
    film = replace(films.powder("Cubic100", period, 1), **wide, taper=rng.uniform(0, 0.4))
    order = {"rod_q": 2 * np.pi / period * orders, "rod_count": rod_count, "domain_m": period * log_uniform(rng, 3, 60)}
    return pattern(film, "Cubic100", **numbers, **order)


def _conical(rng: Generator, numbers: Numbers) -> Pattern:
    """Orders of lines along the beam lie on a circle through the specular beam."""
    side, incidence = numbers["side_rad"], numbers["incidence_rad"]
    across = (np.arange(SPOTS) - SPOTS // 2) * side * log_uniform(rng, 0.012, 0.08)
    radius = side * log_uniform(rng, 0.08, 0.6)
    up = np.sqrt(np.maximum(radius**2 - across**2, 0)) + 2 * np.tan(incidence) - radius * rng.uniform(0.5, 1)
    peak = numbers["lattice_ph"] * log_uniform(rng, 3, 1e3) * np.exp(-rng.uniform(0, 3, SPOTS))
    spots = {"spot_up": up, "spot_across": across, "spot_ph": peak * (np.abs(across) < radius)}
    return _alone(rng, numbers, **spots, spot_rad=side * log_uniform(rng, 0.004, 0.015))


def empty(rng: Generator) -> Pattern:
    """A substrate, its roughness and its beams; or nothing but noise and air."""
    numbers = looked_at(rng, 1e9 * log_uniform(rng, 0.2, 2))
    mean = numbers["lattice_ph"]
    if rng.random() < 0.7:
        numbers |= {"rough_ph": mean, "rough_m": log_uniform(rng, 3e-9, 2e-7)}
    return _alone(rng, numbers)


def rings(rng: Generator) -> Pattern:
    """Powder rings and halos, in transmission or behind a horizon."""
    numbers = _anywhere(rng, looked_at(rng, 1e9 * log_uniform(rng, 0.2, 2)))
    turned = log_uniform(rng, 0.05, 1) if rng.random() < 0.4 else 0.0
    return _alone(rng, numbers, **_drawn_rings(rng, numbers, (0.005, 0.6)), ring_turned=turned, **_diffuse(rng, numbers))


def arcs(rng: Generator) -> Pattern:
    """Rings that gather along the normal, the surface, or both, as textured films and fibres do."""
    numbers = _anywhere(rng, looked_at(rng, 1e9 * log_uniform(rng, 0.2, 2)))
    return _alone(
        rng, numbers, **_drawn_rings(rng, numbers, (0.01, 0.2)), ring_turned=float(rng.uniform(1, 12)),
        ring_fold=int(rng.choice([2, 2, 2, 4, 6])), **_diffuse(rng, numbers),
    )  # fmt: skip


def dilute(rng: Generator) -> Pattern:
    """Small-angle scattering of particles far apart."""
    numbers = _anywhere(rng, looked_at(rng, 1e9 * log_uniform(rng, 0.2, 2)))
    return _alone(rng, numbers, **_diffuse(rng, numbers, always=True))


def spotted(rng: Generator) -> Pattern:
    """Reflections at random places, or in lines: grains, fibres' layer lines, detector artefacts."""
    numbers = _anywhere(rng, looked_at(rng, 1e9 * log_uniform(rng, 0.2, 2)))
    side = numbers["side_rad"]
    up, across = side * rng.uniform(-0.6, 0.6, SPOTS), side * rng.uniform(-0.6, 0.6, SPOTS)
    if rng.random() < 0.4:
        turn, step = rng.uniform(0, np.pi), side * log_uniform(rng, 0.04, 0.2)
        line = (np.arange(SPOTS) - SPOTS // 2) * step
        up, across = line * np.sin(turn), line * np.cos(turn)
    there = np.arange(SPOTS) < rng.integers(2, SPOTS + 1)
    peak = numbers["lattice_ph"] * 10 ** rng.uniform(0.3, 3, SPOTS) * there
    spots = {"spot_up": up, "spot_across": across, "spot_ph": peak, "spot_rad": side * log_uniform(rng, 0.004, 0.03)}
    return _alone(rng, numbers, **spots, **_diffuse(rng, numbers))


def sheets(rng: Generator) -> Pattern:
    """Lamellae in the surface: sheets of light at heights that repeat."""
    numbers = looked_at(rng, 1e9 * log_uniform(rng, 0.3, 2))
    side, step = numbers["side_rad"], numbers["side_rad"] * log_uniform(rng, 0.08, 0.4)
    n = np.arange(RINGS)
    spots = {"spot_up": np.zeros(SPOTS), "spot_across": np.zeros(SPOTS), "spot_ph": np.zeros(SPOTS)}
    spots["spot_up"][:RINGS] = np.tan(numbers["incidence_rad"]) + step * (n + 1)
    spots["spot_ph"][:RINGS] = numbers["lattice_ph"] * log_uniform(rng, 3, 300) * rng.uniform(0.1, 0.6) ** n
    return _alone(rng, numbers, **spots, spot_rad=side * log_uniform(rng, 0.006, 0.04), **_diffuse(rng, numbers))


def _alone(rng: Generator, numbers: Numbers, **others: Any) -> Pattern:
    """No particles; everything else as drawn."""
    return pattern(films.Film(0, 1e-8), NAMES[0], **numbers | {"lattice_ph": 0.0} | others)


def _anywhere(rng: Generator, numbers: Numbers) -> Numbers:
    """In two of three frames in transmission: no horizon, and the beam anywhere."""
    if rng.random() < 1 / 3:
        return numbers
    place = {"beam_y": rng.uniform(0.2, 0.8), "beam_x": rng.uniform(0.2, 0.8)} if rng.random() < 0.8 else {}
    bare = {"rough_ph": 0.0, "specular_ph": 0.0, "specular_stop_rad": 0.0, "grazing": 0}
    return numbers | place | bare


def _drawn_rings(rng: Generator, numbers: Numbers, wide: tuple[float, float]) -> Numbers:
    side, n = numbers["side_rad"], np.arange(RINGS)
    first = side * log_uniform(rng, 0.04, 0.5)
    series = int(rng.integers(3))
    ratio = (1.0 + n, np.sqrt(1.0 + n), 1 + np.cumsum(rng.uniform(0.05, 0.8, RINGS)))[series]
    there = n < rng.integers(1, RINGS + 1)
    peak = numbers["lattice_ph"] * log_uniform(rng, 1, 300) * 10 ** -np.cumsum(rng.uniform(0, 1, RINGS)) * there
    relative = np.full(RINGS, log_uniform(rng, *wide))
    angle = float(rng.choice([0, np.pi / 2, rng.uniform(0, np.pi)]))
    return {"ring_rad": first * ratio, "ring_ph": peak, "ring_wide": relative, "ring_angle": angle}


def _diffuse(rng: Generator, numbers: Numbers, always: bool = False) -> Numbers:
    if not always and rng.random() < 0.4:
        return {}
    height = numbers["lattice_ph"] * log_uniform(rng, 1, 1e3)
    return {
        "diffuse_ph": height, "diffuse_rad": numbers["side_rad"] * log_uniform(rng, 0.01, 0.5),
        "diffuse_power": rng.uniform(1, 4.5),
    }  # fmt: skip
