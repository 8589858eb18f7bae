"""A file that h5py writes through and that on disk goes from one whole state to the next, whenever the process is killed.

What is appended goes to the disk at once, where nothing refers to it yet. What would change bytes of the last whole state is kept
in memory until `commit`, which writes it to a journal beside the file, then to the file, then removes the journal; a journal that
is found whole is carried out by who opens the file next.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import hashlib
import os
import signal
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PAGE = 4096
_HEAD, _PART = struct.Struct("<8sQQ"), struct.Struct("<QQ")
_MAGIC = b"bsjourn1"


class Journalled:
    """The file object of `path`, with the methods that h5py's driver for file objects calls.

    After an error of the disk, kept as `error`, it takes whatever is written and forgets it: HDF5, which must not be told, tries
    until it succeeds, and the file stays in its last whole state. One process at a time: the caller locks `fd`, then calls
    `recover`. Raises OSError where it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self.error: OSError | None = None
        self._pages: dict[int, bytearray] = {}
        self._at = self._whole = self._size = 0

    def recover(self) -> None:
        """Bring the file to its last whole state, before anything else is done with it. Raises OSError."""
        carry_out(self.path, self.fd)
        self._whole = self._size = os.fstat(self.fd).st_size

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, as files do."""
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        """Where the next bytes are read or written."""
        return self._at

    def flush(self) -> None:
        """Nothing: only `commit` makes a state whole."""

    def truncate(self, size: int | None = None) -> int:
        """Give the file another length, once it is committed."""
        size = self._at if size is None else size
        if size > self._size:
            self._fill(size)
        self._size = size
        return size

    def _fill(self, until: int) -> None:
        """Zeros from the end: what a longer file held there before is gone."""
        self._at, at = self._size, self._at
        self.write(bytes(until - self._at))
        self._at = at

    def read(self, size: int) -> bytes:
        """The next `size` bytes."""
        buffer = bytearray(size)
        return bytes(buffer[: self.readinto(memoryview(buffer))])

    def readinto(self, buffer: memoryview) -> int:
        """Fill `buffer` with what was written last; zeros where nothing was."""
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self._size - self._at))
        try:
            data = os.pread(self.fd, count, self._at)
        except OSError as error:
            self._fail(error)
            data = b""
        view[:count] = data.ljust(count, b"\0")
        for page, start, stop in _spans(self._at, self._at + count):
            if page in self._pages:
                kept = self._pages[page][start - page * PAGE : stop - page * PAGE]
                view[start - self._at : start - self._at + len(kept)] = kept
        self._at += count
        return count

    def write(self, data: memoryview | bytes) -> int:
        """Take bytes: what lies in the last whole state into memory, the rest to the disk."""
        if self._at > self._size:
            self._fill(self._at)
        view = memoryview(data).cast("B")
        kept = max(0, min(len(view), self._whole - self._at))
        try:
            for page, start, stop in _spans(self._at, self._at + kept):
                self._page(page)[start - page * PAGE : stop - page * PAGE] = view[start - self._at : stop - self._at]
            if self.error is None:
                _put(self.fd, view[kept:], self._at + kept)
        except OSError as error:
            self._fail(error)
        self._at += len(view)
        self._size = max(self._size, self._at)
        return len(view)

    def _page(self, page: int) -> bytearray:
        if page not in self._pages:
            length = min(PAGE, self._whole - page * PAGE)
            self._pages[page] = bytearray(os.pread(self.fd, length, page * PAGE).ljust(length, b"\0"))
        return self._pages[page]

    def commit(self) -> None:
        """What was written becomes the state on disk. Raises OSError, also one of before; then the last state stays."""
        try:
            if self.error is not None:
                raise self.error
            _write_journal(self.path, self._pages, self._size)
            carry_out(self.path, self.fd)
        except OSError as error:
            self._fail(error)
            raise
        self._pages.clear()
        self._whole = self._size

    def _fail(self, error: OSError) -> None:
        if self.error is None:
            self.error = error
            # What no state refers to gives its room back.
            with suppress(OSError):
                if not _journal(self.path).exists():
                    os.ftruncate(self.fd, self._whole)

    def close(self) -> None:
        """Give the file back; what was not committed is gone."""
        os.close(self.fd)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Signals that end the process wait meanwhile: raised in the middle of HDF5, they would leave it in no state at all."""
    if threading.current_thread() is not threading.main_thread():
        yield  # handlers run in the main thread only
        return
    came: list[int] = []
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    # A handler that is not Python's cannot be put back.
    kept = {s: handler for s, handler in before.items() if handler is not None}
    for s in kept:
        signal.signal(s, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for s, handler in kept.items():
            signal.signal(s, handler)
        for number in came[:1]:
            signal.raise_signal(number)


def _spans(start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Page number, first and last byte of each page's part of a run of bytes."""
    for page in range(start // PAGE, -(-stop // PAGE)) if stop > start else ():
        yield page, max(start, page * PAGE), min(stop, (page + 1) * PAGE)


def _put(fd: int, data: memoryview | bytes, at: int) -> None:
    view = memoryview(data)
    while len(view):
        written = os.pwrite(fd, view, at)
        view, at = view[written:], at + written


def _journal(path: Path) -> Path:
    return path.with_name(f".{path.name}.journal")


def _write_journal(path: Path, pages: dict[int, bytearray], size: int) -> None:
    """A journal that is there when it is whole, and not before."""
    parts = [_HEAD.pack(_MAGIC, size, len(pages))]
    for page in sorted(pages):
        parts += [_PART.pack(page * PAGE, len(pages[page])), bytes(pages[page])]
    content = b"".join(parts)
    part = path.with_name(f".{path.name}.journal.part")
    try:
        part.write_bytes(content + hashlib.sha256(content).digest())
        part.rename(_journal(path))
    except OSError:
        part.unlink(missing_ok=True)
        raise


def carry_out(path: Path, fd: int) -> None:
    """Do to the open file what its journal says, should there be one, and remove it. Raises OSError."""
    journal = _journal(path)
    try:
        content = journal.read_bytes()
    except FileNotFoundError:
        return
    body, at = content[:-32], _HEAD.size
    if hashlib.sha256(body).digest() == content[-32:] and body[:8] == _MAGIC:
        _, size, count = _HEAD.unpack_from(body)
        for _ in range(count):
            offset, length = _PART.unpack_from(body, at)
            at += _PART.size
            _put(fd, body[at : at + length], offset)
            at += length
        os.ftruncate(fd, size)
    journal.unlink()
