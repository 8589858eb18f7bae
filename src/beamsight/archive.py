"""Frames on disk with their truth: an HDF5 master that links to data files, as detector vendors write, and their checksums.

master.h5         /entry/data/data_000001 ... and mask_000001 ... (1 = masked): links into the data files; shared geometry
data_000001.h5    /entry/data/data [N H W] float32 and mask, one frame a chunk; /entry/frames: key, truth, scene, geometry
SHA256SUMS        of every file, for `sha256sum -c` and for the reader
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, overload

import h5py
import hdf5plugin
import numpy as np

from beamsight.errors import BadArchive, BadFrame, BeamsightError, CannotWrite
from beamsight.frame import Frame, Geometry
from beamsight.geometry_files import CORNER_PX

MASTER, SUMS = "master.h5", "SHA256SUMS"
FRAMES_PER_FILE = 1000
# Numbers of the geometry that are kept of each frame; NaN where one is unknown.
NUMBERS = ("pixel_m", "wavelength_m", "distance_m", "centre_y_px", "centre_x_px")


def write_archive(frames: Iterable[Frame], folder: str | Path, per_file: int = FRAMES_PER_FILE) -> Path:
    """Write frames of one shape to `folder`, `per_file` in a data file, and return it; it appears when all are written.

    Frames are taken one by one. Raises CannotWrite where `folder` exists or cannot be written, BadFrame for a frame of another
    shape, BadArchive where there is no frame.
    """
    folder = Path(folder)
    if folder.exists():
        raise CannotWrite(f"{folder} exists; frames are written to a new folder: choose another or remove it")
    with _appearing(folder) as part:
        coming = iter(frames)
        names, geometries = list[str](), list[Geometry]()
        for first in coming:
            names.append(f"data_{len(names) + 1:06d}")
            geometries += _write_data(part / f"{names[-1]}.h5", chain([first], islice(coming, per_file - 1)))
        if not names:
            raise BadArchive(f"{folder}: no frame came to be written; ask for at least one")
        _write_master(part / MASTER, names, geometries)
        lines = [f"{_sum(path)}  {path.name}\n" for path in sorted(part.glob("*.h5"))]
        (part / SUMS).write_text("".join(lines))
    return folder


def read_archive(folder: str | Path) -> Archive:
    """The frames that `write_archive` wrote: a sequence, read one by one. Raises BadArchive where it is incomplete or altered."""
    return Archive(Path(folder))


class Archive(Sequence[Frame]):
    """The frames of an archive folder by number. `truth` and `scene` are as written, the scene as {name: value}.

    A data file is checked against its checksum when it is first read: BadArchive where it was altered.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._sums = _read_sums(folder)
        self._files: dict[str, h5py.File] = {}
        self._starts = np.concatenate([[0], np.cumsum(self._read(MASTER, "/entry/frames/per_file"))])

    def __len__(self) -> int:
        return int(self._starts[-1])

    @overload
    def __getitem__(self, number: int) -> Frame: ...
    @overload
    def __getitem__(self, number: slice) -> list[Frame]: ...
    def __getitem__(self, number: int | slice) -> Frame | list[Frame]:
        if isinstance(number, slice):
            return [self[n] for n in range(len(self))[number]]
        number = range(len(self))[number]  # counts from the end, and refuses what is beyond
        part = int(np.searchsorted(self._starts, number, "right")) - 1
        return self._frame(f"data_{part + 1:06d}.h5", number - int(self._starts[part]))

    def __reduce__(self) -> tuple[Any, ...]:
        # Open files stay behind: another process opens its own.
        return read_archive, (self.folder,)

    def _frame(self, name: str, n: int) -> Frame:
        image = self._read(name, "/entry/data/data", n)
        key, truth, scene = (self._read(name, f"/entry/frames/{k}", n).decode() for k in ("key", "truth", "scene"))
        pixel, wavelength, distance, y, x = (_known(self._read(name, f"/entry/frames/{k}", n)) for k in NUMBERS)
        return Frame(
            image=image,
            mask=self._read(name, "/entry/data/mask", n) == 0,
            geometry=Geometry(image.shape, pixel, wavelength, distance, None if y is None or x is None else (y, x)),
            key=key,
            truth=json.loads(truth),
            scene=json.loads(scene),
        )

    def _read(self, name: str, path: str, n: Any = ()) -> Any:
        try:
            return self._file(name)[path][n]
        except (OSError, KeyError, RuntimeError, ValueError) as error:
            if isinstance(error, BadArchive):
                raise
            raise BadArchive(
                f"{self.folder / name}: {path} cannot be read ({str(error).splitlines()[0]}); copy it again"
            ) from None

    def _file(self, name: str) -> h5py.File:
        if name not in self._files:
            path = self.folder / name
            if self._sums.get(name) != _sum(path):
                raise BadArchive(f"{path}: its SHA-256 is not the one in {SUMS}: altered or damaged; copy or simulate it again")
            self._files[name] = h5py.File(path, "r", locking=False)
        return self._files[name]


