"""Where the reflections of a lattice lie: q of each order in units of the first, and how many planes share it."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import product

ORDERS = 10

# The reflection conditions of International Tables A: which (h, k, l) a lattice shows.
CUBIC: dict[str, Callable[[int, int, int], bool]] = {
    "simple cubic": lambda h, k, l: True,  # noqa: E741 - Miller indices have these names
    "body-centred cubic": lambda h, k, l: (h + k + l) % 2 == 0,  # noqa: E741
    "face-centred cubic": lambda h, k, l: h % 2 == k % 2 == l % 2,  # noqa: E741
}
NAMES = ("lamellar", "hexagonal", *CUBIC)


@lru_cache
def reflections(name: str) -> tuple[tuple[float, int], ...]:
    """The first ten (q / q1, multiplicity) of a lattice of NAMES; hexagonal is that of packed cylinders: 1, sqrt 3, 2,
    sqrt 7, ..."""
    if name == "lamellar":
        squares = [n * n for n in range(1, ORDERS + 1)] * 2
    elif name == "hexagonal":
        squares = [h * h + h * k + k * k for h, k in product(range(-12, 13), repeat=2) if (h, k) != (0, 0)]
    else:
        allowed = CUBIC[name]
        indices = product(range(-6, 7), repeat=3)
        squares = [h * h + k * k + m * m for h, k, m in indices if (h, k, m) != (0, 0, 0) and allowed(h, k, m)]
    shells = sorted(set(squares))[:ORDERS]
    return tuple(((s / shells[0]) ** 0.5, squares.count(s)) for s in shells)
