"""Ways to look at a frame. A view is part of the exported graph, so that training and beamline cannot drift apart."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool1d, avg_pool2d

from beamsight.contrast import Contrast
from beamsight.errors import BeamsightError
from beamsight.patterson import SLIGHT, Decades, Patterson, standard, trusted_counts

# What an answer may rest on: the image, its Fourier-Bessel coefficients, the image and its rings, or all of these.
VIEWS = ("image", "coefficients", "rings", "joint")
# The same for what is small: how far each pixel stands out of its neighbourhood; or its counts as they are.
LOCAL_VIEWS = ("contrast", "counts")
# The same for patterns of many decades, which come as counts or as pictures of their logarithm.
DECADES, PATTERSON = "decades", "patterson"

FLOOR = 0.01  # of the mean count: where the log turns linear, below what a display of two decades would show
STRUCK, FAR_ABOVE, BESIDE = 12, 8, 0.25  # pixels; how often mean and spread of all others go into it; pairs a pixel

RADII, SECTORS = 256, 96
WINDOWS = (3, 9, 27)  # rings over which a profile is compared with thrice as many: thin rings, broad ones, halos
ORDERS = (1, 2, 3, 4, 5, 6, 8)
SUMMED = (1, 5, 21)  # rings over which harmonics are added: where a modulation is wide, its phase stays
FLAT = 1e-3  # of the mean count: keeps contrasts and powers of nothing finite
NEAR = 9  # rings that share one estimate of the noise


def struck(counts: Tensor, mask: Tensor) -> Tensor:
    """Pixels [N H W], 1 where one stands at the frame's highest count because it was struck or is stuck, and not by light.

    That is so of all pixels at the maximum where at least STRUCK stand there, hardly any beside another pixel of half that count,
    and it lies far above what all others hold. A detector at its limit fills whole areas; photons leave no such gap; counts of 0
    and 1 have no others.
    """
    with torch.autocast(counts.device.type, enabled=False):
        seen = mask.float()
        values = torch.where(seen > 0, counts.float(), 0.0).clamp(min=0.0)
        share = values / values.amax((1, 2), keepdim=True).clamp(min=1e-30)
        at_top, high = (share >= 0.999).float(), (share >= 0.5).float()
        many = _total(at_top)
        beside = _total(high[:, 1:] * high[:, :-1]) + _total(high[:, :, 1:] * high[:, :, :-1])
        rest = (_total(seen) - many).clamp(min=1)
        mean = (_total(share) - many) / rest
        spread = ((_total(share * share) - many) / rest).clamp(min=0).sqrt()
        # Sums of a million in single precision: whole numbers are exact, and what is far below the top need not be.
        others = _total((share > 0).float()) - many
        far = FAR_ABOVE * (mean + spread) < 1
        return at_top * ((many >= STRUCK) & (beside < BESIDE * _total(high)) & (others >= many) & far)


def _total(image: Tensor) -> Tensor:
    return image.sum((1, 2), keepdim=True)


class LogCounts(nn.Module):
    """Log counts at several scales and the mask: (counts [N H W], mask [N H W], 1 = trust) -> [N 6 H W], H and W multiples of 4.

    0 log(counts / mean + 0.01), mean over trusted pixels: the picture, whatever its unit. 1 the same less its mean over 28 px:
    faint features on strong decays. 2 as 1, of counts averaged over 4 px: what shows only when summed. 3 log(1 + counts):
    the level. 4 the mask. 5 where counts reach 98 % of the highest: a plateau of many pixels is a detector at its limit.
    The first three are brought to mean 0 and spread 1 frame by frame, as frames of few photons are a hundred times rougher
    than bright ones. Untrusted pixels are 0 in all and enter no mean. Computed in float32: five per cent of contrast is
    less than bfloat16 resolves.
    """

    def shape(self, height: int, width: int) -> tuple[int, int, int]:
        """(C, h, w) of the view of a frame of (height, width) px."""
        return (6, height, width)

    def forward(self, counts: Tensor, mask: Tensor) -> Tensor:
        """See the class."""
        with torch.autocast(counts.device.type, enabled=False):
            counts, mask, seen, mean = trusted_counts(counts, mask)
            picture = torch.log(counts / mean + FLOOR) * mask
            share = avg_pool2d(mask[:, None], 4) + SLIGHT
            near = _near(share)
            local = (picture - _fine(_near(avg_pool2d(picture[:, None], 4)) / near)) * mask
            coarse = torch.log(avg_pool2d(counts[:, None], 4) / share / mean[:, None] + FLOOR) * (share > SLIGHT)
            faint = _fine(coarse - _near(coarse * share) / near) * mask
            level = torch.log1p(counts) * mask
            top = (counts >= 0.98 * counts.amax((1, 2), keepdim=True)).float() * mask
            scaled = [standard(image, mask, seen) for image in (picture, local, faint)]
            return torch.stack([*scaled, level / 4, mask, top], 1)


def _near(coarse: Tensor) -> Tensor:
    """Mean over 7 x 7 of a quarter-size image [N 1 h w]: broad means need no fine grid."""
    return avg_pool2d(coarse, 7, 1, 3, count_include_pad=False)


def _fine(coarse: Tensor) -> Tensor:
    """A quarter-size image [N 1 h w] at full size [N H W], each value repeated: to interpolate costs a tenth of an answer."""
    n, _, h, w = coarse.shape
    return coarse.reshape(n, h, 1, w, 1).expand(n, h, 4, w, 4).reshape(n, 4 * h, 4 * w)


class Polar(nn.Module):
    """A frame around its beam: (counts [N H W], mask [N H W], centre [N 2] (y, x) px) -> cells [N 4 R A] and profile [N P R].

    What is faint in every pixel shows once a ring is summed; its orientation shows in the harmonics of the sectors. All is
    compared with its own noise, taken from the spread of pixels within a cell, so no gain or unit has to be known.

    Trusted pixels are summed into R rings, equally wide from the nearest pixel to the furthest, and A sectors about the centre;
    no pixel is interpolated, so noise stays independent. Cells: 0 log mean counts, mean 0 and spread 1, empty cells as their
    ring; 1 the difference from the ring over its standard error; 2 whether a pixel lies there; 3 the ring's difference from its
    neighbours. Differences over errors enter as asinh. Profile: see `_profile`. Computed in float32.
    """

    channels, features = 4, 8 + len(WINDOWS) + (len(SUMMED) + 1) * len(ORDERS)

    def forward(self, counts: Tensor, mask: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        with torch.autocast(counts.device.type, enabled=False):
            mask = mask.float()
            counts = torch.where(mask > 0, counts.float(), 0.0).clamp(min=0.0)
            seen = mask.mean((1, 2), keepdim=True).clamp(min=1e-6)
            values = counts / (counts.mean((1, 2), keepdim=True) / seen).clamp(min=1e-30)
            cell, radius = _placed(mask, centre.float())
            number, first, second = (_summed(cell, v) for v in (mask, values, values * values))
            return _told(number, first, second, radius / max(counts.shape[1:]))


class Heights(nn.Module):
    """How high a frame's pixels stand, [N 5]: log numbers of trusted pixels at its maximum, and at 95, 80 and 50 % of it, and
    the log of the maximum. A detector at its limit has many pixels at the very same height; no convolution counts them.
    """

    features = 5

    def forward(self, counts: Tensor, mask: Tensor) -> Tensor:
        """counts and mask [N H W] to [N 5]."""
        with torch.autocast(counts.device.type, enabled=False):
            values = torch.where(mask > 0, counts.float(), 0.0).clamp(min=0.0).flatten(1)
            top = values.amax(1, keepdim=True)
            numbers = [((values >= share * top) & (top > 0)).float().sum(1) for share in (1.0, 0.95, 0.8, 0.5)]
            return torch.stack([*(torch.log1p(n) / 4 for n in numbers), torch.log1p(top[:, 0]) / 8], 1)


def _placed(mask: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
    """The cell [N H W] of each pixel and the mean radius [N R] of each ring, px; rings span the trusted pixels."""
    y = torch.arange(mask.shape[1], dtype=torch.float32, device=mask.device)[None, :, None] - centre[:, :1, None]
    x = torch.arange(mask.shape[2], dtype=torch.float32, device=mask.device)[None, None, :] - centre[:, 1:, None]
    radius = torch.sqrt(y * y + x * x)
    far = (radius * mask).amax((1, 2), keepdim=True).clamp(min=1.0)
    near = (radius + (1 - mask) * 1e6).amin((1, 2), keepdim=True).minimum(far - 0.5)
    ring = ((radius - near) * (RADII / (far - near))).clamp(0, RADII - 1).to(torch.int64)
    sector = ((torch.atan2(y, x) * (SECTORS / (2 * math.pi))).round().to(torch.int64) + SECTORS) % SECTORS
    middle = (torch.arange(RADII, dtype=torch.float32, device=mask.device) + 0.5) / RADII
    return ring * SECTORS + sector, (near + middle * (far - near))[:, 0]


def _summed(cell: Tensor, values: Tensor) -> Tensor:
    zero = torch.zeros(cell.shape[0], RADII * SECTORS, device=values.device)
    return zero.scatter_add(1, cell.flatten(1), values.flatten(1)).reshape(-1, RADII, SECTORS)


def _told(number: Tensor, first: Tensor, second: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
    pixels, light = number.sum(2), first.sum(2)
    level = light / pixels.clamp(min=1)
    variance = _variance(number, first, second)
    mean = torch.where(number > 0, first / number.clamp(min=1), level[..., None])
    excess = torch.where(number > 0, first - number * level[..., None], 0.0)
    sure = excess / (number.clamp(min=1) * variance[..., None]).sqrt()
    steps = [_step(pixels, light, variance, w) for w in WINDOWS]
    picture = _even(torch.log(mean + FLOOR), (pixels > 0)[..., None].float())
    near = steps[1][..., None].expand_as(picture)
    cells = torch.stack([picture, torch.asinh(sure) / 2, (number > 0).float(), near], 1)
    return cells, _profile(number, excess, sure, level, variance, radius, steps)


def _variance(number: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Of one pixel on each ring [N R], from the spread within cells; where cells hold one pixel, of the ring."""
    pixels = number.sum(2)
    within = (second - first * first / number.clamp(min=1)).clamp(min=0).sum(2)
    freedom = (number - 1).clamp(min=0).sum(2)
    whole = (second.sum(2) - first.sum(2) ** 2 / pixels.clamp(min=1)).clamp(min=0)
    total = _over(whole, NEAR) / _over(pixels, NEAR).clamp(min=1e-3)
    return (_over(within, NEAR) + total) / (_over(freedom, NEAR) + 1) + SLIGHT


