"""Unit cells of protein crystals: which exist, where their reciprocal lattice points lie, which of them are extinct. NumPy."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

SHORTEST_M, LONGEST_M = 30e-10, 350e-10

# The fourteen Bravais lattices, about as often as crystals of proteins have them, the rare ones more often.
BRAVAIS = {
    ("triclinic", "P"): 0.05, ("monoclinic", "P"): 0.17, ("monoclinic", "C"): 0.10, ("orthorhombic", "P"): 0.22,
    ("orthorhombic", "C"): 0.05, ("orthorhombic", "I"): 0.04, ("orthorhombic", "F"): 0.02, ("tetragonal", "P"): 0.11,
    ("tetragonal", "I"): 0.05, ("trigonal", "R"): 0.05, ("hexagonal", "P"): 0.08, ("cubic", "P"): 0.02, ("cubic", "I"): 0.02,
    ("cubic", "F"): 0.02,
}  # fmt: skip

# Twofold axes [u v w] of the rotation group of highest symmetry that a system's proteins take: 1, 2, 222, 422, 32, 622, 432.
_CUBIC = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, -1, 0), (1, 0, 1), (1, 0, -1), (0, 1, 1), (0, 1, -1))
TWOFOLD = {
    "triclinic": (),
    "monoclinic": ((0, 1, 0),),
    "orthorhombic": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "tetragonal": ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, -1, 0)),
    "trigonal": ((1, 0, 0), (0, 1, 0), (1, 1, 0)),
    "hexagonal": ((1, 0, 0), (0, 1, 0), (1, 1, 0), (0, 0, 1), (1, -1, 0), (2, 1, 0), (1, 2, 0)),
    "cubic": _CUBIC,
}


@dataclass(frozen=True)
class Cell:
    """A unit cell: `system` and `centring` of BRAVAIS, edges a, b, c in m, angles alpha, beta, gamma in rad.

    Monoclinic with b unique, trigonal R in hexagonal axes (obverse).
    """

    system: str
    centring: str
    edges_m: tuple[float, float, float]
    angles_rad: tuple[float, float, float] = (np.pi / 2, np.pi / 2, np.pi / 2)


def draw_cell(rng: Generator) -> Cell:
    """A cell of a protein crystal: edges 30-350 Å, median about 85 Å, those of higher symmetry longer."""
    kinds = list(BRAVAIS)
    shares = np.array(list(BRAVAIS.values()))
    system, centring = kinds[rng.choice(len(kinds), p=shares / shares.sum())]
    typical = {"tetragonal": 95e-10, "trigonal": 105e-10, "hexagonal": 105e-10, "cubic": 130e-10}.get(system, 78e-10)
    edges = np.clip(typical * np.exp(rng.normal(0, 0.42, 3)), SHORTEST_M, LONGEST_M)
    if system in ("tetragonal", "trigonal", "hexagonal"):
        edges[1] = edges[0]
    if system == "cubic":
        edges[:] = edges[0]
    return Cell(system, centring, (float(edges[0]), float(edges[1]), float(edges[2])), _angles(rng, system))


def _angles(rng: Generator, system: str) -> tuple[float, float, float]:
    right = np.pi / 2
    if system == "triclinic":
        # Within 65-115 degrees each, three angles always close to a cell.
        alpha, beta, gamma = np.radians(np.clip(rng.normal(90, 12, 3), 65, 115))
        return float(alpha), float(beta), float(gamma)
    if system == "monoclinic":
        return right, float(np.radians(rng.uniform(90, 125))), right
    return right, right, 2 * np.pi / 3 if system in ("trigonal", "hexagonal") else right


def real_axes(cell: Cell) -> Array:
    """[3 3] in m, columns a, b, c: a along x, b in the plane of x and y, as the Protein Data Bank has it."""
    (a, b, c), (alpha, beta, gamma) = cell.edges_m, cell.angles_rad
    x = np.cos(beta)
    y = (np.cos(alpha) - np.cos(beta) * np.cos(gamma)) / np.sin(gamma)
    columns = [
        (a, 0.0, 0.0),
        (b * np.cos(gamma), b * np.sin(gamma), 0.0),
        (c * x, c * y, c * np.sqrt(1 - x * x - y * y)),
    ]
    return np.array(columns).T


def reciprocal_axes(cell: Cell) -> Array:
    """[3 3] in 1/m, columns a*, b*, c* with a* · a = 1: a point of the reciprocal lattice is this times (h, k, l), and 1/d its
    length."""
    return np.asarray(np.linalg.inv(real_axes(cell)).T)


def draw_rotation(rng: Generator) -> Array:
    """[3 3] a rotation, uniform on SO(3): the quaternion of four normal deviates (Muller 1959, Shoemake 1992)."""
    w, x, y, z = (q := rng.normal(size=4)) / np.linalg.norm(q)
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip


def allowed(hkl: Indices, centring: str) -> NDArray[np.bool_]:
    """[N] which reflections (h, k, l) [N 3] the centring leaves: International Tables A, section 1.6.3 (R: obverse)."""
    h, k, m = hkl.T
    if centring == "C":
        return np.asarray((h + k) % 2 == 0)
    if centring == "I":
        return np.asarray((h + k + m) % 2 == 0)
    if centring == "F":
        return np.asarray(((h + k) % 2 == 0) & ((h + m) % 2 == 0))
    if centring == "R":
        return np.asarray((-h + k + m) % 3 == 0)
    return np.ones(len(hkl), bool)


def centric(hkl: Indices, system: str) -> NDArray[np.bool_]:
    """[N] which reflections lie at right angles to a twofold axis: their phase has two values, their |F|^2 another
    distribution."""
    axes = np.array(TWOFOLD[system], np.int64).reshape(-1, 3)
    return np.asarray((hkl @ axes.T == 0).any(1))


def intensities(hkl: Indices, cell: Cell, salt: int) -> Array:
    """[N] |F|^2 of mean 1 by Wilson's statistics (Acta Cryst. 2 (1949) 318): exponential where acentric, chi-squared of one
    degree of freedom where centric.

    A function of the reflection and of `salt`, the number of the structure: the same in every frame, and for h and -h.
    """
    key = _key(hkl)
    first = _uniform(key, salt, 1)
    found = -np.log(first)
    zones = centric(hkl, cell.system)
    found[zones] *= 2 * np.cos(2 * np.pi * _uniform(key[zones], salt, 2)) ** 2
    return np.asarray(found)


def _key(hkl: Indices) -> NDArray[np.uint32]:
    """One number for h and -h; indices within 511."""
    h, k, m = hkl.T
    ahead = (h << 20) + (k << 10) + m
    return np.asarray(np.abs(ahead), np.uint32)


def _uniform(key: NDArray[np.uint32], salt: int, stream: int) -> Array:
    """[N] in (0, 1): the finaliser of MurmurHash3 (A. Appleby, public domain) of key, salt and stream."""
    start = np.uint32((salt * 2654435761 + stream * 668265263) & 0xFFFFFFFF)
    mixed = key * np.uint32(374761393) + start
    for shift, factor in ((16, 2246822507), (13, 3266489909), (16, 1)):
        mixed = (mixed ^ (mixed >> np.uint32(shift))) * np.uint32(factor)
    return np.asarray((mixed.astype(np.float64) + 0.5) / 2.0**32)
