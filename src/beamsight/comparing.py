"""Networks that tell lattices: from a pattern's power spectrum, from its picture, and from both."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import torch
from torch import Tensor, nn

from beamsight.blocks import Residual, convolve, halve
from beamsight.joint import EMBEDDING
from beamsight.mixer import Mixer
from beamsight.patterson import polar_power


class Comparing(nn.Module):
    """For log-polar power spectra, where the same lattice at another scale is the same picture shifted.

    Three halvings with residual blocks, then attention among places, pooled by mean and maximum.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.stages = nn.Sequential(
            convolve(channels, 32), nn.ReLU(), halve(32, 64), Residual(64), Residual(64),
            halve(64, 112), Residual(112), Residual(112), halve(112, 192), Residual(192),
        )  # fmt: skip
        self.mixer = Mixer(192)
        self.embed = nn.Sequential(nn.Linear(2 * 192, EMBEDDING), nn.ReLU())
        self.head = nn.Linear(EMBEDDING, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[N C R A] to logits [N T] and embedding [N 256]."""
        grid = self.mixer(self.stages(x))
        embedding = self.embed(torch.cat([grid.mean((2, 3)), grid.amax((2, 3))], 1))
        return self.head(embedding), embedding


class Outlining(nn.Module):
    """For pictures of many decades: which rods have their maxima at which heights.

    Four halvings with residual blocks, then attention among 6 x 6 places of 96 px, pooled by mean and maximum.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.stages = nn.Sequential(
            halve(channels, 24), halve(24, 48), Residual(48), halve(48, 96), Residual(96), Residual(96),
            halve(96, 144), Residual(144),
        )  # fmt: skip
        self.mixer = Mixer(144)
        self.embed = nn.Sequential(nn.Linear(2 * 144, EMBEDDING), nn.ReLU())
        self.head = nn.Linear(EMBEDDING, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[N C S S] to logits [N T] and embedding [N 256]."""
        grid = self.mixer(self.stages(x))
        embedding = self.embed(torch.cat([grid.mean((2, 3)), grid.amax((2, 3))], 1))
        return self.head(embedding), embedding


class Paired(nn.Module):
    """What `Comparing` says of the power spectrum of a picture, and `Outlining` of the picture itself: their logits are added, so
    that each learns what the other does not tell."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.comparing, self.outlining = Comparing(channels, width), Outlining(channels, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[N C S S] of the view "decades" to logits [N T] and embedding [N 256]."""
        compared, outlined = self.comparing(polar_power(x)), self.outlining(x)
        return compared[0] + outlined[0], compared[1] + outlined[1]
