"""Where in an HDF5 file its images are: the default, entry/data, CXI, any NXdata, or the largest data set."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

import h5py
import numpy as np

from beamsight.errors import CannotRead

# Objects of a file that are looked at before the search for images ends.
SEARCH_LIMIT = 10_000
_NUMBERED = re.compile(r"data_\d+$")


def images_inside(file: h5py.File, path: str, data_path: str) -> list[str]:
    """The data sets of images at `data_path`: itself, or those in that group. Raises CannotRead where there is none."""
    item = get(file, data_path)
    if item is None:
        raise CannotRead(f"{path}: no {data_path} in it, but {', '.join(islice(file, 6)) or 'nothing'}")
    if isinstance(item, h5py.Dataset):
        return [data_path]
    paths = _in_group(item) or ([item.name + "/" + _largest(item)] if _largest(item) else [])
    if not paths:
        raise CannotRead(f"{path}: no image in the group {data_path}")
    return paths


def find_images(file: h5py.File) -> list[str]:
    """The data sets of images that a file is about, in the order of its frames; empty where it has none."""
    for group in _groups(file):
        paths = _in_group(group)
        if paths:
            return paths
    largest = _largest(file)
    return ["/" + largest] if largest else []


def _groups(file: h5py.File) -> Iterator[h5py.Group]:
    """Groups that may hold the images, the most telling first: the default, then entry/data, CXI, any NXdata or SASdata."""
    group: Any = file
    for _ in range(4):
        name = _text(group.attrs.get("default"))
        group = get(group, name) if name else None
        if not isinstance(group, h5py.Group):
            break
        yield group
    for entry in [g for g in map(file.get, islice(file, 100)) if isinstance(g, h5py.Group)]:
        yield from (g for g in (get(entry, n) for n in ("data", "data_1", "image_1")) if isinstance(g, h5py.Group))
    for item in visit(file):
        if isinstance(item, h5py.Group) and {"NXdata", "SASdata"} & {
            _text(item.attrs.get(a)) for a in ("NX_class", "canSAS_class")
        }:
            yield item


def _in_group(group: h5py.Group) -> list[str]:
    """The data sets of a group that hold images: its signal, `data`, or `data_000001` and so on."""
    signal = _text(group.attrs.get("signal")) or next((n for n in ("data", "I") if n in group), "")
    numbered = sorted(n for n in group if _NUMBERED.match(n))
    if numbered and (not signal or signal not in group or _NUMBERED.match(signal)):
        # A link whose file is missing is kept: leaving it out would hide that frames are missing.
        return [f"{group.name}/{n}" for n in numbered if _is_image(get(group, n)) or get(group, n) is None]
    return [f"{group.name}/{signal}"] if signal and _is_image(get(group, signal)) else []


def _largest(group: h5py.Group) -> str:
    found = [i for i in visit(group) if _is_image(i)]
    best = max(found, key=lambda d: d.size, default=None)
    return "" if best is None else best.name[len(group.name) :].lstrip("/")


def _is_image(item: Any) -> bool:
    return isinstance(item, h5py.Dataset) and item.shape is not None and len(item.shape) >= 2 and item.dtype.kind in "iufbc"


def visit(group: h5py.Group) -> list[Any]:
    """The objects in a group and below, at most SEARCH_LIMIT; links are not followed."""
    found: list[Any] = []

    def add(_: str, item: Any) -> bool | None:
        found.append(item)
        return True if len(found) >= SEARCH_LIMIT else None

    group.visititems(add)
    return found


def get(group: h5py.Group, name: str) -> Any:
    """The object of that name, None where there is none or its link leads nowhere."""
    try:
        return group.get(name)
    except (KeyError, OSError, RuntimeError):
        return None


def _text(value: Any) -> str:
    value = value.item() if isinstance(value, np.ndarray) and value.size == 1 else value
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value if isinstance(value, str) else ""
