"""Fixed numbers of the Fourier-Bessel transform: where pixels lie, and what each basis function is on a few radii.

Pixels are summed onto radii with a smooth window instead of being resampled: a basis function is smooth along the radius and can
be interpolated to any pixel exactly, while the photons in two neighbouring pixels have nothing to do with one another.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicHermiteSpline
from scipy.special import i0e, jn_zeros, jv, jvp

Floats = NDArray[np.float64]

TAPS = 6  # radii that a pixel is spread over: the error falls tenfold with each
OVERSAMPLED = 2.0  # radii per radius that the quickest basis function needs
PARTS = 4  # so that inner rings are not filled up to the number of pixels of the outermost
FINE = 3  # places between two radii at which a basis function is fitted


@dataclass(frozen=True)
class Rings:
    """Pixels of an eighth of a disc by rings of equal width, as many a ring as its fullest has: `y_px`, `x_px` [I P] from the
    middle, `taps` [I T P] the weight of each on the T radii from the ring's own on, 0 where there is no pixel."""

    y_px: NDArray[np.int64]
    x_px: NDArray[np.int64]
    taps: Floats


@dataclass(frozen=True)
class Tables:
    """Numbers of a disc of `radius_px`: `zeros` [N K], the k-th positive zero of J_n; `norms` [N K], pi R^2 J_{n+1}(zero)^2.

    `parts` its `rings` from the middle outwards, in a few parts; they are summed onto R = rings + T - 1 radii.
    """

    radius_px: int
    zeros: Floats
    norms: Floats
    rings: int
    parts: tuple[Rings, ...]

    def functions(self, shift: int) -> Floats:
        """[N R K] what J_{n + shift}(zero_nk r / R) is on the radii, so that the taps interpolate it at any r <= R."""
        r, spread = _fitting(self.radius_px, self.rings)
        last = float(self.zeros.max())
        values = [spread @ _bessel(n + shift, last)(np.outer(r / self.radius_px, z)) for n, z in enumerate(self.zeros)]
        return np.stack(values)


@lru_cache(maxsize=8)
def tables(radius_px: int, orders: int, radial: int) -> Tables:
    """Tables for angular orders 0 to `orders` and radial orders 1 to `radial`. Raises ValueError where the disc is too small."""
    zeros = np.stack([jn_zeros(n, radial) for n in range(orders + 1)])
    if zeros.max() > np.pi * radius_px:
        raise ValueError(
            f"a disc of radius {radius_px} px does not hold {orders} angular and {radial} radial orders: "
            f"the quickest would turn {zeros.max() / np.pi / radius_px:.2f} half waves a pixel; ask for fewer orders"
        )
    # A basis function holds no wave along the radius quicker than its zero tells.
    rings = PARTS * int(np.ceil(OVERSAMPLED * zeros.max() / np.pi / PARTS))
    step = radius_px / rings
    norms = np.pi * radius_px**2 * np.stack([jv(n + 1, z) ** 2 for n, z in enumerate(zeros)])
    y, x = (v.ravel() for v in np.mgrid[0 : radius_px + 1, 0 : radius_px + 1])
    kept = (np.hypot(y, x) <= radius_px) & (y <= x)
    ring = np.minimum((np.hypot(y, x) / step).astype(np.int64), rings - 1)
    parts = [kept & (ring * PARTS // rings == part) for part in range(PARTS)]
    return Tables(radius_px, zeros, norms, rings, tuple(_rings(y[p], x[p], ring[p], step) for p in parts))


def _rings(y: NDArray[np.int64], x: NDArray[np.int64], ring: NDArray[np.int64], step: float) -> Rings:
    first, count = int(ring.min()), int(ring.max() - ring.min()) + 1
    place, width = _places(ring - first, count)
    # Eight turns and mirrors of an eighth are the disc, but that its edges come twice and the middle eight times.
    shared = np.where((y == 0) & (x == 0), 8, np.where((y == 0) | (y == x), 2, 1))
    values = {"y": y, "x": x, "r": np.hypot(y, x), "weight": 1 / shared}
    laid = {name: _laid(v, ring - first, place, (count, width)) for name, v in values.items()}
    within = laid["r"] / step - (first + np.arange(count))[:, None]
    taps = _window(within[:, None] + TAPS / 2 - 1 - np.arange(TAPS)[None, :, None]) * laid["weight"][:, None]
    return Rings(laid["y"].astype(int), laid["x"].astype(int), taps)


def _places(ring: NDArray[np.int64], rings: int) -> tuple[NDArray[np.int64], int]:
    """The number of each pixel within its ring, and the largest number of pixels."""
    order = np.argsort(ring, kind="stable")
    counts = np.bincount(ring, minlength=rings)
    place = np.empty_like(ring)
    place[order] = np.arange(len(ring)) - np.repeat(np.cumsum(counts) - counts, counts)
    return place, int(counts.max())


def _laid(values: Floats, ring: NDArray[np.int64], place: NDArray[np.int64], shape: tuple[int, int]) -> Floats:
    out = np.zeros(shape)
    out[ring, place] = values
    return out


def _window(steps: Floats) -> Floats:
    """Kaiser and Bessel's window, 1 at its middle, 0 beyond half its width; positive, so that sums of a mask are weights."""
    shape = np.pi * TAPS * (1 - 0.5 / OVERSAMPLED) * 0.98
    inside = np.sqrt(np.clip(1 - (2 * steps / TAPS) ** 2, 0, None))
    return np.asarray(np.where(np.abs(steps) < TAPS / 2, i0e(shape * inside) * np.exp(shape * (inside - 1)), 0.0))


@lru_cache(maxsize=256)
def _bessel(order: int, last: float) -> CubicHermiteSpline:
    """J_order from 0 to `last`, to 2e-8: thirty times faster than the function itself, of which millions of values are needed."""
    z = np.linspace(0, last, int(20 * last) + 2)
    return CubicHermiteSpline(z, jv(order, z), jvp(order, z))


@lru_cache(maxsize=8)
def _fitting(radius_px: int, rings: int) -> tuple[Floats, Floats]:
    """Places r [F] along the radius, and [R F] which values on the radii interpolate best what is known there."""
    fine = (np.arange(rings * FINE) + 0.5) / FINE
    node = np.arange(rings + TAPS - 1) - (TAPS / 2 - 1)
    spread = np.linalg.pinv(_window(fine[:, None] - node[None, :]), rcond=1e-10)
    return fine * (radius_px / rings), np.asarray(spread)
