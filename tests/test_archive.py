"""What is written is what is read, by us and by others; damage is noticed; nothing half is left."""

import json
import pickle
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import fabio
import h5py
import numpy as np
import pytest
import silx.io
import silx.io.nxdata
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pyFAI.integrator.azimuthal import AzimuthalIntegrator

from beamsight.archive import MASTER, SUMS, Archive, read_archive
from beamsight.archive_check import check_archive
from beamsight.archive_write import write_archive
from beamsight.errors import BadArchive, BadFrame, CannotWrite
from beamsight.frame import Frame, Geometry
from beamsight.sources import open_frames

SHAPE = (8, 11)


@dataclass(frozen=True)
class Scene:
    radius: float
    peaks: np.ndarray


def frames(n: int, shape: tuple[int, int] = SHAPE, seed: int = 0) -> list[Frame]:
    rng = np.random.default_rng(seed)
    geometry = Geometry(shape, pixel_m=75e-6, wavelength_m=1e-10, distance_m=2.5)
    return [
        Frame(
            rng.poisson(5, shape).astype(np.float32), rng.random(shape) > 0.2, replace(geometry, centre_px=(1.5 + i, 2.5)),
            f"toy/0/{i:08d}", {"ring": bool(i % 2), "halo": None}, Scene(0.5 * i, rng.random(3)),
        )
        for i in range(n)
    ]  # fmt: skip


def same(a: Frame, b: Frame) -> bool:
    arrays_equal = np.array_equal(a.image, b.image, equal_nan=True) and np.array_equal(a.mask, b.mask)
    return arrays_equal and (a.key, a.truth, a.geometry) == (b.key, b.truth, b.geometry)


numbers = st.one_of(st.none(), st.floats(1e-12, 1e6))
places = st.floats(-1e5, 1e5)
geometries = st.builds(Geometry, st.just(SHAPE), numbers, numbers, numbers, st.one_of(st.none(), st.tuples(places, places)))
names = st.text(max_size=8)
truths = st.one_of(st.none(), names, st.dictionaries(names, st.sampled_from([True, False, None]), max_size=4))
any_frame = st.builds(
    Frame,
    arrays(np.float32, SHAPE, elements=st.floats(width=32)),
    arrays(np.bool_, SHAPE),
    geometries,
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30),
    truths.filter(lambda t: "\0" not in str(t)),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(any_frame, min_size=1, max_size=5), st.integers(1, 3))
def test_what_is_written_is_read(written: list[Frame], per_file: int) -> None:
    with TemporaryDirectory() as folder:
        read = read_archive(write_archive(written, Path(folder) / "frames", per_file))
        assert len(read) == len(written)
        assert all(same(a, b) for a, b in zip(written, read, strict=True))


def test_scenes_come_back_as_numbers(tmp_path: Path) -> None:
    written = frames(3)
    read = read_archive(write_archive(written, tmp_path / "a"))
    assert read[2].scene == {"radius": 1.0, "peaks": written[2].scene.peaks.tolist()}


def test_an_archive_is_a_sequence_that_travels(tmp_path: Path) -> None:
    written = frames(7)
    read = read_archive(write_archive(iter(written), tmp_path / "a", per_file=3))
    assert read[-1].key == written[-1].key
    assert [f.key for f in read[2:5]] == [f.key for f in written[2:5]]
    with pytest.raises(IndexError):
        read[7]
    other = pickle.loads(pickle.dumps(read))  # noqa: S301  (as to a process of our own)
    assert isinstance(other, Archive)
    assert same(other[6], written[6])


