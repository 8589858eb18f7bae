"""Bragg spots of a still: which reflections of a crystal a pulse excites, how strongly, and where they meet a flat detector.

NumPy, for drawing. The beam runs along +z, x and y lie in the plane of the detector, k = 1 / wavelength, a reflection sits at q =
1/d. A mosaic crystal of finite size gives its points a width; the pulse's spectrum is a sum of Gaussian lines; all products of
Gaussians are integrated exactly in the relative wavelength e, to first order in the widths.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from beamsight.physics.cells import Array, Cell, Indices, allowed, intensities, reciprocal_axes

LINES = 12  # of a spectrum
REACH = 3.5  # standard deviations from the sphere beyond which no reflection is listed: it keeps 0.2 % of its light there
SIZE_SD = 0.376  # of the transform of a length D, sinc^2, in 1/D: half width 0.886 / D as a Gaussian
LEAST_PH = 0.05  # spots of fewer expected photons are left out: one in twenty would give a single photon


@dataclass(frozen=True)
class Pulse:
    """One pulse: central `wavelength_m`; its lines' `offset` [K] and `sd` [K] as shares of it and `weight` [K] of sum 1;
    `divergence_rad` rms."""

    wavelength_m: float
    offset: Array
    sd: Array
    weight: Array
    divergence_rad: float = 0.0


@dataclass(frozen=True)
class Grain:
    """One crystal in the beam: its cell turned by `rotation` [3 3], length `size_m` of its blocks, `mosaicity_rad` rms of their
    tilts, `b_factor_m2` of Debye and Waller, and `limit_m`, the d below which it scatters nothing. `structure` numbers its |F|^2.
    """

    cell: Cell
    rotation: Array
    size_m: float
    mosaicity_rad: float
    b_factor_m2: float
    limit_m: float
    structure: int = 0


@dataclass(frozen=True)
class Camera:
    """A flat detector at right angles to the beam: `bounds_px` (y low, y high, x low, x high) from the beam; `blur_px` sd of what
    a point becomes, crystal and beam included."""

    distance_m: float
    pixel_m: float
    bounds_px: tuple[float, float, float, float]
    blur_px: float = 0.3

    def corner_rad(self) -> float:
        """The largest scattering angle 2 theta that meets it."""
        low_y, high_y, low_x, high_x = self.bounds_px
        far = np.hypot(max(abs(low_y), abs(high_y)), max(abs(low_x), abs(high_x)))
        return float(np.arctan(far * self.pixel_m / self.distance_m))


@dataclass(frozen=True)
class Spots:
    """Spots [N]: place `y`, `x` in px from the beam, expected `photons`, width `along_px` the radius and `across_px` (sd), and
    their `hkl` [N 3]."""

    y: Array
    x: Array
    photons: Array
    along_px: Array
    across_px: Array
    hkl: Indices

    def __len__(self) -> int:
        return len(self.y)

    def taken(self, which: NDArray[np.generic]) -> Spots:
        """Those that an index or a mask names."""
        return Spots(**{name: value[which] for name, value in vars(self).items()})


def draw_pulse(rng: Generator, wavelength_m: float, bandwidth: float, seeded: bool, divergence_rad: float = 0.0) -> Pulse:
    """A pulse of relative `bandwidth` (full width at half maximum).

    Self-amplified spontaneous emission: lines of exponentially distributed strength (chaotic light) under a Gaussian. Seeded:
    most of the light in one line of 1e-4 or a tenth of the bandwidth, the rest a pedestal as above.
    """
    sd = bandwidth / 2.355
    offset, weight = rng.normal(0, sd, LINES), rng.exponential(size=LINES)
    width = np.full(LINES, sd / 3)
    if seeded:
        share = rng.uniform(0.6, 0.95)
        weight[1:] *= (1 - share) / share * weight[0] / weight[1:].sum()
        offset[0], width[0] = 0.0, min(1e-4, bandwidth / 10) / 2.355
    return Pulse(wavelength_m, offset, width, weight / weight.sum(), divergence_rad)


def near_sphere(axes: Array, wavelength_m: float, q_max: float, half_width: float) -> Indices:
    """(h, k, l) [N 3] of the points of the lattice with columns `axes` [3 3] (1/m) within `half_width` (1/m) of Ewald's sphere
    and within `q_max` of the origin, the origin apart.

    Rows of the lattice along its shortest axis are cut with the two shells |k + q| = 1/lambda +- half_width and with the ball, in
    closed form; only what lies between is listed.
    """
    order = np.argsort(np.linalg.norm(axes, axis=0))[::-1]
    (u, v, w), k = axes[:, order].T, 1 / wavelength_m
    reach = np.floor(q_max * np.linalg.norm(np.linalg.inv(axes[:, order]), axis=1)[:2]).astype(int)
    i, j = (np.arange(-n, n + 1, dtype=float) for n in reach)
    i, ww = i[:, None], w @ w
    length = i * i * (u @ u) + 2 * i * j * (u @ v) + j * j * (v @ v)
    along = i * (u @ w) + j * (v @ w)
    across = length - along**2 / ww
    from_centre = along + k * w[2]
    shell = length + 2 * k * (i * u[2] + j * v[2]) + k * k - from_centre**2 / ww
    some = (across <= q_max**2) & (shell <= (k + half_width) ** 2)
    middle, ball = -from_centre[some] / ww, np.sqrt((q_max**2 - across[some]) / ww)
    outer = np.sqrt(((k + half_width) ** 2 - shell[some]) / ww)
    inner = np.sqrt(np.maximum((k - half_width) ** 2 - shell[some], 0) / ww)
    low, high = -along[some] / ww - ball, -along[some] / ww + ball
    # A row that the inner shell misses has one piece, the others two.
    whole = inner == 0
    row = np.stack(np.nonzero(some), 1) - reach
    first = _points(row, np.maximum(low, middle - outer), np.minimum(high, np.where(whole, middle + outer, middle - inner)))
    second = _points(row[~whole], np.maximum(low, middle + inner)[~whole], np.minimum(high, middle + outer)[~whole])
    found = np.concatenate([first, second])[:, np.argsort(order)]
    return np.asarray(found[found.any(1)])


def _points(rows: Indices, low: Array, high: Array) -> Indices:
    """(i, j, l) of the whole numbers l from `low` to `high` on each row (i, j)."""
    start = np.ceil(low).astype(int)
    count = np.maximum(np.floor(high).astype(int) - start + 1, 0)
    row = np.repeat(np.arange(len(rows)), count)
    place = start[row] + np.arange(len(row)) - (np.cumsum(count) - count)[row]
    return np.concatenate([rows[row], place[:, None]], 1)


def spots(grain: Grain, pulse: Pulse, camera: Camera) -> Spots:
    """The spots of a grain on the camera, photons in a unit of their own.

    Photons = |F|^2 exp(-B / 2 d^2) P / (2 sin^2 theta) S(e), with P = 1 - sin^2 2theta cos^2 chi for a beam polarised along x and
    S the spectrum's density at the wavelength of Bragg's law, smeared by the width of the point: var(e) = (eta / tan theta)^2 +
    (s / (q sin theta))^2 for mosaicity eta (divergence included) and blocks of size 0.376 / s. In monochromatic light this is
    Lorentz's 1 / sin 2theta times the density of the crystal's tilts. The place is that of Bragg's law at the mean wavelength
    which the spot takes out of the pulse.
    """
    wavelength = pulse.wavelength_m
    q_max = min(1 / grain.limit_m, 2 * np.sin(camera.corner_rad() / 2) / wavelength * 1.01)
    axes = grain.rotation @ reciprocal_axes(grain.cell)
    hkl = near_sphere(axes, wavelength, q_max, float(REACH * _width(grain, pulse, q_max)) + _farthest(pulse, q_max))
    hkl = hkl[allowed(hkl, grain.cell.centring)]
    q = hkl @ axes.T
    length = np.linalg.norm(q, axis=1)
    off = -2 * q[:, 2] / (length**2 * wavelength) - 1
    variance = (_width(grain, pulse, length, 0.0) / (length**2 * wavelength / 2)) ** 2
    reach = REACH * np.sqrt(variance + pulse.sd.max() ** 2)
    near = (off > pulse.offset.min() - reach) & (off < pulse.offset.max() + reach)
    hkl = hkl[near]
    q, length, off, variance = (a[near] for a in (q, length, off, variance))
    density, mean, spread = taken_from(pulse, off, variance)
    return _on_camera(grain, pulse, camera, hkl, q, length * wavelength / 2 * (1 + mean), density, spread)


def _width(grain: Grain, pulse: Pulse, length: Array | float, line: float | None = None) -> Array:
    """Standard deviation (1/m) of a reflection's distance from the sphere: size, tilts and, where not given, the widest line."""
    sine = length * pulse.wavelength_m / 2
    tilt = np.hypot(grain.mosaicity_rad, pulse.divergence_rad) * length * np.sqrt(np.maximum(1 - sine**2, 0))
    light = (pulse.sd.max() if line is None else line) * length * sine
    return np.asarray(np.sqrt((SIZE_SD / grain.size_m) ** 2 + tilt**2 + light**2))


