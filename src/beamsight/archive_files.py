"""The HDF5 files of an archive as bytes: data files and the master. How they are laid out stands in `archive`.

The counts of a data file are stored as uint16 or uint32 where all of them are whole and none is negative, else as float32.
No time, host or library default goes into a file: the same frames give the same bytes.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from beamsight.archive import DATA, FRAMES, MASK, NUMBERS
from beamsight.chunks import create, packed, packed_row, put
from beamsight.errors import BadFrame
from beamsight.frame import Frame, Geometry
from beamsight.geometry_files import CORNER_PX

# The two highest codes of an integer type mean "saturated" and "no data" to whoever reads detectors' files.
RESERVED = 2
# Checksums of the metadata came with this version of HDF5's format; one bound for both ends gives the same bytes everywhere.
LIBVER = ("v110", "v110")


def data_file(frames: Sequence[Frame], shape: tuple[int, ...]) -> bytes:
    """A data file of frames of `shape`. Raises BadFrame where the frames do not go together."""
    return _in_memory(partial(_write_frames, frames=frames, shape=shape))


def master_file(folder: Path, names: Sequence[str], title: str) -> bytes:
    """The master of the data files `names` in `folder`."""
    return _in_memory(partial(_write_master, folder=folder, names=names, title=title))


def _in_memory(fill: Callable[[h5py.File], None]) -> bytes:
    with h5py.File.in_memory(block_size=2**20, libver=LIBVER) as file:
        fill(file)
        file.flush()
        return bytes(file.id.get_file_image())


def _write_frames(file: h5py.File, frames: Sequence[Frame], shape: tuple[int, ...]) -> None:
    wrong = next((f for f in frames if f.image.shape != shape), None)
    if wrong is not None:
        raise BadFrame(f"{wrong.key} has shape {wrong.image.shape}, the frames before it {shape}; one shape an archive")
    entry = _entry(file)
    data = _group(entry, "data", "NXdata")
    data.attrs.update({"signal": "data", "mask": "mask"})
    kind = _kind([f.image for f in frames])
    images, masks = (create(data, n, len(frames), shape, k) for n, k in ((DATA, kind), (MASK, "u1")))
    for n, frame in enumerate(frames):
        put(images, n, packed(np.ascontiguousarray(frame.image, kind)))
        if not frame.mask.all():
            put(masks, n, packed(np.ascontiguousarray(~frame.mask).view(np.uint8)))
    numbers = np.array([_numbers(f.geometry) for f in frames])
    _write_table(_group(entry, "frames", "NXcollection"), frames, numbers)
    _write_geometry(entry, _shared(numbers))


def _kind(images: Sequence[NDArray[np.float32]]) -> str:
    """The smallest type that holds all counts as they are."""
    kinds = ["u2", "u4", "f4"]
    for image in images:
        while kinds[0] != "f4" and not _holds(kinds[0], image):
            del kinds[0]
    return kinds[0]


def _holds(kind: str, image: NDArray[np.float32]) -> bool:
    # What does not fit is turned into something else, whatever that is.
    with np.errstate(invalid="ignore"):
        whole = image.astype(kind)
    return bool(whole.max() <= np.iinfo(kind).max - RESERVED and np.array_equal(whole.astype(np.float32), image))


def _write_table(group: h5py.Group, frames: Sequence[Frame], numbers: NDArray[np.float64]) -> None:
    _write_column(group, "key", _column([f.key.encode() for f in frames]))
    for name, values in zip(NUMBERS, numbers.T, strict=True):
        _write_column(group, name, values).attrs["units"] = "pixel" if name.endswith("_px") else "m"
    _write_rows(group, "truth", _column([_truth(f).encode() for f in frames]))
    scenes = _scenes(frames)
    if scenes is not None:
        _write_rows(group, "scene", scenes)


def _write_column(group: h5py.Group, name: str, values: NDArray[Any]) -> h5py.Dataset:
    column = group.create_dataset(name, data=values, chunks=(len(values),), fletcher32=True)
    # Left to when Python lets go of it, its place in the file would differ from one time to another.
    column.flush()
    return column


def _column(words: list[bytes]) -> NDArray[np.bytes_]:
    """A column of UTF-8 of one length: HDF5 keeps strings of many lengths without checksum."""
    return np.array(words, h5py.string_dtype("utf-8", max(1, *map(len, words), 1)))


def _write_rows(group: h5py.Group, name: str, rows: NDArray[Any]) -> None:
    dataset = create(group, name, len(rows), (), rows.dtype)
    for n in range(len(rows)):
        put(dataset, n, packed_row(rows[n : n + 1].tobytes()))


def _scenes(frames: Sequence[Frame]) -> NDArray[np.void] | None:
    """The scenes as rows [N] of named numbers and arrays; None where no frame has one."""
    if all(f.scene is None for f in frames):
        return None
    drawn = [_named(f) for f in frames]
    kind = np.dtype([(name, v.dtype, v.shape) for name, v in drawn[0].items()])
    rows = np.zeros(len(frames), kind)
    for row, frame, scene in zip(rows, frames, drawn, strict=True):
        if {n: (v.shape, v.dtype.kind) for n, v in scene.items()} != {n: (v.shape, v.dtype.kind) for n, v in drawn[0].items()}:
            raise BadFrame(f"{frame.key}: its scene has other numbers than that of {frames[0].key}; one kind of scene an archive")
        for name, value in scene.items():
            row[name] = value
    return rows


def _named(frame: Frame) -> dict[str, NDArray[Any]]:
    scene = frame.scene
    values = asdict(scene) if is_dataclass(scene) and not isinstance(scene, type) else scene
    if isinstance(values, Mapping):
        arrays = {name: np.asarray(value) for name, value in values.items()}
        if arrays and all(a.dtype.kind in "biuf" and a.size for a in arrays.values()):
            return arrays
    raise BadFrame(f"{frame.key}: a scene is kept as named numbers and arrays of them; this is {str(scene)[:60]!r}")


def _truth(frame: Frame) -> str:
    try:
        return json.dumps(frame.truth)
    except (TypeError, ValueError) as error:
        raise BadFrame(f"{frame.key}: a truth is kept as names, numbers and lists of them ({error})") from None


def _write_master(file: h5py.File, folder: Path, names: Sequence[str], title: str) -> None:
    entry = _entry(file)
    entry["title"] = title
    _group(entry, "sample", "NXsample")["name"] = title
    data = _group(entry, "data", "NXdata")
    data.attrs["signal"] = Path(names[0]).stem
    shared, firsts, per_file = list[NDArray[np.float64]](), list[bytes](), list[int]()
    for name in names:
        stem = Path(name).stem
        data[stem] = h5py.ExternalLink(name, DATA)
        data[stem.replace("data", "mask")] = h5py.ExternalLink(name, MASK)
        with h5py.File(folder / name, "r", locking=False) as part:
            table = part[FRAMES]
            firsts.append(table["key"][0])
            per_file.append(len(table["key"]))
            shared.append(_shared(np.stack([table[n][()] for n in NUMBERS], 1)))
    frames = _group(entry, "frames", "NXcollection")
    frames["per_file"], frames["first_key"] = np.array(per_file, np.int64), _column(firsts)
    _write_geometry(entry, _shared(np.stack(shared)))


def _shared(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """The numbers [5] that all rows [N 5] share; NaN for the others."""
    return np.where((rows == rows[0]).all(0), rows[0], math.nan)


def _write_geometry(entry: h5py.Group, shared: NDArray[np.float64]) -> None:
    """The numbers that all frames share, where any reader of NXmx looks for them."""
    pixel, wavelength, distance, y, x = shared.tolist()
    instrument = _group(entry, "instrument", "NXinstrument")
    detector, beam = _group(instrument, "detector", "NXdetector"), _group(instrument, "beam", "NXbeam")
    for group, name, value, units in (
        (detector, "x_pixel_size", pixel, "m"),
        (detector, "y_pixel_size", pixel, "m"),
        (detector, "distance", distance, "m"),
        (detector, "beam_center_y", y + CORNER_PX, "pixel"),
        (detector, "beam_center_x", x + CORNER_PX, "pixel"),
        (beam, "incident_wavelength", wavelength, "m"),
    ):
        if not math.isnan(value):
            group[name] = value
            group[name].attrs["units"] = units


def _entry(file: h5py.File) -> h5py.Group:
    file.attrs["default"] = "entry"
    entry = _group(file, "entry", "NXentry")
    entry.attrs["default"] = "data"
    entry["definition"] = "NXmx"
    return entry


def _group(parent: h5py.Group, name: str, kind: str) -> h5py.Group:
    group = parent.create_group(name)
    group.attrs["NX_class"] = kind
    return group


def _numbers(geometry: Geometry) -> list[float]:
    centre = geometry.centre_px or (None, None)
    values = (geometry.pixel_m, geometry.wavelength_m, geometry.distance_m, *centre)
    return [math.nan if v is None else float(v) for v in values]
