"""The parts of a pattern as functions of q or of place: what `render` adds up and `label` looks for."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from collections.abc import Callable

import torch

from beamsight.detector import turned
from beamsight.physics import profiles
from beamsight.physics.columns import Columns, any_of
from beamsight.tasks.scattering_tags.scene import CORE_SHELL, TABLED

Films = Columns  # of Patterns


def flat(number: torch.Tensor) -> torch.Tensor:
    """A column [B 1 1] as [B 1], to stand beside tables [B Q]."""
    return number[:, :, 0]


def q_at(films: Films, radius: torch.Tensor) -> torch.Tensor:
    """q in 1/m at `radius`, in shares of the frame's side, [B Q]: 4 pi / lambda sin(theta), tan(2 theta) = r / distance."""
    two_theta = torch.atan(radius * flat(films.side_m) / flat(films.distance_m))
    return 4 * torch.pi / flat(films.wavelength_m) * torch.sin(two_theta / 2)


def low(films: Films, q: torch.Tensor) -> torch.Tensor:
    """Diffuse scattering at low q: `low_ph` at a tenth of the side, where displays begin to show it. q [B ...]."""
    at = _like(q)
    reference = at(q_at(films, torch.full((len(q), 1), 0.1))[..., None])
    length, kind = at(films.low_length_m), at(films.low_kind)
    return at(films.low_ph) * _low_shape(q, kind, length, at(films.low_exponent), reference).clamp(max=1e6)


def _low_shape(
    q: torch.Tensor, kind: torch.Tensor, length: torch.Tensor, exponent: torch.Tensor, reference: torch.Tensor
) -> torch.Tensor:
    power = profiles.power_law(q=(q / reference).clamp(min=0.02), exponent=exponent)
    lorentz = profiles.ornstein_zernike(q=q, length=length) / profiles.ornstein_zernike(q=reference, length=length)
    # A Guinier plateau is scaled at its top: at the reference it may have fallen by any factor.
    shapes = [power, lorentz, lorentz**2, profiles.guinier(q=q, length=length)]
    return sum((torch.where(kind == k, s, 0.0) for k, s in enumerate(shapes)), torch.zeros(()))


def _like(q: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """Broadcasts a column [B 1 1] over q [B ...]."""
    return lambda column: column.reshape(-1, *[1] * (q.ndim - 1))


def high(films: Films, q: torch.Tensor) -> torch.Tensor:
    """Diffuse scattering that rises with q [B Q]."""
    return flat(films.high_ph) * profiles.rise(q=q, length=flat(films.high_length_m))


def rings(films: Films, q: torch.Tensor) -> torch.Tensor:
    """[B 3 10 Q] every order of every system at its mean over the azimuth."""
    return films.ring_ph[..., None] * profiles.peak(
        q=q[:, None, None], centre=films.ring_q[..., None], sd=films.ring_sd[..., None]
    )


def form(films: Films, q: torch.Tensor) -> torch.Tensor:
    """[B Q] the particles' form factor alone."""
    radius, spread = films.form_radius_m[:, 0, 0], films.form_spread[:, 0, 0]
    kind = flat(films.form_kind)
    value = profiles.sphere(q=q, radius=radius, spread=spread)
    if any_of(kind == CORE_SHELL):
        core, contrast = films.form_core[:, 0, 0], films.form_contrast[:, 0, 0]
        value = torch.where(
            kind == CORE_SHELL, profiles.core_shell(q=q, radius=radius, spread=spread, core=core, contrast=contrast), value
        )
    if any_of(kind == TABLED):
        value = torch.where(
            kind == TABLED, profiles.tabled(q=q, radius=radius, spread=spread, shape=films.form_shape[:, 0, 0]), value
        )
    return flat(films.form_ph) * value


def correlation(films: Films, q: torch.Tensor) -> torch.Tensor:
    """[B Q] structure factor of the particles, 1 where they are not correlated."""
    fraction = films.sphere_fraction[:, 0, 0]
    value = profiles.hard_spheres(q=q, radius=films.sphere_radius_m[:, 0, 0], fraction=fraction.clamp(min=1e-3))
    return torch.where(fraction[:, None] > 0, value, 1.0)


def beam(films: Films, radius: torch.Tensor) -> torch.Tensor:
    """[B Q] what passes beside the stop of the direct beam, at `radius` in shares of the side: a core with faint wings."""
    relative = (radius / flat(films.beam_size)) ** 2
    return flat(films.beam_ph) * (torch.exp(-relative / 2) + 3e-4 / (1 + relative / 9) ** 2)


def background(films: Films, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """[B H W] flat or gently curved background at y [B H 1], x [B 1 W] from the beam, in shares of the side."""
    bend = (films.slope_y * y + films.curve * y * y) + (films.slope_x * x + films.curve * x * x)
    return films.flat_ph * (1 + bend).clamp(min=0.05)


def flare(films: Films, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """[B H W] a streak of slit scattering through the beam."""
    along, across = turned(y, x, films.flare_angle)
    return films.flare_ph * torch.exp(-0.5 * (across / 0.004) ** 2) / (1 + (along / 0.05) ** 2)


def spots(films: Films, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """[B H W] Bragg spots, upright Gaussians: a product of two thin matrices."""
    rows = torch.exp(-0.5 * ((y - films.spot_y[:, None]) / films.spot_sd_y[:, None]) ** 2)
    columns = torch.exp(-0.5 * ((x.transpose(1, 2) - films.spot_x[:, None]) / films.spot_sd_x[:, None]) ** 2)
    return (rows * films.spot_ph[:, None]) @ columns.transpose(1, 2)


def layers(films: Films, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """[B H W] a fibre's layer lines: thin across, each with two lobes or one, weaker from order to order."""
    along, across = turned(y, x, films.layer_angle)
    across = across.abs_()
    order = (across / films.layer_step).round_()
    line = torch.exp(-0.5 * ((across - order * films.layer_step) / films.layer_sd) ** 2 - films.layer_decay * (order - 1))
    line = line * ((order >= 1) & (order <= films.layer_count))
    return films.layer_ph * line * torch.exp(-0.5 * ((along.abs_() - films.layer_lobe) / films.layer_reach) ** 2)


def surface(films: Films, y: torch.Tensor, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Grazing geometry [B H W]: the share of light `above` the horizon (times `below` under it), and yoneda, cloud and rod."""
    height = -(y + films.tilt * x) - films.horizon
    seen = torch.sigmoid(height / 0.002)
    above = seen + (1 - seen) * films.below
    over = height - films.yoneda_height
    ridge = torch.exp(-0.5 * (over / torch.where(over > 0, 2 * films.yoneda_width, films.yoneda_width)) ** 2)
    comb = torch.exp(-0.5 * ((x - (x / films.rod_step).round() * films.rod_step) / films.rod_width) ** 2)
    cloud = torch.exp(-height.clamp(min=0) / films.cloud_y) / (1 + (x / films.cloud_x) ** 2)
    fringe = 1 + films.rod_fringe * torch.cos(height * 2 * torch.pi / 0.04)
    rod = torch.exp(-0.5 * (x / films.rod_width) ** 2) * torch.exp(-height.clamp(min=0) / films.rod_length) * fringe
    wide = 1 / (1 + (x / (2 * films.cloud_x)).abs())
    return {
        "above": above,
        "yoneda": films.yoneda_ph * ridge * wide,
        "cloud": (films.cloud_ph + films.rod_comb_ph * comb) * cloud * above,
        "rod": films.rod_ph * rod * above,
    }
