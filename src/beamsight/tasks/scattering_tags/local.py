"""Labels of what lies at a place: Bragg spots, layer lines, the surface's horizon and rods."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import torch

from beamsight.detector import Exposed
from beamsight.physics.columns import Rows, chosen
from beamsight.physics.visibility import CONTRAST, Grades, counted, either, grade
from beamsight.tasks.scattering_tags import parts
from beamsight.tasks.scattering_tags.parts import Films
from beamsight.tasks.scattering_tags.render import lengths
from beamsight.tasks.scattering_tags.scene import IN_LINE, NET

SEEN_SPOT = 7.0  # a spot's place draws the eye, so less is needed than for a ring
REACH, SAMPLES = 1.75, 5  # a spot is sampled at so many places a side, so many standard deviations to either side


def spot_tags(films: Films, exposed: Exposed) -> Grades:
    """Single spots, rows and nets; counts of spots, not summed d', decide."""
    frames = len(films.spot_ph)
    found = {name: torch.zeros(frames) for name in ("peaks", "peaks in line", "2-fold", "higher orders")}
    found |= {name: torch.zeros(frames) for name in ("4-fold", "6-fold")}
    if (some := chosen(films, films.spot_layout[:, 0, 0] > 0)) is None:
        return found
    rows, these = some
    seen = _spot_grades(these, exposed, rows)
    sure, perhaps = (seen == 1).sum(1), (seen != 0).sum(1)
    layout, twofold = these.spot_layout[:, 0, 0], these.spot_twofold[:, 0, 0] > 0
    any_spot = counted(sure, perhaps, 1)
    row = counted(sure, perhaps, 3)
    unsure = torch.where(any_spot == 0, 0.0, torch.nan)
    found["peaks"][rows] = any_spot
    found["peaks in line"][rows] = torch.where(layout == IN_LINE, row, torch.where(layout == NET, unsure, 0.0))
    # One spot of a pair may hide under a gap, and a net has what symmetry its cell has: then no label.
    found["2-fold"][rows] = torch.where(
        (layout == IN_LINE) & twofold & (sure >= 4), 1.0, torch.where((layout == NET) | twofold, unsure, 0.0)
    )
    for name in ("4-fold", "6-fold"):
        found[name][rows] = torch.where(layout == NET, unsure, 0.0)
    two_orders = (layout == IN_LINE) & (these.spot_orders[:, 0, 0] >= 2)
    found["higher orders"][rows] = torch.where(
        two_orders & (sure >= 4), 1.0, torch.where(layout == NET, unsure, torch.where(two_orders, unsure, 0.0))
    )
    return found


def _spot_grades(films: Films, exposed: Exposed, rows: Rows) -> torch.Tensor:
    """[n 96] grade of each spot against a constant: 25 samples of the image under it stand for its pixels."""
    height, width = exposed.photons.shape[1:]
    side = max(height, width)
    v, u = (a.flatten() for a in torch.meshgrid(*[torch.linspace(-REACH, REACH, SAMPLES)] * 2, indexing="ij"))
    spread = exposed.spread_px[rows, :, 0] / side
    sd_y, sd_x = torch.hypot(films.spot_sd_y, spread), torch.hypot(films.spot_sd_x, spread)
    top = films.spot_ph * films.spot_sd_y * films.spot_sd_x / (sd_y * sd_x)
    y = ((films.spot_y[..., None] + sd_y[..., None] * v) / (1 + films.stretch) + films.centre_y) * side - 0.5
    x = (films.spot_x[..., None] + sd_x[..., None] * u + films.centre_x) * side - 0.5
    on = (y > -0.5) & (y < height - 0.5) & (x > -0.5) & (x < width - 0.5)
    place = y.round().clamp(0, height - 1).long() * width + x.round().clamp(0, width - 1).long()
    mean = exposed.photons[rows].flatten(1).gather(1, place.flatten(1)).reshape(place.shape)
    usable = exposed.usable.expand_as(exposed.photons)[rows].flatten(1).gather(1, place.flatten(1)).reshape(place.shape) & on
    cell = (sd_y * sd_x * side**2)[..., None] * (2 * REACH / (SAMPLES - 1)) ** 2
    weight = cell * exposed.area[rows] * usable / (mean + exposed.variance[rows] + 1e-6)
    part = top[..., None] * torch.exp(-0.5 * (u * u + v * v))
    level = (part * weight).sum(2, keepdim=True) / weight.sum(2, keepdim=True).clamp(min=1e-12)
    power = (part - level) ** 2 * weight
    contrast = (power * (part - level).abs() / (mean + 1e-6)).sum(2) / power.sum(2).clamp(min=1e-12)
    return torch.where(films.spot_ph > 0, grade(power.sum(2).sqrt(), contrast, SEEN_SPOT), 0.0)


