"""The sum of hits: what it holds, whatever stops a run."""

# SPDX-License-Identifier: BSD-3-Clause

from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.random import default_rng
from numpy.typing import NDArray

from beamsight.answers import POWDER
from beamsight.errors import CannotWrite
from beamsight.frame import Frame, Geometry
from beamsight.powder import EVERY, Powder, mean_of

SHAPE = (13, 22)


def frame(n: int, shape: tuple[int, int] = SHAPE) -> Frame:
    rng = default_rng(n)
    image = rng.normal(5, 3, shape).astype(np.float32)
    image[rng.random(shape) < 0.05] = np.nan
    return Frame(image, rng.random(shape) < 0.9, Geometry(shape), f"frame/{n}")


def summed(frames: list[Frame]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    trusted = [f.mask & np.isfinite(f.image) for f in frames]
    return sum(np.where(t, f.image.astype(float), 0) for t, f in zip(trusted, frames, strict=True)), sum(
        t.astype(int) for t in trusted
    )


def held(folder: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    with h5py.File(folder / POWDER) as file:
        return file["entry/powder/sum"][()], file["entry/powder/trusted"][()]


def test_it_is_the_sum_of_what_is_trusted_and_says_how_often_that_was(tmp_path: Path) -> None:
    frames = [frame(n) for n in range(9)]
    with Powder(tmp_path) as powder:
        for f in frames:
            powder.add(f, f.key)
    total, trusted = summed(frames)
    assert held(tmp_path)[0] == pytest.approx(total)
    assert (held(tmp_path)[1] == trusted).all()
    mean = mean_of(tmp_path, 100)
    assert mean is not None
    assert mean[0].image == pytest.approx(total / np.maximum(trusted, 1), rel=1e-5)
    assert (mean[0].mask == (trusted > 0)).all()
    assert mean[1:] == (9, {})


def test_it_goes_on_and_takes_no_frame_twice(tmp_path: Path) -> None:
    frames = [frame(n) for n in range(9)]
    for part in (frames[:4], frames[2:7], frames):
        with Powder(tmp_path) as powder:
            for f in part:
                powder.add(f, f.key)
    assert powder.frames == 9
    assert held(tmp_path)[0] == pytest.approx(summed(frames)[0])


def test_a_kill_leaves_the_sum_of_the_last_save(tmp_path: Path) -> None:
    frames = [frame(n) for n in range(EVERY + 30)]
    killed = Powder(tmp_path)
    for f in frames:
        killed.add(f, f.key)
    powder = Powder(tmp_path)
    assert powder.frames == EVERY
    for f in frames:
        powder.add(f, f.key)
    powder.close()
    assert held(tmp_path)[0] == pytest.approx(summed(frames)[0])


def test_frames_of_another_shape_are_counted_apart(tmp_path: Path) -> None:
    for _ in range(2):
        with Powder(tmp_path) as powder:
            for f in (frame(1), frame(2, (4, 5)), frame(3, (4, 5)), frame(4, (5, 4))):
                powder.add(f, f.key)
    assert powder.others == {"4 x 5": 2, "5 x 4": 1}
    assert powder.frames == 1
    assert held(tmp_path)[0] == pytest.approx(summed([frame(1)])[0])


def test_a_large_sum_is_shown_by_means_of_blocks(tmp_path: Path) -> None:
    f = frame(1, (23, 37))
    with Powder(tmp_path) as powder:
        powder.add(f, f.key)
    mean = mean_of(tmp_path, 10)
    assert mean is not None
    assert mean[0].image.shape == (6, 10)
    total, trusted = summed([f])
    assert mean[0].image[2, 3] == pytest.approx(total[8:12, 12:16].sum() / trusted[8:12, 12:16].sum(), rel=1e-5)
    assert mean[0].image[5, 9] == pytest.approx(total[20:, 36:].sum() / max(1, trusted[20:, 36:].sum()), rel=1e-5)


def test_none_is_kept_of_no_hit_and_a_foreign_file_is_refused_in_one_line(tmp_path: Path) -> None:
    with Powder(tmp_path):
        pass
    assert not (tmp_path / POWDER).exists()
    assert mean_of(tmp_path, 10) is None
    (tmp_path / POWDER).write_bytes(b"something else")
    with pytest.raises(CannotWrite, match=r"powder\.h5: is no sum of hits"):
        Powder(tmp_path)
