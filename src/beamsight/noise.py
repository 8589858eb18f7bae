"""Random numbers that are a function of their place: (seed of the example, stream, pixel).

A pixel's noise is a hash of its number, so an example is the same on a laptop and a GPU, alone or in any batch, and needs
no generator whose state would have to be carried. The hash is the 32-bit finaliser of MurmurHash3 (A. Appleby, public domain).
"""

# SPDX-License-Identifier: BSD-3-Clause

import torch

SQRT2 = 2**0.5


def _scramble(h: torch.Tensor) -> torch.Tensor:
    # int32 products wrap; the masks turn torch's arithmetic shift into the logical one of the definition.
    h = h.bitwise_xor((h >> 16).bitwise_and_(0xFFFF)).mul_(-2048144789)
    h.bitwise_xor_((h >> 13).bitwise_and_(0x7FFFF)).mul_(-1028477387)
    return h.bitwise_xor_((h >> 16).bitwise_and_(0xFFFF))


def uniform(seeds: torch.Tensor, shape: tuple[int, int], stream: int) -> torch.Tensor:
    """[B H W] float32, uniform in (0, 1), from `seeds` [B] int and a `stream` number; 2^23 values."""
    return uniform_at(seeds, torch.arange(shape[0] * shape[1], dtype=torch.int32).reshape(1, *shape), stream)


def uniform_at(seeds: torch.Tensor, place: torch.Tensor, stream: int) -> torch.Tensor:
    """[B ...] float32, uniform in (0, 1), of the places numbered `place` [B ...] int32: the same number, the same value."""
    start = _scramble(_scramble(seeds.to(torch.int32)) + stream * 668265263)
    bits = _scramble(place * 374761393 + start.reshape(-1, *[1] * (place.ndim - 1)))
    return bits.bitwise_right_shift_(9).bitwise_and_(0x7FFFFF).float().add_(0.5).mul_(2.0**-23)


def normal_of(u: torch.Tensor) -> torch.Tensor:
    """The standard normal deviate whose distribution function is u in (0, 1)."""
    return torch.erfinv(2 * u - 1).mul_(SQRT2)


def poisson_of(mean: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """The Poisson count [...] of `mean` [...] at quantile `u` [...]: the exact inverse below 6, above it the Cornish-Fisher
    expansion mean + sqrt(mean) z + (z^2 - 1)/6, rounded: mean, variance and skewness right to 1/mean."""
    # Blocks that stay in a processor's cache; a GPU takes the whole.
    size = 16384 if mean.device.type == "cpu" else max(mean.numel(), 1)
    blocks = zip(mean.flatten().split(size), u.flatten().split(size), strict=True)
    return torch.cat([_poisson_block(m, q) for m, q in blocks]).reshape(mean.shape)


def _poisson_block(mean: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    low = mean < 6
    if low.all():
        return _inverted(mean, u)
    z = normal_of(u)
    count = torch.addcmul(mean - 1 / 6, z, mean.sqrt()).add_(z.square_(), alpha=1 / 6).round_().clamp_(min=0)
    return torch.where(low, _inverted(mean.clamp(max=6.0), u), count) if low.any() else count


def _inverted(mean: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    # count = how many partial sums of mean^k / k! lie below u e^mean; terms are added until none does.
    level, power, factorial = u * torch.exp(mean), mean.clone(), 1.0
    total, count, above = torch.ones_like(mean), torch.zeros_like(mean), torch.empty_like(mean)
    for k in range(1, 40):
        torch.gt(level, total, out=above)
        if k % 4 == 2 and not above.any():
            break
        count += above
        factorial *= k
        total.add_(power, alpha=1 / factorial)
        power *= mean
    return count
