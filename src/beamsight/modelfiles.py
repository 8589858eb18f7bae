"""What is let in as a model: files are judged by their bytes before any runtime sees them.

A model of unknown origin is data, never code. So pickles are refused, and so is an ONNX graph that reaches outside its own
file or outside the standard operators. Both checks need no parser of somebody else's: see docs/decisions.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from beamsight.errors import BadBundle

MAX_HEADER_BYTES = 100_000_000
MAX_DEPTH = 24
OPSETS = range(13, 25)

# The part of the ONNX protobuf schema in which something could hide: message -> {field number: message or leaf}.
_SCHEMA: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 8: "Opset", 20: "training", 25: "function"},
    "Graph": {1: "Node", 5: "Tensor", 15: "Sparse"},
    "Node": {4: "op_type", 5: "Attribute", 7: "domain"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "Sparse", 23: "Sparse"},
    "Sparse": {1: "Tensor", 2: "Tensor"},
    "Tensor": {13: "external_data", 14: "data_location"},
    "Opset": {1: "opset_domain", 2: "opset_version"},
}
_STANDARD = ("", "ai.onnx")


def check_onnx(data: bytes, path: str) -> None:
    """Accept `data` as a self-contained ONNX graph of standard operators, or raise BadBundle that says why not."""
    refuse_pickle(data, path)
    found: dict[str, list[Any]] = {}
    try:
        for name, value in _leaves(memoryview(data), "Model", 0):
            found.setdefault(name, []).append(value)
    except (IndexError, ValueError) as error:
        raise BadBundle(f"{path}: no ONNX model ({error}; first bytes {data[:8]!r}); export the model again") from None
    _judge(found, path)


def _judge(found: dict[str, list[Any]], path: str) -> None:
    if "external_data" in found or any(v != 0 for v in found.get("data_location", ())):
        raise BadBundle(f"{path}: the ONNX graph keeps data in other files, which are not opened; export it as one file")
    if "function" in found or "training" in found:
        raise BadBundle(f"{path}: the ONNX graph defines functions or training steps of its own; export it for inference")
    text = {n: [bytes(v).decode("utf-8", "replace") for v in found.get(n, ())] for n in ("domain", "opset_domain", "op_type")}
    strange = sorted(set(text["domain"] + text["opset_domain"]) - set(_STANDARD))
    if strange:
        raise BadBundle(f"{path}: the ONNX graph uses operators of {strange}; only the standard ones are run")
    versions = found.get("opset_version", [])
    if not text["op_type"] or not versions or any(v not in OPSETS for v in versions):
        wanted = f"{OPSETS.start} to {OPSETS.stop - 1}"
        raise BadBundle(
            f"{path}: an ONNX graph of operator set {versions or 'none'}; sets {wanted} are read, export it as one of them"
        )


def _leaves(data: memoryview, message: str, depth: int) -> Iterator[tuple[str, Any]]:
    """Every field of the schema above in a message, however often and in whatever order it stands there."""
    if depth > MAX_DEPTH:
        raise ValueError("nested too deeply")
    schema = _SCHEMA[message]
    for number, value in _fields(data):
        kind = schema.get(number)
        if kind in _SCHEMA:
            if not isinstance(value, memoryview):
                raise ValueError(f"field {number} of {message} is no message")
            yield from _leaves(value, kind, depth + 1)
        elif kind is not None:
            yield kind, value


def _fields(data: memoryview) -> Iterator[tuple[int, Any]]:
    """(number, value) of one protobuf message: integers as int, the rest as bytes."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        size, at = _varint(data, at) if wire == 2 else ({1: 8, 5: 4}.get(wire, -1), at)
        if number == 0 or size < 0 or at + size > len(data):
            raise ValueError(f"the bytes at {at} are no protobuf")
        yield number, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value & (2**64 - 1), at
    raise ValueError(f"the number at {at} does not end")


def check_safetensors(head: bytes, size: int, path: str) -> None:
    """Accept the header of a safetensors file of `size` bytes whose first bytes are `head`, or raise BadBundle that says why not.

    The tensors must fill the rest of the file without holes or overlaps, as the format asks.
    """
    refuse_pickle(head, path)
    length = int.from_bytes(head[:8], "little")
    if len(head) < 8 or length > min(MAX_HEADER_BYTES, size - 8):
        raise BadBundle(f"{path}: no safetensors file: its header claims {length} bytes of a file of {size}")
    try:
        header = json.loads(head[8 : 8 + length])
        spans = sorted(tuple(v["data_offsets"]) for k, v in header.items() if k != "__metadata__")
        ends = [0, *(end for _, end in spans)]
        whole = all(start == before and end >= start for (start, end), before in zip(spans, ends, strict=False))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise BadBundle(f"{path}: no safetensors file: its header is not the JSON that the format asks") from None
    if not whole or ends[-1] != size - 8 - length:
        raise BadBundle(
            f"{path}: the tensors do not fill the file (holes, overlaps or a truncated copy); fetch or export it again"
        )


def refuse_pickle(data: bytes, path: str) -> None:
    """Raise BadBundle where the first bytes are those of a Python pickle or of a zip archive, as `.pt` files are."""
    pickled = data[:1] == b"\x80" and data[1:2] in b"\x00\x01\x02\x03\x04\x05" and len(data) > 1
    if pickled and data[8:9] != b"{":
        raise BadBundle(f"{path}: a Python pickle, which can run code when loaded; only ONNX and safetensors are opened")
    if data[:4] == b"PK\x03\x04":
        raise BadBundle(
            f"{path}: a zip archive, as PyTorch's .pt files are; only ONNX and safetensors are opened: export the model"
        )
