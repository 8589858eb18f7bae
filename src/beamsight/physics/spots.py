"""Spots on images: their light in small stamps, what lies under it, and whether they are there to be seen. Tensors."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from beamsight.physics.places import FAST_X, FAST_Y, SLOW_X, SLOW_Y, X0, X1, Y0, Y1, Places, stored
from beamsight.physics.visibility import CONTRAST, least_count

HALVES = (3, 6, 12, 24)  # px from the middle of a stamp to its side
CUT = 3.5  # standard deviations at which a spot ends; its light is what lies within
PERHAPS = 0.5  # of what is needed: neither surely seen nor surely not
APERTURE = 1.6  # standard deviations to sum over: the best for a Gaussian on even ground, 72 % of it


@dataclass(frozen=True)
class Marks:
    """Spots [B N] at `y`, `x` px from the beam, of `photons` each (0 = none); sd `along` and `across` the radius, px."""

    y: torch.Tensor
    x: torch.Tensor
    photons: torch.Tensor
    along: torch.Tensor
    across: torch.Tensor


@dataclass(frozen=True)
class Stamps:
    """The pixels under some spots of one size [M S]: `frame` [M] and `spot` [M] they belong to, `pixel` [M S] in the flattened
    image [B H W], `share` of the spot's light on each (0 off the panel or the window), `inside` True within the aperture."""

    frame: torch.Tensor
    spot: torch.Tensor
    pixel: torch.Tensor
    share: torch.Tensor
    inside: torch.Tensor


def stamps(marks: Marks, where: Places) -> Iterator[Stamps]:
    """The stamps of the spots that have light.

    A spot at a border has a stamp on each panel that it reaches. Pixels take the light at their middle, of a Gaussian widened by
    their own size (variance 1/12), made to sum to 1.
    """
    y, x = marks.y, marks.x
    if y.is_meta:
        return
    along, across = ((width * width + 1 / 12).sqrt() for width in (marks.along, marks.across))
    half = (CUT * along.maximum(across)).ceil().clamp(max=HALVES[-1])
    row, column = stored(where.panels, y, x)
    frame, spot, panel = _met(row, column, half, where, marks.photons > 0).nonzero().unbind(1)
    size = half[frame, spot]
    radius = torch.hypot(y, x).clamp(min=1e-6)
    numbers = torch.stack([y / radius, x / radius, along, across], 2)[frame, spot]
    at = torch.stack([row, column], 3)[frame, spot, panel]
    for least, most in zip((0, *HALVES), HALVES, strict=False):
        some = (size > least) & (size <= most)
        if bool(some.any()):
            yield _stamped(frame[some], spot[some], where.panels[frame[some], panel[some]], at[some], numbers[some], most, where)


def _met(row: torch.Tensor, column: torch.Tensor, half: torch.Tensor, where: Places, present: torch.Tensor) -> torch.Tensor:
    """[B N P] whether a spot reaches a pixel of a panel within the window."""
    t, reach = where.panels.transpose(1, 2)[:, :, None], half[..., None] + 0.5
    met = present[..., None] & (t[:, Y1] > t[:, Y0])
    for place, low, high, pixels in ((row, t[:, Y0], t[:, Y1], where.row), (column, t[:, X0], t[:, X1], where.column)):
        first, last = pixels[:, 0, 0, None, None], pixels[:, -1, -1, None, None]
        met = met & (place > low.maximum(first) - reach) & (place < (high - 1).minimum(last) + reach)
    return met


def _stamped(
    frame: torch.Tensor,
    spot: torch.Tensor,
    panel: torch.Tensor,
    at: torch.Tensor,
    numbers: torch.Tensor,
    half: int,
    where: Places,
) -> Stamps:
    height, width = where.y.shape[1:]
    steps = torch.arange(-half, half + 1, dtype=torch.float32)
    grid_y, grid_x = (g.flatten() for g in torch.meshgrid(steps, steps, indexing="ij"))
    row, column = at[:, :1].round() + grid_y, at[:, 1:].round() + grid_x
    # From rows and columns to the plane, from there to along and across the radius.
    down, right = row - at[:, :1], column - at[:, 1:]
    away_y = down * panel[:, SLOW_Y, None] + right * panel[:, FAST_Y, None]
    away_x = down * panel[:, SLOW_X, None] + right * panel[:, FAST_X, None]
    unit_y, unit_x, along, across = (numbers[:, n : n + 1] for n in range(4))
    apart = ((away_y * unit_y + away_x * unit_x) / along) ** 2 + ((away_x * unit_y - away_y * unit_x) / across) ** 2
    light = torch.exp(-0.5 * apart)
    light = light / light.sum(1, keepdim=True)
    on = (row >= panel[:, Y0, None]) & (row < panel[:, Y1, None]) & (column >= panel[:, X0, None]) & (column < panel[:, X1, None])
    row, column = row - where.row[frame, 0, 0, None], column - where.column[frame, 0, 0, None]
    on = on & (row >= 0) & (row < height) & (column >= 0) & (column < width)
    pixel = (frame[:, None] * height + row.clamp(0, height - 1).long()) * width + column.clamp(0, width - 1).long()
    middle = (grid_y == 0) & (grid_x == 0)
    return Stamps(frame, spot, pixel, light * on, ((apart <= APERTURE**2) | middle) & on)


