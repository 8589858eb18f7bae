"""Networks take any number of images, learn in every weight, and are as small as they are said to be."""

import pytest
import torch

from beamsight.coefficients import Coefficients
from beamsight.comparing import SIDES, upright
from beamsight.errors import BeamsightError
from beamsight.joint import BLOCK, EMBEDDING, Votes, _middles
from beamsight.networks import Whole, build_network
from beamsight.patterson import polar_power
from beamsight.views import RADII, SECTORS, VIEWS, Polar, build_view


@pytest.mark.parametrize("name", ["compact", "alexnet", "vgg"])
@pytest.mark.parametrize("size", [64, 96])
def test_shapes(name: str, size: int) -> None:
    network = build_network(name, 3, 7).eval()
    logits, embedding = network(torch.randn(2, 3, size, size))
    assert logits.shape == (2, 7)
    assert embedding.shape == (2, EMBEDDING if name == "compact" else 1024)
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", ["compact", "alexnet", "vgg"])
def test_each_image_is_judged_by_itself(name: str) -> None:
    network, images = build_network(name, 2, 3).eval(), torch.randn(4, 2, 64, 64)
    together = network(images)[0]
    for n in range(4):
        torch.testing.assert_close(network(images[n : n + 1])[0][0], together[n], rtol=1e-4, atol=1e-5)


def test_every_weight_of_the_compact_network_learns() -> None:
    network = build_network("compact", 2, 3)
    network(torch.randn(4, 2, 128, 128))[0].square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_the_compact_network_is_compact() -> None:
    # Twice in half precision, as graph and as weights, a bundle must stay below 8 MB.
    for name in ("compact", "joint"):
        weights = sum(p.numel() for p in build_network(name, 6, 28, "image").parameters())
        assert 1e6 < weights < 1.95e6


def test_published_networks_have_the_published_numbers_of_weights() -> None:
    layers = [sum(p.numel() for p in m.parameters(recurse=False)) for m in build_network("hitnet", 1, 2, "counts").modules()]
    assert [n for n in layers if n] == [200, 688, 788, 124, 9232, 32, 34]
    network = build_network("tilenet", 1, 2, "counts")
    shapes = [tuple(network.features[:n](torch.zeros(1, 1, 64, 64)).shape[1:]) for n in (1, 2, 4, 5)]
    assert shapes == [(100, 18, 18), (100, 6, 6), (84, 1, 1), (84,)]


def test_the_network_of_lattices_is_the_published_one() -> None:
    network = build_network("latticenet", 1, 7, "counts")
    x, shapes = torch.zeros(1, 1, 100, 100), []
    for layer in network.features:
        x = layer(x)
        shapes.append(tuple(x.shape[1:]))
    assert shapes[:5] == [(20, 96, 96), (20, 48, 48), (20, 44, 44), (20, 22, 22), (50, 19, 19)]
    assert network(torch.zeros(1, 1, 100, 100))[0].shape == (1, 7)
    # Weights and biases: 5 x 5 of 1 to 20, 5 x 5 of 20 to 20, 4 x 4 of 20 to 50, and all of 19 x 19 x 50 to 7.
    assert sum(p.numel() for p in network.parameters()) == 520 + 10_020 + 16_050 + 126_357


def test_the_mixer_knows_places() -> None:
    # The same two spots beside or opposite each other differ: without places, attention and pooling could not tell.
    torch.manual_seed(0)
    mixer = build_network("compact", 2, 3).mixer.eval()
    beside, opposite = torch.zeros(1, 160, 8, 8), torch.zeros(1, 160, 8, 8)
    spot = torch.randn(160)
    beside[0, :, 4, 4] = beside[0, :, 4, 5] = spot
    opposite[0, :, 1, 1] = opposite[0, :, 6, 6] = spot
    difference = mixer(beside).mean((2, 3)) - mixer(opposite).mean((2, 3))
    assert difference.abs().max() > 1e-5


def test_an_unknown_network_is_named() -> None:
    known = "joint, spots, compact, comparing, outlining, paired, righting, alexnet, vgg, hitnet, tilenet, latticenet"
    with pytest.raises(BeamsightError, match=rf"'resnet'.*{known}"):
        build_network("resnet", 1, 1)


def test_the_paired_network_adds_what_spectrum_and_picture_tell_once_it_is_upright() -> None:
    torch.manual_seed(0)
    counts, mask = torch.poisson(torch.full((3, 96, 96), 3.0)), torch.ones(3, 96, 96)
    paired, seen = build_network("paired", 4, 8, "decades", 96).eval(), build_view("decades")(counts, mask)
    for turn in range(SIDES):
        torch.nn.init.zeros_(paired.righting.head.weight)
        paired.righting.head.bias.data = torch.eye(SIDES)[turn]
        logits, embedding = paired(seen)
        stands = upright(seen, torch.eye(SIDES)[[turn] * 3])
        compared, outlined = paired.comparing(polar_power(stands)), paired.outlining(stands)
        if turn == 0:
            torch.testing.assert_close(compared, paired.comparing(build_view("patterson")(counts, mask)))
        torch.testing.assert_close(logits, compared[0] + outlined[0])
        assert embedding.shape == (3, EMBEDDING)


