"""Bragg peaks in a frame, as the classical finder "peakfinder8" defines them.

A. Barty et al., J. Appl. Cryst. 47, 1118 (2014), with the names, meanings and defaults of CrystFEL's indexamajig.

1. Rings. A pixel at r pixels from the beam lies on ring rint(r), of all panels together.
2. Five times, over the trusted pixels of a ring between its limits: mean and deviation; then the limits are
   high = max(mean + min_snr deviation, threshold) and low = mean - min_snr deviation.
3. Pixels above `high` that touch, by side or corner and inside one panel, are a blob. It needs one pixel off the panel's border.
4. Of a blob of min_pix_count to max_pix_count pixels, the background is the mean of the pixels below `high` in a disc of radius
   2 local_bg_radius about the blob, inside the panel; sigma is their deviation.
5. total = sum of the blob above background, snr = total / sigma; a peak has snr >= min_snr, its maximum is not below the
   largest pixel of the background, and its centre lies on the panel.

Sums are in double precision; means and limits of rings are then rounded to single, and the pixel about which the disc lies is
found in single precision, as OM's compiled finder does: for it, half a pixel is often a tie.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beamsight.errors import BadFrame, BeamsightError
from beamsight.frame import Geometry, Panel
from beamsight.rings import Places, Rings, draw, rings

Rectangle = tuple[int, int, int, int]
Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Mask = NDArray[np.bool_]
Spread = Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]]

ROUNDS = 5
# Fast statistics rest on so many trusted pixels of a ring, out of so many drawn once per geometry.
USED, DRAWN = 100, 200
# Pixels are handed to threads, and sums added up, in pieces of about so many: results do not depend on the threads.
PIECE_PX = 2**19
EVERYTHING = 1e9


@dataclass(frozen=True)
class Peakfinder8:
    """The parameters of peakfinder8; names, meanings and defaults are those of CrystFEL's indexamajig.

    `threshold` counts that a peak's pixels exceed whatever the background is (--threshold);
    `min_snr` deviations by which pixels exceed the background of their radius, and least ratio of a peak's sum to the deviation
    of its surroundings (--min-snr); `min_pix_count`, `max_pix_count` pixels of a peak, both included (--min-pix-count,
    --max-pix-count); `local_bg_radius` half the radius of the surroundings, px (--local-bg-radius); `min_res`, `max_res` pixels
    from the beam between which peaks are looked for, neither included, 0 = no limit (--min-res, --max-res);
    `max_peaks` of a panel that are kept, though all are counted (2048 in CrystFEL); `fast` takes the radial statistics
    from at most 100 pixels of a radius, drawn once per geometry (--peakfinder8-fast).
    Raises BeamsightError where a value has no meaning.
    """

    threshold: float = 800.0
    min_snr: float = 5.0
    min_pix_count: int = 2
    max_pix_count: int = 200
    local_bg_radius: int = 3
    min_res: float = 0.0
    max_res: float = 0.0
    max_peaks: int = 2048
    fast: bool = False

    def __post_init__(self) -> None:
        for name in ("min_snr", "min_pix_count", "max_pix_count", "local_bg_radius", "min_res", "max_res", "max_peaks"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise BeamsightError(f"peakfinder8: {name} is {getattr(self, name)}; it must be a number of 0 or more")
        if not abs(self.threshold) < EVERYTHING:
            raise BeamsightError(f"peakfinder8: threshold is {self.threshold}; it must be counts, at most {EVERYTHING:g}")


@dataclass(frozen=True, eq=False)
class Peaks:
    """The peaks of a frame [n], panel by panel, in each in the order of their first pixels row by row.

    `y_px`, `x_px` centre in pixels of the stored image, pixel centres at integers, weighted by counts; `n_pixels`;
    `total` and `maximum` counts above the background; `sigma` deviation of the background, counts; `snr` = total / sigma;
    `panel` number of the panel, 0 without panels. `found` counts the peaks beyond those that were kept, too.
    """

    y_px: Floats
    x_px: Floats
    n_pixels: NDArray[np.int64]
    total: Floats
    maximum: Floats
    sigma: Floats
    snr: Floats
    panel: NDArray[np.int64]
    found: int

    def __len__(self) -> int:
        return len(self.y_px)


@dataclass(frozen=True, eq=False)
class Search:
    """All of a search that frames of one geometry share: `prepare` or `search_of` make it.

    `ring` [H W] of every pixel, `count` (their number) meaning none; `panels` as (y0, y1, x0, x1); `drawn` [count DRAWN] places
    y W + x of pixels drawn for fast statistics, None without; `assumed_centre`: the geometry has no centre, and the middle of
    the image was taken for it.
    """

    parameters: Peakfinder8
    ring: Rings
    count: int
    panels: tuple[Rectangle, ...]
    drawn: Places | None = None
    assumed_centre: bool = False


def find_peaks(
    image: Singles,
    mask: Mask,
    radius_px: Singles,
    panels: tuple[Panel, ...] = (),
    parameters: Peakfinder8 | None = None,
    threads: int | None = None,
) -> Peaks:
    """The peaks of one image [H W] with its mask [H W] (True = trust), pixels `radius_px` [H W] from the beam (NaN: never
    looked at); () are one panel. For many images of one geometry, `prepare` once and ask `peaks_of` each.

    Raises BadFrame where shapes do not fit together, BeamsightError where Numba is not installed.
    """
    return peaks_of(prepare(radius_px, panels, parameters or Peakfinder8()), image, mask, threads)


def prepare(radius_px: NDArray[Any], panels: tuple[Panel, ...], parameters: Peakfinder8) -> Search:
    """What frames share whose pixels are `radius_px` [H W] from the beam; NaN: never looked at.

    Raises BadFrame where panels lie outside the image, or radii differ by more than 65,000 pixels.
    """
    radius = np.asarray(radius_px)
    places = tuple((p.y0, p.y1, p.x0, p.x1) for p in panels) or ((0, radius.shape[0], 0, radius.shape[1]),)
    if not all(0 <= y0 < y1 <= radius.shape[0] and 0 <= x0 < x1 <= radius.shape[1] for y0, y1, x0, x1 in places):
        raise BadFrame(f"peakfinder8: a panel lies outside the image {radius.shape}; give the panels of this detector")
    ring, count = rings(_within(places, radius), parameters.min_res, parameters.max_res)
    return Search(parameters, ring, count, places, draw(ring, count, DRAWN) if parameters.fast else None)


def _within(places: Sequence[Rectangle], radius: NDArray[Any]) -> NDArray[Any]:
    """The radii [H W] of the pixels of panels, NaN elsewhere."""
    if places == ((0, radius.shape[0], 0, radius.shape[1]),):
        return radius
    inside = np.full(radius.shape, np.nan, np.float32)
    for y0, y1, x0, x1 in places:
        inside[y0:y1, x0:x1] = radius[y0:y1, x0:x1]
    return inside


def search_of(geometry: Geometry, parameters: Peakfinder8) -> Search:
    """The search in frames of a geometry, remembered for the last few. Without a centre, the middle of the stored image is
    taken for it, and `assumed_centre` says so: rings about a wrong centre raise the noise of the radial statistics."""
    # Not by distance or wavelength, which may change from shot to shot.
    return _search_of(Geometry(geometry.shape, centre_px=geometry.centre_px, panels=geometry.panels), parameters)


@lru_cache(maxsize=2)
def _search_of(geometry: Geometry, parameters: Peakfinder8) -> Search:
    known = all(p.corner_px is not None for p in geometry.panels) if geometry.panels else geometry.centre_px is not None
    middle = ((geometry.shape[0] - 1) / 2, (geometry.shape[1] - 1) / 2)
    placed = geometry if known else Geometry(geometry.shape, centre_px=middle)
    return replace(prepare(placed.radius_px().astype(np.float32), geometry.panels, parameters), assumed_centre=not known)


def peaks_of(search: Search, image: Singles, mask: Mask, threads: int | None = None) -> Peaks:
    """The peaks of one image [H W] with its mask [H W] (True = trust), by at most so many threads (None: one a core), of which
    the result does not depend. Pixels that are not finite are not trusted.

    Raises BadFrame where shapes do not fit together, BeamsightError where Numba is not installed.
    """
    image, mask = np.ascontiguousarray(image, np.float32), np.ascontiguousarray(mask, np.bool_)
    if not image.shape == mask.shape == search.ring.shape:
        raise BadFrame(f"peakfinder8: image {image.shape}, mask {mask.shape} and radii {search.ring.shape} must have one shape")
    loops, free = _loops(), mask.copy()
    pieces = [(n, piece) for n, panel in enumerate(search.panels) for piece in _pieces(panel)]
    with _spreading(_worth(threads, image.size)) as spread:
        mean, high = _statistics(search, image, free, [p for _, p in pieces], spread)
        bright = spread(lambda p: loops.bright(image, free, search.ring, high, p[1]), pieces)
        seeds: list[list[Places]] = [[] for _ in search.panels]
        for (panel, _), places in zip(pieces, bright, strict=True):
            seeds[panel].append(places)
        found = spread(lambda k: _collect(search, image, free, mean, high, k, np.concatenate(seeds[k])), range(len(seeds)))
    return _peaks(found)


def _collect(
    search: Search, image: Singles, free: Mask, mean: Singles, high: Singles, panel: int, seeds: Places
) -> tuple[Floats, int]:
    """The records [n 7] of the peaks of a panel that are kept, and how many peaks it has."""
    p = search.parameters
    numbers = (p.min_pix_count, p.max_pix_count, 2 * p.local_bg_radius, p.max_peaks)
    found: tuple[Floats, int] = _loops().collect(
        image, free, search.ring, mean, high, search.panels[panel], seeds, numbers, float(p.min_snr)
    )
    return found


def _peaks(found: Sequence[tuple[Floats, int]]) -> Peaks:
    """The peaks of all panels, from records and number of each."""
    y, x, n, total, maximum, sigma, snr = np.concatenate([records for records, _ in found]).T
    panel = np.repeat(np.arange(len(found)), [len(records) for records, _ in found])
    return Peaks(y, x, n.astype(np.int64), total, maximum, sigma, snr, panel, sum(n for _, n in found))


def _statistics(
    search: Search, image: Singles, free: Mask, pieces: Sequence[Rectangle], spread: Spread
) -> tuple[Singles, Singles]:
    """Mean and upper limit [rings + 1] of every ring."""
    ring = search.ring
    if search.drawn is not None:
        image, free, ring, pieces = _drawn(image, free, search.drawn)
    mean, low, high = (np.full(search.count + 1, value, np.float32) for value in (0, -EVERYTHING, EVERYTHING))
    low[-1] = high[-1] = np.inf
    moving = np.ones(search.count, bool)
    for _ in range(ROUNDS):
        # A ring whose limits have settled takes no more part: nothing lies above infinity.
        part = partial(_sums, image, free, ring, np.where(np.append(moving, False), low, np.float32(np.inf)), high)
        limits = np.stack(_limits(np.sum(spread(part, pieces), 0), search.parameters))
        before = np.stack([mean, low, high])[:, :-1]
        mean[:-1], low[:-1], high[:-1] = now = np.where(moving, limits, before)
        moving = (now != before)[1:].any(0)
        if not moving.any():
            break
    return mean, high


def _sums(image: Singles, free: Mask, ring: Rings, low: Singles, high: Singles, piece: Rectangle) -> Floats:
    """Number, sum and sum of squares [rings 3] of the pixels of a piece between the limits."""
    sums = np.zeros((len(low) - 1, 3))
    _loops().add(image, free, ring, low, high, piece, sums)
    return sums


def _drawn(image: Singles, free: Mask, places: Places) -> tuple[Singles, Mask, Rings, list[Rectangle]]:
    """The drawn pixels as an image [rings DRAWN] of their own, its mask and its rings: the first USED trusted ones of each."""
    values = image.ravel()[places]
    trusted = (places >= 0) & free.ravel()[places] & np.isfinite(values)
    trusted &= np.cumsum(trusted, 1) <= USED
    rings_of = np.repeat(np.arange(len(places), dtype=np.uint16)[:, None], DRAWN, 1)
    return values, trusted, rings_of, [(0, len(places), 0, DRAWN)]


def _limits(sums: Floats, parameters: Peakfinder8) -> tuple[Singles, Singles, Singles]:
    """Mean and limits of rings from number, sum and sum of squares [rings 3]; on an empty ring no pixel is bright."""
    n, total, squares = sums.T
    mean = total / np.maximum(n, 1)
    sigma = squares / np.maximum(n, 1) - mean**2
    np.sqrt(sigma, where=sigma >= 0, out=sigma)
    spread = parameters.min_snr * sigma
    single = np.finfo(np.float32)
    high = np.where(n > 0, np.maximum(mean + spread, parameters.threshold), single.max)
    low = np.where(n > 0, mean - spread, single.tiny)
    return mean.astype(np.float32), low.astype(np.float32), high.astype(np.float32)


def _pieces(panel: Rectangle) -> Iterator[Rectangle]:
    y0, y1, x0, x1 = panel
    rows = max(1, PIECE_PX // (x1 - x0))
    yield from ((y, min(y + rows, y1), x0, x1) for y in range(y0, y1, rows))


@contextmanager
def _spreading(threads: int) -> Iterator[Spread]:
    """Gives a function that calls another for every item and lists what it returned, in order."""
    if threads == 1:
        yield lambda work, items: [work(item) for item in items]
        return
    with ThreadPoolExecutor(threads) as pool:

        def spread(work: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
            # Few errands: to hand one over takes as long as a small panel.
            length = -(-len(items) // (2 * threads))
            errands = [items[k : k + length] for k in range(0, len(items), length)]
            return list(chain.from_iterable(pool.map(lambda errand: [work(item) for item in errand], errands)))

        yield spread


def _worth(threads: int | None, pixels: int) -> int:
    """So many threads as asked, or as there are cores, but no more than there are pieces of work."""
    return max(1, min(threads or len(os.sched_getaffinity(0)), pixels // PIECE_PX))


def _loops() -> Any:
    try:
        from beamsight import peakfinder8_kernels
    except ImportError as error:
        raise BeamsightError(
            f"peakfinder8 needs Numba, which is not installed ({error}); pip install 'beamsight[peaks]'"
        ) from None
    return peakfinder8_kernels
