"""Writing archives of simulated frames, data file by data file; how they are laid out stands in `archive`.

The counts of a data file are stored as uint16 or uint32 where all of them are whole and none is negative, else as float32.
No time, host or library default goes into a file: the same frames give the same bytes.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from beamsight.archive import DATA, FRAMES, MASK, MASTER, NUMBERS, SUMS, data_name
from beamsight.chunks import create, packed, packed_row, put
from beamsight.errors import BadArchive, BadFrame, BeamsightError, CannotWrite
from beamsight.frame import Frame, Geometry
from beamsight.geometry_files import CORNER_PX

# A data file is made in memory, so that it is whole or not there; its frames are bounded in number and in bytes of counts.
FRAMES_PER_FILE, BYTES_PER_FILE = 500, 2**28
# The two highest codes of an integer type mean "saturated" and "no data" to whoever reads detectors' files.
RESERVED = 2
# Checksums of the metadata came with this version of HDF5's format; one bound for both ends gives the same bytes everywhere.
LIBVER = ("v110", "v110")


def write_archive(frames: Iterable[Frame], folder: str | Path, per_file: int | None = None) -> Path:
    """Write frames of one shape to `folder`, `per_file` in a data file, and return it; it appears when all are written.

    Raises CannotWrite where `folder` exists or cannot be written, BadFrame for a frame with another shape or another kind of
    scene than its neighbours, BadArchive where there is no frame.
    """
    folder = Path(folder)
    if folder.exists():
        raise CannotWrite(f"{folder} exists; frames are written to a new folder: choose another or remove it")
    with _appearing(folder) as part:
        coming, sums = iter(frames), dict[str, str]()
        for first in coming:
            shape, name = first.image.shape, data_name(len(sums))
            some = [first, *islice(coming, (per_file or frames_per_file(shape)) - 1)]
            sums[name] = write_data_file(some, part / name, shape)
        if not sums:
            raise BadArchive(f"{folder}: no frame came to be written; ask for at least one")
        finish(part, sums)
    return folder


def frames_per_file(shape: tuple[int, ...]) -> int:
    """How many frames of `shape` (H, W) a data file holds."""
    return max(1, min(FRAMES_PER_FILE, BYTES_PER_FILE // (4 * math.prod(shape))))


def write_data_file(frames: Sequence[Frame], path: Path, shape: tuple[int, ...]) -> str:
    """Writes frames of `shape` to `path`, which appears when it is whole and on the disk; gives its SHA-256.

    Raises OSError where it cannot be written, BadFrame where the frames do not go together.
    """
    with _in_memory(path) as file:
        _write_frames(file, frames, shape)
        image = _image(file)
    appear(path, image)
    return hashlib.sha256(image).hexdigest()


def finish(folder: Path, sums: Mapping[str, str], title: str = "simulated frames") -> None:
    """Write the master and the list of checksums beside the data files, which have `sums` {name: SHA-256} in their order.

    Other files to be listed are given in `sums` too. The list is written last: an archive that has one is whole.
    """
    with _in_memory(folder / MASTER) as file:
        _write_master(file, folder, [name for name in sums if name.endswith(".h5")], title)
        image = _image(file)
    appear(folder / MASTER, image)
    whole = dict(sums) | {MASTER: hashlib.sha256(image).hexdigest()}
    appear(folder / SUMS, "".join(f"{whole[name]}  {name}\n" for name in sorted(whole)).encode())


def appear(path: Path, content: bytes) -> None:
    """A file that is there when it is whole and on the disk, and not before. Raises OSError."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def _in_memory(path: Path) -> Iterator[h5py.File]:
    file = h5py.File(path, "w", driver="core", backing_store=False, block_size=2**20, libver=LIBVER)
    try:
        yield file
    finally:
        file.close()


def _image(file: h5py.File) -> bytes:
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
    group.create_dataset("key", data=_column([f.key.encode() for f in frames]), **_guarded(len(frames)))
    for name, values in zip(NUMBERS, numbers.T, strict=True):
        column = group.create_dataset(name, data=values, **_guarded(len(frames)))
        column.attrs["units"] = "pixel" if name.endswith("_px") else "m"
    _write_rows(group, "truth", _column([_truth(f).encode() for f in frames]))
    scenes = _scenes(frames)
    if scenes is not None:
        _write_rows(group, "scene", scenes)


def _guarded(n: int) -> dict[str, Any]:
    return {"chunks": (n,), "fletcher32": True}


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


@contextmanager
def _appearing(folder: Path) -> Iterator[Path]:
    """A folder beside `folder` that takes its name when all is written, and is removed when something fails."""
    part = folder.with_name(f".{folder.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        yield part
        part.rename(folder)
    except OSError as error:
        if isinstance(error, BeamsightError):
            raise
        raise CannotWrite(f"{folder}: frames cannot be written there: {error.strerror or error}; nothing was kept") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
