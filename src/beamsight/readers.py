"""One file to its frames: what it is, by its first bytes; which reader; what of it is trusted."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import bz2
import gzip
import os
import stat
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from beamsight.addresses import Address, parse_address, parse_index
from beamsight.errors import BadFrame, BeamsightError, CannotRead
from beamsight.frame import Frame, Geometry
from beamsight.masks import trusted
from beamsight.stack import FRAME_LIMIT_BYTES, Stack

if TYPE_CHECKING:
    from beamsight.crystfel_geom import Geom

T = TypeVar("T")

HDF5, NPY, PICTURES = b"\x89HDF\r\n\x1a\n", b"\x93NUMPY", (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"GIF8")
TIFFS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# First bytes of what is no image, with its name.
OTHERS = {b"PK\x03\x04": "a zip archive", b"%PDF": "a PDF", b"\x7fELF": "a program", b"7z\xbc\xaf": "a 7z archive"}
OTHERS |= {bytes([0x80, version]): "a pickle" for version in range(2, 6)}


@dataclass(frozen=True)
class Options:
    """What a user adds to every file: `mask` [H W] bool (True = trust), `poni` a pyFAI geometry, `geom` one of CrystFEL;
    None = nothing."""

    mask: NDArray[np.bool_] | None = None
    poni: Any = None
    geom: Geom | None = None


def load_options(
    mask: Any = None, poni: str | os.PathLike[str] | None = None, geom: str | os.PathLike[str] | None = None
) -> Options:
    """Options from a mask (a path or several, 1 = masked; or an array of bool, True = trust), [H W] or a stack of modules, and
    the path of a .poni or a .geom file.

    Raises CannotRead or BadFrame where they cannot be used.
    """
    if poni is not None and geom is not None:
        raise BadFrame(f"{poni} and {geom}: two geometries were given for the same frames; give one")
    placed, panels = None, None
    if poni is not None:
        from beamsight.geometry_files import load_poni

        placed = load_poni(os.fspath(poni))
    if geom is not None:
        from beamsight.crystfel_geom import load_geom

        panels = load_geom(os.fspath(geom))
    return Options(None if mask is None else _load_masks(mask), placed, panels)


def _load_masks(mask: Any) -> NDArray[np.bool_]:
    if isinstance(mask, np.ndarray):
        if mask.ndim < 2 or mask.dtype != bool:
            raise BadFrame(f"mask: an array of shape {mask.shape} and type {mask.dtype}; give [H W] of bool, True = trust")
        return mask.reshape(-1, mask.shape[-1])
    paths = [mask] if isinstance(mask, str | os.PathLike) else list(mask)
    masks = [load_mask(os.fspath(p)) for p in paths]
    if len({m.shape for m in masks}) > 1:
        raise BadFrame(f"masks of different shapes: {', '.join(f'{p} {m.shape}' for p, m in zip(paths, masks, strict=True))}")
    return np.asarray(np.logical_and.reduce(masks))


def load_mask(where: str) -> NDArray[np.bool_]:
    """The trusted pixels [H W] that a mask file says: nonzero there = masked. Any image format; also true/false data.

    Masks [modules ... h w] of a stack of modules are put below one another, as the modules are.
    """
    address = parse_address(where)
    check_file(address.path)
    array = _mask_array(address)
    if array.ndim < 2:
        raise BadFrame(f"{where}: a mask is an image, or a stack of modules; this has shape {array.shape}")
    return np.asarray(array.reshape(-1, array.shape[-1]) == 0)


def _mask_array(address: Address) -> NDArray[Any]:
    head = _head(address.path)
    if head.startswith(NPY):
        return np.asarray(np.load(address.path, allow_pickle=False))
    if head.startswith(HDF5):
        from beamsight.hdf5 import read_mask

        return read_mask(address.path, address.data_path)
    stacks = open_stacks(address)
    try:
        return np.asarray(refusing(address.path, lambda: stacks[0].read(0)))
    finally:
        close(stacks)


def open_stacks(address: Address, options: Options | None = None) -> list[Stack]:
    """The stacks of frames at an address, pixels unread. Raises CannotRead or BadFrame, one line each."""
    check_file(address.path)
    described = (None, None) if options is None or options.geom is None else (options.geom.data, options.geom.axes)
    stacks = refusing(address.path, lambda: _cut(address, _open(address, described)))
    if not sum(len(stack.keys) for stack in stacks):
        close(stacks)
        raise CannotRead(f"{address.path}: no image in it")
    return stacks


def refusing(path: str, work: Callable[[], T]) -> T:
    """What `work` gives. Readers raise errors of many kinds; all leave as CannotRead, one line, with the path."""
    try:
        return work()
    except BeamsightError:
        raise
    except MemoryError:
        raise CannotRead(f"{path}: needs more memory than a reader is given") from None
    except RecursionError:
        raise CannotRead(f"{path}: nested too deeply to be read") from None
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        raise CannotRead(f"{path}: cannot be read as {_guess(_head(path))}: {type(error).__name__}: {text}") from None


def check_file(path: str) -> None:
    """Raises CannotRead where `path` is no regular file with bytes in it."""
    try:
        status = Path(path).stat()
    except (OSError, ValueError) as error:
        broken = "a link to nothing" if isinstance(error, FileNotFoundError) and Path(path).is_symlink() else _words(error)
        raise CannotRead(f"{path}: {broken}") from None
    if not stat.S_ISREG(status.st_mode):
        raise CannotRead(f"{path}: no regular file")
    if status.st_size == 0:
        raise CannotRead(f"{path}: an empty file")


def _head(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(1024)
    except OSError as error:
        raise CannotRead(f"{path}: {_words(error)}") from None


def _words(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).lower()


def _guess(head: bytes) -> str:
    if head.startswith(HDF5):
        return "HDF5"
    return "TIFF" if head.startswith(TIFFS) else "NumPy" if head.startswith(NPY) else "an image"


def _open(address: Address, described: Any) -> list[Stack]:
    path, head = address.path, _head(address.path)
    other = next((name for first, name in OTHERS.items() if head.startswith(first)), None)
    if other:
        raise CannotRead(f"{path}: {other}; images are read from HDF5, TIFF, EDF, CBF, .npy and what fabio knows")
    if head.startswith(HDF5):
        from beamsight.hdf5 import open_hdf5

        return open_hdf5(path, address.data_path, address.index, described)
    if address.data_path is not None:
        raise CannotRead(f"{path}: no HDF5 file, so there is no {address.data_path} in it; it begins with {head[:8]!r}")
    return _open_image(path, head)


def _open_image(path: str, head: bytes) -> list[Stack]:
    from beamsight import images

    if head.startswith(NPY):
        return images.open_npy(path)
    if head.startswith(TIFFS):
        return images.open_tiff(path)
    if head.startswith(PICTURES):
        return images.open_picture(path)
    if head.startswith((b"\x1f\x8b", b"BZh")):
        return images.open_fabio(path, _unpack(path, head))
    if _is_text(head) and not head.lstrip().startswith((b"{", b"###CBF")) and Path(path).suffix != ".cbf":
        from beamsight.tables import open_table

        return open_table(path)
    return images.open_fabio(path)


def _is_text(head: bytes) -> bool:
    return not any(b < 9 or 13 < b < 32 for b in head)


def _unpack(path: str, head: bytes) -> bytes:
    data = bytearray()
    with gzip.open(path) if head.startswith(b"\x1f\x8b") else bz2.open(path) as file:
        while block := file.read(2**20):
            data += block
            if len(data) > FRAME_LIMIT_BYTES:
                raise CannotRead(f"{path}: unpacks to more than {FRAME_LIMIT_BYTES / 2**30:.0f} GiB")
    return bytes(data)


def _cut(address: Address, stacks: list[Stack]) -> list[Stack]:
    """Of a file that is not HDF5, the frames that the address's slice asks for."""
    index = parse_index(address.index)
    if index is None or address.data_path is not None or _head(address.path).startswith(HDF5):
        return stacks
    if len(index) != 1 or len(stacks) != 1 or not isinstance(index[0], int | slice):
        raise BadFrame(f"{address.path}: of a file of this kind one frame or a range of frames can be asked for, as in ?slice=3")
    stack, part = stacks[0], index[0]
    chosen = range(len(stack.keys))[part if isinstance(part, slice) else slice(part, part + 1 or None)]
    if not len(chosen):
        raise BadFrame(f"{address.path}: frame {part} was asked for, there are {len(stack.keys)}")
    if not stack.keys.axes:
        return stacks
    keys = replace(stack.keys, axes=((chosen.start, chosen.stop, chosen.step),))
    return [replace(stack, keys=keys, read=lambda n: stack.read(chosen[n]))]


