"""Detectors of several modules: one frame a shot, its modules below one another, whoever wrote the file."""

# SPDX-License-Identifier: BSD-3-Clause

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import formats
from beamsight.errors import BadFrame, CannotRead
from beamsight.frame import Frame, Panel
from beamsight.sources import Refused, open_frames, read_frames

Array = NDArray[Any]


def stack(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).poisson(5, shape).astype(np.int32)


def images(where: Any, **options: Any) -> Array:
    return np.array([f.image for f in open_frames(where, **options)])


def one(where: Any, **options: Any) -> Frame:
    (frame,) = open_frames(where, **options)
    return frame


def refusal(where: Any, **options: Any) -> str:
    refused: list[Refused] = []
    assert not list(open_frames(where, on_bad=refused.append, **options))
    assert "\n" not in refused[0].reason
    return refused[0].reason


# ---- the rule


CXI = formats.cxi
PLAIN = formats.plain_h5()


def named(axes: Any, *, group: bool = False) -> Any:
    def write(path: Path, data: Array) -> Path:
        with h5py.File(path / "a.h5", "w") as file:
            file["entry/data/data"] = data
            (file["entry/data"] if group else file["entry/data/data"]).attrs["axes"] = axes
        return path / "a.h5"

    return write


# Shape of the data, who writes it, how many frames it is, and (modules, rows, columns) of a frame.
RULE: dict[str, tuple[tuple[int, ...], Any, int, tuple[int, int, int]]] = {
    "cxi slab": ((3, 24, 16), CXI, 3, (1, 24, 16)),
    "cxi modules": ((3, 4, 12, 16), CXI, 3, (4, 12, 16)),
    "cxi modules and gain": ((3, 4, 2, 12, 16), CXI, 3, (4, 12, 16)),
    "cxi quadrants": ((3, 4, 8, 12, 16), CXI, 3, (32, 12, 16)),
    "jungfrau": ((1, 2, 512, 1024), PLAIN, 1, (2, 512, 1024)),
    "agipd raw": ((1, 2, 2, 512, 128), PLAIN, 1, (2, 512, 128)),
    "cspad": ((1, 4, 8, 185, 388), PLAIN, 1, (32, 185, 388)),
    "names of axes, as text": ((3, 2, 5, 12, 16), named("frame,quadrant,sensor,ss,fs"), 3, (10, 12, 16)),
    "names as in cxi": ((3, 4, 12, 16), named("experiment_identifier:module_identifier:y:x"), 3, (4, 12, 16)),
    "modules alone": ((4, 12, 16), named("module_identifier:y:x"), 1, (4, 12, 16)),
    "scan, named as in nexus": ((3, 4, 12, 16), named(["y_motor", "x_motor", ".", "."], group=True), 12, (1, 12, 16)),
    "one channel": ((3, 1, 12, 16), PLAIN, 3, (1, 12, 16)),
    "a stack": ((3, 12, 16), PLAIN, 3, (1, 12, 16)),
}


@pytest.mark.parametrize("name", RULE)
def test_the_rule_gives_one_frame_a_shot(name: str, tmp_path: Path) -> None:
    shape, write, count, (modules, rows, columns) = RULE[name]
    data = stack(*shape)
    path = write(tmp_path, data)
    # Of a gain axis the counts come first.
    counts = data[:, :, 0] if "gain" in name or "raw" in name else data
    found = list(open_frames(path))
    np.testing.assert_array_equal([f.image for f in found], counts.reshape(count, modules * rows, columns))
    panels = tuple(Panel(n * rows, (n + 1) * rows, 0, columns) for n in range(modules)) if modules > 1 else ()
    assert all(f.geometry.panels == panels for f in found)
    for frame in found:
        again = one(frame.key)
        np.testing.assert_array_equal(again.image, frame.image)
        assert again.key == frame.key


def test_panels_come_back_from_a_reading_process(tmp_path: Path) -> None:
    path = CXI(tmp_path, stack(3, 4, 12, 16))
    for here, there in zip(open_frames(path), read_frames(path), strict=True):
        assert isinstance(there, Frame)
        assert there.geometry == here.geometry
        assert there.geometry.panels
        np.testing.assert_array_equal(there.image, here.image)


@pytest.mark.parametrize("shape", [(2, 3, 12, 16), (2, 33, 512, 16), (2, 2, 3, 12, 16), (2, 40, 185, 388)])
def test_what_nobody_can_know_is_refused_with_both_ways_out(shape: tuple[int, ...], tmp_path: Path) -> None:
    path = PLAIN(tmp_path, np.zeros(shape, np.int8))
    reason = refusal(path)
    assert f"{len(shape)}-D data of shape {shape}" in reason
    for way in (":" + ",m" * (len(shape) - 3), ",".join(":" * (len(shape) - 2))):
        assert f"slice={way}" in reason
        assert next(iter(open_frames(f"{path}?path=/measurement/images&slice={way}"))).mask.any()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.lists(st.integers(1, 4), min_size=1, max_size=2), st.booleans(), st.data())
