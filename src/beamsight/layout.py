"""Which axes of a data set number frames, and which the modules of one image, which are put below one another.

The first of these that says something decides:

1. the slice of an address: an axis that it numbers or ranges over is frames, `m` on an axis is modules (`slice=:,m`);
2. a .geom file, by its dim0, dim1, ...;
3. the names of the axes that the data set or its group gives (`axes`): those that speak of modules, panels or sensors are
   modules, a gain axis is read at its first value, all others are frames;
4. in a CXI file with 4 or 5 dimensions the second is modules, and a third of length 1 or 2 is the gain;
5. the same outside CXI where each image is a sensor of an XFEL detector, and there are 2 to MODULES of them.

Else all axes are frames where one of them at most is longer than 1; what is left is refused, because nobody can know.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod
from typing import Any
from urllib.parse import quote

import h5py
import numpy as np
from numpy.typing import NDArray

from beamsight.addresses import MODULE, Index
from beamsight.errors import BadFrame
from beamsight.stack import Keys

# Rows and columns of one sensor: CSPAD, AGIPD, DSSC, JUNGFRAU without and with pixels between its chips, ePix10k. The 256 x 256
# of an LPD is left out: many scans with electrons have frames of that size.
SENSORS = {(185, 388), (512, 128), (128, 512), (512, 1024), (514, 1030), (352, 384)}
# A JUNGFRAU of 16 megapixels has so many.
MODULES = 32
# Of these a raw file keeps the gain beside the counts of each module.
WITH_GAIN = {(512, 128), (128, 512)}
_CXI = re.compile(r"/?entry_\d+/(data|image|instrument)_\d+/")
_MODULE = re.compile(r"module|panel|quad|sensor|tile|asic|segment", re.I)
_GAIN = re.compile(r"gain", re.I)

FRAME = "n"
# One for each axis but the last two: FRAME, MODULE, or the only value that is read.
Axes = tuple[str | int, ...]
Range = tuple[int, int, int]


@dataclass(frozen=True)
class Layout:
    """How a data set [... h w] is cut into images [H W]: `axes` as above, `ranges` (start, stop, step) of each of them, `window`
    the rows and columns that are read of each module; `whole` where these are all; `marked` where the user wrote which axes are
    modules."""

    axes: Axes
    ranges: tuple[Range, ...]
    window: tuple[Range, Range]
    whole: bool
    marked: bool = False

    @property
    def modules(self) -> tuple[int, ...]:
        """How many modules there are along each of their axes; empty where an image is no stack of them."""
        return tuple(len(range(*r)) for a, r in zip(self.axes, self.ranges, strict=True) if a == MODULE)

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) of an image, its modules below one another."""
        return prod(self.modules) * len(range(*self.window[0])), len(range(*self.window[1]))

    def place(self, frame: tuple[int, ...]) -> tuple[int | slice, ...]:
        """Where along the leading axes the frame lies whose numbers along those of frames are `frame`."""
        numbers = iter(frame)
        return tuple(next(numbers) if a == FRAME else slice(None) if a == MODULE else int(a) for a in self.axes)

    def is_image(self, other: tuple[int, ...], shape: tuple[int, ...]) -> bool:
        """Whether data of shape `other` hold a value for each pixel of an image of the data set of `shape`."""
        pixels = prod(self.modules) * shape[-2] * shape[-1]
        return len(other) >= 2 and other[-1] == shape[-1] and prod(other) == pixels

    def part(self, other: tuple[int, ...], shape: tuple[int, ...], frame: tuple[int, ...]) -> tuple[int | slice, ...]:
        """Where in data of shape `other`, beside a data set of `shape`, stands what they hold for a frame: all of it where they
        do not have one for each."""
        if other == shape:
            return self.place(frame)
        counts = tuple(n for n, a in zip(shape, self.axes, strict=False) if a == FRAME)
        own = counts and other[: len(counts)] == counts and not self.is_image(other, shape)
        return frame if own else ()

    def image(self, values: NDArray[Any]) -> NDArray[Any]:
        """[H W] of the values [modules ... h w] of one frame, already cut to the window."""
        return values.reshape(self.shape) if self.modules else values

    def cut(self, whole: NDArray[Any]) -> NDArray[Any]:
        """The window of each module of an image [H W] of whole modules."""
        if self.whole:
            return whole
        rows, columns = (slice(*axis) for axis in self.window)
        return self.image(whole.reshape(*self.modules, -1, whole.shape[-1])[..., rows, columns])

    def keys(self, path: str, name: str) -> Keys:
        """The keys of the frames, each the address of its own; silx takes them too where no `m` is in them."""
        name = quote(name, safe="/_-.~:@,;=!*'() ")
        texts = [MODULE if a == MODULE else str(a) for a in self.axes]
        at = [n for n, a in enumerate(self.axes) if a == FRAME]
        tail = texts[at[-1] + 1 if at else 0 :] if self.marked or not self.whole else []
        tail += [] if self.whole else [f"{a}:{b}:{s}" for a, b, s in self.window]
        if not at:
            return Keys(f"{path}?path={name}&slice={','.join(tail)}" if tail else f"{path}::{name}")
        head = "".join(f"{t}," for t in texts[: at[0]])
        frames = tuple(self.ranges[n] for n in at)
        return Keys(f"{path}?path={name}&slice={head}", frames, "".join(f",{t}" for t in tail))


