"""Labels of what is a function of radius alone: particles, diffuse scattering and its orientation."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import torch

from beamsight.physics.columns import chosen
from beamsight.physics.visibility import Grades, both, detect, either, grade, grade_turned, margin, powers, residual, ring_basis
from beamsight.tasks.scattering_tags import parts
from beamsight.tasks.scattering_tags.parts import Films, flat
from beamsight.tasks.scattering_tags.polar import Polar


def particle_tags(films: Films, grid: Polar) -> Grades:
    """Form factor, hard-sphere correlation, and the rings or halos that these make."""
    form = parts.form(films, grid.q)
    total = form * parts.correlation(films, grid.q)
    basis = ring_basis(grid.q)
    # A smooth knee also differs from every power law; a form factor is named for its minimum, so what only falls explains none.
    falling = form.cummin(1).values[:, None]
    fringes = grade(*detect(residual(form[:, None], torch.cat([basis, falling], 1), grid.along), grid.along, grid.level))[:, 0]
    fringes = both(fringes, _fringe_fits(films, grid), margin(_highest(form, grid.radius)[0], 0.02, 0.08))
    shape = (form / form.amax(1, keepdim=True).clamp(min=1e-20))[:, None]
    ordered = grade(*detect(residual(total[:, None], torch.cat([basis, shape], 1), grid.along), grid.along, grid.level))[:, 0]
    prominence, width = _highest(total, grid.radius)
    correlated = flat(films.sphere_fraction)[:, 0] > 0
    peak = both(ordered, margin(prominence, 0.03, 0.10))
    structure = torch.where(correlated, peak, 0.0)
    # Without correlation a fringe or a matched shell still looks like a ring: nobody's fault, so nobody's label.
    ringlike = torch.where(both(ordered, margin(prominence, 0.02, 0.05)) == 0, 0.0, torch.nan)
    ring = torch.where(correlated, both(peak, 1 - margin(width, 0.301, 0.40)), torch.where(fringes == 0, ringlike, torch.nan))
    halo = torch.where(correlated, both(peak, margin(width, 0.301, 0.40)), torch.where(fringes == 0, ringlike, torch.nan))
    second = torch.where(correlated & (peak != 0) & (flat(films.sphere_fraction)[:, 0] > 0.25), torch.nan, 0.0)
    return {
        "form factor": fringes,
        "structure factor": structure,
        "ring": ring,
        "halo": halo,
        "isotropic ring": ring,
        "higher orders": second,
    }


def _fringe_fits(films: Films, grid: Polar) -> torch.Tensor:
    """Whether the first minimum lies on the frame and fringes are at least three pixels apart."""
    radius = flat(films.form_radius_m)[:, 0]
    last = torch.where(grid.along > 0, grid.q, 0.0).amax(1)
    step = (grid.q[:, -1] - grid.q[:, 0]) / (grid.q.shape[1] - 1) / grid.step_px
    return ((4.493 / radius < last) & (torch.pi / radius >= 3 * step)).float()


def _highest(curve: torch.Tensor, radius: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of curves [B R] over `radius` [B R] the peak that rises most over what lies before it: its rise over its height, and
    its full width at half rise over its place."""
    rise = curve - curve.cummin(1).values
    place = rise.argmax(1, keepdim=True)
    height, top = rise.gather(1, place), curve.gather(1, place)
    index = torch.arange(curve.shape[1])
    low = curve < top - height / 2
    left = torch.where(low & (index < place), index, 0).amax(1)
    right = torch.where(low & (index > place), index, 2 * curve.shape[1]).amin(1)
    width = (right - left) * (radius[:, 1] - radius[:, 0]) / radius.gather(1, place)[:, 0]
    return (height / top.clamp(min=1e-20))[:, 0], width


def diffuse_tags(films: Films, grid: Polar) -> Grades:
    """Diffuse scattering at low and high q, and its orientation."""
    correlated = flat(films.sphere_fraction) > 0
    particles = parts.form(films, grid.q)
    low, turned = _oriented(films, grid, parts.low(films, grid.q))
    beam = parts.beam(films, grid.radius) + 1e-20
    basis = torch.stack([torch.ones_like(grid.q), beam / beam.amax(1, keepdim=True)], 1)
    rise = torch.stack([low + torch.where(correlated, 0.0, particles), torch.where(correlated, particles, 0.0)], 1)
    seen = grade(*detect(residual(rise, basis, grid.along), grid.along, grid.level))
    high = residual(parts.high(films, grid.q)[:, None], powers(grid.q, (0, 1, 2, 3, 4)), grid.along)
    return {
        "diffuse low-q": either(seen[:, 0], torch.where(seen[:, 1] == 0, 0.0, torch.nan)),
        "diffuse high-q": either(grade(*detect(high, grid.along, grid.level))[:, 0], _bent(films, grid)),
        "oriented diffuse or halo": turned,
        "2-fold": turned,
    }


def _bent(films: Films, grid: Polar) -> torch.Tensor:
    """Doubtful [B] where the background itself rises or turns with q, which nobody could tell from scattering."""
    bend = flat(films.flat_ph * films.curve) * grid.radius**2
    bent = grade(*detect(residual(bend[:, None], powers(grid.q, (0, 1, 2, 3, 4)), grid.along), grid.along, grid.level))[:, 0]
    return torch.where(bent == 0, 0.0, torch.nan)


def _oriented(films: Films, grid: Polar, low: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean over the azimuth of diffuse scattering [B R], and the grade of its orientation [B]."""
    turned = torch.zeros(len(low))
    if (some := chosen(films, (films.low_ratio[:, 0, 0] != 1) & (films.low_ph[:, 0, 0] > 0))) is None:
        return low, turned
    rows, these = some
    weight, level = grid.weight[rows], grid.mean[rows]
    angle = grid.chi - flat(these.low_angle)
    factor = torch.sqrt(torch.cos(angle) ** 2 / flat(these.low_ratio) + torch.sin(angle) ** 2 * flat(these.low_ratio))
    radius = (grid.radius[rows, :, None] * factor[:, None]).flatten(1)
    value = parts.low(these, parts.q_at(these, radius)).reshape(weight.shape)
    mean = (value * weight).sum(2) / weight.sum(2).clamp(min=1e-20)
    left, own = (value - mean[..., None]).flatten(1)[:, None], mean[..., None].expand_as(value).flatten(1)
    seen, contrast = detect(left, weight.flatten(1), level.flatten(1))
    turned[rows] = grade_turned(seen, contrast, detect(left, weight.flatten(1), own)[1])[:, 0]
    low = low.clone()
    low[rows] = mean
    return low, turned