def add_spots(image: torch.Tensor, marks: Marks, where: Places) -> torch.Tensor:
    """`image` [B H W] with the light of spots added in place."""
    flat = image.view(-1)
    for s in stamps(marks, where):
        flat.index_add_(0, s.pixel.flatten(), (s.share * marks.photons[s.frame, s.spot, None]).flatten())
    return image


@dataclass(frozen=True)
class Seen:
    """What can be seen of spots [B N]: `signal` photons that are left within the aperture, `background` photons and other
    variance there, `pixels` of it; `needed` photons to be seen; `visible`; and those that `may` be, with half of what is
    needed."""

    signal: torch.Tensor
    background: torch.Tensor
    pixels: torch.Tensor
    needed: torch.Tensor
    visible: torch.Tensor
    may: torch.Tensor


def see_spots(
    marks: Marks,
    where: Places,
    passed: torch.Tensor,
    mean: torch.Tensor,
    variance: torch.Tensor,
    limit: torch.Tensor,
    usable: torch.Tensor,
) -> Seen:
    """Which spots [B N] are there to be seen on an image of `mean` photons [B H W], of which they are a part.

    `passed` [B H W] is the share of their light that a pixel gets, `variance` [B H W] of all but photon noise in photons^2,
    `limit` [B 1 1] photons where a pixel saturates, `usable` [B H W] bool. A spot's signal is its own light within 1.6 standard
    deviations on usable pixels, up to saturation; the light of all else there is its background. It is visible where the two
    together reach `least_count` of the background and the signal is 5 % of it: a search of 4 million pixels then finds one such
    excess in a hundred frames without spots.
    """
    shape = marks.photons.shape
    sums = torch.zeros(3, marks.photons.numel())
    flat, other = mean.flatten(), variance.expand(mean.shape).flatten()
    most, can = limit.expand(mean.shape).flatten(), usable.expand(mean.shape).flatten()
    for s in stamps(marks, where):
        own = s.share * marks.photons[s.frame, s.spot, None] * passed.expand(mean.shape).flatten()[s.pixel]
        rest = (flat[s.pixel] - own).clamp(min=0.0)
        signal = ((rest + own).minimum(most[s.pixel]) - rest).clamp(min=0.0)
        counts = s.inside & can[s.pixel]
        values = torch.stack([signal, rest + other[s.pixel], torch.ones_like(rest)])
        sums.index_add_(1, s.frame * shape[1] + s.spot, (values * counts).sum(2))
    signal, background, pixels = sums.reshape(3, *shape)
    needed = (least_count(background) - background).maximum(CONTRAST * background)
    visible, may = ((signal >= share * needed) & (pixels > 0) for share in (1.0, PERHAPS))
    return Seen(signal, background, pixels, needed, visible, may)


def counted_once(visible: torch.Tensor, neighbour: torch.Tensor) -> torch.Tensor:
    """[B] how many spots are visible, where of two that look like one (`neighbour` [B N]: the number of the higher, -1 none) only
    one counts."""
    higher = visible.gather(1, neighbour.clamp(min=0).long()) & (neighbour >= 0)
    return (visible & ~higher).sum(1)


def middles(marks: Marks, which: torch.Tensor, where: Places) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Frame [M], row [M] and column [M] of the window's pixel nearest to the middle of each of the spots that `which` [B N]
    marks, those left out that lie outside the window."""
    frame, spot = which.nonzero().unbind(1)
    panels = where.panels[frame]
    row, column = (v[:, 0] for v in stored(panels, marks.y[frame, spot, None], marks.x[frame, spot, None]))
    inside = [v.maximum(panels[..., a]).minimum(panels[..., b] - 1) for v, a, b in ((row, Y0, Y1), (column, X0, X1))]
    # A spot in a gap is told at the nearest panel.
    away = (row - inside[0]).abs() + (column - inside[1]).abs() + torch.where(panels[..., Y1] > 0, 0.0, torch.inf)
    near = away.argmin(1, keepdim=True)
    row, column = (v.gather(1, near)[:, 0].round().long() for v in inside)
    row, column = row - where.row[frame, 0, 0], column - where.column[frame, 0, 0]
    on = (row >= 0) & (row < where.y.shape[1]) & (column >= 0) & (column < where.y.shape[2])
    return frame[on], row[on], column[on]
