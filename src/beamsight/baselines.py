"""Networks that others use, to compare with: AlexNet and VGG, with smaller hidden layers than those published."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

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


def _hidden(features: int) -> nn.Sequential:
    return nn.Sequential(nn.Dropout(), nn.Linear(features, HIDDEN), nn.ReLU(), nn.Dropout(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU())
