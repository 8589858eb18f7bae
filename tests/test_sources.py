"""The same picture comes out of every format, by every way of naming it, in order."""

# SPDX-License-Identifier: BSD-3-Clause

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import psutil
import pytest
import silx.io
from silx.io.url import DataUrl

import formats
from beamsight.errors import BadFrame, BeamsightError, CannotRead
from beamsight.frame import Frame, fit
from beamsight.masks import masked_share
from beamsight.sources import Expected, Refused, open_frames, read_frames

IMAGE = formats.picture()
IMAGES = np.stack([formats.picture(seed) for seed in range(5)])


def one(where: Any, **options: Any) -> Frame:
    (frame,) = open_frames(where, **options)
    return frame


def keys(where: Any, **options: Any) -> list[str]:
    return [item.key for item in read_frames(where, size=16, **options)]


@pytest.mark.parametrize("name", formats.SINGLE)
def test_every_format_gives_the_same_picture(name: str, tmp_path: Path) -> None:
    frame = one(formats.SINGLE[name](tmp_path, IMAGE))
    np.testing.assert_array_equal(frame.image, IMAGE)
    assert frame.image.dtype == np.float32
    assert frame.mask.all()


def test_an_image_plate_is_read(tmp_path: Path) -> None:
    frame = one(formats.mar345(tmp_path, IMAGE))
    assert frame.image.shape == (1200, 1200)
    np.testing.assert_array_equal(frame.image[: IMAGE.shape[0], : IMAGE.shape[1]], IMAGE)
    assert not frame.image[IMAGE.shape[0] :].any()


@pytest.mark.parametrize("name", formats.STACKS)
def test_stacks_keep_their_order_and_read_alike_in_a_child(name: str, tmp_path: Path) -> None:
    path = formats.STACKS[name](tmp_path, IMAGES)
    here, there = list(open_frames(path)), list(read_frames(path))
    np.testing.assert_array_equal([f.image for f in here], IMAGES)
    assert all(isinstance(f, Frame) for f in there)
    np.testing.assert_array_equal([f.image for f in there if isinstance(f, Frame)], IMAGES)
    assert [f.key for f in here] == [f.key for f in there]
    assert [f.geometry for f in here] == [f.geometry for f in there if isinstance(f, Frame)]
    assert len({f.key for f in here}) == len(IMAGES)


# Text, CXI and chunked files are read by no silx; all else is.
@pytest.mark.parametrize("name", sorted(formats.STACKS))
def test_a_key_is_an_address_for_silx_and_for_us(name: str, tmp_path: Path) -> None:
    for n, frame in enumerate(list(open_frames(formats.STACKS[name](tmp_path, IMAGES)))):
        assert DataUrl(frame.key).is_valid()
        np.testing.assert_array_equal(silx.io.get_data(frame.key), IMAGES[n])
        again = one(frame.key)
        np.testing.assert_array_equal(again.image, frame.image)
        assert again.key == frame.key


@pytest.mark.parametrize("name", ["edf", "cbf", "hdf5", "nxdata", "tiff"])
def test_keys_of_single_images_are_addresses_too(name: str, tmp_path: Path) -> None:
    frame = one(formats.SINGLE[name](tmp_path, IMAGE))
    np.testing.assert_array_equal(silx.io.get_data(frame.key), IMAGE)
    assert one(frame.key).key == frame.key


@pytest.mark.parametrize("name", formats.PLACED)
def test_geometry_is_in_metres_and_pixel_centres(name: str, tmp_path: Path) -> None:
    geometry = one(formats.PLACED[name](tmp_path, IMAGE)).geometry
    assert geometry.centre_px == pytest.approx(formats.CENTRE_PX, abs=1e-4)
    assert geometry.pixel_m == pytest.approx(formats.PIXEL_M, rel=1e-4)
    assert geometry.wavelength_m == pytest.approx(formats.WAVELENGTH_M, rel=1e-6)
    assert geometry.distance_m == pytest.approx(formats.DISTANCE_M)


def test_cxi_tells_its_energy_in_joules(tmp_path: Path) -> None:
    frame = next(iter(open_frames(formats.cxi(tmp_path, IMAGES))))
    assert frame.geometry.wavelength_m == pytest.approx(formats.WAVELENGTH_M, rel=1e-6)
    assert frame.geometry.centre_px is None


