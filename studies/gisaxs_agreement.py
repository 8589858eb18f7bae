"""Patterns of the seven lattices beside BornAgain's for the same parameters: in-plane powders and finite crystals.

    python studies/gisaxs_agreement.py [--quick]

A powder is there a sum over lattices turned about the normal, particles and all, so that neither program borrows the other's
way to average. Order decays over ten spacings. Where a rod may be thinner than a pixel, BornAgain is asked for several places a
pixel, whose mean a detector counts.
Writes docs/studies/gisaxs_agreement.json and docs/tasks/pictures/gisaxs_beside_bornagain.webp. BornAgain gets an environment of
its own, made once in the user's cache.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import maximum_filter, median_filter

from beamsight.physics import crystals
from beamsight.physics.crystals import NAMES
from beamsight.physics.films import Film, crystal, powder
from beamsight.physics.gisaxs import render
from beamsight.task import columns
from benchmarks.peers import BORNAGAIN, Ask, asking
from studies.rows import ROOT, Row, keep, show

Floats = NDArray[np.float64]

SPACING_M, LAYERS, CELLS, SIDE = 15e-9, 5, (12, 13, 5), 100
SIDE_RAD, INCIDENCE_RAD = 0.045, np.deg2rad(0.2)
TURNS = 360  # over half a turn: 9 mrad apart, as rods of domains of 150 nm are 5 to 25 mrad wide
SAMPLED = 2  # places a pixel at which BornAgain looks at powders, along either axis
FLOOR = 1e-6  # of the brightest pixel: six decades, as many as a detector counts
NM = 1e9
# Of polymer and a little gold; it ends 5 nm above the particles.
FILM = {"film_delta": 2e-6, "film_beta": 3e-8}
# The detector's lower edge is the horizon.
COMMON: dict[str, Any] = {
    "radius_m": 6.5e-9, "incidence_rad": INCIDENCE_RAD, "side_rad": SIDE_RAD, "beam_y": 1 + np.tan(INCIDENCE_RAD) / SIDE_RAD,
    "domain_m": 1.5e-7,
}  # fmt: skip


PEER = Path(__file__).with_name("gisaxs_peer.py")


def powder_film(name: str) -> Film:
    """Domains of a lattice turned at random."""
    film = powder(name, SPACING_M, LAYERS, **COMMON)
    return _in_matter(film, (LAYERS - 1) * film.layer_m)


def crystal_film(name: str) -> Film:
    """One finite crystal of a lattice."""
    film = crystal(name, SPACING_M, CELLS, **COMMON)
    return _in_matter(film, (CELLS[2] - 1) * film.cell_m[2, 2] + film.site_m[:, 2].max())


def _in_matter(film: Film, height_m: float) -> Film:
    """In air or in a film, alternating over the lattices."""
    thick = {"film_m": height_m + 2 * film.radius_m + 5e-9}
    return replace(film, **FILM, **thick) if film.kind % 2 else film


def asked(film: Film, side: int, turns: int) -> dict[str, Any]:
    """What BornAgain is told of a film: of a powder the right half of the pattern, which is the left one's mirror image."""
    half = SIDE_RAD / 2
    told: dict[str, Any] = {
        "shape": "sphere", "radius": film.radius_m * NM, "wavelength": film.wavelength_m * NM, "incidence": INCIDENCE_RAD,
        "particle": [1e-5, 1e-7], "substrate": [film.substrate_delta, film.substrate_beta], "domain": film.domain_m * NM,
        "film": [film.film_delta, film.film_beta, film.film_m * NM] if film.film_m else None, "rows": side,
        "alpha": [0, SIDE_RAD], "width": side if film.single else side // 2, "phi": [-half if film.single else 0, half],
        "cells": None,
    }  # fmt: skip
    return told | (_crystal(film) if film.single else _layers(film, turns))


def _layers(film: Film, turns: int) -> dict[str, Any]:
    name = NAMES[film.kind]
    kind, plane = crystals.LAYERINGS[name], crystals.layer(name, film.spacing_m) * NM
    corners = np.array(list(product(range(-2, 3), repeat=2))) @ plane
    # There order fades with the distance of cells, here of particles: those of a column are taken that lie nearest its axis.
    beside = [min(corners + n * np.array(kind.shift) / kind.parts @ plane, key=np.linalg.norm) for n in range(kind.repeat)]
    sites = [[*beside[n % kind.repeat].tolist(), n * film.layer_m * NM] for n in range(film.layers)]
    return {"plane": plane.tolist(), "sites": sites, "turns": (np.arange(turns) / turns * np.pi).tolist()}


