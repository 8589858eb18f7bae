"""Fourier-Bessel coefficients: a dense sum in double precision, symmetries, another program, and what masks do to them."""

# SPDX-License-Identifier: BSD-3-Clause

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import jn_zeros, jv

from beamsight import fourier_bessel
from beamsight.fourier_bessel import FourierBessel

RADIUS, ORDERS, RADIAL, SIDE = 48, 16, 20, 112
RNG = np.random.default_rng(7)


@pytest.fixture(scope="module")
def transform() -> FourierBessel:
    return FourierBessel(RADIUS, ORDERS, RADIAL, moves=5, complete=False)


def polar(centre: tuple[float, float], side: int = SIDE) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    y, x = np.indices((side, side))
    return np.hypot(y - centre[0], x - centre[1]), np.arctan2(y - centre[0], x - centre[1])


def basis(n: int, ks: NDArray[np.int64], centre: tuple[float, float], radius: int, side: int) -> NDArray[np.complex128]:
    """[K H W] zero beyond `radius` of the nearest pixel."""
    r, phi = polar(centre, side)
    disc = polar((round(centre[0]), round(centre[1])), side)[0] <= radius
    zeros = jn_zeros(n, int(ks.max()) + 1)[ks]
    return jv(n, zeros[:, None, None] * r / radius) * np.exp(1j * n * phi) * disc


def dense(
    image: NDArray[np.float32], orders: list[int], ks: NDArray[np.int64], centre: tuple[float, float], radius: int
) -> NDArray[np.complex128]:
    return np.stack([(basis(n, ks, centre, radius, len(image)).conj() * image).sum((1, 2)) for n in orders])


def complex_of(coefficients: torch.Tensor) -> NDArray[np.complex64]:
    return coefficients.detach()[..., 0].numpy() + 1j * coefficients.detach()[..., 1].numpy()


def of_image(
    transform: FourierBessel, image: NDArray[np.float64] | NDArray[np.float32], centre: tuple[float, float]
) -> NDArray[np.complex64]:
    seen = torch.ones(1, *image.shape)
    return complex_of(transform.sums(torch.tensor(image, dtype=torch.float32)[None], seen, torch.tensor([centre])))[0]


def apart(got: NDArray[np.complex64], wanted: NDArray[np.complex128]) -> float:
    return float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))


# Single precision adds up ten thousand pixels to 1e-6; the window of six taps is right to 1e-5 of the largest coefficient.
@pytest.mark.parametrize("centre", [(56.0, 56.0), (55.7, 56.45), (20.2, 90.9), (-11.4, 40.1)])
def test_it_is_the_dense_sum_on_photon_counts_in_every_order(transform: FourierBessel, centre: tuple[float, float]) -> None:
    image = RNG.poisson(RNG.uniform(0.05, 3, (SIDE, SIDE))).astype(np.float32)
    ks = np.arange(RADIAL)
    got, wanted = of_image(transform, image, centre), dense(image, list(range(ORDERS + 1)), ks, centre, RADIUS)
    assert apart(got, wanted) < 1e-5
    for n in range(ORDERS + 1):
        assert apart(got[n], wanted[n]) < 1e-4, n


@pytest.mark.slow
def test_it_is_the_dense_sum_at_full_size() -> None:
    transform, centre = FourierBessel(128, 32, 64, complete=False), (127.6, 128.3)
    image = RNG.poisson(RNG.uniform(0.05, 3, (256, 256))).astype(np.float32)
    orders, ks = [0, 1, 17, 31, 32], np.array([0, 1, 20, 40, 62, 63])
    got, wanted = of_image(transform, image, centre)[orders][:, ks], dense(image, orders, ks, centre, 128)
    assert apart(got, wanted) < 1e-5
    assert apart(got[2:, 2:], wanted[2:, 2:]) < 1e-4


