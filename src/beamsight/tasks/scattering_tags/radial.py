"""Labels of what is a function of radius and of the azimuth around it: rings, halos, orders, particles, diffuse scattering."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import torch

from beamsight.physics.visibility import both, counted, detect, either, grade, grade_turned, hats, margin, powers, residual
from beamsight.tasks.scattering_tags import parts
from beamsight.tasks.scattering_tags.parts import Films, chosen, flat
from beamsight.tasks.scattering_tags.polar import SECTORS, Polar
from beamsight.tasks.scattering_tags.scene import FOLDED, ISOTROPIC, ORDERS, SPOTTED, TEXTURED

LONG, LONG_RAD = (3.0, 6.0), (0.15, 0.3)  # length over width, and angle: a lobe below both first ones is a spot, not an arc
Grades = dict[str, torch.Tensor]  # of [B]: 1 present, 0 absent, NaN doubtful


@dataclass(frozen=True)
class Systems:
    """Per ring system [B 3]: `ring`, `halo` grades of presence, `turned` of azimuthal modulation, `folded` of its symmetry,
    `grains` of single maxima, `uneven` of what no mirror explains, `arc` length of a lobe over its width, `long` whether it is an
    arc and no spot; `orders` [B 3 10] grade of each order; `detectability` [B 3] d' as a ring."""

    ring: torch.Tensor
    halo: torch.Tensor
    turned: torch.Tensor
    folded: torch.Tensor
    grains: torch.Tensor
    uneven: torch.Tensor
    arc: torch.Tensor
    long: torch.Tensor
    orders: torch.Tensor
    detectability: torch.Tensor


def ring_basis(q: torch.Tensor) -> torch.Tensor:
    """What a ring, a fringe or an order could be mistaken for."""
    return torch.cat([powers(q, (0, 1, 2, 3, 4)), hats(q)], 1)


def systems(films: Films, grid: Polar) -> Systems:
    """Grade every ring system of each frame."""
    rings = parts.rings(_blurred(films, grid), grid.q)
    whole = rings.sum(2)
    rings = rings * _lit(films, grid)
    flat_rings = rings.flatten(1, 2)
    seen, contrast = detect(residual(flat_rings, ring_basis(grid.q), grid.along), grid.along, grid.level)
    orders = grade(seen, contrast).unflatten(1, rings.shape[1:3])
    wide, wide_contrast = detect(residual(rings.sum(2), powers(grid.q, (0, 1, 2, 3, 4)), grid.along), grid.along, grid.level)
    turned, folded, grains, strength = _around(films, whole, grid)
    # A ring whose light is in a few lobes may show only there.
    strongest = seen.unflatten(1, rings.shape[1:3]).max(2).values
    best = contrast.unflatten(1, rings.shape[1:3]).max(2).values
    detectability = torch.hypot(strongest, strength[0])
    narrow = grade(detectability, torch.maximum(best, strength[1]))
    broad = grade(torch.hypot(wide, strength[0]), torch.maximum(wide_contrast, strength[1]))
    width = 2.355 * films.ring_sd[..., 0] / films.ring_q[..., 0]
    is_ring, is_halo = 1 - margin(width, 0.301, 0.40), margin(width, 0.301, 0.40)
    arc = _arc(films, width)
    return Systems(
        ring=both(narrow, is_ring),
        halo=both(broad, is_halo),
        turned=turned,
        folded=folded,
        grains=grains,
        uneven=margin(_lopsided(_sectors(films.azimuth)), 0.05, 0.15),
        arc=arc,
        long=torch.where(films.ring_kind == FOLDED, either(margin(arc, *LONG), margin(arc * width, *LONG_RAD)), 1.0),
        orders=orders,
        detectability=detectability,
    )


def _blurred(films: Films, grid: Polar) -> Films:
    """The films with rings as wide, and as much lower, as the detector's spread makes them."""
    sd = torch.hypot(films.ring_sd, grid.spread_q[:, None, None])
    return cast("Films", replace(cast("Any", films), ring_sd=sd, ring_ph=films.ring_ph * films.ring_sd / sd))


def _lit(films: Films, grid: Polar) -> torch.Tensor:
    """Light of each order on the azimuths that the frame shows, over its mean on a whole circle: [B 3 10 R]."""
    seen = torch.einsum("bra,bsa->bsr", grid.weight, _sectors(films.azimuth)) / grid.along.clamp(min=1e-20)[:, None]
    # The grains of other orders lie elsewhere: on average they light as much as a whole circle.
    elsewhere = (films.ring_kind == SPOTTED)[..., None] & (torch.arange(ORDERS) > 0)
    return torch.where(elsewhere[..., None], 1.0, seen[:, :, None])


