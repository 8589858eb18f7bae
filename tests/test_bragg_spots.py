"""The light of spots is kept and lies where it should; what is called visible is what Poisson's law says, pixel by pixel."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.random import default_rng
from scipy import stats

from beamsight.catalogue import layout
from beamsight.physics.places import Places, places
from beamsight.physics.spots import APERTURE, Marks, add_spots, counted_once, see_spots
from beamsight.physics.visibility import BY_CHANCE, CONTRAST, FEWEST, least_count


def whole(name: str, form: str = "assembled") -> Places:
    built = layout(name, form)
    table = torch.tensor(built.table())[None]
    return places(table, torch.zeros(1, 2), torch.tensor([float(built.shape[1])]), built.shape)


EIGER, CSPAD, RAYONIX = whole("EIGER 1M"), whole("CSPAD", "stack"), whole("Rayonix MX340")


def deep(where: Places) -> torch.Tensor:
    """The pixels 30 px from any gap and from the image's border."""
    gap = torch.nn.functional.pad((where.panel == 0).float(), (30, 30, 30, 30), value=1.0)[:, None]
    near = torch.nn.functional.max_pool2d(torch.nn.functional.max_pool2d(gap, (61, 1), 1), (1, 61), 1)
    return (near[0, 0] == 0).nonzero()


DEEP = {id(where): deep(where) for where in (EIGER, CSPAD, RAYONIX)}


def some_spots(rng: np.random.Generator, where: Places, n: int) -> list[torch.Tensor]:
    """n spots on panels, 30 px from any border."""
    row, column = DEEP[id(where)][torch.from_numpy(rng.integers(len(DEEP[id(where)]), size=n))].unbind(1)
    inside = (where.y[0, row, column], where.x[0, row, column])
    shift = torch.from_numpy(rng.uniform(-0.5, 0.5, (2, n))).float()
    widths = torch.from_numpy(rng.uniform(0.6, 3, (2, n))).float()
    photons = torch.from_numpy(rng.uniform(1, 1e3, n)).float()
    return [v[None] for v in (inside[0] + shift[0], inside[1] + shift[1], photons, *widths)]


@pytest.mark.parametrize("where", [EIGER, RAYONIX], ids=["gaps", "seams"])
def test_photons_are_kept(where: Places) -> None:
    spots = some_spots(default_rng(1), where, 200)
    image = add_spots(torch.zeros_like(where.y), Marks(*spots), where)
    assert float(image.double().sum()) == pytest.approx(float(spots[2].double().sum()), rel=1e-5)
    assert (image >= 0).all()
    assert image[where.panel == 0].sum() == 0


def test_a_spot_across_a_seam_keeps_its_light_and_one_at_a_gap_does_not() -> None:
    y, x, ones = torch.zeros(1, 1) + 0.3, torch.zeros(1, 1) - 0.2, torch.ones(1, 1)
    seam = add_spots(torch.zeros_like(RAYONIX.y), Marks(y, x, 100 * ones, 1.5 * ones, 1.5 * ones), RAYONIX)
    assert float(seam.sum()) == pytest.approx(100, rel=1e-5)
    edge = (EIGER.panel[0, :, 500] == 0).nonzero()[0, 0]
    y = EIGER.y[:, edge - 1, 500][None] + 0.5
    gap = add_spots(
        torch.zeros_like(EIGER.y), Marks(y, EIGER.x[:, edge - 1, 500][None], 100 * ones, 1.5 * ones, 1.5 * ones), EIGER
    )
    assert float(gap.sum()) == pytest.approx(50, rel=0.02)


@pytest.mark.parametrize("where", [EIGER, CSPAD], ids=["assembled", "turned and tilted"])
def test_a_spot_has_its_place_and_widths(where: Places) -> None:
    for n in range(8):
        y, x, photons, along, across = some_spots(default_rng(n), where, 1)
        image = add_spots(torch.zeros_like(where.y), Marks(y, x, photons, along, across), where)
        lit = image > 0
        share, away_y, away_x = image[lit].double() / image[lit].double().sum(), (where.y - y)[lit], (where.x - x)[lit]
        assert float((share * away_y).sum()) == pytest.approx(0, abs=0.02)
        assert float((share * away_x).sum()) == pytest.approx(0, abs=0.02)
        radius = torch.hypot(y, x)[0, 0]
        a = (away_y * y[0, 0] + away_x * x[0, 0]) / radius
        c = (away_x * y[0, 0] - away_y * x[0, 0]) / radius
        # A pixel's own size widens; the stamp's side cuts at three and a half standard deviations of the wider.
        assert float((share * a * a).sum()) == pytest.approx(float(along) ** 2 + 1 / 12, rel=0.02)
        assert float((share * c * c).sum()) == pytest.approx(float(across) ** 2 + 1 / 12, rel=0.02)


