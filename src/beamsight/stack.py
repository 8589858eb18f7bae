"""Frames of one place in a file, known by shape and number but not yet read."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beamsight.errors import BadFrame, CannotRead
from beamsight.frame import Geometry

# Declared bytes above which a frame or a chunk is refused before memory is taken for it.
FRAME_LIMIT_BYTES = 2**31
# A side of fewer pixels shows no scattering.
SIDE_LIMIT_PX = 8


@dataclass(frozen=True)
class Keys:
    """The keys of a stack: `prefix`, then the position along each leading axis (ranges as start, stop, step), then `suffix`."""

    prefix: str
    axes: tuple[tuple[int, int, int], ...] = ()
    suffix: str = ""

    def __len__(self) -> int:
        return prod(len(range(*axis)) for axis in self.axes)

    def index(self, n: int) -> tuple[int, ...]:
        """Where the n-th frame lies along the leading axes, the last one fastest."""
        if len(self.axes) == 1:
            return (range(*self.axes[0])[n],)
        index = []
        for axis in reversed(self.axes):
            n, rest = divmod(n, len(range(*axis)))
            index.append(range(*axis)[rest])
        return tuple(reversed(index))

    def __getitem__(self, n: int) -> str:
        if len(self.axes) == 1:  # most are, and there may be millions
            return f"{self.prefix}{range(*self.axes[0])[n]}{self.suffix}"
        return self.prefix + ",".join(map(str, self.index(n))) + self.suffix


def _nothing_beside(name: str, n: int) -> NDArray[Any]:
    raise CannotRead(f"data set {name} was asked for, but this is no HDF5 file")


@dataclass(frozen=True)
class Stack:
    """Frames of `shape` (H, W) px that `read(n)` gives as they are stored, [H W] of any numeric type.

    `mask(n)` is [H W] bool, True = trust, or None where the file says nothing; values above `top` are not trusted;
    `reserved` highest codes of an unsigned type mean "no data". `close()` ends the reading of the whole file. `shot(n)` is the
    geometry of frame n where it is not that of all. `modules`: how many are stacked in an image along each of their axes, empty
    where it is no stack; `whole` where all pixels of the image are read. `beside(name, n)` is what the data set `name` of the
    same file holds for frame n; it raises CannotRead.
    """

    keys: Keys
    shape: tuple[int, int]
    read: Callable[[int], NDArray[Any]]
    geometry: Geometry
    mask: Callable[[int], NDArray[np.bool_] | None] = lambda n: None
    top: float | None = None
    reserved: int = 1
    close: Callable[[], object] = lambda: None
    shot: Callable[[int], Geometry] | None = None
    modules: tuple[int, ...] = ()
    whole: bool = True
    beside: Callable[[str, int], NDArray[Any]] = _nothing_beside


def check_layout(path: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raises BadFrame where an image of `shape` [... H W] and `dtype` is no detector image, or too large to be read."""
    if dtype.kind not in "iuf":
        raise BadFrame(f"{path}: {_KINDS.get(dtype.kind, 'values that are not numbers')} ({dtype}); a frame holds counts")
    if len(shape) < 2:
        raise BadFrame(f"{path}: {len(shape)}-D data of shape {shape}; a frame is a 2-D image, a stack of them is 3-D")
    if 0 in shape:
        raise BadFrame(f"{path}: an empty image of shape {shape}")
    if shape[-1] in (3, 4) and len(shape) > 2 and min(shape[-3:-1]) > 4:
        raise BadFrame(f"{path}: a colour picture of shape {shape}; a frame has one value a pixel, in counts")
    if min(shape[-2:]) < SIDE_LIMIT_PX:
        raise BadFrame(f"{path}: an image of {shape[-2]} x {shape[-1]} pixels; a frame has at least {SIDE_LIMIT_PX} on a side")
    check_size(path, shape[-2:], dtype)


_KINDS = {"c": "complex values", "b": "true/false values (a mask? give it with mask=)", "O": "objects, not numbers"}


def check_size(path: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raises CannotRead where `shape` of `dtype` takes more than FRAME_LIMIT_BYTES."""
    size = prod(map(int, shape)) * dtype.itemsize
    if size > FRAME_LIMIT_BYTES:
        raise CannotRead(
            f"{path}: declares {size / 2**30:.1f} GiB for one block {shape}; at most {FRAME_LIMIT_BYTES / 2**30:.0f} are read"
        )