def _around(
    films: Films, profile: torch.Tensor, grid: Polar
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
    """Grades of modulation, symmetry and grains [B 3], and d' and contrast of the modulation, of profiles [B 3 R] times
    the azimuth."""
    weight = torch.einsum("bra,bsr->bsa", grid.weight, profile**2).flatten(0, 1)
    # The level at which a modulation of the table has the contrast that it has on the frame.
    power = grid.along[:, None] * profile**2
    level = power.sum(2) / (power * profile / grid.level.clamp(min=1e-6)[:, None]).sum(2).clamp(min=1e-20)
    table = _sectors(films.azimuth)
    mean = (level.flatten()[:, None] * torch.ones_like(weight)).clamp(min=1e-6)
    values = table.flatten(0, 1)[:, None]
    left = residual(values, torch.ones_like(values), weight)
    left_fold = residual(values, _harmonics(films.ring_fold), weight)

    def measured(rest: torch.Tensor) -> list[torch.Tensor]:
        found = (*detect(rest, weight, mean), detect(rest, weight, torch.ones_like(weight))[1])
        return [v.unflatten(0, table.shape[:2])[..., 0] for v in found]

    seen, contrast, own = measured(left)
    single = (left[:, 0] ** 2 * weight).max(1).values.sqrt().unflatten(0, table.shape[:2])
    plain = films.ring_kind == ISOTROPIC
    turned = torch.where(plain, 0.0, grade_turned(seen, contrast, own))
    folded = torch.where(films.ring_kind == FOLDED, grade_turned(*measured(left_fold)), 0.0)
    grains = torch.where(films.ring_kind == SPOTTED, grade_turned(single, contrast, own), 0.0)
    return turned, folded, grains, (torch.where(plain, 0.0, seen), torch.where(plain, 0.0, contrast))


def _sectors(azimuth: torch.Tensor) -> torch.Tensor:
    """Azimuthal tables [B 3 360] as means over the sectors of the polar grid [B 3 A]."""
    wide = azimuth.shape[2] // SECTORS
    return azimuth.roll(wide // 2, 2).reshape(*azimuth.shape[:2], SECTORS, wide).mean(3)


def _lopsided(table: torch.Tensor) -> torch.Tensor:
    """How far tables [B 3 A] are from the nearest that is its own mirror image about some axis: root mean square over the mean.

    Lobes of any fold have a mirror; what many grains make has none. With c_k the Fourier coefficients, the mirror about chi
    has conj(c_k) exp(2 i k chi), so half the square distance is sum |c_k|^2 - max over chi of Re sum c_k^2 exp(-2 i k chi).
    """
    waves = torch.fft.rfft(table)[..., 1:] / table.shape[2]
    k = torch.arange(1, waves.shape[2] + 1)
    axes = torch.arange(2 * SECTORS) * (torch.pi / (2 * SECTORS))
    turn = torch.exp(-2j * k[:, None] * axes)
    alike = ((waves * waves) @ turn).real.amax(2)
    # Each wave stands for itself and its conjugate; the nearest symmetric table lies halfway to the mirror image.
    apart: torch.Tensor = (waves.abs().square().sum(2) - alike).clamp(min=0).sqrt()
    return apart / table.mean(2).clamp(min=1e-9)


def _harmonics(fold: torch.Tensor) -> torch.Tensor:
    """[B*3 11 A] the constant and the harmonics below `fold` [B 3]; those from it on are zero."""
    chi = torch.arange(SECTORS) * (2 * torch.pi / SECTORS)
    waves = [torch.ones(SECTORS)] + [wave(k * chi) for k in range(1, 6) for wave in (torch.cos, torch.sin)]
    order = torch.tensor([0] + [k for k in range(1, 6) for _ in range(2)])
    kept = order < fold.flatten()[:, None].clamp(min=1)
    return torch.stack(waves) * kept[..., None]


def _arc(films: Films, width: torch.Tensor) -> torch.Tensor:
    """Length of a lobe over its radial width [B 3]."""
    top = films.azimuth.amax(2, keepdim=True)
    share = (films.azimuth > top / 2).float().mean(2)
    return share * 2 * torch.pi / films.ring_fold.clamp(min=1) / width


def ring_tags(films: Films, rings: Systems) -> Grades:
    """The tags of ring systems alone."""
    # Two, four or six lobes as short as spots: some say ring, some do not.
    visible = both(rings.ring, torch.where(rings.long == 0, torch.nan, 1.0))
    plain = both(visible, 1 - rings.turned)
    coverage = _coverage(_sectors(films.azimuth))
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
