"""The second view: what a frame's Fourier-Bessel coefficients say whichever way the sample is turned."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import torch
from torch import Tensor, nn

from beamsight.fourier_bessel import FourierBessel

ORDERS = 32
REACH = 0.7  # of a frame's side: with the beam in the middle all of the frame
FEATURES = 4


class Coefficients(nn.Module):
    """A frame around its beam: (counts [N H W], mask [N H W], centre [N 2] (y, x) px) -> [N 4 * 33, side / 4].

    Square roots of counts are expanded, in which photon noise is alike in bright and faint places, in waves as short as six
    pixels. Nothing depends on the sample's azimuth. Of each order: its magnitude over that of noise, which is what the quickest
    waves have; its share of all power; and, as cosine and sine, the phase between it and the next radial order, which tells where
    along the radius it lies. In float32; no gradient passes to the counts.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.transform = FourierBessel(round(REACH * size), ORDERS, size // 4, moves=1)

    def forward(self, counts: Tensor, mask: Tensor, centre: Tensor) -> Tensor:
        """See the class."""
        with torch.no_grad(), torch.autocast(counts.device.type, enabled=False):
            mask = mask.float()
            light = torch.where(mask > 0, counts.float(), 0.0).clamp(min=0.0)
            mean = light.sum((1, 2), keepdim=True) / mask.sum((1, 2), keepdim=True).clamp(min=1.0)
            sums = self.transform.sums((light / mean.clamp(min=1e-30)).sqrt(), mask, centre.float())
            return self._told(sums / self.transform.norms.sqrt()[..., None])

    def _told(self, c: Tensor) -> Tensor:
        """c [N n K 2] of basis functions of norm 1."""
        power = c.square().sum(3)
        noise = power[:, 3 * ORDERS // 4 :, power.shape[2] // 2 :].mean((1, 2), keepdim=True) + 1e-6
        size = (power / noise).sqrt()
        share = torch.log(power / power.sum((1, 2), keepdim=True).clamp(min=1e-12) + 1e-7) / 8 + 1
        after = torch.cat([c[:, :, 1:], torch.zeros_like(c[:, :, :1])], 2)
        both = (power * after.square().sum(3)).sqrt() + noise
        along = (c * after).sum(3) / both
        across = (c[..., 0] * after[..., 1] - c[..., 1] * after[..., 0]) / both
        return torch.stack([torch.asinh(size) / 2, share, along, across], 1).flatten(1, 2)