@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
def test_a_poni_file_places_the_beam_where_pyfai_does(orientation: int, tmp_path: Path) -> None:
    pyfai = pytest.importorskip("pyFAI.integrator.azimuthal")
    detectors = pytest.importorskip("pyFAI.detectors")
    detector = detectors.Detector(172e-6, 172e-6, max_shape=formats.SHAPE, orientation=orientation)
    integrator = pyfai.AzimuthalIntegrator(
        0.4, 18.3 * 172e-6, 25.7 * 172e-6, 0.002, -0.003, 0.1, detector=detector, wavelength=1e-10
    )
    integrator.save(str(tmp_path / "a.poni"))
    geometry = one(formats.npy(tmp_path, IMAGE), poni=tmp_path / "a.poni").geometry
    expected = 1e9 * integrator.array_from_unit(formats.SHAPE, unit="q_nm^-1")
    assert geometry.centre_px is not None
    y, x = np.unravel_index(np.argmin(expected), expected.shape)
    assert np.hypot(geometry.centre_px[0] - y, geometry.centre_px[1] - x) <= np.hypot(0.6, 0.6)
    # Our geometry has no tilt, so q agrees to the tilt's size.
    far = expected > 0.3 * expected.max()
    np.testing.assert_allclose(geometry.q()[far], expected[far], rtol=0.05)


def test_a_poni_file_for_another_detector_is_refused(tmp_path: Path) -> None:
    pyfai = pytest.importorskip("pyFAI.integrator.azimuthal")
    pyfai.AzimuthalIntegrator(1, detector="Pilatus100k", wavelength=1e-10).save(str(tmp_path / "a.poni"))
    with pytest.raises(BadFrame, match=r"\(195, 487\).*\(48, 64\)"):
        one(formats.npy(tmp_path, IMAGE), poni=tmp_path / "a.poni")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
@pytest.mark.parametrize("compression", ["lzw", "zlib"])
def test_compressed_tiffs_need_no_large_package(compression: str, dtype: Any, tmp_path: Path) -> None:
    image = np.minimum(IMAGE, 200).astype(dtype)
    path = formats.tiff(dtype=dtype, compression=compression, predictor=dtype == np.uint16)(tmp_path, image)
    script = (
        "import sys; sys.modules['imagecodecs'] = None; import numpy as np; from beamsight.sources import open_frames;"
        "np.save(sys.argv[2], next(iter(open_frames(sys.argv[1]))).image)"
    )
    subprocess.run([sys.executable, "-c", script, str(path), str(tmp_path / "out.npy")], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), image)


# ---- ways of naming


def test_slices_select_frames_and_windows(tmp_path: Path) -> None:
    path = formats.plain_h5()(tmp_path, IMAGES)
    for text, expected in (
        ("::/measurement/images", IMAGES),
        ("?path=/measurement/images&slice=3", IMAGES[3:4]),
        ("?path=/measurement/images&slice=1:4:2", IMAGES[1:4:2]),
        ("?path=/measurement/images&slice=-1", IMAGES[-1:]),
        ("?path=/measurement/images&slice=...,8:40,10:50", IMAGES[:, 8:40, 10:50]),
        ("::/measurement/images[2]", IMAGES[2:3]),
        ("::/measurement", IMAGES),
    ):
        found = list(open_frames(f"{path}{text}"))
        np.testing.assert_array_equal([f.image for f in found], expected)
        for frame in found:
            np.testing.assert_array_equal(silx.io.get_data(frame.key), frame.image)
    np.testing.assert_array_equal(one(f"silx:{path}?path=/measurement/images&slice=4").image, IMAGES[4])


def test_frames_of_a_five_dimensional_set_can_be_addressed(tmp_path: Path) -> None:
    modules = np.random.default_rng(0).poisson(5, (2, 3, 4, 16, 24))
    path = formats.plain_h5()(tmp_path, modules)
    with pytest.raises(BadFrame, match="5-D"):
        one(path)
    np.testing.assert_array_equal(one(f"{path}?path=/measurement/images&slice=1,2,0").image, modules[1, 2, 0])
    some = list(open_frames(f"{path}?path=/measurement/images&slice=:,1,2:4"))
    np.testing.assert_array_equal([f.image for f in some], modules[:, 1, 2:4].reshape(4, 16, 24))


def test_a_slice_of_a_file_that_is_not_hdf5(tmp_path: Path) -> None:
    path = formats.edf_stack(tmp_path, IMAGES)
    assert [f.key for f in open_frames(f"fabio:{path}?slice=1:3")] == [f"{path}?slice=1", f"{path}?slice=2"]
    with pytest.raises(BadFrame, match="there are 5"):
        one(f"{path}?slice=9")
    with pytest.raises(CannotRead, match="no HDF5"):
        one(f"{path}::/entry/data")


