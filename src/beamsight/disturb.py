"""What may befall a picture once it is taken, as functions of a frame: blur, struck pixels, counting, turns, a wrong centre.

What happens inside a detector is numbers of `Detector`; these need no physics and work on any frame. The first three are the
noises of N. Meister et al. (2017), on which robust training is measured.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from beamsight.frame import Frame

# (frame, strength, random numbers) to a frame of the same key and truth; strength 0 gives the frame itself.
Disturbance: TypeAlias = Callable[[Frame, float, Generator], Frame]

SALT_COUNTS = 2.0**16
SIDE_PX = 256  # lengths are in px of a frame of this side, so that they mean the same on any


def blur_px(frame: Frame, sigma_px: float, rng: Generator) -> Frame:
    """The counts convolved with a Gaussian of `sigma_px`: motion, or poor resolution of a picture without noise of its own."""
    if sigma_px == 0:
        return frame
    return replace(frame, image=gaussian_filter(frame.image, _scaled(sigma_px, frame), mode="nearest"))


def salt_and_pepper(frame: Frame, share: float, rng: Generator) -> Frame:
    """A Poisson number of pixels, `share` of all on average, set to 0 or to 2^16 counts, unknown to the mask."""
    if share == 0:
        return frame
    image = frame.image.copy()
    hit = rng.choice(image.size, min(image.size, int(rng.poisson(share * image.size))), replace=False)
    image.flat[hit] = np.where(rng.random(len(hit)) < 0.5, 0.0, SALT_COUNTS)
    return replace(frame, image=image)


def counting_k(frame: Frame, k: float, rng: Generator) -> Frame:
    """Each pixel p drawn anew from a Poisson distribution of mean p / k; negative counts as none."""
    if k == 0:
        return frame
    mean = np.nan_to_num(np.maximum(frame.image, 0).astype(np.float64) / k)
    return replace(frame, image=rng.poisson(np.minimum(mean, 1e9)).astype(np.float32))


def turn_deg(frame: Frame, angle_deg: float, rng: Generator) -> Frame:
    """The picture and its beam turned about the middle of the frame, from +x towards +y; what comes from outside is masked.

    Each pixel is one of the original, the nearest: an interpolated one would lose its photon noise.
    """
    if angle_deg == 0:
        return frame
    rows, columns, inside = _origins(frame.image.shape, angle_deg)
    image = np.where(inside, frame.image[rows, columns], 0).astype(np.float32)
    return replace(frame, image=image, mask=inside & frame.mask[rows, columns], geometry=_turned(frame, angle_deg))


def cut_corners_deg(frame: Frame, angle_deg: float, rng: Generator) -> Frame:
    """The frame with those pixels masked that `turn_deg` by that angle would lose: what of its loss is not the turning."""
    if angle_deg == 0:
        return frame
    _, _, inside = _origins(frame.image.shape, -angle_deg)
    return replace(frame, image=np.where(inside, frame.image, 0).astype(np.float32), mask=frame.mask & inside)


def centre_off_px(frame: Frame, off_px: float, rng: Generator) -> Frame:
    """The same picture, with a beam centre told that lies `off_px` px of a 256 px frame from the true one, in any direction."""
    angle = rng.uniform(0, 2 * np.pi)
    if frame.geometry.centre_px is None or off_px == 0:
        return frame
    y, x = frame.geometry.centre_px
    off = _scaled(off_px, frame)
    told = (float(y + off * np.sin(angle)), float(x + off * np.cos(angle)))
    return replace(frame, geometry=replace(frame.geometry, centre_px=told))


DISTURBANCES: dict[str, Disturbance] = {
    "blur_px": blur_px,
    "salt_and_pepper": salt_and_pepper,
    "counting_k": counting_k,
    "turn_deg": turn_deg,
    "cut_corners_deg": cut_corners_deg,
    "centre_off_px": centre_off_px,
}


def _scaled(px: float, frame: Frame) -> float:
    return float(px * max(frame.image.shape) / SIDE_PX)


def _origins(shape: tuple[int, ...], angle_deg: float) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.bool_]]:
    """(row, column) of the pixel that each pixel of the turned frame comes from, and whether there is one; all [H W]."""
    middle = (np.array(shape) - 1) / 2
    y, x = (np.indices(shape).T - middle).T
    cos, sin = _cos_sin(-angle_deg)
    places = np.stack([x * sin + y * cos + middle[0], x * cos - y * sin + middle[1]])
    nearest = np.rint(places).astype(np.intp)
    limits = np.array(shape)[:, None, None]
    inside = ((nearest >= 0) & (nearest < limits)).all(0)
    rows, columns = np.clip(nearest, 0, limits - 1)
    return rows, columns, inside


def _turned(frame: Frame, angle_deg: float) -> Any:
    if frame.geometry.centre_px is None:
        return frame.geometry
    middle = (np.array(frame.image.shape) - 1) / 2
    y, x = np.array(frame.geometry.centre_px) - middle
    cos, sin = _cos_sin(angle_deg)
    told = (float(x * sin + y * cos + middle[0]), float(x * cos - y * sin + middle[1]))
    return replace(frame.geometry, centre_px=told)


def _cos_sin(angle_deg: float) -> tuple[float, float]:
    # Quarter turns are exact, so that they move no pixel by rounding.
    if angle_deg % 90 == 0:
        return ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))[int(angle_deg // 90) % 4]
    radians = np.radians(angle_deg)
    return float(np.cos(radians)), float(np.sin(radians))
