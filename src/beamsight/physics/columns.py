"""Many scenes as one: dataclasses whose numbers are tensors [B 1 1] and whose arrays are tensors [B ...]."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol, TypeVar, cast

import torch


class Columns(Protocol):
    """A dataclass of drawn numbers, many at once: its numbers are tensors [B 1 1], its arrays tensors [B ...]."""

    def __getattr__(self, name: str) -> torch.Tensor: ...


Many = TypeVar("Many")
Rows = torch.Tensor | slice


def rows_of(columns: Many, rows: Rows) -> Many:
    """The same dataclass of tensors [B ...] with those rows alone."""
    values = {name: value[rows] for name, value in vars(columns).items()}
    return cast("Many", replace(cast("Any", columns), **values))


def chosen(columns: Columns, flags: torch.Tensor) -> tuple[Rows, Columns] | None:
    """The rows [n] where `flags` [B] hold and the columns of these rows; None where there are none."""
    if not flags.is_meta and len(flags) and bool(flags.all()):  # of a frame by itself, often: a copy of its numbers takes time
        return slice(None), columns
    rows = torch.arange(len(flags)) if flags.is_meta else flags.nonzero()[:, 0]
    return (rows, rows_of(columns, rows)) if len(rows) else None


def any_of(flags: torch.Tensor) -> bool:
    """Whether any holds; on the meta device, where nothing has a value, True."""
    return flags.is_meta or bool(flags.any())


def highest(numbers: torch.Tensor, bound: int) -> int:
    """The highest of whole numbers; on the meta device the `bound` that none exceeds."""
    return bound if numbers.is_meta else int(numbers.max())
