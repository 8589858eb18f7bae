"""Batches made ahead of their use by background processes, handed over in shared memory."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import ctypes
import math
import multiprocessing
import queue
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from beamsight.errors import BeamsightError
from beamsight.examples import Examples

# Batches of each process that may wait: enough to ride out a slow one, little enough memory.
SLOTS = 3
ALIVE_S = 2.0

# Where each tensor of a batch begins, in steps of so many bytes, and what it is.
ALIGNED = 64
Like = dict[str, tuple[int, tuple[int, ...], torch.dtype]]
# Bytes beside those of the first batch: others may have more frames, but no more pixels.
SPARE = 2**16


@dataclass(frozen=True)
class _Lane:
    """Where one process puts its batches: `memory` of each slot, which slots are `free`, which are `ready` with what in them."""

    memory: list[Any]
    free: Any
    ready: Any


@contextmanager
def made_ahead(
    step: Callable[[int], Examples], first: int, last: int, processes: int = 1
) -> Iterator[Iterator[tuple[int, Examples]]]:
    """(number, step(number)) for first <= number < last, made by processes of their own, in turns, while the caller works.

    The first batch is made here: it tells the size of the shared memory. Each batch is the caller's until the next is asked for.
    Raises BeamsightError where a process fails or is killed.
    """
    sample = step(first)
    context = multiprocessing.get_context("spawn")
    lanes = [_lane(context, sample) for _ in range(processes)]
    shares = [range(first + 1 + k, last, processes) for k in range(processes)]
    workers = [context.Process(target=_work, args=(step, *w), daemon=True) for w in zip(shares, lanes, strict=True)]
    for worker in workers:
        worker.start()
    try:
        yield _taken(sample, range(first, last), lanes, workers)
    finally:
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.join()
        for q in (q for lane in lanes for q in (lane.free, lane.ready)):
            q.close()
            q.cancel_join_thread()


def _lane(context: Any, sample: Examples) -> _Lane:
    size = sum(_room(t) for t in _tensors(sample).values()) + SPARE
    lane = _Lane([context.RawArray("b", size) for _ in range(SLOTS)], context.Queue(), context.Queue())
    for slot in range(SLOTS):
        lane.free.put(slot)
    return lane


def _taken(
    sample: Examples, numbers: range, lanes: Sequence[_Lane], workers: Sequence[BaseProcess]
) -> Iterator[tuple[int, Examples]]:
    yield numbers[0], sample
    for n, number in enumerate(numbers[1:]):
        lane, worker = lanes[n % len(lanes)], workers[n % len(lanes)]
        slot, like = _next(lane.ready, worker)
        yield number, _views(lane.memory[slot], like)
        lane.free.put(slot)


def _next(ready: Any, worker: BaseProcess) -> tuple[int, Like]:
    """The slot of the next batch and what lies there; notices a process that died."""
    while True:
        try:
            got: str | tuple[int, Like] = ready.get(timeout=ALIVE_S)
        except queue.Empty:
            if worker.is_alive():
                continue
            raise BeamsightError(
                f"the process that makes examples ended (status {worker.exitcode}); is memory short? Start again to resume"
            ) from None
        if isinstance(got, str):
            raise BeamsightError(f"making examples failed: {got}")
        return got


def _work(step: Callable[[int], Examples], numbers: range, lane: _Lane) -> None:
    # Ctrl-C, and what a scheduler sends to all processes of a job, belong to the trainer: it ends this one when it is done.
    for asked in (signal.SIGINT, signal.SIGTERM):
        signal.signal(asked, signal.SIG_IGN)
    torch.set_num_threads(1)
    keep_memory()
    try:
        for number in numbers:
            made = step(number)
            slot = _free(lane)
            if slot is None:
                return
            lane.ready.put((slot, _put(lane.memory[slot], made)))
    except BeamsightError as error:
        lane.ready.put(str(error))
    except Exception as error:
        lane.ready.put(f"{type(error).__name__}: {error}")


def _free(lane: _Lane) -> int | None:
    """A slot to fill; None where the trainer was killed, which nobody else would tell this process."""
    trainer = multiprocessing.parent_process()
    while trainer is None or trainer.is_alive():
        try:
            return int(lane.free.get(timeout=ALIVE_S))
        except queue.Empty:
            continue
    return None


def keep_memory() -> None:
    """Have the C library keep freed memory for the next step: fetching some 100 MB anew costs a fifth of a step."""
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):  # glibc
        mmap_max, trim_threshold = -4, -1
        library.mallopt(mmap_max, 0)
        library.mallopt(trim_threshold, 2**31 - 1)


def _put(memory: Any, made: Examples) -> Like:
    """Copy a batch to the shared memory of a slot; tells where what lies."""
    like: Like = {}
    at = 0
    for name, tensor in _tensors(made).items():
        like[name] = (at, tuple(tensor.shape), tensor.dtype)
        _view(memory, *like[name]).copy_(tensor)
        at += _room(tensor)
    return like


def _room(tensor: torch.Tensor) -> int:
    """Bytes from the beginning of a tensor to that of the next."""
    return -(-tensor.nbytes // ALIGNED) * ALIGNED


def _view(memory: Any, at: int, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    return torch.frombuffer(memory, dtype=dtype, count=math.prod(shape), offset=at).view(shape)


def _views(memory: Any, like: Like) -> Examples:
    """The shared memory of a slot as tensors; nothing is copied."""
    return Examples(**{name: _view(memory, *what) for name, what in like.items()})


def _tensors(examples: Examples) -> dict[str, torch.Tensor]:
    return {name: t for name, t in vars(examples).items() if t is not None}
