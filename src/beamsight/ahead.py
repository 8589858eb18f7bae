"""Batches made ahead of their use by one background process, handed over in shared memory."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import ctypes
import multiprocessing
import queue
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np
import torch

from beamsight.errors import BeamsightError
from beamsight.examples import Examples

# Batches that may wait: enough to ride out a slow one, little enough memory.
SLOTS = 3
ALIVE_S = 2.0


@contextmanager
def made_ahead(step: Callable[[int], Examples], first: int, last: int) -> Iterator[Iterator[tuple[int, Examples]]]:
    """(number, step(number)) for first <= number < last, made by a process of its own while the caller works.

    The first batch is made here: it tells the size of the shared memory. Each batch is the caller's until the next is asked for.
    Raises BeamsightError where the process fails or is killed.
    """
    sample = step(first)
    context = multiprocessing.get_context("spawn")
    memory = [[context.RawArray("b", t.nbytes) for t in _tensors(sample)] for _ in range(SLOTS)]
    free, ready = context.Queue(), context.Queue()
    for slot in range(SLOTS):
        free.put(slot)
    like = [(tuple(t.shape), t.dtype) for t in _tensors(sample)]
    worker = context.Process(target=_work, args=(step, range(first + 1, last), memory, like, free, ready), daemon=True)
    worker.start()
    try:
        yield _taken(sample, range(first, last), memory, like, free, ready, worker)
    finally:
        worker.terminate()
        worker.join()
        for q in (free, ready):
            q.close()
            q.cancel_join_thread()


def _taken(
    sample: Examples, numbers: range, memory: list[list[Any]], like: list[Any], free: Any, ready: Any, worker: BaseProcess
) -> Iterator[tuple[int, Examples]]:
    yield numbers[0], sample
    for number in numbers[1:]:
        slot = _next(ready, worker)
        yield number, _views(memory[slot], like)
        free.put(slot)


def _next(ready: Any, worker: BaseProcess) -> int:
    """The slot of the next batch; notices a process that died."""
    while True:
        try:
            got = ready.get(timeout=ALIVE_S)
        except queue.Empty:
            if worker.is_alive():
                continue
            raise BeamsightError(
                f"the process that makes examples ended (status {worker.exitcode}); is memory short? Start again to resume"
            ) from None
        if isinstance(got, str):
            raise BeamsightError(f"making examples failed: {got}")
        return int(got)


def _work(
    step: Callable[[int], Examples], numbers: range, memory: list[list[Any]], like: list[Any], free: Any, ready: Any
) -> None:
    # Ctrl-C belongs to the trainer, which ends this process when it is done.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    keep_memory()
    try:
        for number in numbers:
            made = step(number)
            slot = free.get()
            for place, tensor in zip(_tensors(_views(memory[slot], like)), _tensors(made), strict=True):
                place.copy_(tensor)
            ready.put(slot)
    except Exception as error:
        ready.put(f"{type(error).__name__}: {error}")


def keep_memory() -> None:
    """Have the C library keep freed memory for the next step: fetching some 100 MB anew costs a fifth of a step."""
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):  # glibc
        mmap_max, trim_threshold = -4, -1
        library.mallopt(mmap_max, 0)
        library.mallopt(trim_threshold, 2**31 - 1)


def _views(memory: list[Any], like: list[tuple[tuple[int, ...], torch.dtype]]) -> Examples:
    """The shared memory of a slot as tensors; nothing is copied."""
    return Examples(
        *(
            torch.frombuffer(m, dtype=dtype, count=int(np.prod(shape))).view(shape)
            for m, (shape, dtype) in zip(memory, like, strict=True)
        )
    )


def _tensors(examples: Examples) -> tuple[torch.Tensor, ...]:
    every = (examples.counts, examples.mask, examples.truth, examples.centre, examples.seen)
    return tuple(t for t in every if t is not None)