@pytest.mark.parametrize(("text", "expected"), [("1:4:2", [1, 3]), ("::-2", [4, 2, 0]), ("2", [2]), ("-1", [4]), ("7:", [])])
def test_frames_chooses_of_each_file(text: str, expected: list[int], tmp_path: Path) -> None:
    path = formats.eiger(tmp_path, IMAGES)
    found = [f.image for f in open_frames(path, frames=text)]
    np.testing.assert_array_equal(np.reshape(found, (-1, *formats.SHAPE)), IMAGES[expected])


@pytest.mark.parametrize("text", ["a", "1:2:0", "", "1:2:3:4", "1.5"])
def test_a_range_that_is_none_is_refused_at_once(text: str, tmp_path: Path) -> None:
    with pytest.raises(BeamsightError, match=r"start:stop:step"):
        list(open_frames(tmp_path, frames=text))


def test_folders_globs_and_lists_are_sorted_as_people_count(tmp_path: Path) -> None:
    for n in (10, 9, 1):
        (tmp_path / "scan").mkdir(exist_ok=True)
        np.save(tmp_path / "scan" / f"{n}.npy", IMAGES[n % 5])
    (tmp_path / "scan" / "notes.txt").write_text("not an image")
    (tmp_path / "scan" / ".hidden.npy").write_text("not an image")
    paths = [str(tmp_path / "scan" / f"{n}.npy") for n in (1, 9, 10)]
    assert keys(tmp_path) == paths
    assert keys(str(tmp_path / "*" / "*.npy")) == paths
    assert keys([paths[2], paths[0]]) == [paths[2], paths[0]]
    (tmp_path / "some.lst").write_text(f"# two of them\nscan/9.npy\n\n{paths[0]}\n")
    assert keys(f"@{tmp_path / 'some.lst'}") == [paths[1], paths[0]]


def test_a_folder_with_a_master_file_gives_each_frame_once(tmp_path: Path) -> None:
    formats.eiger(tmp_path, IMAGES)
    found = list(open_frames(tmp_path))
    assert len(found) == len(IMAGES)
    assert all("series_master.h5" in f.key for f in found)


def test_links_that_form_a_loop_end(tmp_path: Path) -> None:
    formats.npy(tmp_path, IMAGE)
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "up").symlink_to(tmp_path)
    (tmp_path / "itself.npy").symlink_to(tmp_path / "itself.npy")
    (tmp_path / "nothing.npy").symlink_to(tmp_path / "missing")
    found = {Path(i.key).name: i for i in read_frames(tmp_path, size=16)}
    assert isinstance(found.pop("a.npy"), Frame)
    assert {n: type(i) for n, i in found.items()} == {"itself.npy": Refused, "nothing.npy": Refused}
    assert "link to nothing" in str(found["nothing.npy"])


def test_unicode_and_long_names(tmp_path: Path) -> None:
    folder = tmp_path / "Größe 测 & Co" / ("x" * 120) / ("y" * 120)
    folder.mkdir(parents=True)
    frame = one(formats.nxdata(folder, IMAGE))
    np.testing.assert_array_equal(silx.io.get_data(frame.key), IMAGE)
    assert one(frame.key).key == frame.key
    assert one(formats.npy(folder, IMAGE)).key == str(folder / "a.npy")
    assert isinstance(next(iter(read_frames(str(folder / ("z" * 300))))), Refused)


def test_a_name_that_is_no_text_is_refused_in_text(tmp_path: Path) -> None:
    formats.npy(tmp_path, IMAGE).rename(os.fsdecode(os.fsencode(tmp_path) + b"/\xff: x.npy"))
    (item,) = read_frames(tmp_path)
    assert isinstance(item, Refused)
    assert item.key.encode().endswith(b"?: x.npy")
    assert "UTF-8" in item.reason


def test_paths_from_here_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    formats.npy(tmp_path, IMAGE)
    monkeypatch.chdir(tmp_path)
    assert one("a.npy").key == str(tmp_path / "a.npy") == keys("./a.npy")[0]


def test_arrays_in_memory() -> None:
    assert [f.key for f in open_frames(IMAGES)] == [f"array?slice={n}" for n in range(5)]
    np.testing.assert_array_equal(one(IMAGE).image, IMAGE)
    small = list(read_frames(IMAGES, size=16, skip={"array?slice=0"}, frames="0:3"))
    assert [f.key for f in small] == ["array?slice=1", "array?slice=2"]
    assert all(isinstance(f, Frame) and f.image.shape == (16, 16) for f in small)
    with pytest.raises(BadFrame, match="complex"):
        one(IMAGE.astype(complex))


# ---- children


def test_size_gives_what_fit_gives(tmp_path: Path) -> None:
    path = formats.eiger(tmp_path, IMAGES, mask=(IMAGES[0] > 100).astype("u4"))
    for small, frame in zip(read_frames(path, size=20), open_frames(path), strict=True):
        expected = fit(frame, 20)
        assert isinstance(small, Frame)
        np.testing.assert_array_equal(small.image, expected.image)
        np.testing.assert_array_equal(small.mask, expected.mask)
        assert small.geometry == expected.geometry