def test_a_frame_is_its_modules_below_one_another(frames: int, modules: list[int], first: bool, draw: Any) -> None:
    data = stack(frames, *modules, 9, 11)
    marks = ",".join("m" * len(modules))
    with TemporaryDirectory() as folder:
        stored = np.moveaxis(data, 0, -3) if first else data
        path = PLAIN(Path(folder), np.ascontiguousarray(stored))
        where = f"{path}?path=/measurement/images&slice={f'{marks},:' if first else f':,{marks}'}"
        found = list(open_frames(where))
        expected = data.reshape(frames, -1, 11)
        np.testing.assert_array_equal([f.image for f in found], expected)
        n = draw.draw(st.integers(0, frames - 1))
        np.testing.assert_array_equal(one(found[n].key).image, expected[n])


def test_an_address_has_the_last_word(tmp_path: Path) -> None:
    data = stack(3, 4, 12, 16)
    path = f"{CXI(tmp_path, data)}?path=/entry_1/data_1/data&slice="
    np.testing.assert_array_equal(images(f"{path}1"), data[1:2].reshape(1, 48, 16))
    np.testing.assert_array_equal(images(f"{path}1,2"), data[1:2, 2])
    np.testing.assert_array_equal(images(f"{path}:,:"), data.reshape(12, 12, 16))
    np.testing.assert_array_equal(images(f"{path}1:,1:3"), data[1:, 1:3].reshape(4, 12, 16))
    # A window is cut out of each module; the key says so.
    window = one(f"{path}2,m,2:11,4:16")
    np.testing.assert_array_equal(window.image, data[2, :, 2:11, 4:16].reshape(36, 12))
    np.testing.assert_array_equal(one(window.key).image, window.image)
    with pytest.raises(BadFrame, match="between the axes"):
        one(f"{PLAIN(tmp_path, stack(2, 3, 2, 12, 16))}?path=/measurement/images&slice=:,m,:")


@pytest.mark.parametrize("text", ["m", "0,m,m", "0,0,0,m", "0,x"])
def test_a_slice_that_leaves_no_image_is_one_line(text: str, tmp_path: Path) -> None:
    path = PLAIN(tmp_path, stack(3, 12, 16)) if text == "0,m,m" else PLAIN(tmp_path, stack(12, 16))
    assert refusal(f"{path}?path=/measurement/images&slice={text}")


