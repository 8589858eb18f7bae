"""HDF5 files: NXmx and Eiger, NXcanSAS, CXI, any NXdata, or just the largest stack of images."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from beamsight.addresses import Index, parse_index
from beamsight.errors import BadFrame, CannotRead
from beamsight.frame import Geometry
from beamsight.hdf5_find import find_images, get, images_inside, visit
from beamsight.hdf5_meta import fields_of, geometries_of, mask_of, top_of
from beamsight.layout import Axes, Layout, layout_of
from beamsight.stack import Keys, Stack, check_layout, check_size

# A file changed so recently may still be written to.
RECENT_S = 30.0

Described = tuple[str | None, Axes | None]


def open_hdf5(
    path: str, data_path: str | None = None, index: str | None = None, described: Described = (None, None)
) -> list[Stack]:
    """The stacks of an HDF5 file, or of one data set or group in it; `index` selects as NumPy does, "3,0:5".

    `described`: where the images are and what their axes mean, as a .geom file says; the former holds where `data_path` is None
    and it is there, the latter for data of so many dimensions. Raises CannotRead or BadFrame where there is none.
    """
    file = _open(path)
    try:
        if data_path is None and described[0] and isinstance(get(file, described[0]), h5py.Dataset):
            data_path = described[0]
        paths = find_images(file) if data_path is None else images_inside(file, path, data_path)
        if not paths:
            raise CannotRead(f"{path}: an HDF5 file without an image: no data set of numbers has two or more dimensions")
        return _stacks(file, path, paths, parse_index(index), described[1])
    except BaseException:
        file.close()
        raise


def _stacks(file: h5py.File, path: str, paths: list[str], index: Index | None, described: Axes | None) -> list[Stack]:
    """A stack a data set. Where files of a series are missing, the others are read and each missing one is refused by name."""
    there = [p for p in paths if get(file, p) is not None] or paths[:1]
    stacks = {p: _stack(file, path, p, index, described) for p in there}
    return [stacks.get(p) or _missing(file, path, p, stacks[there[0]].shape) for p in paths]


def _missing(file: h5py.File, path: str, name: str, shape: tuple[int, int]) -> Stack:
    def read(n: int) -> NDArray[Any]:
        raise _broken_link(file, path, name)

    return Stack(Keys(f"{path}::{name}"), shape, read, Geometry(shape), close=file.close)


def _broken_link(file: h5py.File, path: str, name: str) -> CannotRead:
    link = file.get(name, getlink=True)
    return CannotRead(f"{path}::{name} is a link to {getattr(link, 'filename', 'a place')} that is missing or cannot be read")


def _open(path: str) -> h5py.File:
    try:
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        first = str(error)
    try:
        # A detector that is writing marks its file; then only this mode may read it.
        if "write" in first and "truncated" not in first:
            return h5py.File(path, "r", libver="latest", swmr=True, locking=False)
        # This very process has it open, in another way.
        if "locking flag" in first:
            return h5py.File(path, "r")
    except OSError:
        pass
    late = time.time() - Path(path).stat().st_mtime < RECENT_S
    what = "truncated" if "truncated" in first else "damaged"
    raise CannotRead(f"{path}: {what} HDF5 file{', or still being written: try later' if late else ''} ({first})")


def _stack(file: h5py.File, path: str, name: str, index: Index | None, described: Axes | None) -> Stack:
    dataset = _dataset(file, path, name)
    where = f"{path}::{name}"
    layout = layout_of(where, dataset, index, described)
    check_layout(where, (*(len(range(*r)) for r in layout.ranges), *(len(range(*r)) for r in layout.window)), dataset.dtype)
    check_size(where, layout.shape, dataset.dtype)
    _check_storage(where, dataset)
    keys, cut = layout.keys(path, name), tuple(slice(*axis) for axis in layout.window)
    fields, written = fields_of(file, name), _is_written(dataset)

    def read(n: int) -> NDArray[Any]:
        place = layout.place(keys.index(n))
        if not written(place):
            raise CannotRead(f"{keys[n]}: not written yet: try later")
        return layout.image(np.asarray(dataset[(*place, *cut)]))

    trust = mask_of(file, name, dataset.shape, fields, layout)

    def mask(n: int) -> NDArray[np.bool_] | None:
        whole = trust(keys.index(n))
        return None if whole is None else layout.cut(whole)

    geometry, shot = geometries_of(file, name, dataset.shape, layout, fields)
    # Without a mask of its own, a pixel detector marks a gap by the highest code and a bad pixel by the one below.
    return Stack(
        keys,
        layout.shape,
        read,
        geometry,
        mask,
        top_of(fields),
        reserved=2,
        close=file.close,
        shot=None if shot is None else lambda n: shot(keys.index(n)),
        modules=layout.modules,
        whole=layout.whole,
        beside=lambda other, n: _beside(file, path, dataset.shape, layout, other, keys.index(n)),
    )


def _beside(
    file: h5py.File, path: str, shape: tuple[int, ...], layout: Layout, name: str, frame: tuple[int, ...]
) -> NDArray[Any]:
    """What the data set `name` holds for the frame: that of its own where it has one for each of `shape`, else all of it."""
    if not isinstance(get(file, name), h5py.Dataset):
        raise CannotRead(f"{path}: no data set {name} in it")
    dataset = _dataset(file, path, name)
    return np.asarray(dataset[layout.part(dataset.shape, shape, frame)])


def _dataset(file: h5py.File, path: str, name: str) -> h5py.Dataset:
    try:
        dataset = file[name]
    except (KeyError, OSError, RuntimeError):
        raise _broken_link(file, path, name) from None
    if not isinstance(dataset, h5py.Dataset):
        raise CannotRead(f"{path}: {name} is no data set")
    if dataset.shape is None:
        raise BadFrame(f"{path}::{name}: an empty data set")
    _check_filters(f"{path}::{name}", dataset)
    if dataset.chunks:
        check_size(f"{path}::{name}", dataset.chunks, dataset.dtype)
        if dataset.ndim > 2 and dataset.chunks[0] > 1:
            return _with_cache(file, name, int(np.prod(dataset.chunks[1:])) * dataset.chunks[0] * dataset.dtype.itemsize, dataset)
    return dataset


def _with_cache(file: h5py.File, name: str, chunk_bytes: int, dataset: h5py.Dataset) -> h5py.Dataset:
    """The data set with room for one layer of chunks, or each frame would unpack all frames of its chunk again."""
    layer = int(np.prod([-(-s // c) for s, c in zip(dataset.shape[1:], dataset.chunks[1:], strict=True)]))
    access = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
    access.set_chunk_cache(1009, min(chunk_bytes * layer, 2**29), 1.0)
    return h5py.Dataset(h5py.h5d.open(file.id, name.encode(), access))


def _check_filters(where: str, dataset: h5py.Dataset) -> None:
    created = dataset.id.get_create_plist()
    needed = [created.get_filter(n) for n in range(created.get_nfilters())]
    if any(not h5py.h5z.filter_avail(f[0]) for f in needed):
        with suppress(ImportError):
            import hdf5plugin  # noqa: F401  (registers its filters)
    missing = [f for f in needed if not h5py.h5z.filter_avail(f[0])]
    if missing:
        names = ", ".join(f"{f[0]} ({f[3].decode('utf-8', 'replace').strip() or 'unnamed'})" for f in missing)
        raise CannotRead(f"{where}: compressed by the HDF5 filter {names}, which is not installed; look for it in hdf5plugin")


def _is_written(dataset: h5py.Dataset) -> Callable[[tuple[int | slice, ...]], bool]:
    """Whether the frame at a place exists: HDF5 gives zeros for those that a detector has declared but not written."""
    if not dataset.chunks or dataset.ndim < 3 or dataset.chunks[-2:] != dataset.shape[-2:]:
        return lambda index: True
    if dataset.id.get_num_chunks() == np.prod([-(-s // c) for s, c in zip(dataset.shape, dataset.chunks, strict=True)]):
        return lambda index: True

    def written(index: tuple[int | slice, ...]) -> bool:
        # Of a stack of modules the first stands for all.
        start = [0 if isinstance(n, slice) else n // c * c for n, c in zip(index, dataset.chunks, strict=False)]
        # To ask HDF5 where a chunk lies takes it longer the more there are: 70 ms of 200,000. To read it does not.
        try:
            return len(dataset.id.read_direct_chunk((*start, 0, 0))[1]) > 0
        except RuntimeError as error:
            return "not allocated" not in str(error)

    return written


def _check_storage(where: str, dataset: h5py.Dataset) -> None:
    virtual = dataset.is_virtual
    if virtual:
        folder = Path(dataset.file.filename).parent
        names = {s.file_name for s in dataset.virtual_sources()} - {"."}
        missing = sorted(n for n in names if "%" not in n and not (folder / n).exists())
        if missing:
            # HDF5 itself would give zeros for their frames.
            raise CannotRead(
                f"{where}: of {len(names)} files that its frames are in, {len(missing)} are missing, first {missing[0]}"
            )
    if not virtual and dataset.id.get_storage_size() == 0 and dataset.external is None:
        raise CannotRead(f"{where}: declares {dataset.shape} values but holds none: not yet written?")


def read_mask(path: str, data_path: str | None) -> NDArray[Any]:
    """The values [H W] or [modules ... h w] of a mask in an HDF5 file, nonzero = masked: at `data_path`, or its largest data set
    of whole numbers, a 2-D one before others."""
    with _open(path) as file:
        return _mask_values(file, path, data_path)


def _mask_values(file: h5py.File, path: str, data_path: str | None) -> NDArray[Any]:
    item = get(file, data_path) if data_path else None
    if data_path is None:
        found = [i for i in visit(file) if isinstance(i, h5py.Dataset) and i.ndim >= 2 and i.dtype.kind in "iub"]
        item = max(found, key=lambda d: (d.ndim == 2, d.size), default=None)
    if not isinstance(item, h5py.Dataset):
        raise CannotRead(f"{path}: no mask {data_path or '(a data set of whole numbers, 2-D or a stack of modules)'} in it")
    dataset = _dataset(file, path, str(item.name))
    check_size(path, dataset.shape, dataset.dtype)
    return np.asarray(dataset[()])
