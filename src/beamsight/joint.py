"""The network that sees a frame as it is, around its beam, and by its Fourier-Bessel coefficients."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import torch
from torch import Tensor, nn

from beamsight.blocks import Along, Residual, Turning, TurningResidual, along, halve
from beamsight.coefficients import FEATURES, ORDERS, Coefficients
from beamsight.views import Heights, Polar

EMBEDDING = 256
IMAGE, RINGS, CELLS, WAVELETS = 128, 160, 64, 96
BLOCK = (8, 4)  # rings and sectors side by side in one place of the grid of cells
WAVES = (0, 1, 2, 3, 4, 5, 6, 8)


class Joint(nn.Module):
    """The image as it is and around its beam: where a file does not tell the centre, the image's half says it.

    The image's half halves five times; from its coarsest grid come the centre and what lies at a place: stops, spots, rods.
    About the centre, cells of rings and sectors are convolved around the circle, and their harmonics join the rings' own
    profile; whatever is summed over a ring is decided there. Fourier-Bessel coefficients tell of many-fold order.

    `view` says what the answer may rest on: "image", "coefficients", "rings" (the image and its rings), or "joint" (all). The
    image tells the centre in any case. `size` is the frame's side in pixels.
    """

    def __init__(self, channels: int, width: int, view: str = "rings", size: int = 256) -> None:
        super().__init__()
        self.fine, self.coarse = _image_stages(channels)
        self.votes = Votes(128, IMAGE)
        self.by_image, self.by_rings = view != "coefficients", view in ("rings", "joint")
        self.by_orders = view in ("coefficients", "joint")
        told = 3
        if self.by_image:
            self.heights = Heights()
            told += 2 * IMAGE + Heights.features
        if self.by_rings:
            self.polar, self.rings = Polar(), Rings(Polar.channels, Polar.features)
            told += 2 * RINGS
        if self.by_orders:
            self.coefficients, self.orders = Coefficients(size), Orders(FEATURES * (ORDERS + 1))
            told += 2 * WAVELETS
        self.embed = nn.Sequential(nn.Linear(told, EMBEDDING), nn.ReLU())
        self.head = nn.Linear(EMBEDDING, width)

    def forward(self, x: Tensor, counts: Tensor, mask: Tensor, centre: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[N C S S], counts and mask [N S S], centre [N 2] px (NaN = unknown) to logits [N T], embedding [N E] and the centre
        as the image alone tells it, with its spread, [N 3] px."""
        fine = self.fine(x)
        grid = self.coarse(fine)
        with torch.autocast(counts.device.type, enabled=False):  # in bfloat16 a place is known to half a pixel
            told = self.votes(fine.float(), grid.float()) * counts.shape[1]
            guess = torch.cat([told[:, :2] + (counts.shape[1] - 1) / 2, told[:, 2:]], 1)
        known = ~centre.isnan()
        # To a quarter of a pixel, or the last bit of a sum would move pixels from cell to cell and no two runtimes agree.
        used = torch.where(known, centre, (guess[:, :2].detach() * 4).round() / 4)
        seen = [grid.mean((2, 3)), grid.amax((2, 3))] if self.by_image else []
        seen += [self.rings(*self.polar(counts, mask, used))] if self.by_rings else []
        seen += [used / counts.shape[1] - 0.5, known[:, :1]]
        seen += [self.heights(counts, mask)] if self.by_image else []
        # Last, so that a network without them can lend its weights to one with them.
        seen += [self.orders(self.coefficients(counts, mask, used))] if self.by_orders else []
        embedding = self.embed(torch.cat([part.to(grid) for part in seen], 1))
        return self.head(embedding), embedding, guess


