"""Labels of rings: their kinds, their orders, their folds, and arcs so short that they are spots."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import torch

from beamsight.physics.visibility import Grades, both, counted, either, margin
from beamsight.tasks.scattering_tags.parts import Films
from beamsight.tasks.scattering_tags.scene import FOLDED, SPOTTED, TEXTURED
from beamsight.tasks.scattering_tags.systems import Systems, sectors


def ring_tags(films: Films, rings: Systems) -> Grades:
    """The tags of ring systems alone."""
    # Two, four or six lobes as short as spots: some say ring, some do not.
    visible = both(rings.ring, torch.where(rings.long == 0, torch.nan, 1.0))
    plain = both(visible, 1 - rings.turned)
    coverage = _coverage(sectors(films.azimuth))
    textured = torch.where(films.ring_kind == TEXTURED, both(visible, rings.turned, rings.uneven), 0.0)
    # So many grains that they touch look like a texture.
    touching = (films.ring_kind == SPOTTED) & (coverage >= 0.4) & (both(visible, rings.turned) != 0)
    textured = torch.where(touching, torch.nan, textured)
    spotted = both(rings.grains, visible, 1 - margin(coverage, 0.4, 0.5))
    # Grains and textures modulate a ring too, but without an axis: not for "oriented" to decide.
    irregular = (films.ring_kind == TEXTURED) | (films.ring_kind == SPOTTED)
    turned = both(visible, rings.turned)
    oriented = torch.where(irregular & (turned != 0), torch.nan, turned)
    halo_turned = both(rings.halo, rings.turned)
    folds = {
        f"{n}-fold": _any(torch.where(films.ring_fold == n, both(either(rings.ring, rings.halo), rings.folded), 0.0))
        for n in (2, 4, 6)
    }
    grainy = _any(torch.where(irregular, turned, 0.0))
    folds["2-fold"] = torch.where((folds["2-fold"] == 0) & (grainy != 0), torch.nan, folds["2-fold"])
    return {
        "ring": _any(visible),
        "halo": _any(rings.halo),
        "higher orders": _counted(rings.orders[:, :2], 2).amax(1),
        "many rings": _many(films, rings.orders[:, :2]),
        "isotropic ring": _any(plain),
        "oriented ring": _any(oriented),
        "oriented diffuse or halo": _any(halo_turned),
        "spotted ring": torch.where((_any(textured) == 1) & (_any(spotted) != 1), 0.0, _any(spotted)),
        "textured ring": torch.where((_any(spotted) == 1) & (_any(textured) != 1), torch.nan, _any(textured)),
        "structure factor": _any(_correlated(films, visible)[:, :2]),
        **folds,
    }


def _correlated(films: Films, visible: torch.Tensor) -> torch.Tensor:
    """Structure factor by a lattice of particles [B 3]; a ring that stands alone may come of particles or of a powder."""
    other = torch.where((films.ring_particles < 0) & (visible != 0), torch.nan, 0.0)
    return torch.where(films.ring_particles == 1, visible, other)


def _coverage(table: torch.Tensor) -> torch.Tensor:
    """The share [B 3] of the azimuth that is brighter than three tenths of the brightest sector."""
    return (table > 0.3 * table.amax(2, keepdim=True)).float().mean(2)


def _any(grades: torch.Tensor) -> torch.Tensor:
    """Over the systems [B 3] -> [B]."""
    return either(*grades.unbind(1))


def _counted(orders: torch.Tensor, least: int) -> torch.Tensor:
    """Whether at least `least` of the orders [B S 10] are seen, [B S]; NaN counts as perhaps. amax over NaN stays NaN
    unless sure."""
    sure, perhaps = (orders == 1).sum(2), (orders != 0).sum(2)
    value = torch.where(sure >= least, 1.0, torch.where(perhaps < least, 0.0, 0.5))
    return torch.where(value.amax(1, keepdim=True) == 0.5, torch.nan, value)


def _many(films: Films, orders: torch.Tensor) -> torch.Tensor:
    q, sd = films.ring_q[:, :2], films.ring_sd[:, :2]
    gap = (q[..., 1:] - q[..., :-1]) / sd[..., 1:]
    far = torch.full_like(gap[..., :1], 9.0)
    clear = torch.minimum(torch.cat([far, gap], 2), torch.cat([gap, far], 2)) > 2.36
    sure, perhaps = ((orders == 1) & clear).sum((1, 2)), (orders != 0).sum((1, 2))
    return counted(sure, perhaps, 5)


def arc_tags(films: Films, rings: Systems) -> Grades:
    """Arcs so short that they are spots, and spots on a ring, which the tag "peaks" leaves open."""
    lobes = (films.ring_kind == FOLDED) & (rings.folded == 1) & (rings.ring != 0)
    short, between = lobes & (rings.long == 0), lobes & (rings.long != 1)
    grainy = (films.ring_kind == SPOTTED) & (rings.turned != 0)
    row = short & (films.ring_fold == 2) & ((rings.orders == 1).sum(2) >= 2)
    doubt = (between | grainy).any(1)
    peaks = torch.where(short.any(1), 1.0, torch.where(doubt, torch.nan, 0.0))
    line = torch.where(row.any(1), 1.0, torch.where(between.any(1), torch.nan, 0.0))
    return {"peaks": peaks, "peaks in line": line}
