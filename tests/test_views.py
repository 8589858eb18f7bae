"""The polar view says of rings and sectors what a slow sum over pixels says, and knows neither unit nor what is masked."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from beamsight.views import ORDERS, RADII, SECTORS, Heights, Polar, struck

SIZE = 96
Y, X = np.indices((SIZE, SIZE), dtype=np.float64)
OWN = 8 + 3  # rows of the profile before the harmonics


def told(
    image: np.ndarray, mask: np.ndarray | None = None, centre: tuple[float, float] = (40.3, 51.8)
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cells [4 R A] and profile [P R] of one image."""
    seen = np.ones_like(image) if mask is None else mask
    arrays = (torch.tensor(a, dtype=torch.float32)[None] for a in (image, seen, centre))
    cells, profile = Polar()(*arrays)
    return cells[0], profile[0]


def around(centre: tuple[float, float] = (40.3, 51.8)) -> tuple[np.ndarray, np.ndarray]:
    return np.hypot(Y - centre[0], X - centre[1]), np.arctan2(Y - centre[0], X - centre[1])


def noisy(mean: np.ndarray, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).poisson(mean).astype(float)


def test_cells_hold_the_pixels_that_a_slow_sum_finds() -> None:
    image = noisy(np.full((SIZE, SIZE), 5.0))
    radius, chi = around()
    ring = np.minimum((radius - radius.min()) * RADII / (radius.max() - radius.min()), RADII - 1).astype(int)
    sector = np.round(chi * SECTORS / (2 * np.pi)).astype(int) % SECTORS
    there = np.zeros((RADII, SECTORS), bool)
    there[ring, sector] = True
    cells, profile = told(image)
    # A pixel on a border of two cells may fall to either by rounding in single precision.
    assert (cells[2].numpy().astype(bool) != there).mean() < 1e-3
    level = np.array([image[ring == r].mean() if (ring == r).any() else np.nan for r in range(RADII)])
    seen = ~np.isnan(level)
    log = np.log(level[seen] / image.mean() + 0.01)
    got = profile[0].numpy()[seen]
    assert np.corrcoef(got, log)[0, 1] > 0.999


@pytest.mark.parametrize("unit", [1e-4, 7.0])
def test_the_unit_of_counts_does_not_matter(unit: float) -> None:
    radius, _ = around()
    image = noisy(2 + 20 * np.exp(-0.5 * ((radius - 25) / 3) ** 2))
    for a, b in zip(told(image), told(unit * image), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-2)


def test_untrusted_pixels_say_nothing() -> None:
    radius, _ = around()
    image, mask = noisy(2 + 20 * np.exp(-0.5 * ((radius - 25) / 3) ** 2)), np.ones((SIZE, SIZE))
    mask[30:36], mask[:, 70:72] = 0, 0
    for a, b in zip(told(image, mask), told(np.where(mask > 0, image, 1e6), mask), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("fold", [2, 4, 6])
@pytest.mark.parametrize("gap", [False, True])
def test_a_modulation_shows_in_its_own_harmonic(fold: int, gap: bool) -> None:
    radius, chi = around()
    image = noisy(20 + 40 * np.exp(-0.5 * ((radius - 25) / 3) ** 2) * (1 + 0.6 * np.cos(fold * (chi - 0.4))))
    mask = np.ones((SIZE, SIZE))
    if gap:
        mask[28:32], mask[44:60, 47:56] = 0, 0
    _, profile = told(image, mask)
    powers = profile[OWN + len(ORDERS) : OWN + 2 * len(ORDERS)].amax(1)
    assert ORDERS[int(powers.argmax())] == fold
    others = [float(p) for order, p in zip(ORDERS, powers, strict=True) if order != fold]
    # Powers enter as half the logarithm: 1 is a factor of seven.
    assert float(powers[ORDERS.index(fold)]) > max(others) + (0.3 if gap else 1.0)


def test_noise_alone_is_worth_one() -> None:
    """Differences over their errors have spread one on a flat field, at few photons and at many, whatever the gain."""
    for mean, gain in ((0.5, 1.0), (50.0, 1.0), (50.0, 12.0)):
        cells, profile = told(gain * noisy(np.full((SIZE, SIZE), mean)))
        sure = torch.sinh(2 * cells[1][:, cells[2].sum(0) > 0])
        spread = float(sure[cells[2] > 0].std()) if sure.shape == cells[2].shape else float(sure.std())
        assert 0.6 < spread < 1.4
        steps = torch.sinh(2 * profile[8:OWN, 30:200])
        assert 0.4 < float(steps.std()) < 1.6


def test_a_frame_without_light_or_trust_gives_finite_numbers() -> None:
    nothing = np.zeros((SIZE, SIZE))
    for image, mask, centre in (
        (nothing, None, (40.0, 50.0)),
        (nothing + 3, nothing, (40.0, 50.0)),
        (nothing + 3, None, (-300.0, 5000.0)),
    ):
        for part in told(image, mask, centre):
            assert part.isfinite().all()


def test_heights_count_the_pixels_at_the_limit_of_a_detector() -> None:
    image = noisy(np.full((SIZE, SIZE), 50.0))
    image[10:14, 20:30] = 400
    image[60, 60] = 1000
    mask = np.ones_like(image)
    mask[60, 60] = 0
    counts, seen = (torch.tensor(a, dtype=torch.float32)[None] for a in (image, mask))
    found = Heights()(counts, seen)[0].numpy()
    numbers = [(image[mask > 0] >= share * 400).sum() for share in (1, 0.95, 0.8, 0.5)]
    assert numbers[0] == 40
    np.testing.assert_allclose(found, [*(np.log1p(numbers) / 4), np.log1p(400) / 8], rtol=1e-6)
    assert not Heights()(counts, torch.zeros_like(seen)).any()


def test_struck_pixels_are_found_and_light_is_not_taken_for_them() -> None:
    torch.manual_seed(3)
    light = torch.poisson(torch.full((1, 64, 64), 3.0) + 200 * (torch.rand(1, 64, 64) < 0.01))
    hit = torch.rand(1, 64, 64) < 0.01
    frame = torch.where(hit, 65536.0, light)
    trusted = torch.ones(1, 64, 64)
    assert torch.equal(struck(frame, trusted) > 0, hit)
    # Known to the mask they are the mask's; in another unit they are the same.
    assert not struck(frame, 1 - hit.float()).any()
    assert torch.equal(struck(frame * 1e-7, trusted) > 0, hit)


@pytest.mark.parametrize("kind", ["photons", "rare photons", "saturated", "few spots", "level", "dark"])
def test_nothing_is_struck_on_frames_of_light_alone(kind: str) -> None:
    torch.manual_seed(4)
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    radius = ((y - 30) ** 2 + (x - 33) ** 2).sqrt()
    frames = {
        "photons": torch.poisson(1e4 * torch.exp(-radius / 3) + 1),
        "rare photons": torch.poisson(torch.full((64, 64), 0.01)),
        "saturated": torch.poisson(1e5 * torch.exp(-radius / 4) + 2).clamp(max=4000),
        "few spots": torch.poisson(torch.full((64, 64), 2.0)) + 9000 * ((y % 30 == 5) & (x % 30 == 7)),
        "level": torch.full((64, 64), 7.0),
        "dark": torch.zeros(64, 64),
    }
    assert not struck(frames[kind][None], torch.ones(1, 64, 64)).any()