def test_others_read_it(tmp_path: Path) -> None:
    written = frames(5)
    folder = write_archive(written, tmp_path / "a", per_file=3)
    with h5py.File(folder / MASTER) as file:
        assert np.array_equal(file["/entry/data/data_000002"][1], written[4].image)
        assert np.array_equal(file["/entry/data/mask_000002"][1] == 0, written[4].mask)
        assert file["/entry/data/data_000001"].chunks == (1, *SHAPE)
        assert file["/entry/definition"].asstr()[()] == "NXmx"
    with h5py.File(folder / "data_000001.h5") as file:
        table = file["/entry/frames"]
        assert list(table["key"].asstr()) == [f.key for f in written[:3]]
        assert [json.loads(t) for t in table["truth"].asstr()] == [f.truth for f in written[:3]]
        assert table["scene"]["radius"].tolist() == [0.0, 0.5, 1.0]
        assert table["centre_y_px"][()].tolist() == [1.5, 2.5, 3.5]
    done = subprocess.run(["sha256sum", "--check", "--strict", SUMS], cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0


def test_silx_and_h5web_find_what_to_plot(tmp_path: Path) -> None:
    # Both follow `default` and `signal`.
    written = frames(5)
    folder = write_archive(written, tmp_path / "a", per_file=3)
    for name in (MASTER, "data_000001.h5"):
        with silx.io.open(str(folder / name)) as file:
            assert np.array_equal(silx.io.nxdata.get_default(file).signal[2], written[2].image)


def test_fabio_and_so_pyfai_open_the_master_as_they_open_an_eigers(tmp_path: Path) -> None:
    written = frames(5)
    folder = write_archive([replace(f, geometry=written[0].geometry) for f in written], tmp_path / "a", per_file=3)
    with fabio.open(folder / MASTER) as image:
        assert image.nframes == 5
        assert all(np.array_equal(image.getframe(n).data, f.image) for n, f in enumerate(written))
        counts = image.getframe(4).data
    with h5py.File(folder / MASTER) as file:
        detector = file["/entry/instrument/detector"]
        pixel, distance, y, x = (detector[n][()] for n in ("x_pixel_size", "distance", "beam_center_y", "beam_center_x"))
        wavelength = file["/entry/instrument/beam/incident_wavelength"][()]
    pyfai = AzimuthalIntegrator(distance, y * pixel, x * pixel, pixel1=pixel, pixel2=pixel, wavelength=wavelength)
    found = pyfai.integrate1d(counts, 3, unit="q_nm^-1", method=("no", "histogram", "cython"), correctSolidAngle=False)
    assert found.sum_signal.sum() == pytest.approx(written[4].image.sum())
    # Theirs and ours agree about where each pixel looks.
    assert np.allclose(pyfai.center_array(SHAPE, unit="q_nm^-1"), written[0].geometry.q() / 1e9, rtol=1e-6)


@pytest.mark.parametrize("name", [MASTER, "data_000001.h5"])
def test_our_readers_open_it_like_any_detectors_file(tmp_path: Path, name: str) -> None:
    written = frames(5)
    folder = write_archive(written, tmp_path / "a", per_file=3)
    read = list(open_frames(folder / name))
    assert len(read) == (5 if name == MASTER else 3)
    for a, b in zip(written, read, strict=False):
        assert np.array_equal(a.mask, b.mask)
        assert np.array_equal(a.image[a.mask], b.image[b.mask])


def test_shared_geometry_is_found_by_readers_and_differing_centres_are_not_made_up(tmp_path: Path) -> None:
    written = frames(3)
    moved = next(open_frames(write_archive(written, tmp_path / "a") / MASTER)).geometry
    assert moved == replace(written[0].geometry, centre_px=None)
    still = [replace(f, geometry=written[1].geometry) for f in written]
    assert next(open_frames(write_archive(still, tmp_path / "b") / MASTER)).geometry == written[1].geometry


@pytest.mark.parametrize("name", [MASTER, "data_000001.h5", SUMS])
def test_one_flipped_bit_is_noticed(tmp_path: Path, name: str) -> None:
    written = frames(4, (16, 16))
    folder = write_archive(written, tmp_path / "a", per_file=2)
    scenes = [f.scene for f in read_archive(folder)]
    whole = (folder / name).read_bytes()
    rng = np.random.default_rng(1)
    for place in rng.integers(0, len(whole) if name != SUMS else 64, 60):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.integers(8)
        (folder / name).write_bytes(damaged)
        assert any(name in fault or SUMS in fault for fault in faults(folder))
        try:
            read = list(read_archive(folder))
        except BadArchive:
            continue
        # A byte between the parts of a data file, or its line in the list of checksums, which reading a frame does not need.
        assert name != MASTER
        assert all(same(a, b) for a, b in zip(written, read, strict=True))
        assert [f.scene for f in read] == scenes


def faults(folder: Path) -> list[str]:
    try:
        return check_archive(folder).faults
    except BadArchive as error:
        return [str(error)]


def test_readers_that_know_no_sums_notice_damaged_pixels(tmp_path: Path) -> None:
    # Fletcher32, checked before anything is unpacked.
    path = write_archive(frames(1, (64, 64)), tmp_path / "a") / "data_000001.h5"
    with h5py.File(path) as file:
        place = file["/entry/data/data"].id.get_chunk_info(0)
    data = bytearray(path.read_bytes())
    data[place.byte_offset + place.size // 2] ^= 4
    path.write_bytes(data)
    with h5py.File(path) as file, pytest.raises(OSError, match=r"checksum|filter"):
        file["/entry/data/data"][0]


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    folder = write_archive(frames(4), tmp_path / "a", per_file=2)
    (folder / "data_000002.h5").unlink()
    read = read_archive(folder)
    assert same(read[0], frames(4)[0])
    with pytest.raises(BadArchive, match="data_000002"):
        read[3]
    assert ["data_000002.h5" in fault for fault in faults(folder)] == [True]
    with pytest.raises(BadArchive, match="no archive"):
        read_archive(tmp_path)


def test_a_data_file_of_another_archive_is_noticed(tmp_path: Path) -> None:
    folder = write_archive(frames(4), tmp_path / "a", per_file=2)
    other = write_archive([replace(f, key=f"other/{f.key}") for f in frames(4)], tmp_path / "b", per_file=2)
    shutil.copy(other / "data_000002.h5", folder)
    assert read_archive(folder)[1].key == frames(4)[1].key
    with pytest.raises(BadArchive, match="another"):
        read_archive(folder)[2]
    assert len(faults(folder)) == 1


def test_a_checked_archive_is_whole_and_says_how_much(tmp_path: Path) -> None:
    folder = write_archive(frames(5), tmp_path / "a", per_file=2)
    found = check_archive(folder)
    assert (found.frames, found.files, found.faults) == (5, 3, [])
    assert found.size == sum(p.stat().st_size for p in folder.iterdir() if p.name != SUMS)


def test_keys_that_occur_twice_and_half_written_files_are_told(tmp_path: Path) -> None:
    folder = write_archive([*frames(3), *frames(1)], tmp_path / "a", per_file=3)
    (folder / ".data_000001.h5.9.part").write_bytes(b"half")
    shutil.copy(folder / "data_000001.h5", folder / "data_000009.h5")
    assert [fault.removeprefix(f"{folder}/").split(":")[0] for fault in faults(folder)] == [
        ".data_000001.h5.9.part", "data_000009.h5", "data_000002.h5",
    ]  # fmt: skip
    assert "toy/0/00000000 is in data_000001.h5 already" in faults(folder)[2]


@pytest.mark.parametrize(
    ("counts", "kind"),
    [([0, 7], "u2"), ([65533, 0], "u2"), ([65534, 0], "u4"), ([2.0**31, 0], "u4"), ([2.0**32, 0], "f4"), ([0.5, 0], "f4"),
     ([-1, 0], "f4"), ([np.nan, 0], "f4"), ([np.inf, 0], "f4")],
)  # fmt: skip
def test_the_smallest_type_that_holds_the_counts_is_stored(tmp_path: Path, counts: list[float], kind: str) -> None:
    # The two highest codes of an integer type are no counts to those who read detectors' files.
    image = np.full(SHAPE, 3, np.float32)
    image[0, :2] = counts
    written = [*frames(2), replace(frames(3)[2], image=image)]
    read = read_archive(write_archive(written, tmp_path / "a"))
    assert read.counts(0).dtype == read.counts(2).dtype == np.dtype(kind)
    assert all(same(a, b) for a, b in zip(written, read, strict=True))


def test_a_frame_without_masked_pixels_stores_no_mask(tmp_path: Path) -> None:
    clear = [replace(f, mask=np.ones(SHAPE, bool)) for f in frames(3)]
    folder = write_archive([*clear, *frames(4)[3:]], tmp_path / "a")
    with h5py.File(folder / MASTER) as file:
        assert file["/entry/data/mask_000001"].id.get_num_chunks() == 1
        assert not file["/entry/data/mask_000001"][:3].any()
    assert [bool(f.mask.all()) for f in read_archive(folder)] == [True, True, True, False]


def test_more_data_files_than_may_be_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beamsight.archive.OPEN_FILES", 2)
    written = frames(9)
    read = read_archive(write_archive(written, tmp_path / "a", per_file=1))
    before = len(list(Path("/proc/self/fd").iterdir()))
    order = [*np.random.default_rng(0).permutation(9), *range(9)]
    assert all(same(read[n], written[n]) for n in order)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 2


def test_frames_come_without_scenes_where_nobody_asks_for_them(tmp_path: Path) -> None:
    folder = write_archive(frames(2), tmp_path / "a")
    read = pickle.loads(pickle.dumps(read_archive(folder, scenes=False)))  # noqa: S301
    assert [f.scene for f in read] == [None, None]
    with pytest.raises(BadFrame, match="scene"):
        write_archive([frames(1)[0], replace(frames(2)[1], scene={"other": 1.0})], tmp_path / "b")
    with pytest.raises(BadFrame, match="scene"):
        write_archive([replace(frames(1)[0], scene={"name": "sphere"})], tmp_path / "b")


def test_nothing_half_is_left(tmp_path: Path) -> None:
    def cut_off():
        yield from frames(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_archive(cut_off(), tmp_path / "a", per_file=2)
    with pytest.raises(BadFrame, match=r"\(5, 5\)"):
        write_archive([*frames(1), *frames(1, (5, 5))], tmp_path / "a")
    with pytest.raises(BadArchive, match="no frame"):
        write_archive([], tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    folder = write_archive(frames(1), tmp_path / "a")
    with pytest.raises(CannotWrite, match="exists"):
        write_archive(frames(2), folder)
    assert len(read_archive(folder)) == 1
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotWrite, match="cannot be written"):
        write_archive(frames(1), tmp_path / "file" / "a")


def test_simulated_counts_are_kept_small(tmp_path: Path) -> None:
    # Counts in single photons: most bits are equal, which bitshuffle brings together.
    folder = write_archive(frames(8, (128, 128)), tmp_path / "a")
    size = (folder / "data_000001.h5").stat().st_size
    assert size < 0.35 * 8 * 128 * 128 * 5
