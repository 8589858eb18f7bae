"""One shot of a run as drawn numbers: what was in the beam, what lay about it, and where the detector stood."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

from beamsight.frame import Geometry, Panel
from beamsight.modules import Modules
from beamsight.physics.azimuth import texture
from beamsight.physics.bragg import Camera, Grain, Pulse, Spots, brighter_neighbour, brightest, draw_pulse, spots
from beamsight.physics.cells import draw_rotation
from beamsight.physics.draws import log_uniform as _log
from beamsight.physics.places import (
    CORNER_X,
    CORNER_Y,
    FAST_X,
    FAST_Y,
    SLOW_X,
    SLOW_Y,
    X0,
    X1,
    Y0,
    Y1,
    stored,
)  # fmt: skip
from beamsight.runs import DRIFTING, FRAMES_PER_RUN, SHOT, Run, draw_run, run_of

TRIES = 8  # places that are asked for a panel before any is taken
SPOTS = 2048  # kept of a frame; what is left out is lower than all that are kept


@dataclass(frozen=True)
class Shot:
    """One frame as drawn numbers: the `run` and the `frame` in it, where its window lies, what is in the beam.

    `panels` [256 14] as in `physics.places`; `height`, `width` of the whole stored image, `window_y`, `window_x` in 0-1 where a
    smaller window is cut; `spot_*` [2048] as in `physics.bragg`, the highest first, none where `spot_ph` is 0, `spot_near` the
    number of a higher spot that it merges with or -1; all else as in `physics.backgrounds`.
    """

    run: int
    frame: int
    panels: Any
    height: int
    width: int
    window_y: float
    window_x: float
    wavelength_m: float
    pixel_m: float
    pixel_rad: float
    reach_px: float
    crystals: int
    spot_y: Any
    spot_x: Any
    spot_ph: Any
    spot_along: Any
    spot_across: Any
    spot_near: Any
    flat_ph: float
    air_ph: float
    air_q: float
    ring_ph: Any
    ring_q: Any
    ring_low: Any
    ring_high: Any
    ice_ph: float
    ice_sd: float
    ice_azimuth: Any
    streak_ph: float
    streak_angle: float
    streak_px: float
    streak_width_px: float
    stop_px: float
    stop_arm_px: float
    stop_angle: float
    stop_soft_px: float
    stop_share: float
    shade_angle: Any
    shade_px: Any
    shade_soft_px: Any
    shade_share: Any


@lru_cache(maxsize=4096)
def run_numbered(seed: int, number: int) -> Run:
    """`draw_run`, remembered: two thousand runs take turns."""
    return draw_run(seed, number)


def draw_shot(seed: int, index: int) -> Shot:
    """The shot of example `index`: a pure function of (seed, index)."""
    number, frame = run_of(index)
    return shot_of(run_numbered(seed, number), frame, default_rng([seed, index, SHOT]))


def modules_of(seed: int, index: int) -> Modules:
    """What the chips do of the detector of the run that example `index` belongs to."""
    return run_numbered(seed, run_of(index)[0]).modules


def shot_of(run: Run, frame: int, rng: Generator) -> Shot:
    """One shot of a run, its `frame`-th, with all that changes from shot to shot."""
    built = run.layout()
    low_y, high_y, low_x, high_x = built.bounds_px
    y, x = run.middle_px
    bounds = (low_y + y, high_y + y, low_x + x, high_x + x)
    camera = Camera(run.distance_m, built.pixel_m, bounds, run.blur_px)
    factor = _factors(rng, run, frame)
    pulse = draw_pulse(rng, run.wavelength_m * rng.normal(1, 5e-4), run.bandwidth, run.seeded, run.divergence_rad)
    crystals, found = _crystals(rng, run, pulse, camera, factor["beam"])
    panels = built.table(run.middle_px)
    window_y, window_x = _window(rng, run, camera, panels, built.shape)
    return Shot(
        run=run.number,
        frame=frame,
        panels=panels,
        height=built.shape[0],
        width=built.shape[1],
        window_y=window_y,
        window_x=window_x,
        wavelength_m=pulse.wavelength_m,
        pixel_m=built.pixel_m,
        pixel_rad=built.pixel_m / run.distance_m,
        reach_px=float(np.hypot(max(map(abs, bounds[:2])), max(map(abs, bounds[2:])))) + 2,
        crystals=crystals,
        **_padded(found),
        **_light(rng, run, factor),
    )


def _window(rng: Generator, run: Run, camera: Camera, panels: NDArray[np.float32], shape: tuple[int, int]) -> tuple[float, float]:
    """Where a window is cut, in 0-1: half of them anywhere, half about a place within the crystal's resolution, any radius as
    often as another, for spots crowd there. Alike whether a crystal was hit or not."""
    anywhere = (float(rng.random()), float(rng.random()))
    sine = min(run.wavelength_m / 2 / run.limit_m, np.sin(camera.corner_rad() / 2))
    farthest = camera.distance_m / camera.pixel_m * np.tan(2 * np.arcsin(sine))
    radius, angle = farthest * rng.random(TRIES), rng.uniform(0, 2 * np.pi, TRIES)
    row, column = stored_at(panels, radius * np.sin(angle), radius * np.cos(angle))
    on = np.flatnonzero(row >= 0)
    if rng.random() < 0.5 or len(on) == 0:
        return anywhere
    # A share of the image is a place that windows of every size hold.
    return float(row[on[0]] / shape[0]), float(column[on[0]] / shape[1])


def stored_at(
    panels: NDArray[np.float32], y: NDArray[np.float64], x: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Row and column [N] in the stored image of places y, x [N] px from the beam; -1 where no panel lies."""
    row, column = (v[0].double().numpy() for v in stored(*(torch.from_numpy(np.float32(v))[None] for v in (panels, y, x))))
    on = (
        (row > panels[:, Y0] - 0.5)
        & (row < panels[:, Y1] - 0.5)
        & (column > panels[:, X0] - 0.5)
        & (column < panels[:, X1] - 0.5)
    )
    which, some = on.argmax(1)[:, None], on.any(1)
    found = [np.where(some, np.take_along_axis(v, which, 1)[:, 0].clip(0), -1.0) for v in (row, column)]
    return found[0], found[1]


