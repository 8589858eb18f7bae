"""Where frames are: files, folders, globs, lists of them, and places inside files written as silx writes them."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import EllipsisType
from typing import Any

from beamsight.errors import BeamsightError, CannotRead

# Names of files that are taken from a folder; any other file can be given by its own name.
IMAGE_NAMES = re.compile(
    r"\.(edf|cbf|tiff?|h5|hdf5?|nxs|nx|nexus|cxi|npy|img|mccd|mar\d*|sfrm|gfrm|kcd|raxis|osc|spe|png|sans)(\.(gz|bz2))?$", re.I
)
# In the place of an axis of a slice: the modules of one image lie along it.
MODULE = "m"
_SLICE_OF_MODULES = re.compile(rf"[?&]slice=(?:[^&]*,)?{MODULE}(?:,|$)")
# A line of CrystFEL's lists of events: a file and the number of a frame in it.
_EVENT = re.compile(r"(\S.*?)\s+//(\d+)")
_DATA_FILE = re.compile(r"(.+)_data_\d+(\.(?:h5|nxs|hdf5))$", re.I)


Index = tuple[int | slice | str | EllipsisType, ...]


@dataclass(frozen=True)
class Address:
    """`path` absolute; `data_path` inside an HDF5 file; `index` as written, "3,0:5". None = all there is."""

    path: str
    data_path: str | None = None
    index: str | None = None


@dataclass(frozen=True)
class Nowhere:
    """A `name` that gives no file, and the `reason`."""

    name: str
    reason: str


def absolute(path: str | os.PathLike[str]) -> str:
    """The path from the root, links kept as the user named them."""
    return os.path.normpath(Path(path).absolute())


def parse_address(text: str) -> Address:
    """A path, or a silx DataUrl: `x.h5::/entry/data`, `x.h5?path=/entry/data&slice=3`, `fabio:x.edf?slice=2`.

    Raises CannotRead for an address that is neither.
    """
    if _exists(text) or not re.search(r"::|\?|^(silx|fabio|file):", text):
        return Address(absolute(text))
    from silx.io.url import DataUrl

    brackets = re.fullmatch(r"(.*::.*)\[([-\d:,. m]+)\]", text)
    plain = brackets[1] if brackets else text.removeprefix("file://").removeprefix("file:")
    # silx knows of no modules.
    url = DataUrl(re.sub(r"([?&]slice=)[^&]*", r"\g<1>0", plain) if _SLICE_OF_MODULES.search(plain) else plain)
    file = url.file_path()
    if not url.is_valid() or url.scheme() not in (None, "silx", "fabio") or not file:
        raise CannotRead(f"{text}: no address; write file.h5::/entry/data/data or file.h5?path=/entry/data/data&slice=3")
    index = re.search(r"[?&]slice=([^&]*)", text)
    return Address(absolute(file), url.data_path() or None, brackets[2] if brackets else index[1] if index else None)


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # a name that is too long, or holds a zero byte
        return False


def parse_index(text: str | None) -> Index | None:
    """The slice of an address, as NumPy takes it. Raises CannotRead where it is none."""
    if text is None:
        return None
    try:
        return tuple(_part(p.strip()) for p in text.split(","))
    except ValueError:
        raise CannotRead(f"slice={text}: no slice; write numbers and ranges as in slice=3 or slice=0,10:20") from None


def _part(text: str) -> int | slice | str | EllipsisType:
    if text == "...":
        return Ellipsis
    if text == MODULE:
        return MODULE
    return slice(*(int(t) if t else None for t in text.split(":"))) if ":" in text else int(text)


def parse_frames(text: str | slice | None) -> slice:
    """A slice of each file's frames, written as in Python: "0:100:10", "::2", "5" for frame 5 alone. Raises BeamsightError."""
    if text is None or isinstance(text, slice):
        return text or slice(None)
    parts = text.strip().split(":")
    try:
        numbers = [int(p) if p.strip() else None for p in parts]
    except ValueError:
        numbers = []
    if not numbers or len(parts) > 3 or (len(parts) == 3 and numbers[2] == 0) or (len(parts) == 1 and numbers[0] is None):
        raise BeamsightError(f"frames {text!r} is no range; write start:stop:step as in 0:100:10, or one number")
    if len(parts) == 1 and numbers[0] is not None:
        return slice(numbers[0], numbers[0] + 1 or None)
    return slice(*numbers)


