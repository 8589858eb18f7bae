"""Runs: frames that share a crystal, a beam, a detector and a background, as an experiment's do."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

from beamsight.catalogue import FORMS, layout
from beamsight.modules import Modules
from beamsight.physics.cells import Cell, draw_cell, real_axes
from beamsight.physics.draws import log_uniform as _log
from beamsight.readouts import draw_modules
from beamsight.sensors import Layout

FRAMES_PER_RUN = 256
# Consecutive numbers belong to different runs, so that a batch sees many; all numbers of a run lie in one block. The ranges of
# test, validation and training examples begin and end with blocks, so they share no run.
RUNS_PER_BLOCK = 2048
BLOCK = FRAMES_PER_RUN * RUNS_PER_BLOCK
# The streams of a run and of a frame's shot, beside those of an example.
RUN, SHOT = 20, 21

# How often, and how often as a stack of its sensors.
DETECTORS = {
    "CSPAD": (0.10, 0.7), "ePix10k 2M": (0.10, 0.5), "JUNGFRAU 1M": (0.06, 0.5), "JUNGFRAU 4M": (0.12, 0.5),
    "JUNGFRAU 16M": (0.06, 0.5), "AGIPD 1M": (0.12, 0.6), "Rayonix MX340": (0.12, 0.0), "PILATUS 300K": (0.03, 0.0),
    "PILATUS 2M": (0.05, 0.0), "PILATUS 6M": (0.08, 0.0), "EIGER 1M": (0.03, 0.1), "EIGER 4M": (0.05, 0.1), "EIGER 16M": (0.04,
    0.0), "EIGER2 16M": (0.04, 0.0),
}  # fmt: skip
DRIFTING = ("ring", "air", "flat", "streak", "beam")


@dataclass(frozen=True)
class Run:
    """What the frames of a run share; names in `_ph` are photons a pixel where a part is strongest.

    `middle_px` (y, x) of the detector's middle from the beam. `strength` is how far the tenth brightest spot of a typical crystal
    passes what is needed to be seen, `strength_spread` the standard deviation of its logarithm. `shape` of the gamma distribution
    of pulse energies. `drift` [5 3]: amplitude, periods a run and phase of the slow changes of the levels of DRIFTING.
    `background`: the numbers of `physics.backgrounds` at their mean.
    """

    number: int
    detector: str
    form: str
    middle_px: tuple[float, float]
    wavelength_m: float
    distance_m: float
    modules: Modules
    cell: Cell
    size_m: float
    mosaicity_rad: float
    b_factor_m2: float
    limit_m: float
    structure: int
    hit_fraction: float
    dark_fraction: float
    double_fraction: float
    strength: float
    strength_spread: float
    bandwidth: float
    seeded: bool
    divergence_rad: float
    blur_px: float
    shape: float
    jet_spread: float
    level_ph: float
    ice_fraction: float
    streak_fraction: float
    drift: NDArray[np.float64]
    background: dict[str, Any]

    def layout(self) -> Layout:
        """Its detector as it is stored."""
        return layout(self.detector, self.form)


def run_of(index: int) -> tuple[int, int]:
    """Number of the run that example `index` belongs to, and of its frame there."""
    block, rest = divmod(index, BLOCK)
    frame, run = divmod(rest, RUNS_PER_BLOCK)
    return block * RUNS_PER_BLOCK + run, frame


def indices_of(run: int) -> range:
    """The numbers of the examples of a run, in the order of its frames."""
    block, place = divmod(run, RUNS_PER_BLOCK)
    return range(block * BLOCK + place, (block + 1) * BLOCK, RUNS_PER_BLOCK)


def draw_run(seed: int, number: int) -> Run:
    """Run `number`: a pure function of (seed, number)."""
    rng = default_rng([seed, number, RUN])
    shares = np.array([share for share, _ in DETECTORS.values()])
    name = list(DETECTORS)[rng.choice(len(shares), p=shares / shares.sum())]
    form = FORMS[int(rng.random() < DETECTORS[name][1])]
    return Run(number=number, detector=name, form=form, **_rest(rng, name, layout(name, form)))


def _rest(rng: Generator, name: str, built: Layout) -> dict[str, Any]:
    wavelength = rng.choice([_log(rng, 0.7e-10, 2.5e-10), rng.normal(1.3e-10, 0.05e-10), rng.normal(1.0e-10, 0.03e-10)])
    low_y, high_y, low_x, high_x = built.bounds_px
    side = min(high_y - low_y, high_x - low_x)
    # Nearest and farthest resolution at the edge that people choose.
    sine = min(wavelength / 2 / rng.uniform(1.6e-10, 4e-10), 0.6)
    distance = float(np.clip(side / 2 * built.pixel_m / np.tan(2 * np.arcsin(sine)), 0.05, 1.0))
    modules = draw_modules(rng, name)
    # Larger pixels see more.
    level = (_log(rng, 0.05, 300) if rng.random() < 0.8 else _log(rng, 1e-3, 0.05)) * (built.pixel_m / 100e-6) ** 2
    numbers = {
        "middle_px": _middle(rng, high_y - low_y, high_x - low_x),
        "wavelength_m": float(wavelength),
        "distance_m": distance,
        "modules": modules,
        "level_ph": level,
        "blur_px": rng.uniform(0.2, 0.6),
        "drift": np.stack([rng.normal(0, 0.25, 5), rng.uniform(0.2, 2, 5), rng.uniform(0, 1, 5)], 1),
    }
    return numbers | _crystal(rng) | _beam(rng) | _jet(rng) | {"background": _background(rng, level, side)}


def _middle(rng: Generator, height: float, width: float) -> tuple[float, float]:
    """Most beams meet the middle; some detectors stand aside, and some beside the beam."""
    kind = rng.random()
    spread = 0.01 if kind < 0.7 else 0.08 if kind < 0.9 else 0.35
    y, x = rng.normal(0, spread, 2) * (height, width)
    return float(y), float(x)


def _crystal(rng: Generator) -> dict[str, Any]:
    cell = draw_cell(rng)
    volume = float(np.linalg.det(real_axes(cell)))
    return {
        "cell": cell,
        "size_m": _log(rng, 0.05e-6, 5e-6),
        "mosaicity_rad": _log(rng, 1e-4, 5e-3),
        "b_factor_m2": _log(rng, 12e-20, 120e-20),
        # Large cells scatter to lower resolution.
        "limit_m": _log(rng, 1.4e-10, 4e-10) * max(1.0, (volume / 1e-24) ** 0.15),
        "structure": int(rng.integers(2**31)),
        # Pulses that the accelerator dropped, or dark frames in between.
        "dark_fraction": rng.choice([0.0, _log(rng, 1e-3, 0.05)]),
        "hit_fraction": rng.beta(2, 1.4),
        "double_fraction": rng.uniform(0, 0.3),
        # Between no visible spot and ten lies a factor of three in strength: many runs stay near it, as real ones do.
        "strength": _log(rng, 0.1, 100),
        "strength_spread": rng.uniform(0.6, 1.7),
    }


def _beam(rng: Generator) -> dict[str, Any]:
    """A self-amplified, a seeded, or a storage ring's beam of wide band."""
    kind = rng.choice(3, p=[0.6, 0.2, 0.2])
    return {
        "bandwidth": (_log(rng, 1e-3, 5e-3), _log(rng, 1e-3, 3e-3), _log(rng, 1e-3, 2e-2))[kind],
        "seeded": bool(kind == 1),
        "divergence_rad": _log(rng, 1e-5, 5e-4),
        # Relative spread of pulse energies: 14-50 % without a seed, 5-12 % with one, a few per cent at a storage ring.
        "shape": (_log(rng, 4, 50), _log(rng, 70, 400), 1e3)[kind],
    }