def _factors(rng: Generator, run: Run, frame: int) -> dict[str, float]:
    """What the levels of DRIFTING are multiplied with: pulse energy, the jet's thickness, and slow changes."""
    amplitude, periods, phase = run.drift.T
    slow = np.exp(amplitude * np.sin(2 * np.pi * (periods * frame / FRAMES_PER_RUN + phase)))
    pulse = rng.gamma(run.shape) / run.shape * (rng.random() >= run.dark_fraction)
    jet = np.exp(rng.normal(0, run.jet_spread))
    quick = {"ring": pulse * jet, "air": pulse, "flat": pulse * jet, "streak": pulse * np.exp(rng.normal(0, 1)), "beam": pulse}
    return {name: float(quick[name] * s) for name, s in zip(DRIFTING, slow, strict=True)}


def _crystals(rng: Generator, run: Run, pulse: Pulse, camera: Camera, beam: float) -> tuple[int, Spots]:
    """How many crystals were hit, and their spots."""
    number = int(rng.random() < run.hit_fraction) * (1 + int(rng.random() < run.double_fraction))
    found: list[Spots] = []
    for _ in range(number):
        size, tilts = run.size_m * np.exp(rng.normal(0, 0.3)), run.mosaicity_rad * np.exp(rng.normal(0, 0.3))
        grain = Grain(run.cell, draw_rotation(rng), size, tilts, run.b_factor_m2, run.limit_m, run.structure)
        alone = spots(grain, pulse, camera)
        share = 1.0 if not found else _log(rng, 0.1, 1)
        found.append(Spots(**vars(alone) | {"photons": alone.photons * share}))
    strength = run.strength * np.exp(rng.normal(0, run.strength_spread)) * beam * _just_seen(run)
    return number, brightest(found or [_none()], strength, SPOTS)