def find_addresses(where: Any, leave_out: Iterable[str] = ()) -> Iterator[Address | Nowhere]:
    """The files that `where` names, in order, folders sorted as people count; for each name that gives none, why.

    `where`: path, glob, `@list` of lines (names as here, or CrystFEL's events `file //3`), DataUrl, or several. `leave_out`:
    absolute paths that are no frames, such as the mask.
    """
    out = frozenset(leave_out)
    for item in [where] if isinstance(where, str | os.PathLike) else where:
        text = os.fspath(item)
        found = map(_spoken, _expand(text, out))
        yield from chain([next(found, Nowhere(text, _nothing(text)))], found)


def _spoken(found: Address | Nowhere) -> Address | Nowhere:
    """A file whose name is no text cannot be named in an answer."""
    if isinstance(found, Nowhere) or found.path.isascii() or found.path.encode("utf-8", "replace").decode() == found.path:
        return found
    return Nowhere(found.path.encode("utf-8", "replace").decode(), "the name of this file is no UTF-8 text; rename it")


def _nothing(text: str) -> str:
    if _exists(text) and Path(text).is_dir():
        return "no image in this folder; files are taken by their ending (.edf, .cbf, .tif, .h5, .nxs, .cxi, .npy, ...)"
    return "an empty list" if text.startswith("@") else "no file matches"


def _expand(text: str, out: frozenset[str]) -> Iterator[Address | Nowhere]:
    if text.startswith("@") and not _exists(text):
        yield from _listed(text[1:], out)
    elif _exists(text) and Path(text).is_dir():
        found = _walk(absolute(text), set())
        yield from (Address(p) if isinstance(p, str) else p for p in found if p not in out)
    elif not _exists(text) and glob.has_magic(text) and not re.search(r"::|\?path=|\?slice=", text):
        # Path.glob takes no absolute pattern.
        for path in sorted(glob.iglob(text, recursive=True), key=natural):  # noqa: PTH207
            yield from _expand(path, out)
    else:
        try:
            yield parse_address(text)
        except CannotRead as error:
            yield Nowhere(text, str(error).removeprefix(f"{text}: "))


def _listed(path: str, out: frozenset[str]) -> Iterator[Address | Nowhere]:
    try:
        lines = Path(path).open(encoding="utf-8", errors="surrogateescape")  # noqa: SIM115 (closed below)
    except OSError as error:
        yield Nowhere(path, f"the list cannot be read: {error.strerror}")
        return
    with lines:
        for line in lines:
            text = line.strip()
            event = _EVENT.fullmatch(text)
            if event is not None:
                yield Address(absolute(Path(path).parent / event[1]), None, event[2])
            elif text and not text.startswith(("#", "@")):
                scheme = re.match(r"(silx|fabio|file):", text)
                yield from _expand(text if scheme else str(Path(path).parent / text), out)


def _walk(folder: str, seen: set[tuple[int, int]]) -> Iterator[str | Nowhere]:
    """Images below a folder, sorted, each real folder once: links may form loops."""
    try:
        status = Path(folder).stat()
        with os.scandir(folder) as listing:
            entries = sorted((e for e in listing if not e.name.startswith(".")), key=lambda e: natural(e.name))
    except OSError as error:
        yield Nowhere(folder, f"the folder cannot be read: {error.strerror}")
        return
    if (status.st_dev, status.st_ino) in seen:
        return
    seen.add((status.st_dev, status.st_ino))
    known = {e.name for e in entries}
    for entry in entries:
        if _is_folder(entry):
            yield from _walk(entry.path, seen)
        elif IMAGE_NAMES.search(entry.name) and not _has_master(entry.name, known):
            yield entry.path


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _has_master(name: str, known: set[str]) -> bool:
    """Whether a data file is read through its master file, which stands beside it."""
    match = _DATA_FILE.match(name)
    return match is not None and f"{match[1]}_master{match[2]}" in known


def natural(text: str | Path) -> list[tuple[int, int, str]]:
    """A sort key by which scan_2 comes before scan_10."""
    return [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in re.split(r"(\d+)", str(text)) if p]
