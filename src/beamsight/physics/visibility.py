"""Is a part of an image there to be seen? Detectability against noise and against what it could be mistaken for.

With c the expected photons of the part, mu those of all parts, b the nearest thing that is not the part and s^2 the variance of
all but photon noise: d'^2 = min over b of sum (c - b)^2 / (mu + s^2), the ideal observer's signal to noise; contrast = mean of
|c - b| / mu weighted by (c - b)^2 / (mu + s^2). Rose (1948) found 5 to be enough at a known place; many places and widths and
the eye's efficiency double it.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from functools import lru_cache

import torch

Grades = dict[str, torch.Tensor]  # of [B]: 1 present, 0 absent, NaN doubtful

SEEN, UNSEEN = 10.0, 3.0  # d' from which a careful person says yes, and below which no
CONTRAST, NO_CONTRAST = 0.05, 0.01  # a log display shows nothing below about five per cent
# Of a part's own light, weighted as contrast is: polarisation, absorption and uneven detectors turn a tenth of an isotropic
# ring's light around, and a wave of 15 % (brightest to darkest 1.4) is a twentieth of the colours of a log display of three
# decades. Poisson's kernel of eta 0.2, the weakest orientation that generators name, has 36 % so, and 26 % as a plain mean.
TURNED, NOT_TURNED = 0.25, 0.15
# One test by chance in 1e9: some 4 million places of a frame, at 2.5 sizes, then give one false spot in a hundred frames. It is
# six standard deviations of a normal deviate.
BY_CHANCE, SIGMAS = 1e-9, 5.998
FEWEST = 3  # two counts that fall together come from anything


def grade(detectability: torch.Tensor, contrast: torch.Tensor, seen: float = SEEN) -> torch.Tensor:
    """1 present, 0 absent, NaN doubtful; the present need both measures, the absent lack either."""
    present = (detectability >= seen) & (contrast >= CONTRAST)
    absent = (detectability < UNSEEN) | (contrast < NO_CONTRAST)
    return torch.where(present, 1.0, torch.where(absent, 0.0, torch.nan))


def grade_turned(detectability: torch.Tensor, contrast: torch.Tensor, own_contrast: torch.Tensor) -> torch.Tensor:
    """Grade of azimuthal modulation: as `grade`, and strong enough in the part's own light not to be the instrument's."""
    return both(grade(detectability, contrast), margin(own_contrast, NOT_TURNED, TURNED))


def either(*grades: torch.Tensor) -> torch.Tensor:
    """Present where one is, absent where all are."""
    stacked = torch.stack(torch.broadcast_tensors(*grades))
    present, absent = (stacked == 1).any(0), (stacked == 0).all(0)
    return torch.where(present, 1.0, torch.where(absent, 0.0, torch.nan))


def both(*grades: torch.Tensor) -> torch.Tensor:
    """Present where all are, absent where one is."""
    return 1 - either(*(1 - g for g in grades))


def margin(value: torch.Tensor, absent_below: float, present_from: float) -> torch.Tensor:
    """Grade a number: absent below one limit, present from another, doubtful between."""
    return torch.where(value >= present_from, 1.0, torch.where(value < absent_below, 0.0, torch.nan))


def counted(sure: torch.Tensor, perhaps: torch.Tensor, least: int) -> torch.Tensor:
    """Grade a count: present where `least` are sure, absent where not even those that are perhaps there reach it."""
    return torch.where(sure >= least, 1.0, torch.where(perhaps < least, 0.0, torch.nan))


def powers(q: torch.Tensor, exponents: tuple[int, ...]) -> torch.Tensor:
    """[B M R] q^-p for each exponent, scaled to 1 at the lowest q of each frame."""
    relative = (q / q[:, :1].clamp(min=1e-30)).clamp(min=1.0)
    return torch.stack([relative ** -float(p) for p in exponents], 1)


def hats(q: torch.Tensor, factor: float = 2.5, count: int = 8) -> torch.Tensor:
    """[B M R] triangles in log q whose width is `factor`: wider than any ring, narrower than a decay. From the highest q down."""
    place = torch.log(q[:, -1:] / q.clamp(min=1e-30)) / torch.log(torch.tensor(factor))
    return torch.stack([(1 - (place - k).abs()).clamp(min=0.0) for k in range(count)], 1)


def ring_basis(q: torch.Tensor) -> torch.Tensor:
    """[B M R] what a ring, a fringe or an order could be mistaken for."""
    return torch.cat([powers(q, (0, 1, 2, 3, 4)), hats(q)], 1)


def residual(parts: torch.Tensor, basis: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """What weighted least squares over a basis [B M R] leaves of parts [B K R], with weights [B R]; float64 inside."""
    x, c, w = basis.double(), parts.double(), weight.double()[:, None]
    scale = ((x * x * w).sum(2, keepdim=True)).sqrt().clamp(min=1e-12)
    x = x / scale
    gram = (x * w) @ x.transpose(1, 2)
    # Columns that no trusted pixel sees would make the matrix singular; a ridge of 1e-9 of their unit length decides for zero.
    gram = gram + 1e-9 * torch.eye(gram.shape[1], dtype=torch.float64)
    fit: torch.Tensor = torch.linalg.solve(gram, (x * w) @ c.transpose(1, 2))
    return (c - fit.transpose(1, 2) @ x).float()


def detect(left: torch.Tensor, weight: torch.Tensor, mean: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """d' [B K] and contrast [B K] of what is left [B K R] under weights [B R] = sum of 1 / (mu + s^2) and the mean photons
    mu [B R]."""
    power = left * left * weight[:, None]
    total = power.sum(2)
    contrast = (power * left.abs() / mean.clamp(min=1e-6)[:, None]).sum(2) / total.clamp(min=1e-12)
    return total.sqrt(), contrast


def least_count(mean: torch.Tensor) -> torch.Tensor:
    """The least count [...] that noise of `mean` [...] counts reaches less than once in 1e9 tests, 3 or more.

    Poisson's tail P(N >= n | mean) = P(n, mean), the regularised incomplete gamma function, exactly up to 200 counts; above it
    Cornish and Fisher's mean + z sqrt(mean) + (z^2 - 1)/6. Variance of other origin may be added to the mean: a Gaussian of that
    variance has the lighter tail.
    """
    steps = _poisson_steps().to(mean.device)
    exact = FEWEST + torch.bucketize(mean.contiguous(), steps).to(mean.dtype)
    above = mean + SIGMAS * mean.clamp(min=0.0).sqrt() + (SIGMAS**2 - 1) / 6
    return torch.where(mean < steps[-1], exact, above)


@lru_cache
def _poisson_steps() -> torch.Tensor:
    """The largest mean at which n = 3, 4, ... 200 counts are reached less than once in 1e9, by bisection."""
    with torch.device("cpu"):
        n = torch.arange(FEWEST, 201, dtype=torch.float64)
        low, high = torch.zeros_like(n), n.clone()
        for _ in range(60):
            middle = (low + high) / 2
            rare = torch.special.gammainc(n, middle) < BY_CHANCE
            low, high = torch.where(rare, middle, low), torch.where(rare, high, middle)
        return low.float()
