"""Which pixels are trusted: from the file, from mask files, from values; and what is refused for having none."""

# SPDX-License-Identifier: BSD-3-Clause

from pathlib import Path
from typing import Any

import fabio
import h5py
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

import formats
from beamsight.errors import BadFrame, CannotRead
from beamsight.frame import Frame
from beamsight.masks import trusted
from beamsight.sources import Refused, open_frames, read_frames

IMAGE = formats.picture()
IMAGES = np.stack([formats.picture(seed) for seed in range(3)])
MASKED = np.zeros(formats.SHAPE, bool)
MASKED[3:7, 10:40] = True


def first(where: Any, **options: Any) -> Frame:
    return next(iter(open_frames(where, **options)))


# ---- values


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_an_eiger_without_a_mask_marks_gaps_by_its_highest_codes(dtype: Any, tmp_path: Path) -> None:
    images = np.minimum(IMAGES, 200).astype(dtype)
    top = np.iinfo(dtype).max
    images[:, 5], images[:, 6, 7] = top, top - 1
    frame = first(formats.eiger(tmp_path, images, dtype=np.dtype(dtype).str))
    expected = np.ones(formats.SHAPE, bool)
    expected[5], expected[6, 7] = False, False
    np.testing.assert_array_equal(frame.mask, expected)


def test_the_saturation_value_itself_is_valid(tmp_path: Path) -> None:
    frame = first(formats.nxmx(tmp_path, IMAGES, saturation=150))
    np.testing.assert_array_equal(frame.mask, IMAGES[0] <= 150)


def test_the_count_cutoff_of_a_cbf_is_valid(tmp_path: Path) -> None:
    image = IMAGE.copy()
    image[3, 4:6] = 1048574, 1048575
    assert first(formats.cbf(tmp_path, image)).mask[3, 4:6].tolist() == [True, False]


def test_codes_of_a_pilatus_are_masked_in_whatever_type_they_are_kept(tmp_path: Path) -> None:
    for dtype in (np.int32, np.int64, np.float32, np.float64):
        image = IMAGE.astype(dtype)
        image[MASKED], image[0, 0] = -1, -2
        mask = first(formats.npy(tmp_path, image)).mask
        np.testing.assert_array_equal(mask, image >= 0)


def test_noise_below_zero_is_kept() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0.1, 1, formats.SHAPE)
    assert trusted(noise).all()
    subtracted = np.rint(rng.normal(0, 30, formats.SHAPE)).astype(np.int16)
    assert trusted(subtracted).all()
    assert trusted(subtracted.astype(np.float32)).all()
    # In a background-subtracted image of floats, exactly -1 is the code of a gap.
    noise[MASKED] = -1
    np.testing.assert_array_equal(trusted(noise), ~MASKED)


def test_what_is_no_number_is_masked_and_replaced(tmp_path: Path) -> None:
    image = IMAGE.astype(np.float64)
    image[0, :5] = np.nan, np.inf, -np.inf, 1e300, 7
    frame = first(formats.npy(tmp_path, image))
    assert frame.mask[0, :5].tolist() == [False, False, False, False, True]
    assert np.isfinite(frame.image).all()


def test_saturated_pixels_are_masked() -> None:
    image = IMAGE.astype(np.uint16)
    image[7, 7], image[7, 8] = 65535, 65534
    assert np.argwhere(~trusted(image)).tolist() == [[7, 7]]


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.full(formats.SHAPE, np.nan), "NaN"),
        (np.full(formats.SHAPE, -1), "masked"),
        (np.full(formats.SHAPE, 65535, np.uint16), "saturated"),
        (np.full(formats.SHAPE, np.inf), "masked"),
    ],
)
def test_an_image_without_a_trusted_pixel_is_refused(image: NDArray[Any], words: str, tmp_path: Path) -> None:
    (item,) = read_frames(formats.npy(tmp_path, image))
    assert isinstance(item, Refused)
    assert words in item.reason
    assert "48 x 64" in item.reason


# ---- from the file


def test_nxmx_masks_are_bit_fields_that_are_combined(tmp_path: Path) -> None:
    mask = np.zeros(formats.SHAPE, np.uint32)
    mask[0, 0], mask[1, 1], mask[2, 2], mask[3, 3] = 1, 1 << 8, 1 << 31, 1 << 16
    path = formats.nxmx(tmp_path, IMAGES, mask)
    with h5py.File(path, "a") as file:
        more = np.zeros(formats.SHAPE, np.uint32)
        more[5, 5] = 2
        file["entry/instrument/detector/pixel_mask_2"] = more
    for frame in open_frames(path):
        assert np.argwhere(~frame.mask).tolist() == [[0, 0], [1, 1], [5, 5]]


