"""The seven lattices as stacks of layers: what lies in a layer, and where the next one lies. NumPy alone.

Lengths are in distances of nearest neighbours. With a the edge of the conventional cube, neighbours touch at a (simple cubic),
a √3 / 2 (body-centred) and a / √2 (face-centred); the named plane lies in the surface, z is its normal. See C. Kittel,
Introduction to Solid State Physics, ch. 1: cubic lattices, close packing ABC and AB.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import pi, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
A = 2 / sqrt(3)  # edge of the body-centred cube
HEX = (1.0, 0.0), (0.5, sqrt(3) / 2)
NEAR = 0.08  # of a ratio of spacings: what a few per cent of strain may hide


@dataclass(frozen=True)
class Surface:
    """A primitive cell `first`, `second` (x, y) of a layer, and `step` (x, y, z) to the next layer, which is taken back at every
    other one where the stack is `alternate`. After a `turn` the film is the same; `beams`, the azimuths of its principal
    directions, rad."""

    first: tuple[float, float]
    second: tuple[float, float]
    step: tuple[float, float, float]
    turn: float
    beams: tuple[float, float]
    alternate: bool = False

    def layer(self, n: int) -> Floats:
        """(x, y, z) of the particle of layer n that lies in the cell at zero, so that columns of layers stand upright."""
        cell, across = np.array([self.first, self.second]).T, n % 2 if self.alternate else n
        shares = np.round(np.linalg.solve(cell, across * np.array(self.step[:2])), 9) % 1
        return np.array([*(cell @ shares), n * self.step[2]])


# BCC 110: a centred rectangle a x a √2, cubic 110: a plain one; both take half the long side from layer to layer, and a / √2 up.
SURFACES = {
    "BCC100": Surface((A, 0), (0, A), (A / 2, A / 2, A / 2), pi / 2, (0, pi / 4)),
    "BCC110": Surface((A / 2, A / sqrt(2)), (-A / 2, A / sqrt(2)), (0, A / sqrt(2), A / sqrt(2)), pi, (0, pi / 2)),
    "Cubic100": Surface((1, 0), (0, 1), (0, 0, 1), pi / 2, (0, pi / 4)),
    "Cubic110": Surface((1, 0), (0, sqrt(2)), (0, 1 / sqrt(2), 1 / sqrt(2)), pi, (0, pi / 2)),
    "FCC100": Surface((1, 0), (0, 1), (0.5, 0.5, 1 / sqrt(2)), pi / 2, (0, pi / 4)),
    "FCC111": Surface(*HEX, (0.5, sqrt(3) / 6, sqrt(2 / 3)), 2 * pi / 3, (0, pi / 2)),
    "HCP": Surface(*HEX, (0.5, sqrt(3) / 6, sqrt(2 / 3)), 2 * pi / 3, (0, pi / 2), alternate=True),
}


def turned(vector: Any, angle: float) -> Floats:
    """(x, y) or (x, y, z) turned about z by an angle in rad."""
    x, y, *rest = np.asarray(vector, float)
    return np.array([x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle), *rest])


def reciprocal(surface: Surface) -> Floats:
    """The two vectors [2 2] that span the rods, 1 / nearest neighbours: b_i · a_j = 2 π δ_ij."""
    return 2 * pi * np.linalg.inv(np.array([surface.first, surface.second])).T


def rods(surface: Surface, most: float) -> Floats:
    """(x, y) of the rods [N 2] up to that length, without the one at zero."""
    base, n = reciprocal(surface), np.arange(-12, 13)
    every = (n[:, None, None] * base[0] + n[None, :, None] * base[1]).reshape(-1, 2)
    length = np.hypot(*every.T)
    return np.asarray(every[(length > 1e-9) & (length <= most)])


def shadow(surface: Surface, beam: float) -> tuple[float, tuple[float, ...]]:
    """What a crystal shows of itself along a beam of that azimuth, where only rods across it meet the Ewald sphere: the period
    of its layers over their distance, and where the first four layers lie, in periods between 0 and 1."""
    across = [abs(turned(v, -beam)[1]) for v in (surface.first, surface.second)]
    period = _common(*across)
    places = tuple(float(turned(surface.layer(n), -beam)[1] / period % 1) for n in range(4))
    return period / surface.step[2], places


def _common(p: float, q: float) -> float:
    """The greatest length of which both are multiples."""
    while q > 1e-6:
        p, q = q, p % q
        q = 0.0 if abs(q - p) < 1e-6 else q
    return p


def alike(name: str, beam: float | None, layers: int) -> list[str]:
    """The other lattices that a film may be taken for, whatever their nearest neighbours: seen along one `beam`, or as a powder
    (None). Two layers in close packing are neither ABC nor AB."""
    if beam is None:
        return sorted({"FCC111", "HCP"} - {name}) if name in ("FCC111", "HCP") and layers < 3 else []
    own = shadow(SURFACES[name], beam)
    return sorted(
        other
        for other, surface in SURFACES.items()
        if other != name and any(_same(own, shadow(surface, b), layers) for b in surface.beams)
    )


def alike_layers(name: str, along_beam: bool) -> list[str]:
    """The other lattices that a film may be taken for of which one layer alone is lit, whatever their nearest neighbours: those
    whose layers have the same rods; all where one beam is seen along, which shows a single period."""
    own = _lengths(name)
    return sorted(other for other in SURFACES if other != name and (along_beam or np.allclose(own, _lengths(other))))


def _lengths(name: str) -> Floats:
    """The shortest rods of a layer in terms of the shortest."""
    every = np.unique(np.round(np.hypot(*rods(SURFACES[name], 40.0).T), 6))
    return np.asarray(every[:6] / every[0])


def _same(one: tuple[float, tuple[float, ...]], other: tuple[float, tuple[float, ...]], layers: int) -> bool:
    places = [np.array(places[:layers]) for _, places in (one, other)]
    apart = min(np.abs(_wrapped(places[0] - sign * places[1])).max() for sign in (1, -1))
    return bool(abs(one[0] / other[0] - 1) < NEAR and apart < 0.05)


def _wrapped(x: Floats) -> Floats:
    return np.asarray((x + 0.5) % 1 - 0.5)


def azimuths(surface: Surface, most: float, width: float) -> Mapping[float, float]:
    """{azimuth: weight} of crystals that stand for all: the mean over a turn by the trapezium rule.

    A rod of length G (up to `most`) and half width `width` crosses the plane of the detector for a turn of about width / G: the
    azimuths lie close together about those, ever wider apart between.
    """
    directions = np.unique(np.round(np.arctan2(*rods(surface, most).T[::-1]) % surface.turn, 9))
    fan = width / most * np.array([0, 0.5, 1, 1.7, 2.8, 4.5, 8, 14])
    # A detector's columns lie along y: a rod at azimuth φ gets there by a turn of 90° - φ; mirrors need both signs.
    nodes = (pi / 2 - directions[:, None] + np.concatenate([fan, -fan[1:]])).ravel() % surface.turn
    nodes = np.unique(np.round(nodes, 9))
    nodes = nodes[np.diff(nodes, prepend=nodes[-1] - surface.turn) > 0.3 * width / most]
    gaps = np.diff(nodes, append=nodes[0] + surface.turn)
    return dict(zip(nodes.tolist(), ((gaps + np.roll(gaps, 1)) / 2 / surface.turn).tolist(), strict=True))
