"""Hits in a CXI file: what is written is what is read; nothing is lost or doubled by a kill, a full disk, a second run."""

# SPDX-License-Identifier: BSD-3-Clause

import json
import signal
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import formats
from beamsight.cxi import DATA, LISTS, RESULT, SETTINGS, HitsWriter, place_of
from beamsight.errors import BadFrame, CannotWrite
from beamsight.frame import Frame, Geometry, Panel
from beamsight.sources import open_frames

SHAPE = (24, 40)
ABOUT = {"task": "xfel-hits", "threshold": 100, "min_snr": 6.0}


@dataclass
class Peaks:
    y_px: NDArray[Any]
    x_px: NDArray[Any]
    total: NDArray[Any]
    maximum: NDArray[Any]
    snr: NDArray[Any]
    n_pixels: NDArray[Any]


def peaks(n: int, seed: int = 0) -> Peaks:
    rng = np.random.default_rng(seed)
    y, x = rng.uniform(0, SHAPE[0] - 1, n), rng.uniform(0, SHAPE[1] - 1, n)
    return Peaks(y, x, rng.uniform(10, 1e4, n), rng.uniform(5, 1e3, n), rng.uniform(5, 50, n), rng.integers(2, 20, n))


def frame(n: int, shape: tuple[int, int] = SHAPE, **geometry: Any) -> Frame:
    rng = np.random.default_rng(n)
    known = {
        "pixel_m": 75e-6,
        "wavelength_m": (1 + n / 100) * 1e-10,
        "distance_m": 0.1 + n / 1000,
        "centre_px": (11.5 + n, 20.25),
    }
    image, mask = rng.normal(20, 9, shape).astype(np.float32), rng.random(shape) > 0.1
    return Frame(image, mask, Geometry(shape, **(known | geometry)), f"/data/run.h5?path=/entry/data&slice={n}")


def written(path: Path, count: int, **options: Any) -> list[tuple[Frame, Peaks]]:
    pairs = [(frame(n), peaks(3 * n, n)) for n in range(count)]
    with HitsWriter(path, ABOUT, **options) as writer:
        assert all(writer.add(*pair) for pair in pairs)
    return pairs


def keys(path: Path) -> list[str]:
    with h5py.File(path) as file:
        return list(file[f"{RESULT}/key"].asstr()[()])


# ---- what is written is read


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=1, max_size=4),
    st.tuples(st.integers(8, 20), st.integers(8, 20)),
    st.integers(1, 8),
)
def test_frames_and_peaks_come_back(hits: list[tuple[int, bool]], shape: tuple[int, int], most: int) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "hits.cxi"
        unknown = dict.fromkeys(("wavelength_m", "distance_m", "centre_px"))
        given_ = [(frame(n, shape, **({} if known else unknown)), peaks(m, n)) for n, (m, known) in enumerate(hits)]
        with HitsWriter(path, ABOUT, max_peaks=most) as writer:
            for hit in given_:
                writer.add(*hit)
        for read, (wrote, _) in zip(open_frames(path), given_, strict=True):
            np.testing.assert_array_equal(read.image, wrote.image)
            np.testing.assert_array_equal(read.mask, wrote.mask)
            for name in ("pixel_m", "wavelength_m", "distance_m", "centre_px"):
                value = getattr(wrote.geometry, name)
                assert getattr(read.geometry, name) == (None if value is None else pytest.approx(value, rel=1e-9)), name
        with h5py.File(path) as file:
            for n, (wrote, found) in enumerate(given_):
                count = file[f"{RESULT}/nPeaks"][n]
                assert count == min(most, len(found.total))
                assert file[f"{RESULT}/nPeaksFound"][n] == len(found.total)
                strongest = np.sort(np.argsort(found.total)[::-1][:count])
                for name, field in LISTS.items():
                    row = file[f"{RESULT}/{name}"][n]
                    np.testing.assert_array_equal(row[:count], getattr(found, field)[strongest].astype(np.float32))
                    assert not row[count:].any()
                assert file[f"{RESULT}/key"].asstr()[n] == wrote.key


