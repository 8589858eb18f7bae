"""Views of patterns of many decades: what stands out of its neighbourhood, and how that lies against one another."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, grid_sample

SLIGHT = 1e-6  # keeps means over nothing finite
LEAST, LINEAR = 1e-6, 0.03  # of the mean, and of the geometric mean: where logs of patterns of many decades turn linear
AROUND, EVEN = (5, 21), 0.1  # px of the neighbourhoods; of the frame's spread, below which one is even
RADII, ANGLES = 64, 40
SLOWEST, FASTEST = 3 / 192, 0.46  # waves a pixel that are looked at
FAINT = 1e-3  # of the mean power: below it the logarithm is even
TAPER = 0.1  # of a side, over which frames fade out: an edge is a line of all waves


class Decades(nn.Module):
    """A pattern of any number of decades, counts or a picture of their logarithm: (counts [N H W], mask [N H W], 1 = trust) ->
    [N 4 H W].

    0 log(counts / g + 0.03), g the counts' geometric mean, which a specular beam does not move. 1 the same less its mean over 5
    px and 2 less that over 21 px, each over its own spread around there: what stands out of its neighbourhood looks the same
    whatever the scale that brings it. 3 the mask. The first has mean 0 and spread 1. Untrusted pixels are 0 in all, and in no
    mean. Computed in float32.
    """

    def shape(self, height: int, width: int) -> tuple[int, int, int]:
        """(C, h, w) of the view of a frame of (height, width) px."""
        return (4, height, width)

    def forward(self, counts: Tensor, mask: Tensor) -> Tensor:
        """See the class."""
        with torch.autocast(counts.device.type, enabled=False):
            counts, mask, seen, mean = trusted_counts(counts, mask)
            share = counts / mean
            middle = ((torch.log(share + LEAST) * mask).mean((1, 2), keepdim=True) / seen).exp()
            picture = standard(torch.log(share / middle + LINEAR) * mask, mask, seen)
            return torch.stack([picture, *(_stands_out(picture, mask, width) for width in AROUND), mask], 1)


def trusted_counts(counts: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Counts [N H W], 0 where negative or not trusted; the mask as numbers; the share of trusted pixels and the mean count of
    these [N 1 1]."""
    mask = mask.float()
    counts = torch.where(mask > 0, counts.float(), 0.0).clamp(min=0.0)
    seen = mask.mean((1, 2), keepdim=True).clamp(min=1e-6)
    return counts, mask, seen, (counts.mean((1, 2), keepdim=True) / seen).clamp(min=1e-30)


def _stands_out(picture: Tensor, mask: Tensor, width: int) -> Tensor:
    """How far [N H W] pixels stand out of the trusted ones over `width` px around them, in spreads of these."""
    share = _around(mask, width).clamp(min=SLIGHT)
    mean = _around(picture * mask, width) / share
    spread = (_around(picture * picture * mask, width) / share - mean * mean).clamp(min=0).sqrt()
    return ((picture - mean) / (spread + EVEN)).clamp(-5, 5) * mask


def _around(image: Tensor, width: int) -> Tensor:
    # Along one side, then along the other: a wide square at once takes ten times as long.
    rows = avg_pool2d(image[:, None], (1, width), 1, (0, width // 2), count_include_pad=False)
    return avg_pool2d(rows, (width, 1), 1, (width // 2, 0), count_include_pad=False)[:, 0]


def standard(image: Tensor, mask: Tensor, seen: Tensor) -> Tensor:
    """Mean 0 and spread 1 over the trusted pixels, a share `seen` of all; no outlier beyond 10, or one hot pixel would
    hide the rest."""
    mean = image.mean((1, 2), keepdim=True) / seen
    spread = ((image * image).mean((1, 2), keepdim=True) / seen - mean * mean).clamp(min=SLIGHT).sqrt()
    return ((image - mean) / spread).clamp(-10, 10) * mask


class Patterson(nn.Module):
    """(counts [N H W], mask [N H W], 1 = trust) -> [N 4 RADII ANGLES].

    The squared transform of a scattering pattern shows the distances between what scatters (Patterson, Phys. Rev. 46, 372
    (1934)): it does not depend on where beam and horizon lie. Of the three pictures of `Decades` and the mask, power at waves of
    k = SLOWEST to FASTEST a pixel, rows even in log k, and at 0 to 90 degrees, columns: halves of the pattern that mirror one
    another are averaged. So another scale is a shift along the rows, and a turned file one of mirrored columns. Logs with mean 0
    and spread 1. Computed in float32.
    """

    def __init__(self) -> None:
        super().__init__()
        self.decades = Decades()

    def shape(self, height: int, width: int) -> tuple[int, int, int]:
        """(C, h, w) of the view of a frame of (height, width) px."""
        return (4, RADII, ANGLES)

    def forward(self, counts: Tensor, mask: Tensor) -> Tensor:
        """See the class."""
        return polar_power(self.decades(counts, mask))


def polar_power(seen: Tensor) -> Tensor:
    """The power spectrum [N C RADII ANGLES] of what `Decades` shows, [N C H W], as `Patterson` has it; in float32."""
    with torch.autocast(seen.device.type, enabled=False):
        seen = seen.float()
        power = spectrum(seen * _fading(seen.shape[2])[:, None] * _fading(seen.shape[3]))
        places = _places(power.shape[2]).to(power.device)
        polar = grid_sample(power, places.expand(power.shape[0], -1, -1, -1), padding_mode="border", align_corners=True)
        log = torch.log(polar / polar.mean((2, 3), keepdim=True).clamp(min=1e-12) + FAINT)
        log = log - log.mean((2, 3), keepdim=True)
        spread: Tensor = (log.square().mean((2, 3), keepdim=True) + 1e-3).sqrt()
        return log / spread


def spectrum(images: Tensor) -> Tensor:
    """[N C H W] to their power [N C K K] at k = n / (2 K) waves a pixel along both sides, K the longer side; k and -k along the
    rows averaged. By products of matrices, which any runtime has."""
    most = max(images.shape[2:])
    down, across = (_waves(most, n).to(images.device) for n in images.shape[2:])
    rows = [images @ part.T for part in across]
    cos, sin = ([down[n] @ part for part in rows] for n in (0, 1))
    # cos cos - sin sin and so on: the transform at (k, l), and with the other sign of the last at (k, -l).
    plus: Tensor = (cos[0] - sin[1]) ** 2 + (cos[1] + sin[0]) ** 2
    minus: Tensor = (cos[0] + sin[1]) ** 2 + (sin[0] - cos[1]) ** 2
    return (plus + minus) / 2


def _waves(most: int, side: int) -> Tensor:
    """[2 K side] cosines and sines."""
    phase = torch.arange(most)[:, None] * torch.arange(side) * (math.pi / most)
    return torch.stack([phase.cos(), phase.sin()])


def _fading(side: int) -> Tensor:
    edge = torch.minimum(torch.arange(side), side - 1 - torch.arange(side)) / (TAPER * side)
    return 0.5 - 0.5 * torch.cos(math.pi * edge.clamp(max=1))


def _places(most: int) -> Tensor:
    """[1 RADII ANGLES 2] (x, y) of the places, -1 to 1 over the spectrum."""
    k = SLOWEST * (FASTEST / SLOWEST) ** (torch.arange(RADII) / (RADII - 1))
    angle = torch.arange(ANGLES) / (ANGLES - 1) * (math.pi / 2)
    along = k[:, None] * torch.stack([angle.cos(), angle.sin()])[:, None]
    return (along * (2 * most) * 2 / (most - 1) - 1).permute(1, 2, 0)[None]
