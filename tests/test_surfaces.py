"""The lattices of the study of GISAXS are what they are called."""

# SPDX-License-Identifier: BSD-3-Clause

from math import pi, sqrt

import numpy as np
import pytest

from surfaces import SURFACES, alike, azimuths, reciprocal, rods, shadow, turned


def points(name: str) -> np.ndarray:
    """Particles about the one at zero of the sixth layer."""
    surface, n = SURFACES[name], np.arange(-6, 7)
    plane = (n[:, None, None] * np.array(surface.first) + n[None, :, None] * np.array(surface.second)).reshape(-1, 2)
    layers = [np.column_stack([plane + surface.layer(k)[:2], np.full(len(plane), surface.layer(k)[2])]) for k in range(13)]
    middle = surface.layer(6)
    return np.concatenate(layers) - middle


@pytest.mark.parametrize(("name", "neighbours", "next_ones", "ratio", "volume"), [
    ("BCC100", 8, 6, 2 / sqrt(3), 4 / (3 * sqrt(3))), ("BCC110", 8, 6, 2 / sqrt(3), 4 / (3 * sqrt(3))),
    ("Cubic100", 6, 12, sqrt(2), 1), ("Cubic110", 6, 12, sqrt(2), 1),
    ("FCC100", 12, 6, sqrt(2), 1 / sqrt(2)), ("FCC111", 12, 6, sqrt(2), 1 / sqrt(2)), ("HCP", 12, 6, sqrt(2), 1 / sqrt(2)),
])  # fmt: skip
def test_neighbours_are_those_of_the_lattice(name: str, neighbours: int, next_ones: int, ratio: float, volume: float) -> None:
    apart = np.linalg.norm(points(name), axis=1)
    first, second = (int((np.abs(apart - r) < 1e-6).sum()) for r in (1, ratio))
    assert (first, second) == (neighbours, next_ones)
    assert apart[apart > 1e-6].min() == pytest.approx(1)
    surface = SURFACES[name]
    cell = abs(np.linalg.det(np.array([surface.first, surface.second]))) * surface.step[2]
    assert cell == pytest.approx(volume)


def test_only_hexagonal_packing_has_neighbours_at_the_root_of_eight_thirds() -> None:
    # The next layer but one lies straight above in AB, never in ABC.
    for name, n in (("HCP", 2), ("FCC111", 0)):
        assert int((np.abs(np.linalg.norm(points(name), axis=1) - sqrt(8 / 3)) < 1e-6).sum()) == n


def phase(name: str, layers: int, q: np.ndarray) -> float:
    """Share of the particles of a column that scatter in phase."""
    places = np.array([SURFACES[name].layer(n) for n in range(layers)])
    return float(abs(np.exp(1j * places @ q).mean()))


def test_extinctions() -> None:
    # Conventional indices of the cube: h + k + l even, for the body-centred one with its 100 and its 110 plane in the surface.
    a = 2 / sqrt(3)
    for h, k, ell in ((1, 0, 0), (1, 0, 1), (1, 1, 0), (1, 1, 1), (2, 0, 0), (0, 0, 1), (0, 0, 2), (2, 1, 1)):
        allowed = (h + k + ell) % 2 == 0
        assert phase("BCC100", 12, 2 * pi / a * np.array([h, k, ell])) == pytest.approx(float(allowed), abs=1e-9)
    # 110 in the surface: (0 0 2) and (1 -1 0) lie in it, (1 1 0) above.
    spanned = reciprocal(SURFACES["BCC110"]) * a / (2 * pi)
    assert np.allclose(np.linalg.norm(spanned, axis=1) ** 2, (1.5, 1.5))  # {1/2 1/2 1} of the rods: l = 0 or 1 lies up the rod
    # FCC 111 and HCP: the rods (1 1) are alike, the rods (1 0) differ in where along them light comes.
    third = 2 * pi / sqrt(2 / 3)
    for name, place, full in (("FCC111", 1 / 3, 1), ("FCC111", 1 / 2, 0), ("HCP", 1 / 2, sqrt(3) / 2), ("HCP", 0, 0.5)):
        q = np.array([*reciprocal(SURFACES[name])[0], 0.0])
        found = max(phase(name, 12, q + np.array([0, 0, s * place * third])) for s in (1, -1))
        assert found == pytest.approx(full, abs=1e-9)


def test_powders_are_told_but_for_two_layers_of_close_packing() -> None:
    assert all(not alike(name, None, 3) for name in SURFACES)
    assert alike("HCP", None, 2) == ["FCC111"]


def test_what_one_azimuth_shows() -> None:
    # Along a cube's edge a body-centred crystal shows squares with their middles, as cubic 110 does along its edge.
    for name in ("BCC100", "Cubic110"):
        ratio, places = shadow(SURFACES[name], 0.0)
        assert (ratio, *np.round(places, 9) % 1) == pytest.approx((2, 0, 0.5, 0, 0.5))
    assert alike("BCC100", 0.0, 5) == ["Cubic110"]
    assert alike("Cubic100", 0.0, 5) == ["BCC110", "FCC100"]
    assert alike("FCC100", 0.0, 5) == []


@pytest.mark.parametrize("name", SURFACES)
def test_azimuths_make_a_powder(name: str) -> None:
    # A gaussian rod of half width w and length G, at rest by the detector's plane for w / G of a turn: of as many of a length as
    # there are, each gives √(2 π) w / (2 π G) of what it gives when it lies in the plane.
    surface, width, most = SURFACES[name], 0.08, 14.0
    found, every = azimuths(surface, most, width), rods(surface, most)
    assert sum(found.values()) == pytest.approx(1)
    length = np.hypot(*every.T)
    for g in np.unique(np.round(length, 6)):
        ring = every[np.abs(length - g) < 1e-5]
        seen = sum(
            w * np.exp(-(((turned(rod, angle) - (0, g)) / width) ** 2).sum() / 2) for angle, w in found.items() for rod in ring
        )
        assert seen == pytest.approx(len(ring) * sqrt(2 * pi) * width / g / (2 * pi), rel=0.15)