def test_crystfel_finds_what_its_manual_names(tmp_path: Path) -> None:
    written(tmp_path / "hits.cxi", 3)
    with h5py.File(tmp_path / "hits.cxi") as file:
        assert file["cxi_version"][()] == 150
        data, mask = file["/entry_1/data_1/data"], file["/entry_1/data_1/mask"]
        assert data.shape == mask.shape == (3, *SHAPE)
        assert data.chunks == (1, *SHAPE)
        assert [data.id.get_create_plist().get_filter(0)[0]] == [32008]  # bitshuffle
        assert file["/entry_1/instrument_1/detector_1/data"] == data
        for name in ("peakXPosRaw", "peakYPosRaw", "peakTotalIntensity"):
            assert file[f"/entry_1/result_1/{name}"].shape == (3, 2048)
        assert file["/entry_1/result_1/nPeaks"][()].tolist() == [0, 3, 6]
        assert json.loads(file[SETTINGS].asstr()[()]) == ABOUT
    lines = (tmp_path / "hits.lst").read_text().splitlines()
    assert lines == [f"{tmp_path / 'hits.cxi'} //{n}" for n in range(3)]
    # We read such a list too.
    (tmp_path / "some.lst").write_text(f"{lines[2]}\nhits.cxi //0\n")
    found = list(open_frames(f"@{tmp_path / 'some.lst'}"))
    np.testing.assert_array_equal([f.image for f in found], [frame(n).image for n in (2, 0)])
    assert [f.key[-8:] for f in found] == ["&slice=2", "&slice=0"]


def test_a_peak_stands_at_the_pixel_that_holds_it(tmp_path: Path) -> None:
    """x counts columns and y rows of the stored array, from the middle of the first pixel: CrystFEL adds its half itself."""
    image = np.zeros(SHAPE, np.float32)
    image[7, 30] = 500
    shot = Frame(image, np.ones(SHAPE, bool), Geometry(SHAPE), "k")
    one = Peaks(*(np.array([v]) for v in (7.0, 30.0, 500.0, 500.0, 9.0, 1)))
    with HitsWriter(tmp_path / "hits.cxi", ABOUT) as writer:
        writer.add(shot, one)
    with h5py.File(tmp_path / "hits.cxi") as file:
        x, y = (int(file[f"{RESULT}/{n}"][0, 0]) for n in ("peakXPosRaw", "peakYPosRaw"))
        assert file[DATA][0, y, x] == 500
    assert not (tmp_path / "hits.geom").exists()  # nothing is known of where the pixels lie


def test_where_a_hit_comes_from_is_kept(tmp_path: Path) -> None:
    written(tmp_path / "hits.cxi", 2)
    with h5py.File(tmp_path / "hits.cxi") as file:
        assert list(file[f"{RESULT}/source_file"].asstr()[()]) == ["/data/run.h5"] * 2
        assert file[f"{RESULT}/source_frame"][()].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("/a/b.cbf", ("/a/b.cbf", 0)),
        ("/a/b?.h5::/entry/data", ("/a/b?.h5", 0)),
        ("/a/b.h5?path=/entry/data&slice=17", ("/a/b.h5", 17)),
        ("/a/b.edf?slice=3", ("/a/b.edf", 3)),
        ("/a/b.h5?path=/entry/data&slice=1,2", ("/a/b.h5", -1)),
        ("simulated/7/0000012", ("simulated/7/0000012", 0)),
    ],
)
def test_places_of_keys(key: str, expected: tuple[str, int]) -> None:
    assert place_of(key) == expected


