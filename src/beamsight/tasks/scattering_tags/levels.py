"""Labels of intensity and instrument: weak, strong, background, beam, stop, saturation."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import torch

from beamsight.detector import STOPS, Exposed
from beamsight.physics.visibility import SEEN, UNSEEN, Grades, margin
from beamsight.tasks.scattering_tags import parts
from beamsight.tasks.scattering_tags.parts import Films
from beamsight.tasks.scattering_tags.render import lengths

STRIDE = 2  # every second pixel of every second row: thin rings are seldom missed in a block, and it is a quarter of the work
BLOCK = 8  # pixels a side


def level_tags(films: Films, exposed: Exposed) -> Grades:
    """Weak and strong scattering by the 99th percentile of the sample's counts, high background by its share, weak also by
    blocks."""
    sample, back, weight, usable = _sampled(films, exposed)
    s99 = _percentile(torch.where(usable, sample, -1.0), usable, 0.99)
    mean_back = (back * usable).sum((1, 2)) / usable.sum((1, 2)).clamp(min=1)
    block = torch.where(usable, sample, 0.0) ** 2 * weight * STRIDE**2
    block = torch.nn.functional.avg_pool2d(block[:, None], BLOCK // STRIDE)[:, 0] * (BLOCK // STRIDE) ** 2
    q95 = _percentile(block.sqrt(), torch.ones_like(block, dtype=torch.bool), 0.95)
    share = mean_back / (mean_back + s99.clamp(min=1e-6))
    counted = exposed.unit[:, 0, 0] == 1
    weak = torch.where((s99 < 10) | (q95 < UNSEEN), 1.0, torch.where((s99 >= 20) & (q95 >= 5), 0.0, torch.nan))
    high = torch.where((share > 0.5) & (mean_back >= 10), 1.0, torch.where((share < 0.35) | (mean_back < 5), 0.0, torch.nan))
    return {
        "weak scattering": torch.where(counted | (q95 < UNSEEN), weak, torch.nan),
        "strong scattering": torch.where(counted, margin(s99, 500, 1000), torch.nan),
        "high background": torch.where(counted, high, torch.nan),
        # Nothing to see is no evidence of where the beam is.
        "beam off image": _beam_off(exposed, q95 >= UNSEEN),
    }


def _sampled(films: Films, exposed: Exposed) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """On every second pixel: photons of the sample, of the background, the weight area / (mu + s^2), and what is usable."""
    shape = (exposed.photons.shape[1], exposed.photons.shape[2])
    y, x = lengths(films, shape)
    y, x = y[:, 1::STRIDE], x[:, :, 1::STRIDE]
    photons = exposed.photons[:, 1::STRIDE, 1::STRIDE]
    usable = exposed.usable.expand_as(exposed.photons)[:, 1::STRIDE, 1::STRIDE]
    passed = exposed.passed.expand_as(exposed.photons)[:, 1::STRIDE, 1::STRIDE]
    back = (parts.background(films, y, x) + exposed.background) * passed
    beam = parts.beam(films, torch.sqrt(y * y + x * x).flatten(1)).reshape(photons.shape) * passed
    weight = exposed.area / (photons + exposed.variance + 1e-6)
    return (photons - back - beam).clamp(min=0), back, weight, usable


def _percentile(values: torch.Tensor, valid: torch.Tensor, share: float) -> torch.Tensor:
    """The value [B] below which `share` of the valid ones lie; the rest must be smaller than all valid ones or count as such."""
    ordered = values.flatten(1).sort(1).values
    count = valid.flatten(1).sum(1)
    place = ordered.shape[1] - 1 - ((1 - share) * count).long()
    return ordered.gather(1, place.clamp(0, ordered.shape[1] - 1)[:, None])[:, 0].clamp(min=0)


def _beam_off(exposed: Exposed, seen: torch.Tensor) -> torch.Tensor:
    y, x = exposed.centres.unbind(1)
    # Two pixels about the edge are nobody's business.
    reach_y, reach_x = exposed.reach_px.unbind(1)
    inside = torch.minimum(torch.minimum(y, reach_y - y), torch.minimum(x, reach_x - x))
    off = torch.where(inside < -2, 1.0, torch.where(inside > 2, 0.0, torch.nan))
    return torch.where((off == 1) & ~seen, torch.nan, off)


def stop_tags(exposed: Exposed) -> Grades:
    """The beamstop by the photons that it takes, and saturation by clipped pixels."""
    shade = torch.where(exposed.covered, exposed.transmission, 1.0)
    # Behind a stop nothing is expected; the noise to compare with is that of the light on either side of the question.
    noise = (exposed.unstopped + exposed.photons) / 2 + exposed.variance + 1e-6
    missing = (exposed.unstopped - exposed.photons) ** 2 / noise * (shade < 0.5)
    seen = (missing.sum((1, 2)) * exposed.area[:, 0, 0]).sqrt()
    dark = shade.amin((1, 2)) <= 0.3
    stop = torch.where((seen >= SEEN) & dark, 1.0, torch.where(seen < UNSEEN, 0.0, torch.nan))
    kind, doubt = exposed.stop_kind[:, 0, 0], torch.where(stop == 0, 0.0, torch.nan)
    unclear = exposed.stop_unclear | (_beam_off(exposed, stop != 0) != 0)
    grades = {
        f"{name} beamstop": torch.where(unclear, doubt, torch.where(kind == k, stop, 0.0)) for k, name in enumerate(STOPS) if k
    }
    clipped = margin(exposed.clipped.float(), 1, 5)
    # Pixels that the file's mask took out say no more than other masked ones.
    return grades | {"saturation": torch.where((clipped != 0) & exposed.clipped_masked, torch.nan, clipped)}
