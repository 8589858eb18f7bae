"""Networks take any number of images, learn in every weight, and are as small as they are said to be."""

import pytest
import torch

from beamsight.errors import BeamsightError
from beamsight.networks import EMBEDDING, NETWORKS, build_network


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size", [64, 96])
def test_shapes(name: str, size: int) -> None:
    network = build_network(name, 3, 7).eval()
    logits, embedding = network(torch.randn(2, 3, size, size))
    assert logits.shape == (2, 7)
    assert embedding.shape == (2, EMBEDDING if name == "compact" else 1024)
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", NETWORKS)
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
    weights = sum(p.numel() for p in build_network("compact", 5, 28).parameters())
    assert 1e6 < weights < 1.95e6


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
    with pytest.raises(BeamsightError, match=r"'resnet'.*compact, alexnet"):
        build_network("resnet", 1, 1)
