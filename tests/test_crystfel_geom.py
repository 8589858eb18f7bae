"""Geometry files of CrystFEL: positions by hand and by another program, and what is wrong in one line."""

# SPDX-License-Identifier: BSD-3-Clause

import os
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np
import pytest

import formats
from beamsight.crystfel_geom import load_geom
from beamsight.errors import BadFrame, CannotRead
from beamsight.frame import Frame, Geometry
from beamsight.sources import Refused, open_frames, read_frames

DATA = Path(os.environ.get("BEAMSIGHT_DATA", Path(__file__).parents[2] / "shared" / "data"))
HC = 1.23984198e-6
# Two panels of 8 x 10 pixels: one as stored, one turned by a right angle.
TOP = """
photon_energy = 9000 eV ; of all
clen = 100 mm
res = 5000 ; 200 um
rigid_group_q0 = a,b
group_all = a,b
adu_per_eV = 0.0075
"""
PANELS = """
a/min_fs = 0
a/max_fs = 9
a/min_ss = 0
a/max_ss = 7
a/fs = x
a/ss = y
a/corner_x = 5
a/corner_y = -20.5

b/min_fs = 0
b/max_fs = 9
b/min_ss = 8
b/max_ss = 15
b/fs = -1.0y
b/ss = +1.0x +0.0y -0.01z
b/corner_x = -30
b/corner_y = 40
"""
SLAB = "dim0 = %\ndim1 = ss\ndim2 = fs\ndata = /entry_1/data_1/data\n"


def write(folder: Path, text: str) -> Path:
    (folder / "a.geom").write_text(text)
    return folder / "a.geom"


def slab(folder: Path, frames: int = 3) -> Path:
    return formats.cxi(folder, np.random.default_rng(0).poisson(5, (frames, 16, 10)).astype(np.int32))


def one(where: Any, **options: Any) -> Frame:
    with closing(cast("Generator[Frame]", open_frames(where, **options))) as frames:
        return next(frames)


def wrong(folder: Path, text: str) -> str:
    with pytest.raises(CannotRead) as caught:
        load_geom(str(write(folder, text)))
    assert "\n" not in str(caught.value)
    assert "a.geom: " in str(caught.value)
    return str(caught.value)


# ---- positions


def test_pixels_lie_where_they_were_computed_by_hand(tmp_path: Path) -> None:
    geometry = one(slab(tmp_path), geom=write(tmp_path, TOP + SLAB + PANELS)).geometry
    assert (geometry.pixel_m, geometry.distance_m, geometry.centre_px) == (1 / 5000, 0.1, None)
    assert geometry.wavelength_m == pytest.approx(HC / 9000)
    first, second = geometry.panels
    # The middle of the first pixel is half a pixel from the corner along both of its sides.
    assert first.corner_px == pytest.approx((-20.0, 5.5))
    assert second.corner_px == pytest.approx((39.5, -29.5))
    y, x = second.offsets_px()
    assert (y[2, 3], x[2, 3]) == pytest.approx((36.5, -27.5))
    assert geometry.radius_px()[10, 3] == pytest.approx(np.hypot(36.5, 27.5))
    assert geometry.q()[0, 0] == pytest.approx(4 * np.pi * 9000 / HC * np.sin(np.arctan(np.hypot(20, 5.5) / 5000 / 0.1) / 2))


def modules_geom() -> str:
    """The same two panels, of data [N 2 8 10]."""
    return (
        TOP
        + "dim0 = %\ndim2 = ss\ndim3 = fs\n"
        + PANELS.replace("b/min_ss = 8", "b/min_ss = 0").replace("b/max_ss = 15", "b/max_ss = 7\nb/dim1 = 1\na/dim1 = 0")
    )


