"""What a CrystFEL geometry file says of one frame: where its pixels lie, and which of them are trusted.

y and x are those of CrystFEL's laboratory, so y grows upwards.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from math import prod, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beamsight.crystfel_geom import Geom, GeomPanel, Quantity
from beamsight.errors import BadFrame
from beamsight.frame import Geometry, Panel
from beamsight.geometry_files import wavelength_of_energy_m
from beamsight.stack import Stack

# Planck's constant (J s), mass of the electron (kg), elementary charge (C), speed of light (m/s).
_H, _M, _E, _C = 6.62607015e-34, 9.1093837015e-31, 1.602176634e-19, 299792458.0

# Directions of rows and columns are unit vectors at right angles, to so much.
SQUARE = 1e-3

Shape = tuple[int, int]
Rectangle = tuple[int, int, int, int]


def check_geom(geom: Geom, stack: Stack, path: str) -> None:
    """Raises BadFrame where the frames of a stack cannot be of the detector that a .geom file describes."""
    if not stack.whole:
        raise BadFrame(f"{path}: a part of the image was asked for; {geom.path} places whole images only")
    try:
        _rectangles(geom, stack.shape, stack.modules)
    except BadFrame as error:
        raise BadFrame(f"{path}: {error}") from None


def placed_by(geom: Geom, stack: Stack, n: int, key: str, own: Geometry) -> Geometry:
    """The geometry of frame n of a stack, as a .geom file says it; `own`, that of the data file, where it says nothing.

    Distances differ from panel to panel by `coffset`, and pixels may by `res`: the geometry has those of the first panel, and the
    others are placed where, seen from the sample, they appear among them. Raises BadFrame or CannotRead where the data file lacks
    what the .geom file names.
    """
    # Most panels have the same one, which is read once.
    lengths = {q: None if q is None else _number(q, "clen", stack, n, key) for q in set(_clens(geom))}
    clen = tuple(lengths[q] for q in _clens(geom))
    shift = tuple(0.0 if q is None else _number(q, "detector_shift", stack, n, key) for q in geom.shift)
    wavelength = _wavelength(geom, stack, n, key)
    first = geom.panels[0]
    distance = None if clen[0] is None else clen[0] + first.coffset_m
    panels = _panels(geom, stack.shape, stack.modules, clen, (shift[0], shift[1]))
    centre = _centre(panels, stack.shape)
    return replace(
        own,
        pixel_m=1 / first.res,
        wavelength_m=own.wavelength_m if wavelength is None else wavelength,
        distance_m=own.distance_m if distance is None else distance,
        centre_px=centre,
        panels=panels if centre is None else (),
    )


def _centre(panels: tuple[Panel, ...], shape: Shape) -> tuple[float, float] | None:
    """Where the beam (y, x) is in an image that is one panel with square pixels, px; None for any other."""
    (first, *others) = panels
    turn = np.array([first.slow_px, first.fast_px]).T
    if others or (first.y0, first.y1, first.x0, first.x1) != (0, shape[0], 0, shape[1]) or first.corner_px is None:
        return None
    if not np.allclose(turn.T @ turn, np.eye(2), atol=SQUARE):
        return None
    row, column = np.linalg.solve(turn, -np.array(first.corner_px))
    return float(row), float(column)


def _clens(geom: Geom) -> list[Quantity | None]:
    """The camera length of each panel; older files may give each its own."""
    return [p.clen or geom.clen for p in geom.panels]


def _wavelength(geom: Geom, stack: Stack, n: int, key: str) -> float | None:
    """In metres; of electrons h / sqrt(2 m e V (1 + e V / 2 m c^2))."""
    if geom.beam is None:
        return None
    kind, quantity = geom.beam
    value = _number(quantity, kind, stack, n, key)
    if kind == "wavelength":
        return value
    if kind == "photon_energy":
        return wavelength_of_energy_m(value, "eV")
    return _H / sqrt(2 * _M * _E * value * (1 + _E * value / (2 * _M * _C**2)))


def _number(quantity: Quantity, what: str, stack: Stack, n: int, key: str) -> float:
    if quantity.place is None:
        return float(quantity.value or 0) * quantity.factor
    if "%" in quantity.place:
        raise BadFrame(f"{key}: {what} stands at {quantity.place}; a place with % is not read, write one that holds all frames")
    values = stack.beside(quantity.place, n)
    try:
        number = float(values.item()) if values.size == 1 else float("nan")
    except (TypeError, ValueError):
        number = float("nan")
    if not np.isfinite(number):
        raise BadFrame(f"{key}: {what} stands at {quantity.place}, which holds no number for this frame (shape {values.shape})")
    return number * quantity.factor


@lru_cache(maxsize=16)
def _panels(
    geom: Geom, shape: Shape, modules: tuple[int, ...], clen: tuple[float | None, ...], shift_m: tuple[float, float]
) -> tuple[Panel, ...]:
    first, found = geom.panels[0], []
    for p, (y0, y1, x0, x1), length in zip(geom.panels, _rectangles(geom, shape, modules), clen, strict=True):
        scale = first.res / p.res
        if length and clen[0]:
            scale *= (clen[0] + first.coffset_m) / (length + p.coffset_m)
        slow, fast = (tuple(scale * v for v in vector) for vector in (p.slow_px, p.fast_px))
        # Files count from the outer corner of the first pixel, we from its middle.
        corner = [scale * (p.corner_px[k] + shift_m[k] * p.res) + slow[k] / 2 + fast[k] / 2 for k in (0, 1)]
        found.append(Panel(y0, y1, x0, x1, (corner[0], corner[1]), (slow[0], slow[1]), (fast[0], fast[1])))
    return tuple(found)


@lru_cache(maxsize=16)
def _rectangles(geom: Geom, shape: Shape, modules: tuple[int, ...]) -> list[Rectangle]:
    """(y0, y1, x0, x1) of each panel in an image of `shape` whose `modules` are below one another.

    The same .geom file serves the modules as they came and the same modules written as one image.
    """
    axes = len(geom.panels[0].module)
    grid = modules if len(modules) == axes else tuple(max(p.module[n] for p in geom.panels) + 1 for n in range(axes))
    rows, rest = divmod(shape[0], prod(grid))
    found = []
    for p in geom.panels:
        fits = all(m < n for m, n in zip(p.module, grid, strict=True)) and p.y1 <= rows and p.x1 <= shape[1]
        if rest or not fits:
            of = f"module {','.join(map(str, p.module))} of {' x '.join(map(str, grid))}, " if axes else ""
            raise BadFrame(
                f"panel {p.name} of {geom.path} (line {p.line}) is {of}rows {p.y0}-{p.y1 - 1}, columns {p.x0}-{p.x1 - 1}; "
                f"the image has shape {shape}: is it of another detector, or laid out otherwise (dim0, dim1)?"
            )
        y = rows * int(np.ravel_multi_index(p.module, grid)) if axes else 0
        found.append((y + p.y0, y + p.y1, p.x0, p.x1))
    return found


def trusted_by(geom: Geom, stack: Stack, n: int, key: str, raw: NDArray[Any]) -> NDArray[np.bool_]:
    """The pixels [H W] of frame n of a stack that a .geom file trusts, and, where it names no mask, the data file too.

    `raw` [H W] are its values. Raises BadFrame or CannotRead where a mask is missing or of another shape.
    """
    trust = _still(geom, stack.shape, stack.modules).copy()
    for p, (y0, y1, x0, x1) in zip(geom.panels, _rectangles(geom, stack.shape, stack.modules), strict=True):
        for flag, compare in zip(p.flags, (np.less, np.greater, np.equal), strict=True):
            if flag is not None:
                trust[y0:y1, x0:x1] &= ~compare(raw[y0:y1, x0:x1], flag)
    own = stack.mask(n) if not geom.masks else None
    if own is not None:
        trust &= own
    for mask in geom.masks:
        values = stack.beside(mask.data, n) if mask.file is None else _of_file(_found(geom, mask.file), mask.data)
        if values.ndim < 2 or values.shape[-1] != stack.shape[1] or values.size != trust.size or values.dtype.kind not in "iub":
            raise BadFrame(
                f"{key}: the mask {mask.data} that {geom.path} names has shape {values.shape} ({values.dtype}), the image "
                f"{stack.shape}; name a mask of whole numbers made for this detector"
            )
        bits = values.reshape(stack.shape).astype(np.int64)
        trust &= ((bits & mask.good) == mask.good) & ((bits & mask.bad) == 0)
    return trust


def _found(geom: Geom, file: str) -> str:
    """A file that a .geom file names: as seen from here, or from beside it."""
    beside = Path(geom.path).parent / file
    return file if Path(file).exists() or not beside.exists() else str(beside)


@lru_cache(maxsize=8)
def _of_file(path: str, name: str) -> NDArray[Any]:
    from beamsight.hdf5 import read_mask

    return read_mask(path, name)


@lru_cache(maxsize=4)
def _still(geom: Geom, shape: Shape, modules: tuple[int, ...]) -> NDArray[np.bool_]:
    """The pixels [H W] that a .geom file trusts in every frame: those of a panel, but for its edges and bad regions."""
    trust = np.zeros(shape, np.bool_)
    for p, (y0, y1, x0, x1) in zip(geom.panels, _rectangles(geom, shape, modules), strict=True):
        e = p.edge_px
        trust[y0 + e : max(y0 + e, y1 - e), x0 + e : max(x0 + e, x1 - e)] = not p.ignored
        for bad in geom.bad:
            if bad.in_space or bad.panel in (None, p.name):
                trust[y0:y1, x0:x1] &= ~_within(p, bad.low, bad.high, bad.in_space)
    return trust


def _within(p: GeomPanel, low: tuple[float, float], high: tuple[float, float], in_space: bool) -> NDArray[np.bool_]:
    """Whether the middle of each pixel [h w] of a panel lies in a region, in rows and columns of the data or in space."""
    y, x = np.mgrid[p.y0 : p.y1, p.x0 : p.x1].astype(np.float64)
    if in_space:
        row, column = y - p.y0 + 0.5, x - p.x0 + 0.5
        y, x = (p.corner_px[k] + row * p.slow_px[k] + column * p.fast_px[k] for k in (0, 1))
    return np.asarray((y >= low[0]) & (y <= high[0]) & (x >= low[1]) & (x <= high[1]))
