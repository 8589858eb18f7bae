"""What networks are built of: halvings, residual pairs of convolutions, on images, around a circle, along a radius."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Residual(nn.Module):
    """Two 3 x 3 convolutions around which the input passes unchanged."""

    def __init__(self, w: int) -> None:
        super().__init__()
        self.inside = nn.Sequential(convolve(w, w), nn.ReLU(), convolve(w, w))

    def forward(self, x: Tensor) -> Tensor:
        """[N W H H] to the same shape."""
        return F.relu(x + self.inside(x))


class Turning(nn.Module):
    """A 3 x 3 convolution of [N C R A] that goes around the circle, batch norm and ReLU."""

    def __init__(self, before: int, after: int, last: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, 3, 1, (1, 0), bias=False)
        self.norm, self.last = nn.BatchNorm2d(after), last

    def forward(self, x: Tensor) -> Tensor:
        """[N C R A] to [N C' R' A']."""
        x = self.norm(self.conv(torch.cat([x[..., -1:], x, x[..., :1]], 3)))
        return x if self.last else F.relu(x)


class TurningResidual(nn.Module):
    """Two convolutions around the circle, around which the input passes unchanged."""

    def __init__(self, w: int) -> None:
        super().__init__()
        self.inside = nn.Sequential(Turning(w, w), Turning(w, w, last=True))

    def forward(self, x: Tensor) -> Tensor:
        """[N W R A] to the same shape."""
        return F.relu(x + self.inside(x))


class Along(nn.Module):
    """Two convolutions along the radius around which the input passes unchanged."""

    def __init__(self, w: int) -> None:
        super().__init__()
        self.inside = nn.Sequential(along(w, w, 3), nn.Conv1d(w, w, 3, padding=1, bias=False), nn.BatchNorm1d(w))

    def forward(self, x: Tensor) -> Tensor:
        """[N W R] to the same shape."""
        return F.relu(x + self.inside(x))


def halve(before: int, after: int) -> nn.Module:
    """A convolution to half the side, and ReLU."""
    return nn.Sequential(convolve(before, after, stride=2), nn.ReLU())


def convolve(before: int, after: int, stride: int = 1) -> nn.Module:
    """A 3 x 3 convolution and batch norm."""
    return nn.Sequential(nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after))


def along(before: int, after: int, size: int, stride: int = 1) -> nn.Sequential:
    """A convolution along the radius, batch norm and ReLU."""
    return nn.Sequential(nn.Conv1d(before, after, size, stride, size // 2, bias=False), nn.BatchNorm1d(after), nn.ReLU())
