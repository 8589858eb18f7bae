"""What a detector of many chips does to a mean image, as numbers: `expose_modules` applies the effects in the order nature does.

Every effect is a function of a pixel's place on the whole detector, so that a window is exposed as the part of the whole it is.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import conv2d, pad

from beamsight.noise import normal_of, poisson_of, uniform_at
from beamsight.physics.columns import Columns, rows_of
from beamsight.physics.places import Places

LEFT, DIVIDED, MASKED = range(3)  # what a file holds of pixels of another size

# Streams of noise: of one frame, and of the detector, whose faults stay through a run.
PHOTONS, READING, COMMON, LINES, STRUCK = range(1, 6)
PIXELS, CHIPS, DEAD_CHIPS, OFFSETS = range(11, 15)


@dataclass(frozen=True)
class Modules:
    """What the chips of a detector do; the default is perfect.

    `exposure` times the light, and `background_ph` more on every pixel; `gain` counts a photon. `read_uneven` by how much the
    noise grows towards the middle of bands of `read_period_px` columns. Integrating chips have three stages: `read_ph` noise rms
    up to `switch_ph` photons, `middle_read_ph` up to `middle_switch_ph`, `low_read_ph` beyond. `spread_px`: standard deviation
    over which screens and tapers spread what a counted photon gave, so that neighbours share their noise. `chip_gain`,
    `pixel_gain` relative spreads of gain that the file has not corrected; `offset_ph` spread of dark levels it has not;
    `common_ph` rms of a level that the pixels of a chip share in a frame, `line_ph` that those of a row of a chip share. `dead`,
    `hot` shares of pixels, `hot_ph` what the hottest read, a hundred times the least; `struck` share that a particle hits in
    this frame; `dead_chips` share of chips. `saturation_ph` clips. `sizes` what is done with pixels of another size. `whole` = 1
    where files hold whole numbers. `gap_masked`, `defects_masked`, `saturation_masked` = 1 where the file's mask knows;
    `dark_counts` shifts counts.
    """

    exposure: float = 1.0
    background_ph: float = 0.0
    gain: float = 1.0
    read_ph: float = 0.0
    read_uneven: float = 0.0
    read_period_px: float = 100.0
    switch_ph: float = 1e30
    middle_read_ph: float = 0.0
    middle_switch_ph: float = 1e30
    low_read_ph: float = 0.0
    spread_px: float = 0.0
    chip_gain: float = 0.0
    pixel_gain: float = 0.0
    offset_ph: float = 0.0
    common_ph: float = 0.0
    line_ph: float = 0.0
    dead: float = 0.0
    hot: float = 0.0
    hot_ph: float = 1e3
    struck: float = 0.0
    dead_chips: float = 0.0
    saturation_ph: float = 1e30
    sizes: int = LEFT
    whole: int = 0
    dark_counts: float = 0.0
    gap_masked: int = 1
    defects_masked: int = 1
    saturation_masked: int = 0


@dataclass(frozen=True)
class ModulesExposed:
    """An exposure and what a label may know of it, all [B H W]: `counts` and `mask` (True = trust) as a file would hold;
    `photons` mean per stored pixel, `variance` of all but photon noise in photons^2, `limit` [B 1 1] photons where a pixel
    saturates, `usable` where a pixel measures and is trusted."""

    counts: torch.Tensor
    mask: torch.Tensor
    photons: torch.Tensor
    variance: torch.Tensor
    limit: torch.Tensor
    usable: torch.Tensor


def expose_modules(
    photons: torch.Tensor, modules: Columns, where: Places, seeds: torch.Tensor, unit: torch.Tensor
) -> ModulesExposed:
    """Expose mean `photons` [B H W] per ordinary pixel with a `columns(...)` of Modules; noise is a function of `seeds` [B], what
    stays with the detector of `unit` [B].

    Mean and variance of a trusted ordinary pixel: gain * mean + dark, and gain^2 (mean + read^2 + common^2 + line^2), times the
    chip's and the pixel's own gain. `spread_px` leaves what an aperture sums as it is, so what can be seen is told without it.
    """
    if photons.device.type != "cpu" or len(photons) == 1:
        return _expose(photons, modules, where, seeds, unit)
    # On a processor frame by frame: an effect then costs only the frames that have it, and a frame stays in the cache.
    alone = [slice(n, n + 1) for n in range(len(photons))]
    single = [_expose(photons[n], rows_of(modules, n), rows_of(where, n), seeds[n], unit[n]) for n in alone]
    return ModulesExposed(**{name: torch.cat([getattr(e, name) for e in single]) for name in vars(single[0])})


def _expose(photons: torch.Tensor, d: Columns, where: Places, seeds: torch.Tensor, unit: torch.Tensor) -> ModulesExposed:
    mean = photons * where.area
    read = _read_noise(mean, d, where)
    level = poisson_of(mean, uniform_at(seeds, where.pixel, PHOTONS))
    if bool((read > 0).any()):
        level += normal_of(uniform_at(seeds, where.pixel, READING)).mul_(read)
    level = _spread(level, d) + _shared(d, where, seeds)
    clipped = level >= d.saturation_ph
    if bool(clipped.any()):
        level = torch.where(clipped, d.saturation_ph, level)
    level, dead, hot = _faults(level, d, where, unit)
    level = _struck(level, d, where, seeds)
    gap, odd, faulty = where.panel == 0, where.area != 1, dead | hot
    if bool((d.sizes == DIVIDED).any()):
        level = torch.where(odd & (d.sizes == DIVIDED), level / where.area.clamp(min=0.1), level)
    counts = level.mul_(d.gain).add_(d.dark_counts)
    if bool((d.whole > 0).any()):
        counts = torch.where(d.whole > 0, counts.round(), counts)
    lost = (gap & (d.gap_masked > 0)) | (faulty & (d.defects_masked > 0)) | (clipped & (d.saturation_masked > 0))
    lost |= odd & (d.sizes == MASKED)
    variance = read**2 + d.common_ph**2 + d.line_ph**2 + d.offset_ph**2
    return ModulesExposed(
        counts=counts.masked_fill_(gap | lost, 0.0),
        mask=~lost,
        photons=mean,
        variance=variance,
        limit=d.saturation_ph,
        usable=~(lost | gap | faulty),
    )


def _read_noise(mean: torch.Tensor, d: Columns, where: Places) -> torch.Tensor:
    """Noise rms in photons [B H W] of the stage that a pixel of `mean` photons is read in."""
    first = d.read_ph
    if bool((d.read_uneven > 0).any()):
        first = first * (1 + d.read_uneven * torch.sin(torch.pi * where.column[:, :1] / d.read_period_px) ** 2)
    if not bool((d.switch_ph < 1e29).any()):
        return first.expand(mean.shape)
    return torch.where(mean < d.switch_ph, first, torch.where(mean < d.middle_switch_ph, d.middle_read_ph, d.low_read_ph))


def _spread(level: torch.Tensor, d: Columns) -> torch.Tensor:
    """Levels [B H W] blurred by a Gaussian of five taps; at the border of a window as if it went on alike."""
    if not bool((d.spread_px > 0).any()):
        return level
    taps = torch.exp(-0.5 * (torch.arange(-2.0, 3.0) / d.spread_px[:, 0].clamp(min=1e-3)) ** 2)
    taps = taps / taps.sum(1, keepdim=True)
    wider = pad(level[None], (2, 2, 2, 2), mode="replicate")
    down = conv2d(wider, taps[:, None, :, None], groups=len(level))
    return conv2d(down, taps[:, None, None, :], groups=len(level))[0]


def _of_panel(values: torch.Tensor, where: Places) -> torch.Tensor:
    """[B H W] each pixel's value of its panel, from [B P + 1]."""
    return values.gather(1, where.panel.long().flatten(1)).reshape(where.panel.shape)


