"""Whether an archive of frames is whole: every checksum, every count, every key once."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from beamsight.archive import MASTER, PLAN, SUMS, DataFile, data_name, digest, read_master, read_sums
from beamsight.errors import BadArchive

# A hidden file of this end is one that is being written, or was when its writer was killed.
PART = ".part"


@dataclass
class Found:
    """What was found in an archive: `frames`, data `files` and `size` in bytes that are right, and the `faults`, a line each."""

    frames: int = 0
    files: int = 0
    size: int = 0
    faults: list[str] = field(default_factory=list)


def check_archive(folder: str | Path, tell: Callable[[int, int], None] = lambda done, files: None) -> Found:
    """Read all of an archive and compare it with its list of checksums; `tell(done, all)` hears of each file.

    Raises BadArchive where `folder` holds no archive, or one that is not finished.
    """
    folder, found = Path(folder), Found()
    sums = read_sums(folder)
    good = set[str]()
    for n, (name, fault) in enumerate(_compared(folder, sums)):
        found.faults += [fault] if fault else []
        good |= set() if fault else {name}
        tell(n + 1, len(sums))
    found.faults += _strangers(folder, sums)
    data = sorted(name for name in sums if name.startswith("data_"))
    keys = {name: _keys(folder / name, found) for name in data if name in good}
    found.frames, found.files = sum(map(len, keys.values())), len(keys)
    found.size = sum((folder / name).stat().st_size for name in good)
    found.faults += [*_doubles(folder, keys), *_disagreements(folder, sums, keys, good)]
    return found


def _compared(folder: Path, sums: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Each listed file and what is wrong with it, or nothing; as many at a time as there are processors."""

    def fault(name: str) -> str:
        if Path(name).name != name:
            return f"{folder / SUMS}: names {name!r}, which is no file of an archive"
        try:
            wrong = digest(folder / name) != sums[name]
        except BadArchive as error:
            return str(error)
        return f"{folder / name}: its SHA-256 is not the one in {SUMS}: altered, or only half copied" if wrong else ""

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from zip(sums, pool.map(fault, sums), strict=True)


def _strangers(folder: Path, sums: dict[str, str]) -> Iterator[str]:
    if MASTER not in sums:
        yield f"{folder / SUMS}: does not list {MASTER}: cut off or altered; copy the archive again"
    for path in sorted(folder.iterdir()):
        if path.name.endswith(PART):
            yield f"{path}: half-written, left by a writer that was killed; remove it"
        elif path.suffix == ".h5" and path.name not in sums:
            yield f"{path}: not in {SUMS}: no part of this archive, or the list is cut off"


def _keys(path: Path, found: Found) -> list[str]:
    try:
        return DataFile(path).keys
    except (OSError, KeyError, RuntimeError, ValueError, AttributeError) as error:
        found.faults.append(f"{path}: no data file of an archive ({str(error).splitlines()[0]})")
        return []


def _doubles(folder: Path, keys: dict[str, list[str]]) -> Iterator[str]:
    seen = dict[str, str]()
    for name, some in keys.items():
        for key in some:
            if key in seen:
                yield f"{folder / name}: the key {key} is in {seen[key]} already; every frame must have its own"
                break
            seen[key] = name


def _disagreements(folder: Path, sums: dict[str, str], keys: dict[str, list[str]], good: set[str]) -> Iterator[str]:
    """Where the master or the plan counts other frames than the data files hold."""
    if MASTER not in good:
        return
    firsts, per_file = read_master(folder)
    for part, (first, n) in enumerate(zip(firsts, per_file.tolist(), strict=True)):
        name = data_name(part)
        if name not in sums:
            yield f"{folder / name}: {MASTER} links to it, and {SUMS} does not list it; copy the archive again"
        elif keys.get(name) and (len(keys[name]), keys[name][0]) != (n, first):
            yield f"{folder / name}: has {len(keys[name])} frames from {keys[name][0]}, {MASTER} says {n} from {first}"
    if PLAN in good and (planned := json.loads((folder / PLAN).read_text())["frames"]) != sum(per_file.tolist()):
        yield f"{folder / MASTER}: links to {sum(per_file.tolist())} frames, {planned} were planned"
