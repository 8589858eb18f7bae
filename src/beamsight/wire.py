"""What passes between a reading process and the one that asks: JSON, then raw bytes, each with its length before it."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import io
import json
import struct
from collections.abc import Iterable
from typing import Any

_LENGTHS = struct.Struct("<IQ")

Message = tuple[Any, bytearray]


def send(stream: io.RawIOBase, header: Any, *parts: memoryview | bytes) -> None:
    """Write `header`, which JSON can hold, and bytes. Raises OSError where nobody reads."""
    text = json.dumps(header).encode()
    _write(stream, _LENGTHS.pack(len(text), sum(len(p) for p in parts)) + text)
    for part in parts:
        _write(stream, part)


def _write(stream: io.RawIOBase, data: memoryview | bytes) -> None:
    view = memoryview(data)
    while len(view):
        view = view[stream.write(view) or 0 :]


def receive(stream: io.RawIOBase) -> Message | None:
    """The next header and bytes; None at the end, also where a message is cut short."""
    head = _read(stream, _LENGTHS.size)
    if head is None:
        return None
    text_size, size = _LENGTHS.unpack(head)
    text = _read(stream, text_size)
    data = None if text is None else _read(stream, size)
    return None if text is None or data is None else (json.loads(text), data)


def _read(stream: io.RawIOBase, size: int) -> bytearray | None:
    data = bytearray(size)
    view, at = memoryview(data), 0
    while at < size:
        got = stream.readinto(view[at:])
        if not got:
            return None
        at += got
    return data


def messages(stream: io.RawIOBase) -> Iterable[Message]:
    """All messages until the end."""
    while (message := receive(stream)) is not None:
        yield message
