"""Files that are damaged, odd or malicious: each gets one line, none takes the reader down, no truncated one passes as whole."""

# SPDX-License-Identifier: BSD-3-Clause

import os
import struct
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fabio
import h5py
import hdf5plugin
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

import formats
from beamsight.frame import Frame
from beamsight.sources import Refused, open_frames, read_frames

IMAGE = formats.picture()
IMAGES = np.stack([formats.picture(seed) for seed in range(3)])
WRITERS: dict[str, tuple[Callable[[Path, Any], Path], NDArray[Any]]] = {
    **{n: (formats.SINGLE[n], IMAGE) for n in formats.SINGLE if n not in ("tiff big-endian", "hdf5 big-endian", "bigtiff")},
    "edf stack": (formats.edf_stack, IMAGES),
    "tiff pages": (formats.tiff_pages, IMAGES),
    "eiger": (lambda path, images: formats.eiger(path, images, 9), IMAGES),
    "cxi": (formats.cxi, IMAGES),
    "cxi modules": (formats.cxi, IMAGES[None]),
}
# Copies of each format: at every change, and when all of it is wanted (BEAMSIGHT_MUTANTS=2000).
MUTANTS = int(os.environ.get("BEAMSIGHT_MUTANTS", "40"))


def only(where: Any, **options: Any) -> Frame | Refused:
    (item,) = read_frames(where, **options)
    return item


def refusal(where: Any, **options: Any) -> str:
    item = only(where, **options)
    assert isinstance(item, Refused), f"{where} was read"
    assert item.reason
    assert "\n" not in item.reason
    assert "Traceback" not in item.reason
    return item.reason


def mutant(data: bytes, rng: np.random.Generator) -> bytes:
    """One in four cut short, the others with some bytes changed, half of these near the beginning."""
    if rng.random() < 0.25:
        return data[: int(rng.integers(1, len(data)))]
    changed = bytearray(data)
    reach = min(len(data), 2048) if rng.random() < 0.5 else len(data)
    for at in rng.integers(0, reach, int(rng.integers(1, 20))):
        changed[at] = int(rng.integers(256))
    return bytes(changed)


@pytest.mark.timeout(1800)
def test_b1_damaged_files_get_one_line_each(tmp_path: Path) -> None:
    paths = []
    for name, (write, image) in WRITERS.items():
        folder = tmp_path / name.replace(" ", "_")
        folder.mkdir()
        original = write(folder, image)
        whole, suffix = original.read_bytes(), "".join(original.suffixes)
        rng = np.random.default_rng(sum(name.encode()))
        for n in range(MUTANTS):
            paths.append(folder / f"mutant{n}{suffix}")
            paths[-1].write_bytes(mutant(whole, rng))
    answered = dict.fromkeys(map(str, paths), 0)
    for item in read_frames(paths, size=32, timeout_s=5, memory_bytes=2 * 2**30):
        answered[item.key.split("?")[0].split("::")[0]] += 1
        if isinstance(item, Refused):
            assert item.reason
            assert "\n" not in item.reason
            assert "Traceback" not in item.reason
        else:
            assert np.isfinite(item.image).all()
            assert item.mask.any()
    assert len(answered) == len(paths)
    assert min(answered.values()) >= 1


# Text without a declared length that ends at the end of a row is whole to any reader; the seed avoids it.
@pytest.mark.parametrize("name", WRITERS)
def test_b1_no_truncated_file_is_taken_as_whole(name: str, tmp_path: Path) -> None:
    write, image = WRITERS[name]
    original = write(tmp_path, image)
    victim = tmp_path / "series_data_000001.h5" if name == "eiger" else original
    whole = victim.read_bytes()
    for length in np.random.default_rng(1).integers(1, len(whole) - 2, 12):
        victim.write_bytes(whole[:length])
        refused: list[Refused] = []
        taken = list(open_frames(original, on_bad=refused.append))
        assert not taken, f"{length} of {len(whole)} bytes were taken as {len(taken)} frames"
        assert refused


def test_a_truncated_file_that_is_new_may_still_be_written(tmp_path: Path) -> None:
    path = formats.nxdata(tmp_path, IMAGE)
    path.write_bytes(path.read_bytes()[:-500])
    assert "try later" in refusal(path)
    os.utime(path, (time.time() - 3600,) * 2)
    assert "try later" not in refusal(path)


def test_a_file_that_another_process_writes_is_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "live.h5", "w", libver="latest") as file:
        data = file.create_dataset(
            "entry/data/data", (2, *formats.SHAPE), "u4", maxshape=(None, *formats.SHAPE), chunks=(1, *formats.SHAPE)
        )
        file.swmr_mode = True
        data[:] = IMAGES[:2]
        data.flush()
        found = list(read_frames(tmp_path / "live.h5"))
    assert [isinstance(f, Frame) for f in found] == [True, True]


