"""Drawing what particles are of and what holds them: how far a wave gets into a film, and what it then can show."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from beamsight.physics.films import Film
from beamsight.physics.fresnel import DEEP
from beamsight.physics.visibility import CONTRAST
from beamsight.tasks.gisaxs_lattice.looking import MATTER, TEN_KEV_M, Numbers

PARTICLES = {"gold": 0.35, "oxide": 0.3, "glass": 0.15, "polymer": 0.2}  # how often


def within(rng: Generator, film: Film, height_m: float, wave_m: float) -> Numbers:
    """Particles in air or in a film of polymer that holds them, `height_m` from the middle of the lowest to that of the highest.
    In most films they bend light as their mean with what lies between them does: dense ones of metal are dark below their first
    layer up to a third of a degree."""
    held, averaged = rng.random() < 0.25, rng.random() < 0.7
    matter = np.array(MATTER["polymer"] if held else (0.0, 0.0))
    if averaged:
        share, name = rng.uniform(0.1, 0.6), str(rng.choice(list(PARTICLES), p=list(PARTICLES.values())))
        matter = (1 - share) * matter + share * np.array(MATTER[name])
    if not held and not averaged:
        return {"base_m": rng.uniform(0, 5e-9) if rng.random() < 0.2 else 0.0}
    delta, beta = matter * (wave_m / TEN_KEV_M) ** 2
    above = rng.uniform(1e-9, 2e-8) if held else 0.0
    return {"film_m": height_m + 2 * film.radius_m * film.tall + above, "film_delta": delta, "film_beta": beta}


def unlit(numbers: Numbers, step_m: float) -> bool:
    """Whether so little of the beam reaches the next layer, `step_m` deeper, that all light is that of the uppermost: along a rod
    the sum over layers then hardly varies, by 2 exp(-Im kz step)."""
    return bool(2 * np.exp(-_decay(numbers) * step_m) < CONTRAST)


def reached(numbers: Numbers, steps: int, step_m: float) -> tuple[int, Numbers]:
    """How many of the film's steps of `step_m` the beam reaches, one or more, and the numbers of a film so much thinner: what
    lies deeper sends no light, and no wave in single precision gets there."""
    lit = max(1, min(steps, int(DEEP / max(_decay(numbers) * step_m, 1e-9))))
    return lit, {"film_m": numbers["film_m"] - (steps - lit) * step_m} if lit < steps else {}


def _decay(numbers: Numbers) -> float:
    """Im kz of the beam in the film, 1/m: `fresnel.normal_wavevector` of one number, without a tensor for each scene."""
    delta, beta = numbers.get("film_delta", 0.0), numbers.get("film_beta", 0.0)
    inside = np.sin(numbers["incidence_rad"]) ** 2 - 2 * delta + 2j * beta
    return float(2 * np.pi / numbers["wavelength_m"] * np.sqrt(inside).imag)