def _jet(rng: Generator) -> dict[str, Any]:
    return {
        "jet_spread": _log(rng, 0.02, 0.5),
        "ice_fraction": rng.uniform(0.1, 1.0) if rng.random() < 0.12 else 0.0,
        "streak_fraction": rng.uniform(0.2, 1.0) if rng.random() < 0.35 else 0.0,
    }


def _background(rng: Generator, level: float, side: float) -> dict[str, Any]:
    water = 1 / rng.normal(3.2e-10, 0.06e-10)
    lipid = 1 / rng.normal(4.5e-10, 0.1e-10)
    return {
        "flat_ph": level * _log(rng, 0.01, 0.4),
        "air_ph": level * _log(rng, 0.1, 10),
        "air_q": 1 / _log(rng, 8e-10, 40e-10),
        "ring_q": np.array([water, water * rng.uniform(1.35, 1.5), lipid]),
        "ring_ph": level * np.array([_log(rng, 0.3, 1), _log(rng, 0.1, 0.5), _log(rng, 0.2, 2) * (rng.random() < 0.3)]),
        "ring_low": np.array([0.055e10, 0.07e10, rng.uniform(0.012e10, 0.04e10)]) * rng.uniform(0.8, 1.2),
        "ring_high": np.array([0.06e10, 0.15e10, rng.uniform(0.015e10, 0.05e10)]) * rng.uniform(0.8, 1.2),
        "streak_angle": rng.uniform(0, np.pi),
        "streak_px": side * _log(rng, 0.02, 0.1),
        **_stop(rng, side),
        **_shades(rng, side),
    }


def _stop(rng: Generator, side: float) -> dict[str, Any]:
    armed = rng.random() < 0.5
    return {
        "stop_px": side * _log(rng, 0.006, 0.03) if rng.random() < 0.6 else 0.0,
        "stop_arm_px": side * _log(rng, 0.002, 0.006) if armed else 0.0,
        "stop_angle": rng.choice(4) * np.pi / 2 + rng.normal(0, 0.03),
        "stop_soft_px": rng.uniform(0.5, 2.5),
        "stop_share": rng.choice([0.0, _log(rng, 1e-3, 0.1)]),
    }


def _shades(rng: Generator, side: float) -> dict[str, Any]:
    """Nozzles and holders take most of the light from one side, a tape a part of it from half the frame."""
    nozzle, tape, holder = rng.random(3) < (0.2, 0.12, 0.08)
    angles = rng.uniform(-np.pi, np.pi, 3)
    return {
        "shade_angle": angles,
        "shade_px": side * np.array([rng.uniform(0.2, 0.55), rng.uniform(-0.15, 0.15), rng.uniform(0.3, 0.6)]),
        "shade_soft_px": side * np.array([_log(rng, 0.002, 0.02), _log(rng, 0.001, 0.03), _log(rng, 0.002, 0.05)]),
        "shade_share": np.where(
            [nozzle, tape, holder], [rng.uniform(0.0, 0.6), rng.uniform(0.5, 0.98), rng.uniform(0, 0.8)], 1.0
        ),
    }