PLACED = {
    "beam": Geometry(SHAPE, 75e-6, 1e-10, 0.12, (10.25, 33.5)),
    "panels": Geometry(
        SHAPE, 200e-6, 1.3e-10, 0.2, None,
        (Panel(0, 12, 0, 40, (3.5, -20.0), (0.01, 1.0), (-1.0, 0.01)), Panel(12, 24, 5, 40, (-40.5, 7.0))),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PLACED)
def test_the_geometry_beside_the_hits_places_their_pixels(name: str, tmp_path: Path) -> None:
    first = frame(0)
    shot = Frame(first.image, first.mask, PLACED[name], "k")
    with HitsWriter(tmp_path / "hits.cxi", ABOUT) as writer:
        writer.add(shot, peaks(2))
    (read,) = open_frames(tmp_path / "hits.cxi", geom=tmp_path / "hits.geom")
    assert read.geometry.wavelength_m == pytest.approx(shot.geometry.wavelength_m, rel=1e-6)
    assert read.geometry.distance_m == pytest.approx(shot.geometry.distance_m)
    np.testing.assert_allclose(read.geometry.radius_px(), shot.geometry.radius_px(), atol=1e-5)
    np.testing.assert_array_equal(read.mask, shot.mask & np.isfinite(shot.geometry.radius_px()))


def test_hits_of_modules_are_one_image(tmp_path: Path) -> None:
    data = np.random.default_rng(0).poisson(5, (2, 3, 12, 16)).astype(np.int32)
    shots = list(open_frames(formats.cxi(tmp_path, data)))
    with HitsWriter(tmp_path / "hits.cxi", ABOUT) as writer:
        for shot in shots:
            writer.add(shot, peaks(1))
    for read, shot in zip(open_frames(tmp_path / "hits.cxi"), shots, strict=True):
        np.testing.assert_array_equal(read.image, shot.image)


# ---- again, and others


def test_the_same_command_goes_on_without_doubles(tmp_path: Path) -> None:
    written(tmp_path / "hits.cxi", 3)
    with HitsWriter(tmp_path / "hits.cxi", ABOUT) as writer:
        assert len(writer) == 3
        assert frame(2).key in writer.keys
        assert [writer.add(frame(n), peaks(n)) for n in range(5)] == [False, False, False, True, True]
        assert not writer.add(frame(4), peaks(4))
    assert keys(tmp_path / "hits.cxi") == [frame(n).key for n in range(5)]
    assert len((tmp_path / "hits.lst").read_text().splitlines()) == 5
    np.testing.assert_array_equal([f.image for f in open_frames(tmp_path / "hits.cxi")], [frame(n).image for n in range(5)])


def test_hits_found_otherwise_are_not_mixed(tmp_path: Path) -> None:
    written(tmp_path / "hits.cxi", 2)
    with pytest.raises(CannotWrite, match=r"min_snr was 6.0, is 5.0"):
        HitsWriter(tmp_path / "hits.cxi", ABOUT | {"min_snr": 5.0})
    with HitsWriter(tmp_path / "hits.cxi", ABOUT | {"min_snr": 5.0}, overwrite=True) as writer:
        assert len(writer) == 0
        writer.add(frame(7), peaks(1))
    assert keys(tmp_path / "hits.cxi") == [frame(7).key]


def test_a_file_of_others_is_left_alone(tmp_path: Path) -> None:
    formats.cxi(tmp_path, np.zeros((2, 9, 9), int))
    (tmp_path / "b.cxi").write_text("not even HDF5")
    with h5py.File(tmp_path / "c.cxi", "w") as file:
        file[SETTINGS] = 3
    with h5py.File(tmp_path / "d.cxi", "w") as file:
        file[SETTINGS], file[DATA] = json.dumps(ABOUT), np.zeros((2, 9, 9))
    for name in ("a.cxi", "b.cxi", "c.cxi", "d.cxi"):
        before = (tmp_path / name).read_bytes()
        with pytest.raises(CannotWrite, match="no hits of ours"):
            HitsWriter(tmp_path / name, ABOUT)
        assert (tmp_path / name).read_bytes() == before


def test_two_writers_are_one_too_many(tmp_path: Path) -> None:
    with HitsWriter(tmp_path / "hits.cxi", ABOUT), pytest.raises(CannotWrite, match="another beamsight is writing it"):
        HitsWriter(tmp_path / "hits.cxi", ABOUT)


def test_another_shape_is_refused_and_the_run_goes_on(tmp_path: Path) -> None:
    with HitsWriter(tmp_path / "hits.cxi", ABOUT) as writer:
        writer.add(frame(0), peaks(1))
        with pytest.raises(BadFrame, match=r"\(30, 40\).*\(24, 40\)") as caught:
            writer.add(frame(1, (30, 40)), peaks(1))
        assert "\n" not in str(caught.value)
        writer.add(frame(2), peaks(1))
    assert keys(tmp_path / "hits.cxi") == [frame(0).key, frame(2).key]


def test_peaks_that_lack_a_field_leave_the_file_as_it_was(tmp_path: Path) -> None:
    broken = peaks(2)
    del broken.snr
    with HitsWriter(tmp_path / "hits.cxi", ABOUT) as writer:
        writer.add(frame(0), peaks(1))
        with pytest.raises(AttributeError):
            writer.add(frame(1), broken)
    with HitsWriter(tmp_path / "hits.cxi", ABOUT) as writer:
        writer.add(frame(2), peaks(3))
    assert keys(tmp_path / "hits.cxi") == [frame(0).key, frame(2).key]
    np.testing.assert_array_equal([f.image for f in open_frames(tmp_path / "hits.cxi")], [frame(n).image for n in (0, 2)])


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_until_the_hit_is_whole(kind: signal.Signals, tmp_path: Path) -> None:
    class Stop(BaseException):
        pass

    def stop(*_: object) -> None:
        raise Stop

    before = signal.signal(kind, stop)
    try:
        with HitsWriter(tmp_path / "hits.cxi", ABOUT) as writer:
            found = peaks(3)
            # The signal comes while the hit is being written.
            late = type("Late", (), {"__getattr__": lambda _, name: (signal.raise_signal(kind), getattr(found, name))[1]})()
            with pytest.raises(Stop):
                writer.add(frame(0), late)
            assert signal.getsignal(kind) is stop
            writer.add(frame(1), found)
    finally:
        signal.signal(kind, before)
    assert keys(tmp_path / "hits.cxi") == [frame(0).key, frame(1).key]


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CannotWrite, match="cannot be written"):
        HitsWriter(tmp_path / "none" / "hits.cxi", ABOUT)
