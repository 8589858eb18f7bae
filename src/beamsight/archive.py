"""Simulated frames on disk with their truth: an HDF5 master that links to data files, as detector vendors write them (NXmx).

master.h5         /entry/data/data_000001 ... and mask_000001 ... (1 = masked): links into the data files; shared geometry
data_000001.h5    /entry/data/data [N H W], mask [N H W]; /entry/frames: key, truth (JSON), scene (a row of numbers), geometry
SHA256SUMS        of every file, for `beamsight check` and `sha256sum -c`

Each frame is one chunk with a checksum, so one frame is checked when it is read, and only it. Written by `archive_write`.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import hashlib
import json
import math
import os
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar, overload

import h5py
import numpy as np
from numpy.typing import NDArray

from beamsight.chunks import places, unpacked, unpacked_row
from beamsight.errors import BadArchive, BeamsightError
from beamsight.frame import Frame, Geometry

MASTER, SUMS, PLAN = "master.h5", "SHA256SUMS", "plan.json"
DATA, MASK, FRAMES = "/entry/data/data", "/entry/data/mask", "/entry/frames"
# Numbers of the geometry that are kept of each frame; NaN where one is unknown.
NUMBERS = ("pixel_m", "wavelength_m", "distance_m", "centre_y_px", "centre_x_px")
# Data files held open at a time; systems commonly allow a process 1,024.
OPEN_FILES = 256

Read = TypeVar("Read")


def read_archive(folder: str | Path, scenes: bool = True) -> Archive:
    """The frames of an archive: a sequence, read one by one; without `scenes` the drawn numbers are left out, which is quicker.

    Raises BadArchive where it is incomplete or altered.
    """
    return Archive(Path(folder), scenes)


class Archive(Sequence[Frame]):
    """The frames of an archive folder by number. `truth` is as written, `scene` a dict {name: number or list}.

    Only the master is read to open it. A frame is checked against its checksums whenever it is read: BadArchive where it or its
    data file was altered or is missing.
    """

    def __init__(self, folder: Path, scenes: bool = True) -> None:
        self.folder, self.scenes = folder, scenes
        self._files: dict[int, DataFile] = {}
        self._open: dict[int, _Descriptor] = {}
        self._firsts, per_file = read_master(folder)
        self._starts = [0, *np.cumsum(per_file).tolist()]

    def __len__(self) -> int:
        return int(self._starts[-1])

    @overload
    def __getitem__(self, number: int) -> Frame: ...
    @overload
    def __getitem__(self, number: slice) -> list[Frame]: ...
    def __getitem__(self, number: int | slice) -> Frame | list[Frame]:
        if isinstance(number, slice):
            return [self[n] for n in range(len(self))[number]]
        part, n = self._place(number)
        return self._read(part, n, lambda file, descriptor: file.frame(descriptor, n, self.scenes))

    def counts(self, number: int) -> NDArray[Any]:
        """The counts [H W] of a frame alone, in the type that they are stored in: uint16, uint32 or float32."""
        part, n = self._place(number)
        return self._read(part, n, lambda file, descriptor: file.counts(descriptor, n))

    def __reduce__(self) -> tuple[Any, ...]:
        # Open files stay behind: another process opens its own.
        return read_archive, (self.folder, self.scenes)

    def _place(self, number: int) -> tuple[int, int]:
        number = range(len(self))[number]  # counts from the end, and refuses what is beyond
        part = bisect_right(self._starts, number) - 1
        return part, number - self._starts[part]

    def _read(self, part: int, n: int, read: Callable[[DataFile, int], Read]) -> Read:
        path = self.folder / data_name(part)
        try:
            file = self._files.get(part) or self._known(part, path)
            return read(file, self._descriptor(part, path))
        except (OSError, KeyError, RuntimeError, ValueError) as error:
            if isinstance(error, BeamsightError):
                raise
            what = error.strerror if isinstance(error, OSError) and error.strerror else str(error).splitlines()[0]
            raise BadArchive(
                f"{path}: frame {n} cannot be read ({what}); copy it again, or remove it and simulate again"
            ) from None

    def _known(self, part: int, path: Path) -> DataFile:
        if not path.exists():
            raise BadArchive(f"{path}: a data file of this archive is missing; copy it again")
        file = DataFile(path)
        keys = file.keys
        if len(keys) != self._starts[part + 1] - self._starts[part] or keys[0] != self._firsts[part]:
            raise BadArchive(f"{path}: not the data file that {MASTER} links to, but another's; copy the archive again")
        self._files[part] = file
        return file

    def _descriptor(self, part: int, path: Path) -> int:
        if part not in self._open:
            for oldest in list(islice(self._open, max(0, len(self._open) + 1 - OPEN_FILES))):
                del self._open[oldest]
            self._open[part] = _Descriptor(path)
        return self._open[part].number


class _Descriptor:
    """An open file that is closed when nobody reads from it any more."""

    def __init__(self, path: Path) -> None:
        self.number = -1
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if self.number >= 0:
            os.close(self.number)


class DataFile:
    """What is known of a data file without its frames: their keys and geometry, and where each of them lies in it.

    Raises OSError, KeyError, RuntimeError or ValueError where it is damaged, as h5py does.
    """

    def __init__(self, path: Path) -> None:
        with h5py.File(path, "r", locking=False) as file:
            self._data, self._mask = places(file[DATA]), places(file[MASK])
            frames = file[FRAMES]
            self._truth, self._scene = places(frames["truth"]), places(frames["scene"]) if "scene" in frames else None
            self._keys = frames["key"][()]
            self._numbers = np.stack([frames[name][()] for name in NUMBERS], 1)

    @property
    def keys(self) -> list[str]:
        """The keys of its frames [N]."""
        return [key.decode() for key in self._keys]

    def counts(self, file: int, n: int) -> NDArray[Any]:
        """The counts [H W] of frame n, from the open descriptor `file` of this data file; ValueError where damaged."""
        return unpacked(self._data.read(file, n), self._data.dtype, self._data.shape)

    def frame(self, file: int, n: int, scenes: bool) -> Frame:
        """Frame n, from the open descriptor `file` of this data file; ValueError where damaged."""
        image = self.counts(file, n).astype(np.float32, copy=False)
        return Frame(
            image=image,
            mask=self._trusted(file, n),
            geometry=_geometry(self._data.shape, self._numbers[n].tolist()),
            key=self._keys[n].decode(),
            truth=json.loads(unpacked_row(self._truth.read(file, n)).rstrip(b"\0")),
            scene=self._drawn(file, n) if scenes else None,
        )

    def _trusted(self, file: int, n: int) -> NDArray[np.bool_]:
        # A frame without a masked pixel has no chunk; HDF5 then gives zeros.
        if self._mask.size[n] == 0:
            return np.ones(self._mask.shape, np.bool_)
        return np.asarray(unpacked(self._mask.read(file, n), self._mask.dtype, self._mask.shape) == 0)

    def _drawn(self, file: int, n: int) -> dict[str, Any] | None:
        if self._scene is None:
            return None
        row = np.frombuffer(unpacked_row(self._scene.read(file, n)), self._scene.dtype)[0]
        return {name: row[name].tolist() for name in self._scene.dtype.names or ()}


def data_name(part: int) -> str:
    """The name of data file number `part`, counted from 0."""
    return f"data_{part + 1:06d}.h5"


def digest(path: Path) -> str:
    """The SHA-256 of a file. Raises BadArchive where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BadArchive(f"{path}: {error.strerror}; a part of the archive is missing: copy it again") from None


