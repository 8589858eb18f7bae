"""On which lattice do the nanoparticles sit?

Patterns at grazing incidence of films of particles on one of seven lattices, with the named plane in the surface: in-plane
powders, and finite crystals; or of anything else, which is none of them. What no pattern can tell is doubtful.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from numpy.random import Generator

from beamsight.physics.crystals import NAMES, rods_apart
from beamsight.recipe import Recipe
from beamsight.targets import OneOf
from beamsight.task import Task
from beamsight.tasks.gisaxs_lattice.films import OWN_SHADOW, block, draw_beyond, draw_paper, layered, single
from beamsight.tasks.gisaxs_lattice.looking import detector
from beamsight.tasks.gisaxs_lattice.none import none
from beamsight.tasks.gisaxs_lattice.scene import Pattern, place
from beamsight.tasks.gisaxs_lattice.taking import ANSWERS, label, render, written

__all__ = ["TASK", "draw", "draw_beyond", "draw_paper"]

NONE_SHARE, POWDERS = 0.17, 0.61  # of all frames; of those on a lattice but for crystals along one azimuth
SURE = 0.98  # more films have little order than that all others could be named by an answer that errs less
CRYSTALS = {True: 0.16, False: 0.08}  # of a lattice, whether one azimuth tells it or not


def draw(rng: Generator) -> Pattern:
    """Any film of any lattice, or none."""
    if rng.random() < NONE_SHARE:
        return none(rng)
    name = NAMES[int(rng.integers(len(NAMES)))]
    if rng.random() < CRYSTALS[name in OWN_SHADOW]:
        return single(rng, name)
    return layered(rng, name) if rng.random() < POWDERS else block(rng, name)


TASK = Task(
    "gisaxs-lattice", "On which lattice do the nanoparticles sit?", OneOf(ANSWERS, right=SURE), (96, 96),
    draw, place, render, detector, label, written=written, rods={name: rods_apart(name) for name in NAMES},
    views=("decades", "patterson"),
    recipe=Recipe(view="decades", network="paired", size=96, batch=64, steps=12000, learning_rate=2e-3, warmup=300,
                  mirror=True, rotate=True, exposures=4, validate_every=1000, validation=2000, patience=0),
    references=(
        "D. Ushizima et al., New York Scientific Data Summit (2016): lattices from GISAXS patterns, case III",
        "S. Chourou et al., J. Appl. Cryst. 46, 1781 (2013): HipGISAXS",
    ),
)  # fmt: skip
