"""What shares and sums of probabilities tell: intervals that hold for few frames as for millions."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Z = 1.959964  # of a 95 % interval of a normal distribution
TAIL = 0.025
EXACT = 100.0  # variance above which a sum is as good as normal


def wilson(count: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share, `count` of `of`: (p + z^2/2n +- z sqrt(p (1 - p)/n + z^2/4n^2)) / (1 + z^2/n).

    E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209. (0, 1) of none.
    """
    if of == 0:
        return 0.0, 1.0
    p, z2 = count / of, Z * Z / of
    half = Z * math.sqrt((p * (1 - p) + z2 / 4) / of)
    low, high = (p + z2 / 2 - half) / (1 + z2), (p + z2 / 2 + half) / (1 + z2)
    return (0.0 if count == 0 else low), (1.0 if count == of else high)


@dataclass(frozen=True)
class Expected:
    """How many of `of` frames: the `mean` of that number, its 95 % interval, and whether that is exact or of a normal law."""

    of: int
    mean: float
    low: int
    high: int
    exact: bool

    @property
    def words(self) -> str:
        """`3 to 9`, or `3` where both ends are one."""
        return f"{self.low:,}" if self.low == self.high else f"{self.low:,} to {self.high:,}"


def expected(probability: NDArray[np.float64], frames: NDArray[np.int64]) -> Expected:
    """Of how many frames something holds that holds with `probability` [K], each of `frames` [K] independent frames.

    The number follows the Poisson-binomial law, of mean sum(n p) and variance sum(n p (1 - p)). Up to a variance of 100 its
    distribution is computed from the characteristic function (Y. Hong, Comput. Stat. Data Anal. 59 (2013) 41); above, it is as
    good as normal.
    """
    there = frames > 0
    p, n = probability[there], frames[there]
    mean, variance, most = float(n @ p), float(n @ (p * (1 - p))), int(n.sum())
    spread = math.sqrt(variance)
    if variance > EXACT:
        low, high = math.floor(mean - Z * spread), math.ceil(mean + Z * spread)
        return Expected(most, mean, max(0, low), min(most, high), False)
    first, last = max(0, math.floor(mean - 12 * spread - 30)), min(most, math.ceil(mean + 12 * spread + 30))
    below = np.cumsum(_law(p, n, first, last))
    ends = (int(np.searchsorted(below, share)) for share in (TAIL, 1 - TAIL))
    low, high = (min(last, first + end) for end in ends)
    return Expected(most, mean, low, high, True)


def _law(p: NDArray[np.float64], n: NDArray[np.int64], first: int, last: int) -> NDArray[np.float64]:
    """The probability of each number from `first` to `last`, between which all of it lies but for what rounding loses."""
    length = last - first + 1
    values = np.empty(length, np.complex128)
    for j in range(length):
        factor = 1 - p + p * np.exp(2j * np.pi * j / length)
        with np.errstate(divide="ignore"):
            values[j] = np.exp(n @ np.log(np.abs(factor))) * np.exp(1j * (n @ np.angle(factor)))
    # A number is found at its remainder.
    return np.roll(np.fft.fft(values).real / length, -(first % length)).clip(0)