def test_modules_and_their_slab_have_one_geometry(tmp_path: Path) -> None:
    expected = one(slab(tmp_path), geom=write(tmp_path, TOP + SLAB + PANELS))
    data = np.random.default_rng(0).poisson(5, (3, 16, 10)).astype(np.int32).reshape(3, 2, 8, 10)
    geom = write(tmp_path, modules_geom())
    # Data that say nothing of themselves: the .geom file says what their axes are.
    stack = one(formats.plain_h5()(tmp_path, data), geom=geom)
    np.testing.assert_array_equal(stack.image, expected.image)
    assert stack.geometry.panels == expected.geometry.panels
    for path in (slab(tmp_path), formats.cxi(tmp_path, data)):
        for geom_text in (modules_geom(), TOP + SLAB + PANELS):
            assert one(path, geom=write(tmp_path, geom_text)).geometry.panels == expected.geometry.panels
    (there, *_) = read_frames(path, geom=geom)
    assert isinstance(there, Frame)
    assert there.geometry == one(path, geom=geom).geometry


def test_what_stands_before_a_panel_holds_for_it(tmp_path: Path) -> None:
    text = PANELS.replace("b/min_fs", "res = 2500\nb/min_fs", 1)
    geom = load_geom(str(write(tmp_path, TOP + text)))
    assert [p.res for p in geom.panels] == [5000, 2500]
    geometry = one(slab(tmp_path), geom=write(tmp_path, TOP + SLAB + text)).geometry
    # In pixels of the first panel the second has pixels of twice the side.
    assert geometry.panels[1].corner_px == pytest.approx((79, -59))
    assert geometry.panels[1].fast_px == pytest.approx((-2, 0))


def test_a_panel_further_away_appears_nearer_to_the_beam(tmp_path: Path) -> None:
    geometry = one(slab(tmp_path), geom=write(tmp_path, TOP + SLAB + PANELS + "b/coffset = 0.1\n")).geometry
    assert geometry.distance_m == pytest.approx(0.1)
    assert geometry.panels[1].corner_px == pytest.approx((39.5 / 2, -29.5 / 2))
    # So that the angle of each of its pixels is right: r / 0.2 m.
    assert geometry.q()[8, 0] == pytest.approx(4 * np.pi * 9000 / HC * np.sin(np.arctan(np.hypot(39.5, 29.5) / 5000 / 0.2) / 2))


@pytest.mark.parametrize(("fs", "ss", "corner"), [("x", "y", (-3.0, -6.0)), ("-y", "x", (4.0, -5.5)), ("-x", "-y", (5.25, 7.75))])
def test_one_panel_that_is_the_image_gives_a_beam_centre(fs: str, ss: str, corner: tuple[float, float], tmp_path: Path) -> None:
    y, x = corner
    text = (
        f"p/min_fs = 0\np/max_fs = 9\np/min_ss = 0\np/max_ss = 15\np/fs = {fs}\np/ss = {ss}\np/corner_x = {x}\np/corner_y = {y}\n"
    )
    geometry = one(slab(tmp_path), geom=write(tmp_path, TOP + SLAB + text)).geometry
    assert geometry.panels == ()
    panel = load_geom(str(tmp_path / "a.geom")).panels[0]
    row, column = np.indices((16, 10)) + 0.5
    found = [panel.corner_px[k] + row * panel.slow_px[k] + column * panel.fast_px[k] for k in (0, 1)]
    np.testing.assert_allclose(geometry.radius_px(), np.hypot(*found), atol=1e-9)


