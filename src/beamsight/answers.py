"""Answers on disk: one whole line a frame as they come, and tables made of those lines at the end.

A folder holds `answers.jsonl`, which is the record, `run.json`, which says who answered, and what is derived from them.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import csv
import fcntl
import json
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beamsight.answer import Answer, from_line
from beamsight.errors import CannotWrite

LINES, ABOUT, THUMBNAILS = "answers.jsonl", "run.json", "thumbnails"
CSV, HDF5, REPORT, POWDER = "answers.csv", "answers.h5", "report.html", "powder.h5"
CENTRE = ("centre_y_px", "centre_x_px", "centre_error_px")
_BLOCK = 1024


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`, given the true name only if nothing went wrong. Raises CannotWrite for a full disk."""
    part = path.with_name(path.name + ".part")
    try:
        yield part
        part.replace(path)
    except (OSError, RuntimeError) as error:
        # h5py reports a full disk as a RuntimeError when it closes the file.
        raise _cannot(path, error) from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _cannot(path: Path, error: Exception) -> CannotWrite:
    reason = (isinstance(error, OSError) and error.strerror) or str(error).splitlines()[0]
    kept = "what was answered before stays; free space or give another -o folder"
    return CannotWrite(f"{path}: cannot be written ({reason}); {kept}")


@dataclass(frozen=True)
class Done:
    """The keys that have a line already, as 8 bytes each: a million frames take 8 MB."""

    digests: NDArray[np.uint64]

    def __contains__(self, key: object) -> bool:
        at = int(np.searchsorted(self.digests, digest(str(key))))
        return at < len(self.digests) and bool(self.digests[at] == digest(str(key)))

    def __len__(self) -> int:
        return len(self.digests)


def digest(key: str) -> np.uint64:
    """8 bytes that stand for a key, as a number."""
    return np.uint64(int.from_bytes(blake2b(key.encode(errors="surrogatepass"), digest_size=8).digest(), "big"))


@dataclass
class Store:
    """The open record of one run. `count` lines are in it, `done` says which frames they answered before this run."""

    folder: Path
    fd: int
    done: Done
    count: int
    notes: list[str] = field(default_factory=list)

    def add(self, answer: Answer) -> None:
        """Append one whole line. Raises CannotWrite, and then the line is not there at all."""
        self.add_lines([answer.line()])

    def add_lines(self, lines: Sequence[str]) -> None:
        """Append lines that `Answer.line` gave. Raises CannotWrite, and then none of them is there."""
        data = "".join(f"{line}\n" for line in lines).encode(errors="backslashreplace")
        end = os.lseek(self.fd, 0, os.SEEK_END)
        try:
            while data:
                data = data[os.write(self.fd, data) :]
        except OSError as error:
            os.ftruncate(self.fd, end)
            raise _cannot(self.folder / LINES, error) from None
        self.count += len(lines)

    def close(self) -> None:
        """Give the record back to others."""
        os.close(self.fd)


def open_store(folder: str | Path, about: dict[str, Any], overwrite: bool = False) -> Store:
    """The record in `folder`, made, continued or, with `overwrite`, begun anew.

    `about` says who answers: `task` and `sha256` of the graph are compared with what answered before. Another version of the
    model is noted; another task, a foreign file or a second writer raises CannotWrite, as does a folder that cannot be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fd = os.open(folder / LINES, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    except OSError as error:
        raise CannotWrite(f"{folder}: cannot be written ({error.strerror}); give another -o folder") from None
    try:
        lock(fd, f"{folder / LINES}: another beamsight is writing it; wait for it or give another -o folder")
        if overwrite:
            _empty(fd, folder)
        notes = _compare(folder, about, os.fstat(fd).st_size)
        _drop_torn_line(fd)
        digests = np.fromiter((digest(a.key) for a in _checked(folder)), np.uint64)
        with writing(folder / ABOUT) as part:
            part.write_text(json.dumps(about, indent=1, ensure_ascii=False))
    except BaseException:
        os.close(fd)
        raise
    return Store(folder, fd, Done(np.unique(digests)), len(digests), notes)


def lock(fd: int, busy: str) -> None:
    """Keep an open file to this process until it is closed. Raises CannotWrite, which says `busy`, where another one has it.

    Some network file systems have no locks; two writers are then the user's own care.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise CannotWrite(busy) from None
    except OSError:
        return


def _empty(fd: int, folder: Path) -> None:
    os.ftruncate(fd, 0)
    for name in (ABOUT, CSV, HDF5, REPORT, POWDER):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / THUMBNAILS, ignore_errors=True)


def _compare(folder: Path, about: dict[str, Any], size: int) -> list[str]:
    if size == 0:
        return []
    before = read_about(folder)
    if before.get("task") != about["task"] or before.get("names") != about["names"]:
        raise CannotWrite(
            f"{folder}: holds answers of {before.get('model', 'something else')}, asked is {about['model']}; "
            "give another -o folder, or --overwrite to lose them"
        )
    notes = []
    if before.get("sha256") != about["sha256"]:
        notes.append(f"{folder}: some frames were answered by {before.get('model')}, the rest are by {about['model']}")
    changed = [k for k in ("options",) if before.get(k) != about.get(k)]
    if changed:
        notes.append(f"{folder}: earlier frames were answered with other options ({_told(before.get('options'))})")
    return notes


