"""Mean photons of patterns: radial parts by a table of radius, azimuthal ones by a second table, the rest pixel by pixel."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import torch

from beamsight.detector import turned
from beamsight.physics.azimuth import STEPS
from beamsight.physics.columns import chosen
from beamsight.tasks.scattering_tags import parts
from beamsight.tasks.scattering_tags.parts import Films
from beamsight.tasks.scattering_tags.scene import ISOTROPIC, SPOTTED, SYSTEMS

TABLE = 8  # entries of the radial table per pixel of the side: an eighth of a pixel or less within twice the side


def render(films: Films, shape: tuple[int, int]) -> torch.Tensor:
    """Mean photons a detector pixel [B H W] of `columns(patterns)`; deterministic, finite, not negative."""
    y, x = lengths(films, shape)
    radius = torch.sqrt(y * y + x * x)
    reach = radius.amax((1, 2), keepdim=True)
    table = torch.linspace(0, 1, TABLE * max(shape))[None] * parts.flat(reach)
    q = parts.q_at(films, table)
    place = (radius / reach * (table.shape[1] - 1)).round_().long()
    image = _looked_up(_isotropic(films, table, q), place)
    _add_oriented_low(image, films, y, x)
    for system in range(SYSTEMS):
        _add_azimuthal(image, films, system, q, place, y, x)
    image = _shaped_by_surface(image, films, y, x)
    for flags, part in (
        (films.spot_layout > 0, parts.spots),
        (films.layer_ph > 0, parts.layers),
        (films.flare_ph > 0, parts.flare),
    ):
        if (some := chosen(films, flags[:, 0, 0])) is not None:
            image[some[0]] += part(some[1], y[some[0]], x[some[0]])
    return image + parts.background(films, y, x)


def lengths(films: Films, shape: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """y [B H 1] and x [B 1 W] of the pixels from the beam, in shares of the longer side, where the pattern is not stretched."""
    side = max(shape)
    y = (torch.arange(shape[0], dtype=torch.float32)[None, :, None] + 0.5) / side - films.centre_y
    y = y * (1 + films.stretch)
    x = (torch.arange(shape[1], dtype=torch.float32)[None, None, :] + 0.5) / side - films.centre_x
    return y, x


def _isotropic(films: Films, radius: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    total = parts.beam(films, radius) + parts.high(films, q)
    total = total + torch.where(parts.flat(films.low_ratio) == 1, parts.low(films, q), 0.0)
    if (some := chosen(films, films.form_ph[:, 0, 0] > 0)) is not None:
        total[some[0]] += parts.form(some[1], q[some[0]]) * parts.correlation(some[1], q[some[0]])
    if (some := chosen(films, films.ring_ph.sum((1, 2)) > 0)) is not None:
        plain = (some[1].ring_kind == ISOTROPIC)[..., None]
        total[some[0]] += (parts.rings(some[1], q[some[0]]).sum(2) * plain).sum(1)
    return total


def _looked_up(table: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    return table.gather(1, place.flatten(1)).reshape(place.shape)


def _add_oriented_low(image: torch.Tensor, films: Films, y: torch.Tensor, x: torch.Tensor) -> None:
    if (some := chosen(films, (films.low_ratio[:, 0, 0] != 1) & (films.low_ph[:, 0, 0] > 0))) is None:
        return
    rows, these = some
    image[rows] += parts.low(these, parts.q_at(these, stretched(these, y[rows], x[rows]).flatten(1)).reshape(image[rows].shape))


def stretched(films: Films, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The radius on which an oriented pattern has the intensity of an isotropic one: contours are ellipses of `low_ratio`."""
    along, across = turned(y, x, films.low_angle)
    return torch.sqrt(along * along / films.low_ratio + across * across * films.low_ratio)


def _add_azimuthal(
    image: torch.Tensor, films: Films, system: int, q: torch.Tensor, place: torch.Tensor, y: torch.Tensor, x: torch.Tensor
) -> None:
    """Add the rings of `system` that are modulated around the beam."""
    flags = (films.ring_kind[:, system] != ISOTROPIC) & (films.ring_ph[:, system].sum(1) > 0)
    if (some := chosen(films, flags)) is None:
        return
    rows, these = some
    orders = parts.rings(these, q[rows])[:, system]
    step = (torch.atan2(y[rows], x[rows]) * (STEPS / (2 * torch.pi))).round_().long()
    # Grains of another order lie elsewhere: its table is the first one's, turned.
    turn = (orders.argmax(1) * these.twist[:, system, None]).long() * (these.ring_kind[:, system, None] == SPOTTED)
    step = (step + _looked_up(turn, place[rows])).remainder_(STEPS)
    image[rows] += _looked_up(orders.sum(1), place[rows]) * _looked_up(these.azimuth[:, system], step)


def _shaped_by_surface(image: torch.Tensor, films: Films, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    if (some := chosen(films, films.graze[:, 0, 0] > 0)) is None:
        return image
    rows, these = some
    surface = parts.surface(these, y[rows], x[rows])
    image[rows] = image[rows] * surface["above"] + surface["yoneda"] + surface["cloud"] + surface["rod"]
    return image
