"""Attention among the places of a coarse grid, and networks that answer from it."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from beamsight.joint import EMBEDDING

# Waves a grid's side that tell places apart: from the whole grid to neighbours on 8 x 8.
_WAVES = (0.5, 1.0, 2.0, 4.0)


def _positions(height: int, breadth: int) -> Tensor:
    """Sines and cosines of the places [H * B, 16] of a grid, by rows then columns."""
    y, x = torch.meshgrid(_phases(height), _phases(breadth), indexing="ij")
    angles = torch.stack([y.flatten(), x.flatten()], 1)[:, :, None] * torch.tensor(_WAVES)
    return torch.cat([angles.sin(), angles.cos()], 2).flatten(1)


def _phases(n: int) -> Tensor:
    return (torch.arange(n) + 0.5) * (torch.pi / n)


class Mixer(nn.Module):
    """Attention among the places of a coarse grid: any place may compare itself with the one opposite or a turn away."""

    def __init__(self, w: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.place = nn.Linear(4 * len(_WAVES), w, bias=False)
        self.before, self.between = nn.LayerNorm(w), nn.LayerNorm(w)
        self.ask, self.join = nn.Linear(w, 3 * w), nn.Linear(w, w)
        self.think = nn.Sequential(nn.Linear(w, 2 * w), nn.ReLU(), nn.Linear(2 * w, w))

    def forward(self, x: Tensor) -> Tensor:
        """[N W H H] to the same shape."""
        w, height, breadth = x.shape[1:]
        tokens = x.flatten(2).transpose(1, 2)
        places = self.place(_positions(height, breadth).to(tokens))
        asked = self.ask(self.before(tokens) + places).unflatten(2, (3, self.heads, w // self.heads))
        query, key, value = asked.permute(2, 0, 3, 1, 4).unbind(0)
        tokens = tokens + self.join(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))
        tokens = tokens + self.think(self.between(tokens))
        grid: Tensor = tokens.transpose(1, 2).unflatten(2, (height, breadth))
        return grid


class Pooled(nn.Module):
    """Stages that end in `w` channels, attention among the places of their grid, then its mean (how much of the image) and its
    maximum (is there one spot at all)."""

    def __init__(self, stages: nn.Sequential, w: int, width: int) -> None:
        super().__init__()
        self.stages, self.mixer = stages, Mixer(w)
        self.embed = nn.Sequential(nn.Linear(2 * w, EMBEDDING), nn.ReLU())
        self.head = nn.Linear(EMBEDDING, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[N C H W] to logits [N T] and embedding [N 256]."""
        grid = self.mixer(self.stages(x))
        embedding = self.embed(torch.cat([grid.mean((2, 3)), grid.amax((2, 3))], 1))
        return self.head(embedding), embedding
