"""What lattices show the same: shadows against particles laid out one by one, blocks against arithmetic."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from beamsight.physics.crystals import NAMES, block, edges
from beamsight.physics.same import DIRECTIONS, same_block, same_shadow, shadow
from beamsight.tasks.gisaxs_lattice.films import OWN_SHADOW

BETWEEN_M = (2e-8, 1.1e-7)


def seen_along(name: str, azimuth_rad: float, mirrored: bool = False) -> set[tuple[float, float]]:
    """Places (across, up) of a crystal's particles as seen along a beam, in heights of its layers, near the one at zero."""
    cell, places, taken = block(name, 1.0)
    steps = np.array(list(product(range(-8, 9), range(-8, 9), range(-4, 5))))
    sites = (steps @ cell)[:, None] + places[taken > 0]
    across = sites.reshape(-1, 3) @ [-np.sin(azimuth_rad), np.cos(azimuth_rad), 0]
    up = sites.reshape(-1, 3)[:, 2]
    height = np.unique(np.round(up[up > 1e-6], 6))[0]
    near = (np.abs(across) < 2.2 * height) & (np.abs(up) < 4.2 * height)
    seen = np.stack([across[near] * (-1) ** mirrored, up[near]], 1) / height
    return {(y, z) for y, z in (seen.round(3) + 0.0).tolist()}


@pytest.mark.parametrize("name", NAMES)
def test_lattices_of_one_shadow_show_particles_in_the_same_places(name: str) -> None:
    for azimuth in DIRECTIONS:
        if shadow(name, azimuth) is None:
            continue
        own = seen_along(name, azimuth)
        others = [(other, turn) for other in NAMES for turn in DIRECTIONS if shadow(other, turn) is not None]
        equal = {other for other, turn in others if own in (seen_along(other, turn), seen_along(other, turn, mirrored=True))}
        assert set(same_shadow(name, azimuth)) == equal


def test_shadows_of_their_own_and_of_no_row() -> None:
    assert all(same_shadow(name, azimuth) == (name,) for name, azimuth in OWN_SHADOW.items())
    assert same_shadow("HCP", np.pi / 4) == NAMES


def test_edges_that_make_of_one_name_another() -> None:
    cells = np.array([14, 14, 14])
    one, other = edges("Cubic110", (3e-8, 3.2e-8, 6.4e-8)), edges("Cubic100", (3e-8, 2**0.5 * 3.2e-8, 2**0.5 * 3.2e-8))
    steps = one @ np.linalg.inv(other)
    assert np.allclose(steps, steps.round())  # the same points
    assert "Cubic100" in same_block("Cubic110", one, cells, BETWEEN_M)
    assert "Cubic110" in same_block("Cubic100", other, cells, BETWEEN_M)
    assert "Cubic100" not in same_block("Cubic110", edges("Cubic110", (3e-8, 3.2e-8, 5.6e-8)), cells, BETWEEN_M)
    # Not where edges as long as it takes are never drawn.
    assert same_block("Cubic110", one, cells, (2e-8, 4.4e-8)) == ("Cubic110",)


def test_few_layers_and_equal_edges_make_of_hcp_an_fcc_111() -> None:
    equal = edges("HCP", (5e-8, 5e-8, 5e-8))
    assert same_block("HCP", equal, np.array([12, 12, 4]), BETWEEN_M) == ("FCC111", "HCP")
    assert same_block("HCP", edges("HCP", (5e-8, 6e-8, 8e-8)), np.array([12, 12, 14]), BETWEEN_M) == ("HCP",)


@pytest.mark.parametrize("name", NAMES)
def test_turned_by_any_angle_a_block_is_the_same(name: str) -> None:
    cell, cells, turn = edges(name, (3e-8, 4.1e-8, 5.3e-8)), np.array([8, 8, 3]), np.radians(40)
    to = np.array([[np.cos(turn), np.sin(turn), 0], [-np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    assert same_block(name, cell @ to, cells, BETWEEN_M) == same_block(name, cell, cells, BETWEEN_M)
