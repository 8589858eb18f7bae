"""How far each pixel stands out of its neighbourhood: the view for what is small, on frames of any size and any unit."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pad, pixel_unshuffle

BLOCK = 8  # px: a side over which mean and spread are taken
SAMPLED = 3  # every so many pixels of a block tell how many are empty and what one photon is
SOFT = 10.0
SEEN = 0.25  # of a block's pixels must be trusted for its mean to count
WIDE = 9  # blocks a side that stand in for what is masked
SLIGHT = 1e-6
EMPTY = 0.3  # of the pixels around hold nothing: there a spread is that of counting, and the smallest count is one photon
QUANTUM = 0.25  # of one photon: no spread is known better
# Exchanges after which the fifth of nine values is their median (Smith, Xcell 23, 16 (1996)).
EXCHANGES = (
    (1, 2), (4, 5), (7, 8), (0, 1), (3, 4), (6, 7), (1, 2), (4, 5), (7, 8), (0, 3),
    (5, 8), (4, 7), (3, 6), (1, 4), (2, 5), (4, 7), (4, 2), (6, 4), (4, 2),
)  # fmt: skip


class Contrast(nn.Module):
    """(counts [N H W], mask [N H W], 1 = trust) to [N 68 H/8 W/8], H and W multiples of 8: each block of 8 x 8 px is one place,
    its first 64 channels the contrast of its pixels row by row, the others what the neighbourhood is like.

    Contrast is z / (1 + |z| / 10), z = (counts - mean) / spread, where mean and spread are medians over the 3 x 3 blocks around:
    a spot is small beside 24 px and moves neither. So no gain, unit, exposure or beam centre has to be known. Where many
    pixels hold no photon at all spreads vanish; none is taken for less than that of counting at the mean around it, nor for less
    than a quarter of the smallest count. Neighbourhood: mean / spread, which says how many photons a pixel there are, and the
    block's own spread over that around it, both as x / (1 + x / 10); the share of pixels that are empty, and of those that are
    trusted. Untrusted pixels are 0; what their counts are does not matter if it is finite. Computed in float32.
    """

    channels = BLOCK**2 + 4

    def shape(self, height: int, width: int) -> tuple[int, int, int]:
        """(C, h, w) of the view of a frame of (height, width) px."""
        return (self.channels, height // BLOCK, width // BLOCK)

    def forward(self, counts: Tensor, mask: Tensor) -> Tensor:
        """See the class."""
        with torch.autocast(counts.device.type, enabled=False):
            trusted = pixel_unshuffle(mask.float()[:, None], BLOCK)
            values = pixel_unshuffle(counts.float()[:, None], BLOCK) * trusted
            share = trusted.mean(1, keepdim=True)
            mean, square = (v.mean(1, keepdim=True) / share.clamp(min=SLIGHT) for v in (values, values * values))
            own = (square - mean * mean).clamp(min=0.0)
            some, known = values[:, ::SAMPLED], trusted[:, ::SAMPLED].mean(1, keepdim=True)
            empty = 1 - _wide((some != 0).float().mean(1, keepdim=True) / known.clamp(min=SLIGHT), known)
            level = _median(_filled(mean, share))
            spread = torch.maximum(_median(_filled(own, share)), _counting(some, mean, empty, share)).sqrt()
            around = [_soft(level / spread) / 4, _soft(own.sqrt() / spread) / 4, empty, share]
            return torch.cat([_soft((values - level) / spread) * trusted, *around], 1)


def _soft(z: Tensor) -> Tensor:
    """As it is where small, at most SOFT: quicker in a graph than a logarithm, and what stands far out does so anyway."""
    return z / (1 + z.abs() / SOFT)


def _counting(values: Tensor, mean: Tensor, empty: Tensor, share: Tensor) -> Tensor:
    """The least variance [N 1 h w] where most pixels are empty: of counting at the mean around, in the frame's smallest count."""
    step = torch.where(values > 0, values, torch.inf).amin((1, 2, 3), keepdim=True)
    step = torch.where(step.isinf(), 1.0, step)
    least = step * _wide(torch.minimum(mean, step).clamp(min=0.0), share)
    return torch.where(empty >= EMPTY, torch.maximum(least, (QUANTUM * step) ** 2), SLIGHT * SLIGHT)


def _wide(blocks: Tensor, share: Tensor) -> Tensor:
    """Mean over WIDE x WIDE blocks [N 1 h w] of what is trusted."""
    near = avg_pool2d(share, WIDE, 1, WIDE // 2)
    return avg_pool2d(blocks * share, WIDE, 1, WIDE // 2) / near.clamp(min=SLIGHT)


def _filled(blocks: Tensor, share: Tensor) -> Tensor:
    """The blocks [N 1 h w], those with too few trusted pixels as the others around them are."""
    return torch.where(share >= SEEN, blocks, _wide(blocks, torch.where(share >= SEEN, share, 0.0)))


def _median(blocks: Tensor) -> Tensor:
    """Median over 3 x 3 of [N 1 h w], by exchanges: to sort takes ten times as long in a graph."""
    height, width = blocks.shape[2:]
    wider = pad(blocks, (1, 1, 1, 1), mode="replicate")
    nine = [wider[:, :, y : y + height, x : x + width] for y in range(3) for x in range(3)]
    for low, high in EXCHANGES:
        nine[low], nine[high] = torch.minimum(nine[low], nine[high]), torch.maximum(nine[low], nine[high])
    return nine[4]