def test_nxcansas_masks_say_true_where_masked(tmp_path: Path) -> None:
    np.testing.assert_array_equal(first(formats.nxcansas(tmp_path, IMAGE, MASKED)).mask, ~MASKED)


@pytest.mark.parametrize(("version", "bad"), [(150, [1, 2, 512]), (140, [1, 2, 32, 256, 512])])
def test_bits_of_cxi_masks_follow_the_version_and_the_frame(version: int, bad: list[int], tmp_path: Path) -> None:
    bits = [1, 2, 32, 256, 512]
    mask = np.zeros(IMAGES.shape, np.uint32)
    mask[1, 0, : len(bits)] = bits
    frames = list(open_frames(formats.cxi(tmp_path, IMAGES, mask, version)))
    assert frames[0].mask.all()
    assert frames[2].mask.all()
    assert [b for b, good in zip(bits, frames[1].mask[0], strict=False) if not good] == bad


def test_a_window_takes_its_part_of_the_mask(tmp_path: Path) -> None:
    path = formats.nxmx(tmp_path, IMAGES, MASKED.astype(np.uint32))
    np.testing.assert_array_equal(first(f"{path}?path=/entry/data/data&slice=1,2:20,4:60").mask, ~MASKED[2:20, 4:60])


# ---- from mask files


def write_mask(path: Path, kind: str) -> str:
    values = MASKED.astype(np.uint8)
    target = path / f"mask.{kind}"
    if kind == "edf":
        fabio.edfimage.EdfImage(data=values).write(str(target))
    elif kind == "cbf":
        fabio.cbfimage.CbfImage(data=values.astype(np.int32)).write(str(target))
    elif kind in ("tif", "mask"):  # Dioptas writes TIFF under the name .mask
        tifffile.imwrite(target, values)
    elif kind == "npy":
        np.save(target, MASKED)
    else:
        with h5py.File(target, "w") as file:
            file["entry/other"] = np.zeros(5)
            file["entry/mask"] = values
    return str(target)


@pytest.mark.parametrize("kind", ["edf", "cbf", "tif", "npy", "h5", "mask"])
def test_mask_files_say_one_where_masked(kind: str, tmp_path: Path) -> None:
    frame = first(formats.nxdata(tmp_path, IMAGE), mask=write_mask(tmp_path, kind))
    np.testing.assert_array_equal(frame.mask, ~MASKED)


def test_a_mask_inside_a_file_has_an_address(tmp_path: Path) -> None:
    path = formats.npy(tmp_path, IMAGE)
    np.testing.assert_array_equal(first(path, mask=f"{write_mask(tmp_path, 'h5')}::/entry/mask").mask, ~MASKED)
    with pytest.raises(CannotRead, match="/entry/none"):
        first(path, mask=f"{write_mask(tmp_path, 'h5')}::/entry/none")


def test_masks_of_all_kinds_are_combined(tmp_path: Path) -> None:
    path = formats.nxcansas(tmp_path, IMAGE - 5 * (IMAGE == 3).astype(int), MASKED)
    given = np.ones(formats.SHAPE, bool)
    given[40:] = False
    (frame,) = read_frames(path, mask=given)
    assert isinstance(frame, Frame)
    np.testing.assert_array_equal(frame.mask, ~MASKED & given & (IMAGE != 3))


def test_a_mask_file_in_the_folder_is_no_frame(tmp_path: Path) -> None:
    formats.npy(tmp_path, IMAGE)
    mask = write_mask(tmp_path, "edf")
    assert [Path(f.key).name for f in open_frames(tmp_path, mask=mask)] == ["a.npy"]


def test_a_mask_of_another_shape_is_refused_before_any_frame_is_read(tmp_path: Path) -> None:
    path = formats.nxmx(tmp_path, np.zeros((2, 30, 40), int))
    (item,) = read_frames(path, mask=write_mask(tmp_path, "edf"))
    assert isinstance(item, Refused)
    assert "(48, 64)" in item.reason
    assert "(30, 40)" in item.reason
    np.save(tmp_path / "other.npy", np.zeros((3, 3), bool))
    with pytest.raises(BadFrame, match="shapes"):
        first(path, mask=[write_mask(tmp_path, "edf"), tmp_path / "other.npy"])


@pytest.mark.parametrize("options", [{"mask": "no.edf"}, {"poni": "no.poni"}, {"mask": np.zeros((3, 3))}])
def test_a_mask_or_poni_file_that_cannot_be_used_is_an_error_at_once(options: Any, tmp_path: Path) -> None:
    path = formats.npy(tmp_path, IMAGE)
    with pytest.raises((CannotRead, BadFrame)):
        list(read_frames(path, **options))
    with pytest.raises((CannotRead, BadFrame)):
        list(open_frames(path, **options))