def test_a_frame_of_which_a_module_was_not_written_says_so(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.cxi", "w") as file:
        file["cxi_version"] = 150
        data = file.create_dataset(
            "entry_1/data_1/data", (3, 2, 12, 16), "i4", chunks=(1, 1, 12, 16), **hdf5plugin.Bitshuffle(cname="lz4")
        )
        data[0] = stack(2, 12, 16)
    kinds = [type(item) for item in read_frames(tmp_path / "a.cxi")]
    assert kinds == [Frame, Refused, Refused]


# ---- masks


def test_the_mask_of_a_file_is_of_the_modules_of_the_frame(tmp_path: Path) -> None:
    data, mask = stack(3, 4, 12, 16), np.zeros((3, 4, 12, 16), np.uint32)
    mask[1, 2, 3:5], mask[2, 0, 0, 0] = 1, 32
    found = list(open_frames(CXI(tmp_path, data, mask)))
    np.testing.assert_array_equal([~f.mask for f in found], (mask == 1).reshape(3, 48, 16))


@pytest.mark.parametrize("shape", [(4, 12, 16), (48, 16), (2, 2, 12, 16)])
def test_a_mask_of_a_stack_is_of_its_shape_or_of_the_slab(shape: tuple[int, ...], tmp_path: Path) -> None:
    path = CXI(tmp_path, stack(2, 4, 12, 16))
    mask = np.random.default_rng(1).random(shape) < 0.2
    np.save(tmp_path / "mask.npy", mask)
    with h5py.File(tmp_path / "mask.h5", "w") as file:
        file["mask"] = mask.astype(np.uint8)
    for given_ in (tmp_path / "mask.npy", tmp_path / "mask.h5", f"{tmp_path / 'mask.h5'}::/mask", ~mask):
        for frame in open_frames(path, mask=given_):
            np.testing.assert_array_equal(frame.mask, ~mask.reshape(48, 16))


@pytest.mark.parametrize("shape", [(3, 12, 16), (12, 16), (4, 16, 12), (2, 4, 12, 16)])
def test_a_mask_of_another_shape_is_one_line(shape: tuple[int, ...], tmp_path: Path) -> None:
    path = CXI(tmp_path, stack(2, 4, 12, 16))
    np.save(tmp_path / "mask.npy", np.zeros(shape, bool))
    reason = refusal(path, mask=tmp_path / "mask.npy")
    assert "(48, 16)" in reason
    assert "4 modules below one another" in reason


def test_a_mask_beside_the_frames_may_be_one_for_all(tmp_path: Path) -> None:
    data, mask = stack(3, 4, 12, 16), np.zeros((4, 12, 16), np.uint8)
    mask[3, 2] = 1
    for frame in open_frames(CXI(tmp_path, data, mask)):
        np.testing.assert_array_equal(~frame.mask, mask.reshape(48, 16) == 1)


def test_modules_that_sent_nothing_are_not_trusted(tmp_path: Path) -> None:
    data = stack(2, 4, 12, 16).astype(np.float32)
    data[1, 2] = np.nan
    first, second = open_frames(CXI(tmp_path, data))
    assert first.mask.all()
    np.testing.assert_array_equal(~second.mask.reshape(4, 12, 16).all(axis=(1, 2)), [False, False, True, False])


# ---- what belongs to a shot


def test_each_shot_has_its_own_wavelength_and_distance(tmp_path: Path) -> None:
    path = CXI(tmp_path, stack(3, 4, 12, 16))
    with h5py.File(path, "a") as file:
        del file["entry_1/instrument_1/source_1/energy"], file["entry_1/instrument_1/detector_1/distance"]
        file["entry_1/instrument_1/source_1/energy"] = np.array([9000.0, 9100.0, np.nan]) * 1.602176634e-19
        file["entry_1/instrument_1/detector_1/distance"] = [0.1, 0.2, 0.3]
    found = [f.geometry for f in open_frames(path)]
    expected = [1.23984198e-6 / 9000, 1.23984198e-6 / 9100, None]
    assert [g.wavelength_m for g in found] == [None if e is None else pytest.approx(e) for e in expected]
    assert [g.distance_m for g in found] == [0.1, 0.2, 0.3]


@pytest.mark.peer
@pytest.mark.parametrize("raw", [True, False])
def test_a_run_of_an_agipd_as_its_facility_writes_it(raw: bool, tmp_path: Path) -> None:
    """Raw files keep the gain beside the counts on an axis, calibrated ones apart, with a mask."""
    examples = pytest.importorskip("extra_data.tests.make_examples")
    (tmp_path / "run").mkdir()
    examples.make_spb_run(str(tmp_path / "run"), raw=raw)
    module = stack(512, 128)
    with h5py.File(tmp_path / "run" / f"{'RAW' if raw else 'CORR'}-R0238-AGIPD03-S00000.h5", "a") as file:
        image = file["INSTRUMENT/SPB_DET_AGIPD1M-1/DET/3CH0:xtdf/image"]
        image["data"][5] = np.stack([module, module + 9999]) if raw else module
        if not raw:
            image["mask"][5, 100:200] = 1
    from extra_data import RunDirectory
    from extra_data.components import AGIPD1M

    with RunDirectory(str(tmp_path / "run")) as run:
        AGIPD1M(run, raw=raw).write_virtual_cxi(str(tmp_path / "run.cxi"))
    (frame,) = read_frames(tmp_path / "run.cxi", frames="5")
    assert isinstance(frame, Frame)
    assert frame.key == f"{tmp_path / 'run.cxi'}?path=/entry_1/data_1/data&slice=5"
    assert len(frame.geometry.panels) == 16
    expected, bad = np.zeros((16, 512, 128)), np.zeros((16, 512, 128), bool)
    expected[3], bad[3, 100:200] = module, not raw
    np.testing.assert_array_equal(frame.image.reshape(16, 512, 128), expected)
    np.testing.assert_array_equal(~frame.mask.reshape(16, 512, 128), bad)


def test_truncated_stacks_are_refused(tmp_path: Path) -> None:
    path = CXI(tmp_path, stack(3, 4, 12, 16))
    path.write_bytes(path.read_bytes()[:-1000])
    assert "truncated" in refusal(path)


def test_a_missing_place_is_named(tmp_path: Path) -> None:
    path = CXI(tmp_path, stack(3, 4, 12, 16))
    with pytest.raises(CannotRead, match="no /entry_1/data_2/data in it"):
        one(f"{path}::/entry_1/data_2/data")
