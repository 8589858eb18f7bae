"""What a frame is like, as some numbers that change when something happens to the beam, the sample or the detector."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from beamsight.frame import Frame

Floats = NDArray[np.float64]
Pixels = NDArray[np.float32]
Bools = NDArray[np.bool_]

GRID = 4  # parts a side of which the level is known
LOOKED_AT = 128  # rows, and pixels of each, at most: a run changes in all of them
STATE = ("noise", "light", "trusted", "empty", "same", "ripple", *(f"part {y},{x}" for y in range(GRID) for x in range(GRID)))
CUT = 8  # times the noise: what stands further out is a spot or a bad pixel
STEEP = 16  # times the noise, the same for steps
# Light of so many times the noise of a pixel is told from none: thousands of pixels are averaged, hundreds in a part.
FAINT, FAINT_PART = 1 / 20, 1 / 5
FEW = 1e-2  # of the pixels: smaller shares hardly count


def state_of(frame: Frame) -> Floats:
    """[len(STATE)] what a frame is like.

    "noise": log of the step from pixel to pixel. "light": its mean in units of that, asinh(x / FAINT). "trusted": the share of
    pixels that are; of these the share that is "empty", and that of pixels that read the "same" as their neighbour: all as
    log((x + FEW) / (1 - x + FEW)). "ripple": log of how much more the light changes over some pixels than from one to the next,
    as it does across sharp rings. The "part"s: asinh(x / FAINT_PART) of their light less that of the whole.

    Of evenly spaced rows and columns, at most 128 each; NaN in parts where nothing is trusted.
    """
    down, right = (max(1, n // LOOKED_AT) for n in frame.image.shape)
    image, beside = (frame.image[::down, first::right] for first in (0, 1))
    mask, there = (frame.mask[::down, first::right] for first in (0, 1))
    mask = mask & np.isfinite(image)
    n = beside.shape[1]
    steps = np.abs(beside - image[:, :n])[mask[:, :n] & there & np.isfinite(beside)]
    values = image[mask]
    if not values.size:
        return np.full(len(STATE), np.nan)
    noise = max(_noise(steps), 1e-6)
    top = float(np.median(values)) + CUT * noise
    level = _mean(values, top) / noise
    whole = [
        math.log(noise), math.asinh(level / FAINT), _odds(mask), _odds(values == 0), _odds(steps == 0),
        _ripple(image, mask, steps, STEEP * noise),
    ]  # fmt: skip
    among = math.asinh(level / FAINT_PART)
    return np.array(whole + [math.asinh(part / noise / FAINT_PART) - among for part in _parts(image, mask, top)])


def share_of(odds: float) -> float:
    """The share, 0 to 1, of which a state tells `odds`."""
    ratio = math.exp(odds)
    return min(1.0, max(0.0, (ratio * (1 + FEW) - FEW) / (1 + ratio)))


def _noise(steps: Pixels) -> float:
    """The mean step from pixel to pixel, edges and spots cut; of sparse counts most steps are none, and only the others tell
    where to cut."""
    some = steps[steps > 0]
    return float(np.mean(np.minimum(steps, 4 * np.median(some)))) if some.size else 0.0


def _odds(flags: Bools) -> float:
    share = float(flags.mean()) if flags.size else 0.0
    return math.log((share + FEW) / (1 - share + FEW))


def _mean(values: Pixels, top: float) -> float:
    """The mean, spots and bad pixels cut; unlike a median it knows single photons."""
    return float(np.clip(values, -top, top).mean(dtype=np.float64))


def _ripple(image: Pixels, mask: Bools, steps: Pixels, most: float) -> float:
    """How much three values in a row of `image` differ from a straight line, beside what the noise `steps` make of them."""
    bends = np.abs(image[:, 2:] - 2 * image[:, 1:-1] + image[:, :-2])[mask[:, 2:] & mask[:, 1:-1] & mask[:, :-2]] / math.sqrt(3)
    if not bends.size or not steps.size:
        return math.nan
    near, far = (float(np.square(np.minimum(v, most)).mean(dtype=np.float64)) for v in (steps, bends))
    return math.log(max(far, 1e-12) / max(near, 1e-12)) if max(far, near) > 0 else 0.0


def _parts(image: Pixels, mask: Bools, top: float) -> list[float]:
    rows, columns = (np.linspace(0, n, GRID + 1).astype(int) for n in image.shape)
    cells = [(slice(*rows[y : y + 2]), slice(*columns[x : x + 2])) for y in range(GRID) for x in range(GRID)]
    return [_mean(image[c][mask[c]], top) if mask[c].any() else math.nan for c in cells]