def _told(options: Any) -> str:
    return ", ".join(f"{k} {v}" for k, v in (options or {}).items()) or "none"


def _drop_torn_line(fd: int) -> None:
    """Forget what stands after the last newline: the line that a kill or a power cut left unfinished."""
    end = at = os.fstat(fd).st_size
    while at > 0:
        start = max(0, at - 65536)
        newline = os.pread(fd, at - start, start).rfind(b"\n")
        if newline >= 0:
            at = start + newline + 1
            break
        at = start
    if at != end:
        os.ftruncate(fd, at)


def _checked(folder: Path) -> Iterator[Answer]:
    try:
        yield from read_answers(folder)
    except ValueError as error:
        raise CannotWrite(f"{folder / LINES}: {error}; give another -o folder, or --overwrite to begin anew") from None


def read_about(folder: str | Path) -> dict[str, Any]:
    """Who answered, as `run.json` says; empty where there is none."""
    try:
        values = json.loads((Path(folder) / ABOUT).read_text())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def read_answers(folder: str | Path, every: int = 1) -> Iterator[Answer]:
    """The answers in a folder one by one, in order, never all at once; of `every` so many lines the first. Raises ValueError that
    names a line which is no answer."""
    with (Path(folder) / LINES).open("rb") as file:
        for number, line in enumerate(file):
            if number % every:
                continue
            try:
                yield from_line(line)
            except ValueError as error:
                raise ValueError(f"line {number + 1} is no answer ({error})") from None


def write_csv(folder: Path, names: Sequence[str]) -> None:
    """`answers.csv`: key, answer and doubtful names (joined by "; "), seconds, error, the beam's centre where it was
    estimated, and one column of probability a name."""
    with writing(folder / CSV) as part, part.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        table = csv.writer(file)
        table.writerow(["key", "answer", "doubtful", "seconds", "error", *CENTRE, *names])
        for a in read_answers(folder):
            numbers = [a.probability.get(n, "") for n in names]
            said = [a.key, "; ".join(a.names), "; ".join(a.doubtful), a.seconds or "", a.error or ""]
            table.writerow([*said, *("" if math.isnan(v) else v for v in _centre(a)), *numbers])


def _centre(answer: Answer) -> tuple[float, float, float]:
    """(y, x, error) px of a centre that was estimated; NaN where it was not."""
    if answer.centre_px is None or answer.centre_error_px is None:
        return (math.nan, math.nan, math.nan)
    return (*answer.centre_px, answer.centre_error_px)


def write_hdf5(folder: Path, names: Sequence[str], about: dict[str, Any]) -> None:
    """`answers.h5`: an NXdata of probability [n T] float32 (NaN where refused), name [T], key, answer and error [n], and the
    beam's centre [n] where it was estimated, NaN elsewhere."""
    import h5py

    with writing(folder / HDF5) as part, h5py.File(part, "w") as file:
        data = _groups(file, names, about)
        answers = read_answers(folder)
        while block := list(islice(answers, _BLOCK)):
            _append(data, block, names)


def _groups(file: Any, names: Sequence[str], about: dict[str, Any]) -> Any:
    import h5py

    file.attrs["default"] = "entry"
    entry = file.create_group("entry")
    entry.attrs.update({"NX_class": "NXentry", "default": "answers"})
    entry["title"], entry["run"] = f"{about['task']}: {about['question']}", json.dumps(about)
    data = entry.create_group("answers")
    data.attrs.update({"NX_class": "NXdata", "signal": "probability", "axes": ["frame", "tag"]})
    text, growing = h5py.string_dtype(), {"maxshape": (None,), "chunks": (_BLOCK,)}
    shape = {"maxshape": (None, len(names)), "chunks": (_BLOCK, len(names))}
    data.create_dataset("probability", (0, len(names)), "f4", **shape)
    data.create_dataset("frame", (0,), "i8", **growing)
    data["tag"] = np.arange(len(names))
    data.create_dataset("name", data=list(names), dtype=text)
    for column in ("key", "answer", "error"):
        data.create_dataset(column, (0,), text, **growing)
    for column in CENTRE:
        data.create_dataset(column, (0,), "f4", **growing).attrs["units"] = "pixel"
    data["title"] = "probability of each name (column) in each frame (row)"
    return data


def _append(data: Any, block: list[Answer], names: Sequence[str]) -> None:
    start = len(data["frame"])
    rows: dict[str, Any] = {
        "probability": np.array([[a.probability.get(n, np.nan) for n in names] for a in block], np.float32),
        "frame": np.arange(start, start + len(block)),
        "key": [_plain(a.key) for a in block],
        "answer": ["; ".join(a.names) for a in block],
        "error": [_plain(a.error or "") for a in block],
    }
    rows |= dict(zip(CENTRE, np.array([_centre(a) for a in block], np.float32).T, strict=True))
    for name, values in rows.items():
        data[name].resize(start + len(block), axis=0)
        data[name][start:] = values


def _plain(text: str) -> bytes:
    # A file name may hold bytes that are no UTF-8, and HDF5 takes no zero byte in a string.
    return text.encode(errors="backslashreplace").replace(b"\0", b"\\0")
