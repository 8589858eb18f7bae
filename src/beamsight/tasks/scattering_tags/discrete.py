"""Drawing what is not radial: Bragg spots, a fibre's layer lines, a surface at grazing incidence."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from beamsight.physics.draws import log_uniform as _log
from beamsight.tasks.scattering_tags import scene as s
from beamsight.tasks.scattering_tags.stage import PIXELS, Stage

Numbers = dict[str, Any]
Places = NDArray[np.float64]


def strength(rng: Generator, stage: Stage, area: float, radius: float) -> float:
    """Photons at the top of a patch of `area` (share of the frame) at `radius` for a drawn d' of 1.5-700: d'^2 = n a^2 /
    (b + a/2)."""
    under = float(np.interp(radius, stage.radius[0], stage.mean))
    pixels = max(area * PIXELS, 1.0)
    wanted = 10 ** rng.uniform(0.2, 2.85)
    half = wanted**2 / pixels / 4
    strength = half + (half**2 + wanted**2 / pixels * under) ** 0.5
    if rng.random() < 0.5:
        strength = max(strength, under * 10 ** rng.uniform(-1.0, 1.0))
    return float(min(strength, 1e6))


def spots(rng: Generator, stage: Stage, layout: str, present: bool) -> Numbers:
    """Spots: one to four anywhere, a row through the beam, or a net; sizes of a grain's mosaic, strengths uneven as
    structure factors are."""
    empty: Numbers = {
        f"spot_{name}": np.full(s.SPOTS, value)
        for name, value in (("ph", 0.0), ("y", 0.0), ("x", 0.0), ("sd_y", 0.01), ("sd_x", 0.01))
    }
    if not present:
        return empty
    kind = s.IN_LINE if layout == "line" else int(rng.choice([s.ISOLATED, s.IN_LINE, s.NET], p=[0.3, 0.3, 0.4]))
    y, x, symmetric, orders = {s.ISOLATED: _isolated, s.IN_LINE: _row, s.NET: _net}[kind](rng, stage)
    seen = _inside(stage, y, x)
    y, x = y[seen][: s.SPOTS], x[seen][: s.SPOTS]
    long, short = _sizes(rng)
    top = strength(rng, stage, 2 * np.pi * long * short, float(np.hypot(y, x).mean()) if len(y) else 0.2)
    relative = np.exp(-np.hypot(y, x) / rng.uniform(0.1, 1)) * rng.lognormal(0, rng.choice([0.1, 0.7]), len(y))
    place = slice(0, len(y))
    empty["spot_ph"][place] = top * relative / max(relative.max(initial=1e-9), 1e-9)
    empty["spot_y"][place], empty["spot_x"][place] = y, x
    upright = rng.random() < 0.5
    empty["spot_sd_y"][:], empty["spot_sd_x"][:] = (long, short) if upright else (short, long)
    return empty | {"spot_layout": kind, "spot_twofold": float(symmetric), "spot_orders": orders}


def _sizes(rng: Generator) -> tuple[float, float]:
    short = _log(rng, 0.002, 0.012)
    return short * float(rng.choice([1.0, _log(rng, 1, 4)])), short


def _inside(stage: Stage, y: Places, x: Places) -> NDArray[np.bool_]:
    cy, cx = stage.instrument["centre_y"], stage.instrument["centre_x"]
    return np.asarray((y + cy > 0.01) & (y + cy < 0.99) & (x + cx > 0.01) & (x + cx < 0.99) & (np.hypot(y, x) > 0.015))


def _isolated(rng: Generator, stage: Stage) -> tuple[Places, Places, bool, int]:
    count = int(rng.integers(1, 4))
    y = rng.uniform(0, 1, count) - stage.instrument["centre_y"]
    x = rng.uniform(0, 1, count) - stage.instrument["centre_x"]
    pair = count <= 2 and rng.random() < 0.4
    return (np.r_[y, -y], np.r_[x, -x], True, 1) if pair else (y, x, False, 1)


def _row(rng: Generator, stage: Stage) -> tuple[Places, Places, bool, int]:
    step, angle = _log(rng, 0.012, 0.2), rng.choice([0, np.pi / 2, rng.uniform(0, np.pi)])
    count = int(rng.integers(2, 16))
    order = np.arange(1, count + 1) * step
    # Doublets, as muscle's interference gives, in a quarter of the rows.
    order = np.r_[order, order + step * rng.uniform(0.25, 0.4)] if rng.random() < 0.25 else order
    order = np.r_[order, -order]
    return order * np.sin(angle), order * np.cos(angle), True, count


def _net(rng: Generator, stage: Stage) -> tuple[Places, Places, bool, int]:
    step = _log(rng, 0.008, 0.2)
    ratio, between, turn = rng.uniform(0.6, 1.7), rng.choice([np.pi / 2, np.pi / 3, rng.uniform(0.9, 2.2)]), rng.uniform(0, np.pi)
    reach = step * rng.uniform(2, 7)
    h, k = (axis.ravel() for axis in np.mgrid[-7:8, -7:8])
    x = step * (h * np.cos(turn) + k * ratio * np.cos(turn + between))
    y = step * (h * np.sin(turn) + k * ratio * np.sin(turn + between))
    # A still of one crystal misses reflections; a grating in conical geometry shows them on part of a circle only.
    shown = (np.hypot(y, x) < reach) & (rng.random(len(h)) < rng.choice([1.0, 0.6, 0.3]))
    if rng.random() < 0.3:
        shown &= x * np.cos(turn) + y * np.sin(turn) > 0
    return y[shown], x[shown], False, 2


def layers(rng: Generator, stage: Stage) -> Numbers:
    """Layer lines of a fibre whose axis is across `layer_angle`."""
    numbers: Numbers = {
        "layer_angle": rng.choice([0, np.pi / 2, rng.uniform(0, np.pi)]) + rng.normal(0, 0.03),
        "layer_step": _log(rng, 0.015, 0.15),
        "layer_count": int(rng.integers(1, 9)),
        "layer_sd": _log(rng, 0.0018, 0.006),
        "layer_reach": _log(rng, 0.01, 0.12),
        "layer_lobe": float(rng.choice([0.0, _log(rng, 0.02, 0.2)])),
        "layer_decay": _log(rng, 0.05, 1.5),
    }
    area = 2 * np.pi * numbers["layer_sd"] * numbers["layer_reach"]
    return numbers | {"layer_ph": strength(rng, stage, area, numbers["layer_step"])}


def surface(rng: Generator, stage: Stage) -> Numbers:
    """Grazing incidence: a horizon above the beam, Yoneda's ridge, a cloud with Bragg rods, the specular rod."""
    level = float(stage.mean.median()) + 0.003
    numbers: Numbers = {
        "graze": 1,
        "horizon": _log(rng, 0.005, 0.2),
        "tilt": rng.normal(0, 0.01),
        "below": _log(rng, 0.01, 0.9),
        "yoneda_height": _log(rng, 0.006, 0.06),
        "yoneda_width": _log(rng, 0.002, 0.01),
        "cloud_y": _log(rng, 0.05, 0.6),
        "cloud_x": _log(rng, 0.02, 0.5),
        "rod_width": _log(rng, 0.0018, 0.01),
        "rod_length": _log(rng, 0.05, 1),
        "rod_fringe": float(rng.choice([0.0, rng.uniform(0, 0.9)])),
        "rod_step": _log(rng, 0.03, 0.3),
    }
    for name, chance, low, high in (
        ("yoneda_ph", 0.75, 0.05, 100),
        ("cloud_ph", 0.8, 0.03, 300),
        ("rod_ph", 0.7, 0.1, 300),
        ("rod_comb_ph", 0.35, 0.05, 50),
    ):
        numbers[name] = level * _log(rng, low, high) + _log(rng, 0.01, 1) if rng.random() < chance else 0.0
    return numbers
