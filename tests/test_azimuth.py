"""Azimuthal tables: mean one, the symmetry they are named for, and the widths of Poisson's kernels."""

from __future__ import annotations

import numpy as np
import pytest

from beamsight.physics import azimuth


@pytest.mark.parametrize("n", [2, 4, 6])
@pytest.mark.parametrize("eta", [0.02, 0.3, 0.7, 0.9])
def test_fold(n: int, eta: float) -> None:
    table = azimuth.fold(n, eta, 0.4)
    spectrum = np.abs(np.fft.rfft(table)) / azimuth.STEPS
    order = np.arange(len(spectrum))
    # Rounding of sums of 360 numbers in float64.
    assert spectrum[order % n != 0].max() < 1e-13
    # The kernel is 1 + 2 sum eta^k cos(n k chi); what lies beyond half the steps folds back, eta^(180/n) of it.
    fold_back = 2 * eta ** (azimuth.STEPS / 2 / n)
    k = order[order % n == 0] // n
    assert np.abs(spectrum[order % n == 0] - eta**k).max() <= fold_back + 1e-13
    assert abs(table.mean() - 1) <= fold_back + 1e-13
    assert table.min() > 0


@pytest.mark.parametrize("n", [2, 4, 6])
@pytest.mark.parametrize("eta", [0.5, 0.8, 0.9])
def test_width_of_a_lobe(n: int, eta: float) -> None:
    table = azimuth.fold(n, eta, 0.0)
    top = table.max()
    # Half of the maximum (1 + eta)/(1 - eta) is reached where 1 - cos(n chi) = (1 - eta)^2 / (2 eta).
    half_width = np.arccos(1 - (1 - eta) ** 2 / (2 * eta)) / n
    past = int(np.argmax(table < top / 2))
    inside, outside = table[past - 1], table[past]
    measured = (past - 1 + (inside - top / 2) / (inside - outside)) * 2 * np.pi / azimuth.STEPS
    # Straight lines between steps of a degree, near the steepest place: a tenth of a step.
    assert measured == pytest.approx(half_width, abs=0.1 * 2 * np.pi / azimuth.STEPS)


def test_lobes_point_where_asked() -> None:
    for n in (2, 4, 6):
        table = azimuth.fold(n, 0.8, np.radians(17))
        assert np.flatnonzero(np.isclose(table, table.max())).tolist() == [17 + 360 // n * k for k in range(n)]


@pytest.mark.parametrize("make", [azimuth.texture, azimuth.spots])
def test_irregular_tables_have_mean_one(make) -> None:
    for seed in range(200):
        table = make(np.random.default_rng(seed))
        assert table.shape == (azimuth.STEPS,)
        assert table.mean() == pytest.approx(1, abs=1e-12)
        assert table.min() >= 0


def test_textures_modulate_and_are_not_periodic() -> None:
    tables = np.stack([azimuth.texture(np.random.default_rng(seed)) for seed in range(200)])
    # A table is a sum of two-fold kernels, as opposite reflections of a grain are: no odd harmonics beyond rounding ...
    spectrum = np.abs(np.fft.rfft(tables, axis=1)) / azimuth.STEPS
    assert spectrum[:, 1::2].max() < 1e-10
    # ... and few of them are four-fold within a tenth.
    assert (spectrum[:, 2] > 0.1 * spectrum[:, 4]).mean() > 0.9
    assert (tables.std(1) > 0.05).all()