def _farthest(pulse: Pulse, length: float) -> float:
    return float(np.abs(pulse.offset).max() * length**2 * pulse.wavelength_m / 2)


def taken_from(pulse: Pulse, off: Array, variance: Array) -> tuple[Array, Array, Array]:
    """What reflections whose Bragg wavelength is off by `off` [N], with `variance` [N], take out of a pulse: density [N] of the
    light in the relative wavelength, its mean [N] and its standard deviation [N]."""
    line = pulse.sd**2
    total = line + variance[:, None]
    share = pulse.weight * np.exp(-0.5 * (off[:, None] - pulse.offset) ** 2 / total) / np.sqrt(2 * np.pi * total)
    density = share.sum(1)
    share = share / np.maximum(density, 1e-300)[:, None]
    place = (pulse.offset * variance[:, None] + off[:, None] * line) / total
    mean = (share * place).sum(1)
    within = (share * (line * variance[:, None] / total + (place - mean[:, None]) ** 2)).sum(1)
    return density, mean, np.sqrt(within)


def _on_camera(
    grain: Grain, pulse: Pulse, camera: Camera, hkl: Indices, q: Array, sine: Array, density: Array, spread: Array
) -> Spots:
    """Reflections [N] at `sine` = sin theta as spots, those that miss the camera left out."""
    # A flat camera sees nothing at right angles to the beam.
    cosine2 = np.maximum(1 - 2 * sine**2, 0.01)
    side = np.maximum(np.hypot(q[:, 0], q[:, 1]), 1e-30)
    radius = camera.distance_m / camera.pixel_m * 2 * sine * np.sqrt(1 - sine**2) / cosine2
    x, y = radius * q[:, 0] / side, radius * q[:, 1] / side
    low_y, high_y, low_x, high_x = camera.bounds_px
    on = np.flatnonzero((y > low_y) & (y < high_y) & (x > low_x) & (x < high_x))
    hkl = hkl[on]
    q, sine, density, spread, cosine2, side, y, x = (a[on] for a in (q, sine, density, spread, cosine2, side, y, x))
    polarised = 1 - (1 - cosine2**2) * (q[:, 0] / side) ** 2
    fall = np.exp(-grain.b_factor_m2 / 2 * (q * q).sum(1))
    photons = intensities(hkl, grain.cell, grain.structure) * density * fall * polarised / (2 * sine**2)
    path = camera.distance_m / camera.pixel_m / cosine2
    both = pulse.divergence_rad**2 + (pulse.wavelength_m * SIZE_SD / grain.size_m) ** 2
    along = np.hypot(path / cosine2 * np.sqrt((2 * sine / np.sqrt(1 - sine**2) * spread) ** 2 + both), camera.blur_px)
    across = np.hypot(path * np.sqrt((2 * sine * grain.mosaicity_rad) ** 2 + both), camera.blur_px)
    return Spots(y, x, photons, along, across, hkl)


