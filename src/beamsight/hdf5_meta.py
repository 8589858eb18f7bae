"""What an HDF5 file says beside its images: mask, geometry, highest valid count."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from beamsight.frame import Geometry, Panel
from beamsight.geometry_files import CORNER_PX, length_m, wavelength_of_energy_m
from beamsight.hdf5_find import SEARCH_LIMIT
from beamsight.layout import FRAME, Layout

# NXmx: bits 16 to 30 are free for the facility, 31 marks virtual pixels; none of them is a fault.
NXMX_BITS = 0xFFFF
# CXI from version 1.5: invalid, saturated, hot, dead, shadowed, ignored, bad, missing, noisy, failed correction.
# Left out: in the peak mask, out of the resolution limits, corrected, peak, background corrected.
CXI_BITS = 1 | 2 | 4 | 8 | 16 | 64 | 128 | 512 | 1024 | 4096

Fields = dict[str, h5py.Dataset]
# Names that are looked for, the most telling first; of energies, eV a unit where none is given.
_DISTANCES, _WAVELENGTHS = ("detector_distance", "distance", "SDD"), ("incident_wavelength", "wavelength")
_BEAM = ("beam_center_x", "beam_center_y")
_ENERGIES = {"photon_energy": 1.0, "incident_energy": 1.0, "energy": 1 / 1.602176634e-19}
_WANTED = re.compile(
    r"(pixel_mask(_\d+)?|saturation_value|beam_center_[xy]|[xy]_pixel_size|(detector_)?distance|SDD"
    r"|(incident_)?wavelength|photon_energy|incident_energy|energy)$"
)


def fields_of(file: h5py.File, name: str) -> Fields:
    """The telling data sets of the entry that holds `name`; where two share a name, the one beside a detector."""
    entry = file.get("/" + name.strip("/").split("/")[0])
    found: Fields = {}
    seen = 0

    def add(path: str, item: Any) -> bool | None:
        nonlocal seen
        seen += 1
        last = path.rsplit("/", 1)[-1]
        if isinstance(item, h5py.Dataset) and _WANTED.match(last) and _fits(last, path):
            found.setdefault(last, item)
        return True if seen >= SEARCH_LIMIT else None

    if isinstance(entry, h5py.Group):
        entry.visititems(add)
    return found


def _fits(last: str, path: str) -> bool:
    if last == "distance":
        return "detector" in path
    return last != "energy" or "source" in path


def top_of(fields: Fields) -> float | None:
    """The highest valid count."""
    value = _number(fields.get("saturation_value"))
    return value if value and value > 0 else None


def mask_of(
    file: h5py.File, name: str, shape: tuple[int, ...], fields: Fields, layout: Layout
) -> Callable[[tuple[int, ...]], NDArray[np.bool_] | None]:
    """The trusted pixels [H W] of all modules of data set `name`, as a function of the frame's numbers along the axes of frames;
    None where the file has no mask."""
    masks = [f for n, f in fields.items() if n.startswith("pixel_mask") and layout.is_image(f.shape, shape)]
    if masks:
        bits = np.bitwise_or.reduce([_flat(m[()]).astype(np.int64) for m in masks])
        trust = (bits & NXMX_BITS) == 0
        return lambda frame: trust
    mask = _sibling_mask(file, name)
    if mask is None or mask.dtype.kind not in "iub":
        return lambda frame: None
    bad = _bad_bits(file)
    if mask.shape != shape and layout.is_image(mask.shape, shape):
        still = _good(_flat(mask[()]), bad)
        return lambda frame: still
    frames = layout.axes.count(FRAME)
    if mask.shape != shape and not (mask.shape[:frames] == shape[:frames] and layout.is_image(mask.shape[frames:], shape)):
        return lambda frame: None
    return lambda frame: _good(_flat(mask[layout.part(mask.shape, shape, frame)]), bad)


def _flat(values: NDArray[Any]) -> NDArray[Any]:
    return values.reshape(-1, values.shape[-1])


def _sibling_mask(file: h5py.File, name: str) -> h5py.Dataset | None:
    group, last = file.get(name.rsplit("/", 1)[0] or "/"), name.rsplit("/", 1)[-1]
    if not isinstance(group, h5py.Group):
        return None
    named = group.attrs.get("mask")
    # mask_000001 beside data_000001 is how simulated archives keep a mask for each frame.
    names = [last.replace("data_", "mask_"), named.decode() if isinstance(named, bytes) else named, "mask", "Mask"]
    names = [n for n in names if n != last]
    found = next((group.get(n) for n in names if isinstance(n, str) and n in group), None)
    return found if isinstance(found, h5py.Dataset) else None


def _bad_bits(file: h5py.File) -> int | None:
    """The bits of a CXI mask that are faults; None, all of them, before version 1.5 and in other files."""
    version = _number(file.get("cxi_version")) or 0
    return CXI_BITS if version >= 150 else None


def _good(mask: NDArray[Any], bad: int | None) -> NDArray[np.bool_]:
    return np.asarray(mask == 0 if bad is None else (mask.astype(np.int64) & bad) == 0)


Shot = Callable[[tuple[int, ...]], Geometry]


def geometries_of(
    file: h5py.File, name: str, shape: tuple[int, ...], layout: Layout, fields: Fields
) -> tuple[Geometry, Shot | None]:
    """The geometry [SI] that the entry of data set `name` of `shape` gives, and where it has a wavelength, distance or centre for
    each frame, that of one as a function of its numbers along the axes of frames; what the entry does not give is None."""
    if not layout.whole:  # a cut-out window has its own origin; the centre that the file gives is of the whole image
        return Geometry(layout.shape), None
    still = geometry_of(file, name, layout.shape, fields)
    if layout.modules:
        still = replace(still, centre_px=None, panels=_stacked(shape[-2], layout.shape))
    count = next((n for n, a in zip(shape, layout.axes, strict=False) if a == FRAME), 1)
    own = {n: f for n, f in fields.items() if count > 1 and f.ndim and f.shape[0] == count}
    if not own.keys() & {*_DISTANCES, *_WAVELENGTHS, *_ENERGIES, *_BEAM}:
        return still, None
    return still, lambda frame: _of_shot(still, fields, own, frame[0])


def _stacked(height: int, shape: tuple[int, int]) -> tuple[Panel, ...]:
    """Modules of `height` rows below one another in an image, their places unknown."""
    return tuple(Panel(y, y + height, 0, shape[1]) for y in range(0, shape[0], height))


def _of_shot(still: Geometry, fields: Fields, own: Fields, n: int) -> Geometry:
    at = dict.fromkeys(own, n)
    centre = still.centre_px if still.panels or not own.keys() & {*_BEAM} else _centre(fields, at)
    return replace(still, wavelength_m=_wavelength(fields, at), distance_m=_distance(fields, at), centre_px=centre)


def geometry_of(file: h5py.File, name: str, shape: tuple[int, int], fields: Fields) -> Geometry:
    """The geometry [SI] that the entry of data set `name` gives for images of `shape`; what it does not give is None."""
    centre = _centre(fields, {})
    pixel_m, wavelength_m, distance_m = _metres(fields.get("x_pixel_size"), 1.0), _wavelength(fields, {}), _distance(fields, {})
    if centre is None:
        centre, q_per_px = _from_q(file, name, shape)
        if pixel_m is None and q_per_px and wavelength_m and distance_m:
            pixel_m = q_per_px * wavelength_m * distance_m / (2 * np.pi)
    return Geometry(shape, pixel_m, wavelength_m, distance_m, centre)


def _centre(fields: Fields, at: dict[str, int]) -> tuple[float, float] | None:
    x, y = (_number(fields.get(name), at.get(name, 0)) for name in _BEAM)
    return None if x is None or y is None else (y - CORNER_PX, x - CORNER_PX)


def _distance(fields: Fields, at: dict[str, int]) -> float | None:
    name = next((n for n in _DISTANCES if n in fields), "")
    return _metres(fields.get(name), 1.0, at.get(name, 0))


def _wavelength(fields: Fields, at: dict[str, int]) -> float | None:
    for name in _WAVELENGTHS:
        if name in fields:
            return _metres(fields[name], 1e-10, at.get(name, 0))
    for name, default in _ENERGIES.items():
        value = _number(fields.get(name), at.get(name, 0))
        if value is not None:
            return wavelength_of_energy_m(value, _unit(fields[name]), default)
    return None


def _metres(field: h5py.Dataset | None, default: float, n: int = 0) -> float | None:
    value = _number(field, n)
    return None if value is None or field is None else length_m(value, _unit(field), default)


def _unit(field: h5py.Dataset) -> str:
    unit = field.attrs.get("units", field.attrs.get("unit", b""))
    unit = unit.item() if isinstance(unit, np.ndarray) and unit.size == 1 else unit
    return unit.decode("utf-8", "replace") if isinstance(unit, bytes) else str(unit)


def _number(field: Any, n: int = 0) -> float | None:
    """The first value of a data set, or that of frame n, as a finite number, None where it has none."""
    if not isinstance(field, h5py.Dataset) or not field.size:
        return None
    try:
        value = field[()] if not field.shape else field[(n, *(0,) * (len(field.shape) - 1))]
        number = float(value.decode() if isinstance(value, bytes) else value)
    except (ValueError, TypeError, OSError):
        return None
    return number if np.isfinite(number) else None


def _from_q(file: h5py.File, name: str, shape: tuple[int, int]) -> tuple[tuple[float, float] | None, float | None]:
    """Beam centre (y, x) px and scattering vector a pixel, 1/m, of a data set with regular Qx and Qy beside it."""
    group = file.get(name.rsplit("/", 1)[0] or "/")
    if not isinstance(group, h5py.Group):
        return None, None
    fields = [group.get("Qx"), group.get("Qy")]
    stacked = group.get("Q")
    if isinstance(stacked, h5py.Dataset) and stacked.ndim == 3 and stacked.shape[0] >= 2:
        grids, unit = [stacked[0], stacked[1]], _unit(stacked)
    elif all(isinstance(f, h5py.Dataset) for f in fields):
        grids, unit = [f[()] for f in fields if f is not None], _unit(fields[0]) if fields[0] is not None else ""
    else:
        return None, None
    centre, step = centre_of_q(grids[0], grids[1], shape)
    return centre, None if step is None else step * (1.0 if unit.strip() in ("1/m", "m^-1") else 1e9 if "n" in unit else 1e10)


def centre_of_q(qx: NDArray[Any], qy: NDArray[Any], shape: tuple[int, int]) -> tuple[tuple[float, float] | None, float | None]:
    """Where Qx = Qy = 0 (y, x) in pixels, and the step of Q a pixel, of grids [H W]; None where they are not regular.

    One of the two may run along either axis. Regular: growing throughout, nine steps in ten within a fifth of the median.
    """
    found = {axis: (zero, step) for axis, zero, step in (_regular(q, shape) for q in (qx, qy))}
    if set(found) != {0, 1}:
        return None, None
    return (found[0][0], found[1][0]), float(np.mean([abs(step) for _, step in found.values()]))


def _regular(q: NDArray[Any], shape: tuple[int, int]) -> tuple[int, float, float]:
    """The axis along which a grid [H W] grows (-1 where it is not regular), where on it the value is 0, and its step."""
    if q.shape != shape or not np.isfinite(q).all():
        return -1, 0.0, 0.0
    lines = [q.mean(axis=1), q.mean(axis=0)]
    axis = int(np.ptp(lines[1]) > np.ptp(lines[0]))
    line, steps = lines[axis], np.diff(lines[axis])
    step = float(np.median(steps))
    if step == 0 or (steps / step <= 0).any() or np.mean(np.abs(steps / step - 1) > 0.2) > 0.1:
        return -1, 0.0, 0.0
    if line[0] * line[-1] > 0:  # the beam is beside the grid
        return axis, -float(line[0]) / step, step
    order = np.argsort(line)
    return axis, float(np.interp(0.0, line[order], order)), step