def close(stacks: Sequence[Stack]) -> None:
    """Close the file of the stacks."""
    for stack in stacks:
        stack.close()


def check_options(stack: Stack, options: Options, path: str) -> None:
    """Raises BadFrame where the user's mask or geometry was made for another shape."""
    if options.poni is not None:
        from beamsight.geometry_files import from_poni

        from_poni(options.poni, stack.shape, path)
    if options.geom is not None:
        from beamsight.crystfel_place import check_geom

        check_geom(options.geom, stack, path)
    if options.mask is not None and options.mask.shape != stack.shape:
        modules = f", {' x '.join(map(str, stack.modules))} modules below one another," if stack.modules else ""
        raise BadFrame(
            f"{path}: the mask has shape {options.mask.shape}, the image{modules} {stack.shape}; "
            "give a mask made for this detector"
        )


def read_frame(stack: Stack, n: int, options: Options, path: str) -> Frame:
    """The n-th frame of a stack, full size. Raises CannotRead or BadFrame, one line each."""
    return refusing(path, lambda: _frame(stack, n, options))


def _frame(stack: Stack, n: int, options: Options) -> Frame:
    key = stack.keys[n]
    raw = stack.read(n)
    if raw.shape != stack.shape:
        raise CannotRead(f"{key}: an image of shape {raw.shape} where {stack.shape} was declared")
    mask = trusted(raw, stack.top, stack.reserved)
    for other in (_file_mask(stack, n, options, key, raw), options.mask):
        if other is not None:
            mask &= other
    with np.errstate(over="ignore", invalid="ignore"):
        image = raw.astype(np.float32)
    if raw.dtype.kind == "f":
        finite = np.isfinite(image)
        mask &= finite
        image[~finite] = 0
    if not mask.any():
        raise BadFrame(f"{key}: no pixel of this {raw.shape[0]} x {raw.shape[1]} image can be trusted: {_why(raw)}")
    return Frame(image, mask, _geometry(stack, n, options, key), key)


