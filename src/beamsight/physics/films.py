"""A film of particles on a substrate and how it is looked at, as drawn numbers."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beamsight.physics import crystals
from beamsight.physics.crystals import CLASSES, NAMES, RODS, SITES

LAYERS = 12
HC_EV_M = 1.239841984e-6


@dataclass(frozen=True)
class Film:
    """Particles on a lattice of `crystals.NAMES[kind]`; in-plane powder of layers (`single` 0), one finite crystal (1), or finite
    crystals at every azimuth (1, and `turning` 1), or at `azimuths` ones `azimuth_step_rad` apart from `azimuth_rad` on.

    Looking: `side_rad` the detector's height over its distance; `beam_y`, `beam_x` where the direct beam meets it, shares of
    its height and width. The horizon is `incidence_rad` above.
    Matter: refractive indices 1 - delta + i beta of substrate and film; `film_m` 0 and indices 0 for particles in air.
    Particles: `shape` BALL, ROUND or SQUARE of `formfactors`, `radius_m` (half side), height 2 `radius_m` x `tall`, `taper`,
    relative standard deviation `spread` of sizes; `base_m` from the substrate to the lowest; `disorder_m` root mean square
    displacement along each axis; `strewn` share of the particles that know no lattice.
    Powder: up to LAYERS `layers` `layer_m` apart, of the uppermost the share `filled`; `cell_m` the edges of a layer's cell and
    the step to the particle above; `common` the share of the displacements' mean square that all particles above one another
    have together; `above_m`, `beside_m` by how much whole layers lie off their places, up and along q, where few domains are
    seen: for the rods of each class by itself; `parts` and `repeat` as in `crystals.Layering`, `rod_q` and `rod_count` from
    `crystals.rods`, `area_m2` of a cell; order decays over `domain_m`, as Gauss's function where `gaussian`; `paracrystal`
    relative standard deviation of the nearest distance, for order that is lost from neighbour to neighbour, in all directions
    alike or, `ideal`, along either edge by itself.
    Crystal: `cell_m`, `site_m`, `site` from `crystals.block`, `cells` how many along each, turned by `azimuth_rad`; of one that
    leans, at single azimuths, `edge_rad` a phase from cell to cell of the second edge beside that of their places.
    Light, photons a pixel: `lattice_ph` mean of the particles' light over the frame; `flat_ph`; `air_ph` at the direct beam,
    falling as (1 + (r/`air_rad`)^2)^-3/2; `rough_ph` of the substrate's roughness of lateral length `rough_m`; `direct_ph`,
    `specular_ph` at the middle of these beams, of standard deviation `beam_rad`; beamstops of radius `stop_rad` at the direct
    and `specular_stop_rad` at the specular beam, and a bar of half width `bar_rad` from the lower edge to the specular beam; 0
    for none.
    """

    kind: int
    spacing_m: float
    single: int = 0
    turning: int = 0
    wavelength_m: float = 1e-10
    incidence_rad: float = 0.2 * np.pi / 180
    side_rad: float = 0.045
    beam_y: float = 0.95
    beam_x: float = 0.5
    substrate_delta: float = 5e-6
    substrate_beta: float = 8e-8
    film_delta: float = 0.0
    film_beta: float = 0.0
    film_m: float = 0.0
    shape: int = 0
    radius_m: float = 7e-9
    tall: float = 1.0
    taper: float = 0.0
    spread: float = 0.0
    base_m: float = 0.0
    disorder_m: float = 0.0
    strewn: float = 0.0
    layers: int = 1
    layer_m: float = 0.0
    filled: float = 1.0
    common: float = 0.0
    above_m: NDArray[np.float64] = field(default_factory=partial(np.zeros, (CLASSES, LAYERS)))
    beside_m: NDArray[np.float64] = field(default_factory=partial(np.zeros, (CLASSES, LAYERS)))
    parts: int = 1
    repeat: int = 1
    rod_q: NDArray[np.float64] = field(default_factory=partial(np.zeros, (RODS,)))
    rod_count: NDArray[np.float64] = field(default_factory=partial(np.zeros, (RODS, CLASSES)))
    area_m2: float = 1.0
    domain_m: float = 2e-7
    gaussian: int = 0
    paracrystal: float = 0.0
    ideal: int = 0
    cell_m: NDArray[np.float64] = field(default_factory=partial(np.zeros, (3, 3)))
    site_m: NDArray[np.float64] = field(default_factory=partial(np.zeros, (SITES, 3)))
    site: NDArray[np.float64] = field(default_factory=partial(np.zeros, (SITES,)))
    cells: NDArray[np.float64] = field(default_factory=partial(np.zeros, (3,)))
    azimuth_rad: float = 0.0
    edge_rad: float = 0.0
    azimuths: int = 0
    azimuth_step_rad: float = 0.0
    lattice_ph: float = 100.0
    flat_ph: float = 0.0
    air_ph: float = 0.0
    air_rad: float = 0.005
    rough_ph: float = 0.0
    rough_m: float = 1e-8
    direct_ph: float = 0.0
    specular_ph: float = 0.0
    beam_rad: float = 3e-4
    stop_rad: float = 0.0
    specular_stop_rad: float = 0.0
    bar_rad: float = 0.0


def wavelength_m(energy_ev: float) -> float:
    """h c / E: 1.0 A at 12398 eV."""
    return HC_EV_M / energy_ev


def powder(name: str, spacing_m: float, layers: int, stretch: tuple[float, float, float] = (1, 1, 1), **numbers: Any) -> Film:
    """A film of domains turned at random about the normal; `numbers` are other fields of Film."""
    kind, cell = crystals.LAYERINGS[name], crystals.layer(name, spacing_m, stretch)
    height = crystals.layer_height_m(name, spacing_m, stretch)
    rod_q, rod_count = crystals.rods(name, cell)
    film = Film(
        NAMES.index(name), spacing_m, layers=layers, layer_m=height, parts=kind.parts, repeat=kind.repeat, rod_q=rod_q,
        rod_count=rod_count, area_m2=float(abs(np.linalg.det(cell))),
        cell_m=np.column_stack([np.vstack([cell, crystals.step(name, cell)]), [0, 0, height]]),
    )  # fmt: skip
    return replace(film, **numbers)


def turned(name: str, lengths_m: tuple[float, float, float], cells: tuple[int, int, int], **numbers: Any) -> Film:
    """Blocks with free edges (`crystals.edges`) at every azimuth; `spacing_m` is the distance of nearest neighbours."""
    cell_m, site = crystals.edges(name, lengths_m), np.zeros(SITES)
    site[0] = 1
    film = Film(NAMES.index(name), crystals.nearest_m(cell_m), 1, 1, cell_m=cell_m, site=site, cells=np.array(cells, float))
    return replace(film, **numbers)


def crystal(
    name: str,
    spacing_m: float,
    cells: tuple[int, int, int],
    stretch: tuple[float, float, float] = (1, 1, 1),
    primitive: bool = False,
    **numbers: Any,
) -> Film:
    """One finite crystal; `numbers` are other fields of Film."""
    cell_m, site_m, site = crystals.block(name, spacing_m, stretch, primitive)
    film = Film(NAMES.index(name), spacing_m, 1, cell_m=cell_m, site_m=site_m, site=site, cells=np.array(cells, float))
    return replace(film, **numbers)
