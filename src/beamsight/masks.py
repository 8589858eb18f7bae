"""Which pixels are trusted. Inside the package True = trust; in files and at the command line 1 = masked."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from beamsight.frame import Frame

# Detectors mark pixels by a few negative codes (-1 gap, -2 dead); more different values than this are measurements.
CODES = 4


def masked_share(frame: Frame) -> float:
    """Share of the pixels that are not trusted, 0 to 1."""
    return 1 - float(np.count_nonzero(frame.mask)) / frame.mask.size


def trusted(raw: NDArray[Any], top: float | None = None, reserved: int = 1) -> NDArray[np.bool_]:
    """The pixels [H W] whose value is a measurement: True = trust.

    Not trusted: NaN, infinities, values above `top`, the `reserved` highest codes of an integer type (saturated, or no
    data), and negative counts. Two kinds of image hold negative measurements, and keep them: whole numbers of more than
    CODES different values below zero, and floats that are not all whole; in the latter -1 and -2 exactly are codes.
    """
    mask = _below_top(raw, top, reserved)
    if raw.dtype.kind == "u":
        return mask
    lowest = np.fmin.reduce(raw, axis=None, where=mask, initial=0)
    if lowest < 0:
        mask &= _not_coded(raw)
    return mask


def _below_top(raw: NDArray[Any], top: float | None, reserved: int) -> NDArray[np.bool_]:
    if raw.dtype.kind == "f":
        mask = np.isfinite(raw)
        return np.asarray(mask if top is None else mask & (raw <= top))
    highest = int(np.iinfo(raw.dtype).max) - (reserved if raw.dtype.kind == "u" else 1)
    return np.asarray(raw <= (highest if top is None else min(highest, int(top))))


def _not_coded(raw: NDArray[Any]) -> NDArray[np.bool_]:
    if raw.dtype.kind == "f":
        finite = raw[np.isfinite(raw)]
        if not np.array_equal(finite, np.rint(finite)):
            return np.asarray((raw != -1) & (raw != -2))
    if len(np.unique(raw[raw < 0])) <= CODES:
        return np.asarray(raw >= 0)
    return np.asarray(raw > np.iinfo(raw.dtype).min) if raw.dtype.kind == "i" else np.ones(raw.shape, bool)
