"""What a graph is given is the same whatever memory it lies in, and whatever the pixels hold that nobody trusts."""

# SPDX-License-Identifier: BSD-3-Clause

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from beamsight.bundle import load
from beamsight.frame import Frame, Geometry
from beamsight.inputs import Inputs
from models import write_bundle

TILE = 64
WILD = (np.nan, np.inf, -np.inf, 3e38, -7.0, 0.0)


def frame(shape: tuple[int, int], seed: int, wild: tuple[float, ...] = WILD) -> Frame:
    """Counts with wild values everywhere, half of them trusted."""
    rng = np.random.default_rng(seed)
    image = rng.poisson(3, shape).astype(np.float32)
    image[rng.random(shape) < 0.3] = rng.choice(np.array(wild, np.float32))
    for value in wild:
        image[rng.random(shape) < 0.05] = value
    return Frame(image, rng.random(shape) < 0.5, Geometry(shape, centre_px=(1.0, 2.0) if seed % 2 else None), f"k{seed}")


def plainly(frames: list[Frame], tile: int) -> dict[str, np.ndarray]:
    """The same, with an array for every step."""
    sides = [((0, -n % tile)) for n in frames[0].image.shape]
    image, mask = (np.pad(np.stack([getattr(f, name) for f in frames]), [(0, 0), *sides]) for name in ("image", "mask"))
    mask &= np.isfinite(image)
    centre = [f.geometry.centre_px or (np.nan, np.nan) for f in frames]
    return {"counts": np.where(mask, image, 0), "mask": mask.astype(np.float32), "centre": np.array(centre, np.float32)}


@pytest.mark.parametrize("tile", [1, TILE])
@pytest.mark.parametrize("wild", [WILD, (-7.0, 0.5)])
def test_memory_that_was_used_before_leaves_no_trace(tile: int, wild: tuple[float, ...]) -> None:
    inputs = Inputs(tile)
    # Larger, smaller, of other sides, more and fewer.
    for number, (many, shape) in enumerate([(2, (70, 130)), (1, (64, 64)), (3, (65, 20)), (1, (130, 70)), (4, (90, 90))]):
        frames = [frame(shape, 10 * number + n, wild) for n in range(many)]
        given, expected = inputs.filled(frames), plainly(frames, tile)
        assert given.keys() == expected.keys()
        for name, values in expected.items():
            assert given[name].dtype == np.float32
            assert given[name].flags.c_contiguous
            np.testing.assert_array_equal(given[name], values)


def test_one_memory_serves_frames_of_a_size() -> None:
    inputs = Inputs(TILE)
    first = inputs.filled([frame((100, 100), 1)])["counts"]
    assert np.shares_memory(first, inputs.filled([frame((100, 90), 2)])["counts"])


def test_threads_that_share_a_model_answer_as_one_by_one(tmp_path: Path) -> None:
    model = load(write_bundle(tmp_path / "b"), threads=1)
    frames = [frame((40 + n, 70), n, (0.0, 40.0)) for n in range(200)]
    alone = [next(model.predict(f)).probability for f in frames]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda f: next(model.predict(f)).probability, frames))
    assert together == alone
