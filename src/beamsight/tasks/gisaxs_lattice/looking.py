"""Drawing how films are looked at: beam, incidence, detector, and what reaches the user's file."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import Generator

from beamsight.detector import Detector
from beamsight.physics.draws import log_uniform
from beamsight.physics.films import wavelength_m

Numbers = dict[str, Any]

# Refraction and absorption at 10 keV; both grow as the wavelength squared. The oxide is one of iron.
MATTER = {
    "silicon": (4.9e-6, 7.4e-8), "glass": (4.6e-6, 4.5e-8), "gold": (3.0e-5, 2.2e-6), "polymer": (2.3e-6, 2e-9),
    "oxide": (1.0e-5, 5e-7),
}  # fmt: skip
SUBSTRATES = {"silicon": 0.6, "glass": 0.2, "gold": 0.1, "polymer": 0.1}  # how often
TEN_KEV_M = 1.24e-10


def looked_at(rng: Generator, reach_per_m: float) -> Numbers:
    """Beam, detector's place and light of a film whose pattern is seen to about `reach_per_m` rad/m beside the beam."""
    wave = wavelength_m(1e3 * rng.uniform(6, 16))
    incidence = np.radians(rng.uniform(0.08, 0.4))
    numbers: Numbers = {"wavelength_m": wave, "incidence_rad": incidence, **_matter(rng, wave)}
    numbers |= _aimed(rng, reach_per_m * wave / (2 * np.pi), incidence)
    return numbers | light(rng, incidence, numbers["side_rad"]) | in_file(rng)


def _matter(rng: Generator, wave: float) -> Numbers:
    name = str(rng.choice(list(SUBSTRATES), p=list(SUBSTRATES.values())))
    delta, beta = (v * (wave / TEN_KEV_M) ** 2 for v in MATTER[name])
    return {"substrate_delta": delta, "substrate_beta": beta}


def _aimed(rng: Generator, reach_rad: float, incidence: float) -> Numbers:
    """Whole patterns, halves and shifted ones, cut at the horizon or not; frames that are not square cover a part."""
    kind = rng.choice(["whole", "half", "shifted"], p=[0.45, 0.35, 0.2])
    square, upright = rng.random() < 0.4, rng.random() < 0.5
    shorter = rng.uniform(0.4, 1)
    cover_y, cover_x = (1.0, 1.0) if square else ((1.0, shorter) if upright else (shorter, 1.0))
    place = {"whole": rng.normal(0.5, 0.02), "half": rng.uniform(-0.01, 0.05), "shifted": rng.uniform(0.08, 0.45)}[kind]
    side = reach_rad / (cover_x * (1 - place))
    below = float(rng.choice([0.0, rng.uniform(0, 0.15), 1.3 * incidence / (side * cover_y), rng.uniform(0, 0.35)]))
    horizon = cover_y * (1 - min(below, 0.35))
    beam_x = cover_x * (place if rng.random() < 0.5 else 1 - place)
    return {
        "side_rad": side, "beam_x": beam_x, "beam_y": horizon + np.tan(incidence) / side, "cover_y": cover_y, "cover_x": cover_x
    }  # fmt: skip


def light(rng: Generator, incidence: float, side: float) -> Numbers:
    """Photons: from a second's exposure to a computed pattern; air, roughness, beams and their stops."""
    mean = log_uniform(rng, 1, 3e5)
    numbers: Numbers = {"lattice_ph": mean}
    if rng.random() < 0.5:
        numbers["flat_ph"] = mean * log_uniform(rng, 1e-5, 0.5)
    if rng.random() < 0.4:
        numbers |= {"air_ph": mean * log_uniform(rng, 0.01, 30), "air_rad": side * log_uniform(rng, 0.02, 0.3)}
    if rng.random() < 0.5:
        numbers |= {"rough_ph": mean * log_uniform(rng, 0.01, 3), "rough_m": log_uniform(rng, 3e-9, 1e-7)}
    if rng.random() < 0.5:
        numbers["specular_ph"] = mean * log_uniform(rng, 1, 1e4)
    if rng.random() < 0.2:
        numbers["direct_ph"] = mean * log_uniform(rng, 1, 1e4)
    numbers["beam_rad"] = side * log_uniform(rng, 0.003, 0.015)
    if rng.random() < 0.4:
        size = side * log_uniform(rng, 0.008, 0.05)
        numbers |= {"stop_rad": size, "specular_stop_rad": size if rng.random() < 0.6 else 0.0}
        numbers["bar_rad"] = side * log_uniform(rng, 0.004, 0.03) if rng.random() < 0.5 else 0.0
    return numbers


