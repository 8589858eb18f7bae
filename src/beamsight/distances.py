"""How far nearest neighbours of a lattice are apart, from where the rods of its layers lie in a pattern of known geometry."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from beamsight.frame import Frame, Geometry

Floats = NDArray[np.float64]

AROUND_PX = 0.16  # of a side: a row's light is compared with what lies so near
FEWEST = 2  # rods that tell a distance
LIKE = 0.35  # correlation of the profile with that of a lattice, from which its rods are taken to be there
ALONE, APART = 0.8, 0.08  # how like any other distance may be, and from which ratio (a log) on it is another
STRAIN = 0.007  # by which films are strained, so that no distance is known better
STEPS = 400  # distances that are tried
NEAREST_PX = 3.0  # of a rod to the plane of incidence


def nearest_m(frame: Frame, rods: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    """(distance, its standard error) in m; None where the geometry is not known in full or no rods are found.

    `rods`: |G| times the nearest distance and how many share it, of the layers of a lattice that is an in-plane powder. Rods are
    looked for across either side of the image, as a file may be turned. The error is that of a straight line through the places
    of the rods, no less than a tenth of a pixel, and than the strain that films have.
    """
    if not _complete(frame.geometry):
        return None
    found = [_along(frame, rods, axis) for axis in (0, 1)]
    best = max((f for f in found if f is not None), key=lambda f: f[0], default=None)
    return None if best is None or best[0] < LIKE else best[1:]


def _complete(geometry: Geometry) -> bool:
    needed = (geometry.pixel_m, geometry.wavelength_m, geometry.distance_m, geometry.centre_px)
    return all(value is not None for value in needed) and not geometry.panels


def _along(frame: Frame, rods: Sequence[tuple[float, float]], axis: int) -> tuple[float, float, float] | None:
    """(likeness, distance, error) of rods that lie along that axis."""
    step, profile = _profile(frame, axis)
    if len(profile) < 8 or not profile.any():
        return None
    place, number = (np.array(v) for v in zip(*rods, strict=True))
    q = np.asarray((np.arange(len(profile)) + 0.5) * step, np.float64)
    tried = np.geomspace(place[0] / (0.9 * q[-1]), place[0] / (NEAREST_PX * step), STEPS)
    like = np.array([_likeness(q, profile, place / d, number, step) for d in tried])
    best = float(tried[like.argmax()])
    others = like[np.abs(np.log(tried / best)) > APART]
    if others.max(initial=0) > ALONE * like.max():
        return None
    line = _line(q, profile, place, best)
    return None if line is None else (float(like.max()), *line)


def _profile(frame: Frame, axis: int) -> tuple[float, Floats]:
    """The width of a bin in rad/m, one pixel's, and over bins of q in the surface how far pixels stand out of their row."""
    g = frame.geometry
    pixel, wave, far, (cy, cx) = (
        float(g.pixel_m or 1),
        float(g.wavelength_m or 1),
        float(g.distance_m or 1),
        g.centre_px or (0, 0),
    )
    image, mask = (frame.image, frame.mask) if axis == 0 else (frame.image.T, frame.mask.T)
    up, across = ((np.arange(n) - c) * pixel / far for n, c in zip(image.shape, (cy, cx) if axis == 0 else (cx, cy), strict=True))
    total = np.sqrt(1 + up[:, None] ** 2 + across[None] ** 2)
    k = 2 * np.pi / wave
    q = k * np.hypot(across[None] / total, 1 - 1 / total)
    step = k * pixel / far
    bins = (q / step).astype(int)
    stands = _standing_out(image, mask)
    number = np.bincount(bins[mask], minlength=bins.max() + 1)
    sums = np.bincount(bins[mask], stands[mask], minlength=len(number))
    # Bins of few pixels are noise: corners, and columns that a gap hides.
    enough = number > 0.2 * np.median(number[number > 0]) if number.any() else number > 0
    last = int(np.flatnonzero(enough)[-1]) + 1 if enough.any() else 0
    return step, np.where(enough, sums / np.maximum(number, 1), 0.0)[:last]


def _standing_out(image: NDArray[np.float32], mask: NDArray[np.bool_]) -> Floats:
    """Log counts less their mean over the near part of each row, of trusted pixels; 0 elsewhere."""
    counts = np.where(mask, np.maximum(image, 0), 0).astype(float)
    log = np.log(counts + max(float(counts.sum()) / max(int(mask.sum()), 1) * 0.03, 1e-30)) * mask
    width = max(5, int(AROUND_PX * image.shape[1])) | 1
    sums, number = (_running(v, width) for v in (log, mask.astype(float)))
    return (log - sums / np.maximum(number, 1)) * mask


def _running(values: Floats, width: int) -> Floats:
    padded = np.pad(values, ((0, 0), (width // 2 + 1, width // 2)))
    sums = np.cumsum(padded, 1)
    return np.asarray(sums[:, width:] - sums[:, :-width])


def _likeness(q: Floats, profile: Floats, rods: Floats, number: Floats, step: float) -> float:
    """Correlation of the profile with lines at the rods that lie within it."""
    wide = np.maximum(1.2 * step, 0.012 * rods)
    lines = (number / rods) @ np.exp(-0.5 * ((q - rods[:, None]) / wide[:, None]) ** 2)
    seen = q > NEAREST_PX * step / 2
    a, b = profile[seen] - profile[seen].mean(), np.minimum(lines[seen], lines[seen].max() / 3)
    b = b - b.mean()
    return float(a @ b / max(np.sqrt((a @ a) * (b @ b)), 1e-30))


def _line(q: Floats, profile: Floats, place: Floats, distance: float) -> tuple[float, float] | None:
    """(distance, error) by the line q = place / distance through the rods that are seen, weighted by how far they stand out."""
    step, level = q[1] - q[0], float(np.median(profile))
    expected, where, weight = [], [], []
    for p in place:
        near = np.abs(q - p / distance) < max(2.5 * step, 0.04 * p / distance)
        height = np.where(near, np.maximum(profile - level, 0), 0)
        if near.sum() >= 3 and height.sum() > 0 and near[:-1].any() and p / distance < q[-2]:
            expected.append(p)
            where.append(float((q * height).sum() / height.sum()))
            weight.append(float(height.max()))
    if len(expected) < FEWEST:
        return None
    p, w, h = np.array(expected), np.array(where), np.array(weight)
    slope = float((h * p * w).sum() / (h * p * p).sum())
    off = float(np.sqrt((h * (w - slope * p) ** 2).sum() / h.sum() / max(len(p) - 1, 1)))
    error = max(off, 0.1 * step) / float(np.sqrt((h * p * p).sum() / h.sum()))
    return 1 / slope, float(np.hypot(error / slope, STRAIN)) / slope
