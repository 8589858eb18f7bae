"""Seven lattices of particles with a named plane parallel to the surface: their layers, their rods, their finite blocks.

x and y lie in the surface, z is its normal. 100: the cube's axes; 110: x = [1 -1 0], y = [0 0 1]; 111: x = [1 -1 0],
y = [1 1 -2]. HCP has its close-packed plane, (0 0 1), in the surface.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

NAMES = ("BCC100", "BCC110", "Cubic100", "Cubic110", "FCC100", "FCC111", "HCP")
RODS, CLASSES, SITES = 96, 3, 4

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Layering:
    """One layer and the step to the next, in nearest-neighbour distances of the undistorted lattice.

    `a`, `b` (x, y) span the layer, one particle each cell. Each layer is higher by `height`; layer n is shifted by
    (n mod `repeat`) x (`shift` / `parts`) cells. `upright` how many a and b make each side of the cell with axes along x and y.
    """

    a: tuple[float, float]
    b: tuple[float, float]
    height: float
    shift: tuple[int, int]
    parts: int
    repeat: int
    upright: tuple[tuple[int, int], tuple[int, int]] = ((1, 0), (0, 1))


ROOT2, ROOT3 = 2**0.5, 3**0.5
BCC, FCC = 2 / ROOT3, ROOT2  # edge of the cube over the nearest-neighbour distance
CENTRED = ((1, 1), (1, -1))
LAYERINGS = {
    "BCC100": Layering((BCC, 0), (0, BCC), BCC / 2, (1, 1), 2, 2),
    "BCC110": Layering((BCC / ROOT2, BCC / 2), (BCC / ROOT2, -BCC / 2), BCC / ROOT2, (1, 1), 2, 2, CENTRED),
    "Cubic100": Layering((1, 0), (0, 1), 1, (0, 0), 1, 1),
    "Cubic110": Layering((ROOT2, 0), (0, 1), 1 / ROOT2, (1, 0), 2, 2),
    "FCC100": Layering((FCC / 2, FCC / 2), (FCC / 2, -FCC / 2), FCC / 2, (1, 1), 2, 2, CENTRED),
    "FCC111": Layering((1, 0), (0.5, ROOT3 / 2), ROOT2 / ROOT3, (2, 2), 3, 3),
    "HCP": Layering((1, 0), (0.5, ROOT3 / 2), ROOT2 / ROOT3, (2, 2), 3, 2),
}

# Primitive vectors in the cube's axes, cube edges; what turns them to the film's axes.
PRIMITIVE = {
    "BCC": np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]]) / 2,
    "Cubic": np.eye(3),
    "FCC": np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2,
}
EDGE = {"BCC": BCC, "Cubic": 1.0, "FCC": FCC}
AXES = {
    "100": np.eye(3),
    "110": np.array([[1 / ROOT2, -1 / ROOT2, 0], [0, 0, 1], [1 / ROOT2, 1 / ROOT2, 0]]),
    "111": np.array([[1, -1, 0] / np.sqrt(2), [1, 1, -2] / np.sqrt(6), [1, 1, 1] / np.sqrt(3)]),
}

# Directions of the edges of blocks whose three lengths are free, as published programs build them (HipGISAXS, Chourou et al.,
# J. Appl. Cryst. 46, 1781 (2013)): one particle a cell. Their HCP is a hexagonal layer stepped by a third of its cell, which with
# equal edges is FCC 111; what tells the two is how far the step leans, 35 and 53 degrees.
EDGES = {
    "BCC100": ((1, 0, 0), (0, 1, 0), (0.5, 0.5, 0.5)),
    "BCC110": ((1, 0, 0), (0.5, 1 / ROOT2, 0), (0, 1 / ROOT2, 1 / ROOT2)),
    "Cubic100": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "Cubic110": ((1, 0, 0), (0, ROOT2, 0), (0, 1 / ROOT2, 1 / ROOT2)),
    "FCC100": ((0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)),
    "FCC111": ((1, 0, 0), (0.5, ROOT3 / 2, 0), (1, 1 / ROOT3, ROOT3 / 2)),
    "HCP": ((1, 0, 0), (0.5, ROOT3 / 2, 0), (0.5, 0.5 / ROOT3, ROOT2 / ROOT3)),
}  # fmt: skip


def edges(name: str, lengths_m: tuple[float, float, float]) -> Array:
    """[3, 3] m, the edges (x, y, z) of a lattice's free block: each of EDGES times a length of its own."""
    return np.asarray(np.array(EDGES[name]) * np.array(lengths_m)[:, None])


def nearest_m(cell_m: Array) -> float:
    """The distance of nearest neighbours of a lattice with one particle a cell [3, 3] m."""
    steps = np.array([n for n in product((-2, -1, 0, 1, 2), repeat=3) if any(n)])
    return float(np.linalg.norm(steps @ cell_m, axis=1).min())