def test_the_middle_half_of_a_basis_function_comes_back_as_one_coefficient() -> None:
    # Functions of the disc are orthogonal as integrals; sums over square pixels come within 2 % of integrals at its jagged edge.
    transform, centre = FourierBessel(RADIUS, ORDERS, RADIAL, complete=False), (56.0, 56.0)
    image = basis(5, np.array([3]), centre, RADIUS, SIDE)[0].real
    found = complex_of(
        transform(torch.tensor(image, dtype=torch.float32)[None], torch.ones(1, SIDE, SIDE), torch.tensor([centre]))
    )
    assert np.unravel_index(np.abs(found[0]).argmax(), found[0].shape) == (5, 3)
    assert found[0, 5, 3] == pytest.approx(0.5, abs=0.01)
    assert np.sort(np.abs(found[0]).ravel())[-2] < 0.02


def smooth(r: NDArray[np.float64], phi: NDArray[np.float64], fold: int) -> NDArray[np.float64]:
    """A ring that fades out before the edge, where square pixels would tell four sides apart."""
    return np.exp(-0.5 * ((r - 24) / 4) ** 2) * (1 + 0.5 * np.cos(fold * phi))


def test_an_isotropic_pattern_has_order_zero_only(transform: FourierBessel) -> None:
    size = np.abs(of_image(transform, smooth(*polar((56, 56)), 0), (56.0, 56.0)))
    assert size[1:].max() < 1e-4 * size[0].max()


@pytest.mark.parametrize("fold", [2, 3, 5, 6])
def test_an_n_fold_pattern_has_multiples_of_n_only(transform: FourierBessel, fold: int) -> None:
    size = np.abs(of_image(transform, smooth(*polar((55.6, 56.2)), fold), (55.6, 56.2))).max(1)
    others = [n for n in range(ORDERS + 1) if n % fold]
    assert size[fold] > 0.1 * size[0]
    assert size[others].max() < 1e-3 * size[0]


@pytest.mark.parametrize("degrees", [7.0, 33.3, 90.0, 201.0])
def test_a_rotation_changes_phases_only(transform: FourierBessel, degrees: float) -> None:
    (r, phi), turn = polar((56, 56)), np.radians(degrees)
    pattern = [smooth(r, p, 3) + 0.3 * smooth(r, p, 4) * np.cos(p) for p in (phi, phi - turn)]
    before, after = (of_image(transform, p, (56.0, 56.0)) for p in pattern)
    n = np.arange(ORDERS + 1)[:, None]
    # Pixels sample a turned pattern elsewhere: 1e-4 for one of 4 px width.
    assert apart(after, before * np.exp(-1j * n * turn)) < 1e-4
    assert apart(np.abs(after), np.abs(before)) < 1e-4


def test_its_adjoint_is_the_sum_of_basis_functions(transform: FourierBessel) -> None:
    centre = (50.3, 60.8)
    image = torch.zeros(1, SIDE, SIDE, requires_grad=True)
    sums = transform.sums(image, torch.ones(1, SIDE, SIDE), torch.tensor([centre]))
    weights = torch.tensor(RNG.normal(size=sums.shape), dtype=torch.float32)
    (back,) = torch.autograd.grad(sums, image, weights)
    w = weights[0].numpy()
    wanted = sum(
        (c[..., 0, None, None] * b.real - c[..., 1, None, None] * b.imag).sum(0)
        for c, b in zip(w, (basis(n, np.arange(RADIAL), centre, RADIUS, SIDE) for n in range(ORDERS + 1)), strict=True)
    )
    assert np.abs(back[0].numpy() - wanted).max() < 1e-4 * np.abs(wanted).max()


def test_it_can_be_differentiated_by_the_centre(transform: FourierBessel) -> None:
    image = torch.tensor(RNG.poisson(2.0, (1, SIDE, SIDE)), dtype=torch.float32)
    seen, centre = torch.ones_like(image), torch.tensor([[50.2, 60.1]], requires_grad=True)
    weights = torch.tensor(RNG.normal(size=(1, ORDERS + 1, RADIAL, 2)), dtype=torch.float32)
    (slope,) = torch.autograd.grad((transform.sums(image, seen, centre) * weights).sum(), centre)
    step = torch.tensor([[0.05, 0.0]])
    ends = [(transform.sums(image, seen, centre.detach() + s * step).double() * weights).sum() for s in (1, -1)]
    assert float(slope[0, 0]) == pytest.approx(float(ends[0] - ends[1]) / 0.1, rel=0.02)


