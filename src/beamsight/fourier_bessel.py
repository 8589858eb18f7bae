"""Fourier-Bessel coefficients of frames: what turns with the sample keeps its magnitude and shifts its phase.

f(r, phi) = sum over n, k of c_nk J_n(z_nk r / R) e^{i n phi} within R of the beam, z_nk the k-th positive zero of J_n. On the
whole disc these functions are orthogonal (Watson, A Treatise on the Theory of Bessel Functions, ch. 18), so c_nk is the sum over
pixels of f conj(J_n e^{i n phi}), over pi R^2 J_{n+1}(z_nk)^2. Counts are real: c_-n,k = (-1)^n conj(c_nk), so n >= 0 says
it all.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from functools import reduce
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from beamsight.bessel import TAPS, Rings, tables

# How the unseen part of a ring is told from the seen: see `Completion`.
LEVEL, RIDGE, SMOOTH, STEPS = 1e-3, 4e-2, 3e-2, 8


class FourierBessel(nn.Module):
    """Coefficients c_nk of angular orders n = 0 .. `orders` and radial orders k = 1 .. `radial` in a disc of `radius_px`.

    (counts [B H W], mask [B H W] 1 = trust, centre [B 2] or [1 2] (y, x) px) -> [B orders + 1, radial, 2], real and imaginary
    part. The disc is that of the pixels within `radius_px` of the pixel nearest to the centre; it may reach beyond the frame.
    What is masked or off the frame is completed ring by ring from what is seen (`Completion`); with `complete` False it counts
    as zero.

    The centre's fraction of a pixel is taken in by Graf's addition theorem to `moves` terms to either side: 5 are exact to 1e-5,
    0 takes the nearest pixel. Linear in counts, differentiable in counts and centre. Raises ValueError for a disc too small.
    """

    functions: Tensor
    bessel_zeros: Tensor
    norms: Tensor

    def __init__(self, radius_px: int, orders: int = 32, radial: int = 64, moves: int = 5, complete: bool = True) -> None:
        super().__init__()
        self.orders, self.radial, self.moves, self.radius_px = orders, radial, moves, radius_px
        t = tables(radius_px, orders, radial)
        self.parts = nn.ModuleList([Part(rings) for rings in t.parts])
        self._keep("functions", np.stack([t.functions(m) for m in range(-moves, moves + 1)], 1))
        self._keep("bessel_zeros", t.zeros)
        self._keep("norms", t.norms)
        self.completion = Completion(orders + moves, self._full()) if complete else None

    def forward(self, counts: Tensor, mask: Tensor, centre: Tensor) -> Tensor:
        """See the class."""
        return self.sums(counts, mask, centre) / self.norms[..., None]

    def sums(self, counts: Tensor, mask: Tensor, centre: Tensor) -> Tensor:
        """The same before the norms: sums over pixels of counts times the conjugate functions [B N K 2]."""
        with torch.autocast(counts.device.type, enabled=False):
            whole = centre.float().round()
            trusted = mask.float()
            rings = self.rings(torch.where(trusted > 0, counts.float(), 0.0), whole, self.orders + self.moves)
            if self.completion is not None:
                rings = self.completion(rings, self.rings(trusted, whole, 2 * (self.orders + self.moves)))
            return self._moved(rings, centre.float() - whole)

    def rings(self, image: Tensor, whole: Tensor, last: int) -> Tensor:
        """Sums of an image [B H W] around each radius about whole pixels [B 2]: angular orders 0 to `last` [R B last + 1, 2]."""
        summed = torch.cat([part(image, whole, last) for part in self.parts])  # [I T B n 2]
        taps = (pad(summed[:, t], (0, 0, 0, 0, 0, 0, t, TAPS - 1 - t)) for t in range(TAPS))
        return reduce(torch.add, taps)

    def _moved(self, rings: Tensor, rest: Tensor) -> Tensor:
        """[B N K 2] from rings [R B L 2] about the nearest pixel: J_n(|p - d|) e^{i n phi'} is the sum over m of
        J_m(d) e^{-i m theta} J_{n+m}(p) e^{i (n+m) phi}."""
        total = torch.zeros(())
        for place, m in enumerate(range(-self.moves, self.moves + 1)):
            of_order = _shifted(rings, m, self.orders + 1)  # [N 2 B R]
            part = (of_order.flatten(1, 2) @ self.functions[:, place]).unflatten(1, (2, -1))
            total = total + (part if self.moves == 0 else self._turned_by(part, rest, m))
        return total.permute(2, 0, 3, 1)

    def _turned_by(self, part: Tensor, rest: Tensor, m: int) -> Tensor:
        """part [N 2 B K] times J_m(z d / R) e^{i m theta}, for d of less than a pixel by its series."""
        half = self.bessel_zeros[:, None] / (2 * self.radius_px)
        square = (rest * rest).sum(1)[None, :, None] * half * half
        order, term, series = abs(m), torch.ones(()), torch.zeros(())
        for j in range(6):
            series = series + term
            term = -term * square / ((j + 1) * (j + 1 + order))
        cos, sin = _power(rest, order)
        # (d / 2)^m e^{i m theta} is a power of x + i y; J_-m = (-1)^m J_m.
        scale = series * half**order / float(np.prod(np.arange(1, order + 1)))
        sign = 1.0 if m >= 0 else -1.0
        flip = (-1.0) ** order if m < 0 else 1.0
        cos, sin = flip * scale * cos[None, :, None], sign * flip * scale * sin[None, :, None]
        return torch.stack([part[:, 0] * cos - part[:, 1] * sin, part[:, 0] * sin + part[:, 1] * cos], 1)

    def _full(self) -> Tensor:
        """The rings [R 1 n 2] of a disc that is wholly seen."""
        side = 2 * self.radius_px + 1
        middle = torch.full((1, 2), float(self.radius_px))
        return self.rings(torch.ones(1, side, side), middle, 2 * (self.orders + self.moves))

    def _keep(self, name: str, values: np.ndarray) -> None:
        # Not persistent: they follow from the arguments, and weights on disk stay small.
        self.register_buffer(name, torch.as_tensor(values, dtype=torch.float32), persistent=False)


Terms: TypeAlias = "list[list[tuple[int, Tensor]]]"


class Part(nn.Module):
    """Some neighbouring rings: (image [B H W], whole pixels [B 2], last) -> sums on the radii that a ring's pixels reach, of
    angular orders 0 to `last` [I T B last + 1, 2].

    The disc is eight images of an eighth. With v_j its quarter turns and u_j those of its mirror image, the sum over the eight of
    f e^{-i n phi} is, for the angle phi of the eighth, e^{-i n phi} sum of v_j (-i)^{nj} + e^{i n phi} sum of u_j (-i)^{nj}:
    cosines of sums and sines of differences, in four kinds of n.
    """

    place: Tensor
    taps: Tensor

    def __init__(self, rings: Rings) -> None:
        super().__init__()
        place = np.stack([rings.y_px, rings.x_px])
        self.register_buffer("place", torch.as_tensor(place, dtype=torch.float32), persistent=False)
        self.register_buffer("taps", torch.as_tensor(rings.taps, dtype=torch.float32), persistent=False)
        self._known: dict[int, Terms] = {}

    def forward(self, image: Tensor, whole: Tensor, last: int) -> Tensor:
        """See the class."""
        alike = _alike(self._turned(image, whole))
        if torch.compiler.is_exporting():
            # Of one frame the pixels are fewer than the weights, and a graph should not hold these.
            alike = [(pixels[:, :, None] * self.taps[:, None]).flatten(1, 2) for pixels in alike]
            terms = self._waves(last)
        else:
            terms = self._weights(last)
        t = self.taps.shape[1]
        summed = [reduce(torch.add, (alike[source] @ wave for source, wave in term)) for term in terms]
        shaped = [part.reshape(part.shape[0], -1, t, part.shape[1] * part.shape[2] // image.shape[0] // t) for part in summed]
        return torch.stack([_interleaved(shaped[:4], last), _interleaved(shaped[4:], last)], 4).transpose(1, 2)

    def _turned(self, image: Tensor, whole: Tensor) -> Tensor:
        """The eight images [8 I B P] of the eighth, zero off the frame."""
        height, width = image.shape[1:]
        (y, x), at = self.place.flatten(1).to(torch.int64), whole.to(torch.int64)
        rows = torch.cat([y, x, -y, -x, -y, x, y, -x]) + at[:, :1]
        columns = torch.cat([x, -y, -x, y, x, y, -x, -y]) + at[:, 1:]
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        index = ((rows * width + columns) * inside).expand(image.shape[0], -1)
        values = image.flatten(1).gather(1, index) * inside
        return values.reshape(-1, 8, *self.place.shape[1:]).permute(1, 2, 0, 3)

    def _waves(self, last: int) -> Terms:
        """What is summed for the four kinds of n, real parts, then imaginary ones: (number of `_alike`, waves [I P n]) each."""
        angle = torch.atan2(self.place[0], self.place[1])[..., None]
        phases = [angle * torch.arange(kind, last + 1, 4, device=angle.device) for kind in range(4)]
        c, s = [p.cos() for p in phases], [p.sin() for p in phases]
        real = [[(0, c[0])], [(4, c[1]), (5, -s[1])], [(2, c[2])], [(4, c[3]), (5, s[3])]]
        return [*real, [(1, -s[0])], [(6, -c[1]), (7, -s[1])], [(3, -s[2])], [(6, c[3]), (7, -s[3])]]

    def _weights(self, last: int) -> Terms:
        """The same waves times the taps [I P T * n], kept from call to call."""
        known = self._known.get(last)
        if known is None or known[0][0][1].device != self.place.device:
            with torch.inference_mode(False):
                known = self._known[last] = [[(k, self._tapped(wave)) for k, wave in term] for term in self._waves(last)]
        return known

    def _tapped(self, wave: Tensor) -> Tensor:
        return (self.taps.transpose(1, 2)[..., None] * wave[:, :, None]).flatten(2)


def _alike(v: Tensor) -> list[Tensor]:
    """Of [8 I B P], four turns and four of the mirror image, what goes with cosines and sines of n = 0, 2 (mod 4), of odd n."""
    s, d = v[:4] + v[4:], v[:4] - v[4:]
    s02, s13, d02, d13 = s[0] + s[2], s[1] + s[3], d[0] + d[2], d[1] + d[3]
    return [s02 + s13, d02 + d13, s02 - s13, d02 - d13, s[0] - s[2], d[1] - d[3], s[1] - s[3], d[0] - d[2]]


class Completion(nn.Module):
    """What rings would sum to were they seen whole: (sums of counts [R B L 2], of the mask [R B 2L - 1, 2]) -> sums [R B L 2].

    On radius i the light is taken as f_i(phi) = sum of u_in e^{i n phi}, n up to L - 1, and u minimises

        sum over pixels of w_i(p) m(p) (counts(p) - f_i(phi_p))^2
        + W_i (LEVEL + RIDGE n^2) |u_in|^2 + W_i SMOOTH |u_in - u_(i-1)n|^2,

    w_i(p) being the weight with which a pixel is summed onto a radius, m the mask and W_i the sum of w_i were all seen. To the
    sums of the pixels that are seen come those of f at the others, so a ring that is seen whole stays as it is. Solved by `STEPS`
    steps of conjugate gradients.
    """

    waves: Tensor
    full: Tensor
    weight: Tensor
    ridge: Tensor

    def __init__(self, orders: int, full: Tensor) -> None:
        super().__init__()
        angle = np.arange(4 * orders + 2) * (2 * np.pi / (4 * orders + 2))
        n = np.arange(1, orders + 1)
        waves = np.concatenate([np.ones((1, len(angle))), *(np.sqrt(2) * f(np.outer(n, angle)) for f in (np.cos, np.sin))])
        self.register_buffer("waves", torch.as_tensor(waves, dtype=torch.float32), persistent=False)
        self.register_buffer("full", self._density(full), persistent=False)
        weight = full[:, :, :1, 0].clamp(min=1.0)
        self.register_buffer("weight", weight, persistent=False)
        order = torch.cat([torch.zeros(1), torch.arange(1, orders + 1).repeat(2)])
        self.register_buffer("ridge", LEVEL + RIDGE * order * order, persistent=False)

    def forward(self, sums: Tensor, mask: Tensor) -> Tensor:
        """See the class."""
        root = 2**0.5
        right = torch.cat([sums[:, :, :1, 0], root * sums[:, :, 1:, 0], -root * sums[:, :, 1:, 1]], 2)
        seen = self._density(mask)
        found = self._solved(right, seen, mask[:, :, :1, 0])
        whole = right + ((self.full - seen) * (found @ self.waves)) @ self.waves.T
        first, cos, sin = whole[..., :1], *whole[..., 1:].chunk(2, 2)
        return torch.stack([torch.cat([first, cos / root], 2), torch.cat([torch.zeros_like(first), -sin / root], 2)], 3)

    def _density(self, mask: Tensor) -> Tensor:
        """The mask's weight [R B J] on equal steps of angle, by its angular orders."""
        count = self.waves.shape[1]
        angle = torch.arange(count) * (2 * np.pi / count)
        phase = torch.arange(mask.shape[2])[:, None] * angle[None]
        twice = torch.where(torch.arange(mask.shape[2]) > 0, 2.0, 1.0)[:, None] / count
        return mask[..., 0] @ (phase.cos() * twice).to(mask) - mask[..., 1] @ (phase.sin() * twice).to(mask)

    def _normal(self, u: Tensor, seen: Tensor) -> Tensor:
        step = pad(self.weight[1:] * SMOOTH * (u[1:] - u[:-1]), (0, 0, 0, 0, 1, 1))
        return (seen * (u @ self.waves)) @ self.waves.T + self.weight * self.ridge * u + step[:-1] - step[1:]

    def _solved(self, right: Tensor, seen: Tensor, light: Tensor) -> Tensor:
        """u [R B U] by conjugate gradients, preconditioned by the diagonal."""
        diagonal = light + self.weight * (self.ridge + 2 * SMOOTH)
        u, rest = torch.zeros_like(right), right
        ahead = rest / diagonal
        towards, product = ahead, _dot(rest, ahead)
        for _ in range(STEPS):
            pushed = self._normal(towards, seen)
            length = product / (_dot(towards, pushed) + 1e-30)
            u, rest = u + length * towards, rest - length * pushed
            ahead = rest / diagonal
            new = _dot(rest, ahead)
            towards, product = ahead + new / (product + 1e-30) * towards, new
        return u


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Over the rings and orders of each frame: [1 B 1]."""
    return (a * b).sum((0, 2), keepdim=True)


def _interleaved(parts: list[Tensor], last: int) -> Tensor:
    """Orders 0 4 8 .., 1 5 .., 2 6 .., 3 7 .. in their order: four [I B T n] to [I B T last + 1]."""
    longest = last // 4 + 1
    even = [pad(p, (0, longest - p.shape[3])) for p in parts]
    return torch.stack(even, 4).flatten(3)[..., : last + 1]


def _shifted(rings: Tensor, m: int, count: int) -> Tensor:
    """Orders m to m + count - 1 of rings [R B L 2]: [count 2 B R]; order -n is the conjugate of n."""
    sign = rings.new_tensor([1.0, -1.0])
    head = rings[:, :, 1 : -m + 1].flip(2) * sign if m < 0 else rings[:, :, :0]
    return torch.cat([head, rings[:, :, max(m, 0) : m + count]], 2).permute(2, 3, 1, 0)


def _power(rest: Tensor, order: int) -> tuple[Tensor, Tensor]:
    """Real and imaginary part [B] of (x + i y)^order."""
    real, imaginary = torch.ones_like(rest[:, 1]), torch.zeros_like(rest[:, 0])
    for _ in range(order):
        real, imaginary = real * rest[:, 1] - imaginary * rest[:, 0], real * rest[:, 0] + imaginary * rest[:, 1]
    return real, imaginary
