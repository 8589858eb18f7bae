"""An archive simulated data file by data file: each a pure function of task, seed and numbers, made by any process, in any order.

plan.json                what the archive is to hold; whoever writes the archive has it locked
data_000001.h5           appears when it is whole and on the disk
.data_000001.h5.sum      its SHA-256, until all are there and SHA256SUMS has it
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from beamsight.ahead import keep_memory
from beamsight.answers import lock
from beamsight.archive import PLAN, SUMS, data_name, digest
from beamsight.archive_check import PART
from beamsight.archive_write import appear, finish, frames_per_file, write_data_file
from beamsight.cluster import connected, in_order
from beamsight.errors import BeamsightError, CannotWrite
from beamsight.examples import TEST, TRAINING, simulate
from beamsight.task import Task, example

GOES_ON = "finished data files are kept, and the same command goes on from there"
# Pieces handed out at a time: a few for each worker, so that none waits.
AHEAD_EACH, AHEAD = 4, 256
# A file written by another machine may be seen late on a shared disk.
SEEN_S = 30.0

Tell = Callable[[int], None]


@dataclass(frozen=True)
class Plan:
    """What an archive holds: `frames` examples of a task from number `first` on, and which version makes them; `drawn` is the
    SHA-256 of the first and the last scene and detector, so that other physics under the same name is noticed."""

    task: str
    seed: int
    first: int
    frames: int
    shape: tuple[int, int]
    per_file: int
    beamsight: str
    drawn: str

    def text(self) -> str:
        """The plan as it is kept: JSON, a line a number."""
        return json.dumps(asdict(self), indent=1) + "\n"


@dataclass(frozen=True)
class Part:
    """A unit of work: the data file `path` of the `count` examples from number `first` on."""

    task: Task
    seed: int
    shape: tuple[int, int]
    first: int
    count: int
    path: Path

    @property
    def sum(self) -> Path:
        """Where the SHA-256 of the data file is kept until the archive is finished."""
        return self.path.with_name(f".{self.path.name}.sum")


def simulate_archive(
    task: Task,
    folder: str | Path,
    n: int,
    seed: int = 0,
    shape: tuple[int, int] | None = None,
    training: bool = False,
    workers: int | None = None,
    cluster: str | None = None,
    tell: Tell = lambda frames: None,
    per_file: int | None = None,
) -> Path:
    """Write the first `n` test examples, or with `training` training examples, of a task to an archive folder, and return it.

    `shape` (H, W) px, by default the task's; `workers` and `cluster` as `cluster.connected` takes them, with neither all is made
    in this process; `tell` hears how many more frames are there, those of an earlier run first. A folder that holds a part of
    the same archive is completed, and the result is the same to the byte. Raises CannotWrite where the folder holds anything
    else, is being written by another process, or cannot be written.
    """
    folder, shape = Path(folder).absolute(), shape or task.shape
    numbers = (TRAINING if training else TEST)[:n]
    if not 0 < n == len(numbers):
        raise BeamsightError(f"{n:,} frames were asked for; there are 1 to {len(TEST):,} to judge by, and more with --training")
    if min(shape) < 1:
        raise BeamsightError(f"frames of {shape[0]} x {shape[1]} pixels hold nothing; ask for a larger size")
    ends = hashlib.sha256(repr([example(task, seed, numbers[i]) for i in (0, -1)]).encode()).hexdigest()
    size = per_file or frames_per_file(shape)
    plan = Plan(task.name, seed, numbers[0], n, shape, size, version("beamsight"), ends)
    parts = [
        Part(task, seed, shape, numbers[i], len(numbers[i : i + size]), folder / data_name(i // size)) for i in range(0, n, size)
    ]
    try:
        with _claimed(folder, plan):
            if not (folder / SUMS).exists():
                _complete(folder, parts, task.name, tell, workers, cluster)
            _clean(folder)
    except OSError as error:
        if isinstance(error, BeamsightError):
            raise
        raise _unwritable(folder, error) from None
    return folder


def make_part(part: Part, tell: Tell | None = None) -> int:
    """Make one data file and note its SHA-256; gives its number of frames. `tell` hears of frames as they come.

    Raises CannotWrite where it cannot be written; nothing of it is left then.
    """
    keep_memory()
    frames = []
    for frame in simulate(part.task, part.count, part.seed, part.shape, first=part.first):
        frames.append(frame)
        if tell is not None:
            tell(1)
    try:
        appear(part.sum, write_data_file(frames, part.path, part.shape).encode())
    except OSError as error:
        if isinstance(error, BeamsightError):
            raise
        raise _unwritable(part.path, error) from None
    return part.count


def _complete(folder: Path, parts: Sequence[Part], title: str, tell: Tell, workers: int | None, cluster: str | None) -> None:
    _clean(folder, PART)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        there = list(pool.map(_whole, parts))
    tell(sum(part.count for part, whole in zip(parts, there, strict=True) if whole))
    _make([part for part, whole in zip(parts, there, strict=True) if not whole], tell, workers, cluster)
    sums = {part.path.name: _seen(part).decode() for part in parts}
    finish(folder, sums | {PLAN: digest(folder / PLAN)}, title)


def _make(parts: Sequence[Part], tell: Tell, workers: int | None, cluster: str | None) -> None:
    if workers is None and cluster is None:
        for part in parts:
            make_part(part, tell)
    elif parts:
        with connected(workers, cluster) as client:
            for count in in_order(client, make_part, parts, AHEAD_EACH * workers if workers else AHEAD):
                tell(count)


def _whole(part: Part) -> bool:
    """Whether a data file of an earlier run is there as it was written; one that is not is made again."""
    try:
        return part.sum.read_bytes() == digest(part.path).encode()
    except OSError:
        return False


def _seen(part: Part) -> bytes:
    """The noted SHA-256 of a data file that a worker made."""
    end = time.monotonic() + SEEN_S
    while True:
        try:
            return part.sum.read_bytes()
        except FileNotFoundError:
            if time.monotonic() > end:
                raise CannotWrite(
                    f"{part.path}: a worker wrote it, and it is not seen here; give a folder that all machines share"
                ) from None
            time.sleep(0.2)


@contextmanager
def _claimed(folder: Path, plan: Plan) -> Iterator[None]:
    """The folder with its plan, which nobody else writes to meanwhile."""
    if not (folder / PLAN).exists() and folder.exists() and any(folder.iterdir()):
        raise CannotWrite(f"{folder} exists and holds other things; frames are written to a new folder: choose another")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / PLAN).open("a+") as file:
        # On a disk without locks two writers make the same files, each whole at once: work is lost, nothing else.
        lock(file.fileno(), f"{folder}: another process is writing this archive; let it finish or choose another folder")
        file.seek(0)
        before = file.read()
        if before != plan.text():
            if any(folder.glob("data_*.h5")):
                told = _differences(before, plan)
                raise CannotWrite(f"{folder} holds an archive of another plan ({told}); choose another folder")
            # A plan of which nothing was made is no reason to refuse another.
            file.truncate(0)
            file.write(plan.text())
            file.flush()
            os.fsync(file.fileno())
        yield


def _differences(before: str, plan: Plan) -> str:
    try:
        there = dict(json.loads(before))
    except (ValueError, TypeError):
        return f"its {PLAN} is damaged"
    wanted = json.loads(plan.text())
    wrong = [name for name, value in wanted.items() if there.get(name) != value]
    told = [f"{name} {there.get(name)} there, {wanted[name]} asked" for name in wrong if name != "drawn"]
    return ", ".join(told) or ("its scenes are drawn in another way" if wrong else f"its {PLAN} was altered")


def _clean(folder: Path, end: str = "") -> None:
    """Removes what a finished archive has no more use for: hidden files of `end`."""
    for path in folder.glob(f".*{end}"):
        if path.name.endswith((PART, ".sum")):
            path.unlink(missing_ok=True)


def _unwritable(path: Path, error: OSError) -> CannotWrite:
    return CannotWrite(f"{path}: cannot be written ({error.strerror or error}); {GOES_ON}")
