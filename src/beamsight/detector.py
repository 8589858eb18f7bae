"""What a detector does to a mean image, as numbers: `expose` applies the effects in the order nature does."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import max_pool2d, pad

from beamsight.noise import normal_of, poisson_of, uniform
from beamsight.physics.columns import Columns, rows_of

STOPS = ("none", "circular", "linear", "wedge")
UNCLEAR_PX = 2.0  # what a disc must stand out of its arm to either side


@dataclass(frozen=True)
class Detector:
    """What a detector does to a mean image; the default is perfect. Lengths are shares of the frame's side, angles rad.

    `binning` detector pixels per side of a pixel of the frame, below 1 where the frame enlarges a smaller detector: counts are
    per detector pixel and carry the noise of binning^2 of them. `aspect` (y, x) share of the frame that the detector covers.
    Uneven efficiency, absorption and polarisation: a factor 1 + `slope` · r + `saddle` (y^2 - x^2) + `saddle_cross` 2 y x of the
    offsets from the beam, times one of a wave of `wave_depth` with `wave_y`, `wave_x` periods a side.
    `saturation_counts` clips, but at most a share `saturation_share` of the pixels, as whoever chose the exposure would see to.
    `saturation_masked`, `gap_masked`, `defects_masked`, `stop_masked` = 1 where the file's mask knows.
    `unit` multiplies the counts and `offset_counts` shifts them, as normalised files do; `subtracted` is the share of the
    frame's flat part (its lowest tenth) that was taken off, as in background-subtracted ones.
    """

    exposure: float = 1.0
    background_ph: float = 0.0
    spread_px: float = 0.0
    binning: float = 1.0
    aspect_y: float = 1.0
    aspect_x: float = 1.0
    flat_error: float = 0.0
    slope_y: float = 0.0
    slope_x: float = 0.0
    saddle: float = 0.0
    saddle_cross: float = 0.0
    wave_depth: float = 0.0
    wave_y: float = 0.0
    wave_x: float = 0.0
    wave_phase: float = 0.0
    grid_depth: float = 0.0
    grid_pitch: float = 0.05
    window_radius: float = 0.0
    window_soft: float = 0.01
    shadow_angle: float = 0.0
    shadow_half_angle: float = 0.0
    shadow_transmission: float = 1.0
    stop_kind: int = 0
    stop_size: float = 0.02
    stop_arm: float = 0.0
    stop_angle: float = 0.0
    stop_soft: float = 0.002
    stop_transmission: float = 0.0
    stop_shift_y: float = 0.0
    stop_shift_x: float = 0.0
    stop_masked: int = 0
    gain: float = 1.0
    dark_counts: float = 0.0
    read_noise_counts: float = 0.0
    saturation_counts: float = 1e30
    saturation_share: float = 1.0
    saturation_masked: int = 0
    bleed_px: int = 0
    dead: float = 0.0
    hot: float = 0.0
    zingers: float = 0.0
    salt_pepper: float = 0.0
    defects_masked: int = 1
    module_y: float = 0.0
    module_x: float = 0.0
    gap: float = 0.0
    gap_shift_y: float = 0.0
    gap_shift_x: float = 0.0
    gap_masked: int = 1
    unit: float = 1.0
    offset_counts: float = 0.0
    subtracted: float = 0.0


@dataclass(frozen=True)
class Exposed:
    """An exposure and what a label may know of it: all [B H W], numbers [B 1 1].

    `counts` and `mask` (True = trust) are what a file would hold. `photons` mean per detector pixel behind the stop, `unstopped`
    before it, `transmission` of the stop; `passed` the share of a level light that is left of it;
    `covered` True where the detector reads; `usable` where at least half of the light arrives too and is read without clipping;
    `variance` of all but photon noise in photons^2 per detector pixel; `area` detector pixels in a pixel; `clipped` pixels [B],
    `clipped_masked` [B] whether the mask knows them; `stop_unclear` [B] where an arm is so nearly as wide as its disc that a
    rod looks the same; `background` flat photons a pixel; `centres` [B 2] (y, x) px; `unit` of the counts [B 1 1]: 1 where they
    are counts; `exposure`, `stop_kind`, `spread_px` as drawn; `reach_px` [B 2] (y, x) of the last pixel that the detector covers.
    """

    counts: torch.Tensor
    mask: torch.Tensor
    photons: torch.Tensor
    unstopped: torch.Tensor
    transmission: torch.Tensor
    passed: torch.Tensor
    covered: torch.Tensor
    usable: torch.Tensor
    variance: torch.Tensor
    area: torch.Tensor
    clipped: torch.Tensor
    clipped_masked: torch.Tensor
    stop_unclear: torch.Tensor
    background: torch.Tensor
    centres: torch.Tensor
    unit: torch.Tensor
    exposure: torch.Tensor
    stop_kind: torch.Tensor
    spread_px: torch.Tensor
    reach_px: torch.Tensor


def offsets(shape: tuple[int, int], centres: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """y [B H 1] and x [B 1 W] in px from `centres` [B 2]."""
    y = torch.arange(shape[0], dtype=torch.float32)[None, :, None] - centres[:, :1, None]
    x = torch.arange(shape[1], dtype=torch.float32)[None, None, :] - centres[:, 1:, None]
    return y, x


def turned(y: torch.Tensor, x: torch.Tensor, angle: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Lengths along and across a direction at `angle` rad from +x towards +y, of places y [B H 1] and x [B 1 W]."""
    cos, sin = torch.cos(angle), torch.sin(angle)
    return x * cos + y * sin, y * cos - x * sin


