"""Text files of two-dimensional scattering: lists of Qx, Qy, I as NIST and SasView write them."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beamsight.errors import BadFrame, CannotRead
from beamsight.frame import Geometry
from beamsight.hdf5_meta import centre_of_q
from beamsight.stack import Keys, Stack, check_layout

# A text file with more is no image that was meant to be read.
SIZE_LIMIT_BYTES = 2**28


def open_table(path: str) -> list[Stack]:
    """The image in a text file of Qx, Qy, I, ... lines in order of rows, or in a SasView .sans file.

    Raises CannotRead where the text is neither, BadFrame where the points are on no regular grid.
    """
    if Path(path).stat().st_size > SIZE_LIMIT_BYTES:
        raise CannotRead(f"{path}: a text file of more than {SIZE_LIMIT_BYTES / 2**20:.0f} MiB; give images in a binary format")
    text = Path(path).read_text("latin-1")
    image, geometry = _sans(path, text) if text.startswith("FORMATVERSION") else _listed(path, text)
    check_layout(path, image.shape, image.dtype)
    return [Stack(Keys(path), geometry.shape, lambda n: image, geometry)]


def _numbers(path: str, lines: list[str]) -> NDArray[np.float64]:
    """The lines that hold as many numbers as the last one does, [N columns]."""
    rows = [line.split() for line in lines if line.strip()]
    width = len(rows[-1]) if rows else 0
    start = next((n for n in range(len(rows) - 1, -1, -1) if len(rows[n]) != width or not _is_number(rows[n][0])), -1) + 1
    try:
        return np.array(rows[start:], dtype=np.float64)
    except ValueError:
        return np.empty((0, 0))


def _is_number(word: str) -> bool:
    return re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?(nan|inf)", word, re.I) is not None


def _listed(path: str, text: str) -> tuple[NDArray[Any], Geometry]:
    values = _numbers(path, text.splitlines())
    if values.size == 0 or values.shape[1] < 3 or len(values) < 64:
        raise CannotRead(f"{path}: a text file; of these, lists of Qx, Qy and I on a grid are read")
    qx, qy = values[:, 0], values[:, 1]
    back = np.flatnonzero(np.diff(qx) * np.sign(qx[1] - qx[0]) < 0)
    width = int(back[0]) + 1 if len(back) else len(qx)
    if len(qx) % width or width == len(qx):
        raise BadFrame(f"{path}: {len(qx)} points that are not rows of equal length; a grid in order of rows is read")
    shape = (len(qx) // width, width)
    centre, step = centre_of_q(qx.reshape(shape), qy.reshape(shape), shape)
    if centre is None:
        raise BadFrame(f"{path}: points of Qx and Qy that lie on no regular grid of {shape[0]} x {shape[1]}; re-grid them first")
    return values[:, 2].reshape(shape), _placed(text, shape, centre, step)


def _placed(text: str, shape: tuple[int, int], centre: tuple[float, float], step: float | None) -> Geometry:
    """Wavelength and distance from a NIST header, the pixel so that Q a pixel is `step` 1/angstrom."""
    lines = text[:4096].splitlines()
    row = next((n for n, line in enumerate(lines) if "LAMBDA (A)" in line and "DET_DIST(m)" in line), None)
    words = lines[row + 1].split() if row is not None and row + 1 < len(lines) else []
    if len(words) < 4 or not all(map(_is_number, words[:4])) or step is None or min(float(words[1]), float(words[3])) <= 0:
        return Geometry(shape, centre_px=centre)
    wavelength_m, distance_m = float(words[1]) * 1e-10, float(words[3])
    return Geometry(shape, step * 1e10 * wavelength_m * distance_m / (2 * np.pi), wavelength_m, distance_m, centre)


def _sans(path: str, text: str) -> tuple[NDArray[Any], Geometry]:
    """SasView's .sans: a header of NAME:VALUE in angstrom, metres and millimetres, then I and its error, rows first."""
    head, _, body = text.partition("DATA:")
    field = dict(re.findall(r"^(\w+):\s*(\S+)", head, re.M))
    values = _numbers(path, body.splitlines())
    try:
        wide, high = int(field["SIZE_X"]), int(field["SIZE_Y"])
        wavelength_a, distance_m, pixel_mm = (float(field[n]) for n in ("WAVELENGTH", "DISTANCE", "PIXELSIZE"))
        centre = (float(field["CENTER_Y"]) - 1, float(field["CENTER_X"]) - 1)
    except (KeyError, ValueError) as error:
        raise CannotRead(f"{path}: a .sans file whose header is not whole ({error})") from None
    if values.ndim != 2 or len(values) != wide * high:
        raise CannotRead(f"{path}: truncated: {wide} x {high} points are declared, {len(values)} are there")
    return values[:, 0].reshape(high, wide), Geometry((high, wide), pixel_mm * 1e-3, wavelength_a * 1e-10, distance_m, centre)