def layer(name: str, spacing_m: float, stretch: tuple[float, float, float] = (1, 1, 1)) -> Array:
    """[2, 2] the vectors (x, y), m, of one layer's cell; `spacing_m` between nearest neighbours, then stretched along x, y, z."""
    kind = LAYERINGS[name]
    return np.asarray(np.array([kind.a, kind.b]) * spacing_m * np.array(stretch[:2]))


def layer_height_m(name: str, spacing_m: float, stretch: tuple[float, float, float] = (1, 1, 1)) -> float:
    """From one layer to the next."""
    return LAYERINGS[name].height * spacing_m * stretch[2]


def step(name: str, cell: Array) -> Array:
    """[2] m along x and y from a particle to the nearest one of the layer above; `cell` [2, 2] m from `layer`."""
    kind = LAYERINGS[name]
    steps = np.array(list(product((-1, 0, 1), repeat=2))) + np.array(kind.shift) / kind.parts
    return np.asarray(min(steps @ cell, key=np.linalg.norm))


def reciprocal(cell: Array) -> Array:
    """[n, n] the rows b with b_i . a_j = 2 pi delta_ij for the rows a of `cell`: rad/m for m."""
    return np.asarray(2 * np.pi * np.linalg.inv(cell).T)


def classes(name: str, orders: Array) -> NDArray[np.int64]:
    """[N] by how many `parts` of a turn the phase of the rods (h, k) [N, 2] grows with the layer's shift."""
    kind = LAYERINGS[name]
    return np.asarray(np.rint(orders @ np.array(kind.shift)).astype(np.int64) % kind.parts)


def rods(name: str, cell: Array, reach: int = 24) -> tuple[Array, Array]:
    """|G| [RODS] of the nearest reciprocal rods of a layer, rad/m, and how many of each class [RODS, CLASSES] share it.

    `cell` [2, 2] m from `layer`. Unused places hold no rods, at |G| of the last one.
    """
    orders = np.array(list(product(range(-reach, reach + 1), repeat=2)), float)
    q = np.hypot(*(orders @ reciprocal(cell)).T)
    step = np.rint(q / reciprocal(cell).max() * 1e6).astype(np.int64)
    _, first, where = np.unique(step, return_index=True, return_inverse=True)
    count = np.zeros((len(first), CLASSES))
    np.add.at(count, (where.reshape(-1), classes(name, orders)), 1)
    nearest: Array = q[first][:RODS]
    return nearest, count[:RODS]


def rods_apart(name: str, most: int = 14) -> tuple[tuple[float, float], ...]:
    """(|G| x nearest distance, how many share it) of a lattice's nearest rods but the one at 0."""
    places, count = rods(name, layer(name, 1.0))
    return tuple((float(q), float(n)) for q, n in zip(places[1 : most + 1], count[1 : most + 1].sum(1), strict=True))


def structure(name: str, orders: Array, turns: Array, layers: int) -> Array:
    """|sum over layers|^2 / layers^2 on the rods (h, k) [N, 2] where q_z x the layers' height is 2 pi `turns` [N]."""
    kind, n = LAYERINGS[name], np.arange(layers)
    phase = classes(name, orders)[:, None] / kind.parts * (n % kind.repeat) + turns[:, None] * n
    return np.asarray(np.abs(np.exp(-2j * np.pi * phase).mean(1)) ** 2)


def block(
    name: str, spacing_m: float, stretch: tuple[float, float, float] = (1, 1, 1), primitive: bool = False
) -> tuple[Array, Array, Array]:
    """The cell of a finite crystal: vectors [3, 3] m, places of its particles [SITES, 3] m, and which places are taken [SITES].

    With axes along x, y and z (hexagonal for FCC111 and HCP), or the primitive cell in its usual setting: half diagonals of
    faces (FCC) or of the cube (BCC), so that the crystal is a parallelepiped with tilted faces.
    """
    places, taken = np.zeros((SITES, 3)), np.zeros(SITES)
    if primitive and name != "HCP":
        lattice, plane = name[:-3], name[-3:]
        vectors, sites = PRIMITIVE[lattice] @ AXES[plane].T * EDGE[lattice], np.zeros((1, 3))
    else:
        vectors, sites = _upright(LAYERINGS[name])
    scale = spacing_m * np.array(stretch)
    places[: len(sites)], taken[: len(sites)] = sites * scale, 1
    return vectors * scale, places, taken


def _upright(kind: Layering) -> tuple[Array, Array]:
    plane = np.array([kind.a, kind.b])
    vectors = np.zeros((3, 3))
    vectors[:2, :2], vectors[2, 2] = np.array(kind.upright) @ plane, kind.height * kind.repeat
    corners = [(0, 0), (1, 0)] if kind.upright == CENTRED else [(0, 0)]
    sites = []
    for corner, n in product(corners, range(kind.repeat)):
        inside = (np.array(corner) + np.array(kind.shift) * n / kind.parts) @ plane
        sites.append([*inside, n * kind.height])
    return vectors, np.array(sites)
