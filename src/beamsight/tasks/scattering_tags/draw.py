"""Drawing patterns: families of samples as beamlines see them, each part visible to a drawn degree."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from beamsight.physics import azimuth, lattices, profiles
from beamsight.physics.draws import log_uniform as _log
from beamsight.tasks.scattering_tags import discrete, parts
from beamsight.tasks.scattering_tags import scene as s
from beamsight.tasks.scattering_tags.stage import Stage, amplitude, new_stage, strengthen

Numbers = dict[str, Any]

# Family: share, then the probability of low-q, high-q, first and second ring system, halo, particles, spots, layer lines,
# surface.
FAMILIES = {
    "blank": (0.04, (0.10, 0.10, 0.00, 0.00, 0.05, 0.00, 0.00, 0.00, 0.00)),
    "solution": (0.20, (0.35, 0.14, 0.00, 0.00, 0.12, 0.85, 0.00, 0.00, 0.00)),
    "powder": (0.26, (0.50, 0.20, 1.00, 0.30, 0.25, 0.08, 0.05, 0.00, 0.00)),
    "oriented": (0.18, (0.75, 0.12, 0.80, 0.25, 0.35, 0.05, 0.30, 0.30, 0.00)),
    "crystal": (0.13, (0.40, 0.18, 0.20, 0.00, 0.35, 0.00, 1.00, 0.00, 0.00)),
    "surface": (0.10, (0.30, 0.08, 0.30, 0.10, 0.25, 0.05, 0.20, 0.00, 1.00)),
    "mixture": (0.09, (0.35, 0.60, 0.30, 0.20, 0.40, 0.25, 0.20, 0.10, 0.10)),
}
SHARES = np.array([share for share, _ in FAMILIES.values()])
AZIMUTHS = {  # isotropic, folded, textured, spotted
    "powder": (0.36, 0.24, 0.20, 0.20),
    "oriented": (0.08, 0.72, 0.10, 0.10),
    "mixture": (0.30, 0.40, 0.15, 0.15),
}


def draw(rng: Generator) -> s.Pattern:
    """One pattern. About a third of all parts is glaring, a third faint and a third invisible; radii and widths have no
    preferred value."""
    with _on_cpu():
        family = str(rng.choice(list(FAMILIES), p=SHARES / SHARES.sum()))
        has = rng.random(9) < np.array(FAMILIES[family][1])
        numbers = _instrument(rng, surface=bool(has[8]))
        back = _background(rng)
        stage = new_stage(numbers, back["flat_ph"])
        numbers |= back
        if has[0]:
            numbers |= _low(rng, stage, oriented=family in ("oriented", "mixture") and rng.random() < 0.65)
        if has[1]:
            numbers |= strengthen(rng, stage, "high_ph", {"high_length_m": 1 / _q(rng, stage, 0.05, 0.8)}, parts.high)
        if has[5]:
            numbers |= _particles(rng, stage)
        numbers |= _rings(rng, stage, family, has[2:5])
        if has[8]:
            numbers |= discrete.surface(rng, stage)
        if has[7]:
            numbers |= discrete.layers(rng, stage)
        numbers |= discrete.spots(
            rng, stage, "line" if has[7] or (family == "oriented" and rng.random() < 0.7) else "any", bool(has[6])
        )
        return s.Pattern(**numbers)


def _on_cpu() -> AbstractContextManager[object]:
    # Drawing is many small sums: a GPU would be slower, and even to name the device costs where it is the processor anyway.
    return nullcontext() if torch.get_default_device().type == "cpu" else torch.device("cpu")


def _q(rng: Generator, stage: Stage, low: float, high: float) -> float:
    """q at a radius that is log-uniform between two shares of the side."""
    return float(np.interp(_log(rng, low, high), stage.radius[0], stage.q[0]))


def _instrument(rng: Generator, surface: bool) -> Numbers:
    wavelength, distance, side = [
        (_log(rng, 0.7e-10, 1.8e-10), _log(rng, 0.8, 8), rng.uniform(0.08, 0.4)),
        (_log(rng, 0.3e-10, 1.6e-10), _log(rng, 0.12, 0.6), rng.uniform(0.08, 0.4)),
        (_log(rng, 4e-10, 12e-10), _log(rng, 1, 15), rng.uniform(0.5, 1.0)),
    ][rng.choice(3, p=[0.5, 0.3, 0.2])]
    near, kind = rng.normal(0.5, 0.07, 2), rng.random()
    centre = near if kind < 0.5 else rng.uniform(0.0, 1.0, 2)
    if surface:
        centre = np.array([rng.uniform(0.65, 1.0), near[1]])
    elif kind > 0.84:
        outside = rng.choice([rng.uniform(-0.4, 0), rng.uniform(1, 1.4)])
        centre = np.array([outside, rng.uniform(0, 1)]) if rng.random() < 0.5 else np.array([rng.uniform(0, 1), outside])
    return {
        "wavelength_m": wavelength,
        "distance_m": distance,
        "side_m": side,
        "centre_y": float(centre[0]),
        "centre_x": float(centre[1]),
        "stretch": rng.choice([-1, 1]) * _log(rng, 1e-3, 0.03) if rng.random() < 0.4 else 0.0,
    }


def _background(rng: Generator) -> Numbers:
    bent = rng.random() < 0.4
    return {
        "flat_ph": _log(rng, 0.003, 300) if rng.random() < 0.9 else _log(rng, 10, 3000),
        "slope_y": rng.normal(0, 0.25) * bent,
        "slope_x": rng.normal(0, 0.25) * bent,
        "curve": rng.uniform(-0.8, 0.6) * bent,
        "beam_ph": _log(rng, 3, 1e4) if rng.random() < 0.6 else 0.0,
        "beam_size": _log(rng, 0.0015, 0.006),
        "flare_ph": _log(rng, 1, 1e4) if rng.random() < 0.08 else 0.0,
        "flare_angle": rng.uniform(0, np.pi),
    }


def _low(rng: Generator, stage: Stage, oriented: bool) -> Numbers:
    numbers: Numbers = {
        "low_kind": int(rng.integers(4)),
        "low_exponent": rng.uniform(1, 4.5),
        "low_length_m": 1 / _q(rng, stage, 0.015, 0.5),
        "low_angle": rng.choice([0, np.pi / 2, rng.uniform(0, np.pi)]),
    }
    numbers = strengthen(rng, stage, "low_ph", numbers, parts.low)
    return numbers | {"low_ratio": float(np.exp(10 ** rng.uniform(-2, 0.4))) if oriented else 1.0}


def _particles(rng: Generator, stage: Stage) -> Numbers:
    radius = 4.493 / _q(rng, stage, 0.04, 1.0)
    correlated = rng.random() < 0.5
    numbers: Numbers = {
        "form_kind": int(rng.choice(3, p=[0.5, 0.25, 0.25])),
        "form_radius_m": radius,
        "form_spread": _log(rng, 0.01, 0.3),
        "form_core": rng.uniform(0.3, 0.9),
        "form_contrast": rng.uniform(-1, 3),
        "form_shape": float(rng.choice([0, rng.uniform(1, 8)])),
        "sphere_fraction": rng.uniform(0.05, 0.5) if correlated else 0.0,
        "sphere_radius_m": radius * rng.uniform(1, 1.7) * (rng.choice([1.0, rng.uniform(1, 6)]) if correlated else 1),
    }
    # Fringes lie decades below the rest: drawn by the whole, they would be lost in nearly all frames.
    return strengthen(
        rng, stage, "form_ph", numbers, lambda films, q: parts.form(films, q) * parts.correlation(films, q), rng.random() < 0.6
    )


def _rings(rng: Generator, stage: Stage, family: str, has: NDArray[np.bool_]) -> Numbers:
    systems = [_ring_system(rng, stage, family), _ring_system(rng, stage, family), _halo(rng, stage, family)]
    columns = ("ring_ph", "ring_q", "ring_sd", "ring_kind", "ring_fold", "ring_particles", "azimuth", "twist")
    arrays: Numbers = {name: np.stack([np.asarray(system[n]) for system in systems]) for n, name in enumerate(columns)}
    arrays["ring_ph"] = np.where(has[:, None], arrays["ring_ph"], 0.0)
    for system in np.flatnonzero(has):
        shape = _orders(arrays, int(system), stage)
        top = max(float((shape * (stage.pixels > 0)).max()), 1e-6)
        arrays["ring_ph"][system] *= amplitude(rng, stage, (shape / top).clamp(max=1.0)) / top
    return arrays


def _orders(arrays: Numbers, system: int, stage: Stage) -> torch.Tensor:
    weight, centre, sd = (
        torch.tensor(arrays[name][system], dtype=torch.float32)[:, None] for name in ("ring_ph", "ring_q", "ring_sd")
    )
    return (weight * profiles.peak(q=stage.q, centre=centre, sd=sd)).sum(0)


def _ring_system(rng: Generator, stage: Stage, family: str) -> tuple[Any, ...]:
    first = _q(rng, stage, 0.03, 0.6)
    ratios, weights, particles = _lattice(rng)
    # Widths: strain grows with q, crystal size does not.
    width = _log(rng, 0.05, 0.30) if particles == 1 else _log(rng, 0.006, 0.30)
    sd = first * width / 2.355 * (1 + rng.uniform(0, 1) * (ratios - 1))
    narrowest = float(np.interp(0.0018, stage.radius[0] - stage.radius[0, 0], stage.q[0] - stage.q[0, 0]))
    return (weights, first * ratios, np.maximum(sd, narrowest), *_modulation(rng, family, particles))


def _lattice(rng: Generator) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Ratios [10] of q and weights [10] of the orders of a single ring, a powder or a lattice of particles; and 1 for
    particles."""
    kind = rng.random()
    name = str(rng.choice(lattices.NAMES, p=[0.4, 0.2, 0.1, 0.15, 0.15]))
    ratios = np.array([ratio for ratio, _ in lattices.reflections(name)])
    planes = np.array([count for _, count in lattices.reflections(name)], float)
    if kind < 0.3:
        return ratios, np.eye(10)[0], -1.0
    if kind < 0.5 and name != "lamellar":
        damping = rng.uniform(0.1, 1.0)
        return ratios, planes / planes[0] * np.exp(-damping * (ratios**2 - 1)) / ratios**2, 1.0
    irregular = rng.lognormal(0, rng.choice([0.15, 0.9]), 10)
    weights = planes / planes[0] * irregular * np.exp(-_log(rng, 0.005, 0.7) * (ratios**2 - 1)) / ratios ** rng.uniform(0, 3)
    return ratios, weights, 0.0


