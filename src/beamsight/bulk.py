"""Answering spread over the workers of a cluster: bunches of frames go out, lines and pictures come back in order.

The client finds the files and keeps the record; workers list the frames of files, read them and answer. A bunch is a pure
function of the files, so one that is lost with its worker is answered again by another.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from beamsight.addresses import Address, Nowhere, find_addresses, parse_frames
from beamsight.answers import Store
from beamsight.bundle import MODEL, SHIPPED, Bundle, load
from beamsight.children import Child
from beamsight.cluster import in_order
from beamsight.display import thumbnail
from beamsight.errors import BadBundle, CannotRead
from beamsight.frame import Frame
from beamsight.hits import NOTHING_ELSE, Examiner, Looked
from beamsight.predict import Tally, answered
from beamsight.report import is_shown, keep_picture
from beamsight.sources import (
    MEMORY_BYTES,
    TIMEOUT_S,
    Expected,
    Place,
    Refused,
    address_key,
    list_stacks,
    named_files,
    read_places,
    wanted,
)
from beamsight.stack import Keys

# Frames that the graph answers at once; a bunch holds whole groups, so that it is answered as in one process.
GROUP = 16
# A bunch should take about so long: long beside what sending it costs, short beside a life.
BUNCH_S, MAX_BUNCH = 1.0, 32 * GROUP
# Files whose frames are listed at once, growing from one, so that the first answer does not wait for many.
MAX_FILES = 256
# Bunches on their way for each thread of the workers: the next ones wait there when one is done.
AHEAD = 4

Step = Refused | tuple[Address, Place]


@dataclass(frozen=True)
class Errand:
    """What every worker must know: the model, where it lies and its checksum; mask and geometry file; what is wanted."""

    model: str
    sha256: str
    mask: str | None
    poni: str | None
    threshold: float | None
    pictures: bool
    geom: str | None = None
    looked: Looked = NOTHING_ELSE


@dataclass(frozen=True)
class Bunch:
    """Frames to be answered, or files already refused; the answer of the first will be line `number` of the record, which is
    `known` to become at least so long."""

    number: int
    known: int
    steps: list[Step]


@dataclass(frozen=True)
class Answered:
    """The lines of a bunch, what they took, and the pictures that the page shows, by the number of their line."""

    lines: list[str]
    tally: Tally
    pictures: list[tuple[int, bytes]]


@dataclass
class _Course:
    """How a run goes: the line that the next bunch begins with, and how many frames it should hold."""

    number: int
    frames: int = GROUP
    files: int = 1
    expected: Expected = field(default_factory=Expected)

    def learn(self, tally: Tally) -> None:
        """Size the coming bunches by what one took."""
        seconds = max(1e-6, tally.reading_s + tally.answering_s) / max(1, tally.frames)
        self.frames = min(MAX_BUNCH, GROUP * max(1, int(BUNCH_S / seconds / GROUP)))


def errand(
    bundle: Bundle,
    mask: Any,
    poni: Any,
    threshold: float | None,
    pictures: bool,
    geom: Any = None,
    looked: Looked = NOTHING_ELSE,
) -> Errand:
    """What workers must know to answer with `bundle`. A model that ships is named, as it lies elsewhere on another machine."""
    ships = bundle.folder.parent == SHIPPED
    model = bundle.card["task"] if ships else str(bundle.folder.absolute())
    mask, poni, geom = (None if path is None else str(Path(path).absolute()) for path in (mask, poni, geom))
    return Errand(model, bundle.card["sha256"][MODEL], mask, poni, threshold, pictures, geom, looked)


def predict_over(
    client: Any,
    task: Errand,
    paths: Sequence[str],
    store: Store | None,
    tally: Tally,
    frames: str | None = None,
    expected: Expected | None = None,
    tell: Callable[[str], object] = lambda line: None,
) -> None:
    """Answer the frames of `paths` by the workers of a Dask `client`, each line appended to the record in order.

    `frames` as in `open_frames`; what the record has is left out. `tell` hears every line, `tally` and `expected` count along.
    Raises CannotRead where mask or geometry file cannot be used, CannotWrite, BadBundle, and what `cluster.in_order` raises.
    """
    course = _Course(store.count if store is not None else 0, expected=expected or Expected())
    ahead = AHEAD * max(1, sum(client.nthreads().values()))
    addresses = find_addresses(paths, named_files(task.mask, task.poni, task.geom))
    skip: Collection[str] = store.done if store is not None else ()  # type: ignore[assignment]
    files = in_order(client, partial(list_files, task), _files(addresses, skip, course), ahead, urgent=True)
    steps = _steps(files, parse_frames(frames), skip, course)
    for done in in_order(client, partial(answer, task), _bunches(steps, course), ahead):
        _keep(done, store)
        tally.merge(done.tally)
        course.learn(done.tally)
        for line in done.lines:
            tell(line)
    # Nobody else needs them; that a worker is gone by now changes nothing.
    with suppress(Exception):
        client.run(forget, on_error="ignore")


def _keep(done: Answered, store: Store | None) -> None:
    if store is None:
        return
    # The pictures first: a line that is there is never looked at again.
    for number, picture in done.pictures:
        keep_picture(store.folder, number, picture)
    store.add_lines(done.lines)


def _files(found: Iterable[Address | Nowhere], skip: Collection[str], course: _Course) -> Iterator[list[Address | Nowhere]]:
    """Files in few, then many, at once; without those that were refused before."""
    left = (f for f in found if address_key(f) not in skip)
    while some := list(islice(left, course.files)):
        course.files = min(MAX_FILES, 4 * course.files)
        yield some


def _steps(
    listed: Iterable[list[tuple[Address, list[Keys]] | Refused]], chosen: slice, skip: Collection[str], course: _Course
) -> Iterator[Step]:
    """Every frame that is to be answered, and every file that cannot be."""
    for file in (file for files in listed for file in files):
        if isinstance(file, Refused):
            _check_seen(file)
            yield file
            continue
        address, keys = file
        course.expected.frames += len(range(sum(map(len, keys)))[chosen])
        yield from ((address, place) for place in wanted(keys, chosen, skip))
    course.expected.all_found = True


def _check_seen(file: Refused) -> None:
    """Raises CannotRead where a worker finds no file though there is one: to refuse it would hide the mistake."""
    path = file.key.split("::")[0]
    if file.reason == os.strerror(errno.ENOENT).lower() and Path(path).exists():
        raise CannotRead(f"{path}: a worker does not see it; every machine must have the files under the same path")


def _bunches(steps: Iterator[Step], course: _Course) -> Iterator[Bunch]:
    while some := list(islice(steps, course.frames)):
        yield Bunch(course.number, course.expected.frames, some)
        course.number += len(some)


def list_files(task: Errand, files: list[Address | Nowhere]) -> list[tuple[Address, list[Keys]] | Refused]:
    """On a worker: the keys of the stacks in each file, or why it is refused."""
    _, child = _at_hand(task)
    listed = list_stacks(child, [f for f in files if isinstance(f, Address)])
    found: list[tuple[Address, list[Keys]] | Refused] = []
    for file in files:
        if isinstance(file, Nowhere):
            found.append(Refused(file.name, file.reason))
        else:
            keys = next(listed)
            found.append(keys if isinstance(keys, Refused) else (file, keys))
    return found


def answer(task: Errand, bunch: Bunch) -> Answered:
    """On a worker: the answers of a bunch."""
    bundle, child = _at_hand(task)
    done = Answered([], Tally(), [])
    frames = read_places(child, bunch.steps)
    examine = None if bundle.fitted is not None else Examiner(task.looked, bool(bundle.card.get("normal")))
    for number, (item, given) in enumerate(answered(bundle, frames, done.tally, task.threshold, examine), bunch.number):
        if task.pictures and isinstance(item, Frame) and is_shown(number, bunch.known):
            done.pictures.append((number, thumbnail(item)))
        done.lines.append(given.line())
        done.tally.add(given)
    return done


# By thread, as neither a graph nor a reading process serves two at once.
_kept: dict[int, tuple[Errand, Bundle, Child]] = {}


def _at_hand(task: Errand) -> tuple[Bundle, Child]:
    """The model and a reading process, kept by each thread of a worker for all bunches of a run."""
    thread = threading.get_ident()
    if thread in _kept and _kept[thread][0] != task:
        _kept.pop(thread)[2].close()
    if thread not in _kept:
        bundle = _load(task)
        _kept[thread] = task, bundle, Child(bundle.fitted, task.mask, task.poni, TIMEOUT_S, MEMORY_BYTES, task.geom)
    return _kept[thread][1:]


def forget() -> None:
    """On a worker that lives on: end the reading processes."""
    while _kept:
        _kept.popitem()[1][2].close()


def _load(task: Errand) -> Bundle:
    bundle = load(task.model, threads=1)
    found = bundle.card["sha256"][MODEL]
    if found != task.sha256:
        raise BadBundle(f"{task.model}: a worker has model {found[:12]}, asked is {task.sha256[:12]}; install the same one there")
    return bundle
