"""Scattered intensity against the length of the scattering vector q: functions of tensors, any one unit of length and
1/length."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from functools import lru_cache

import torch

SIZES = 9  # points of a size distribution cut at 2.5 standard deviations: enough to blur fringes smoothly


def power_law(*, q: torch.Tensor, exponent: torch.Tensor) -> torch.Tensor:
    """q^-exponent, pure number for q in units of a reference: Porod's law has exponent 4, a rod 1."""
    return q.clamp(min=1e-6) ** -exponent


def ornstein_zernike(*, q: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
    """1 / (1 + (q xi)^2), Ornstein and Zernike 1914: fluctuations of correlation length xi; 1 at q = 0."""
    return 1 / (1 + (q * length) ** 2)


def debye_bueche(*, q: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
    """1 / (1 + (q a)^2)^2, Debye and Bueche 1949: two random phases of chord length a; 1 at q = 0."""
    return ornstein_zernike(q=q, length=length) ** 2


def guinier(*, q: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
    """exp(-(q Rg)^2 / 3), Guinier 1939: particles of radius of gyration Rg; 1 at q = 0."""
    return torch.exp(-((q * length) ** 2) / 3)


def rise(*, q: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
    """1 - exp(-(s q)^2): diffuse scattering of thermal or substitutional disorder, rising with q from 0 to 1."""
    return -torch.expm1(-((q * length) ** 2))


def peak(*, q: torch.Tensor, centre: torch.Tensor, sd: torch.Tensor) -> torch.Tensor:
    """exp(-(q - q0)^2 / (2 dq^2)); full width at half maximum 2.355 dq; 1 at q0."""
    return torch.exp(-0.5 * ((q - centre) / sd) ** 2)


def ball_amplitude(x: torch.Tensor) -> torch.Tensor:
    """3 (sin x - x cos x) / x^3, the amplitude of a homogeneous sphere at x = q R (Rayleigh 1911); 1 at x = 0."""
    # Below 0.3 the difference cancels in float32; the series is right to 1e-6 there.
    safe = x.clamp(min=0.3)
    return torch.where(x < 0.3, 1 - x * x / 10 + x**4 / 280, 3 * (torch.sin(safe) - safe * torch.cos(safe)) / safe**3)


def spread_radii(radius: torch.Tensor, spread: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Radii [... 9] of a normal distribution of relative width `spread` and their weights, by scattered intensity
    (volume^2), sum 1."""
    place = torch.linspace(-2.5, 2.5, SIZES)
    relative = (1 + spread[..., None] * place).clamp(min=0.05)
    weight = torch.exp(-0.5 * place**2) * relative**6
    return radius[..., None] * relative, weight / weight.sum(-1, keepdim=True)


def sphere(*, q: torch.Tensor, radius: torch.Tensor, spread: torch.Tensor) -> torch.Tensor:
    """[B Q] intensity of spheres of mean `radius` [B] and relative size spread [B], 1 at q = 0; minima at q R = 4.493,
    7.725, ..."""
    radii, weight = spread_radii(radius, spread)
    return torch.einsum("bqs,bs->bq", ball_amplitude(q[..., None] * radii[:, None]) ** 2, weight)


def core_shell(
    *, q: torch.Tensor, radius: torch.Tensor, spread: torch.Tensor, core: torch.Tensor, contrast: torch.Tensor
) -> torch.Tensor:
    """[B Q] intensity of spheres whose core, a share `core` of the radius, has `contrast` times the shell's scattering
    length density."""
    radii, weight = spread_radii(radius, spread)
    x = q[..., None] * radii[:, None]
    inner = (core**3 * (contrast - 1))[:, None, None]
    amplitude = ball_amplitude(x) + inner * ball_amplitude(x * core[:, None, None])
    return torch.einsum("bqs,bs->bq", (amplitude / (1 + inner)) ** 2, weight)


def tabled(*, q: torch.Tensor, radius: torch.Tensor, spread: torch.Tensor, shape: torch.Tensor) -> torch.Tensor:
    """[B Q] orientation-averaged intensity of cylinders (`shape` = length / diameter 1..8) or cubes (`shape` = 0, radius =
    half edge)."""
    radii, weight = spread_radii(radius, spread)
    table = _orientation_averages().to(q.device)
    row = torch.where(shape < 0.5, 0.0, torch.log2(shape.clamp(1.0, 8.0)) * 2 + 1).round().long()
    place = (q[..., None] * radii[:, None] * 20).clamp(max=table.shape[1] - 2)
    low = place.floor().long()
    flat, start = table.reshape(-1), row[:, None, None] * table.shape[1] + low
    value = torch.lerp(flat[start], flat[start + 1], place - low)
    return torch.einsum("bqs,bs->bq", value, weight)


@lru_cache
def _orientation_averages() -> torch.Tensor:
    """[8 2000] at x = q R in steps of 0.05: cube, then cylinders of length / diameter 2^(0, 0.5, ... 3)."""
    with torch.device("cpu"):
        x = torch.arange(2000, dtype=torch.float64) / 20
        rows = [cube(x)] + [cylinder(x, 2.0 ** (k / 2)) for k in range(7)]
        return torch.stack(rows).float()


def cube(x: torch.Tensor) -> torch.Tensor:
    """Orientation average of a cube's intensity at x = q a, half edge a: product of three sinc^2, over the sphere of
    directions."""
    nodes, weights = _half_interval(64)
    angle = nodes * torch.pi / 2
    inner = torch.zeros_like(x)
    for u, w in zip(nodes, weights, strict=True):
        across = torch.sqrt(1 - u * u)
        sides = torch.sinc(x[:, None] * across * torch.cos(angle) / torch.pi) * torch.sinc(
            x[:, None] * across * torch.sin(angle) / torch.pi
        )
        inner += w * torch.sinc(x * u / torch.pi) ** 2 * (sides**2 @ weights)
    return inner


def cylinder(x: torch.Tensor, aspect: float) -> torch.Tensor:
    """Orientation average of a cylinder's intensity at x = q R, length / diameter `aspect`: (2 J1(x s)/(x s) sinc(x c
    aspect))^2."""
    nodes, weights = _half_interval(256)
    across = (x[:, None] * torch.sqrt(1 - nodes**2)).clamp(min=1e-9)
    disc: torch.Tensor = 2 * torch.special.bessel_j1(across) / across
    return (disc * torch.sinc(x[:, None] * nodes * aspect / torch.pi)) ** 2 @ weights


def _half_interval(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Midpoint rule on (0, 1): n nodes and weights."""
    return (torch.arange(n, dtype=torch.float64) + 0.5) / n, torch.full((n,), 1 / n, dtype=torch.float64)


def hard_spheres(*, q: torch.Tensor, radius: torch.Tensor, fraction: torch.Tensor) -> torch.Tensor:
    """[B Q] structure factor of hard spheres of `radius` [B] at volume `fraction` [B], Percus and Yevick's closure in
    Wertheim's form.

    S = 1 / (1 + 24 phi G(2 q R) / (2 q R)); G as in Kinning and Thomas, Macromolecules 17 (1984) 1712.
    """
    phi = fraction[:, None]
    # Below 0.3 the differences cancel in float32; S has risen by less than a hundredth there.
    a = (2 * q * radius[:, None]).clamp(min=0.3)
    alpha = (1 + 2 * phi) ** 2 / (1 - phi) ** 4
    beta = -6 * phi * (1 + phi / 2) ** 2 / (1 - phi) ** 4
    gamma = phi * alpha / 2
    sin, cos = torch.sin(a), torch.cos(a)
    first = alpha * (sin - a * cos) / a**2
    second = beta * (2 * a * sin + (2 - a * a) * cos - 2) / a**3
    third = gamma * (-(a**4) * cos + 4 * ((3 * a * a - 6) * cos + (a**3 - 6 * a) * sin + 6)) / a**5
    return 1 / (1 + 24 * phi * (first + second + third) / a)
