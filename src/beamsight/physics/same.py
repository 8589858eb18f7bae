"""Lattices that show the same: what no pattern can tell apart, whoever looks at it."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from beamsight.physics.crystals import EDGES, LAYERINGS, NAMES, classes, layer, reciprocal

Array = NDArray[np.float64]

DIRECTIONS = (0.0, np.pi / 4, np.pi / 2)  # azimuths along which some lattice shows rows
STEPS = np.array(list(product(range(-4, 5), repeat=2)), float)
SEEN_ORDER = 2  # of the rods that tell two blocks apart
LAYERED = tuple(name for name, edge in EDGES.items() if not np.array(edge)[:2, 2].any())  # with two edges in the surface


def shadow(name: str, azimuth_rad: float) -> tuple[float, float, int] | None:
    """What a crystal shows along a beam of that azimuth, from which only rods across the beam are seen: (layers' height over the
    rows' period, by what share of a period a layer is shifted, after how many layers that repeats); None where no row is near."""
    kind, q = LAYERINGS[name], STEPS @ reciprocal(layer(name, 1.0))
    across = np.flatnonzero((np.abs(q @ [np.cos(azimuth_rad), np.sin(azimuth_rad)]) < 1e-6) & STEPS.any(1))
    if not len(across):
        return None
    first = across[[np.hypot(*q[across].T).argmin()]]
    part = int(classes(name, STEPS[first])[0])
    part = min(part, kind.parts - part)
    return float(np.hypot(*q[first[0]]) * kind.height / (2 * np.pi)), part / kind.parts, kind.repeat if part else 1


def same_shadow(name: str, azimuth_rad: float) -> tuple[str, ...]:
    """The lattices that show along one of their principal directions what this one shows along that azimuth; all of them where it
    shows no row."""
    own = shadow(name, azimuth_rad)
    if own is None:
        return NAMES
    every = {other: [shadow(other, turn) for turn in DIRECTIONS] for other in NAMES}
    return tuple(other for other, shadows in every.items() if any(s and np.allclose(s, own) for s in shadows))


def same_block(name: str, cell_m: Array, cells: Array, between_m: tuple[float, float]) -> tuple[str, ...]:
    """The names, `name` among them, under which edges of other lengths `between_m` make the block of edges [3, 3] m and `cells`
    along these: no rod up to SEEN_ORDER, nor a peak on it, lies off by more than half its width (2 pi over the block's size).

    Names whose second edge leaves the surface are like no other.
    """
    if name not in LAYERED:
        return (name,)
    return tuple(other for other in LAYERED if other == name or _off(cell_m, np.array(EDGES[other]), cells, between_m) < 1)


def _off(cell_m: Array, edge: Array, cells: Array, between_m: tuple[float, float]) -> float:
    """By how many half widths the rods of the likest block of those edges lie off those of `cell_m`."""
    plane = cell_m[:2, :2]
    u, v = (steps @ plane for steps in _bases())
    turn, lean = _angle(u, v), _angle(*edge[:2, :2])
    lengths = [np.hypot(*w.T) / np.linalg.norm(e) for w, e in zip((u, v), edge[:2, :2], strict=True)]
    lengths.append(np.full(len(u), cell_m[2, 2] / edge[2, 2]))
    along = u / np.hypot(*u.T)[:, None]
    across = np.sign(turn)[:, None] * np.stack([-along[:, 1], along[:, 0]], 1)
    # Edges lie along x first: what they lean by is told along and across the first.
    lies = lengths[2][:, None] * (edge[2, 0] * along + edge[2, 1] * across)
    shifts = [(lies - side * cell_m[2, :2]) @ np.linalg.inv(plane) for side in (1, -1)]
    shift = np.min([np.abs(s - np.rint(s)).max(1) for s in shifts], axis=0)
    off = 2 * SEEN_ORDER * np.maximum(shift * cells[2], np.abs(np.abs(turn) - lean) * cells[:2].min())
    allowed = np.all([(between_m[0] < length) & (length < between_m[1]) for length in lengths], axis=0)
    return float(np.where(allowed, off, np.inf).min())


def _angle(u: Array, v: Array) -> Array:
    return np.asarray(np.arctan2(u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0], (u * v).sum(-1)))


@cache
def _bases() -> tuple[Array, Array]:
    """Pairs of steps [N, 2] that span the whole of a layer's lattice."""
    near = STEPS[(np.abs(STEPS) <= 2).all(1) & STEPS.any(1)]
    u, v = (near[n.ravel()] for n in np.indices((len(near), len(near))))
    whole = np.abs(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]) == 1
    return u[whole], v[whole]