def test_a_turned_picture_stands_upright_again() -> None:
    torch.manual_seed(0)
    picture = torch.randn(1, 2, 6, 6)
    for turn in range(SIDES):
        found = upright(torch.rot90(picture, turn, (2, 3)), torch.eye(SIDES)[[turn]])
        assert torch.equal(found, picture) or torch.equal(found, picture.flip(3)), turn


@pytest.mark.parametrize("network", ["outlining", "paired", "righting"])
def test_a_network_of_pictures_says_so_of_a_spectrum(network: str) -> None:
    with pytest.raises(BeamsightError, match="--view decades"):
        build_network(network, 4, 8, "patterson", 96)


def photons(n: int = 3, size: int = 64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Counts, mask and centres [n ...] of noise with a trusted majority; the centres lie about the middle."""
    torch.manual_seed(1)
    counts = torch.poisson(torch.full((n, size, size), 3.0))
    mask = (torch.rand(n, size, size) < 0.9).float()
    return counts * mask, mask, size / 2 + torch.randn(n, 2)


@pytest.mark.parametrize("view", VIEWS)
def test_the_joint_network_judges_each_image_by_itself_with_and_without_a_centre(view: str) -> None:
    network = Whole(build_view(view), build_network("joint", 6, 3, view, 64)).eval()
    counts, mask, centre = photons(4)
    centre[1::2] = torch.nan
    logits, embedding, told = network(counts, mask, centre)
    assert (logits.shape, embedding.shape, told.shape) == ((4, 3), (4, EMBEDDING), (4, 3))
    for n in range(4):
        alone = network(counts[n : n + 1], mask[n : n + 1], centre[n : n + 1])[0]
        # A told centre differs in its last digits with the batch, and may move a pixel to the next cell.
        torch.testing.assert_close(alone[0], logits[n], rtol=1e-2, atol=2e-3)


@pytest.mark.parametrize("view", VIEWS)
def test_the_joint_network_uses_the_centre_it_is_given_and_its_own_where_none_is(view: str) -> None:
    network = Whole(build_view(view), build_network("joint", 6, 3, view, 64)).eval()
    counts, mask, centre = photons()
    own = network(counts, mask)[2]
    hidden = network(counts, mask, torch.full((3, 2), torch.nan))[0]
    assert torch.equal(network(counts, mask)[0], hidden)
    assert not torch.allclose(network(counts, mask, centre)[0], hidden)
    # The centre is told by the image alone, whatever is given.
    assert torch.equal(network(counts, mask, centre)[2], own)


@pytest.mark.parametrize("view", VIEWS)
def test_every_weight_of_the_joint_network_learns(view: str) -> None:
    network = Whole(build_view(view), build_network("joint", 6, 3, view, 128))
    counts, mask, centre = photons(4, 128)
    logits, _, told = network(counts, mask, centre)
    (logits.square().sum() + told.square().sum()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_other_networks_see_the_image_alone() -> None:
    with pytest.raises(BeamsightError, match=r"alexnet sees the image alone.*--view image"):
        build_network("alexnet", 6, 3, "joint")
    with pytest.raises(BeamsightError, match=r"'polar'.*image, coefficients, rings, joint"):
        build_view("polar")


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_coefficients_do_not_know_which_way_a_frame_is_turned(degrees: int) -> None:
    counts, mask, _ = photons(2, 65)
    view, centre = Coefficients(65), torch.full((2, 2), 32.0)
    turned = [image.rot90(degrees // 90, (1, 2)) for image in (counts, mask)]
    torch.testing.assert_close(view(*turned, centre), view(counts, mask, centre), rtol=1e-3, atol=2e-3)


def test_the_rings_do_not_know_where_the_circle_begins() -> None:
    rings = build_network("joint", 6, 3, "rings").rings.eval()
    torch.manual_seed(0)
    cells, profile = torch.randn(2, Polar.channels, RADII, SECTORS), torch.randn(2, Polar.features, RADII)
    # Turned by whole blocks of sectors; the harmonics' powers are the same but for rounding.
    turned = rings(cells.roll(BLOCK[1] * 5, 3), profile)
    torch.testing.assert_close(turned, rings(cells, profile), rtol=1e-3, atol=1e-4)


def test_votes_of_arcs_find_the_centre() -> None:
    """Where every place gives the tangent of its circle about a point, that point is found, on the frame or off it."""
    votes = Votes(2, 4)
    with torch.no_grad():
        for weights in votes.parameters():
            weights.zero_()
        votes.vote.weight[:2] = torch.eye(2)[..., None, None]
        votes.vote.bias[2], votes.rough[-1].bias[2] = -8.0, -6.0  # places and the whole image say next to nothing
    place = _middles(16, 16).reshape(1, 2, 16, 16)
    for centre in ([0.05, -0.21], [0.9, 0.1]):
        to_centre = torch.tensor(centre)[None, :, None, None] - place
        tangent = torch.stack([-to_centre[:, 1], to_centre[:, 0]], 1)
        found = votes(100 * tangent / tangent.norm(dim=1, keepdim=True), torch.zeros(1, 4, 8, 8))
        torch.testing.assert_close(found[0, :2], torch.tensor(centre), atol=2e-3, rtol=0)
        assert found[0, 2] < 2e-3  # the votes agree
