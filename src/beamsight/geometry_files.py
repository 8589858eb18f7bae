"""Where the detector stood, as headers and .poni files say it: SI inside, centre (y, x) with pixel centres at integers."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from beamsight.errors import BadFrame, CannotRead
from beamsight.frame import Geometry

# Planck's constant times the speed of light, in eV m.
HC_EV_M = 1.23984198e-6
# Files count from the outer corner of the first pixel, we from its middle.
CORNER_PX = 0.5

# name -> factor to m, for lengths as detectors' files spell their units.
_LENGTHS = {"m": 1.0, "cm": 1e-2, "mm": 1e-3, "um": 1e-6, "µm": 1e-6, "nm": 1e-9, "a": 1e-10, "å": 1e-10, "angstrom": 1e-10}
_LENGTHS |= {"meter": 1.0, "metre": 1.0, "millimeter": 1e-3, "micron": 1e-6, "ang": 1e-10, "pm": 1e-12, "nanometer": 1e-9}
_ENERGIES = {"ev": 1.0, "kev": 1e3, "mev": 1e-3, "j": 1 / 1.602176634e-19}


def length_m(value: float, unit: str, default: float) -> float | None:
    """`value` in metres; `default` metres a unit where `unit` is empty. None for an unknown unit or a value of 0 or less."""
    factor = _LENGTHS.get(unit.strip().lower().rstrip("s") or "", None) if unit.strip() else default
    return value * factor if factor and 0 < value < float("inf") else None


def wavelength_of_energy_m(value: float, unit: str, default: float = 1.0) -> float | None:
    """Wavelength in metres of a photon energy; `default` eV a unit where `unit` is empty. None as in `length_m`."""
    factor = _ENERGIES.get(unit.strip().lower()) if unit.strip() else default
    return HC_EV_M / (value * factor) if factor and 0 < value < float("inf") else None


def from_dectris(text: str, shape: tuple[int, int]) -> Geometry:
    """The geometry in a DECTRIS header (`# Beam_xy (x, y) pixels` ...), as mini-CBF and TIFF files carry it."""
    beam = re.search(r"Beam_xy\s*\(?\s*([-\d.eE+]+)\s*,\s*([-\d.eE+]+)", text)
    number = r"\s*[:=]?\s*([-\d.eE+]+)\s*([a-zA-Zµ]*)"
    found = {n: re.search(n + number, text) for n in ("Pixel_size", "Wavelength", "Detector_distance")}
    value = {n: length_m(_number(m[1]), m[2], 1e-10 if n == "Wavelength" else 1.0) for n, m in found.items() if m}
    centre = (_number(beam[2]) - CORNER_PX, _number(beam[1]) - CORNER_PX) if beam else None
    return Geometry(shape, value.get("Pixel_size"), value.get("Wavelength"), value.get("Detector_distance"), centre)


def cutoff(text: str) -> float | None:
    """The highest count that a DECTRIS header calls valid."""
    match = re.search(r"Count_cutoff\s*[:=]?\s*(\d+)", text)
    return float(match[1]) if match else None


def from_marccd(head: bytes, shape: tuple[int, int]) -> tuple[Geometry, float | None] | None:
    """Geometry and highest count in the header of a MarCCD or Rayonix image, which is a TIFF with 3,072 bytes of its own; None
    where `head`, the first 4,096 bytes of a file, holds none.

    32-bit numbers: distance in um (where it is 0, that of the start), beam (x, y) in thousandths of a pixel, pixel size in nm,
    wavelength in fm.
    """
    if head[1028:1031] != b"MMX" or len(head) < 4096:
        return None
    number = [float(n) for n in struct.unpack("<768i", head[1024:4096])]
    distance, pixel, wavelength = (
        length_m(v, "", f) for v, f in ((number[160] or number[174], 1e-6), (number[193], 1e-9), (number[227], 1e-15))
    )
    x, y, top = number[161] / 1e3, number[162] / 1e3, number[26]
    centre = (y - CORNER_PX, x - CORNER_PX) if x > 0 and y > 0 else None
    return Geometry(shape, pixel, wavelength, distance, centre), top if top > 0 else None


def from_edf(header: Mapping[str, Any], shape: tuple[int, int]) -> Geometry:
    """The geometry in an EDF header by the names of ESRF's SAXS stations, all in metres and pixels."""
    value = {str(k).lower(): _number(str(v).split(maxsplit=1)[0] if str(v).strip() else "") for k, v in header.items()}
    pixel, wavelength, distance = (value.get(n) for n in ("psize_1", "wavelength", "sampledistance"))
    x, y = value.get("center_1"), value.get("center_2")
    centre = (y - CORNER_PX, x - CORNER_PX) if x is not None and y is not None and x == x and y == y else None
    pixel_m, wavelength_m, distance_m = (length_m(v, "", 1.0) if v else None for v in (pixel, wavelength, distance))
    return Geometry(shape, pixel_m, wavelength_m, distance_m, centre)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def load_poni(path: str) -> Any:
    """The pyFAI geometry of a .poni file. Raises CannotRead where there is none, or pyFAI is not installed."""
    try:
        from pyFAI.geometry import Geometry as PyfaiGeometry
    except ImportError as error:
        raise CannotRead(
            f"{path}: .poni files are read by pyFAI, which is not installed ({error}); pip install 'beamsight[poni]'"
        ) from None
    try:
        geometry = PyfaiGeometry()
        geometry.load(path)
    except Exception as error:
        raise CannotRead(f"{path}: no .poni file that pyFAI reads ({type(error).__name__}: {error})") from None
    if geometry.pixel1 is None or not geometry.dist:
        raise CannotRead(f"{path}: no .poni file: it gives no pixel size or no distance")
    return geometry


def from_poni(poni: Any, shape: tuple[int, int], key: str) -> Geometry:
    """A pyFAI geometry as ours, for images of `shape`. Raises BadFrame where it was made for a detector of another shape."""
    known = getattr(poni.detector, "max_shape", None) or getattr(poni.detector, "shape", None)
    if known and tuple(known) != tuple(shape):
        raise BadFrame(f"{key}: the .poni file is for a detector of shape {tuple(known)}, this image has {tuple(shape)}")
    beam = poni.getFit2D()
    centre = _oriented(
        (beam["centerY"] - CORNER_PX, beam["centerX"] - CORNER_PX), shape, getattr(poni.detector, "orientation", 3)
    )
    pixel = (poni.pixel1 + poni.pixel2) / 2
    wavelength = float(poni.wavelength) if poni.wavelength else None
    return replace(Geometry(shape), pixel_m=pixel, wavelength_m=wavelength, distance_m=beam["directDist"] / 1e3, centre_px=centre)


def _oriented(centre: tuple[float, float], shape: tuple[int, int], orientation: int) -> tuple[float, float]:
    y, x = centre
    return (shape[0] - 1 - y if orientation in (1, 2) else y, shape[1] - 1 - x if orientation in (1, 4) else x)