@pytest.mark.parametrize("chunk", [1, 2])
def test_frames_that_are_declared_but_not_written_are_not_zeros(chunk: int, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "live.h5", "w") as file:
        data = file.create_dataset("entry/data/data", (3 * chunk, *formats.SHAPE), "u4", chunks=(chunk, *formats.SHAPE))
        data[:chunk], data[2 * chunk :] = IMAGES[0], IMAGES[2]
    found = list(read_frames(tmp_path / "live.h5"))
    assert [type(f) for f in found] == [Frame] * chunk + [Refused] * chunk + [Frame] * chunk
    assert "not written yet" in str(found[chunk])


def test_a_series_without_one_of_its_files_gives_the_others(tmp_path: Path) -> None:
    images = np.concatenate([IMAGES, IMAGES])
    master = formats.eiger(tmp_path, images, 2)
    (tmp_path / "series_data_000002.h5").unlink()
    found = list(read_frames(master))
    assert [type(f) for f in found] == [Frame, Frame, Refused, Frame, Frame]
    assert "series_data_000002.h5" in str(found[2])


def test_a_virtual_data_set_without_one_of_its_files_is_refused(tmp_path: Path) -> None:
    layout = h5py.VirtualLayout(IMAGES.shape, "i4")
    for n, image in enumerate(IMAGES):
        with h5py.File(tmp_path / f"part{n}.h5", "w") as file:
            file["data"] = image
        layout[n] = h5py.VirtualSource(f"part{n}.h5", "data", formats.SHAPE)
    with h5py.File(tmp_path / "whole.h5", "w") as file:
        file.create_virtual_dataset("entry/data/data", layout)
    np.testing.assert_array_equal([f.image for f in open_frames(tmp_path / "whole.h5")], IMAGES)
    (tmp_path / "part1.h5").unlink()
    assert "part1.h5" in refusal(tmp_path / "whole.h5")


