"""Networks by name: what a view shows [N C S S] to logits [N T] and an embedding [N E]."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from beamsight.baselines import VGG, AlexNet, HitNet, LatticeNet, TileNet
from beamsight.blocks import Residual, halve
from beamsight.comparing import Paired, comparing, outlining, righting
from beamsight.errors import BeamsightError
from beamsight.joint import Joint
from beamsight.mixer import Pooled
from beamsight.spots import Spots, expected, tiles
from beamsight.views import DECADES, PATTERSON, struck


def build_network(name: str, channels: int, width: int, view: str = "image", size: int = 256) -> nn.Module:
    """The network of that name for `channels` channels in and `width` logits out; forward gives (logits [N T], embedding [N E]).

    `view` by name, and the side of the frames in pixels: what "joint" rests its answer on. Raises BeamsightError for an unknown
    name, and for a network that knows no other view than the image.
    """
    if name == "joint":
        return Joint(channels, width, view, size)
    if name == "spots" and view == "contrast":
        return Spots(width)
    if name not in NETWORKS | SEEING_COUNTS:
        known = ", ".join(("joint", "spots", *NETWORKS, *SEEING_COUNTS))
        raise BeamsightError(f"no network is called {name!r} that sees the view {view}; choose one of {known}")
    if name in SEEING_COUNTS:
        if view != "counts":
            raise BeamsightError(f"the network {name} sees counts as they are, not {view!r}; choose --view counts")
        return SEEING_COUNTS[name](channels, width)
    if name in SEEING_DECADES and view != DECADES:
        raise BeamsightError(f"the network {name} sees pictures of many decades, not {view!r}; choose --view {DECADES}")
    if view not in ("image", DECADES, PATTERSON):
        raise BeamsightError(f"the network {name} sees the image alone, not {view!r}; choose --view image or --network joint")
    return NETWORKS[name](channels, width)


def compact(channels: int, width: int) -> Pooled:
    """Five halvings with residual blocks, to the coarsest grid, where global symmetry is decided. No block at 1/2 size: there it
    would cost a third of all time."""
    widths, blocks = (16, 32, 64, 128, 160), (0, 2, 1, 2, 1)
    stages, previous = [], channels
    for w, n in zip(widths, blocks, strict=True):
        stages += [halve(previous, w), *(Residual(w) for _ in range(n))]
        previous = w
    return Pooled(nn.Sequential(*stages), previous, width)


class Whole(nn.Module):
    """View and network as one, from counts to answers: what is trained and exported."""

    def __init__(self, view: nn.Module, network: nn.Module) -> None:
        super().__init__()
        self.view, self.network = view, network

    def forward(self, counts: Tensor, mask: Tensor, centre: Tensor | None = None) -> tuple[Tensor, ...]:
        """counts and mask [N S S] float32 (mask 1 = trust) to logits [N T] and embedding [N E]; with `centre` [N 2] (y, x) px,
        NaN = unknown, for a network that asks for it, and then also the centre that the image alone tells. What was `struck` is
        not trusted."""
        if isinstance(self.network, Spots):
            logits, embedding, cells = self.network(self.view(counts, mask))
            return logits, embedding, tiles(cells), expected(cells)
        mask = mask * (1 - struck(counts, mask))
        return judged(self.network, self.view(counts, mask), counts, mask, centre)


def judged(network: nn.Module, seen: Tensor, counts: Tensor, mask: Tensor, centre: Tensor | None) -> tuple[Tensor, ...]:
    """(logits, embedding) of what a view has `seen`; then the centre, or the cells that hold what is asked, where told."""
    if isinstance(network, Joint):
        unknown = counts.new_full((counts.shape[0], 2), torch.nan)
        return network(seen, counts, mask, unknown if centre is None else centre)  # type: ignore[no-any-return]
    return network(seen)  # type: ignore[no-any-return]


NETWORKS: dict[str, Callable[[int, int], nn.Module]] = {
    "compact": compact,
    "comparing": comparing,
    "outlining": outlining,
    "paired": Paired,
    "righting": righting,
    "alexnet": AlexNet,
    "vgg": VGG,
}
SEEING_DECADES = ("outlining", "paired", "righting")
SEEING_COUNTS: dict[str, Callable[[int, int], nn.Module]] = {
    "hitnet": HitNet, "tilenet": TileNet, "latticenet": LatticeNet,
}  # fmt: skip
