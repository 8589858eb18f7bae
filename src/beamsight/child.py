"""The reading process: answers requests on its standard input until that ends.

Files are not trusted: a reader may hang, crash or take all memory, so it does so here and not in the process that answers.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import io
import os
import signal
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import numpy as np

from beamsight import wire
from beamsight.addresses import Address
from beamsight.errors import BeamsightError
from beamsight.frame import Frame, fit
from beamsight.readers import Options, check_options, close, load_options, open_stacks, read_frame, refusing
from beamsight.stack import Stack

# Files that are kept open at once; a request for one more closes the oldest.
OPEN_FILES = 4


def main() -> None:
    """Serve requests: first the settings, then plans and reads, each answered by JSON and the pixels as bytes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends us
    requests, replies = io.FileIO(os.dup(0), "r"), io.FileIO(os.dup(1), "w")
    with suppress(BrokenPipeError):
        _start(requests, replies)


def _start(requests: io.FileIO, replies: io.FileIO) -> None:
    message = wire.receive(requests)
    if message is None:
        return
    settings, mask = message
    _limit_memory(settings["memory_bytes"])
    given = np.frombuffer(mask, np.bool_).reshape(settings["mask_shape"]) if settings["mask_shape"] else settings["mask"]
    try:
        options = load_options(given, settings["poni"], settings["geom"])
    except BeamsightError as error:
        wire.send(replies, {"error": str(error)})
        return
    wire.send(replies, {"ready": True})
    _silence()
    _serve(requests, replies, options, settings["size"], settings["timeout_s"])


def _silence() -> None:
    """Libraries write to both streams at will; from here on only our own copy of the output is heard."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)


def _serve(requests: io.FileIO, replies: io.FileIO, options: Options, size: int | None, timeout_s: float) -> None:
    files: dict[Address, list[Stack]] = {}
    for request, _ in wire.messages(requests):
        _set_alarm(2 * timeout_s)
        try:
            header, pixels = _answer(request, files, options, size)
        except BeamsightError as error:
            header, pixels = {"error": " ".join(str(error).split())}, ()
        _set_alarm(0)
        wire.send(replies, header, *pixels)


def _answer(
    request: Any, files: dict[Address, list[Stack]], options: Options, size: int | None
) -> tuple[dict[str, Any], tuple[memoryview, ...]]:
    address, stack, n = Address(*request["address"]), request["stack"], request["n"]
    stacks = _opened(address, files, options)
    if stack is None:
        for s in stacks:
            check_options(s, options, address.path)
        return {"stacks": [asdict(s.keys) for s in stacks]}, ()
    frame = read_frame(stacks[stack], n, options, address.path)
    return _packed(frame if size is None else refusing(address.path, lambda: fit(frame, size)))


def _opened(address: Address, files: dict[Address, list[Stack]], options: Options) -> list[Stack]:
    if address not in files:
        while len(files) >= OPEN_FILES:
            close(files.pop(next(iter(files))))
        files[address] = open_stacks(address, options)
    return files[address]


def _packed(frame: Frame) -> tuple[dict[str, Any], tuple[memoryview, ...]]:
    arrays = (np.ascontiguousarray(frame.image, np.float32), np.ascontiguousarray(frame.mask, np.bool_))
    return {"key": frame.key, "geometry": asdict(frame.geometry)}, tuple(a.reshape(-1).view(np.uint8).data for a in arrays)


def _set_alarm(seconds: float) -> None:
    """Ends this process, whatever it is doing, should the parent no longer be there to do it."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _limit_memory(limit_bytes: int) -> None:
    # Not every system has this limit; the limit of time stays.
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))