def _halo(rng: Generator, stage: Stage, family: str) -> tuple[Any, ...]:
    first = _q(rng, stage, 0.08, 0.6)
    width = rng.uniform(0.42, 0.95) if rng.random() < 0.9 else rng.uniform(0.28, 0.42)
    ones = np.ones(10)
    return (
        np.eye(10)[0],
        first * ones,
        first * width / 2.355 * ones,
        *_modulation(rng, "halo" if family != "oriented" else family, -1.0),
    )


def _modulation(rng: Generator, family: str, particles: float) -> tuple[Any, ...]:
    """Kind, fold, particles, azimuthal table [360] and twist of one system."""
    shares = AZIMUTHS.get(family, (0.75, 0.15, 0.10, 0.0) if family == "halo" else AZIMUTHS["powder"])
    kind = int(rng.choice(4, p=shares))
    fold = int(rng.choice([2, 4, 6], p=[0.36, 0.32, 0.32])) if kind == s.FOLDED else 0
    if kind == s.FOLDED:
        chi0 = rng.choice([0, np.pi / 2, rng.uniform(0, np.pi)])
        table = (
            azimuth.fold(fold, 1 - _log(rng, 0.03, 1), chi0)
            if rng.random() < 0.7
            else azimuth.fold(fold, _log(rng, 0.005, 0.3), chi0)
        )
    else:
        table = _irregular(rng, kind)
    if kind in (s.TEXTURED, s.SPOTTED) and rng.random() < 0.3:
        table = 1 + (table - 1) * _log(rng, 0.01, 1)
    return kind, fold, particles, table, int(rng.integers(20, 180))


def _irregular(rng: Generator, kind: int) -> azimuth.Table:
    if kind == s.TEXTURED:
        return azimuth.texture(rng)
    return azimuth.spots(rng) if kind == s.SPOTTED else np.ones(azimuth.STEPS)