def expose(photons: torch.Tensor, detector: Columns, centres: torch.Tensor, seeds: torch.Tensor) -> Exposed:
    """Expose mean `photons` [B H W] per detector pixel with a `columns(...)` of detectors; noise is a function of `seeds` [B].

    Mean and variance of a trusted pixel: gain * mean + dark + offset, and gain^2 * mean / area + read_noise^2 / area
    (times unit^2).
    """
    if photons.device.type != "cpu" or len(photons) == 1:
        return _expose(photons, detector, centres, seeds)
    # On a processor frame by frame: an effect then costs only the frames that have it, and a frame stays in the cache.
    alone = [slice(n, n + 1) for n in range(len(photons))]
    single = [_expose(photons[n], rows_of(detector, n), centres[n], seeds[n]) for n in alone]
    return Exposed(**{name: _joined([getattr(e, name) for e in single]) for name in vars(single[0])})


def _joined(values: list[torch.Tensor]) -> torch.Tensor:
    # A transmission of frames without a stop, or one that is the same everywhere, is one number.
    widest = max(values, key=lambda v: (v.ndim, v.numel()))
    return torch.cat([v.expand(widest.shape) for v in values]) if widest.ndim else widest


def _expose(photons: torch.Tensor, detector: Columns, centres: torch.Tensor, seeds: torch.Tensor) -> Exposed:
    d, shape = detector, (photons.shape[1], photons.shape[2])
    shading = _shading(d, shape, centres, seeds)
    unstopped = (photons * d.exposure + d.background_ph) * shading
    transmission = stop_transmission(d, shape, centres)
    arriving = shading * transmission
    mean = _spread(unstopped * transmission, d.spread_px)
    area = (d.binning * d.binning).clamp(min=1.0)
    counts = poisson_of(mean * area, uniform(seeds, shape, 1)) / area * d.gain + d.dark_counts
    if bool((d.read_noise_counts > 0).any()):
        counts = counts + normal_of(uniform(seeds, shape, 2)) * d.read_noise_counts / area.sqrt()
    counts, clipped, limit = _saturate(counts, d)
    flat_part = _quantile(counts, 0.1) * d.subtracted if bool((d.subtracted > 0).any()) else 0.0
    counts, defect = _defects(counts, d, seeds, limit)
    gap, outside = _gaps(d, shape), _outside(d, shape)
    mask = ~(outside | (gap & (d.gap_masked > 0)) | (clipped & (d.saturation_masked > 0)) | (defect & (d.defects_masked > 0)))
    mask &= ~((transmission < 0.5) & (d.stop_masked > 0))
    counts = torch.where(gap | ~mask, 0.0, (counts + d.offset_counts - flat_part) * d.unit)
    return Exposed(
        counts=_enlarged(counts, d.binning),
        mask=_enlarged(mask, d.binning),
        photons=mean,
        unstopped=unstopped,
        transmission=transmission,
        passed=_spread(arriving, d.spread_px) if arriving.ndim else arriving,
        covered=~(outside | gap),
        usable=~(outside | gap | clipped | defect) & (arriving >= 0.5),
        variance=(d.read_noise_counts / d.gain) ** 2,
        area=torch.where(d.binning < 1, d.binning * d.binning, area),
        clipped=(clipped & ~gap & ~outside).sum((1, 2)),
        clipped_masked=d.saturation_masked[:, 0, 0] > 0,
        stop_unclear=((d.stop_kind == 1) & (d.stop_arm > 0) & ((d.stop_size - d.stop_arm) * max(shape) < UNCLEAR_PX))[:, 0, 0],
        background=d.background_ph,
        centres=centres,
        unit=d.unit,
        exposure=d.exposure,
        stop_kind=d.stop_kind,
        spread_px=d.spread_px,
        reach_px=torch.cat([d.aspect_y * shape[0], d.aspect_x * shape[1]], 2)[:, 0] - 1,
    )