class Votes(nn.Module):
    """Where the beam is, from votes of places: an arc says on which line through itself the centre lies, a stop where it is.

    Each place p of a grid gives a normal v of its line, and a point p + d with a weight u; the whole image gives a rough point r
    with a weight. The centre minimises sum (v (c - p))^2 + u |c - p - d|^2 + weight |c - r|^2: two linear equations. So it may
    lie off the frame, and many places make it sharper than any of them knows it. How far the votes disagree says how well it is
    known: with A the equations' matrix and g the slope that each vote leaves at the centre, its covariance is
    A^-1 (sum of g g^T) A^-1 (Huber, Proc. Fifth Berkeley Symp. 1, 221 (1967)), up to a factor that validation frames tell.
    """

    def __init__(self, fine: int, coarse: int) -> None:
        super().__init__()
        self.vote = nn.Conv2d(fine, 5, 1)
        self.rough = nn.Sequential(
            nn.Conv2d(coarse, 16, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(8), nn.Flatten(),
            nn.Linear(16 * 64, 64), nn.ReLU(), nn.Linear(64, 3),
        )  # fmt: skip

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """[N F h w] and [N C h' w'] to [N 3]: (y, x) and the spread of both, in sides of the frame, from its middle."""
        place = _middles(fine.shape[2], fine.shape[3]).to(fine)
        votes: Tensor = self.vote(fine).flatten(2)
        normal, step = votes[:, :2], votes[:, 3:]
        sure = torch.exp(votes[:, 2:3].clamp(-8, 4) - 4)
        rough: Tensor = self.rough(coarse)
        weight = torch.exp(rough[:, 2].clamp(-6, 4))
        reach = (normal * place).sum(1, keepdim=True)
        right = (normal * reach + sure * (place + step)).sum(2) + weight[:, None] * rough[:, :2]
        straight = (normal * normal + sure).sum(2) + weight[:, None]
        cross = (normal[:, 0] * normal[:, 1]).sum(1)
        ends = straight[:, 0] * straight[:, 1] - cross * cross
        y = straight[:, 1] * right[:, 0] - cross * right[:, 1]
        x = straight[:, 0] * right[:, 1] - cross * right[:, 0]
        centre = torch.stack([y, x], 1) / ends[:, None]
        left = normal * ((normal * centre[:, :, None]).sum(1, keepdim=True) - reach) + sure * (centre[:, :, None] - place - step)
        slopes = torch.cat([left, (weight[:, None] * (centre - rough[:, :2]))[:, :, None]], 2)
        down = straight[:, 1:] * slopes[:, 0] - cross[:, None] * slopes[:, 1]
        along = straight[:, :1] * slopes[:, 1] - cross[:, None] * slopes[:, 0]
        # No gradient: the network should agree with the truth, not with itself.
        spread = ((down.square() + along.square()).sum(1) / ends**2 + 1e-12).sqrt().detach()
        return torch.cat([centre, spread[:, None]], 1)


class Rings(nn.Module):
    """Cells [N C R A] and profile [N P R] about a centre to one row [N 2 * RINGS]."""

    def __init__(self, channels: int, features: int) -> None:
        super().__init__()
        self.cells = nn.Sequential(Turning(BLOCK[0] * BLOCK[1] * channels, CELLS), TurningResidual(CELLS))
        self.waves = nn.Conv2d(CELLS, 32, 1)
        steps = [along(features, 64, 5), Along(64)]
        for before, after in ((64, 96), (96, 96), (96, 128)):
            steps += [along(before, after, 3, 2), Along(after)]
        self.profile = nn.Sequential(*steps)
        self.join = nn.Sequential(along(128 + 2 * CELLS + 32 * len(WAVES), RINGS, 1), Along(RINGS))

    def forward(self, cells: Tensor, profile: Tensor) -> Tensor:
        """See the class."""
        # Blocks of cells side by side: what is in them is told apart by channels, on a small grid.
        blocks = cells.unflatten(2, (-1, BLOCK[0])).unflatten(4, (-1, BLOCK[1])).permute(0, 1, 3, 5, 2, 4).flatten(1, 3)
        grid = self.cells(blocks.contiguous(memory_format=torch.channels_last))
        chi = torch.arange(grid.shape[3], dtype=torch.float32, device=grid.device) * (2 * torch.pi / grid.shape[3])
        angles = chi[:, None] * torch.tensor(WAVES, dtype=torch.float32, device=grid.device)
        waves = self.waves(grid).float()
        power = (waves @ angles.cos()) ** 2 + (waves @ angles.sin()) ** 2
        power = torch.log1p(power.permute(0, 1, 3, 2).flatten(1, 2))
        joined = self.join(torch.cat([self.profile(profile), grid.mean(3), grid.amax(3), power.to(grid)], 1))
        return torch.cat([joined.mean(2), joined.amax(2)], 1)


class Orders(nn.Module):
    """Coefficients [N C K], all angular orders of a radial order side by side, to one row [N 2 * WAVELETS]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stages = nn.Sequential(
            along(channels, 64, 5), Along(64),
            along(64, WAVELETS, 3, 2), Along(WAVELETS),
            along(WAVELETS, WAVELETS, 3, 2), Along(WAVELETS),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        found = self.stages(x)
        return torch.cat([found.mean(2), found.amax(2)], 1)


def _image_stages(channels: int) -> tuple[nn.Sequential, nn.Sequential]:
    """Five halvings, the first two at once: 2 x 2 pixels side by side cost less than a grid at half size. Up to 1/16, and on."""
    fine: list[nn.Module] = [nn.PixelUnshuffle(2), halve(4 * channels, 32), Residual(32)]
    for before, after in ((32, 64), (64, 128)):
        fine += [halve(before, after), Residual(after)]
    return nn.Sequential(*fine), nn.Sequential(halve(128, IMAGE), Residual(IMAGE))


def _middles(height: int, breadth: int) -> Tensor:
    """(y, x) [1 2 H * B] of the places of a grid, in sides from its middle, by rows then columns."""
    y, x = torch.meshgrid(
        (torch.arange(height) + 0.5) / height - 0.5, (torch.arange(breadth) + 0.5) / breadth - 0.5, indexing="ij"
    )
    return torch.stack([y.flatten(), x.flatten()])[None]
