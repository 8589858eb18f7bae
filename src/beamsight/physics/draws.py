"""Distributions that physics draws from and NumPy has no name for."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import numpy as np
from numpy.random import Generator


def log_uniform(rng: Generator, low: float, high: float) -> float:
    """A number between `low` and `high`, both positive, whose logarithm is uniform: equal shares for equal ratios."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
