"""The network that finds small things on frames of any size, and says of the frame how many there are."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, logsigmoid, max_pool2d

from beamsight.answer import TILE_PX
from beamsight.blocks import Residual, convolve, halve
from beamsight.contrast import BLOCK, Contrast

CELL = BLOCK  # px: a side of the places that are told apart
EMBEDDING = 128
FINE, MIDDLE, COARSE = 40, 56, 64
NOWHERE, RARE = -20.0, -5.0  # logits where nothing is seen, and before anything is learnt
# Which of the cells' logits, the highest first, tell how many spots there are: one, some, ten, many.
RANKS = (1, 2, 3, 5, 8, 10, 12, 16, 24, 48)


class Spots(nn.Module):
    """What `Contrast` shows of a frame [N 68 H/8 W/8] to logits [N T] of the frame, embedding [N E], and the logit of each cell
    of 8 x 8 px [N H/8 W/8] that it holds a spot; H and W multiples of 64.

    A cell knows its pixels, and what lies within some 150 px. What is said of the frame rests on the highest cells, on how many
    cells are likely, and on the means of what the cells rest on.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fine = nn.Sequential(convolve(Contrast.channels, FINE), nn.ReLU(), convolve(FINE, FINE), nn.ReLU())
        self.context = nn.Sequential(halve(FINE, MIDDLE), Residual(MIDDLE), halve(MIDDLE, COARSE), Residual(COARSE))
        self.back = nn.Conv2d(COARSE, FINE, 1)
        self.cell = nn.Sequential(nn.ReLU(), nn.Conv2d(FINE, FINE, 1), nn.ReLU(), nn.Conv2d(FINE, 1, 1))
        nn.init.constant_(self.cell[3].bias, RARE)  # type: ignore[arg-type]
        self.embed = nn.Sequential(nn.Linear(2 * COARSE + len(RANKS) + 1, EMBEDDING), nn.ReLU())
        self.head = nn.Linear(EMBEDDING, width)

    def forward(self, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See the class."""
        fine = self.fine(seen)
        coarse = self.context(fine)
        wide = interpolate(self.back(coarse), scale_factor=4, mode="nearest")
        # Where no pixel is trusted there is nothing to be found.
        cells = torch.where(seen[:, -1] > 0, self.cell(fine + wide)[:, 0].float(), NOWHERE)
        embedding = self.embed(torch.cat([coarse.mean((2, 3)).float(), coarse.amax((2, 3)).float(), told(cells)], 1))
        return self.head(embedding), embedding, cells


def told(cells: Tensor) -> Tensor:
    """Logits of cells [N h w] to what a count rests on [N len(RANKS) + 1]: some of the highest, and the log of how many."""
    flat = cells.flatten(1)
    top = flat.topk(RANKS[-1], 1).values
    return torch.cat([top[:, [rank - 1 for rank in RANKS]] / 4, torch.log1p(expected(cells))[:, None]], 1)


def expected(cells: Tensor) -> Tensor:
    """How many of the cells hold a spot, [N], by their logits [N h w]."""
    return torch.sigmoid(cells).sum((1, 2))


def any_in_tile(places: Tensor | None) -> Tensor:
    """Truth of cells [N h w] (1, 0, NaN = doubtful) to that of tiles [N H/64 W/64]: one cell is enough; doubtful if it may be."""
    if places is None:
        raise ValueError("the task tells no places")
    side = TILE_PX // CELL
    there, doubtful = (max_pool2d(v.float()[:, None], side)[:, 0] for v in (places.nan_to_num(), places.isnan()))
    return torch.where((there < 1) & (doubtful > 0), torch.nan, there)


def tiles(cells: Tensor) -> Tensor:
    """Logits of cells [N h w] to logits [N H/64 W/64] that a tile holds a spot: one less the product of 1 - p."""
    side = TILE_PX // CELL
    none = avg_pool2d(logsigmoid(-cells)[:, None], side)[:, 0] * side**2
    return torch.log(-torch.expm1(none.clamp(max=-1e-6))) - none
