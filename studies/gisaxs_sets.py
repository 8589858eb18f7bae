"""Frames of lattices that nobody learns from: HipGISAXS's published patterns, BornAgain's films, and measured images of none.

Measured and published ones are looked for in the folder that BEAMSIGHT_DATA names (default ../shared/data). Frames that come with
no numbers of their detector have a geometry of their shape alone.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from beamsight.frame import Frame, Geometry
from beamsight.sources import read_frames
from benchmarks.peers import BORNAGAIN, clean_environment, peer_python
from materials import uppermost_alone
from rows import ROOT
from surfaces import alike_layers

DATA = Path(os.environ.get("BEAMSIGHT_DATA", ROOT.parent / "shared" / "data"))
NONE = "none"
# What the names of HipGISAXS's files begin with.
PUBLISHED = {"bcc_100": "BCC100", "bcc_110": "BCC110", "cubic_100": "Cubic100", "fcc_100": "FCC100", "hcp_none": "HCP"}
# Those of either plane were computed with the same edges: the distances in their Fourier transforms are those of (1/2, 1/2, 1/2).
SAME_EDGES = {"BCC100": ("BCC110",), "BCC110": ("BCC100",)}
# What the measured images show, none of them a film of particles on a lattice. Doubtful ones say why they are none.
MEASURED = {
    "07_dioptas_ceo2_pilatus1m": "powder rings",
    "12_musclex_mn23_0167": "rings of a tissue",
    "13_musclex_mn23_0243": "rings of a tissue, one in two lobes",
    # Layer lines of a fibre are rods of a two-dimensional lattice, but of molecules across a fibre, in transmission.
    "15_musclex_fibre_p1f1": "layer lines of a muscle",
    "17_musclex_bio_107": "a row of arcs of a fibre",
    "18_sasview_33837_oriented": "two arcs of a liquid crystal",
    # Micelles on a cubic lattice, but a powder of it in every direction, in transmission: one ring.
    "20_sasview_p123_40": "a ring of micelles",
    "22_sasview_silic010": "dilute spheres",
    "25_xrsp_agbh_maxs": "powder rings",
    # Two spots on the equator beside a ring: an oriented polymer, no third spot to span a lattice.
    "27_xrsp_0081042_mixed": "a halo, a ring and spots on the equator",
    "28_xrsp_glassy_carbon": "a plateau",
    # A lattice in one dimension.
    "30_xrsp_grating_79075": "a grating",
}


@dataclass(frozen=True)
class Asked:
    """A frame with the true `name`; the names it may be taken for, as what it shows of a lattice they show too; a `kind` of frame
    and a `title`; how far nearest neighbours are apart where that is known."""

    frame: Frame
    name: str
    alike: tuple[str, ...]
    kind: str
    title: str
    spacing_nm: float | None = None


def absent(folder: Path) -> str | None:
    """Why a set cannot be had; None where it can."""
    return None if folder.is_dir() else f"no folder {folder}; BEAMSIGHT_DATA names the folder that holds {folder.name}/"


def hipgisaxs(root: Path = DATA) -> Iterator[Asked]:
    """The patterns of finite crystals that the group of Ushizima et al. (2016) computed, of four lattices, one with two
    planes in the surface, as 8-bit logarithms.
    Raises ValueError for a file of another name."""
    for path in sorted((root / "gisaxs").rglob("*.png")):
        name = named(path.name)
        with Image.open(path) as picture:
            image = np.asarray(picture.convert("L"), np.float32)
        yield Asked(_plain(image, path.stem), name, SAME_EDGES.get(name, ()), "HipGISAXS", path.stem.split("__")[0])


def named(file: str) -> str:
    """The lattice that a file of HipGISAXS's patterns is named for."""
    for begin, name in PUBLISHED.items():
        if file.startswith(begin):
            return name
    raise ValueError(f"{file} begins with none of {', '.join(PUBLISHED)}")


def measured(root: Path = DATA) -> Iterator[Asked]:
    """Measured scattering images that show no film on a lattice."""
    for stem, shows in MEASURED.items():
        path = root / "scattering" / f"{stem}.tif"
        for frame in read_frames(path) if path.exists() else ():
            if isinstance(frame, Frame):
                yield Asked(frame, NONE, (), "measured", f"{stem[:2]}: {shows}")


def make_films(folder: Path, each: tuple[int, int, int], seed: int = 1) -> Path:
    """Has BornAgain simulate films into `folder`, so many (powders, crystals, of each kind of none), those that are not there
    yet. Raises CalledProcessError where it cannot."""
    script = Path(__file__).with_name("bornagain_films.py")
    numbers = [str(n) for n in each]
    command = [peer_python(BORNAGAIN), script, folder, "--each", *numbers, "--seed", str(seed)]
    subprocess.run(command, check=True, env=clean_environment(), stdout=subprocess.DEVNULL)
    return folder


def films(folder: Path, each: tuple[int, int, int] | None = None) -> Iterator[Asked]:
    """BornAgain's films, the first so many of each kind, by default all that are in the folder."""
    for path in sorted(folder.glob("*.json")):
        told = json.loads(path.read_text())
        film = told["film"]
        kind = "none" if film["name"] == NONE else film["kind"]
        if each is None or int(path.stem[-4:]) < dict(zip(("powder", "finite", "none"), each, strict=True))[kind]:
            yield Asked(_film(path, told), film["name"], alike_of(film), kind_of(film), path.stem, film["spacing_nm"])


def turned(asked: Sequence[Asked]) -> list[Asked]:
    """The same frames, turned one after the other by one, two and three quarter turns, and known by nothing but their mask."""
    return [replace(one, frame=turned_by(one.frame, n % 3 + 1)) for n, one in enumerate(asked)]


def turned_by(frame: Frame, turns: int) -> Frame:
    """The frame by so many quarter turns, of which nothing but the mask is known."""
    image, mask = (np.ascontiguousarray(np.rot90(v, turns)) for v in (frame.image, frame.mask))
    return replace(frame, image=image, mask=mask, geometry=Geometry((image.shape[0], image.shape[1])))


def alike_of(film: dict[str, Any]) -> tuple[str, ...]:
    """The other lattices that show the same as a film of one."""
    if film["name"] != NONE and uppermost_alone(film):
        return tuple(sorted({*film["alike"], *alike_layers(film["name"], film["kind"] == "finite")}))
    return tuple(film["alike"])


def kind_of(film: dict[str, Any]) -> str:
    """In words what sort of film it is."""
    if film["name"] == NONE:
        return str(film["kind"])
    if film["kind"] == "powder":
        return "powder, paracrystal" if film["paracrystal"] else "powder"
    return "crystal in a box" if film["meso"] else "crystal of columns"


def _film(path: Path, told: dict[str, Any]) -> Frame:
    with np.load(path.with_suffix(".npz")) as kept:
        image, mask = kept["image"], kept["mask"]
    frame = _plain(image, path.stem)
    if not told["picture"]["known"]:
        return replace(frame, mask=mask)
    centre = (float(told["centre_px"][0]), float(told["centre_px"][1]))
    geometry = Geometry(image.shape, told["pixel_m"], told["film"]["wavelength_nm"] * 1e-9, told["distance_m"], centre)
    return replace(frame, mask=mask, geometry=geometry)


def _plain(image: np.ndarray[Any, Any], key: str) -> Frame:
    """A frame of which nothing else is known."""
    return Frame(image.astype(np.float32), np.ones(image.shape, bool), Geometry((image.shape[0], image.shape[1])), key)
