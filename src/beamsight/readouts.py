"""Drawing what the chips of a detector do: each make's noise, gains, faults and masks within what is published and met."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from typing import Any

from numpy.random import Generator

from beamsight.catalogue import SENSORS
from beamsight.modules import DIVIDED, LEFT, MASKED, Modules
from beamsight.physics.draws import log_uniform as _log


def draw_modules(rng: Generator, name: str) -> Modules:
    """What the chips of the detector of that name in SENSORS do in one run."""
    family = name.split(" ")[0].rstrip("2")
    own = {"CSPAD": _cspad, "ePix10k": _epix, "JUNGFRAU": _jungfrau, "AGIPD": _agipd, "Rayonix": _rayonix}.get(family, _counter)(
        rng
    )
    common = {
        "dead": _log(rng, 1e-6, 1e-3),
        "hot": _log(rng, 1e-7, 1e-4),
        "hot_ph": _log(rng, 10, 1e5),
        "struck": _log(rng, 1e-8, 1e-5) if rng.random() < 0.3 else 0.0,
        "dead_chips": rng.uniform(0.01, 0.06) if rng.random() < 0.1 and sum(SENSORS[name][0].chips) > 2 else 0.0,
        "sizes": int(rng.choice([LEFT, DIVIDED, MASKED])),
        "gap_masked": int(rng.random() < 0.9),
        "defects_masked": int(rng.random() < 0.75),
        "saturation_masked": int(rng.random() < 0.4),
    }
    return Modules(**(common | own))


def _counter(rng: Generator) -> dict[str, Any]:
    return {"whole": 1, "saturation_ph": float(rng.choice([2.0**20, 65534.0, _log(rng, 3e3, 1e5)])), "pixel_gain": 0.0}


def _analogue(rng: Generator) -> dict[str, Any]:
    """What all integrating chips share; files hold photons, electronvolts or the converter's units."""
    return {
        "gain": rng.choice([1.0, _log(rng, 5, 40)]),
        "chip_gain": _log(rng, 1e-3, 0.03),
        "pixel_gain": _log(rng, 3e-3, 0.03),
        "offset_ph": _log(rng, 3e-3, 0.1),
        "common_ph": _log(rng, 5e-3, 0.15) if rng.random() < 0.6 else 0.0,
        "line_ph": _log(rng, 5e-3, 0.1) if rng.random() < 0.3 else 0.0,
        "read_uneven": rng.uniform(0.1, 1.5) if rng.random() < 0.4 else 0.0,
        "read_period_px": rng.uniform(40, 400),
    }


def _stages(rng: Generator, first: float) -> dict[str, Any]:
    return {
        "switch_ph": first,
        "middle_read_ph": first * _log(rng, 0.01, 0.04),
        "middle_switch_ph": first * rng.uniform(15, 40),
        "low_read_ph": first * _log(rng, 0.1, 0.4),
        "saturation_ph": first * rng.uniform(120, 300),
    }


def _jungfrau(rng: Generator) -> dict[str, Any]:
    return {**_analogue(rng), **_stages(rng, _log(rng, 20, 60)), "read_ph": _log(rng, 0.02, 0.15)}


def _agipd(rng: Generator) -> dict[str, Any]:
    return {**_analogue(rng), **_stages(rng, _log(rng, 25, 60)), "read_ph": _log(rng, 0.1, 0.4)}


def _epix(rng: Generator) -> dict[str, Any]:
    return {**_analogue(rng), **_stages(rng, _log(rng, 60, 120)), "read_ph": _log(rng, 0.05, 0.2)}


def _cspad(rng: Generator) -> dict[str, Any]:
    own = {"gain": _log(rng, 4, 35), "read_ph": _log(rng, 0.15, 0.6), "whole": int(rng.random() < 0.7)}
    return {**_analogue(rng), **own, "common_ph": _log(rng, 0.02, 0.4), "saturation_ph": _log(rng, 300, 3000)}


def _rayonix(rng: Generator) -> dict[str, Any]:
    gain = _log(rng, 0.4, 2)
    return {
        "gain": gain,
        "read_ph": _log(rng, 0.5, 3),
        # The screen, and the correction of what the tapers distort.
        "spread_px": rng.uniform(0.35, 0.75),
        "pixel_gain": _log(rng, 5e-3, 0.03),
        "dark_counts": rng.choice([0.0, rng.uniform(5, 40)]),
        "saturation_ph": 65535 / gain,
        "whole": 1,
        "sizes": int(rng.choice([LEFT, DIVIDED])),
    }
