"""Ways to look at a frame. A view is part of the exported graph, so that training and beamline cannot drift apart."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import avg_pool2d, interpolate

from beamsight.errors import BeamsightError

FLOOR = 0.01  # of the mean count: where the log turns linear, below what a display of two decades would show
SLIGHT = 1e-6  # keeps means over nothing finite


class LogCounts(nn.Module):
    """Log counts at several scales and the mask: (counts [N H W], mask [N H W], 1 = trust) -> [N 5 H W], H and W multiples of 4.

    0 log(counts / mean + 0.01), mean over trusted pixels: the picture, whatever its unit. 1 the same less its mean over 28 px:
    faint features on strong decays. 2 as 1, of counts averaged over 4 px: what shows only when summed. 3 log(1 + counts):
    the level.
    4 the mask. The first three are brought to mean 0 and spread 1 frame by frame, as frames of few photons are a hundred times
    rougher than bright ones. Untrusted pixels are 0 in all and enter no mean. Computed in float32: five per cent of contrast is
    less than bfloat16 resolves.
    """

    def shape(self, height: int, width: int) -> tuple[int, int, int]:
        """(C, h, w) of the view of a frame of (height, width) px."""
        return (5, height, width)

    def forward(self, counts: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """See the class."""
        with torch.autocast(counts.device.type, enabled=False):
            mask = mask.float()
            counts = torch.where(mask > 0, counts.float(), 0.0).clamp(min=0.0)
            seen = mask.mean((1, 2), keepdim=True).clamp(min=1e-6)
            mean = (counts.mean((1, 2), keepdim=True) / seen).clamp(min=1e-30)
            picture = torch.log(counts / mean + FLOOR) * mask
            share = avg_pool2d(mask[:, None], 4) + SLIGHT
            near = _near(share)
            local = (picture - _fine(_near(avg_pool2d(picture[:, None], 4)) / near)) * mask
            coarse = torch.log(avg_pool2d(counts[:, None], 4) / share / mean[:, None] + FLOOR) * (share > SLIGHT)
            faint = _fine(coarse - _near(coarse * share) / near) * mask
            level = torch.log1p(counts) * mask
            scaled = [_standard(image, mask, seen) for image in (picture, local, faint)]
            return torch.stack([*scaled, level / 4, mask], 1)


def _standard(image: torch.Tensor, mask: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """Mean 0 and spread 1 over the trusted pixels, a share `seen` of all; no outlier beyond 10, or one hot pixel would
    hide the rest."""
    mean = image.mean((1, 2), keepdim=True) / seen
    spread = ((image * image).mean((1, 2), keepdim=True) / seen - mean * mean).clamp(min=SLIGHT).sqrt()
    return ((image - mean) / spread).clamp(-10, 10) * mask


def _near(coarse: torch.Tensor) -> torch.Tensor:
    """Mean over 7 x 7 of a quarter-size image [N 1 h w]: broad means need no fine grid."""
    return avg_pool2d(coarse, 7, 1, 3, count_include_pad=False)


def _fine(coarse: torch.Tensor) -> torch.Tensor:
    """A quarter-size image [N 1 h w] at full size [N H W]."""
    return interpolate(coarse, scale_factor=4.0, mode="bilinear", align_corners=False)[:, 0]


def build_view(name: str) -> LogCounts:
    """The view of that name. Raises BeamsightError, which lists the names."""
    if name != "image":
        raise BeamsightError(f"no view is called {name!r}; there is 'image'")
    return LogCounts()
