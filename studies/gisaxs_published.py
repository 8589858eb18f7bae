"""How like HipGISAXS's published patterns our own blocks are, given the edges and cells that the files are named for.

    python studies/gisaxs_published.py [--files 6] [--azimuths 180]

Correlation of log patterns less their smooth part, above the horizon. Beam, incidence and particle are not told: one energy and
incidence that fit all, and of three radii the best for each file. Both ways of averaging: azimuth by azimuth, and in closed form;
and azimuth by azimuth for blocks whose second edge is laid flat, with the phase along it that is best for each file.
Writes docs/studies/gisaxs_published.json and the table of the page of lattices.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from beamsight.physics.films import Film, turned
from beamsight.physics.gisaxs import render
from beamsight.task import columns
from beamsight.tasks.gisaxs_lattice.films import laid_flat
from gisaxs_sets import DATA, absent, hipgisaxs
from rows import ROOT, Row, fill, keep, show

Floats = NDArray[np.float64]

SIDE, STEP_PER_M, HORIZON_PX = 100, 1.02e7, 14  # of the published patterns, as their lines lie
WAVELENGTH_M, INCIDENCE_RAD = 1.24e-10, np.radians(0.15)
PHASES_RAD = np.linspace(0, np.pi, 11)  # those beyond are the same turned by half a turn
RADII_M, BLUR_PX, SMOOTH_PX = (6e-9, 8e-9, 1e-8), 0.7, 6.0
ROWS, LEFT = slice(8, 84), 4  # neither the horizon nor the plane of incidence
NAMED = re.compile(r"(Xs|Ys|Zs|Na|Nb|Nc)(\d+)")


def block(name: str, file: str, radius_m: float) -> Film:
    """The block that a file is named for, as its program's detector saw it."""
    told = {key: int(value) for key, value in NAMED.findall(file)}
    side_rad = STEP_PER_M * SIDE * WAVELENGTH_M / (2 * np.pi)
    lengths = (1e-9 * told["Xs"], 1e-9 * told["Ys"], 1e-9 * told["Zs"])
    film = turned(
        name, lengths, (told["Na"], told["Nb"], told["Nc"]), radius_m=radius_m, wavelength_m=WAVELENGTH_M,
        incidence_rad=INCIDENCE_RAD, side_rad=side_rad, beam_x=0.5 / SIDE, domain_m=2e-7,
        beam_y=1 - HORIZON_PX / SIDE + np.tan(INCIDENCE_RAD) / side_rad,
    )  # fmt: skip
    return replace(film, area_m2=float(abs(np.linalg.det(film.cell_m[:2, :2]))) or 1.0)


def detail(log: Floats) -> Floats:
    """What is left of a log pattern without its smooth part."""
    return (log - gaussian_filter(log, SMOOTH_PX))[ROWS, LEFT:]


def likeness(image: Floats, film: Film) -> float:
    """Correlation of a published picture with the film's pattern."""
    light = gaussian_filter(render(columns([film]), (SIDE, SIDE))[0].double().numpy(), BLUR_PX)
    ours = detail(np.log(light + light.max() * 1e-12))
    return float(np.corrcoef(detail(image).ravel(), ours.ravel())[0, 1])


def likenesses(asked: Sequence[Any], azimuths: int) -> list[tuple[float, ...]]:
    """(azimuth by azimuth, closed form, second edge flat) of each file; the last 0 where that edge is flat anyway."""
    found = []
    for one in asked:
        image, name = one.frame.image.astype(float), one.name.replace("BCC110", "BCC100")
        smooth = [block(name, one.frame.key, radius) for radius in RADII_M]
        stepped = [replace(film, azimuths=azimuths, azimuth_step_rad=2 * np.pi / azimuths) for film in smooth]
        flat = [laid_flat(film, phase) for film in stepped for phase in PHASES_RAD if film.cell_m[1, 2]]
        found.append(tuple(max((likeness(image, f) for f in of), default=0.0) for of in (stepped, smooth, flat)))
    return found


def main() -> None:
    """Compare, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=6, help="of each lattice")
    parser.add_argument("--azimuths", type=int, default=180)
    options = parser.parse_args()
    if missing := absent(DATA / "gisaxs"):
        raise SystemExit(missing)
    torch.set_num_threads(1)
    rows, lines = [], ["| published as | files | azimuth by azimuth | closed form | second edge flat |", "|---" * 5 + "|"]
    every = list(hipgisaxs())
    for name in dict.fromkeys(one.name for one in every):
        of = [one for one in every if one.name == name]
        found = np.array(likenesses(of[:: max(1, len(of) // options.files)][: options.files], options.azimuths))
        (stepped, smooth, flat), (low, high) = found.mean(0), np.quantile(found[:, 0], (0, 1))
        laid = f"{flat:.2f}" if flat else "it is"
        lines.append(f"| {name} | {len(found)} | {stepped:.2f} ({low:.2f}-{high:.2f}) | {smooth:.2f} | {laid} |")
        rows += [Row(f"{name}, likeness azimuth by azimuth", stepped, ""), Row(f"{name}, likeness in closed form", smooth, "")]
        rows += [Row(f"{name}, likeness with the second edge laid flat", flat, "")] if flat else []
    show(rows, "Our blocks beside HipGISAXS's patterns")
    keep(rows, ROOT / "docs" / "studies" / "gisaxs_published.json")
    fill(ROOT / "docs" / "studies" / "gisaxs_lattices.md", "published", "\n".join(lines))


if __name__ == "__main__":
    main()
