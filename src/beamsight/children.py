"""Reading processes and the requests they are given: one that hangs or dies is replaced, what it was doing is tried again."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import io
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from beamsight import wire
from beamsight.addresses import Address
from beamsight.errors import CannotRead

# A reading process imports NumPy and the readers; on a busy machine or a slow disk that takes its time.
START_S = 120.0
TRIES = 2
# One thread each: there are as many processes as the user asked for. And memory of the size of a frame is kept for the next
# one instead of being given back and cleared: frames come twice as fast.
KEPT_BYTES = str(2**28)
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
ENVIRONMENT |= {"MALLOC_MMAP_THRESHOLD_": KEPT_BYTES, "MALLOC_TRIM_THRESHOLD_": KEPT_BYTES}

Answers = queue.SimpleQueue[wire.Message | None]


@dataclass
class Request:
    """Asks for the frame `n` of `stack` at an address, or, with no stack, for the keys of all; once `done`, with the answer."""

    address: Address
    stack: int | None = None
    n: int = 0
    tries: int = 0
    done: bool = False
    header: dict[str, Any] = field(default_factory=dict)
    pixels: bytearray = field(default_factory=bytearray)


class Child:
    """One reading process, which answers requests in order.

    `size` px a side or None, `mask`, `poni` and `geom` as `load_options` takes them, `timeout_s` a request, `memory_bytes` in
    all.
    """

    def __init__(
        self, size: int | None, mask: Any, poni: str | None, timeout_s: float, memory_bytes: int, geom: str | None = None
    ) -> None:
        self.timeout_s = timeout_s
        self.settings = {"size": size, "poni": poni, "geom": geom, "timeout_s": timeout_s, "memory_bytes": memory_bytes}
        array = isinstance(mask, np.ndarray)
        self.settings |= {"mask": None if array else mask, "mask_shape": mask.shape if array else None}
        self.mask = np.ascontiguousarray(mask, np.bool_).tobytes() if array else b""
        self.waiting: deque[Request] = deque()
        self._start()

    def _start(self) -> None:
        self.ready = False
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the process)
        command = [sys.executable, "-P", "-c", "from beamsight.child import main; main()"]
        paths = os.pathsep.join([*filter(None, sys.path), str(Path(__file__).parents[1])])
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=os.environ | ENVIRONMENT | {"PYTHONPATH": paths},
            bufsize=0,
        )
        self.stdin = cast(io.RawIOBase, self.process.stdin)
        self.answers: Answers = queue.SimpleQueue()
        threading.Thread(target=_listen, args=(self.process.stdout, self.answers), daemon=True).start()
        self._send(self.settings, self.mask)

    def _send(self, header: Any, data: bytes = b"") -> None:
        # Should it have died, the missing answer will say so.
        with suppress(OSError):
            wire.send(self.stdin, header, data)

    def ask(self, request: Request) -> Request:
        """Send a request; `wait_for` waits for its answer."""
        self.waiting.append(request)
        self._ask(request)
        return request

    def _ask(self, request: Request) -> None:
        a = request.address
        self._send({"address": [a.path, a.data_path, a.index], "stack": request.stack, "n": request.n})

    def wait_ready(self) -> None:
        """Wait until the process is up. Raises CannotRead where it does not start, or cannot use the mask or geometry file."""
        if self.ready:
            return
        answer = self._next(START_S)
        if answer is None:
            raise CannotRead(f"the process that reads files does not start: {self._last_words()}")
        if "error" in answer[0]:
            raise CannotRead(answer[0]["error"])
        self.ready = True

    def wait_for(self, request: Request) -> None:
        """Take answers until `request` has its own; after two failures the answer is an error."""
        while not request.done:
            self.wait_ready()
            answer = self._next(self.timeout_s)
            if answer is None:
                self._replace()
                continue
            first = self.waiting.popleft()
            first.header, first.pixels = answer
            first.done = True

    def _next(self, timeout_s: float) -> wire.Message | None:
        try:
            return self.answers.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def _replace(self) -> None:
        """A new process in place of one that hangs or died; the request it was at is tried once more, then refused."""
        fate = self._fate()
        first = self.waiting[0]
        first.tries += 1
        if first.tries >= TRIES:
            first.header, first.done = {"error": f"{fate}, {TRIES} times"}, True
            self.waiting.popleft()
        self.close()
        self._start()
        for request in self.waiting:
            self._ask(request)

    def _fate(self) -> str:
        try:
            status = self.process.wait(0.2)
        except subprocess.TimeoutExpired:
            return f"reading it took longer than {self.timeout_s:g} s"
        return f"reading it ended the reader with {f'signal {-status}' if status < 0 else f'status {status}'}"

    def _last_words(self) -> str:
        self.errors.seek(0)
        lines = self.errors.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else self._fate()

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        self.errors.close()
        with suppress(OSError):
            self.stdin.close()


def _listen(stream: io.RawIOBase, answers: Answers) -> None:
    """Hands over answers as they come, and None at the end; a thread, so that waiting for a whole answer has a time limit."""
    with stream:
        for message in wire.messages(stream):
            answers.put(message)
    answers.put(None)
