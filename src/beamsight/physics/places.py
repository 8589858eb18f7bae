"""Where the pixels of a stored image lie: panels as numbers, for windows of any size. Tensors."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from dataclasses import dataclass

import torch

# The columns of a table of panels [P 14], a row of zeros where there is none: first row and column in the stored image and those
# after the last; (y, x) px of the first pixel from the beam; (y, x) px from a row to the next and from a column to the next; by
# how much the first and last row and the first and last column are wider than the others, in px.
Y0, X0, Y1, X1, CORNER_Y, CORNER_X, SLOW_Y, SLOW_X, FAST_Y, FAST_X, FIRST_Y, LAST_Y, FIRST_X, LAST_X = range(14)
COLUMNS = 14


@dataclass(frozen=True)
class Places:
    """The pixels [B H W] of windows of detectors: `y`, `x` in px from the beam, `panel` their number from 1, 0 where none lies,
    `row`, `column` and `pixel` in the whole stored image (int32), `area` in ordinary pixels; `panels` [B n COLUMNS] that the
    window meets."""

    y: torch.Tensor
    x: torch.Tensor
    panel: torch.Tensor
    row: torch.Tensor
    column: torch.Tensor
    pixel: torch.Tensor
    area: torch.Tensor
    panels: torch.Tensor


def places(panels: torch.Tensor, first: torch.Tensor, width: torch.Tensor, shape: tuple[int, int]) -> Places:
    """The window of `shape` (H, W) whose first pixel is `first` [B 2] (y, x) of the stored image, `width` [B] pixels wide, of
    detectors with `panels` [B P COLUMNS].

    A sum over panels of products of a row's and a column's part, so that no pixel is asked which panel it is on.
    """
    row = first[:, 0, None].int() + torch.arange(shape[0], dtype=torch.int32)
    column = first[:, 1, None].int() + torch.arange(shape[1], dtype=torch.int32)
    near, number = _met(panels, row, column)
    t = near.transpose(1, 2)[..., None]
    down, right = row[:, None] - t[:, Y0], column[:, None] - t[:, X0]
    on_y = ((row[:, None] >= t[:, Y0]) & (row[:, None] < t[:, Y1])).float()
    on_x = ((column[:, None] >= t[:, X0]) & (column[:, None] < t[:, X1])).float()

    def summed(of_row: torch.Tensor, of_column: torch.Tensor) -> torch.Tensor:
        return of_row.transpose(1, 2) @ of_column

    wide_y = 1 + t[:, FIRST_Y] * (down == 0) + t[:, LAST_Y] * (row[:, None] == t[:, Y1] - 1)
    wide_x = 1 + t[:, FIRST_X] * (right == 0) + t[:, LAST_X] * (column[:, None] == t[:, X1] - 1)
    both = torch.cat([on_x, on_x * right], 1)
    y = summed(torch.cat([on_y * (t[:, CORNER_Y] + down * t[:, SLOW_Y]), on_y * t[:, FAST_Y]], 1), both)
    x = summed(torch.cat([on_y * (t[:, CORNER_X] + down * t[:, SLOW_X]), on_y * t[:, FAST_X]], 1), both)
    panel = summed(on_y * number[..., None], on_x).round().int()
    area = summed(on_y * wide_y, on_x * wide_x)
    rows, columns = row[:, :, None].expand(y.shape), column[:, None].expand(y.shape)
    return Places(y, x, panel, rows, columns, rows * width[:, None, None].int() + columns, area, near)


def _met(panels: torch.Tensor, row: torch.Tensor, column: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The panels that a window meets [B n COLUMNS] and their numbers from 1 [B n], as many for each of the batch."""
    number = torch.arange(1, panels.shape[1] + 1, dtype=torch.float32).expand(panels.shape[:2])
    if panels.is_meta:
        return panels, number
    met = (panels[..., Y1] > row[:, :1]) & (panels[..., Y0] <= row[:, -1:])
    met &= (panels[..., X1] > column[:, :1]) & (panels[..., X0] <= column[:, -1:])
    most = max(int(met.sum(1).max()), 1)
    order = met.int().argsort(dim=1, descending=True, stable=True)[:, :most]
    return panels.gather(1, order[..., None].expand(-1, -1, panels.shape[2])), number.gather(1, order)


def stored(panels: torch.Tensor, y: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Row and column [B N P] in the stored image of places y, x [B N] px from the beam, as each panel [B P COLUMNS] would have
    them."""
    t = panels.transpose(1, 2)[:, :, None]
    away_y, away_x = y[..., None] - t[:, CORNER_Y], x[..., None] - t[:, CORNER_X]
    # An absent panel has no directions: one in place of its zero keeps the quotient finite.
    turn = t[:, SLOW_Y] * t[:, FAST_X] - t[:, SLOW_X] * t[:, FAST_Y]
    turn = torch.where(turn == 0, 1.0, turn)
    down = (away_y * t[:, FAST_X] - away_x * t[:, FAST_Y]) / turn
    right = (away_x * t[:, SLOW_Y] - away_y * t[:, SLOW_X]) / turn
    return t[:, Y0] + down, t[:, X0] + right