# ---- readers that hang or die


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A TIFF library, for child processes only, that misbehaves as the name of the file says."""
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "tifffile.py").write_text(
        textwrap.dedent(f"""
        import ctypes, os, pathlib, sys, time
        def TiffFile(path):
            name = pathlib.Path(path)
            first = not name.with_suffix(".tried").exists()
            name.with_suffix(".tried").touch()
            if "hang" in name.stem and (first or "once" not in name.stem):
                time.sleep(1000)
            if "kill" in name.stem and (first or "once" not in name.stem):
                os.kill(os.getpid(), 9)
            if "crash" in name.stem:
                ctypes.string_at(1)
            if "eat" in name.stem:
                eaten = [bytearray(2**26) for _ in range(1000)]
            if "exit" in name.stem:
                os._exit(3)
            if "noise" in name.stem:
                os.write(1, b"noise on the line"), print("more", flush=True)
            if "recurse" in name.stem:
                return TiffFile(path)
            sys.path[:] = [p for p in sys.path if p != {str(tmp_path / "evil")!r}]
            del sys.modules["tifffile"]
            import tifffile
            file = tifffile.TiffFile(path)
            sys.path.insert(0, {str(tmp_path / "evil")!r})
            del sys.modules["tifffile"]
            return file
        """)
    )
    monkeypatch.syspath_prepend(tmp_path / "evil")
    (tmp_path / "frames").mkdir()
    return tmp_path / "frames"


@pytest.mark.parametrize("jobs", [1, 2])
def test_f3_a_child_that_hangs_or_dies_costs_its_frame_alone(jobs: int, evil: Path) -> None:
    names = [
        "a",
        "b kill",
        "c",
        "d kill once",
        "e hang",
        "f hang once",
        "g crash",
        "h eat",
        "i exit",
        "j noise",
        "k recurse",
        "l",
    ]
    for n, name in enumerate(names):
        tifffile.imwrite(evil / f"{name}.tif", IMAGE + n)
    start = time.perf_counter()
    items = {Path(i.key).stem: i for i in read_frames(evil, timeout_s=2, jobs=jobs, memory_bytes=2**29)}
    assert list(items) == names
    for n, name in enumerate(names):
        item = items[name]
        if name in ("a", "c", "d kill once", "f hang once", "j noise", "l"):
            assert isinstance(item, Frame), item
            np.testing.assert_array_equal(item.image, IMAGE + n)
    reasons = {n: i.reason for n, i in items.items() if isinstance(i, Refused)}
    assert "signal 9" in reasons["b kill"]
    assert "longer than 2 s" in reasons["e hang"]
    assert "signal 11" in reasons["g crash"]
    assert "memory" in reasons["h eat"]
    assert "status 3" in reasons["i exit"]
    assert "deep" in reasons["k recurse"]
    assert time.perf_counter() - start < 60


# ---- legal but odd


def h5(data: Any, **how: Any) -> Callable[[Path], Path]:
    return lambda path: formats.plain_h5(**how)(path, data)


def array(data: Any) -> Callable[[Path], Path]:
    return lambda path: formats.npy(path, data)


def write(name: str, data: bytes) -> Callable[[Path], Path]:
    def writer(path: Path) -> Path:
        (path / name).write_bytes(data)
        return path / name

    return writer


def rgb_tiff(path: Path) -> Path:
    tifffile.imwrite(path / "a.tif", np.zeros((48, 64, 3), np.uint8), photometric="rgb")
    return path / "a.tif"


def rgb_png(path: Path) -> Path:
    from PIL import Image

    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(path / "a.png")
    return path / "a.png"


def pickled(path: Path) -> Path:
    np.save(path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return path / "a.npy"


def unwritten(path: Path) -> Path:
    with h5py.File(path / "a.h5", "w") as file:
        file.create_dataset("data", (5, 48, 64), "u2", chunks=(1, 48, 64))
    return path / "a.h5"


def missing_link(path: Path) -> Path:
    master = formats.eiger(path, IMAGES, 9)
    (path / "series_data_000001.h5").unlink()
    return master


def unknown_filter(path: Path) -> Path:
    """A data set whose filter number is one that nobody has."""
    data = h5(IMAGES, chunks=(1, *formats.SHAPE), **hdf5plugin.Bitshuffle(cname="lz4"))(path).read_bytes()
    (path / "a.h5").write_bytes(data.replace(struct.pack("<H", 32008), struct.pack("<H", 32999)))
    return path / "a.h5"


B2 = {
    "0-D": (array(np.float32(3)), "0-D"),
    "1-D": (array(np.arange(100)), "1-D data of shape (100,)"),
    "5-D": (h5(np.zeros((2, 2, 2, 16, 16))), "5-D data of shape (2, 2, 2, 16, 16)"),
    "modules": (h5(np.zeros((2, 8, 32, 32))), "modules"),
    "4-D array": (array(np.zeros((2, 8, 32, 32))), "4-D"),
    "no pixel": (array(np.zeros((0, 64))), "empty"),
    "one pixel": (array(np.zeros((1, 1))), "1 x 1"),
    "empty stack": (h5(np.zeros((0, 48, 64))), "empty"),
    "colour": (array(np.zeros((48, 64, 3), np.uint8)), "colour"),
    "colour tiff": (rgb_tiff, "colour"),
    "colour png": (rgb_png, "colour"),
    "complex": (array(IMAGE.astype(complex)), "complex"),
    "complex hdf5": (h5(IMAGE.astype(complex)), "complex"),
    "bool": (array(IMAGE > 3), "mask"),
    "objects": (pickled, "pickle"),
    "structured": (array(np.zeros((48, 64), "i4,f4")), "not numbers"),
    "text": (write("a.txt", b"two words\nand more\n" * 50), "text"),
    "one column": (write("a.dat", b"1.0\n" * 500), "text"),
    "1-D sas": (write("a.dat", b"".join(b"%d.5 7 0.1\n" % n for n in range(500))), "grid"),
    "json": (write("a.json", b'{"a": [1, 2]}' * 20), "cannot be read"),
    "deep json": (write("a.json", b"[" * 100_000), "text"),
    "zip": (write("a.npz", b"PK\x03\x04" + bytes(99)), "zip"),
    "pickle": (write("a.edf", b"\x80\x04" + bytes(99)), "pickle"),
    "empty": (write("a.tif", b""), "empty file"),
    "noise": (write("a.edf", np.random.default_rng(0).bytes(4096)), "cannot be read"),
    "hdf5 without images": (h5(np.arange(5.0)), "without an image"),
    "hdf5 of text": (h5(np.array([[b"a", b"b"]])), "without an image"),
    "unwritten": (unwritten, "not yet written"),
    "missing link": (missing_link, "series_data_000001.h5"),
    "missing filter": (unknown_filter, "32999"),
    "folder that is a file name": (lambda path: path / "a.npy" / "b.npy", "no such file"),
}


@pytest.mark.parametrize("name", B2)
def test_b2_what_is_no_frame_is_refused_by_its_property(name: str, tmp_path: Path) -> None:
    make, words = B2[name]
    assert words in refusal(make(tmp_path))


@pytest.mark.parametrize("dtype", [">u2", "<i8", ">f8", "f2", "u8", "i1"])
def test_b2_unusual_types_are_read(dtype: str, tmp_path: Path) -> None:
    image = np.minimum(IMAGE, 100).astype(dtype)
    for path in (formats.npy(tmp_path, image), formats.plain_h5()(tmp_path, image)):
        item = only(path)
        assert isinstance(item, Frame), item
        np.testing.assert_array_equal(item.image, np.minimum(IMAGE, 100))


def test_b2_a_large_image_is_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "large.h5", "w") as file:
        data = file.create_dataset("data", (3000, 4000), "u2", chunks=(500, 4000), compression="gzip")
        data[10] = 7
    item = only(tmp_path / "large.h5", size=100)
    assert isinstance(item, Frame), item
    assert item.image.shape == (100, 100)


def test_b2_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.tif")
    assert "no regular file" in refusal(tmp_path / "a.tif")


def test_the_checksum_of_a_cbf_is_heeded(tmp_path: Path) -> None:
    data = bytearray(formats.cbf(tmp_path, IMAGE).read_bytes())
    data[data.index(b"\x0c\x1a\x04\xd5") + 500] ^= 1
    (tmp_path / "a.cbf").write_bytes(data)
    assert fabio.open(tmp_path / "a.cbf").data.shape == formats.SHAPE  # the library itself takes it
    assert "checksum" in refusal(tmp_path / "a.cbf")
