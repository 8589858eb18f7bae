"""Hits for the next program: a CXI file with frames and peaks as CrystFEL reads them (`--peaks=cxi`), and its list of events.

/entry_1/data_1/data [n H W]        counts; mask [n H W], bit 1 = not trusted
/entry_1/result_1/nPeaks [n]        peakXPosRaw, peakYPosRaw, peakTotalIntensity, peakMaxIntensity, peakSNR, peakNPixels [n most],
                                    nPeaksFound, key, source_file and source_frame [n]
/entry_1/instrument_1               photon energy, distance, pixel and beam centre, where they are known
/entry_1/process_1/settings         how the hits were found (JSON)

Peaks stand at columns (x) and rows (y) of the stored image, the middle of the first pixel at 0. CrystFEL counts from the outer
corner of a pixel and by default adds 0.5 to what it reads from such a file; so `--no-half-pixel-shift` must not be given.
With the files beside it: `indexamajig -i hits.lst -g hits.geom --peaks=cxi`. Modules are stored below one another, as one image,
because only there a row tells the module of a peak.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from beamsight.answers import lock
from beamsight.chunks import create, packed, packed_row, put
from beamsight.crystfel_write import geom_text
from beamsight.errors import BadFrame, CannotWrite
from beamsight.frame import Frame, Geometry
from beamsight.geometry_files import CORNER_PX, HC_EV_M
from beamsight.journal import Journalled, undisturbed

DATA, MASK = "/entry_1/data_1/data", "/entry_1/data_1/mask"
RESULT, SOURCE, DETECTOR = "/entry_1/result_1", "/entry_1/instrument_1/source_1", "/entry_1/instrument_1/detector_1"
SETTINGS = "/entry_1/process_1/settings"
# Bits of a mask have the meaning of CXI 1.5 from this number on.
VERSION = 150
# Name in the file -> attribute of the peaks.
LISTS = {
    "peakXPosRaw": "x_px",
    "peakYPosRaw": "y_px",
    "peakTotalIntensity": "total",
    "peakMaxIntensity": "maximum",
    "peakSNR": "snr",
    "peakNPixels": "n_pixels",
}
# Numbers of each frame's geometry, NaN where unknown, with their unit.
NUMBERS = {
    f"{SOURCE}/energy": "J",
    f"{SOURCE}/photon_energy": "eV",
    f"{DETECTOR}/distance": "m",
    f"{DETECTOR}/x_pixel_size": "m",
    f"{DETECTOR}/y_pixel_size": "m",
    f"{DETECTOR}/beam_center_x": "pixel",
    f"{DETECTOR}/beam_center_y": "pixel",
}
_JOULE_PER_EV = 1.602176634e-19
# Rows of small numbers that are stored together.
ROWS = 1024


class Peaks(Protocol):
    """Peaks of one frame, each field [n]: middle (y, x) in pixels of the image, summed and highest counts over the background,
    signal over noise, number of pixels."""

    y_px: NDArray[Any]
    x_px: NDArray[Any]
    total: NDArray[Any]
    maximum: NDArray[Any]
    snr: NDArray[Any]
    n_pixels: NDArray[Any]


class HitsWriter:
    """Appends hits to the CXI file `path` and the list `.lst` beside it, begun, or continued where they hold hits of `about`;
    beside them stands a `.geom` file where the first hit tells where its pixels lie.

    `about` says how hits are found, in what JSON holds; `max_peaks` are kept of a frame, the strongest. A frame that is there
    already is not written twice. Once `add` has returned, the hit stays whatever happens to the process. Raises CannotWrite
    where the file is another's, holds hits of another `about`, is being written, or cannot be; `overwrite` begins anew.
    """

    def __init__(self, path: str | Path, about: dict[str, Any], max_peaks: int = 2048, overwrite: bool = False) -> None:
        self.path = Path(path).absolute()
        self.events = self.path.with_suffix(".lst")
        with _writing(self.path):
            self._disk = Journalled(self.path)
        try:
            lock(self._disk.fd, f"{self.path}: another beamsight is writing it; wait for it or give another file")
            with _writing(self.path):
                self._disk.recover()
                if overwrite:
                    self._disk.truncate(0)
                    self._disk.commit()
            with undisturbed():
                self._open(about, max_peaks)
        except BaseException:
            self._disk.close()
            raise

    def _open(self, about: dict[str, Any], max_peaks: int) -> None:
        new = self._disk.seek(0, os.SEEK_END) == 0
        try:
            self._file = h5py.File(self._disk, "w" if new else "r+")
        except OSError as error:
            raise _foreign(self.path, str(error)) from None
        try:
            if new:
                self._file["cxi_version"] = VERSION
                self._file[SETTINGS] = json.dumps(about, default=str)
                self._max_peaks = max_peaks
            else:
                _same(self.path, self._file, about)
            try:
                self._continue(max_peaks)
            except KeyError as error:
                raise _foreign(self.path, str(error)) from None
            with _writing(self.path):
                self._commit()
                _appear(self.events, "".join(_event(self.path, n) for n in range(len(self.keys))))
        except BaseException:
            self._file.close()
            raise

    def _continue(self, max_peaks: int) -> None:
        """What the file holds already."""
        begun = DATA in self._file
        self._sets: dict[str, h5py.Dataset] = {}
        self._max_peaks = self._file[f"{RESULT}/peakXPosRaw"].shape[1] if begun else max_peaks
        self.keys: set[str] = set(self._file[f"{RESULT}/key"].asstr()[()]) if begun else set()
        self._mask: tuple[NDArray[np.bool_], bytes] | None = None
        lists = [f"{RESULT}/{n}" for n in (*LISTS, "nPeaks", "nPeaksFound", "source_file", "source_frame")]
        for name in (DATA, MASK, *NUMBERS, *lists) if begun else ():
            self._file[name].resize(len(self.keys), axis=0)

    def __len__(self) -> int:
        return len(self.keys)

    def __enter__(self) -> HitsWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, frame: Frame, peaks: Peaks) -> bool:
        """Append a frame with its peaks; False where its key is in the file already.

        Raises BadFrame where its shape is not that of the frames before it, CannotWrite where the disk is full or fails; those
        before it stay.
        """
        if frame.key in self.keys:
            return False
        shape = frame.image.shape
        with undisturbed(), _writing(self.path):
            if DATA not in self._file:
                self._begin((shape[0], shape[1]))
            known = self._file[DATA].shape[1:]
            if known != shape:
                raise BadFrame(
                    f"{frame.key}: an image of shape {shape}, the hits in {self.path} have {known}; "
                    "write those of each shape to a file of their own"
                )
            if not self.keys:
                self._place(frame.geometry)
            self._put(len(self.keys), frame, peaks)
            self._commit()
            self.keys.add(frame.key)
            with self.events.open("a") as events:
                events.write(_event(self.path, len(self.keys) - 1))
        return True

    def _begin(self, shape: tuple[int, int]) -> None:
        """All data sets of frames of `shape`, empty."""
        file = self._file
        for name, kind in ((DATA, "f4"), (MASK, "u1")):
            create(file, name, 0, shape, kind, growing=True)
        file[DATA].attrs["axes"] = "experiment_identifier:y:x"
        for name in LISTS:
            create(file, f"{RESULT}/{name}", 0, (self._max_peaks,), "f4", rows=True, growing=True)
        for name in ("nPeaks", "nPeaksFound", "source_frame"):
            file.create_dataset(f"{RESULT}/{name}", (0,), "i8", maxshape=(None,), chunks=(ROWS,))
        for name in ("key", "source_file"):
            file.create_dataset(f"{RESULT}/{name}", (0,), h5py.string_dtype(), maxshape=(None,), chunks=(ROWS,))
        for name, unit in NUMBERS.items():
            file.create_dataset(name, (0,), "f8", maxshape=(None,), chunks=(ROWS,)).attrs["units"] = unit
        file[f"{DETECTOR}/data"], file[f"{DETECTOR}/mask"] = h5py.SoftLink(DATA), h5py.SoftLink(MASK)

    def _place(self, geometry: Geometry) -> None:
        """A .geom file beside the hits, where the first of them tells enough for one."""
        text = geom_text(geometry, DATA, MASK, f"{SOURCE}/photon_energy", f"{DETECTOR}/distance")
        if text is not None:
            _appear(self.path.with_suffix(".geom"), text)

    def _put(self, n: int, frame: Frame, peaks: Peaks) -> None:
        found = len(peaks.x_px)
        chosen = np.sort(np.argsort(-np.asarray(peaks.total), kind="stable")[: self._max_peaks])
        self._chunk(DATA, n, packed(np.ascontiguousarray(frame.image, np.float32)))
        self._chunk(MASK, n, self._packed_mask(frame.mask))
        for name, field in LISTS.items():
            values = np.zeros(self._max_peaks, np.float32)
            values[: len(chosen)] = np.asarray(getattr(peaks, field))[chosen]
            self._chunk(f"{RESULT}/{name}", n, packed_row(values.tobytes()))
        for name, number in zip(NUMBERS, _numbers(frame.geometry), strict=True):
            self._row(name, n, number)
        path, place = place_of(frame.key)
        # The key comes last: a frame that has one has all the rest.
        rows = {"nPeaks": len(chosen), "nPeaksFound": found, "source_file": path, "source_frame": place, "key": frame.key}
        for name, value in rows.items():
            self._row(f"{RESULT}/{name}", n, value)

    def _row(self, name: str, n: int, value: Any) -> None:
        self._grown(name, n)[n] = value

    def _chunk(self, name: str, n: int, chunk: bytes) -> None:
        put(self._grown(name, n), n, chunk)

    def _grown(self, name: str, n: int) -> h5py.Dataset:
        """The data set with room for row n. To find one by its name takes as long as to write to it."""
        if name not in self._sets:
            self._sets[name] = self._file[name]
        self._sets[name].resize(n + 1, axis=0)
        return self._sets[name]

    def _packed_mask(self, mask: NDArray[np.bool_]) -> bytes:
        """Most frames have the mask of the one before."""
        if self._mask is None or not np.array_equal(self._mask[0], mask):
            self._mask = mask.copy(), packed(np.ascontiguousarray(~mask).view(np.uint8))
        return self._mask[1]

    def _commit(self) -> None:
        self._file.flush()
        self._disk.commit()

    def close(self) -> None:
        """End the file. What was added is in it already."""
        with undisturbed():
            try:
                # HDF5 has written all; after an error what it says no longer counts.
                with suppress(OSError, RuntimeError):
                    self._sets.clear()
                    self._file.close()
                if self._disk.error is None:
                    with _writing(self.path):
                        self._disk.commit()
            finally:
                self._disk.close()


def place_of(key: str) -> tuple[str, int]:
    """The file that a frame's key names, and the frame's number in it; -1 where one number does not tell."""
    number = re.search(r"[?&]slice=([^&]*)$", key)
    path = re.split(r"::|\?(?=path=|slice=)", key, maxsplit=1)[0]
    if number is None:
        return path, 0
    return path, int(number[1]) if number[1].isdecimal() else -1


def _numbers(geometry: Geometry) -> list[float]:
    energy_ev = np.nan if geometry.wavelength_m is None else HC_EV_M / geometry.wavelength_m
    y, x = (np.nan, np.nan) if geometry.centre_px is None else geometry.centre_px
    known = [np.nan if v is None else v for v in (geometry.distance_m, geometry.pixel_m, geometry.pixel_m)]
    return [energy_ev * _JOULE_PER_EV, energy_ev, *known, x + CORNER_PX, y + CORNER_PX]


def _same(path: Path, file: h5py.File, about: dict[str, Any]) -> None:
    """Raises CannotWrite where the file holds no hits of ours, or those of other settings."""
    if SETTINGS not in file:
        raise _foreign(path, f"it has no {SETTINGS}")
    try:
        before, now = json.loads(file[SETTINGS].asstr()[()]), json.loads(json.dumps(about, default=str))
    except (ValueError, TypeError, AttributeError):
        raise _foreign(path, f"{SETTINGS} in it is no JSON") from None
    changed = [k for k in sorted(before.keys() | now.keys()) if before.get(k) != now.get(k)]
    if changed:
        told = ", ".join(f"{k} was {before.get(k)}, is {now.get(k)}" for k in changed[:3])
        raise CannotWrite(f"{path}: holds hits that were found otherwise ({told}); give another file, or overwrite to lose them")


def _foreign(path: Path, why: str) -> CannotWrite:
    return CannotWrite(f"{path}: there is a file that holds no hits of ours ({why}); give another file, or overwrite to lose it")


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turns what the disk says into CannotWrite."""
    try:
        yield
    except (CannotWrite, BadFrame):
        raise
    except (OSError, RuntimeError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error).splitlines()[0]
        raise CannotWrite(
            f"{path}: cannot be written ({reason}); the hits before it stay; free space, and the same command goes on"
        ) from None


def _event(path: Path, n: int) -> str:
    """A line of CrystFEL's lists: the file, and the place of the frame along the axis that numbers them."""
    return f"{path} //{n}\n"


def _appear(path: Path, text: str) -> None:
    """A text file that is there when it is whole."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text)
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)