def brightest(crystals: list[Spots], strength_ph: float, most: int) -> Spots:
    """The spots of several crystals together, the highest first, at most `most`; scaled so that the tenth highest (the last,
    where there are fewer) has `strength_ph` photons.

    Height is photons / (2 pi sd sd). Left out are all lower ones and those of less than LEAST_PH photons.
    """
    together = Spots(**{name: np.concatenate([vars(s)[name] for s in crystals]) for name in vars(crystals[0])})
    if len(together) == 0:
        return together
    height = together.photons / (together.along_px * together.across_px)
    # The highest alone are sorted: a large cell lists ten times as many as are kept.
    first = np.argpartition(height, -most)[-most:] if len(height) > most else np.arange(len(height))
    ordered = together.taken(first[np.argsort(-height[first], kind="stable")])
    photons = ordered.photons * (strength_ph / ordered.photons[min(9, len(ordered) - 1)])
    return Spots(**vars(ordered) | {"photons": photons}).taken(photons >= LEAST_PH)


def brighter_neighbour(found: Spots) -> NDArray[np.int64]:
    """[N] the number of a higher spot so near that the two look like one (Sparrow: less apart than their standard deviations
    together), -1 where there is none; the spots are the highest first."""
    order = np.argsort(found.y, kind="stable")
    y, x, wide = found.y[order], found.x[order], np.maximum(found.along_px, found.across_px)[order]
    neighbour = np.full(len(order), -1, np.int64)
    for step in range(1, len(order)):
        near_y = y[step:] - y[:-step]
        if (near_y > 2 * wide.max()).all():
            break
        near = np.hypot(near_y, x[step:] - x[:-step]) < wide[step:] + wide[:-step]
        pair = np.stack([order[:-step][near], order[step:][near]])
        neighbour[pair.max(0)] = pair.min(0)
    return neighbour
