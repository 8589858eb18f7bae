"""Networks that others use, to compare with: AlexNet and VGG, with smaller hidden layers than those published, and those that
were published for Bragg spots and for lattices.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import torch
from torch import Tensor, nn

from beamsight.blocks import convolve

HIDDEN = 1024


class AlexNet(nn.Module):
    """AlexNet's five convolutions at 256 pixels, for comparison; its two hidden layers have 1,024 instead of 4,096 units."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(6),
        )  # fmt: skip
        self.embed = _hidden(256 * 36)
        self.head = nn.Linear(HIDDEN, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[N C S S] to logits [N T] and embedding [N 1024]."""
        embedding = self.embed(self.features(x).flatten(1))
        return self.head(embedding), embedding


class VGG(nn.Module):
    """VGG's eight convolutions (configuration A) with batch norm, for comparison; two hidden layers of 1,024 units.

    At 256 pixels its last grid is 8 x 8, which 4 x 4 places halve exactly, where the published 7 x 7 would overlap.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        previous = channels
        for widths in ((64,), (128,), (256, 256), (512, 512), (512, 512)):
            for w in widths:
                stages += [convolve(previous, w), nn.ReLU()]
                previous = w
            stages.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*stages, nn.AdaptiveAvgPool2d(4))
        self.embed = _hidden(previous * 16)
        self.head = nn.Linear(HIDDEN, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[N C S S] to logits [N T] and embedding [N 1024]."""
        embedding = self.embed(self.features(x).flatten(1))
        return self.head(embedding), embedding


class HitNet(nn.Module):
    """The network of Li (2018), Table I, for the central 350 x 350 px of a frame: hit or miss.

    Its first two norms are of each image, with a scale and a shift for each row; it ends in a ReLU, as published.
    """

    side = 350

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 4, 7), nn.Dropout(0.2), OfEach(344), nn.ReLU(), nn.MaxPool2d(5),
            nn.Conv2d(4, 4, 7), OfEach(62), nn.ReLU(), nn.MaxPool2d(5), nn.Dropout(0.2), nn.Flatten(),
        )  # fmt: skip
        self.embed = nn.Sequential(nn.Linear(576, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2))
        self.head = nn.Sequential(nn.Linear(16, width), nn.ReLU())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[N C 350 350] to logits [N T] and embedding [N 16]."""
        embedding = self.embed(self.features(x))
        return self.head(embedding), embedding


class OfEach(nn.Module):
    """Each image [N C H W] to mean 0 and spread 1, then scaled and shifted row by row."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(rows, 1)), nn.Parameter(torch.zeros(rows, 1))

    def forward(self, x: Tensor) -> Tensor:
        """To the same shape."""
        return nn.functional.layer_norm(x, x.shape[1:]) * self.scale + self.shift


class TileNet(nn.Module):
    """The network of Ushizima et al. (2016), Table IV, for tiles of 64 x 64 px: do they hold a Bragg spot?

    An 11 x 11 convolution gives 18 x 18 places only in steps of three pixels: so it steps here.
    """

    side = 64

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 100, 11, 3), nn.MaxPool2d(3), nn.ReLU(), nn.Conv2d(100, 84, 6), nn.Flatten()
        )
        self.head = nn.Linear(84, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[N C 64 64] to logits [N T] and embedding [N 84]."""
        embedding = self.features(x)
        return self.head(embedding), embedding


class LatticeNet(nn.Module):
    """The network of Ushizima et al. (2016), Table VI, for 100 x 100 px: on which lattice do the particles sit?

    The table names no activation. Its layers are those of MatConvNet's example of handwritten digits with other widths, which has
    one, after its last convolution; without it, that and the last layer would be one linear map.
    """

    side = 100

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 20, 5), nn.MaxPool2d(2),
            nn.Conv2d(20, 20, 5), nn.MaxPool2d(2),
            nn.Conv2d(20, 50, 4), nn.ReLU(), nn.Flatten(),
        )  # fmt: skip
        self.head = nn.Linear(50 * 19 * 19, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[N C 100 100] to logits [N T] and embedding [N 18050]."""
        embedding = self.features(x)
        return self.head(embedding), embedding


def _hidden(features: int) -> nn.Sequential:
    return nn.Sequential(nn.Dropout(), nn.Linear(features, HIDDEN), nn.ReLU(), nn.Dropout(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU())
