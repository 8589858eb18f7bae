"""Scattered intensities and lattices against their definitions, by quadratures and sums of another kind, and a peer program."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from math import comb

import numpy as np
import pytest
import torch
from scipy import integrate, optimize, special

from beamsight.physics import lattices, profiles

R = 5.0
Q = torch.linspace(0.001, 4.0, 800)[None]  # q R from 0.005 to 20
X = (Q[0] * R).double().numpy()
SHARP = torch.tensor([1e-6])  # no spread of sizes
# float32: 6e-8 a number, times up to a hundred where sin x - x cos x cancels, squared; of intensities at most 1.
ROUNDING = 1e-5


def column(value: float) -> torch.Tensor:
    return torch.tensor([value])


def sphere_form(x: np.ndarray) -> np.ndarray:
    """The amplitude by its definition, 3 / x^3 times the integral of r sin r to x."""
    return np.array([3 / v**3 * integrate.quad(lambda r: r * np.sin(r), 0, v, limit=200)[0] for v in x])


def test_sphere_is_its_integral() -> None:
    ours = profiles.sphere(q=Q, radius=column(R), spread=SHARP)[0].numpy()
    assert np.abs(ours - sphere_form(X) ** 2).max() < ROUNDING


def test_minima_of_a_sphere() -> None:
    q = torch.linspace(0.5, 3.0, 20001)[None]
    curve = profiles.sphere(q=q, radius=column(R), spread=SHARP)[0].numpy()
    minima = q[0].numpy()[1:-1][(curve[1:-1] < curve[:-2]) & (curve[1:-1] < curve[2:]) & (curve[1:-1] < 1e-5)] * R
    exact = [optimize.brentq(lambda x: np.tan(x) - x, k * np.pi + 0.1, (k + 0.5) * np.pi - 1e-6) for k in (1, 2, 3, 4)]
    assert exact[:2] == pytest.approx([4.493, 7.725], abs=1e-3)
    # At a zero float32 rounding makes several minima side by side; each lies within a hundredth.
    for x in exact:
        assert np.abs(minima - x).min() < 0.01
    assert all(np.abs(np.array(exact) - m).min() < 0.01 for m in minima)


def test_core_shell_is_its_integral() -> None:
    core, contrast = 0.6, -0.7
    x = X[::20]

    def amplitude(v: float) -> float:
        def density(r: float) -> float:
            return (contrast if r < core else 1.0) * 3 * r * np.sin(v * r) / v

        return integrate.quad(density, 0, core, limit=200)[0] + integrate.quad(density, core, 1, limit=200)[0]

    expected = np.array([(amplitude(v) / (1 + core**3 * (contrast - 1))) ** 2 for v in x])
    ours = profiles.core_shell(q=Q, radius=column(R), spread=SHARP, core=column(core), contrast=column(contrast))[0, ::20]
    # The intensity at q = 0 is what all is divided by; with a core of opposite sign that is 0.4 of a full sphere's.
    assert np.abs(ours.numpy() - expected).max() < 5 * ROUNDING


def test_a_core_like_its_shell_is_a_sphere() -> None:
    spread = column(0.1)
    plain = profiles.sphere(q=Q, radius=column(R), spread=spread)
    for core in (0.3, 0.9):
        same = profiles.core_shell(q=Q, radius=column(R), spread=spread, core=column(core), contrast=column(1.0))
        assert torch.allclose(same, plain, atol=1e-7)


def test_spread_of_sizes_against_a_dense_quadrature() -> None:
    for sigma in (0.02, 0.1, 0.25):
        relative = np.linspace(-2.5, 2.5, 2001)
        weight = np.exp(-0.5 * relative**2) * (1 + sigma * relative) ** 6
        curves = np.stack([profile_of(X * (1 + sigma * u)) for u in relative[::4]], 1)
        dense = np.trapezoid(curves * weight[::4], relative[::4], axis=1) / np.trapezoid(weight[::4], relative[::4])
        ours = profiles.sphere(q=Q, radius=column(R), spread=column(sigma))[0].numpy()
        # Nine points stand for the distribution; to the eye, on a log scale, within a hundredth of the forward intensity.
        assert np.abs(ours - dense).max() < 0.01
        # Over a fringe the sums agree better than at its edges, while the nine points still overlap.
        seen = (X > 3) & (X < 9)
        assert ours[seen].sum() == pytest.approx(dense[seen].sum(), rel=0.05)


def profile_of(x: np.ndarray) -> np.ndarray:
    return (3 * special.spherical_jn(1, x) / x) ** 2


@pytest.mark.parametrize("aspect", [1.0, 2.0, 8.0])
def test_cylinder_against_gauss_quadrature(aspect: float) -> None:
    nodes, weights = np.polynomial.legendre.leggauss(400)
    mu, weights = (nodes + 1) / 2, weights / 2
    x = np.linspace(0.05, 40, 300)[:, None]
    across, along = x * np.sqrt(1 - mu**2), x * mu * aspect
    expected = ((2 * special.j1(across) / across * np.sinc(along / np.pi)) ** 2) @ weights
    ours = profiles.cylinder(torch.tensor(x[:, 0]), aspect).numpy()
    # A midpoint rule of 256 points: (x aspect / 256)^2 / 24 of what varies with direction.
    assert np.abs(ours - expected).max() < 1e-4


def test_cube_against_gauss_quadrature() -> None:
    nodes, weights = np.polynomial.legendre.leggauss(80)
    u, phi = (nodes + 1) / 2, (nodes + 1) * np.pi / 4
    x = np.linspace(0.05, 30, 60)[:, None, None]
    across = x * np.sqrt(1 - u[:, None] ** 2)
    amplitude = np.sinc(across * np.cos(phi) / np.pi) * np.sinc(across * np.sin(phi) / np.pi) * np.sinc(x * u[:, None] / np.pi)
    expected = np.einsum("xup,u,p->x", amplitude**2, weights / 2, weights / 2)
    ours = profiles.cube(torch.tensor(x[:, 0, 0])).numpy()
    # A midpoint rule of 64 x 64 directions.
    assert np.abs(ours - expected).max() < 1e-3


def test_tables_are_the_functions_they_hold() -> None:
    q = torch.linspace(0.01, 8.0, 700)[None]
    x = (q[0] * R).double()
    for shape, exact in ((0.0, profiles.cube(x)), (1.0, profiles.cylinder(x, 1.0)), (4.0, profiles.cylinder(x, 4.0))):
        ours = profiles.tabled(q=q, radius=column(R), spread=SHARP, shape=column(shape))[0]
        # Straight lines between steps of 0.05 in q R: a curvature of at most 4 aspect^2 / 5 times 0.05^2 / 8.
        assert (ours - exact).abs().max() < 2.5e-4 * max(shape, 1) ** 2


def test_guinier_limit() -> None:
    q = torch.tensor([[0.02]])
    sphere = profiles.sphere(q=q, radius=column(R), spread=SHARP)
    expected = profiles.guinier(q=q, length=column(R * 0.6**0.5))
    # What follows exp(-x^2/5) in the series is of order x^4: (0.1)^4.
    assert sphere.item() == pytest.approx(expected.item(), abs=1e-4)
    cylinder = profiles.cylinder(torch.tensor([0.05], dtype=torch.float64), 2.0).item()
    # Rg^2 = R^2/2 + L^2/12 with L = 4 R.
    assert -3 * np.log(cylinder) / 0.05**2 == pytest.approx(1 / 2 + 16 / 12, rel=5e-3)
    cube = profiles.cube(torch.tensor([0.05], dtype=torch.float64)).item()
    # Rg^2 = half edge squared.
    assert -3 * np.log(cube) / 0.05**2 == pytest.approx(1.0, rel=5e-3)


@pytest.mark.parametrize("phi", [0.05, 0.2, 0.35, 0.5])
def test_percus_yevick(phi: float) -> None:
    ours = profiles.hard_spheres(q=Q, radius=column(R), fraction=column(phi))[0].double().numpy()
    # The isothermal compressibility of the closure; held constant below 2 q R = 0.3, where S has risen by a 150th.
    assert ours[0] == pytest.approx((1 - phi) ** 4 / (1 + 2 * phi) ** 2, rel=0.01)
    a = 2 * X
    alpha, gamma = (1 + 2 * phi) ** 2 / (1 - phi) ** 4, phi * (1 + 2 * phi) ** 2 / (1 - phi) ** 4 / 2
    beta = -6 * phi * (1 + phi / 2) ** 2 / (1 - phi) ** 4

    def direct(v: float) -> float:
        """Minus the Fourier transform of the direct correlation function alpha + beta s + gamma s^3, s in diameters."""
        return integrate.quad(lambda s: (alpha + beta * s + gamma * s**3) * s * np.sin(v * s) / v, 0, 1, limit=200)[0]

    beyond = np.flatnonzero(a > 0.5)[::15]
    expected = np.array([1 / (1 + 24 * phi * direct(a[k])) for k in beyond])
    # float32 cancels in sin a - a cos a over a^5 at small a.
    assert np.abs(ours[beyond] / expected - 1).max() < 2e-3
    # It tends to one as 1 / a^2: at 2 q R = 40, phi = 0.5 within 24 phi (alpha + beta + gamma) / a^2.
    assert abs(ours[-1] - 1) < 24 * phi * (alpha + abs(beta) + gamma) / 40**2


def test_simple_laws() -> None:
    q = torch.tensor([[0.0, 1.0, 2.0]])
    one = column(1.0)[:, None]
    assert profiles.power_law(q=q, exponent=one * 4)[0, 1:].tolist() == pytest.approx([1, 1 / 16])
    assert torch.isfinite(profiles.power_law(q=q, exponent=one * 4)).all()
    assert profiles.ornstein_zernike(q=q, length=one)[0].tolist() == pytest.approx([1, 1 / 2, 1 / 5])
    assert profiles.debye_bueche(q=q, length=one)[0].tolist() == pytest.approx([1, 1 / 4, 1 / 25])
    assert profiles.guinier(q=q, length=one)[0].tolist() == pytest.approx([1, np.exp(-1 / 3), np.exp(-4 / 3)])
    assert profiles.rise(q=q, length=one)[0].tolist() == pytest.approx([0, 1 - np.exp(-1), 1 - np.exp(-4)])
    half = profiles.peak(q=torch.tensor([[3.0, 3.0 + 2.3548 / 2]]), centre=one * 3, sd=one)
    assert half[0].tolist() == pytest.approx([1, 0.5], abs=1e-4)


# h^2 + k^2 + l^2 and multiplicities of powder lines, as tables of cubic and hexagonal lattices list them (Cullity).
PUBLISHED = {
    "lamellar": ([1, 4, 9, 16, 25], [2, 2, 2, 2, 2]),
    "hexagonal": ([1, 3, 4, 7, 9, 12, 13, 16, 19, 21], [6, 6, 6, 12, 6, 6, 12, 6, 12, 12]),
    "simple cubic": ([1, 2, 3, 4, 5, 6, 8, 9, 10, 11], [6, 12, 8, 6, 24, 24, 12, 30, 24, 24]),
    "body-centred cubic": ([2, 4, 6, 8, 10, 12, 14, 16, 18, 20], [12, 6, 24, 12, 24, 8, 48, 6, 36, 24]),
    "face-centred cubic": ([3, 4, 8, 11, 12, 16, 19, 20, 24, 27], [8, 6, 12, 24, 8, 6, 24, 24, 24, 32]),
}


@pytest.mark.parametrize("name", lattices.NAMES)
def test_reflections_are_the_published_ones(name: str) -> None:
    squares, planes = PUBLISHED[name]
    found = lattices.reflections(name)
    assert len(found) == lattices.ORDERS
    ratios = [(s / squares[0]) ** 0.5 for s in squares]
    assert [ratio for ratio, _ in found[: len(squares)]] == pytest.approx(ratios)
    assert [count for _, count in found[: len(squares)]] == planes
    assert all(a < b for (a, _), (b, _) in pairwise(found))


def test_ten_orders_of_cubic_lattices_are_complete() -> None:
    """The ranges of indices that are searched reach beyond the tenth order of every lattice."""
    assert lattices.reflections("simple cubic")[-1][0] < 6
    assert comb(3, 1) * 2 == lattices.reflections("simple cubic")[0][1]


# sasmodels: an independent, published program; intensities in its units, so each curve is scaled by its own at low q.


@lru_cache
def peer(name: str):
    core = pytest.importorskip("sasmodels.core")
    direct = pytest.importorskip("sasmodels.direct_model")
    kernel = core.load_model(name, dtype="double", platform="dll").make_kernel([Q[0].double().numpy()])
    return lambda **numbers: direct.call_kernel(kernel, {"background": 0.0, **numbers})


def scaled(curve: np.ndarray) -> np.ndarray:
    return curve / curve[0]


@pytest.mark.peer
def test_peer_sphere() -> None:
    theirs = scaled(peer("sphere")(radius=R))
    ours = profiles.sphere(q=Q, radius=column(R), spread=SHARP)[0].numpy()
    assert np.abs(ours - theirs).max() < ROUNDING


@pytest.mark.peer
def test_peer_sphere_of_spread_sizes() -> None:
    theirs = scaled(peer("sphere")(radius=R, radius_pd=0.1, radius_pd_n=9, radius_pd_nsigma=2.5))
    ours = profiles.sphere(q=Q, radius=column(R), spread=column(0.1))[0].numpy()
    assert np.abs(ours - theirs).max() < ROUNDING


@pytest.mark.peer
def test_peer_core_shell() -> None:
    theirs = scaled(peer("core_shell_sphere")(radius=3.0, thickness=2.0, sld_core=-0.7, sld_shell=1.0, sld_solvent=0.0))
    ours = profiles.core_shell(q=Q, radius=column(R), spread=SHARP, core=column(0.6), contrast=column(-0.7))[0].numpy()
    assert np.abs(ours - theirs).max() < 5 * ROUNDING


@pytest.mark.peer
def test_peer_cylinder_and_cube() -> None:
    cylinder = scaled(peer("cylinder")(radius=R, length=4 * R))
    ours = scaled(profiles.tabled(q=Q, radius=column(R), spread=SHARP, shape=column(2.0))[0].numpy())
    # Straight lines between the table's steps, 1e-3, and their 76 directions.
    assert np.abs(ours - cylinder).max() < 2e-3
    cube = scaled(peer("parallelepiped")(length_a=2 * R, length_b=2 * R, length_c=2 * R))
    ours = scaled(profiles.tabled(q=Q, radius=column(R), spread=SHARP, shape=column(0.0))[0].numpy())
    assert np.abs(ours - cube).max() < 2e-3


@pytest.mark.peer
def test_peer_structure_factor() -> None:
    for phi in (0.1, 0.3, 0.5):
        theirs = peer("hardsphere")(radius_effective=R, volfraction=phi)
        ours = profiles.hard_spheres(q=Q, radius=column(R), fraction=column(phi))[0].numpy()
        beyond = 2 * X > 0.5
        # float32 cancels in sin a - a cos a over a^5 at small a.
        assert np.abs(ours / theirs - 1)[beyond].max() < 2e-3


@pytest.mark.peer
def test_peer_laws() -> None:
    one = column(R)[:, None]
    power = scaled(peer("power_law")(power=3.3))
    assert np.allclose(
        profiles.power_law(q=Q, exponent=one * 0 + 3.3)[0] / profiles.power_law(q=Q, exponent=one * 0 + 3.3)[0, 0],
        power,
        rtol=1e-4,
    )
    guinier = scaled(peer("guinier")(rg=R))
    assert np.allclose(profiles.guinier(q=Q, length=one)[0], guinier, atol=1e-4)
    lorentz = scaled(peer("lorentz")(cor_length=R))
    assert np.allclose(profiles.ornstein_zernike(q=Q, length=one)[0], lorentz, atol=1e-4)
    dab = scaled(peer("dab")(cor_length=R))
    assert np.allclose(profiles.debye_bueche(q=Q, length=one)[0], dab, atol=1e-4)