def _chips(seeds: torch.Tensor, where: Places, stream: int, number: int) -> torch.Tensor:
    """[B number] uniform in (0, 1), one a chip; number 0 for what has none."""
    return uniform_at(seeds, torch.arange(number, dtype=torch.int32).expand(len(seeds), number), stream)


def _shared(d: Columns, where: Places, seeds: torch.Tensor) -> torch.Tensor:
    """What pixels of a chip, or of a row of it, read in common."""
    level = torch.zeros(())
    if bool((d.common_ph > 0).any()):
        level = level + _of_panel(normal_of(_chips(seeds, where, COMMON, int(where.panel.max()) + 1)), where) * d.common_ph
    if bool((d.line_ph > 0).any()):
        level = level + normal_of(uniform_at(seeds, where.row + (where.panel << 16), LINES)) * d.line_ph
    return level


def _faults(
    level: torch.Tensor, d: Columns, where: Places, unit: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Levels with each pixel's and chip's own gain and dark level; where a pixel is dead, and where it is hot."""
    dead = hot = torch.zeros(where.panel.shape, dtype=torch.bool)
    if bool((d.dead + d.hot + d.pixel_gain > 0).any()):
        # One draw for all three: what is rare lies in the tails, where a gain would be no gain.
        u = uniform_at(unit, where.pixel, PIXELS)
        dead, hot = u < d.dead, u > 1 - d.hot
        if bool((d.pixel_gain > 0).any()):
            level = level * normal_of(u).mul_(d.pixel_gain).add_(1.0).clamp_(min=0.1)
        depth = (1 - u[hot]) / _at(d.hot, hot)
        level[hot] = (_at(d.hot_ph, hot) * 0.01**depth).minimum(_at(d.saturation_ph, hot))
    if bool((d.chip_gain + d.dead_chips > 0).any()):
        number = int(where.panel.max()) + 1
        of_chip = 1 + d.chip_gain[:, 0] * normal_of(_chips(unit, where, CHIPS, number))
        lost = _chips(unit, where, DEAD_CHIPS, number) < d.dead_chips[:, 0]
        level = level * _of_panel(of_chip.clamp(min=0.1), where)
        dead = dead | _of_panel(lost, where)
    if bool((d.offset_ph > 0).any()):
        level = level + normal_of(uniform_at(unit, where.pixel, OFFSETS)).mul_(d.offset_ph)
    return level.masked_fill_(dead, 0.0), dead, hot


def _at(numbers: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
    """[n] the number [B 1 1] of the frame of each place that `which` [B H W] marks."""
    return numbers[which.nonzero()[:, 0], 0, 0]


def _struck(level: torch.Tensor, d: Columns, where: Places, seeds: torch.Tensor) -> torch.Tensor:
    """Single pixels that a cosmic ray or a decay hits, 3 to 300 photons each."""
    if bool((d.struck > 0).any()):
        u = uniform_at(seeds, where.pixel, STRUCK)
        hit = u < d.struck
        level[hit] += 3 * 100 ** (u[hit] / _at(d.struck, hit))
    return level
