"""One detector image and what is known of it.

Everything to the right of `Frame` treats simulated, stored and live images alike.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beamsight.errors import BadFrame, NoGeometry


@dataclass(frozen=True)
class Panel:
    """A sensor of its own among the pixels of an image: rows `y0` to `y1` and columns `x0` to `x1`, ends not included.

    `corner_px` (y, x) is where the middle of its first pixel lies, in pixels from the direct beam, None meaning unknown;
    `slow_px` and `fast_px` (y, x) lead from a row to the next and from a column to the next.
    """

    y0: int
    y1: int
    x0: int
    x1: int
    corner_px: tuple[float, float] | None = None
    slow_px: tuple[float, float] = (1.0, 0.0)
    fast_px: tuple[float, float] = (0.0, 1.0)

    def offsets_px(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(y, x) of each of its pixels [h w] from the beam, px. Raises NoGeometry where its corner is unknown."""
        if self.corner_px is None:
            raise NoGeometry("a panel of this image has no known place; give a geometry file of the detector")
        row, column = np.indices((self.y1 - self.y0, self.x1 - self.x0), dtype=np.float64)
        y, x = (self.corner_px[k] + row * self.slow_px[k] + column * self.fast_px[k] for k in (0, 1))
        return y, x


@dataclass(frozen=True)
class Geometry:
    """Where the detector stood.

    `shape` (H, W) pixels; `pixel_m` side of a square pixel; `wavelength_m`; `distance_m` sample to
    detector, None meaning a real-space image; `centre_px` (y, x) of the direct beam, pixel centres
    at integers, None meaning unknown. `pixel_m` and `wavelength_m` are None where a file gives none.
    `panels` where the image is a stack of sensors that do not lie as they are stored; then `centre_px` is None.
    """

    shape: tuple[int, int]
    pixel_m: float | None = None
    wavelength_m: float | None = None
    distance_m: float | None = None
    centre_px: tuple[float, float] | None = None
    panels: tuple[Panel, ...] = ()

    def q(self) -> NDArray[np.float64]:
        """Length of the scattering vector [H W] in 1/m: q = 4 pi / lambda sin(theta), tan(2 theta) = r / distance.

        Raises NoGeometry where wavelength, distance, pixel or centre is unknown.
        """
        if self.wavelength_m is None or self.distance_m is None or self.pixel_m is None:
            raise NoGeometry(
                f"q was asked of a geometry without wavelength, distance or pixel size ({self}); "
                "give them with a .poni file or use a file that holds them"
            )
        two_theta = np.arctan(self.radius_px() * self.pixel_m / self.distance_m)
        return np.asarray(4 * np.pi / self.wavelength_m * np.sin(two_theta / 2))

    def chi(self) -> NDArray[np.float64]:
        """Azimuth about the beam [H W] in rad, 0 along +x, growing towards +y. Raises NoGeometry without a centre."""
        y, x = self._offsets_px()
        return np.arctan2(y, x)

    def radius_px(self) -> NDArray[np.float64]:
        """Distance from the beam [H W] in px; NaN where no panel lies. Raises NoGeometry without a centre."""
        return np.asarray(np.hypot(*self._offsets_px()))

    def _offsets_px(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if self.panels:
            return self._offsets_of_panels()
        if self.centre_px is None:
            raise NoGeometry(f"the beam centre was asked of a geometry without one ({self}); give it with a .poni file")
        y, x = np.indices(self.shape, dtype=np.float64)
        return y - self.centre_px[0], x - self.centre_px[1]

    def _offsets_of_panels(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        y, x = np.full(self.shape, np.nan), np.full(self.shape, np.nan)
        for panel in self.panels:
            place = (slice(panel.y0, panel.y1), slice(panel.x0, panel.x1))
            y[place], x[place] = panel.offsets_px()
        return y, x


@dataclass(frozen=True)
class Frame:
    """One image [H W] float32 in counts per pixel, its mask [H W] bool (True = trust), geometry and a unique, stable key.

    Frames are compared by key. `truth` is in the task's own terms; `scene` holds the drawn numbers of a simulated frame.
    Raises BadFrame where image, mask and geometry do not fit together.
    """

    image: NDArray[np.float32] = field(compare=False, repr=False)
    mask: NDArray[np.bool_] = field(compare=False, repr=False)
    geometry: Geometry = field(compare=False)
    key: str
    truth: Any = field(default=None, compare=False, repr=False)
    scene: Any = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.image.ndim != 2 or 0 in self.image.shape:
            raise BadFrame(f"{self.key}: a frame is one 2-D image; this has shape {self.image.shape}")
        if self.mask.shape != self.image.shape or tuple(self.geometry.shape) != self.image.shape:
            raise BadFrame(
                f"{self.key}: image {self.image.shape}, mask {self.mask.shape} and geometry "
                f"{tuple(self.geometry.shape)} must have one shape; give a mask made for this detector"
            )


def fit(frame: Frame, size: int) -> Frame:
    """The frame on a square of `size` pixels: what a network sees. Counts stay counts per original pixel.

    The longer side becomes `size`; the shorter keeps the proportion and is padded at its end with untrusted pixels.
    A pixel of the result is the mean of the trusted originals in it, and is trusted where half of them are; bins hold
    whole pixels, so that photon noise stays independent. Smaller images are enlarged by repetition.
    """
    long_side = max(frame.image.shape)
    shape = tuple(max(1, round(n * size / long_side)) for n in frame.image.shape)
    height, width = frame.image.shape
    area = _resample(np.ones((height, 1), np.float32), shape[0], 0) * _resample(np.ones((1, width), np.float32), shape[1], 1)
    total, share = _sums(frame, shape, area)
    mean, mask = total / np.maximum(share, 1), share >= area / 2
    if shape != (size, size):
        pad = ((0, size - shape[0]), (0, size - shape[1]))
        mean, mask = np.pad(mean, pad), np.pad(mask, pad)
    return replace(frame, image=np.where(mask, mean, 0).astype(np.float32), mask=mask, geometry=_fitted(frame.geometry, size))


def _sums(frame: Frame, shape: tuple[int, ...], area: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Sum of the trusted counts in each pixel of `shape`, and their number."""

    def summed(values: NDArray[Any]) -> NDArray[np.float32]:
        return _resample(_resample(values.astype(np.float32, copy=False), shape[0], 0), shape[1], 1)

    # Half of all frames have nothing to leave out; a sum that is a number has no part that is none.
    with np.errstate(over="ignore", invalid="ignore"):
        finite = bool(np.isfinite(frame.image.sum(dtype=np.float32)))
    if finite and frame.mask.all():
        return summed(frame.image), area
    trusted = frame.mask if finite else frame.mask & np.isfinite(frame.image)
    # A product is six times faster than a choice, but turns infinities to NaN.
    return summed(frame.image * trusted if finite else np.where(trusted, frame.image, 0)), summed(trusted)


def _resample(values: NDArray[np.float32], n: int, axis: int) -> NDArray[np.float32]:
    """Sums over n runs of whole rows or columns, or repeated rows or columns where there are fewer than n."""
    old = values.shape[axis]
    if old == n:
        return values
    edges = np.arange(n) * old // n
    if old < n:
        return np.asarray(np.take(values, edges, axis=axis))
    run, rest = divmod(old, n)
    if rest == 0 and axis == 0:
        return np.asarray(np.add.reduce(values.reshape(n, run, -1), 1))
    if rest == 0:
        return np.asarray(values.reshape(-1, n, run) @ np.ones(run, np.float32))
    if axis == 0:
        return _summed_rows(values, edges)
    # Whole rows added to whole rows: along the other axis it takes four times as long.
    return np.ascontiguousarray(_summed_rows(np.ascontiguousarray(values.T), edges).T)


def _summed_rows(values: NDArray[np.float32], edges: NDArray[np.intp]) -> NDArray[np.float32]:
    lengths = np.diff(edges, append=len(values))
    total = values[edges]
    for j in range(1, int(lengths.max())):
        longer = lengths > j
        if longer.all():
            total += values[edges + j]
        else:
            total[longer] += values[edges[longer] + j]
    return np.asarray(total)


def _fitted(geometry: Geometry, size: int) -> Geometry:
    scale = size / max(geometry.shape)
    centre, pixel_m = geometry.centre_px, geometry.pixel_m
    return replace(
        geometry,
        shape=(size, size),
        panels=(),
        pixel_m=None if pixel_m is None else pixel_m / scale,
        centre_px=None if centre is None else ((centre[0] + 0.5) * scale - 0.5, (centre[1] + 0.5) * scale - 0.5),
    )