def _step(pixels: Tensor, light: Tensor, variance: Tensor, width: int) -> Tensor:
    """How far the mean over `width` rings lies from that over three times as many, over its error: asinh, [N R]."""
    near, wide = _over(pixels, width), _over(pixels, 3 * width)
    difference = _over(light, width) / near.clamp(min=1e-3) - _over(light, 3 * width) / wide.clamp(min=1e-3)
    error = (variance / (near * width).clamp(min=1)).sqrt()
    return torch.asinh(difference / error) / 2 * (near > 0)


def _profile(
    number: Tensor, excess: Tensor, sure: Tensor, level: Tensor, variance: Tensor, radius: Tensor, steps: list[Tensor]
) -> Tensor:
    """Of each ring: log level, log of its relative error, the share of sectors seen, radius in sides and its log, spread,
    maximum and minimum of the sectors over their errors; the steps; per harmonic its power over that of noise, on one ring
    and on more, and its contrast."""
    pixels, cells = number.sum(2), (number > 0).float()
    there = (pixels > 0).float()
    sectors = cells.sum(2)
    error = (variance / pixels.clamp(min=1)).sqrt()
    spread = (sure * sure).sum(2) / sectors.clamp(min=1)
    own = [
        _even(torch.log(level + FLOOR)[..., None], there[..., None])[..., 0],
        torch.log(error / (level + FLOOR)).clamp(-8, 3) / 4,
        sectors / SECTORS,
        radius,
        torch.log(radius + 0.003) / 2,
        torch.log(spread + 0.1),
        torch.asinh(sure.amax(2)) / 2,
        torch.asinh(sure.amin(2)) / 2,
    ]
    rows = torch.stack([*own, *steps], 1) * there[:, None]
    return torch.cat([rows, _harmonics(excess, pixels, level, variance)], 1)


