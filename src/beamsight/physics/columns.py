"""Many scenes as one: dataclasses whose numbers are tensors [B 1 1] and whose arrays are tensors [B ...]."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch


def rows_of(columns: Any, rows: slice | torch.Tensor) -> Any:
    """The same dataclass with those rows alone."""
    return replace(columns, **{name: value[rows] for name, value in vars(columns).items()})


def chosen(columns: Any, flags: torch.Tensor) -> tuple[torch.Tensor, Any] | None:
    """The rows [n] where `flags` [B] hold and the columns of these rows; None where there are none."""
    rows = torch.arange(len(flags)) if flags.is_meta else flags.nonzero()[:, 0]
    return (rows, rows_of(columns, rows)) if len(rows) else None