def stop_transmission(detector: Columns, shape: tuple[int, int], centres: torch.Tensor) -> torch.Tensor:
    """Transmission [B H W] of the beamstop: a disc with an arm, a rod that ends at the beam, or a wedge with its tip there."""
    d, side = detector, max(shape)
    if not bool((d.stop_kind > 0).any()):
        return torch.ones(())
    y, x = offsets(shape, centres)
    y, x = y / side - d.stop_shift_y, x / side - d.stop_shift_x
    along, across = turned(y, x, d.stop_angle)
    across = across.abs_()
    disc = torch.sqrt(along * along + across * across)
    arm = torch.maximum(across - d.stop_arm, -along)
    circular = torch.minimum(disc - d.stop_size, torch.where(d.stop_arm > 0, arm, 1.0))
    linear = torch.minimum(torch.maximum(across - d.stop_size, -along), disc - d.stop_size)
    wedge = (across * torch.cos(d.stop_size) - (along + d.stop_arm) * torch.sin(d.stop_size)).maximum(-along - d.stop_arm)
    inside = torch.where(d.stop_kind == 1, circular, torch.where(d.stop_kind == 2, linear, wedge))
    shade = torch.sigmoid(inside / d.stop_soft)
    return torch.where(d.stop_kind > 0, d.stop_transmission + (1 - d.stop_transmission) * shade, 1.0)