def _file_mask(stack: Stack, n: int, options: Options, key: str, raw: NDArray[Any]) -> NDArray[np.bool_] | None:
    """What the file says of its pixels, or in its place what the .geom file says."""
    if options.geom is None:
        return stack.mask(n)
    from beamsight.crystfel_place import trusted_by

    return trusted_by(options.geom, stack, n, key, raw)


def _geometry(stack: Stack, n: int, options: Options, key: str) -> Geometry:
    own = stack.geometry if stack.shot is None else stack.shot(n)
    if options.poni is not None:
        from beamsight.geometry_files import from_poni

        return from_poni(options.poni, stack.shape, key)
    if options.geom is not None:
        from beamsight.crystfel_place import placed_by

        return placed_by(options.geom, stack, n, key, own)
    return own


def _why(raw: NDArray[Any]) -> str:
    if raw.dtype.kind == "f" and np.isnan(raw).all():
        return "all are NaN"
    return "all are masked, saturated or negative"


def spread(counts: Sequence[int], frames: slice) -> Iterator[tuple[int, int]]:
    """(stack, n) of the frames of a file that `frames` selects, counted through all its stacks of `counts` frames."""
    starts = [0, *accumulate(counts)]
    for i in range(starts[-1])[frames]:
        stack = bisect_right(starts, i) - 1
        yield stack, i - starts[stack]
