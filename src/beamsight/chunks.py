"""One frame, one HDF5 chunk: packed and unpacked here, past HDF5's own pipeline, which takes half of the time.

A chunk is what HDF5 itself would have written: the values by bitshuffle and LZ4, or a row of a table by zlib, and a Fletcher-32
checksum behind it, so that any reader opens the file and notices a flipped byte.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import ctypes
import os
import struct
import threading
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import DTypeLike, NDArray

from beamsight.errors import BeamsightError

# Bytes of values that bitshuffle turns at a time, its own default; kept in the head of a chunk.
BLOCK_BYTES = 8192
HEAD = struct.Struct(">QI")
# Words summed at a time: any number of them up to 370,000 gives sums that a float64 holds exactly.
WORDS = 2**18
# Quick rather than small: a row of a table is read as often as its frame.
ZLIB_LEVEL = 1

_own = threading.local()


def packed(values: NDArray[Any]) -> bytes:
    """The chunk that holds `values` (any shape, contiguous): bitshuffle, LZ4, checksum."""
    count, size = values.size, values.dtype.itemsize
    block = BLOCK_BYTES // size
    room = _scratch(HEAD.size + _codec().bshuf_compress_lz4_bound(count, size, block))
    HEAD.pack_into(room.data, 0, values.nbytes, BLOCK_BYTES)
    address = room.ctypes.data + HEAD.size
    written = _codec().bshuf_compress_lz4(values.ctypes.data, address, count, size, block)
    if written < 0:
        raise BeamsightError(f"bitshuffle cannot pack {count} values of {size} bytes (its error {written})")
    return _sealed(room[: HEAD.size + written].tobytes())


def unpacked(chunk: bytes, dtype: DTypeLike, shape: tuple[int, ...]) -> NDArray[Any]:
    """The values that `packed` made a chunk of. Raises ValueError where its checksum or its length is not right."""
    body = _opened(chunk)
    values = np.empty(shape, dtype)
    count, size = values.size, values.dtype.itemsize
    whole, block = HEAD.unpack_from(body)
    if whole != values.nbytes or block != BLOCK_BYTES:
        raise ValueError(f"a chunk of {whole} bytes where {values.nbytes} were expected")
    source = body[HEAD.size :]
    if _codec().bshuf_decompress_lz4(source, values.ctypes.data, count, size, block // size) != len(source):
        raise ValueError("a chunk that does not unpack")
    return values


def packed_row(row: bytes) -> bytes:
    """The chunk that holds one row of a table: zlib and checksum."""
    return _sealed(zlib.compress(row, ZLIB_LEVEL))


def unpacked_row(chunk: bytes) -> bytes:
    """The row that `packed_row` made a chunk of. Raises ValueError where its checksum is not right."""
    try:
        return zlib.decompress(_opened(chunk))
    except zlib.error as error:
        raise ValueError(f"a row that does not unpack ({error})") from None


def create(
    group: h5py.Group, name: str, n: int, shape: tuple[int, ...], dtype: DTypeLike, rows: bool = False, growing: bool = False
) -> h5py.Dataset:
    """A data set [n *shape] for chunks of `packed` where `shape` is not empty, else, or where these are `rows`, for those of
    `packed_row`; `growing` along n."""
    in_rows = {"compression": "gzip", "compression_opts": ZLIB_LEVEL}
    filters = in_rows if rows or not shape else hdf5plugin.Bitshuffle(cname="lz4")
    most = (None, *shape) if growing else None
    return group.create_dataset(name, (n, *shape), dtype, maxshape=most, chunks=(1, *shape), fletcher32=True, **filters)


def put(dataset: h5py.Dataset, n: int, chunk: bytes) -> None:
    """Writes frame or row n as it is."""
    dataset.id.write_direct_chunk((n, *[0] * (dataset.id.rank - 1)), chunk)


@dataclass(frozen=True)
class Places:
    """Where the chunks of a data set lie in its file: `start` and `size` [N] bytes, size 0 where none was written; `dtype` and
    `shape` of one of them."""

    start: NDArray[np.int64]
    size: NDArray[np.int64]
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def read(self, file: int, n: int) -> bytes:
        """Chunk n from the open file descriptor `file`; empty where none was written."""
        return os.pread(file, int(self.size[n]), int(self.start[n]))


def places(dataset: h5py.Dataset) -> Places:
    """Where the frames of a data set lie that `create` made. Raises ValueError for one of another kind."""
    if not dataset.chunks or dataset.chunks != (1, *dataset.shape[1:]):
        raise ValueError(f"{dataset.name} has chunks {dataset.chunks}, not one a frame")
    start, size = np.zeros(len(dataset), np.int64), np.zeros(len(dataset), np.int64)

    def add(chunk: Any) -> None:
        start[chunk.chunk_offset[0]], size[chunk.chunk_offset[0]] = chunk.byte_offset, chunk.size

    dataset.id.chunk_iter(add)
    return Places(start, size, dataset.dtype, dataset.shape[1:])


def fletcher32(data: bytes) -> bytes:
    """The checksum that HDF5 puts behind a chunk: two sums of its big-endian 16-bit words, modulo 65535."""
    words = np.frombuffer(data, "<u2", len(data) // 2)
    first = second = 0
    for start in range(0, len(words), WORDS):
        part = words[start : start + WORDS].astype(np.float64)
        # Not a product of matrices: waking the threads of BLAS takes as long as packing a frame.
        second += first * len(part) + int(np.einsum("i,i->", _weights()[WORDS - len(part) :], part))
        first += int(part.sum())
    if len(data) % 2:
        first += data[-1]
        second += first
    return struct.pack("<HH", _folded(first), _folded(second))


def _folded(total: int) -> int:
    # Modulo 65535 the bytes of a word change places when it is multiplied by 256, so words in this machine's order do. And
    # HDF5 folds the carry back in, which never makes a sum zero that was not.
    return (256 * total % 65535 or 65535) if total else 0


def _sealed(body: bytes) -> bytes:
    return body + fletcher32(body)


def _opened(chunk: bytes) -> bytes:
    body = chunk[:-4]
    if len(chunk) <= 4 or fletcher32(body) != chunk[-4:]:
        raise ValueError("its checksum is not right: altered or damaged")
    return body


@cache
def _weights() -> NDArray[np.float64]:
    return np.arange(WORDS, 0, -1, dtype=np.float64)


def _scratch(n: int) -> NDArray[np.uint8]:
    """Room of this thread's own: asked of the system anew for each frame, it would cost as much as a checksum."""
    room: NDArray[np.uint8] | None = getattr(_own, "room", None)
    if room is None or len(room) < n:
        room = _own.room = np.empty(n, np.uint8)
    return room


@cache
def _codec() -> Any:
    """The library of hdf5plugin's bitshuffle filter, called as its own C header declares."""
    name = f"libh5bshuf{hdf5plugin.get_config().build_config.filter_file_extension}"
    try:
        library = ctypes.CDLL(str(Path(hdf5plugin.PLUGIN_PATH) / name))
        for function in (library.bshuf_compress_lz4, library.bshuf_decompress_lz4):
            function.restype = ctypes.c_int64
            function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_size_t] * 3]
        library.bshuf_compress_lz4_bound.restype = ctypes.c_size_t
        library.bshuf_compress_lz4_bound.argtypes = [ctypes.c_size_t] * 3
    except (OSError, AttributeError) as error:
        raise BeamsightError(
            f"archives need the bitshuffle filter of hdf5plugin, and {hdf5plugin.version} has none that can be called ({error}); "
            "pip install hdf5plugin from PyPI"
        ) from None
    return library
