"""Networks that tell lattices: from a pattern's power spectrum, from its picture, and from both."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from torch import Tensor, nn

from beamsight.blocks import Residual, convolve, halve
from beamsight.mixer import Pooled
from beamsight.patterson import polar_power


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


class Paired(nn.Module):
    """What `comparing` says of the power spectrum of a picture, and `outlining` of the picture itself: their logits are added, so
    that each learns what the other does not tell."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.comparing, self.outlining = comparing(channels, width), outlining(channels, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[N C S S] of the view "decades" to logits [N T] and embedding [N 256]."""
        compared, outlined = self.comparing(polar_power(x)), self.outlining(x)
        return compared[0] + outlined[0], compared[1] + outlined[1]
