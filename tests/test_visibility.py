"""Detectability: the fit is the weighted least squares of NumPy, and d' behaves as an ideal observer's does."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from beamsight.physics.visibility import both, detect, either, grade, grade_turned, hats, margin, powers, residual

NAN = float("nan")
R = 200


def problem(seed: int, columns: int = 4) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    arrays = rng.normal(size=(2, 3, R)), rng.normal(size=(2, columns, R)), rng.uniform(0, 2, (2, R))
    return tuple(torch.tensor(a, dtype=torch.float32) for a in arrays)


@pytest.mark.parametrize("seed", range(5))
def test_residual_is_the_weighted_least_squares(seed: int) -> None:
    parts, basis, weight = problem(seed)
    left = residual(parts, basis, weight).double().numpy()
    for n in range(2):
        root = np.sqrt(weight[n].double().numpy())[:, None]
        x, c = basis[n].double().numpy().T, parts[n].double().numpy().T
        expected = c - x @ np.linalg.lstsq(x * root, c * root, rcond=None)[0]
        # float32 of the answer, and the ridge of 1e-9.
        assert np.abs(left[n].T - expected).max() < 1e-6


def test_residual_with_columns_that_no_pixel_sees() -> None:
    parts, basis, weight = problem(0)
    more = torch.cat([basis, torch.zeros(2, 2, R)], 1)
    assert torch.allclose(residual(parts, more, weight), residual(parts, basis, weight), atol=1e-5)
    assert torch.isfinite(residual(parts, more, weight * 0)).all()


def test_nothing_is_left_of_what_the_basis_holds() -> None:
    _, basis, weight = problem(1)
    # A ridge of 1e-9 keeps that share of each column, over the smallest eigenvalue of the correlations, here above 0.1.
    assert residual(basis, basis, weight).abs().max() < 1e-6


def radial(exposure: float = 1.0, mask: torch.Tensor | None = None) -> torch.Tensor:
    """d' of a ring on a decay against decays and humps."""
    q = torch.linspace(0.02, 1, R)[None]
    pixels = 2 * torch.pi * 128 * q
    ring, decay = 5 * torch.exp(-0.5 * ((q - 0.4) / 0.03) ** 2), 1 + 0.02 * q**-2
    usable = torch.ones_like(q) if mask is None else mask
    mean = exposure * (ring + decay)
    weight = pixels * usable / mean
    left = residual(exposure * ring[:, None], torch.cat([powers(q, (0, 1, 2, 3, 4)), hats(q)], 1), weight)
    return detect(left, weight, mean)[0][0, 0]


def test_d_grows_as_the_root_of_the_exposure() -> None:
    one = radial()
    assert one > 1
    for exposure in (0.01, 4.0, 100.0):
        assert radial(exposure).item() == pytest.approx(one.item() * exposure**0.5, rel=1e-4)


def test_a_mask_never_helps() -> None:
    rng = np.random.default_rng(3)
    mask, before = torch.ones(1, R), radial().item()
    for place in rng.permutation(R)[:150]:
        mask[0, place] = 0
        after = radial(mask=mask).item()
        # Less than rounding, and than what the ridge holds back.
        assert after <= before * (1 + 1e-4) + 1e-5
        before = after


def test_binning_does_not_matter_where_features_are_resolved() -> None:
    y, x = np.indices((128, 128)) - 63.5
    r = np.hypot(y, x)
    ring, decay = 8 * np.exp(-0.5 * ((r - 30) / 4) ** 2), 2 + 60 / (1 + (r / 10) ** 2)

    def binned(image: np.ndarray, side: int) -> np.ndarray:
        return image.reshape(128 // side, side, 128 // side, side).sum((1, 3)).ravel()

    found = []
    for side in (1, 2):
        c, mean = (torch.tensor(binned(i, side), dtype=torch.float32)[None] for i in (ring, ring + decay))
        basis = torch.tensor(np.stack([binned(r**-p, side) for p in (0, 1, 2, 3)]), dtype=torch.float32)[None]
        # Next to the beam no power is resolved: a stop of ten pixels.
        weight = torch.tensor(binned(r, side) / side**2 > 10) / mean
        left = residual(c[:, None], basis, weight)
        found.append(torch.stack(detect(left, weight, mean))[:, 0, 0].tolist())
    # A ring of four pixels' deviation loses (2/4)^2/12 of its contrast at most in a bin of two.
    assert found[0] == pytest.approx(found[1], rel=0.02)


def test_detect_is_its_formula() -> None:
    left, weight, mean = (torch.rand(2, 3, R), torch.rand(2, R), torch.rand(2, R) + 0.1)
    seen, contrast = detect(left, weight, mean)
    power = left.double() ** 2 * weight.double()[:, None]
    # float32 sums of 200 numbers.
    assert torch.allclose(seen.double(), power.sum(2).sqrt(), rtol=1e-5)
    assert torch.allclose(contrast.double(), (power * left.abs() / mean[:, None]).sum(2) / power.sum(2), rtol=1e-5)


@pytest.mark.parametrize(
    ("d", "contrast", "expected"),
    [(10, 0.05, 1), (9.9, 1, NAN), (1e6, 0.049, NAN), (2.9, 1, 0), (3, 0.01, NAN), (1e6, 0.009, 0), (0, 0, 0)],
)
def test_grade(d: float, contrast: float, expected: float) -> None:
    assert grade(torch.tensor(float(d)), torch.tensor(float(contrast))).item() == pytest.approx(expected, nan_ok=True)


VALUES = (0.0, 1.0, NAN)


@pytest.mark.parametrize("grades", list(product(VALUES, repeat=3)))
def test_either_and_both(grades: tuple[float, float, float]) -> None:
    tensors = [torch.tensor([g]) for g in grades]
    present = 1.0 if 1.0 in grades else 0.0 if grades == (0.0, 0.0, 0.0) else NAN
    all_ = 0.0 if 0.0 in grades else 1.0 if grades == (1.0, 1.0, 1.0) else NAN
    assert either(*tensors).item() == pytest.approx(present, nan_ok=True)
    assert both(*tensors).item() == pytest.approx(all_, nan_ok=True)


def test_margin() -> None:
    found = margin(torch.tensor([0.0, 0.99, 1.0, 1.5, 2.0, 9.0]), 1.0, 2.0)
    assert torch.equal(found.nan_to_num(-1.0), torch.tensor([0.0, 0.0, -1.0, -1.0, 1.0, 1.0]))


def test_hats_are_wider_than_rings_and_cover_all() -> None:
    q = torch.logspace(-2, 0, 500)[None]
    columns = hats(q)
    assert torch.allclose(columns.sum(1), torch.ones_like(q), atol=1e-5)
    for k in range(1, 4):
        above = q[0][columns[0, k] > 0.5]
        assert (above.max() / above.min()).item() == pytest.approx(2.5, rel=0.03)


@pytest.mark.parametrize(
    ("d", "contrast", "own", "expected"),
    [(50, 0.1, 0.3, 1), (50, 0.1, 0.2, NAN), (50, 0.1, 0.1, 0), (50, 0.005, 0.9, 0), (2, 0.5, 0.9, 0), (50, 0.03, 0.9, NAN)],
)
def test_what_is_turned_is_more_than_instruments_do(d: float, contrast: float, own: float, expected: float) -> None:
    np.testing.assert_equal(float(grade_turned(*(torch.tensor(float(v)) for v in (d, contrast, own)))), float(expected))