def _shading(d: Columns, shape: tuple[int, int], centres: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
    """Flat-field error, wire grids, windows and partial shadows: factors [B H W] that no mask knows of."""
    factor = torch.ones(())
    y, x = offsets(shape, centres)
    if bool((d.flat_error > 0).any()):
        factor = factor * (1 + d.flat_error * normal_of(uniform(seeds, shape, 3))).clamp_(min=0.0)
    factor = factor * _uneven(d, y / max(shape), x / max(shape))
    if bool((d.grid_depth > 0).any()):
        turn = 2 * torch.pi / (d.grid_pitch * max(shape))
        factor = factor * (1 - d.grid_depth * (torch.sin(x * turn) ** 8 + torch.sin(y * turn) ** 8) / 2)
    if bool((d.window_radius > 0).any()):
        radius = torch.sqrt(y * y + x * x) / max(shape)
        window = torch.sigmoid((d.window_radius - radius) / d.window_soft)
        factor = factor * torch.where(d.window_radius > 0, window, 1.0)
    if bool((d.shadow_transmission < 1).any()):
        along, across = turned(y, x, d.shadow_angle)
        inside = torch.sigmoid(along * torch.tan(d.shadow_half_angle) - across.abs_())
        factor = factor * (1 - (1 - d.shadow_transmission) * inside)
    return factor


def _uneven(d: Columns, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """What no mask and no label knows: smooth unevenness of illumination and efficiency about the beam, [B H W] or 1."""
    factor = torch.ones(())
    if bool(((d.slope_y != 0) | (d.slope_x != 0) | (d.saddle != 0)).any()):
        along_y, along_x = d.slope_y * y + d.saddle * y * y, d.slope_x * x - d.saddle * x * x
        factor = (1 + along_y + along_x + (2 * d.saddle_cross * y) * x).clamp_(min=0.3)
    if bool((d.wave_depth > 0).any()):
        wave = torch.cos(2 * torch.pi * (d.wave_y * y + d.wave_phase) + 2 * torch.pi * d.wave_x * x)
        factor = factor * (1 + d.wave_depth * wave)
    return factor


def _spread(image: torch.Tensor, sigma_px: torch.Tensor) -> torch.Tensor:
    """Convolve with a Gaussian of `sigma_px` [B 1 1]; the sum is kept but for the edge."""
    if not bool((sigma_px > 0).any()):
        return image
    half = max(1, int(torch.ceil(3 * sigma_px.max())))
    tap = torch.arange(-half, half + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (tap / sigma_px.clamp(min=1e-3)) ** 2)
    kernel = kernel / kernel.sum(2, keepdim=True)
    for axis in (1, 2):
        padded = pad(image.transpose(axis, 2), (half, half))
        width = padded.shape[2] - 2 * half
        # Shifted sums: convolutions of one channel are several times slower.
        image = sum((padded[..., k : k + width] * kernel[..., k : k + 1] for k in range(len(tap))), torch.zeros(())).transpose(
            axis, 2
        )
    return image


def _saturate(counts: torch.Tensor, d: Columns) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Clipped counts, where they are clipped, and the limit [B 1 1]."""
    if not bool((counts >= d.saturation_counts).any()):
        return counts, torch.zeros_like(counts, dtype=torch.bool), d.saturation_counts
    limit = d.saturation_counts
    if bool((d.saturation_share < 1).any()):
        limit = limit.maximum(_quantile(counts, 1 - d.saturation_share).ceil())
    clipped = counts >= limit
    reach = int(d.bleed_px.max())
    if reach > 0:
        # A full well spills along its column, further the more it is overfilled: half the reach at the
        # limit, all of it at four times.
        over = torch.where(d.bleed_px > 0, (counts / limit).clamp(max=4.0) - 1, 0.0)
        spilt = max_pool2d(over[:, None], (2 * reach + 1, 1), 1, (reach, 0))[:, 0]
        near = max_pool2d(over[:, None], (2 * (reach // 2) + 1, 1), 1, (reach // 2, 0))[:, 0]
        clipped = clipped | (spilt >= 3) | ((near > 0) & (d.bleed_px > 0))
    return torch.where(clipped, limit, counts), clipped, limit


def _quantile(counts: torch.Tensor, share: torch.Tensor | float) -> torch.Tensor:
    """The count [B 1 1] below which a `share` of the pixels lie, by every third pixel of every third row: sorting all would
    cost as much as the noise."""
    ordered = counts[:, 1::3, 1::3].flatten(1).sort(1).values
    place = torch.as_tensor(share) * (ordered.shape[1] - 1)
    index = (
        place.round().long().expand(len(counts), 1, 1).flatten(1) if place.ndim else place.round().long().expand(len(counts), 1)
    )
    return ordered.gather(1, index)[..., None]


def _defects(counts: torch.Tensor, d: Columns, seeds: torch.Tensor, limit: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Dead, hot and struck pixels, none above the `limit` of the detector; the second image says where a pixel is no
    measurement."""
    shape = (counts.shape[1], counts.shape[2])
    shares = torch.cat([d.dead, d.hot, d.zingers, d.salt_pepper / 2, d.salt_pepper / 2], 2)[:, 0] * shape[0] * shape[1]
    most = int(shares.sum(1).max().ceil())
    if most == 0:
        return counts, torch.zeros((), dtype=torch.bool)
    # So many places are drawn rather than every pixel asked: faults are rare. Two on one pixel count once.
    order, ends = torch.arange(most, dtype=torch.float32), shares.cumsum(1)
    kind = (order[None, :, None] >= (ends + uniform(seeds, (1, 1), 6)[:, 0]).floor()[:, None]).sum(2)
    place = (uniform(seeds, (most, 1), 4)[..., 0] * (shape[0] * shape[1])).long()
    strength = 10 ** (1 + 4 * uniform(seeds, (most, 1), 5)[..., 0]) / (d.binning * d.binning).clamp(min=1.0)[:, 0]
    flat, hit = counts.flatten(1), kind < shares.shape[1]
    before = flat.gather(1, place)
    zero, salt = torch.zeros_like(before), torch.full_like(before, 2.0**16)
    value = torch.stack([zero, strength, before + strength, zero, salt, before]).gather(0, kind[None])[0].minimum(limit[:, :, 0])
    defect = torch.zeros_like(flat, dtype=torch.bool).scatter(1, place, hit)
    return flat.scatter(1, place, value).reshape(counts.shape), defect.reshape(counts.shape)


def _gaps(d: Columns, shape: tuple[int, int]) -> torch.Tensor:
    """True between the modules [B H W]: bands of width `gap` at every `module_y`, `module_x` (0 = none)."""
    side = max(shape)
    y = (torch.arange(shape[0], dtype=torch.float32)[None, :, None] + 0.5) / side + d.gap_shift_y
    x = (torch.arange(shape[1], dtype=torch.float32)[None, None, :] + 0.5) / side + d.gap_shift_x
    in_y = (y.remainder(d.module_y.clamp(min=1e-3)) < d.gap) & (d.module_y > 0)
    in_x = (x.remainder(d.module_x.clamp(min=1e-3)) < d.gap) & (d.module_x > 0)
    return in_y | in_x


def _outside(d: Columns, shape: tuple[int, int]) -> torch.Tensor:
    y = torch.arange(shape[0], dtype=torch.float32)[None, :, None]
    x = torch.arange(shape[1], dtype=torch.float32)[None, None, :]
    return (y >= d.aspect_y * shape[0]) | (x >= d.aspect_x * shape[1])


def _enlarged(image: torch.Tensor, binning: torch.Tensor) -> torch.Tensor:
    """Frames of detectors smaller than the frame: each detector pixel is repeated, as `fit` does."""
    if not bool((binning < 1).any()):
        return image
    rows = torch.take_along_dim(image, _repeated(image.shape[1], binning)[:, :, None], 1)
    return torch.take_along_dim(rows, _repeated(image.shape[2], binning)[:, None, :], 2)


def _repeated(n: int, binning: torch.Tensor) -> torch.Tensor:
    """Which of n rows or columns stands at each place [B n]."""
    place = torch.arange(n, dtype=torch.float32)
    small = torch.where(binning < 1, (binning * n).round(), float(n))[:, 0]
    source = ((place * small / n).floor() * n / small + n / small / 2).floor().clamp_(max=n - 1).long()
    return torch.where(binning[:, 0] < 1, source, place.long())