def test_several_processes_keep_the_order(tmp_path: Path) -> None:
    formats.eiger(tmp_path, np.concatenate([IMAGES, IMAGES]))
    for n in range(12):
        np.save(tmp_path / f"{n}.npy", IMAGES[n % 5])
    (tmp_path / "5.npy").write_bytes(b"\x93NUMPY but no more")
    alone, together = list(read_frames(tmp_path, size=16)), list(read_frames(tmp_path, size=16, jobs=3))
    assert [i.key for i in alone] == [i.key for i in together]
    assert [type(i) for i in alone] == [type(i) for i in together]
    assert sum(isinstance(i, Refused) for i in alone) == 1
    assert len(alone) == 22


def test_answered_keys_are_skipped_without_being_unpacked(tmp_path: Path) -> None:
    path = formats.eiger(tmp_path, IMAGES)
    every = keys(path)
    # Frames whose bytes are destroyed prove that nothing of them is read.
    with h5py.File(tmp_path / "series_data_000001.h5", "r") as file:
        places = [file["entry/data/data"].id.get_chunk_info(n) for n in range(2)]
    with (tmp_path / "series_data_000001.h5").open("r+b") as file:
        for place in places:
            file.seek(place.byte_offset)
            file.write(b"\xff" * place.size)
    left = list(read_frames(path, size=16, skip=set(every[:2])))
    assert [i.key for i in left] == every[2:]
    assert all(isinstance(i, Frame) for i in left)
    np.save(tmp_path / "done.npy", IMAGE)
    assert keys([tmp_path / "done.npy", path], skip={str(tmp_path / "done.npy"), *every[1:]}) == every[:1]


def test_a_folder_without_images_and_a_missing_path_are_said(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    for where, words in (
        (tmp_path, "no image in this folder"),
        (tmp_path / "no.h5", "no such file"),
        (str(tmp_path / "*.h5"), "no file"),
    ):
        (item,) = read_frames(where)
        assert isinstance(item, Refused)
        assert words in item.reason
        with pytest.raises(CannotRead, match=words):
            list(open_frames(where))


def test_on_bad_decides(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    np.save(tmp_path / "1.npy", IMAGE)
    (tmp_path / "2.npy").write_bytes(b"")
    np.save(tmp_path / "3.npy", IMAGE)
    with pytest.raises(CannotRead, match="empty file"):
        list(open_frames(tmp_path))
    assert [Path(f.key).name for f in open_frames(tmp_path, on_bad="skip")] == ["1.npy", "3.npy"]
    assert "2.npy: an empty file" in caplog.text
    refused: list[Refused] = []
    list(open_frames(tmp_path, on_bad=refused.append))
    assert refused == [Refused(str(tmp_path / "2.npy"), "an empty file")]


def test_how_many_frames_there_will_be_is_told(tmp_path: Path) -> None:
    formats.eiger(tmp_path, IMAGES)
    formats.edf(tmp_path, IMAGE)
    (tmp_path / "b.edf").write_text("no image")
    expected = Expected()
    coming = read_frames([tmp_path / "series_master.h5", tmp_path / "a.edf", tmp_path / "b.edf"], frames="1:", expected=expected)
    found = [item for item in coming if isinstance(item, Frame)]
    assert (len(found), expected.frames, expected.all_found) == (4, 4, True)


def test_nothing_is_left_running(tmp_path: Path) -> None:
    path = formats.eiger(tmp_path, IMAGES)
    # Other tests of this process may have left a helper of Python's own behind.
    before = set(psutil.Process().children(recursive=True))
    frames = read_frames(path, jobs=2)
    next(frames)
    assert set(psutil.Process().children(recursive=True)) - before
    frames.close()
    assert not set(psutil.Process().children(recursive=True)) - before


def test_masked_share(tmp_path: Path) -> None:
    mask = np.zeros(formats.SHAPE, "u4")
    mask[:12] = 1
    assert masked_share(next(iter(open_frames(formats.nxmx(tmp_path, IMAGES, mask))))) == 0.25


def test_reading_processes_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    path = formats.eiger(tmp_path, IMAGES)
    script = (
        "import sys, time; from beamsight.sources import read_frames; frames = read_frames(sys.argv[1]); next(frames);"
        "import psutil; print(*[c.pid for c in psutil.Process().children()], flush=True); time.sleep(100)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout is not None
        children = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
        assert children
        parent.kill()
    assert not psutil.wait_procs(children, timeout=10)[1]