def layer_tags(films: Films, exposed: Exposed) -> Grades:
    """Layer lines: rods across a fibre's axis."""
    frames = len(films.layer_ph)
    found = {name: torch.zeros(frames) for name in ("peaks", "peaks in line", "2-fold", "higher orders")}
    if (some := chosen(films, films.layer_ph[:, 0, 0] > 0)) is None:
        return found
    rows, these = some
    shape = (exposed.photons.shape[1], exposed.photons.shape[2])
    lines = parts.layers(_widened(these, exposed, rows, {"layer_sd": "layer_ph"}), *lengths(these, shape))
    seen = _summed(lines, exposed, rows)
    unsure = torch.where(seen == 0, 0.0, torch.nan)
    several = these.layer_count[:, 0, 0] >= 2
    long = (these.layer_reach / these.layer_sd)[:, 0, 0] > 8
    found["peaks"][rows] = torch.where(long, unsure, seen)
    found["peaks in line"][rows] = torch.where(several, seen, unsure)
    found["2-fold"][rows] = seen
    found["higher orders"][rows] = torch.where(several & (these.layer_decay[:, 0, 0] < 0.7), seen, unsure)
    return found


def _widened(films: Films, exposed: Exposed, rows: Rows, parts_of: dict[str, str]) -> Films:
    """The films with thin parts, {width: strength}, as wide, and as much lower, as the detector's spread makes them."""
    values, spread = vars(films), exposed.spread_px[rows] / max(exposed.photons.shape[1:])
    wide = {name: torch.hypot(values[name], spread) for name in parts_of}
    low = {strength: values[strength] * values[name] / wide[name] for name, strength in parts_of.items()}
    return cast("Films", replace(cast("Any", films), **wide, **low))


def _summed(part: torch.Tensor, exposed: Exposed, rows: Rows) -> torch.Tensor:
    """Grade [n] of a thin part [n H W], for which nothing smooth can stand: its summed d' and its contrast."""
    weight = (
        exposed.area[rows]
        * exposed.usable.expand_as(exposed.photons)[rows]
        / (exposed.photons[rows] + exposed.variance[rows] + 1e-6)
    )
    power = part * part * weight
    total = power.sum((1, 2))
    contrast = (power * part / (exposed.photons[rows] + 1e-6)).sum((1, 2)) / total.clamp(min=1e-12)
    return grade(total.sqrt(), contrast)


def surface_tags(films: Films, exposed: Exposed) -> Grades:
    """The horizon or Yoneda's ridge, and the specular rod; clouds and combs leave other tags open."""
    frames = len(films.graze)
    names = (
        "Yoneda or horizon",
        "specular rod",
        "2-fold",
        "4-fold",
        "peaks",
        "peaks in line",
        "diffuse low-q",
        "oriented diffuse or halo",
    )
    found = {name: torch.zeros(frames) for name in names}
    if (some := chosen(films, films.graze[:, 0, 0] > 0)) is None:
        return found
    rows, these = some
    shape = (exposed.photons.shape[1], exposed.photons.shape[2])
    y, x = lengths(these, shape)
    blurred = {"yoneda_width": "yoneda_ph", "rod_width": "rod_ph"}
    surface = parts.surface(_widened(these, exposed, rows, blurred), y, x)
    height = -(y + these.tilt * x) - these.horizon
    lost = (surface["cloud"] / surface["above"].clamp(min=0.01) - surface["cloud"]) * (height > -0.03)
    found["Yoneda or horizon"][rows] = either(_summed(surface["yoneda"], exposed, rows), _summed(lost, exposed, rows))
    found["specular rod"][rows] = _summed(surface["rod"], exposed, rows)
    cloud = _summed(surface["cloud"], exposed, rows)
    comb = torch.where((these.rod_comb_ph[:, 0, 0] > CONTRAST * these.cloud_ph[:, 0, 0]) & (cloud != 0), torch.nan, 0.0)
    open_question = torch.where(either(cloud, found["specular rod"][rows]) == 0, 0.0, torch.nan)
    for name in ("2-fold", "4-fold", "diffuse low-q", "oriented diffuse or halo"):
        found[name][rows] = open_question
    for name in ("peaks", "peaks in line"):
        found[name][rows] = either(comb, torch.where(found["specular rod"][rows] == 1, torch.nan, 0.0))
    return found
