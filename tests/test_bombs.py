"""Bombs: what a file declares is refused before memory is taken for it."""

# SPDX-License-Identifier: BSD-3-Clause

import gzip
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest
import tifffile

import beamsight.readers
import formats
from beamsight.errors import CannotRead
from beamsight.sources import Refused, open_frames, read_frames

IMAGE = formats.picture()


def hdf5_bomb(path: Path) -> Path:
    with h5py.File(path / "a.h5", "w") as file:
        data = file.create_dataset("data", (1, 60000, 60000), "u1", chunks=(1, 60000, 60000), compression="gzip")
        data.id.write_direct_chunk((0, 0, 0), b"x" * 1000)
    return path / "a.h5"


def chunk_bomb(path: Path) -> Path:
    with h5py.File(path / "a.h5", "w") as file:
        data = file.create_dataset("data", (4000, 1000, 1000), "u1", chunks=(4000, 1000, 1000), compression="gzip")
        data.id.write_direct_chunk((0, 0, 0), b"x" * 1000)
    return path / "a.h5"


def npy_bomb(path: Path) -> Path:
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({2**20}, {2**20}), }}".ljust(117) + "\n"
    (path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode())
    return path / "a.npy"


def tiff_bomb(path: Path) -> Path:
    original = formats.tiff(compression="zlib")(path, IMAGE)
    with tifffile.TiffFile(original) as file:
        tags = file.pages[0].tags
        places = [tags[n].valueoffset for n in ("ImageWidth", "ImageLength", "RowsPerStrip")]
        sizes = [tags[n].dtype for n in ("ImageWidth", "ImageLength", "RowsPerStrip")]
    data = bytearray(original.read_bytes())
    for place, kind in zip(places, sizes, strict=True):
        value = struct.pack("<H", 60000) if int(kind) == 3 else struct.pack("<I", 100_000)
        data[place : place + len(value)] = value
    original.write_bytes(data)
    return original


def edf_bomb(path: Path) -> Path:
    data = formats.edf(path, IMAGE).read_bytes()
    (path / "a.edf").write_bytes(data.replace(b"Dim_1 = 64", b"Dim_1 = 99999999").replace(b"Dim_2 = 48", b"Dim_2 = 99999999"))
    return path / "a.edf"


def cbf_bomb(path: Path) -> Path:
    data = formats.cbf(path, IMAGE).read_bytes()
    (path / "a.cbf").write_bytes(data.replace(b"Fastest-Dimension: 64", b"Fastest-Dimension: 999999999"))
    return path / "a.cbf"


def png_bomb(path: Path) -> Path:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", 200_000, 200_000, 16, 0, 0, 0, 0)
    (path / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )
    return path / "a.png"


@pytest.mark.parametrize("make", [hdf5_bomb, chunk_bomb, npy_bomb, tiff_bomb, edf_bomb, cbf_bomb, png_bomb])
def test_b3_bombs_are_refused_by_what_they_declare(make: Callable[[Path], Path], tmp_path: Path) -> None:
    path = make(tmp_path)
    start = time.perf_counter()
    (item,) = read_frames(path, memory_bytes=2**30)
    assert isinstance(item, Refused)
    reason = item.reason
    assert "more memory" not in reason
    assert "signal" not in reason
    assert time.perf_counter() - start < 10


def test_b3_a_packed_file_is_unpacked_up_to_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beamsight.readers, "FRAME_LIMIT_BYTES", 10_000)
    (tmp_path / "a.edf.gz").write_bytes(gzip.compress(bytes(100_000)))
    with pytest.raises(CannotRead, match="unpacks to more"):
        list(open_frames(tmp_path / "a.edf.gz"))
