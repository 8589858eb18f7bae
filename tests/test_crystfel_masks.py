"""Which pixels a geometry file of CrystFEL trusts."""

# SPDX-License-Identifier: BSD-3-Clause

from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

import formats
from beamsight.sources import open_frames
from test_crystfel_geom import PANELS, SLAB, TOP, one, slab, write


def trusted(folder: Path, extra: str, panels: str = PANELS) -> NDArray[np.bool_]:
    return one(slab(folder), geom=write(folder, TOP + SLAB + panels + extra)).mask


def test_pixels_of_no_panel_are_not_trusted(tmp_path: Path) -> None:
    mask = trusted(tmp_path, "", PANELS.replace("b/max_ss = 15", "b/max_ss = 14"))
    np.testing.assert_array_equal(mask.all(axis=1), [*[True] * 15, False])


@pytest.mark.parametrize("value", ["1", "true"])
def test_a_panel_may_be_left_out(value: str, tmp_path: Path) -> None:
    np.testing.assert_array_equal(trusted(tmp_path, f"b/no_index = {value}\n")[:, 0], [True] * 8 + [False] * 8)


def test_edges_of_panels_may_be_left_out(tmp_path: Path) -> None:
    mask = trusted(tmp_path, "a/mask_edge_pixels = 2\n")
    expected = np.ones((16, 10), bool)
    expected[:8] = False
    expected[2:6, 2:8] = True
    np.testing.assert_array_equal(mask, expected)


def test_bad_regions_in_pixels_include_their_ends(tmp_path: Path) -> None:
    bad = "bad_1/min_fs = 2\nbad_1/max_fs = 4\nbad_1/min_ss = 9\nbad_1/max_ss = 10\n"
    expected = np.ones((16, 10), bool)
    expected[9:11, 2:5] = False
    np.testing.assert_array_equal(trusted(tmp_path, bad + "bad_1/panel = b\n"), expected)
    np.testing.assert_array_equal(trusted(tmp_path, bad), expected)
    assert trusted(tmp_path, bad + "bad_1/panel = a\n").all()


def test_bad_regions_in_space_take_pixels_by_their_middles(tmp_path: Path) -> None:
    bad = "badstop/min_x = 5.6\nbadstop/max_x = 7.5\nbadstop/min_y = -100\nbadstop/max_y = -18.9\n"
    expected = np.ones((16, 10), bool)
    expected[:2, 1:3] = False
    np.testing.assert_array_equal(trusted(tmp_path, bad), expected)


def test_values_may_be_flagged(tmp_path: Path) -> None:
    image = one(slab(tmp_path)).image
    mask = trusted(tmp_path, "a/flag_morethan = 7\nb/flag_lessthan = 3\nb/flag_equal = 5\n")
    expected = np.ones((16, 10), bool)
    expected[:8], expected[8:] = image[:8] <= 7, (image[8:] >= 3) & (image[8:] != 5)
    np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize(
    "style", ["mask = {0}\nmask_good = {1}\nmask_bad = {2}\n", "mask0_data = {0}\nmask0_goodbits = {1}\nmask0_badbits = {2}\n"]
)
@pytest.mark.parametrize(("good", "bad"), [("0x0", "0xffff"), ("0x2", "0"), ("1", "0x4"), ("0", "0")])
def test_bits_of_masks_must_be_good_and_not_bad(style: str, good: str, bad: str, tmp_path: Path) -> None:
    bits = np.arange(3 * 160, dtype=np.uint32).reshape(3, 16, 10) % 8
    path = formats.cxi(tmp_path, np.ones((3, 16, 10), int), bits)
    geom = write(tmp_path, TOP + SLAB + style.format("/entry_1/data_1/mask", good, bad) + PANELS)
    g, b = int(good, 0), int(bad, 0)
    expected = ((bits & g) == g) & ((bits & b) == 0)
    np.testing.assert_array_equal([f.mask for f in open_frames(path, geom=geom)], expected)


def test_a_mask_may_lie_in_a_file_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mask = np.zeros((2, 8, 10), np.uint8)
    mask[1, 3] = 1
    with h5py.File(tmp_path / "mask.h5", "w") as file:
        file["mask"] = mask
    geom = write(tmp_path, TOP + SLAB + "mask_file = mask.h5\nmask = /mask\nmask_bad = 1\n" + PANELS)
    # As seen from where the command runs, or beside the .geom file.
    for folder in (tmp_path, Path(__file__).parent):
        monkeypatch.chdir(folder)
        np.testing.assert_array_equal(~one(slab(tmp_path), geom=geom).mask, mask.reshape(16, 10) == 1)