def read_sums(folder: Path) -> dict[str, str]:
    """{file name: SHA-256} of an archive. Raises BadArchive where it has no such list."""
    try:
        lines = (folder / SUMS).read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        what = "an archive that is not finished: the `beamsight simulate` that began it goes on"
        what = what if (folder / PLAN).is_file() else "no archive of frames; `beamsight simulate` writes one"
        raise BadArchive(f"{folder}: {what} (it has no {SUMS} that can be read)") from None
    return {name: checksum for checksum, _, name in (line.partition("  ") for line in lines)}


def read_master(folder: Path) -> tuple[list[str], NDArray[np.int64]]:
    """Key of the first frame and number of frames of each data file. Raises BadArchive where the master is missing or altered."""
    path = folder / MASTER
    if read_sums(folder).get(MASTER) != digest(path):
        raise BadArchive(f"{path}: its SHA-256 is not the one in {SUMS}: altered or damaged; copy the archive again")
    try:
        with h5py.File(path, "r", locking=False) as file:
            frames = file[FRAMES]
            return [key.decode() for key in frames["first_key"][()]], frames["per_file"][()]
    except (OSError, KeyError, AttributeError) as error:
        raise BadArchive(
            f"{path}: not a master as this version writes it ({str(error).splitlines()[0]}); simulate the archive again"
        ) from None


def _geometry(shape: tuple[int, ...], numbers: list[float]) -> Geometry:
    pixel, wavelength, distance, y, x = (None if math.isnan(v) else v for v in numbers)
    return Geometry((shape[0], shape[1]), pixel, wavelength, distance, None if y is None or x is None else (y, x))