def in_file(rng: Generator) -> Numbers:
    """Counts or an 8-bit picture, turned or not; pictures are often of patterns that were computed, without noise."""
    numbers: Numbers = {"turns": int(rng.integers(4)) if rng.random() < 0.3 else 0}
    if rng.random() < 0.3:
        numbers["decades"] = rng.uniform(2.5, 8.0)
    return numbers


def computed(rng: Generator) -> Numbers:
    """What a program computes instead of a detector: photons for as many decades, and no light but the film's."""
    numbers: Numbers = {"lattice_ph": log_uniform(rng, 1e5, 1e12), "turns": int(rng.integers(4)) if rng.random() < 0.15 else 0}
    for name in ("flat_ph", "air_ph", "rough_ph", "specular_ph", "direct_ph", "stop_rad", "specular_stop_rad", "bar_rad"):
        numbers[name] = 0.0
    numbers["decades"] = rng.uniform(4.0, 12.0) if rng.random() < 0.85 else 0.0
    return numbers


def detector(rng: Generator) -> Detector:
    """A photon counter with gaps, a CCD, or what a plain file holds; small ones are enlarged to the frame."""
    kind = str(rng.choice(["counter", "ccd", "plain"], p=[0.45, 0.2, 0.35]))
    binning = log_uniform(rng, 0.6, 1) if rng.random() < 0.35 else log_uniform(rng, 1, 8)
    own = {"counter": _counter, "ccd": _ccd, "plain": _plain}[kind](rng)
    return Detector(**({"binning": binning, **_defects(rng)} | own))


def _defects(rng: Generator) -> Numbers:
    return {
        "dead": log_uniform(rng, 1e-5, 1e-3) if rng.random() < 0.4 else 0.0,
        "hot": log_uniform(rng, 1e-5, 1e-3) if rng.random() < 0.25 else 0.0,
        "defects_masked": int(rng.random() < 0.5),
        "saturation_counts": log_uniform(rng, 1e3, 1e6) if rng.random() < 0.15 else 1e30,
        "saturation_share": 0.03,
    }


def _counter(rng: Generator) -> Numbers:
    gapped = rng.random() < 0.6
    return {
        "module_y": log_uniform(rng, 0.15, 0.6) if gapped else 0.0,
        "module_x": log_uniform(rng, 0.2, 0.7) if gapped and rng.random() < 0.5 else 0.0,
        "gap": log_uniform(rng, 0.008, 0.035), "gap_shift_y": rng.uniform(0, 1), "gap_shift_x": rng.uniform(0, 1),
        "gap_masked": int(rng.random() < 0.7),
    }  # fmt: skip


def _ccd(rng: Generator) -> Numbers:
    return {
        "spread_px": rng.uniform(0.3, 1.3), "flat_error": log_uniform(rng, 0.003, 0.04), "gain": log_uniform(rng, 0.3, 4),
        "dark_counts": log_uniform(rng, 1, 100) if rng.random() < 0.5 else 0.0, "read_noise_counts": log_uniform(rng, 0.5, 8),
        "saturation_counts": float(rng.choice([16383.0, 65535.0])), "binning": log_uniform(rng, 1, 6),
    }  # fmt: skip


def _plain(rng: Generator) -> Numbers:
    return {
        "spread_px": rng.uniform(0.3, 1.3) if rng.random() < 0.7 else 0.0,
        "unit": log_uniform(rng, 1e-4, 10) if rng.random() < 0.3 else 1.0,
    }