def _just_seen(run: Run) -> float:
    """Photons of a spot that is about seen on the run's background: six standard deviations of twelve pixels, or six."""
    return float(6 + 6 * np.sqrt(12 * (0.5 * run.level_ph + run.modules.read_ph**2)))


def _none() -> Spots:
    empty = np.empty(0)
    return Spots(empty, empty, empty, empty, empty, np.empty((0, 3), np.int64))


def _padded(found: Spots) -> dict[str, Any]:
    def pad(values: NDArray[Any], rest: float) -> NDArray[Any]:
        whole = np.full(SPOTS, rest, np.int64 if values.dtype.kind == "i" else np.float32)
        whole[: len(values)] = values
        return whole

    return {
        "spot_y": pad(found.y, 0.0),
        "spot_x": pad(found.x, 0.0),
        "spot_ph": pad(found.photons, 0.0),
        "spot_along": pad(found.along_px, 1.0),
        "spot_across": pad(found.across_px, 1.0),
        "spot_near": pad(brighter_neighbour(found), -1),
    }


def _light(rng: Generator, run: Run, factor: dict[str, float]) -> dict[str, Any]:
    """The background of one shot."""
    b, icy, streaky = run.background, rng.random() < run.ice_fraction, rng.random() < run.streak_fraction
    return b | {
        "flat_ph": b["flat_ph"] * factor["flat"],
        "air_ph": b["air_ph"] * factor["air"],
        "ring_ph": b["ring_ph"] * factor["ring"],
        "ice_ph": run.level_ph * _log(rng, 0.05, 5) * factor["beam"] if icy else 0.0,
        "ice_sd": _log(rng, 1.5e-3, 8e-3),
        "ice_azimuth": texture(rng) ** rng.uniform(0, 1) if icy else np.ones(360),
        "streak_ph": run.level_ph * _log(rng, 1, 100) * factor["streak"] if streaky else 0.0,
        "streak_angle": b["streak_angle"] + rng.normal(0, 0.05),
        "streak_width_px": _log(rng, 1, 6),
        "shade_px": b["shade_px"] + rng.normal(0, 3, 3),
    }


def place(shot: Shot, shape: tuple[int, int]) -> Geometry:
    """Where the window (H, W) of one shot stands: the beam's centre where its panels lie as they are stored, else each panel's
    place."""
    sizes, shares = (shot.height, shot.width), (shot.window_y, shot.window_x)
    first = np.array([int(share * max(n - side + 1, 1)) for share, n, side in zip(shares, sizes, shape, strict=True)])
    table = shot.panels[shot.panels[:, Y1] > 0].astype(float)
    geometry = Geometry(shape, shot.pixel_m, shot.wavelength_m, shot.pixel_m / shot.pixel_rad)
    origin = table[:, [CORNER_Y, CORNER_X]] - table[:, [Y0, X0]]
    if (table[:, SLOW_Y] == 1).all() and (table[:, FAST_X] == 1).all() and np.ptp(origin, 0).max() < 1e-3:
        return replace(geometry, centre_px=(float(-origin[0, 0] - first[0]), float(-origin[0, 1] - first[1])))
    cut = [_cut(row, first, shape) for row in table]
    return replace(geometry, panels=tuple(p for p in cut if p.y1 > p.y0 and p.x1 > p.x0))


def _cut(row: NDArray[np.float64], first: NDArray[np.int64], shape: tuple[int, int]) -> Panel:
    """What a window shows of a panel, without rows or columns where that is nothing."""
    low = np.maximum(row[[Y0, X0]] - first, 0)
    high = np.minimum(row[[Y1, X1]] - first, shape)
    down, right = low + first - row[[Y0, X0]]
    slow, fast = row[[SLOW_Y, SLOW_X]], row[[FAST_Y, FAST_X]]
    corner = row[[CORNER_Y, CORNER_X]] + down * slow + right * fast
    y0, x0, y1, x1 = (int(v) for v in (*low, *high))
    return Panel(y0, y1, x0, x1, *((float(v[0]), float(v[1])) for v in (corner, slow, fast)))
