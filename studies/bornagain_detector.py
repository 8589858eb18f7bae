"""Where BornAgain's frames are taken and what a detector makes of them: NumPy alone."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Floats = NDArray[np.float64]
DISTANCE_M = 2.0
FULL = 2**20 - 1  # counts: what a pixel holds
POWDER_GRID, CRYSTAL_GRID = (88, 64), 240  # rows and columns of half a powder's pattern; side of a crystal's


@dataclass(frozen=True)
class Picture:
    """A detector of `shape` (H, W) pixels of `pitch_rad`; its last row's centre `below_rad` under the horizon and its first
    column's at `left_rad` from the plane of incidence. `counts` at its brightest, `background` counts, `blur_px`; `log8` 8-bit
    log pictures, `turns` of 90°, a masked `gap`, a masked `stop` before the plane of incidence; whether the centre is `known`."""

    shape: tuple[int, int]
    pitch_rad: float
    below_rad: float
    left_rad: float
    counts: float
    background: float
    blur_px: float
    log8: bool
    turns: int
    gap: bool
    stop: bool
    known: bool


@dataclass(frozen=True)
class Grid:
    """What is simulated: exit angles from `alpha_min` to `alpha_max` in `rows`, azimuths from `phi_min` to `phi_max` in
    `columns`, rad; only to one side where `mirrored`; `blur_rad` of the detector, `half_width` of the narrowest rod, rad."""

    rows: int
    columns: int
    alpha_min: float
    alpha_max: float
    phi_min: float
    phi_max: float
    mirrored: bool
    blur_rad: float

    @property
    def half_width(self) -> float:
        """Of the narrowest rod that columns show."""
        return 0.7 * (self.phi_max - self.phi_min) / self.columns

    def angles(self) -> tuple[Floats, Floats]:
        """Centres of rows and columns, rad."""
        alpha, phi = ((hi - lo) / n * (np.arange(n) + 0.5) + lo for lo, hi, n in (
            (self.alpha_min, self.alpha_max, self.rows), (self.phi_min, self.phi_max, self.columns)))  # fmt: skip
        return alpha, phi


def draw_picture(spacing_nm: float, wavelength_nm: float, incidence_rad: float, rng: Generator) -> Picture:
    """A detector that sees between 2.2 and 5 orders of the spacing to a side: whole patterns, halves, and shifted ones."""
    reach = rng.uniform(2.2, 5) * wavelength_nm / spacing_nm
    width = int(np.exp(rng.uniform(np.log(100), np.log(1000))))
    side = rng.choice(["whole", "half", "shifted"], p=[0.5, 0.3, 0.2])
    left, right = {"whole": (reach, reach), "half": (0.02 * reach, reach), "shifted": (rng.uniform(0.3, 0.9) * reach, reach)}[
        side
    ]
    pitch = (left + right) / width
    tall = rng.uniform(0.7, 1.3) * (0.5 if side == "whole" else 0.8)
    height = int(np.clip(tall * width * (2 if side == "half" else 1.4), 100, 1000))
    # Cut at the horizon, or with the direct beam's side shown too.
    below = rng.choice([0.0, rng.uniform(0, 0.1) * height * pitch, 1.2 * incidence_rad])
    return Picture(
        (height, width), pitch, float(min(below, 0.3 * height * pitch)), float(left), float(10 ** rng.uniform(3, 6)),
        float(rng.choice([0.0, 10 ** rng.uniform(-2, 0.5)])), float(rng.uniform(0.3, 1.2)), bool(rng.random() < 0.2),
        int(rng.integers(4)) if rng.random() < 0.2 else 0, bool(rng.random() < 0.25), bool(rng.random() < 0.4),
        bool(rng.random() < 0.5),
    )  # fmt: skip


def grid_of(picture: Picture, mirrored: bool) -> Grid:
    """Fine enough for finite crystals' fringes, and for a powder's rods as its columns widen them."""
    height, width = picture.shape
    low, high = -picture.below_rad, height * picture.pitch_rad - picture.below_rad
    left, right = -picture.left_rad, width * picture.pitch_rad - picture.left_rad
    blur = picture.blur_px * picture.pitch_rad
    if mirrored:
        rows, columns = min(height, POWDER_GRID[0]), min(width, POWDER_GRID[1])
        return Grid(rows, columns, low, high, 0.0, max(-left, right), True, blur)
    rows, columns = (n * -(-CRYSTAL_GRID // n) if n < CRYSTAL_GRID else CRYSTAL_GRID for n in (height, width))
    return Grid(rows, columns, low, high, left, right, False, blur)


def exposed(mean: Floats, grid: Grid, picture: Picture, incidence_rad: float, rng: Generator) -> tuple[Any, Any, dict[str, Any]]:
    """Image and mask [H W] (True = trust) with its first row on top, and `centre_px` (y, x) of the direct beam, pixel and
    wavelength being told elsewhere."""
    (height, width), pitch = picture.shape, picture.pitch_rad
    alpha = pitch * (np.arange(height)[::-1] + 0.5) - picture.below_rad
    phi = pitch * (np.arange(width) + 0.5) - picture.left_rad
    rows, columns = grid.angles()
    seen = _sampled(_sampled(mean, rows, alpha, pitch).T, columns, np.abs(phi) if grid.mirrored else phi, pitch).T
    # A substrate lets nothing through to where it can be seen from below.
    seen[alpha < 0] = 0
    # The specular rod may outshine all: what is brightest but for one pixel in two hundred sets the exposure.
    light = seen * (picture.counts / max(float(np.quantile(seen, 0.995)), 1e-300)) + picture.background
    image = np.minimum(rng.poisson(np.minimum(light, 2**40)), FULL).astype(np.float32)
    mask = np.ones(image.shape, bool)
    centre = [height - 1 - (picture.below_rad - incidence_rad) / pitch + 0.5, picture.left_rad / pitch - 0.5]
    if picture.stop:
        mask[:, np.abs(phi) < 2.5 * pitch] = False
    if picture.gap:
        place, wide = int(rng.uniform(0.2, 0.8) * height), max(2, height // 60)
        mask[place : place + wide] = False
    image[~mask] = 0
    if picture.log8:
        image = np.round(255 * np.log1p(image) / np.log1p(image.max())).astype(np.float32)
    for _ in range(picture.turns):
        centre = [image.shape[1] - 1 - centre[1], centre[0]]
        image, mask = np.rot90(image), np.rot90(mask)
    told = {"centre_px": centre, "distance_m": DISTANCE_M, "pixel_m": DISTANCE_M * float(np.tan(pitch))}
    return np.ascontiguousarray(image), np.ascontiguousarray(mask), told


def _sampled(values: Floats, at: Floats, wanted: Floats, pitch: float) -> Floats:
    """Rows [N ...] known `at` angles to those `wanted`: means over a pixel of finer ones, between coarser ones a line of logs."""
    step = at[1] - at[0]
    if step < 0.7 * pitch:
        sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, 0)])
        edges = np.append(at - step / 2, at[-1] + step / 2)
        upper, lower = (_between(sums, edges, wanted + side * pitch / 2) for side in (1, -1))
        return np.maximum(upper - lower, 0) * step / pitch
    floor = max(float(values.max()), 1e-300) * 1e-12
    return np.exp(_between(np.log(np.maximum(values, floor)), at, wanted))


def _between(values: Floats, at: Floats, wanted: Floats) -> Floats:
    place = np.clip((wanted - at[0]) / (at[1] - at[0]), 0, len(at) - 1)
    first = np.minimum(place.astype(int), len(at) - 2)
    share = (place - first)[:, None]
    return np.asarray(values[first] * (1 - share) + values[first + 1] * share)