@pytest.mark.parametrize(
    ("line", "wavelength_m"),
    [
        ("photon_energy = 9.0 keV", HC / 9000),
        ("photon_energy = 9000", HC / 9000),
        ("photon_energy = /LCLS/photon_energy_eV", [HC / e for e in (9000, 9100, 9200)]),
        ("photon_energy = /LCLS/keV keV", HC / 9000),
        ("wavelength = 1.5 A", 1.5e-10),
        ("wavelength = 1.5e-10 m", 1.5e-10),
        ("electron_voltage = 200 kV", 2.5079e-12),
        ("electron_voltage = 300000", 1.9687e-12),
    ],
)
def test_the_wavelength_is_a_number_or_stands_in_the_file(line: str, wavelength_m: Any, tmp_path: Path) -> None:
    path = slab(tmp_path)
    with h5py.File(path, "a") as file:
        file["LCLS/photon_energy_eV"], file["LCLS/keV"] = [9000.0, 9100.0, 9200.0], 9.0
    geom = write(tmp_path, TOP.replace("photon_energy = 9000 eV", line) + SLAB + PANELS)
    found = [f.geometry.wavelength_m for f in open_frames(path, geom=geom)]
    assert found == pytest.approx(wavelength_m if isinstance(wavelength_m, list) else [wavelength_m] * 3, rel=1e-4)


def test_the_distance_of_each_shot_stands_in_the_file_in_millimetres(tmp_path: Path) -> None:
    path = slab(tmp_path)
    with h5py.File(path, "a") as file:
        file["LCLS/EncoderValue"] = [-450.0, -440.0, -400.0]
    top = TOP.replace("clen = 100 mm", "clen = /LCLS/EncoderValue\ncoffset = 0.55")
    found = [f.geometry.distance_m for f in open_frames(path, geom=write(tmp_path, top + SLAB + PANELS))]
    assert found == pytest.approx([0.1, 0.11, 0.15])


def test_a_shift_moves_all_panels(tmp_path: Path) -> None:
    shifted = one(
        slab(tmp_path), geom=write(tmp_path, TOP + SLAB + PANELS + "detector_shift_x = 1 mm\ndetector_shift_y = -0.002\n")
    )
    assert [p.corner_px for p in shifted.geometry.panels] == [pytest.approx(c) for c in ((-30, 10.5), (29.5, -24.5))]


@pytest.mark.peer
def test_positions_are_those_of_extra_geom(tmp_path: Path) -> None:
    extra_geom = pytest.importorskip("extra_geom")
    theirs = extra_geom.AGIPD_1MGeometry.from_quad_positions([(-525, 625), (-550, -10), (520, -160), (542.5, 475)])
    theirs.write_crystfel_geom(str(tmp_path / "a.geom"), clen=0.13, photon_energy=9300, dims=("frame", "modno", "ss", "fs"))
    path = formats.cxi(tmp_path, np.zeros((1, 16, 512, 128), np.int8) + 1)
    geometry = one(path, geom=tmp_path / "a.geom").geometry
    assert len(geometry.panels) == 128
    expected = theirs.get_pixel_positions()  # [16 512 128 3] m, x y z, middles of pixels
    x, y = (expected[..., k].reshape(-1, 128) * 5000 for k in (0, 1))
    for panel in geometry.panels:
        place = (slice(panel.y0, panel.y1), slice(panel.x0, panel.x1))
        np.testing.assert_allclose(panel.offsets_px(), (y[place], x[place]), atol=1e-6)


@pytest.mark.skipif(not (DATA / "sfx").is_dir(), reason="no real images; BEAMSIGHT_DATA names their folder")
def test_a_cspad_lies_where_its_own_table_says(tmp_path: Path) -> None:
    path = DATA / "sfx" / "cspad_lcls" / "thermolysin_cspad_4frames.h5"
    with h5py.File(path) as file:
        table, pixel_mm = file["geometry/asics"][()], float(file["entry/pixel_size_mm"][()])
        x_mm, y_mm = (file[f"geometry/{n}_mm"][()].reshape(-1, 388) for n in "xy")
    lines = [f"res = {1e3 / pixel_mm}", "clen = 0.13", "dim0 = %", "dim3 = ss", "dim4 = fs"]
    for n, (quadrant, sensor, fs0, fs1, ss0, ss1, *places) in enumerate(table.tolist()):
        corner, fs, ss = np.reshape(places, (3, 3)) / pixel_mm
        corner = corner - fs / 2 - ss / 2  # the table gives middles of pixels
        lines += [f"p{n}/dim1 = {quadrant:.0f}", f"p{n}/dim2 = {sensor:.0f}"]
        lines += [
            f"p{n}/{k} = {v:.0f}"
            for k, v in zip(("min_fs", "max_fs", "min_ss", "max_ss"), (fs0 - 1, fs1 - 1, ss0 - 1, ss1 - 1), strict=True)
        ]
        lines += [f"p{n}/fs = {fs[0]:+.9f}x {fs[1]:+.9f}y", f"p{n}/ss = {ss[0]:+.9f}x {ss[1]:+.9f}y"]
        lines += [f"p{n}/corner_x = {corner[0]:.6f}", f"p{n}/corner_y = {corner[1]:.6f}"]
    geometry = one(path, geom=write(tmp_path, "\n".join(lines))).geometry
    assert len(geometry.panels) == 64
    np.testing.assert_allclose(geometry.radius_px(), np.hypot(x_mm, y_mm) / pixel_mm, atol=0.02)