def test_the_least_count_is_poissons() -> None:
    means = np.concatenate([[0, 1e-9, 1e-6, 1e-4], np.geomspace(1e-3, 95, 300)])
    least = least_count(torch.tensor(means)).numpy()
    assert (stats.poisson.sf(least - 1, means) <= BY_CHANCE * 1.001).all()
    more = least > FEWEST
    assert (stats.poisson.sf(least[more] - 2, means[more]) > BY_CHANCE * 0.999).all()
    # Above, an expansion: the excess within two per cent.
    means = np.geomspace(120, 1e5, 60)
    np.testing.assert_allclose(
        least_count(torch.tensor(means)).numpy() - means, stats.poisson.isf(BY_CHANCE, means) - means, rtol=0.02
    )


def test_false_spots_are_as_rare_as_stated() -> None:
    # 4 million places at 2.5 sizes, one false spot in a hundred frames.
    assert pytest.approx(1 / 100) == 4e6 * 2.5 * BY_CHANCE


def slowly_seen(spots: list[torch.Tensor], where: Places, mean: np.ndarray, variance: float, usable: np.ndarray) -> np.ndarray:
    """Signal over what is needed [N], spot by spot over every pixel, in float64 and with SciPy's Poisson law."""
    py, px = where.y[0].double().numpy(), where.x[0].double().numpy()
    ratio = []
    for y, x, photons, along, across in zip(*(v[0].double().numpy() for v in spots), strict=True):
        radius = np.hypot(y, x)
        a, c = ((py - y) * y + (px - x) * x) / radius, ((px - x) * y - (py - y) * x) / radius
        var_a, var_c = along**2 + 1 / 12, across**2 + 1 / 12
        apart = a * a / var_a + c * c / var_c
        light = photons * np.exp(-apart / 2) / (2 * np.pi * np.sqrt(var_a * var_c))
        inside = (apart <= APERTURE**2) & usable
        signal, background = light[inside].sum(), (mean - light)[inside].clip(0).sum() + variance * inside.sum()
        least = max(stats.poisson.isf(BY_CHANCE, max(background, 1e-12)) + 1, FEWEST)
        ratio.append(signal / max(least - background, CONTRAST * background))
    return np.array(ratio)


@pytest.mark.parametrize("level", [1e-3, 0.1, 3.0, 100.0])
def test_visible_is_what_an_exact_test_of_every_pixel_finds(level: float) -> None:
    rng = default_rng(int(level * 1000))
    spots = some_spots(rng, EIGER, 40)
    spots[2] = torch.from_numpy(rng.uniform(0.3, 3, 40) * (6 + 6 * np.sqrt(12 * level))).float()[None]
    usable = torch.rand(EIGER.y.shape, generator=torch.Generator().manual_seed(1)) > 0.03
    mean = add_spots(torch.full_like(EIGER.y, level), Marks(*spots), EIGER)
    ones, variance = torch.ones(()), torch.full((1, 1, 1), 0.02)
    seen = see_spots(Marks(*spots), EIGER, ones, mean, variance, torch.full((1, 1, 1), 1e30), usable & (EIGER.panel > 0))
    exact = slowly_seen(spots, EIGER, mean[0].double().numpy(), 0.02, usable[0].numpy())
    mine = (seen.signal / seen.needed)[0].numpy()
    # A pixel on the aperture's rim, and a whole count at few photons, may fall to either side.
    sure = abs(exact - 1) > 0.03
    assert sure.sum() > 25
    np.testing.assert_array_equal((mine >= 1)[sure], (exact >= 1)[sure])
    assert 5 < int(seen.visible.sum()) < 40


def test_masked_and_saturated_spots_are_not_visible() -> None:
    spots = some_spots(default_rng(3), EIGER, 30)
    spots[2] = torch.full((1, 30), 3e3)
    mean = add_spots(torch.full_like(EIGER.y, 1.0), Marks(*spots), EIGER)
    ones, none, high = torch.ones(()), torch.zeros(1, 1, 1), torch.full((1, 1, 1), 1e30)
    assert see_spots(Marks(*spots), EIGER, ones, mean, none, high, EIGER.panel > 0).visible.all()
    assert not see_spots(
        Marks(*spots), EIGER, ones, mean, none, high, torch.zeros_like(EIGER.panel, dtype=torch.bool)
    ).visible.any()
    # A pixel that cannot tell a spot from what surrounds it shows none.
    assert not see_spots(Marks(*spots), EIGER, ones, mean, none, high * 0 + 1.1, EIGER.panel > 0).visible.any()
    clipped = see_spots(Marks(*spots), EIGER, ones, mean, none, high * 0 + 50, EIGER.panel > 0)
    assert clipped.visible.all()
    assert clipped.signal.max() < 3e3 * 0.72


def test_what_looks_like_one_counts_once() -> None:
    visible = torch.tensor([[True, True, True, False, True], [False, True, True, True, True]])
    near = torch.tensor([[-1, 0, -1, 2, 3], [-1, 0, -1, 2, -1]])
    assert counted_once(visible, near).tolist() == [3, 3]