def layout_of(where: str, dataset: h5py.Dataset, index: Index | None, described: Axes | None = None) -> Layout:
    """The layout of a data set, `index` as an address gives it, `described` as a .geom file gives it.

    Raises BadFrame where the index leaves no image, or nobody can know whether axes are frames or modules.
    """
    shape = dataset.shape
    if len(shape) < 2:
        raise BadFrame(f"{where}: {len(shape)}-D data of shape {shape}; a frame is a 2-D image, a stack of them is 3-D")
    parts, explicit = _spread(where, index, shape)
    ranges = [_range(where, part, n) for part, n in zip(parts, shape, strict=True)]
    if len(shape) >= 2 and not all(isinstance(p, slice) for p in parts[-2:]):
        raise BadFrame(f"{where}: the slice {_written(parts)} leaves no 2-D image of shape {shape}")
    # A .geom file of so many dimensions; that of a slab serves its modules too, as we put them as a slab does.
    told = described if described is not None and len(described) == len(shape) - 2 else _axes(dataset)
    known = told or (FRAME,) * (len(shape) - 2)
    axes = tuple(_chosen(known[n], parts[n], explicit[n]) for n in range(len(shape) - 2))
    marked = any(part == MODULE for part in parts)
    whole = ranges[-2:] == [(0, n, 1) for n in shape[-2:]]
    found = Layout(axes, tuple(ranges[:-2]), (ranges[-2], ranges[-1]), whole, marked)
    _check(where, shape, found, index is not None or told is not None)
    return found


def _spread(where: str, index: Index | None, shape: tuple[int, ...]) -> tuple[list[Any], list[bool]]:
    """The index of each axis, and whether the user wrote it."""
    given: list[Any] = list(index or ())
    if given.count(Ellipsis):
        at = given.index(Ellipsis)
        given[at : at + 1] = [None] * (len(shape) - len(given) + 1)
    if len(given) > len(shape):
        raise BadFrame(f"{where}: {len(given)} indices for data of shape {shape}")
    given += [None] * (len(shape) - len(given))
    return [slice(None) if part is None else part for part in given], [part is not None for part in given]


def _chosen(known: str | int, part: Any, explicit: bool) -> str | int:
    if part == MODULE:
        return MODULE
    return FRAME if explicit else known


def _range(where: str, part: Any, n: int) -> Range:
    if part == MODULE:
        return (0, n, 1)
    if isinstance(part, slice):
        return part.indices(n)
    if not -n <= part < n:
        raise BadFrame(f"{where}: image {part} was asked for, there are {n}")
    return (part % n, part % n + 1, 1)


def _check(where: str, shape: tuple[int, ...], found: Layout, known: bool) -> None:
    at = [n for n, a in enumerate(found.axes) if a == FRAME]
    if at and at[-1] - at[0] != len(at) - 1:
        raise BadFrame(
            f"{where}: data of shape {shape} with modules between the axes that number frames; address one frame of it"
        )
    beyond = next((n for n, a in enumerate(found.axes) if isinstance(a, int) and a >= shape[n]), None)
    if beyond is not None:
        raise BadFrame(f"{where}: number {found.axes[beyond]} of dim{beyond} was asked for, there are {shape[beyond]}")
    if not known and sum(n > 1 for n in shape[:-2]) > 1:
        zeros, colons = ",".join("0" * (len(shape) - 2)), ",".join(":" * (len(shape) - 2))
        raise BadFrame(
            f"{where}: {len(shape)}-D data of shape {shape}, perhaps the modules of a detector; say which, in the address: "
            f"?path=...&slice=:{',m' * (len(shape) - 3)} for modules of one image, slice={colons} for images of their own, "
            f"slice={zeros} for one image"
        )


def _axes(dataset: h5py.Dataset) -> Axes | None:
    """What the file itself says, or its shape does; None where it says nothing."""
    if dataset.ndim < 3:
        return None
    names = _names(dataset)
    if names is not None:
        return tuple(MODULE if _MODULE.search(n) else 0 if _GAIN.search(n) else FRAME for n in names[:-2])
    if dataset.ndim < 4 or prod(dataset.shape[1:-2]) < 2:
        return None
    sensor = dataset.shape[-2:]
    cxi = "cxi_version" in dataset.file or _CXI.match(dataset.name) is not None
    gain = dataset.ndim == 5 and dataset.shape[2] <= 2 and (cxi or sensor in WITH_GAIN)
    axes: Axes = (FRAME, MODULE, 0) if gain else (FRAME, *[MODULE] * (dataset.ndim - 3))
    count = prod(n for n, a in zip(dataset.shape, axes, strict=False) if a == MODULE)
    return axes if cxi or (sensor in SENSORS and 2 <= count <= MODULES) else None


def _names(dataset: h5py.Dataset) -> list[str] | None:
    """The names of all axes, from the attribute `axes` of the data set (CXI, "a:b:y:x") or of its group (NeXus); None without."""
    for holder in (dataset, dataset.parent):
        value = holder.attrs.get("axes")
        value = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        values = re.split("[:,]", value) if isinstance(value, str) else [] if value is None else list(np.atleast_1d(value))
        names = [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in values]
        if len(names) == dataset.ndim and all(n.strip() not in ("", ".") for n in names[:-2]):
            return [n.strip() for n in names]
    return None


def _written(parts: list[Any]) -> str:
    return ",".join(":" if isinstance(p, slice) else str(p) for p in parts)
