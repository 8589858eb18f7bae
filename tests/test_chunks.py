"""Chunks made here are to the byte those of HDF5, and damage to them is noticed."""

import h5py
import hdf5plugin
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from beamsight import chunks
from beamsight.chunks import create, fletcher32, packed, packed_row, places, put, unpacked, unpacked_row

KINDS = st.sampled_from(["u1", "u2", "u4", "f4"])
# Blocks that are full, that are not, and what does not fill the last eight.
SHAPES = st.one_of(array_shapes(min_dims=2, max_dims=2, max_side=70), st.just((129, 131)))
VALUES = st.tuples(KINDS, SHAPES).flatmap(lambda a: arrays(a[0], a[1], fill=st.nothing() if a[1][0] < 4 else None))


def through_hdf5(dataset: h5py.Dataset, value: object) -> bytes:
    """The chunk that HDF5 writes for frame 0."""
    dataset[0] = value
    return bytes(dataset.id.read_direct_chunk((0,) * dataset.ndim)[1])


@settings(max_examples=60, deadline=None)
@given(VALUES)
def test_a_chunk_is_the_one_that_hdf5_would_write(values: np.ndarray) -> None:
    with h5py.File.in_memory() as file:
        dataset = create(file, "data", 1, values.shape, values.dtype)
        assert through_hdf5(dataset, values) == packed(values)
        assert np.array_equal(unpacked(packed(values), values.dtype, values.shape), values, equal_nan=values.dtype.kind == "f")


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=1, max_size=5000))
def test_a_row_is_the_one_that_hdf5_would_write(row: bytes) -> None:
    with h5py.File.in_memory() as file:
        dataset = create(file, "row", 1, (), np.dtype(f"V{len(row)}"))
        dataset[0] = np.void(row)
        put(dataset, 0, packed_row(row))
        assert dataset[0].tobytes() == row
        assert unpacked_row(packed_row(row)) == row


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.binary(min_size=1, max_size=3000), st.builds(bytes, st.integers(1, 99)), st.just(b"\xff" * 2002)))
def test_the_checksum_is_that_of_hdf5(data: bytes) -> None:
    with h5py.File.in_memory() as file:
        plain = file.create_dataset("d", (len(data),), "u1", chunks=(len(data),), fletcher32=True)
        plain[...] = np.frombuffer(data, "u1")
        assert bytes(plain.id.read_direct_chunk((0,))[1])[-4:] == fletcher32(data)


def test_the_checksum_of_a_large_chunk_is_summed_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    data = np.random.default_rng(0).integers(0, 256, 2 * chunks.WORDS + 30_001, np.uint8).tobytes()
    with h5py.File.in_memory() as file:
        plain = file.create_dataset("d", (len(data),), "u1", chunks=(len(data),), fletcher32=True)
        plain[...] = np.frombuffer(data, "u1")
        assert bytes(plain.id.read_direct_chunk((0,))[1])[-4:] == fletcher32(data)


@settings(max_examples=60, deadline=None)
@given(VALUES, st.data())
def test_a_flipped_bit_is_noticed(values: np.ndarray, draw: st.DataObject) -> None:
    for chunk, read in (
        (packed(values), lambda c: unpacked(c, values.dtype, values.shape)),
        (packed_row(values.tobytes()), unpacked_row),
    ):
        damaged = bytearray(chunk)
        damaged[draw.draw(st.integers(0, len(chunk) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
        with pytest.raises(ValueError, match="checksum"):
            read(bytes(damaged))


def test_chunks_of_another_size_and_cut_ones_are_refused() -> None:
    chunk = packed(np.arange(64, dtype="u2").reshape(8, 8))
    with pytest.raises(ValueError, match="256 were expected"):
        unpacked(chunk, "u4", (8, 8))
    for end in (0, 3, 11, len(chunk) - 1):
        with pytest.raises(ValueError, match="checksum"):
            unpacked(chunk[:end], "u2", (8, 8))


def test_only_data_sets_of_one_frame_a_chunk_have_places() -> None:
    with h5py.File.in_memory() as file:
        dataset = create(file, "data", 3, (8, 9), "u2")
        put(dataset, 1, packed(np.ones((8, 9), "u2")))
        found = places(dataset)
        assert [bool(n) for n in found.size] == [False, True, False]
        other = file.create_dataset("other", (4, 8), "u2", chunks=(2, 8), **hdf5plugin.Bitshuffle(cname="lz4"))
        with pytest.raises(ValueError, match="not one a frame"):
            places(other)