# ---- what is wrong


@pytest.mark.parametrize("name", ["corner_x", "corner_y", "fs", "ss", "min_fs", "max_ss"])
def test_a_panel_that_lacks_something_is_named(name: str, tmp_path: Path) -> None:
    lines = [line for line in (TOP + PANELS).splitlines() if not line.startswith(f"b/{name} =")]
    message = wrong(tmp_path, "\n".join(lines))
    assert f"panel b has no {name}" in message
    assert "from line" in message


WRONG = {
    "no geometry": ("hello = world", "names no panel"),
    "no pairs": ("hello world", "line 1: 'hello world' is no"),
    "no number": (TOP + PANELS.replace("= 5\n", "= five\n"), "line 15: corner_x = five: no number"),
    "no whole number": (TOP + PANELS.replace("max_fs = 9", "max_fs = 9.5", 1), "no whole number"),
    "no res": (PANELS, "no res"),
    "res of nothing": (TOP.replace("5000", "0") + PANELS, "line 4: res = 0"),
    "no direction": (TOP + PANELS.replace("a/fs = x", "a/fs = 1.0"), "line 13: fs = 1.0: no direction"),
    "half a direction": (TOP + PANELS.replace("a/fs = x", "a/fs = x + q"), "no direction"),
    "turned about": (TOP + PANELS.replace("a/max_fs = 9", "a/max_fs = -1"), "panel a: rows 0 to 7, columns 0 to -1"),
    "unknown unit": (TOP.replace("100 mm", "100 feet") + PANELS, "line 3: clen = 100 feet: neither"),
    "wavelength without unit": (TOP.replace("photon_energy = 9000 eV", "wavelength = 1.5") + PANELS, "unit of m, A"),
    "two wavelengths": (TOP + "wavelength = 1 A\n" + PANELS, "lines 2 and 8 both"),
    "half a bad region": (TOP + PANELS + "bad1/min_fs = 3\n", "bad region bad1 has no"),
    "bad region of no panel": (
        TOP + PANELS + "".join(f"bad1/{n} = 3\n" for n in ("min_fs", "max_fs", "min_ss", "max_ss")) + "bad1/panel = c\n",
        "no panel of that name",
    ),
    "axes turned": (TOP + "dim0 = fs\ndim1 = ss\n" + PANELS, "last two be ss and fs"),
    "an axis left out": (TOP + "dim0 = %\ndim2 = ss\ndim3 = fs\n" + PANELS, "dim1 = ?"),
    "an axis of nothing": (TOP + "dim0 = frame\n" + PANELS, "an axis is %, ss, fs or a number"),
    "axes that differ": (TOP + SLAB + PANELS + "b/dim3 = fs\n", "dim3"),
    "bits": (TOP + "mask = /m\nmask_bad = many\n" + PANELS, "no whole number such as 0xffff"),
    "two places of data": (TOP + PANELS + "a/data = /x\nb/data = /y\n", "data differs from panel to panel"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_one_line_that_names_the_place(name: str, tmp_path: Path) -> None:
    text, words = WRONG[name]
    assert words in wrong(tmp_path, text)


def test_a_geom_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CannotRead, match="no such file"):
        list(read_frames(slab(tmp_path), geom=tmp_path / "none.geom"))


def test_frames_of_another_detector_are_refused(tmp_path: Path) -> None:
    refused: list[Refused] = []
    geom = write(tmp_path, TOP + SLAB + PANELS)
    path = formats.cxi(tmp_path, np.ones((2, 12, 10), int))
    assert not list(open_frames(path, geom=geom, on_bad=refused.append))
    assert "panel b" in refused[0].reason
    assert "rows 8-15" in refused[0].reason
    assert "(12, 10)" in refused[0].reason
    with pytest.raises(BadFrame, match="module 1 of 1"):
        one(formats.cxi(tmp_path, np.ones((2, 1, 8, 10), int)), geom=write(tmp_path, modules_geom()))
    with pytest.raises(BadFrame, match="a part of the image"):
        one(f"{slab(tmp_path)}?path=/entry_1/data_1/data&slice=0,0:12,0:10", geom=geom)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("clen = /LCLS/none mm", "no data set /LCLS/none in it"),
        ("clen = /LCLS/two m", "holds no number for this frame"),
        ("clen = /LCLS/%/two m", "a place with % is not read"),
        ("mask = /entry_1/none", "no data set /entry_1/none"),
        ("mask = /LCLS/two", "has shape \\(2,\\)"),
        ("mask_file = none.h5\nmask = /mask", "none.h5"),
    ],
)
def test_a_place_that_the_data_file_lacks_is_said_of_each_frame(line: str, words: str, tmp_path: Path) -> None:
    path = slab(tmp_path)
    with h5py.File(path, "a") as file:
        file["LCLS/two"] = [1, 2]
    with pytest.raises((BadFrame, CannotRead), match=words):
        one(
            path,
            geom=write(
                tmp_path,
                TOP.replace("clen = 100 mm", line if "clen" in line else "clen = 0.1")
                + SLAB
                + (line if "mask" in line else "")
                + PANELS,
            ),
        )


