"""Frames of films simulated by BornAgain, with its own lattices, interference functions, form factors and resolution.

    PYTHON studies/bornagain_films.py FOLDER [--each 40 15 15] [--seed 1] [--part 0 --parts 1]

PYTHON is that of an environment with BornAgain 25 and NumPy; nothing of beamsight is imported. Of each lattice so many powders of
domains and finite crystals, and so many films that are none of these. Frame by frame FOLDER gets an .npz (`image`, `mask`) and a
.json of what was drawn; what is there already is not made again.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator, default_rng

from bornagain_detector import Picture, draw_picture, exposed, grid_of
from bornagain_sample import simulated
from materials import PARTICLES, SUBSTRATES
from surfaces import SURFACES, alike

KINDS = ("powder", "finite", "none")
OTHERS = ("disordered", "grating", "empty")
KEV_NM = 1.2398420


@dataclass(frozen=True)
class Film:
    """One film: `name` of its lattice or "none", `kind` of film; `diameter_nm` of the sphere about a particle, `spacing_nm` of
    nearest neighbours, `layers`, `domain` and `cells` in spacings, `azimuth_rad` of a crystal, `strain` of the layers' distance,
    `spread` of sizes and `displaced` from the sites as shares of diameter and spacing; incidence and photons."""

    name: str
    kind: str
    shape: str
    diameter_nm: float
    spacing_nm: float
    layers: int
    domain: float
    paracrystal: float
    cells: tuple[int, int]
    meso: bool
    azimuth_rad: float
    strain: float
    spread: float
    displaced: float
    incidence_rad: float
    wavelength_nm: float
    particle: str
    substrate: str
    embedded: bool
    roughness_nm: float
    alike: tuple[str, ...]


def draw_film(name: str, kind: str, rng: Generator) -> Film:
    """A film over the ranges that users' films have."""
    diameter = rng.uniform(10, 20)
    finite = kind == "finite"
    layers = int(rng.integers(4, 17) if finite else rng.integers(2, 13))
    beam = None
    if finite:
        beam = float(rng.choice(SURFACES[name].beams))
    particle = str(rng.choice(list(PARTICLES)))
    return Film(
        name, kind, str(rng.choice(["sphere", "cylinder", "box", "frustum"], p=[0.55, 0.15, 0.15, 0.15])),
        diameter, diameter * rng.uniform(1, 1.6), layers, rng.uniform(5, 40),
        # The spread of a paracrystal's spacings; most powders have none and long-range order.
        float(rng.uniform(0.02, 0.06)) if kind == "powder" and rng.random() < 0.3 else 0.0,
        (int(rng.integers(10, 20)), int(rng.integers(10, 20))), bool(finite and rng.random() < 0.5),
        0.0 if beam is None else beam + rng.normal(0, np.radians(0.7)), float(np.clip(rng.normal(0, 0.015), -0.03, 0.03)),
        rng.uniform(0, 0.12), rng.uniform(0.01, 0.06), np.radians(rng.uniform(0.08, 0.4)), KEV_NM / rng.uniform(6, 16),
        particle, str(rng.choice(list(SUBSTRATES))), bool(particle in ("gold", "magnetite") and rng.random() < 0.35),
        float(rng.uniform(0, 0.8)), () if name == "none" else tuple(alike(name, beam, layers)),
    )  # fmt: skip


def asked(each: tuple[int, int, int]) -> Iterator[tuple[str, str, int]]:
    """(name, kind, number) of every frame: so many of each kind of film of each lattice, and of each that is none."""
    for kind, n in zip(KINDS, each, strict=True):
        names = [("none", other) for other in OTHERS] if kind == "none" else [(name, kind) for name in SURFACES]
        yield from ((name, what, number) for number in range(n) for name, what in names)


def make(folder: Path, name: str, kind: str, number: int, seed: int) -> None:
    """One frame and what was drawn for it, the latter last."""
    stem = folder / f"{name}-{kind}-{number:04d}"
    if stem.with_suffix(".json").exists():
        return
    rng = default_rng([seed, sorted([*SURFACES, "none"]).index(name), (*KINDS, *OTHERS).index(kind), number])
    film = draw_film(name, kind, rng)
    picture = draw_picture(film.spacing_nm, film.wavelength_nm, film.incidence_rad, rng)
    grid = grid_of(picture, mirrored=kind != "finite")
    image, mask, told = exposed(simulated(film, grid, rng), grid, picture, film.incidence_rad, rng)
    # Written aside: a stopped run leaves no half file.
    aside = folder / f"aside-{os.getpid()}.npz"
    np.savez_compressed(aside, image=image, mask=mask)
    aside.replace(stem.with_suffix(".npz"))
    stem.with_suffix(".json").write_text(json.dumps(described(film, picture, told), indent=1))


def described(film: Film, picture: Picture, told: dict[str, Any]) -> dict[str, Any]:
    """What was drawn, and where the frame was taken."""
    return {"film": asdict(film), "picture": asdict(picture), **told}


def main() -> None:
    """Makes what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--each", type=int, nargs=3, default=[40, 15, 15], help="powders, finite crystals, each kind of none")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--part", type=int, default=0)
    parser.add_argument("--parts", type=int, default=1)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for name, kind, number in list(asked(tuple(options.each)))[options.part :: options.parts]:
        make(options.folder, name, kind, number, options.seed)
        print(name, kind, number, flush=True)


if __name__ == "__main__":
    main()
