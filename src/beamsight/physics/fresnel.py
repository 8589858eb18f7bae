"""X-rays at a flat substrate, bare or under a film: the waves that particles there meet. Complex tensors, any unit of length.

The substrate's surface is z = 0, the beam falls from above. Refractive indices are n = 1 - delta + i beta.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from typing import NamedTuple

import torch

DEEP = 20.0  # of exponents: waves that a film swallows sooner are taken to reach its bottom by so much, which no pixel counts


class Waves(NamedTuple):
    """Waves of unit incidence at the particles: `down` exp(-i kz z) + `up` exp(+i kz z), Im kz >= 0, z from the substrate."""

    kz: torch.Tensor
    down: torch.Tensor
    up: torch.Tensor


def normal_wavevector(k: torch.Tensor, sine: torch.Tensor, delta: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
    """kz = k sqrt(sin^2(angle) - 2 delta + 2 i beta), complex, in the unit of `k`: Snell's law for small delta and beta."""
    return k * torch.sqrt(torch.complex(sine * sine - 2 * delta, 2 * beta + 0 * sine))


def film_wavevector(
    k: torch.Tensor, sine: torch.Tensor, delta: torch.Tensor, beta: torch.Tensor, thick: torch.Tensor
) -> torch.Tensor:
    """`normal_wavevector` in a film, with no more absorption than float32 can undo over its thickness: below the critical angle
    of a thick film exp(+-i kz z) would be no number."""
    kz = normal_wavevector(k, sine, delta, beta)
    return torch.complex(kz.real, kz.imag.minimum(DEEP / thick.clamp(min=1e-30)))


def waves(k: torch.Tensor, sine: torch.Tensor, film: tuple[torch.Tensor, ...], substrate: tuple[torch.Tensor, ...]) -> Waves:
    """The waves where the particles are, for light of sin(angle) `sine` > 0 to the surface.

    `film` (delta, beta, thickness), thickness 0 and delta 0 for particles in air; `substrate` (delta, beta). Parratt, Phys. Rev.
    95, 359 (1954), for one film: down = t01 e / (1 + r01 r12 e^2), e = exp(i kz d); up = r12 down; the phase is that of a wave
    which is 1 at the film's surface.
    """
    delta, beta, thick = film
    air = torch.complex(k * sine, torch.zeros_like(k * sine))
    inside = film_wavevector(k, sine, delta, beta, thick)
    below = normal_wavevector(k, sine, *substrate)
    top, bottom = (air - inside) / (air + inside), (inside - below) / (inside + below)
    crossed = torch.exp(1j * inside * thick)
    down = (1 + top) * crossed / (1 + top * bottom * crossed**2)
    return Waves(inside, down, bottom * down)


def reflectivity(
    k: torch.Tensor, sine: torch.Tensor, film: tuple[torch.Tensor, ...], substrate: tuple[torch.Tensor, ...]
) -> torch.Tensor:
    """Share of the light that film and substrate reflect, by the same formula."""
    delta, beta, thick = film
    air = torch.complex(k * sine, torch.zeros_like(k * sine))
    inside, below = normal_wavevector(k, sine, delta, beta), normal_wavevector(k, sine, *substrate)
    top, bottom = (air - inside) / (air + inside), (inside - below) / (inside + below)
    twice = torch.exp(2j * inside * thick)
    return ((top + bottom * twice) / (1 + top * bottom * twice)).abs() ** 2


def terms(into: Waves, out: Waves) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights and qz [..., 4] of the four ways by which light reaches, and leaves, a particle: the distorted-wave Born
    approximation (Sinha et al., Phys. Rev. B 38, 2297 (1988)). The amplitude is sum of weight x F(q_par, qz),
    F(q) = integral of exp(-i q r)."""
    weight = torch.stack([into.down * out.down, into.up * out.down, into.down * out.up, into.up * out.up], -1)
    a, b = torch.broadcast_tensors(into.kz, out.kz)
    return weight, torch.stack([b + a, b - a, a - b, -a - b], -1)