def test_a_place_is_looked_for_in_hdf5_only(tmp_path: Path) -> None:
    text = TOP.replace("100 mm", "/a/b") + PANELS
    with pytest.raises(CannotRead, match="no HDF5 file"):
        one(formats.npy(tmp_path, np.ones((16, 10), int)), geom=write(tmp_path, text))


def test_two_geometries_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFrame, match="two geometries"):
        one(slab(tmp_path), geom="a.geom", poni="a.poni")


def test_a_geom_file_says_what_the_frames_do_not(tmp_path: Path) -> None:
    own = one(slab(tmp_path)).geometry
    text = TOP.replace("photon_energy = 9000 eV", "").replace("clen = 100 mm", "")
    geometry = one(slab(tmp_path), geom=write(tmp_path, text + SLAB + PANELS)).geometry
    assert isinstance(geometry, Geometry)
    assert (geometry.wavelength_m, geometry.distance_m) == (own.wavelength_m, own.distance_m)


def test_the_data_that_a_geom_file_names_are_read(tmp_path: Path) -> None:
    path = slab(tmp_path)
    with h5py.File(path, "a") as file:
        file["later/data"] = np.full((1, 16, 10), 7)
    for place, key in (("/later/data", "/later/data"), ("/nowhere", "/entry_1/data_1/data"), ("/%/data", "/entry_1/data_1/data")):
        geom = write(tmp_path, TOP + SLAB.replace("/entry_1/data_1/data", place) + PANELS)
        assert one(path, geom=geom).key == f"{path}?path={key}&slice=0"
    # An address has the last word.
    assert one(f"{path}::/entry_1/data_1/data", geom=geom).key.endswith("path=/entry_1/data_1/data&slice=0")