def test_each_frame_of_a_batch_is_as_it_would_be_alone(transform: FourierBessel) -> None:
    images = torch.tensor(RNG.poisson(1.0, (3, SIDE, SIDE)), dtype=torch.float32)
    masks = torch.tensor(RNG.random((3, SIDE, SIDE)) > 0.1).float()
    centres = torch.tensor([[56.0, 56.0], [40.5, 60.2], [90.0, 10.0]])
    together = transform.sums(images, masks, centres)
    for n in range(3):
        alone = transform.sums(images[n : n + 1], masks[n : n + 1], centres[n : n + 1])
        assert torch.allclose(together[n], alone[0], atol=1e-2)


def test_a_disc_that_cannot_hold_the_orders_is_refused() -> None:
    with pytest.raises(ValueError, match="ask for fewer orders"):
        FourierBessel(20, 32, 64)


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore")
def test_aspire_gives_the_same_up_to_one_scale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # it writes a log where it is first imported
    from aspire.basis import FBBasis2D

    size = 64
    image = RNG.poisson(3.0, (size, size)).astype(np.float64)
    peer = FBBasis2D(size, dtype=np.float64)
    found = np.asarray(peer.evaluate_t(image[None]).asnumpy()).ravel()
    orders, radial = 12, 12
    ours = of_image(FourierBessel(size // 2, orders, radial, complete=False), image, (size / 2, size / 2))
    norms = FourierBessel(size // 2, orders, radial, 0, False).norms.numpy()
    for n in range(orders + 1):
        # Theirs are of real functions of norm 1, and leave out what lies on the circle itself, where every function is zero.
        parts = [found[(peer.angular_indices == n) & (peer.signs_indices == s)][:radial] for s in (1, -1)]
        size_theirs = np.hypot(parts[0], parts[1]) if n else np.abs(parts[0])
        size_ours = np.abs(ours[n]) / np.sqrt(norms[n] / (2 if n else 1))
        assert np.abs(size_ours - size_theirs).max() < 1e-4 * np.abs(found).max(), n


def completed() -> FourierBessel:
    return FourierBessel(RADIUS, ORDERS, RADIAL, moves=1)


def test_what_is_seen_whole_is_not_changed_by_completion(transform: FourierBessel) -> None:
    image = RNG.poisson(2.0, (SIDE, SIDE)).astype(np.float32)
    assert apart(of_image(completed(), image, (56.0, 56.0)), of_image(transform, image, (56.0, 56.0))) < 1e-5


def test_gaps_and_stops_are_completed_and_not_taken_for_darkness(transform: FourierBessel) -> None:
    r, phi = polar((56, 56))
    pattern = np.exp(-r / 30) + smooth(r, phi, 4)
    mask = np.ones((SIDE, SIDE), bool)
    mask[50:54], mask[:, 70:74], mask[r < 5] = False, False, False
    given = torch.tensor(pattern, dtype=torch.float32)[None], torch.tensor(mask)[None], torch.tensor([[56.0, 56.0]])
    whole = of_image(transform, pattern, (56.0, 56.0))
    filled, dark = (apart(complex_of(t.sums(*given))[0], whole) for t in (completed(), transform))
    assert dark > 0.1
    assert filled < dark / 3


def test_a_level_frame_is_level_however_little_is_seen() -> None:
    transform, level = completed(), torch.ones(1, SIDE, SIDE)
    mask = torch.tensor(RNG.random((1, SIDE, SIDE)) > 0.5)
    mask[:, :, 70:] = False
    centre = torch.tensor([[56.0, 56.0]])
    wanted, found = (complex_of(transform.sums(level, m, centre))[0] for m in (torch.ones_like(mask), mask))
    # The ridge takes 2 % off the part that is not seen.
    assert apart(found, wanted) < 0.05


def test_conjugate_gradients_come_to_the_least_squares_solution(monkeypatch: pytest.MonkeyPatch) -> None:
    """Solved densely: the sum of squares over pixels, by weights of the taps, and the two penalties."""
    monkeypatch.setattr(fourier_bessel, "STEPS", 400)
    transform = FourierBessel(12, 3, 4, moves=0)
    completion = transform.completion
    assert completion is not None
    image = torch.tensor(RNG.poisson(5.0, (1, 25, 25)), dtype=torch.float32)
    mask = torch.tensor(RNG.random((1, 25, 25)) > 0.4).float()
    mask[0, 12, 12] = 0  # the middle pixel has no angle: it counts at all of them, which sums over pixels cannot say
    middle = torch.tensor([[12.0, 12.0]])
    sums, seen = transform.rings(image * mask, middle, 3), transform.rings(mask, middle, 6)
    found = completion._solved(*right_hand_side(completion, sums, seen))[:, 0].double()
    # By the light that falls on a radius: the innermost radii hold hardly a pixel, and single precision leaves them free.
    light = completion.weight[:, 0]
    assert ((found - dense_solution(transform, image, mask)) * light).abs().max() < 1e-4 * (found * light).abs().max()


def right_hand_side(
    completion: fourier_bessel.Completion, sums: torch.Tensor, seen: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    root = 2**0.5
    right = torch.cat([sums[:, :, :1, 0], root * sums[:, :, 1:, 0], -root * sums[:, :, 1:, 1]], 2)
    return right, completion._density(seen), seen[:, :, :1, 0]


def dense_solution(transform: FourierBessel, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    weight, columns, values = pixel_weights(transform, image, mask)
    rings, unknowns = weight.shape[0], columns.shape[1]
    completion = transform.completion
    assert completion is not None
    whole, ridge = completion.weight[:, 0, 0].double(), completion.ridge.double()
    matrix = torch.zeros(rings, unknowns, rings, unknowns, dtype=torch.float64)
    right = torch.zeros(rings, unknowns, dtype=torch.float64)
    for i in range(rings):
        matrix[i, :, i, :] += columns.T @ (weight[i][:, None] * columns) + torch.diag(whole[i] * ridge)
        right[i] = columns.T @ (weight[i] * values)
        for j in range(unknowns):
            if i > 0:
                pull = whole[i] * fourier_bessel.SMOOTH
                matrix[i, j, i, j] += pull
                matrix[i - 1, j, i - 1, j] += pull
                matrix[i, j, i - 1, j] -= pull
                matrix[i - 1, j, i, j] -= pull
    size = rings * unknowns
    return torch.linalg.solve(matrix.reshape(size, size), right.reshape(size)).reshape(rings, unknowns)


def pixel_weights(
    transform: FourierBessel, image: torch.Tensor, mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Weights [R pixels] of the trusted pixels on each radius, real waves [pixels U], and counts [pixels], a pixel at a time."""
    places = [(y, x) for y in range(25) for x in range(25) if np.hypot(y - 12, x - 12) <= 12 and mask[0, y, x] > 0]
    weights, waves = [], []
    for y, x in places:
        one = torch.zeros(1, 25, 25)
        one[0, y, x] = 1
        weights.append(transform.rings(one, torch.tensor([[12.0, 12.0]]), 3)[:, 0, 0, 0].double())
        phi, n, root = np.arctan2(y - 12, x - 12), np.arange(1, 4), 2**0.5
        waves.append(torch.tensor(np.concatenate([[1.0], root * np.cos(n * phi), root * np.sin(n * phi)])))
    values = torch.tensor([float(image[0, y, x]) for y, x in places], dtype=torch.float64)
    return torch.stack(weights, 1), torch.stack(waves), values