def _harmonics(excess: Tensor, pixels: Tensor, level: Tensor, variance: Tensor) -> Tensor:
    """[N (windows + 1) * orders R]: powers over those of noise, and the contrast."""
    chi = torch.arange(SECTORS, dtype=torch.float32, device=excess.device) * (2 * math.pi / SECTORS)
    angles = torch.tensor(ORDERS, dtype=torch.float32, device=excess.device)[None] * chi[:, None]
    waves = (excess @ torch.cat([angles.cos(), angles.sin()], 1)).transpose(1, 2)
    noise, light = (variance * pixels)[:, None], (level * pixels)[:, None]
    powers = [_power(_over(waves, n)) for n in SUMMED]
    rows = [torch.log1p(p * n / (_over(noise, n) + FLAT)) / 2 for p, n in zip(powers, SUMMED, strict=True)]
    contrast = powers[1].sqrt() / (_over(light, SUMMED[1]) + FLAT)
    return torch.cat([*rows, contrast.clamp(max=1.0)], 1)


def _power(waves: Tensor) -> Tensor:
    cos, sin = waves.chunk(2, 1)
    return cos * cos + sin * sin


def _over(rows: Tensor, width: int) -> Tensor:
    """Mean over `width` neighbouring rings [N ... R]; beyond the ends nothing lies."""
    flat = rows if rows.ndim == 3 else rows[:, None]
    return avg_pool1d(flat, width, 1, width // 2).reshape(rows.shape)


def _even(image: Tensor, weight: Tensor) -> Tensor:
    """Mean 0 and spread 1 over axes 1 and 2 of [N R A], where `weight` is 1."""
    weight = weight.expand_as(image)
    total = weight.sum((1, 2), keepdim=True).clamp(min=1)
    mean = (image * weight).sum((1, 2), keepdim=True) / total
    spread = (((image - mean) ** 2 * weight).sum((1, 2), keepdim=True) / total + SLIGHT).sqrt()
    return ((image - mean) / spread).clamp(-10, 10) * weight


class Counts(nn.Module):
    """Counts as they are [N 1 H W], untrusted ones 0: what published networks were given."""

    def shape(self, height: int, width: int) -> tuple[int, int, int]:
        """(C, h, w) of the view of a frame of (height, width) px."""
        return (1, height, width)

    def forward(self, counts: Tensor, mask: Tensor) -> Tensor:
        """See the class."""
        return torch.where(mask > 0, counts.float(), 0.0)[:, None]


View = LogCounts | Contrast | Counts | Decades | Patterson


def build_view(name: str) -> View:
    """What the view of that name shows of the image itself; the network joins what lies around the beam. Raises BeamsightError,
    which lists the names."""
    known: dict[str, Any] = {
        **dict.fromkeys(VIEWS, LogCounts), "contrast": Contrast, "counts": Counts, DECADES: Decades, PATTERSON: Patterson,
    }  # fmt: skip
    if name not in known:
        raise BeamsightError(f"no view is called {name!r}; choose one of {', '.join(known)}")
    view: View = known[name]()
    return view
