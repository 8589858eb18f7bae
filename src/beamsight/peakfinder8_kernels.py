"""The loops of peakfinder8 over pixels, compiled by Numba. Imported when peaks are first looked for.

A place is y * W + x in the image [H W]; a rectangle is (y0, y1, x0, x1), ends not included. `free` [H W]: trusted, and part of no
blob so far. `ring` [H W] holds the ring of every pixel, the highest number meaning none: at that place `low` and `high`, the
limits of the rings, are infinite, so that such a pixel is neither background nor peak. Comparisons are written so that values
that are not finite fail them. All loops leave Python's lock, so that threads share an image.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from beamsight.rings import Places, Rings

Rectangle = tuple[int, int, int, int]
Limits = NDArray[np.float32]
Mask = NDArray[np.bool_]


def helper(function: Any) -> Any:
    """A function that loops call."""
    return njit(nogil=True, error_model="numpy")(function)


def loop(*arguments: Any) -> Callable[[Any], Any]:
    """Compiles a function for arguments of these types; kept on disc where there is a folder for it, else in memory."""

    def compiled(function: Any) -> Any:
        try:
            return njit(arguments, nogil=True, error_model="numpy", cache=True)(function)
        except (RuntimeError, OSError):
            return njit(arguments, nogil=True, error_model="numpy")(function)

    return compiled


def _array(kind: Any, dimensions: int, readonly: bool = True) -> Any:
    return types.Array(kind, dimensions, "C", readonly=readonly)


IMAGE, MASK, RING = (_array(kind, 2) for kind in (types.float32, types.boolean, types.uint16))
LIMITS, PLACES, RECTANGLE = _array(types.float32, 1), _array(types.int64, 1), types.UniTuple(types.int64, 4)
FREE, SUMS = _array(types.boolean, 2, False), _array(types.float64, 2, False)


@loop(IMAGE, MASK, RING, LIMITS, LIMITS, RECTANGLE, SUMS)
def add(
    image: Limits, free: Mask, ring: Rings, low: Limits, high: Limits, rectangle: Rectangle, sums: NDArray[np.float64]
) -> None:
    """Adds to `sums` [rings 3] number, sum and sum of squares of the pixels of each ring between its limits."""
    y0, y1, x0, x1 = rectangle
    for y in range(y0, y1):
        for x in range(x0, x1):
            k, value = ring[y, x], image[y, x]
            if free[y, x] and low[k] < value < high[k]:
                exact = float(value)
                sums[k, 0] += 1
                sums[k, 1] += exact
                sums[k, 2] += exact * exact


@loop(IMAGE, MASK, RING, LIMITS, RECTANGLE)
def bright(image: Limits, free: Mask, ring: Rings, high: Limits, rectangle: Rectangle) -> Places:
    """Places of the pixels of the rectangle above the limit of their ring, row by row."""
    y0, y1, x0, x1 = rectangle
    # Memory that is never touched is never taken: this costs what is found.
    places = np.empty((y1 - y0) * (x1 - x0), np.int64)
    n = 0
    for y in range(y0, y1):
        for x in range(x0, x1):
            if free[y, x] and high[ring[y, x]] < image[y, x] < np.inf:
                places[n] = y * image.shape[1] + x
                n += 1
    return places[:n].copy()


@helper
def grow(image: Limits, free: Mask, ring: Rings, high: Limits, panel: Rectangle, seed: int, places: Places) -> int:
    """Writes into `places` the bright pixels of the panel joined to `seed` by side or corner, in the order in which they are met,
    which are no longer `free` then. Their number."""
    y0, y1, x0, x1 = panel
    width = image.shape[1]
    free[seed // width, seed % width] = False
    places[0] = seed
    n, done = 1, 0
    while done < n:
        y, x = places[done] // width, places[done] % width
        done += 1
        for j in range(max(y - 1, y0), min(y + 2, y1)):
            for i in range(max(x - 1, x0), min(x + 2, x1)):
                if free[j, i] and high[ring[j, i]] < image[j, i] < np.inf:
                    free[j, i] = False
                    places[n] = j * width + i
                    n += 1
    return n


@helper
def centre(
    image: Limits, ring: Rings, mean: Limits, panel: Rectangle, places: Places
) -> tuple[np.float32, np.float32, np.float32]:
    """Weight and centre (y, x) on its panel of a blob, its pixels weighted by what they have above the mean of their ring.

    In single precision: half of all blobs of two pixels lie halfway between two, and which is chosen is seen in the result.
    """
    width, single = image.shape[1], np.float32
    weight, y_sum, x_sum = single(0), single(0), single(0)
    for place in places:
        y, x = place // width, place % width
        above = abs(image[y, x] - mean[ring[y, x]])
        weight += above
        y_sum += above * single(y - panel[0])
        x_sum += above * single(x - panel[2])
    return weight, y_sum / weight, x_sum / weight


@helper
def surroundings(
    image: Limits, free: Mask, ring: Rings, high: Limits, panel: Rectangle, y: int, x: int, reach: int
) -> tuple[int, float, float, float]:
    """Number, mean, deviation and largest (0 or more) of the background pixels of the panel within `reach` of (y, x)."""
    n, total, squares, largest, none = 0, 0.0, 0.0, 0.0, len(high) - 1
    for j in range(max(y - reach, panel[0]), min(y + reach, panel[1])):
        for i in range(max(x - reach, panel[2]), min(x + reach, panel[3])):
            k, value = ring[j, i], float(image[j, i])
            if free[j, i] and k != none and -np.inf < value < high[k] and (j - y) ** 2 + (i - x) ** 2 <= reach * reach:
                n += 1
                total += value
                squares += value * value
                largest = max(largest, value)
    mean = total / max(n, 1)
    variance = squares / max(n, 1) - mean * mean
    return n, mean, np.sqrt(variance) if variance >= 0 else 0.01, largest


@helper
def measure(image: Limits, places: Places, level: float) -> tuple[float, float, float, float, float]:
    """Sum and maximum (0 or more) above `level`; sum, and centre (y, x), of the counts themselves."""
    width = image.shape[1]
    total, largest, counts, y_sum, x_sum = 0.0, 0.0, 0.0, 0.0, 0.0
    for place in places:
        y, x = place // width, place % width
        value = float(image[y, x])
        total += value - level
        largest = max(largest, value - level)
        counts += value
        y_sum += value * y
        x_sum += value * x
    return total, largest, abs(counts), y_sum / abs(counts), x_sum / abs(counts)


@helper
def examine(
    image: Limits, free: Mask, ring: Rings, mean: Limits, high: Limits, panel: Rectangle, places: Places, reach: int,
    min_snr: float, record: NDArray[np.float64],
) -> bool:  # fmt: skip
    """Whether the blob at `places` is a peak; then `record` is (y, x, pixels, total, maximum, sigma, snr)."""
    weight, y_rough, x_rough = centre(image, ring, mean, panel, places)
    if not weight >= 1e-10:
        return False
    y, x = panel[0] + int(np.rint(y_rough)), panel[2] + int(np.rint(x_rough))
    n, level, sigma, largest = surroundings(image, free, ring, high, panel, y, x, reach)
    if n == 0:
        level, sigma = float(mean[ring[y, x]]), 0.01
    total, maximum, counts, y_px, x_px = measure(image, places, level)
    snr = total / sigma if sigma >= 1e-10 else 0.0
    inside = panel[0] <= y_px <= panel[1] - 1 and panel[2] <= x_px <= panel[3] - 1
    if counts < 1e-10 or not inside or snr < min_snr or maximum < largest - level:
        return False
    for k, value in enumerate((y_px, x_px, float(len(places)), total, maximum, sigma, snr)):
        record[k] = value
    return True


@loop(IMAGE, FREE, RING, LIMITS, LIMITS, RECTANGLE, PLACES, types.UniTuple(types.int64, 4), types.float64)
def collect(
    image: Limits, free: Mask, ring: Rings, mean: Limits, high: Limits, panel: Rectangle, seeds: Places,
    numbers: tuple[int, int, int, int], min_snr: float,
) -> tuple[NDArray[np.float64], int]:  # fmt: skip
    """The first peaks [n 7] of a panel, in the order of their seeds, and how many there are in all. `numbers`: least and most
    pixels of a peak, radius of its surroundings, and how many peaks are kept."""
    y0, y1, x0, x1 = panel
    min_pixels, max_pixels, reach, most = numbers
    # Blobs are made of seeds.
    places = np.empty(len(seeds), np.int64)
    records, record = np.empty((min(most, len(seeds)), 7)), np.empty(7)
    found = 0
    for seed in seeds:
        y, x = seed // image.shape[1], seed % image.shape[1]
        if not free[y, x] or y <= y0 or y >= y1 - 1 or x <= x0 or x >= x1 - 1:
            continue
        n = grow(image, free, ring, high, panel, seed, places)
        if min_pixels <= n <= max_pixels and examine(image, free, ring, mean, high, panel, places[:n], reach, min_snr, record):
            if found < most:
                records[found] = record
            found += 1
    return records[: min(found, most)].copy(), found
