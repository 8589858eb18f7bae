"""Drawing films of the seven lattices: powders of layers, blocks at every azimuth, and crystals along one."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields, replace
from typing import Any, TypeVar

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from beamsight.physics import films
from beamsight.physics.crystals import CLASSES, NAMES, layer_height_m
from beamsight.physics.draws import log_uniform
from beamsight.physics.films import Film
from beamsight.physics.finite import MOST_AZIMUTHS
from beamsight.physics.formfactors import BALL, ROUND, SQUARE
from beamsight.physics.same import same_block, same_shadow
from beamsight.tasks.gisaxs_lattice.looking import Numbers, computed, looked_at
from beamsight.tasks.gisaxs_lattice.matter import reached, unlit, within
from beamsight.tasks.gisaxs_lattice.scene import Pattern

# What one azimuth tells of a lattice, whatever its spacing against its particles, is its shadow along the beam: these alone have
# one of their own (azimuth of the crystal, rad), the two close packings from three layers on.
OWN_SHADOW = {"FCC100": np.pi / 4, "FCC111": 0.0, "HCP": 0.0}
CLOSE, FEWEST_LAYERS = ("FCC111", "HCP"), 3  # that tell the two close packings apart
# What one layer alone tells.
SHEETS = (("BCC100", "Cubic100", "FCC100"), CLOSE, ("BCC110",), ("Cubic110",))
FEWEST_CELLS = (5, 5, 2)  # along the edges of a block
STEPPED = 0.33  # of the blocks: a sum over azimuths takes six times as long
# The one lattice of published files whose second edge leaves the surface: in its patterns that edge lies flat, and a phase steps
# along it that is the same all over the detector.
FLAT, FLAT_SHARE = "FCC100", 2 / 3

AnyFilm = TypeVar("AnyFilm", bound=Film)


def particle(rng: Generator, diameter_m: float, spacing_m: float) -> Numbers:
    """Balls, cylinders, cones, boxes and pyramids within a sphere of that diameter; how sizes and places vary."""
    shape = int(rng.choice([BALL, ROUND, SQUARE], p=[0.6, 0.2, 0.2]))
    numbers: Numbers = {"shape": shape, "radius_m": diameter_m / 2}
    if shape == BALL:
        numbers["tall"] = 1.0 if rng.random() < 0.8 else rng.uniform(0.55, 1)
    else:
        # The sphere about a body of half width w and half height w t goes through its corners.
        tall, corner = rng.uniform(0.6, 1.2), 2.0 if shape == SQUARE else 1.0
        numbers |= {"radius_m": diameter_m / 2 / np.sqrt(corner + tall**2), "tall": tall}
        numbers["taper"] = rng.uniform(0.1, 0.5) if rng.random() < 0.5 else 0.0
    numbers["spread"] = rng.uniform(0, 0.12) if rng.random() < 0.8 else 0.0
    numbers["disorder_m"] = spacing_m * rng.uniform(0, 0.07) if rng.random() < 0.8 else 0.0
    numbers["strewn"] = rng.uniform(0, 0.6) if rng.random() < 0.3 else 0.0
    return numbers


def layered(rng: Generator, name: str) -> Pattern:
    """An in-plane powder of domains of layers."""
    diameter = log_uniform(rng, 7e-9, 3e-8)
    spacing = diameter * (rng.uniform(1, 1.6) if rng.random() < 0.85 else rng.uniform(1.6, 2.5))
    layers = int(rng.integers(2, films.LAYERS + 1))
    stretch = tuple(1 + rng.normal(0, [0.006, 0.006, 0.015]))
    numbers = looked_at(rng, 2 * np.pi / spacing * rng.uniform(2, 5.5))
    film = films.powder(name, spacing, layers, stretch, **particle(rng, diameter, spacing))
    numbers |= within(rng, film, (layers - 1) * film.layer_m, numbers["wavelength_m"])
    # Of pairs two spacings apart a disc five spacings wide holds half, as order does that decays over 1.7 (Gauss) or 2.9 of them.
    order = {"domain_m": spacing * log_uniform(rng, 1.5, 40), "gaussian": int(rng.random() < 0.3)}
    if rng.random() < 0.4:
        order |= {"paracrystal": rng.uniform(0.02, 0.07), "ideal": int(rng.random() < 0.6)}
    order |= _one_upon_another(rng, layers, spacing)
    lit, thinner = reached(numbers, layers, film.layer_m)
    few = name in CLOSE and layers < FEWEST_LAYERS
    alike = next(names for names in SHEETS if name in names) if few or unlit(numbers, film.layer_m) else ()
    return pattern(film, name, **numbers | thinner, **order, layers=lit, alike=among(alike))


def _one_upon_another(rng: Generator, layers: int, spacing_m: float) -> Numbers:
    """Particles that are moved with those below them, as layers follow what they lie upon; domains so few that what whole layers
    lie off their places does not average out; and an uppermost layer of islands."""
    numbers: Numbers = {"common": rng.uniform(0, 1)} if rng.random() < 0.6 else {}
    if rng.random() < 0.4:
        off_m = spacing_m * rng.uniform(0, 0.06)
        numbers |= {name: rng.normal(0, off_m, (CLASSES, films.LAYERS)) for name in ("above_m", "beside_m")}
    return numbers | ({"filled": rng.uniform(0.2, 1)} if layers > FEWEST_LAYERS and rng.random() < 0.3 else {})


def among(names: Collection[str]) -> NDArray[np.float64]:
    """[7] 1 for each lattice of `names`."""
    return np.array([float(name in names) for name in NAMES])


def block(rng: Generator, name: str) -> Pattern:
    """Blocks with free edges at every azimuth, as programs compute them."""
    diameter = rng.uniform(9e-9, 2.1e-8)
    cells = tuple(round(log_uniform(rng, least, 20)) for least in FEWEST_CELLS)
    film = _block(rng, name, diameter, (2.2e-8, 1.1e-7), cells, rng.uniform(0.6, 1.5))
    if name == FLAT and rng.random() < FLAT_SHARE:
        return replace(laid_flat(film, rng.uniform(0, 2 * np.pi)), **_azimuths(rng))
    return replace(film, **_azimuths(rng)) if rng.random() < STEPPED else film


def laid_flat(film: AnyFilm, edge_rad: float) -> AnyFilm:
    """The block whose second edge lies in the surface, with that phase from cell to cell along it, at azimuths one by one."""
    cell_m = film.cell_m.copy()
    cell_m[1, 2] = 0
    return replace(film, cell_m=cell_m, edge_rad=edge_rad)


def _azimuths(rng: Generator) -> Numbers:
    """Those that a program sums over one by one, whose steps leave grains where rods are narrower."""
    number, start = round(log_uniform(rng, 60, MOST_AZIMUTHS)), rng.uniform(0, 2 * np.pi)
    return {"azimuths": number, "azimuth_step_rad": 2 * np.pi / number, "azimuth_rad": start}


def _block(
    rng: Generator,
    name: str,
    diameter_m: float,
    between_m: tuple[float, float],
    cells: Any,
    reach_per_nm: float,
    clean: bool = False,
) -> Pattern:
    """One whose edges are free `between_m`; doubtful where other names have edges there that make the same block."""
    numbers = looked_at(rng, 1e9 * reach_per_nm) | computed(rng)
    incidence = np.radians(rng.uniform(0.08, 0.3))
    numbers["beam_y"] += (np.tan(incidence) - np.tan(numbers["incidence_rad"])) / numbers["side_rad"]  # the horizon stays
    numbers["incidence_rad"] = incidence
    film = films.turned(name, tuple(rng.uniform(*between_m, 3)), cells, radius_m=diameter_m / 2)
    # Order that decays over a row / sqrt 2 has rods as wide as the row's main peak; steps in azimuth and pixels widen them.
    order = np.linalg.norm(film.cell_m[:2, :2], axis=1) * film.cells[:2] / 2**0.5 * rng.uniform(0.3, 1)
    if rng.random() < 0.5 and not clean:
        numbers |= {"spread": rng.uniform(0, 0.12), "disorder_m": film.spacing_m * rng.uniform(0, 0.05)}
    alike = among(same_block(name, film.cell_m, film.cells, between_m))
    return pattern(film, name, **numbers, domain_m=float(order.min()), area_m2=_area(film), alike=alike)


def _area(film: Film) -> float:
    return float(abs(np.linalg.det(film.cell_m[:2, :2]))) or 1.0


def single(rng: Generator, name: str) -> Pattern:
    """One finite crystal with a principal direction along the beam."""
    diameter = log_uniform(rng, 8e-9, 2.5e-8)
    spacing = diameter * rng.uniform(1, 1.6)
    cells = tuple(int(n) for n in (*rng.integers(10, 20, 2), rng.integers(2, 10)))
    own = name in OWN_SHADOW and rng.random() < 0.85
    azimuth = OWN_SHADOW[name] if own else float(rng.choice([0, np.pi / 4, np.pi / 2]))
    numbers = looked_at(rng, 2 * np.pi / spacing * rng.uniform(2, 5.5))
    numbers |= {"azimuth_rad": azimuth + rng.normal(0, 0.012)}
    film = films.crystal(name, spacing, cells, (1, 1, 1 + rng.normal(0, 0.015)), **particle(rng, diameter, spacing))  # type: ignore[arg-type]
    top = (cells[2] - 1) * film.cell_m[2, 2] + film.site_m[:, 2].max()
    numbers |= within(rng, film, float(top), numbers["wavelength_m"])
    lit, thinner = reached(numbers, cells[2], float(film.cell_m[2, 2]))
    film = replace(film, cells=np.array([*cells[:2], lit], float))
    seen = () if own else same_shadow(name, azimuth)
    return pattern(film, name, **numbers | thinner, alike=among(NAMES if unlit(numbers, layer_height_m(name, spacing)) else seen))


def pattern(film: Film, name: str, **numbers: Any) -> Pattern:
    """The film with other numbers."""
    known = {f.name: getattr(film, f.name) for f in fields(Film)}
    return Pattern(**(known | numbers), truth=NAMES.index(name))


def draw_paper(rng: Generator) -> Pattern:
    """A scene as Ushizima et al. (2016) have them: 10-19 cells of 25-105 nm, particles of 10-20 nm; photons, as they come."""
    name = NAMES[int(rng.integers(len(NAMES)))]
    cells = tuple(int(n) for n in rng.integers(10, 20, 3))
    return _published(rng, _block(rng, name, rng.uniform(1e-8, 2e-8), (2.5e-8, 1.05e-7), cells, rng.uniform(0.9, 1.1), True))


def draw_beyond(rng: Generator) -> Pattern:
    """The same with particles, edges and numbers of cells that no training has; as many orders are seen."""
    name = NAMES[int(rng.integers(len(NAMES)))]
    cells = tuple(int(n) for n in rng.integers(21, 26, 3))
    return _published(rng, _block(rng, name, rng.uniform(2.2e-8, 2.6e-8), (1.12e-7, 1.6e-7), cells, rng.uniform(0.6, 0.75), True))


def _published(rng: Generator, scene: Pattern) -> Pattern:
    """One half of the pattern above a dark edge, counts."""
    side = scene.side_rad * max(scene.beam_x, scene.cover_x - scene.beam_x)
    numbers = {f.name: getattr(scene, f.name) for f in fields(Pattern)}
    horizon = rng.uniform(0.85, 0.9)
    numbers |= {"side_rad": side, "beam_x": 0.005, "beam_y": horizon + np.tan(scene.incidence_rad) / side, "cover_y": 1.0,
                "cover_x": 1.0, "turns": 0, "decades": 0.0, "lattice_ph": log_uniform(rng, 20, 2000)}  # fmt: skip
    return Pattern(**numbers)
