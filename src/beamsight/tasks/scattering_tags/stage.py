"""How strong a part must be to be seen to a drawn degree: amplitudes follow visibility, not counts.

An amplitude that is log-uniform in counts makes most parts either glaring or lost. Here the detectability d' is drawn, and the
amplitude that gives it, on what is already there, is solved for.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from numpy.random import Generator

from beamsight.tasks.scattering_tags import parts

BINS = 192
PIXELS = 65536 * 4  # detector pixels of a typical frame: 256 x 256 bins of 2 x 2
STRENGTHS = 10 ** torch.linspace(-5, 6.5, 47)[:, None]


@dataclass
class Stage:
    """What is drawn so far along the radius: `radius` [1 R] in shares of the side, `q` [1 R], `pixels` [R], `mean` [R]
    photons."""

    instrument: dict[str, Any]
    radius: torch.Tensor
    q: torch.Tensor
    pixels: torch.Tensor
    mean: torch.Tensor


def new_stage(instrument: dict[str, Any], flat_ph: float) -> Stage:
    """A frame of background only."""
    centre = torch.tensor([instrument["centre_y"], instrument["centre_x"]])
    corner = torch.maximum(centre, 1 - centre)
    radius = (torch.arange(BINS) + 0.5)[None] / BINS * corner.norm()
    chi = torch.arange(48) * (2 * torch.pi / 48)
    y, x = centre[0] + radius.T * torch.sin(chi), centre[1] + radius.T * torch.cos(chi)
    inside = ((y > 0) & (y < 1) & (x > 0) & (x < 1)).float().mean(1)
    pixels = 2 * torch.pi * radius[0] * radius[0, 0] * 2 * PIXELS * inside
    return Stage(instrument, radius, parts.q_at(films(instrument), radius), pixels, torch.full((BINS,), flat_ph))


def films(numbers: dict[str, Any]) -> Any:
    """Drawn numbers as columns for the functions of `parts`, one film."""
    return SimpleNamespace(**{name: torch.full((1, 1, 1), float(value)) for name, value in numbers.items()})


def amplitude(rng: Generator, stage: Stage, shape: torch.Tensor, telling: torch.Tensor | None = None) -> float:
    """Photons at the maximum of `shape` [R] for a drawn detectability, log-uniform over 1.5-2000 before any nuisance is fitted.

    In half of the draws the part is at least a drawn share (2 % to 3 times) of what lies under it: on bright images a large d'
    alone would still be too faint for the eye. `telling` [R] is what of the shape is looked for, if not all of it. The part is
    added to the stage.
    """
    telling = shape if telling is None else telling
    wanted = 10 ** rng.uniform(0.2, 3.3)
    strength = _solved(stage, shape, telling, wanted)
    if rng.random() < 0.5:
        place = int((telling * stage.pixels.clamp(min=1).sqrt()).argmax())
        strength = max(strength, float(stage.mean[place] / telling[place].clamp(min=1e-6)) * 10 ** rng.uniform(-1.7, 0.5))
    strength = min(strength, 3e5)
    stage.mean = stage.mean + strength * shape
    return strength


def _solved(stage: Stage, shape: torch.Tensor, telling: torch.Tensor, wanted: float) -> float:
    signal = STRENGTHS * telling
    seen = ((signal**2 / (stage.mean + STRENGTHS * shape).clamp(min=1e-6)) @ stage.pixels).sqrt()
    # d' grows with the strength throughout, so the first entry that reaches it is within a factor of 1.8.
    place = int((seen < wanted).sum().clamp(1, len(STRENGTHS) - 1))
    low, high = float(seen[place - 1]), float(seen[place])
    share = min(max((wanted - low) / max(high - low, 1e-9), 0.0), 1.0)
    return float(STRENGTHS[place - 1, 0] * (STRENGTHS[place, 0] / STRENGTHS[place - 1, 0]) ** share)


def strengthen(
    rng: Generator,
    stage: Stage,
    name: str,
    numbers: dict[str, Any],
    part: Callable[[Any, torch.Tensor], torch.Tensor],
    fringes: bool = False,
) -> dict[str, Any]:
    """`numbers` with `name` set so that `part(films, q)`, or of it what rises again with q, is seen to a drawn degree."""
    shape = part(films(stage.instrument | numbers | {name: 1.0}), stage.q)[0]
    # What lies off the frame may be any times brighter; what has decayed before the frame begins cannot be shown.
    top = float((shape * (stage.pixels > 0)).max())
    if top < 1e-12:
        return numbers | {name: 0.0}
    shape = (shape / top).clamp(max=1.0)
    rises = shape - shape.cummin(0).values
    telling = rises if fringes and float((rises * (stage.pixels > 0)).max()) > 1e-4 else shape
    return numbers | {name: amplitude(rng, stage, shape, telling) / top}
