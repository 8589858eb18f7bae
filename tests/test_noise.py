"""Random numbers hold the moments and the counts of their distributions, wherever and with whatever they are made."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from beamsight.noise import normal_of, poisson_of, uniform

SHAPE = (256, 256)
N = SHAPE[0] * SHAPE[1]
SEEDS = torch.tensor([1, 2, 77, 2**31 - 1])
# Estimates from N values scatter about the truth; five standard errors are passed once in two million trials.
SIGMAS = 5.0


def moments(values: torch.Tensor) -> tuple[float, float, float]:
    v = values.double().numpy().ravel()
    return float(v.mean()), float(v.var()), float(stats.skew(v))


def test_uniform_is_uniform() -> None:
    u = uniform(SEEDS, SHAPE, 1)
    assert u.min() > 0
    assert u.max() < 1
    for frame in u:
        mean, variance, skewness = moments(frame)
        assert abs(mean - 0.5) < SIGMAS * (1 / 12 / N) ** 0.5
        # Var(sample variance) = (mu4 - sigma^4)/N = (1/80 - 1/144)/N; Var(skewness) is below 6/N, that of a normal.
        assert abs(variance - 1 / 12) < SIGMAS * ((1 / 80 - 1 / 144) / N) ** 0.5
        assert abs(skewness) < SIGMAS * (6 / N) ** 0.5
        counts = np.bincount((frame.numpy().ravel() * 1024).astype(int), minlength=1024)
        assert stats.chisquare(counts).pvalue > 1e-5


def test_normal_is_normal() -> None:
    for frame in normal_of(uniform(SEEDS, SHAPE, 2)):
        mean, variance, skewness = moments(frame)
        assert abs(mean) < SIGMAS * (1 / N) ** 0.5
        assert abs(variance - 1) < SIGMAS * (2 / N) ** 0.5
        assert abs(skewness) < SIGMAS * (6 / N) ** 0.5
        assert stats.kstest(frame.numpy().ravel(), "norm").pvalue > 1e-5


def test_normal_is_the_inverse_of_the_distribution() -> None:
    u = torch.linspace(1e-4, 1 - 1e-4, 1001)
    # float32 u near 1 has steps of 6e-8; over the density there (4e-4) that is 1.5e-4.
    assert np.allclose(normal_of(u).numpy(), stats.norm.ppf(u.double().numpy()), atol=4e-4)


def chance(counts: np.ndarray, mean: float) -> float:
    """p of the counts against Poisson's law, in classes of at least 50 expected."""
    low, high = stats.poisson.ppf([60 / len(counts), 1 - 60 / len(counts)], mean).astype(int)
    edges = np.unique(np.linspace(low, high, min(high - low, 60) + 1).astype(int))
    expected = np.diff(np.concatenate([[0.0], stats.poisson.cdf(edges, mean), [1.0]])) * len(counts)
    observed = np.bincount(np.searchsorted(edges, counts), minlength=len(expected))
    kept = expected > 0
    return float(stats.chisquare(observed[kept], expected[kept] * observed[kept].sum() / expected[kept].sum()).pvalue)


@pytest.mark.parametrize("mean", [0.01, 0.5, 3.0, 5.9, 6.1, 12.0, 100.0, 1e4])
def test_counts_are_poisson(mean: float) -> None:
    counts = poisson_of(torch.full(SHAPE, mean), uniform(torch.tensor([5]), SHAPE, 1)[0])
    assert torch.equal(counts, counts.round())
    assert counts.min() >= 0
    m, variance, skewness = moments(counts)
    # Poisson's moments are mean, mean, mean^-1/2; the errors of the estimates follow from its fourth and sixth moments.
    assert abs(m - mean) < SIGMAS * (mean / N) ** 0.5
    assert abs(variance - mean) < SIGMAS * ((mean + 2 * mean**2) / N) ** 0.5
    error = (6 / N) ** 0.5 * (1 + 2 / mean**0.5)
    # Above 6 the expansion leaves out terms of order 1/mean in the third moment.
    assert abs(skewness - mean**-0.5) < SIGMAS * error + (0.1 * mean**-1.5 if mean >= 6 else 0)
    # Close above the change of method a chi-square of 65,536 counts would see the expansion's errors; 10,000 must not.
    exact_below = counts.numpy().ravel().astype(int)
    assert chance(exact_below if mean < 6 or mean >= 100 else exact_below[:10000], mean) > 1e-5


def test_low_counts_are_the_exact_inverse() -> None:
    u = uniform(torch.tensor([9]), (64, 64), 1)[0]
    for mean in (0.01, 0.5, 3.0, 5.9):
        exact = stats.poisson.ppf(u.double().numpy(), mean)
        # A quantile within float32 rounding of a step may fall to either side of it.
        assert (poisson_of(torch.full_like(u, mean), u).numpy() != exact).mean() < 1e-3


def test_high_counts_are_near_the_exact_inverse() -> None:
    u = uniform(torch.tensor([9]), (64, 64), 1)[0]
    for mean in (6.1, 12.0, 100.0, 1e4):
        off = poisson_of(torch.full_like(u, mean), u).numpy() - stats.poisson.ppf(u.double().numpy(), mean)
        # What Cornish and Fisher leave out is of order mean^-1/2: never more than one count.
        assert np.abs(off).max() <= 1


def test_means_of_a_block_may_differ() -> None:
    mean = torch.tensor([0.0, 1.0, 5.99, 6.0, 50.0]).repeat(8000)
    u = uniform(torch.tensor([3]), (1, 40000), 1)[0, 0]
    alone = torch.stack([poisson_of(m[None], q[None])[0] for m, q in zip(mean[:200], u[:200], strict=True)])
    assert torch.equal(poisson_of(mean, u)[:200], alone)


def test_numbers_do_not_depend_on_the_batch() -> None:
    batch = uniform(SEEDS, (32, 48), 3)
    for n, seed in enumerate(SEEDS):
        assert torch.equal(uniform(seed[None], (32, 48), 3)[0], batch[n])
    assert torch.equal(uniform(SEEDS.flip(0), (32, 48), 3), batch.flip(0))


def test_streams_seeds_and_neighbours_are_independent() -> None:
    frames = [uniform(torch.tensor([seed]), SHAPE, stream)[0].numpy() for seed in (4, 5) for stream in range(7)]
    flat = np.stack([f.ravel() for f in frames])
    # Of N independent pairs the correlation is normal with deviation N^-1/2.
    correlation = np.corrcoef(flat) - np.eye(len(flat))
    assert np.abs(correlation).max() < SIGMAS * N**-0.5
    for frame in frames:
        for a, b in ((frame[1:], frame[:-1]), (frame[:, 1:], frame[:, :-1]), (frame[2:, 2:], frame[:-2, :-2])):
            assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < SIGMAS * a.size**-0.5
