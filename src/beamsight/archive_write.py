"""Writing archives of simulated frames, data file by data file; how they are laid out stands in `archive`."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import hashlib
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from uuid import uuid4

from beamsight.archive import MASTER, SUMS, data_name
from beamsight.archive_files import data_file, master_file
from beamsight.errors import BadArchive, BeamsightError, CannotWrite
from beamsight.frame import Frame

# A data file is made in memory, so that it is whole or not there; its frames are bounded in number and in bytes of counts.
FRAMES_PER_FILE, BYTES_PER_FILE = 500, 2**28


def write_archive(frames: Iterable[Frame], folder: str | Path, per_file: int | None = None) -> Path:
    """Write frames of one shape to `folder`, `per_file` in a data file, and return it; it appears when all are written.

    Raises CannotWrite where `folder` exists or cannot be written, BadFrame for a frame with another shape or another kind of
    scene than its neighbours, BadArchive where there is no frame.
    """
    folder = Path(folder)
    if folder.exists():
        raise CannotWrite(f"{folder} exists; frames are written to a new folder: choose another or remove it")
    with _appearing(folder) as part:
        coming, sums = iter(frames), dict[str, str]()
        for first in coming:
            shape, name = first.image.shape, data_name(len(sums))
            some = [first, *islice(coming, (per_file or frames_per_file(shape)) - 1)]
            sums[name] = write_data_file(some, part / name, shape)
        if not sums:
            raise BadArchive(f"{folder}: no frame came to be written; ask for at least one")
        finish(part, sums)
    return folder


def frames_per_file(shape: tuple[int, ...]) -> int:
    """How many frames of `shape` (H, W) a data file holds."""
    return max(1, min(FRAMES_PER_FILE, BYTES_PER_FILE // (4 * math.prod(shape))))


def write_data_file(frames: Sequence[Frame], path: Path, shape: tuple[int, ...]) -> str:
    """Writes frames of `shape` to `path`, which appears when it is whole and on the disk; gives its SHA-256.

    Raises OSError where it cannot be written, BadFrame where the frames do not go together.
    """
    content = data_file(frames, shape)
    appear(path, content)
    return hashlib.sha256(content).hexdigest()


def finish(folder: Path, sums: Mapping[str, str], title: str = "simulated frames") -> None:
    """Write the master and the list of checksums beside the data files, which have `sums` {name: SHA-256} in their order.

    Other files to be listed are given in `sums` too. The list is written last: an archive that has one is whole.
    """
    content = master_file(folder, [name for name in sums if name.endswith(".h5")], title)
    appear(folder / MASTER, content)
    whole = dict(sums) | {MASTER: hashlib.sha256(content).hexdigest()}
    appear(folder / SUMS, "".join(f"{whole[name]}  {name}\n" for name in sorted(whole)).encode())


def appear(path: Path, content: bytes) -> None:
    """A file that is there when it is whole and on the disk, and not before. Raises OSError."""
    # A worker given up for lost may be at the same file still, on another machine.
    part = path.with_name(f".{path.name}.{uuid4().hex[:12]}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def _appearing(folder: Path) -> Iterator[Path]:
    """A folder beside `folder` that takes its name when all is written, and is removed when something fails."""
    part = folder.with_name(f".{folder.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        yield part
        part.rename(folder)
    except OSError as error:
        if isinstance(error, BeamsightError):
            raise
        raise CannotWrite(f"{folder}: frames cannot be written there: {error.strerror or error}; nothing was kept") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