def _crystal(film: Film) -> dict[str, Any]:
    sites = film.site_m[film.site > 0] * NM
    stacked = [site + n * film.cell_m[2] * NM for n in range(int(film.cells[2])) for site in sites]
    cells = [int(n) for n in film.cells[:2]]
    return {"plane": (film.cell_m[:2, :2] * NM).tolist(), "sites": np.array(stacked).tolist(), "turns": [0.0], "cells": cells}


def logarithm(pattern: Floats) -> Floats:
    """log10 of a pattern over its brightest pixel, cut at FLOOR."""
    return np.asarray(np.log10(np.maximum(pattern / pattern.max(), FLOOR)))


def correlation(ours: Floats, theirs: Floats) -> float:
    """Of the log patterns."""
    return float(np.corrcoef(logarithm(ours).ravel(), logarithm(theirs).ravel())[0, 1])


def peaks(pattern: Floats) -> Floats:
    """(y, x) [N, 2] px of the pixels that are brightest within two pixels, and twice as bright as half of those around."""
    log = logarithm(pattern)
    tops = (log == maximum_filter(log, 5)) & (log > median_filter(log, 11) + np.log10(2)) & (log > np.log10(FLOOR) + 1)
    return np.argwhere(tops).astype(float)


def apart(ours: Floats, theirs: Floats) -> Floats:
    """px from each of BornAgain's peaks to the nearest pixel of ours that is brightest within one pixel, along either axis."""
    log = logarithm(ours)
    tops = np.argwhere(log == maximum_filter(log, 3))
    return np.asarray(np.abs(peaks(theirs)[:, None] - tops).max(2).min(1))


def both(peer: Ask, film: Film, turns: int) -> tuple[Floats, Floats]:
    """Our pattern and BornAgain's."""
    places = 1 if film.single else SAMPLED
    theirs = np.array(peer(asked(film, places * SIDE, turns))["pattern"])
    theirs = theirs.reshape(SIDE, places, -1, places).mean((1, 3))
    ours = render(columns([film]), (SIDE, SIDE))[0].double().numpy()
    return (ours if film.single else ours[:, SIDE // 2 :]), theirs


def measure(name: str, ours: Floats, theirs: Floats, kind: str) -> list[Row]:
    """The rows of one lattice."""
    away = apart(ours, theirs)
    return [
        Row(f"{name}, {kind}: correlation of the log patterns", correlation(ours, theirs), "", 0.95),
        Row(f"{name}, {kind}: farthest of {len(away)} peaks", float(away.max(initial=0)), "px", 1, "lower"),
    ]


def picture(pairs: Sequence[tuple[str, Floats, Floats]], path: Path) -> None:
    """Each lattice a row: the powder and the crystal, ours on the left of each pair."""
    gap, label, wide = 6, 90, SIDE * 2
    sheet = Image.new("RGB", (label + 4 * (wide + gap), len(NAMES) * (wide + gap) + 20), "white")
    draw = ImageDraw.Draw(sheet)
    for n, title in enumerate(("powder", "powder, BornAgain", "crystal", "crystal, BornAgain")):
        draw.text((label + n * (wide + gap), 4), title, fill="black")
    for n, (name, *patterns) in enumerate(pairs):
        row, kind = n % len(NAMES), n // len(NAMES)
        draw.text((4, 20 + row * (wide + gap) + wide // 2), name, fill="black")
        for k, pattern in enumerate(patterns):
            whole = np.concatenate([pattern[:, ::-1], pattern], 1) if pattern.shape[1] < SIDE else pattern
            grey = Image.fromarray(np.uint8(255 * (1 + logarithm(whole) / -np.log10(FLOOR))))
            place = (label + (2 * kind + k) * (wide + gap), 20 + row * (wide + gap))
            sheet.paste(grey.resize((wide, wide), Image.Resampling.NEAREST), place)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, quality=70, method=6)


def main() -> None:
    """Measures, prints and keeps the rows and the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few turns of the powders: tries the study, keeps nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows, pairs = [], []
    with asking(BORNAGAIN, PEER) as peer:
        for kind, make in (("powder", powder_film), ("crystal", crystal_film)):
            for name in NAMES:
                found = both(peer, make(name), 24 if options.quick else TURNS)
                pairs.append((name, *found))
                rows += measure(name, *found, kind)
    show(rows, "Beside BornAgain 25")
    if not options.quick:
        picture(pairs, ROOT / "docs" / "tasks" / "pictures" / "gisaxs_beside_bornagain.webp")
        keep(rows, ROOT / "docs" / "studies" / "gisaxs_agreement.json")


if __name__ == "__main__":
    main()
