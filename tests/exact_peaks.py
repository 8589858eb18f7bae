"""peakfinder8 in its slow form: the steps one after the other, pixel by pixel, in lists and dictionaries.

Counts that are whole numbers have exact sums in either form, so that both must find the same.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beamsight.frame import Panel
from beamsight.peakfinder8 import Peakfinder8

Pixel = tuple[int, int]
# Panel, y, x, pixels, total, maximum, sigma, snr.
Peak = tuple[int, float, float, int, float, float, float, float]


def exact_peaks(
    image: NDArray[Any], mask: NDArray[np.bool_], radius: NDArray[Any], panels: tuple[Panel, ...], p: Peakfinder8
) -> list[Peak]:
    places = panels or (Panel(0, image.shape[0], 0, image.shape[1]),)
    counts = {q: float(image[q]) for panel in places for q in _of(panel) if mask[q] and math.isfinite(image[q])}
    ring = {q: round(float(radius[q])) for panel in places for q in _of(panel) if _looked_at(float(radius[q]), p)}
    counts = {q: value for q, value in counts.items() if q in ring}
    mean, high = _statistics(counts, ring, p)
    bright = {q for q, value in counts.items() if value > high[ring[q]]}
    background = {q for q, value in counts.items() if value < high[ring[q]]}
    peaks = []
    for number, panel in enumerate(places):
        unused = {q for q in _of(panel) if q in bright}
        for seed in _of(panel):
            if seed in unused and panel.y0 < seed[0] < panel.y1 - 1 and panel.x0 < seed[1] < panel.x1 - 1:
                blob = _blob(seed, unused)
                peak = _examined(blob, panel, counts, ring, mean, background, p)
                peaks += [(number, *peak)] if peak else []
    return peaks


def _of(panel: Panel) -> list[Pixel]:
    return [(y, x) for y in range(panel.y0, panel.y1) for x in range(panel.x0, panel.x1)]


def _looked_at(r: float, p: Peakfinder8) -> bool:
    return math.isfinite(r) and (p.min_res == 0 or r > p.min_res) and (p.max_res == 0 or r < p.max_res)


def _statistics(counts: dict[Pixel, float], ring: dict[Pixel, int], p: Peakfinder8) -> tuple[dict[int, float], dict[int, float]]:
    bins = {b: [counts[q] for q in counts if ring[q] == b] for b in set(ring.values())}
    mean, low, high = dict.fromkeys(bins, 0.0), dict.fromkeys(bins, -1e9), dict.fromkeys(bins, 1e9)
    for _ in range(5):
        for b, values in bins.items():
            taken = [v for v in values if low[b] < v < high[b]]
            if not taken:
                mean[b], low[b], high[b] = 0.0, float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
                continue
            middle = sum(taken) / len(taken)
            variance = sum(v * v for v in taken) / len(taken) - middle * middle
            sigma = math.sqrt(variance) if variance >= 0 else variance
            mean[b] = float(np.float32(middle))
            high[b] = float(np.float32(max(middle + p.min_snr * sigma, p.threshold)))
            low[b] = float(np.float32(middle - p.min_snr * sigma))
    return mean, high


def _blob(seed: Pixel, unused: set[Pixel]) -> list[Pixel]:
    blob, waiting = [], [seed]
    unused.remove(seed)
    while waiting:
        y, x = waiting.pop(0)
        blob.append((y, x))
        joined = [(j, i) for j in (y - 1, y, y + 1) for i in (x - 1, x, x + 1) if (j, i) in unused]
        unused.difference_update(joined)
        waiting += joined
    return blob


def _summed(values: Iterable[np.float32]) -> np.float32:
    total = np.float32(0)
    for value in values:
        total += value
    return total


def _examined(
    blob: list[Pixel], panel: Panel, counts: dict[Pixel, float], ring: dict[Pixel, int], mean: dict[int, float],
    background: set[Pixel], p: Peakfinder8,
) -> tuple[float, float, int, float, float, float, float] | None:  # fmt: skip
    if not p.min_pix_count <= len(blob) <= p.max_pix_count:
        return None
    single = np.float32
    weight = {q: abs(single(counts[q]) - single(mean[ring[q]])) for q in blob}
    whole_weight = _summed(weight.values())
    if whole_weight < 1e-10:
        return None
    # Ties are decided by the precision of these sums: single, on the panel.
    y_sum = _summed(w * single(y - panel.y0) for (y, _), w in weight.items())
    x_sum = _summed(w * single(x - panel.x0) for (_, x), w in weight.items())
    centre = (panel.y0 + round(float(y_sum / whole_weight)), panel.x0 + round(float(x_sum / whole_weight)))
    reach = 2 * p.local_bg_radius
    around = [
        counts[y, x]
        for y in range(centre[0] - reach, centre[0] + reach)
        for x in range(centre[1] - reach, centre[1] + reach)
        if panel.y0 <= y < panel.y1 and panel.x0 <= x < panel.x1
        if math.hypot(y - centre[0], x - centre[1]) <= reach and (y, x) in background
    ]
    if around:
        level = sum(around) / len(around)
        variance = sum(v * v for v in around) / len(around) - level * level
        sigma = math.sqrt(variance) if variance >= 0 else 0.01
    else:
        level, sigma = mean[ring[centre[0], centre[1]]] if centre in ring else 0.0, 0.01
    total, largest = sum(counts[q] - level for q in blob), max(0.0, *(counts[q] - level for q in blob))
    whole = abs(sum(counts[q] for q in blob))
    if whole < 1e-10:
        return None
    y_px, x_px = (sum(counts[q] * q[axis] for q in blob) / whole for axis in (0, 1))
    snr = total / sigma if sigma >= 1e-10 else 0.0
    inside = panel.y0 <= y_px <= panel.y1 - 1 and panel.x0 <= x_px <= panel.x1 - 1
    if snr < p.min_snr or largest < max([0.0, *around]) - level or not inside:
        return None
    return y_px, x_px, len(blob), total, largest, sigma, snr
