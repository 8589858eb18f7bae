"""Drawing detectors: an instrument a frame, not a project. Photon counters, CCDs, neutron detectors and plain files."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import Generator

from beamsight.detector import Detector
from beamsight.physics.draws import log_uniform as _log

Numbers = dict[str, Any]
KINDS = ("counter", "ccd", "neutron", "plain")


def detector(rng: Generator) -> Detector:
    """One detector of any kind with its stop, shadows, gaps and faults; each fault as often on frames with a tag as without."""
    kind = str(rng.choice(KINDS, p=[0.5, 0.2, 0.15, 0.15]))
    return of_kind(rng, kind)


def of_kind(rng: Generator, kind: str) -> Detector:
    """One detector of a kind of KINDS, for studies that leave a kind out."""
    own = {"counter": _counter, "ccd": _ccd, "neutron": _neutron, "plain": _plain}[kind](rng)
    return Detector(**(_common(rng) | own))


def _common(rng: Generator) -> Numbers:
    shorter, upright = rng.uniform(0.45, 1.0), rng.random() < 0.5
    square = rng.random() < 0.5
    return {
        # Minutes instead of a second: bright frames are as real as dim ones.
        "exposure": _log(rng, 1, 3000) if rng.random() < 0.45 else 1.0,
        "aspect_y": 1.0 if square or upright else shorter,
        "aspect_x": 1.0 if square or not upright else shorter,
        "saturation_counts": _log(rng, 30, 1e6) if rng.random() < 0.45 else 1e30,
        # Nobody keeps a frame that is clipped all over, but for a slip.
        "saturation_share": _log(rng, 3e-5, 0.1) if rng.random() < 0.97 else 1.0,
        "saturation_masked": int(rng.random() < 0.4),
        "window_radius": rng.uniform(0.35, 0.8) if rng.random() < 0.07 else 0.0,
        "window_soft": _log(rng, 0.002, 0.03),
        **_shadow(rng),
        **_unevenness(rng),
        **(_stop(rng) if rng.random() < 0.7 else {}),
    }


def _shadow(rng: Generator) -> Numbers:
    if rng.random() > 0.1:
        return {}
    return {
        "shadow_angle": rng.uniform(0, 2 * np.pi),
        "shadow_half_angle": _log(rng, 0.01, 0.25),
        "shadow_transmission": rng.uniform(0.35, 0.95),
    }


def _unevenness(rng: Generator) -> Numbers:
    """Polarisation, absorption in a tilted sample, windows: modulations about the beam that are none of the sample's order."""
    numbers: Numbers = {}
    if rng.random() < 0.5:
        slope, saddle = _log(rng, 0.01, 0.5), _log(rng, 0.01, 0.8)
        turns = rng.uniform(0, 2 * np.pi, 2)
        numbers |= {"slope_y": slope * np.sin(turns[0]), "slope_x": slope * np.cos(turns[0])}
        numbers |= {"saddle": saddle * np.cos(turns[1]), "saddle_cross": saddle * np.sin(turns[1])}
    if rng.random() < 0.35:
        period, turn = _log(rng, 0.4, 5), rng.uniform(0, 2 * np.pi)
        numbers |= {"wave_depth": _log(rng, 0.005, 0.15), "wave_phase": rng.uniform(0, 1)}
        numbers |= {"wave_y": period * np.sin(turn), "wave_x": period * np.cos(turn)}
    return numbers


def _stop(rng: Generator) -> Numbers:
    kind = int(rng.choice([1, 2, 3], p=[0.5, 0.25, 0.25]))
    size = {1: _log(rng, 0.008, 0.08), 2: _log(rng, 0.006, 0.035), 3: np.radians(rng.uniform(6, 22))}[kind]
    arm = {1: size * rng.uniform(0.15, 0.6) if rng.random() < 0.6 else 0.0, 2: 0.0, 3: rng.uniform(0.005, 0.1)}[kind]
    clear = rng.random() < 0.75
    return {
        "stop_kind": kind,
        "stop_size": float(size),
        "stop_arm": float(arm),
        "stop_angle": float(rng.choice([0, 0.5, 1, 1.5]) * np.pi + rng.normal(0, 0.03))
        if rng.random() < 0.5
        else rng.uniform(0, 2 * np.pi),
        "stop_soft": _log(rng, 0.0008, 0.006),
        "stop_transmission": rng.choice([0.0, rng.uniform(0, 0.05)]) if clear else rng.uniform(0.02, 0.8),
        "stop_shift_y": rng.normal(0, 0.003),
        "stop_shift_x": rng.normal(0, 0.003),
        "stop_masked": int(rng.random() < 0.25),
    }


def _defects(rng: Generator, most: float) -> Numbers:
    return {
        "dead": _log(rng, 1e-5, most) if rng.random() < 0.5 else 0.0,
        "hot": _log(rng, 1e-5, most) if rng.random() < 0.5 else 0.0,
        "zingers": _log(rng, 1e-5, 1e-3) if rng.random() < 0.15 else 0.0,
        "defects_masked": int(rng.random() < 0.5),
    }


def _counter(rng: Generator) -> Numbers:
    gapped, only_y = rng.random() < 0.75, rng.random() < 0.3
    return _defects(rng, 1e-3) | {
        "binning": _log(rng, 1.2, 8),
        "flat_error": _log(rng, 0.002, 0.02) if rng.random() < 0.3 else 0.0,
        "module_y": _log(rng, 0.12, 0.6) if gapped else 0.0,
        "module_x": _log(rng, 0.2, 0.7) if gapped and not only_y else 0.0,
        "gap": _log(rng, 0.005, 0.035),
        "gap_shift_y": rng.uniform(0, 1),
        "gap_shift_x": rng.uniform(0, 1),
        "gap_masked": int(rng.random() < 0.7),
    }


def _ccd(rng: Generator) -> Numbers:
    full = rng.choice([4095.0, 16383.0, 65535.0, 65535.0, _log(rng, 200, 65535)])
    return _defects(rng, 1e-3) | {
        "binning": _log(rng, 1.2, 8),
        "spread_px": rng.uniform(0.2, 1.4),
        "flat_error": _log(rng, 0.003, 0.04),
        "gain": _log(rng, 0.3, 4),
        "dark_counts": _log(rng, 1, 200) if rng.random() < 0.6 else 0.0,
        "read_noise_counts": _log(rng, 0.5, 12),
        "saturation_counts": float(full),
        "bleed_px": int(rng.integers(0, 14)) if rng.random() < 0.4 else 0,
        "salt_pepper": _log(rng, 1e-4, 1e-2) if rng.random() < 0.05 else 0.0,
    }


def _neutron(rng: Generator) -> Numbers:
    scaled = rng.random() < 0.6
    return _defects(rng, 3e-4) | {
        "binning": _log(rng, 0.35, 1.3),
        "spread_px": rng.uniform(0.2, 2.0),
        "flat_error": _log(rng, 0.01, 0.08),
        "grid_depth": rng.uniform(0.05, 0.5) if rng.random() < 0.25 else 0.0,
        "grid_pitch": rng.uniform(0.02, 0.1),
        "unit": _log(rng, 1e-4, 10) if scaled else 1.0,
        "subtracted": rng.uniform(0.2, 1.0) if scaled and rng.random() < 0.3 else 0.0,
    }


def _plain(rng: Generator) -> Numbers:
    return {"binning": _log(rng, 0.5, 8), "spread_px": rng.uniform(0.2, 0.8) if rng.random() < 0.5 else 0.0}
