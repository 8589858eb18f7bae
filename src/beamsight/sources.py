"""Frames from wherever they are: `open_frames` full size in this process, `read_frames` through reading processes, in order."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from beamsight.addresses import Address, Nowhere, absolute, find_addresses, parse_address, parse_frames
from beamsight.children import Child, Request
from beamsight.errors import BeamsightError, CannotRead
from beamsight.frame import Frame, Geometry, Panel, fit
from beamsight.images import array_stack
from beamsight.readers import Options, check_options, close, load_options, open_stacks, read_frame, spread
from beamsight.stack import Keys, Stack

TIMEOUT_S = 20.0
MEMORY_BYTES = 4 * 2**30
# Requests on their way to a reading process, so that it never waits for us; few where each answer is a full-size frame.
AHEAD, AHEAD_FULL = 6, 2

T = TypeVar("T")
Where = Any  # str | Path | NDArray | Iterable[str | Path]


@dataclass(frozen=True)
class Refused:
    """A frame, or a file, that could not be read: its `key` and the `reason`, one line."""

    key: str
    reason: str


OnBad = Literal["raise", "skip"] | Callable[[Refused], Any]


def open_frames(
    where: Where,
    *,
    mask: Any = None,
    poni: str | os.PathLike[str] | None = None,
    geom: str | os.PathLike[str] | None = None,
    frames: str | slice | None = None,
    on_bad: OnBad = "raise",
) -> Iterator[Frame]:
    """Frames [H W], full size, read as they are asked for, in this process.

    `where`: file, folder, glob, `@list`, DataUrl, several of them, or an array [H W] or [N H W] of counts. `mask`: a file
    (1 = masked) or several, or an array [H W] of bool (True = trust). `poni`: a pyFAI geometry file, or `geom`: one of CrystFEL.
    `frames`: which of each file, as "0:100:10". What cannot be read raises CannotRead or BadFrame, or is logged and left out
    ("skip"), or goes to `on_bad` as a Refused.
    """
    chosen, options = parse_frames(frames), load_options(mask, poni, geom)
    for item in _opened(where, chosen, options, named_files(mask, poni, geom)):
        if isinstance(item, Frame):
            yield item
        elif on_bad == "raise":
            raise item[1]
        else:
            refused = _refused(item[0], str(item[1]))
            if on_bad == "skip":
                logging.getLogger("beamsight").warning("%s: %s", refused.key, refused.reason)
            elif callable(on_bad):
                on_bad(refused)


def _opened(where: Where, chosen: slice, options: Options, out: list[str]) -> Iterator[Frame | tuple[str, BeamsightError]]:
    for address in [where] if isinstance(where, np.ndarray) else find_addresses(where, out):
        if isinstance(address, Nowhere):
            yield address.name, CannotRead(f"{address.name}: {address.reason}")
        else:
            yield from _of_one(address, chosen, options)


def _of_one(address: Address | NDArray[Any], chosen: slice, options: Options) -> Iterator[Frame | tuple[str, BeamsightError]]:
    name = address_key(address) if isinstance(address, Address) else "array"
    stacks: list[Stack] = []
    try:
        stacks = open_stacks(address, options) if isinstance(address, Address) else [array_stack(name, address, name)]
        for stack in stacks:
            check_options(stack, options, name)
    except BeamsightError as error:
        close(stacks)
        yield name, error
        return
    try:
        for s, n in spread([len(stack.keys) for stack in stacks], chosen):
            yield _read_one(stacks[s], n, options, name)
    finally:
        close(stacks)


def _read_one(stack: Stack, n: int, options: Options, path: str) -> Frame | tuple[str, BeamsightError]:
    try:
        return read_frame(stack, n, options, path)
    except BeamsightError as error:
        return stack.keys[n], error


def named_files(mask: Any, *geometries: Any) -> list[str]:
    """The absolute paths of mask and geometry files, which are no frames where they lie in the folder."""
    paths = [] if mask is None or isinstance(mask, np.ndarray) else [mask] if isinstance(mask, str | os.PathLike) else list(mask)
    return [parse_address(os.fspath(p)).path for p in paths] + [absolute(g) for g in geometries if g is not None]


def address_key(address: Address | Nowhere) -> str:
    """How an address is named before its frames are known."""
    if isinstance(address, Nowhere):
        return address.name
    return address.path if address.data_path is None else f"{address.path}::{address.data_path}"


def _refused(key: str, message: str) -> Refused:
    for prefix in (f"{key}: ", f"{key.split('?')[0].split('::')[0]}: "):
        message = message.removeprefix(prefix)
    return Refused(key, " ".join(message.split()))


def read_frames(
    where: Where,
    *,
    size: int | None = None,
    mask: Any = None,
    poni: str | os.PathLike[str] | None = None,
    geom: str | os.PathLike[str] | None = None,
    frames: str | slice | None = None,
    skip: Collection[str] = frozenset(),
    jobs: int = 1,
    timeout_s: float = TIMEOUT_S,
    memory_bytes: int = MEMORY_BYTES,
    expected: Expected | None = None,
) -> Iterator[Frame | Refused]:
    """Frames, or why there is none, in order, read by `jobs` other processes in `timeout_s` a frame and `memory_bytes` each.

    `size`: side in pixels of the square that each frame is fitted to (see `frame.fit`); None leaves them full size. `skip`: keys
    not to be read again; nothing of them is unpacked. `expected` hears how many frames there will be. `where`, `mask`, `poni`,
    `geom` and `frames` as in `open_frames`. Memory does not grow with the number of frames. Raises CannotRead where mask, .poni
    or .geom file cannot be used.
    """
    chosen = parse_frames(frames)
    if isinstance(where, np.ndarray):
        yield from _from_memory(where, chosen, load_options(mask, poni, geom), size, skip)
        return
    if isinstance(mask, np.ndarray):
        load_options(mask)
    with ExitStack() as stack:
        children = []
        for _ in range(max(1, jobs)):
            child = Child(size, _paths(mask), _paths(poni), timeout_s, memory_bytes, _paths(geom))
            stack.callback(child.close)
            children.append(child)
        addresses = find_addresses(where, named_files(mask, poni, geom))
        children[0].wait_ready()
        yield from _Reading(children, addresses, chosen, skip, AHEAD_FULL if size is None else AHEAD, expected).run()


def _paths(paths: Any) -> Any:
    if paths is None or isinstance(paths, np.ndarray):
        return paths
    return os.fspath(paths) if isinstance(paths, str | os.PathLike) else [os.fspath(p) for p in paths]


def _from_memory(
    array: NDArray[Any], chosen: slice, options: Options, size: int | None, skip: Collection[str]
) -> Iterator[Frame | Refused]:
    for item in _opened(array, chosen, options, []):
        key = item.key if isinstance(item, Frame) else item[0]
        if key in skip:
            continue
        if isinstance(item, Frame):
            yield item if size is None else fit(item, size)
        else:
            yield _refused(key, str(item[1]))


Place = tuple[str, int, int]


def wanted(keys: Sequence[Keys], chosen: slice, skip: Collection[str]) -> Iterator[Place]:
    """(key, stack, n) of the frames of a file that are `chosen` and not to be skipped; `keys` are those of its stacks."""
    for s, n in spread([len(k) for k in keys], chosen):
        key = keys[s][n]
        if not skip or key not in skip:
            yield key, s, n


def list_stacks(child: Child, addresses: Iterable[Address]) -> Iterator[list[Keys] | Refused]:
    """The keys of the stacks at each address, in order, or why it cannot be read, as one reading process finds them."""
    for address, request in _kept_busy(child, ((a, Request(a)) for a in addresses)):
        if "error" in request.header:
            yield _refused(address_key(address), request.header["error"])
        else:
            yield [Keys(**k) for k in request.header["stacks"]]


def read_places(child: Child, places: Iterable[tuple[Address, Place] | Refused]) -> Iterator[Frame | Refused]:
    """The frames at `places`, in order, or why there is none, as one reading process reads them; what is refused stays so."""
    for item, request in _kept_busy(child, map(_asked, places)):
        yield item if isinstance(item, Refused) else _result(item, request)


def _asked(place: tuple[Address, Place] | Refused) -> tuple[str | Refused, Request]:
    if isinstance(place, Refused):
        return place, Request(Address(""), done=True)
    address, (key, s, n) = place
    return key, Request(address, s, n)


def _kept_busy(child: Child, requests: Iterable[tuple[T, Request]]) -> Iterator[tuple[T, Request]]:
    """Each request once it has its answer; AHEAD of them are with the process."""
    asked: deque[tuple[T, Request]] = deque()
    coming = iter(requests)
    while True:
        for name, request in islice(coming, AHEAD - len(asked)):
            asked.append((name, request if request.done else child.ask(request)))
        if not asked:
            return
        child.wait_for(asked[0][1])
        yield asked.popleft()


@dataclass
class Expected:
    """How many frames are known to come; `all_found` once no other file will add to them. Those skipped count too."""

    frames: int = 0
    all_found: bool = False


@dataclass
class _File:
    """A file on its way: its plan, then its frames that are left to ask for, then those asked for."""

    address: Address
    child: Child
    plan: Request
    few: bool = False
    left: Iterator[Place] | None = None
    asked: deque[tuple[str, Child, Request]] = field(default_factory=deque)


class _Reading:
    """Keeps every process busy with the frames that come next, and hands them out in order."""

    def __init__(
        self,
        children: list[Child],
        addresses: Iterator[Address | Nowhere],
        chosen: slice,
        skip: Collection[str],
        ahead: int,
        expected: Expected | None,
    ) -> None:
        self.children, self.addresses, self.chosen, self.skip, self.ahead = children, addresses, chosen, skip, ahead
        self.expected = expected or Expected()
        self.files: deque[_File | Refused] = deque()

    def run(self) -> Iterator[Frame | Refused]:
        while True:
            self._fill()
            if not self.files:
                return
            file = self.files[0]
            if isinstance(file, Refused):
                yield file
                self.files.popleft()
            elif not file.plan.done:
                file.child.wait_for(file.plan)
            elif "error" in file.plan.header:
                self.files[0] = _refused(address_key(file.address), file.plan.header["error"])
            elif file.asked:
                key, child, request = file.asked.popleft()
                child.wait_for(request)
                yield _result(key, request)
            else:
                self.files.popleft()

    def _fill(self) -> None:
        """Ask for what comes next, as long as a process has few requests before it."""
        while len((child := min(self.children, key=lambda c: len(c.waiting))).waiting) < self.ahead:
            if not any(self._ask_frame(file, child) for file in self.files) and not self._ask_file(child):
                return

    def _ask_frame(self, file: _File | Refused, child: Child) -> bool:
        if isinstance(file, Refused) or not file.plan.done or "error" in file.plan.header:
            return False
        if file.left is None:
            keys = [Keys(**k) for k in file.plan.header["stacks"]]
            total = sum(map(len, keys))
            file.few, file.left = total < self.ahead, wanted(keys, self.chosen, self.skip)
            self.expected.frames += len(range(total)[self.chosen])
        step = next(file.left, None)
        if step is None:
            return False
        key, s, n = step
        # A small file stays with the process that has it open.
        child = file.child if file.few else child
        file.asked.append((key, child, child.ask(Request(file.address, s, n))))
        return True

    def _ask_file(self, child: Child) -> bool:
        if len(self.files) >= self.ahead * len(self.children):
            return False
        for address in self.addresses:
            if address_key(address) not in self.skip:
                if isinstance(address, Nowhere):
                    self.files.append(Refused(address.name, address.reason))
                else:
                    self.files.append(_File(address, child, child.ask(Request(address))))
                return True
        self.expected.all_found = all(isinstance(f, Refused) or f.left is not None for f in self.files)
        return False


def _result(key: str, request: Request) -> Frame | Refused:
    header = request.header
    if "error" in header:
        return _refused(key, header["error"])
    geometry = _geometry(header["geometry"])
    shape = geometry.shape
    pixels = shape[0] * shape[1]
    image = np.frombuffer(request.pixels, np.float32, pixels).reshape(shape)
    mask = np.frombuffer(request.pixels, np.bool_, pixels, offset=4 * pixels).reshape(shape)
    return Frame(image, mask, geometry, header["key"])


def _geometry(values: dict[str, Any]) -> Geometry:
    """The geometry that came as JSON, which knows lists only."""
    panels = tuple(Panel(**_tuples(panel)) for panel in values["panels"])
    return Geometry(**(_tuples(values) | {"panels": panels}))


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