def _write_data(path: Path, frames: Iterator[Frame]) -> list[Geometry]:
    """One data file; gives the geometries of its frames."""
    first = next(frames)
    geometries, words = [], list[tuple[str, str, str]]()
    with h5py.File(path, "w") as file:
        data = _data_group(_entry(file))
        images, masks = _stack(data, "data", first, "f4"), _stack(data, "mask", first, "u1")
        data.attrs.update({"signal": "data", "mask": "mask"})
        for n, frame in enumerate(chain([first], frames)):
            if frame.image.shape != first.image.shape:
                raise BadFrame(
                    f"{frame.key} has shape {frame.image.shape}, the frames before it {first.image.shape}; one shape an archive"
                )
            for stack, values in ((images, frame.image), (masks, ~frame.mask)):
                stack.resize(n + 1, axis=0)
                stack[n] = values
            geometries.append(frame.geometry)
            words.append((frame.key, _json(frame.truth), _json(frame.scene)))
        _write_table(file.create_group("/entry/frames"), words, geometries)
    return geometries


def _write_table(group: h5py.Group, words: list[tuple[str, str, str]], geometries: list[Geometry]) -> None:
    for column, name in enumerate(("key", "truth", "scene")):
        group.create_dataset(name, data=[row[column] for row in words], dtype=h5py.string_dtype())
    for name, values in zip(NUMBERS, np.array([_numbers(g) for g in geometries]).T, strict=True):
        group.create_dataset(name, data=values)


def _write_master(path: Path, names: list[str], geometries: list[Geometry]) -> None:
    with h5py.File(path, "w") as file:
        entry = _entry(file)
        data = _data_group(entry)
        data.attrs["signal"] = names[0]
        per_file = []
        for name in names:
            data[name] = h5py.ExternalLink(f"{name}.h5", "/entry/data/data")
            data[name.replace("data", "mask")] = h5py.ExternalLink(f"{name}.h5", "/entry/data/mask")
            per_file.append(len(data[name]))
        entry.create_group("frames").create_dataset("per_file", data=per_file)
        _write_geometry(entry, geometries)


def _write_geometry(entry: h5py.Group, geometries: list[Geometry]) -> None:
    """The numbers that all frames share, where any reader of NXmx looks for them."""
    rows = np.array([_numbers(g) for g in geometries])
    pixel, wavelength, distance, y, x = (v if (rows[:, n] == v).all() else math.nan for n, v in enumerate(rows[0]))
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
    return entry


def _data_group(entry: h5py.Group) -> h5py.Group:
    return _group(entry, "data", "NXdata")


def _group(parent: h5py.Group, name: str, kind: str) -> h5py.Group:
    group = parent.create_group(name)
    group.attrs["NX_class"] = kind
    return group


def _stack(group: h5py.Group, name: str, like: Frame, kind: str) -> h5py.Dataset:
    shape = like.image.shape
    # The checksum comes after the compression, so damage is found before it reaches the decompressor.
    return group.create_dataset(
        name,
        (0, *shape),
        kind,
        chunks=(1, *shape),
        maxshape=(None, *shape),
        fletcher32=True,
        **hdf5plugin.Bitshuffle(cname="lz4"),
    )


def _numbers(geometry: Geometry) -> list[float]:
    centre = geometry.centre_px or (None, None)
    values = (geometry.pixel_m, geometry.wavelength_m, geometry.distance_m, *centre)
    return [math.nan if v is None else float(v) for v in values]


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _json(value: Any) -> str:
    return json.dumps(asdict(value) if is_dataclass(value) and not isinstance(value, type) else value, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be kept in an archive; truth and scene are numbers, names and arrays of them")


def _sum(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BadArchive(f"{path}: {error.strerror}; a part of the archive is missing: copy it again") from None


def _read_sums(folder: Path) -> dict[str, str]:
    try:
        lines = (folder / SUMS).read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        raise BadArchive(
            f"{folder}: no archive of frames: it has no {SUMS} that can be read; `beamsight simulate` writes one"
        ) from None
    return {name: checksum for checksum, _, name in (line.partition("  ") for line in lines)}


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
