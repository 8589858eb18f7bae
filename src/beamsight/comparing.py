"""Networks that tell lattices: from a pattern's power spectrum, from its picture, and from both once it stands upright."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import torch
from torch import Tensor, nn

from beamsight.blocks import Residual, convolve, halve
from beamsight.mixer import Pooled
from beamsight.patterson import polar_power

SIDES = 4  # of a file, to which scattering may rise: the upper, left, lower, right one, after so many quarter turns


def comparing(channels: int, width: int) -> Pooled:
    """For log-polar power spectra, where the same lattice at another scale is the same picture shifted: three halvings with
    residual blocks."""
    stages = nn.Sequential(
        convolve(channels, 32), nn.ReLU(), halve(32, 64), Residual(64), Residual(64),
        halve(64, 112), Residual(112), Residual(112), halve(112, 192), Residual(192),
    )  # fmt: skip
    return Pooled(stages, 192, width)


def outlining(channels: int, width: int) -> Pooled:
    """For pictures of many decades: which rods have their maxima at which heights. Four halvings with residual blocks, to 6 x 6
    places of 96 px."""
    stages = nn.Sequential(
        halve(channels, 24), halve(24, 48), Residual(48), halve(48, 96), Residual(96), Residual(96),
        halve(96, 144), Residual(144),
    )  # fmt: skip
    return Pooled(stages, 144, width)


def righting(channels: int, width: int) -> Pooled:
    """For the whole of a picture: to which side of its file the scattering rises. Three halvings."""
    stages = nn.Sequential(
        nn.AvgPool2d(2), halve(channels, 16), halve(16, 32), Residual(32), halve(32, 48), Residual(48),
    )  # fmt: skip
    return Pooled(stages, 48, width)


def upright(x: Tensor, sides: Tensor) -> Tensor:
    """Square pictures [N C S S] turned so that they rise to their upper side; now they rise to the upper, left, lower or right
    one, whichever of `sides` [N 4] is largest. Some are mirrored, too, which tells no lattice from another."""
    side = sides.argmax(1)[:, None, None, None]
    lying = x.transpose(2, 3)
    x = torch.where(side == 1, lying, torch.where(side == 2, x.flip(2), x))
    return torch.where(side == 3, lying.flip(2), x)


class Paired(nn.Module):
    """What `comparing` says of the power spectrum of a picture, and `outlining` of the picture itself: their logits are added, so
    that each learns what the other does not tell. Both see it upright, as `righting` finds: that one learns by itself, before."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.comparing, self.outlining = comparing(channels, width), outlining(channels, width)
        self.righting = righting(channels, SIDES)

    def train(self, mode: bool = True) -> Paired:
        """Learns, but for what was learnt before: its norms stay."""
        super().train(mode)
        self.righting.eval()
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[N C S S] of the view "decades" to logits [N T] and embedding [N 256]."""
        # No gradient passes a choice.
        x = upright(x, self.righting(x)[0])
        compared, outlined = self.comparing(polar_power(x)), self.outlining(x)
        return compared[0] + outlined[0], compared[1] + outlined[1]
