"""Files of real detectors and facilities are read, or refused for a reason that a user can act on."""

# SPDX-License-Identifier: BSD-3-Clause

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from beamsight.frame import Frame
from beamsight.masks import masked_share
from beamsight.sources import Refused, open_frames, read_frames

DATA = Path(os.environ.get("BEAMSIGHT_DATA", Path(__file__).parents[2] / "shared" / "data"))
SAS = Path((find_spec("sasdata") or find_spec("numpy")).origin or "").parent / "example_data" / "2d_data"  # type: ignore[union-attr]

needs_data = pytest.mark.skipif(not (DATA / "sfx").is_dir(), reason="no real images; BEAMSIGHT_DATA names their folder")
needs_sas = pytest.mark.skipif(not SAS.is_dir(), reason="the package sasdata is not installed; its extra is named demo")


def frame(path: Path | str) -> Frame:
    item = next(iter(read_frames(path)))
    assert isinstance(item, Frame), item
    return item


@needs_data
def test_all_scattering_images_are_read() -> None:
    found = list(read_frames(DATA / "scattering"))
    assert len(found) == len(list((DATA / "scattering").glob("*.tif"))) == 12
    for item in found:
        assert isinstance(item, Frame), item
        gaps = item.image.shape in ((1043, 981), (619, 487))
        # The gaps between the modules of a PILATUS are 7 % of it; the other images have none.
        assert (0.05 < masked_share(item) < 0.09) == gaps, item.key


@needs_data
@pytest.mark.parametrize(
    ("name", "shape", "pixel_m", "wavelength_m", "distance_m", "centre_px"),
    [
        ("pilatus6m_gridscan/thau_3_2_0003.cbf.bz2", (2527, 2463), 172e-6, 0.96859e-10, 0.351, (1306.46, 1261.11)),
        ("eiger16m/dlsnxs2cbf_therm_0001.cbf.gz", (4362, 4148), 75e-6, 0.98027e-10, 0.21396, (2299.91, 2215.56)),
        ("timepix_ed/TIMEPIX_SU_512-stdgoni_0001.img", (512, 512), 55e-6, 0.0251e-10, 0.53185, None),
    ],
)
def test_headers_of_detectors_tell_the_geometry(
    name: str,
    shape: tuple[int, int],
    pixel_m: float,
    wavelength_m: float,
    distance_m: float,
    centre_px: tuple[float, float] | None,
) -> None:
    item = frame(DATA / "sfx" / name)
    assert item.image.shape == shape
    assert item.geometry.pixel_m == pytest.approx(pixel_m)
    assert item.geometry.wavelength_m == pytest.approx(wavelength_m)
    assert item.geometry.distance_m == pytest.approx(distance_m)
    assert item.geometry.centre_px == (None if centre_px is None else pytest.approx(centre_px))


@needs_data
def test_modules_are_one_frame_and_can_be_addressed() -> None:
    path = DATA / "sfx" / "cspad_lcls" / "thermolysin_cspad_4frames.h5"
    shots = list(read_frames(path))
    assert [s.image.shape for s in shots if isinstance(s, Frame)] == [(32 * 185, 388)] * 4
    panel = frame(f"{path}?path=/entry/data&slice=0,1,2")
    assert panel.image.shape == (185, 388)
    # A dark-subtracted detector: noise below zero is signal's other half, and stays.
    assert panel.image[panel.mask].min() < 0


@needs_data
def test_stacks_of_modules_and_single_data_sets() -> None:
    path = DATA / "sfx" / "jungfrau_module" / "jungfrau_mod5.h5"
    assert [f.image.shape for f in open_frames(f"{path}::/converted/data")] == [(512, 1024)] * 2
    assert frame(DATA / "sfx" / "rayonix_mfx" / "mfx_rayonix_kapton_hit.h5").image.shape == (1920, 1920)


@needs_data
@pytest.mark.parametrize("name", ["dectris_stream2_cbor/000001.cbor", "pdb/1aki.pdb", "peakfinder8_reference.json", "SOURCES.md"])
def test_what_is_no_image_is_refused(name: str) -> None:
    (item,) = read_frames(DATA / "sfx" / name)
    assert isinstance(item, Refused)


@needs_sas
def test_every_two_dimensional_file_of_sasview_is_read() -> None:
    paths = sorted(p for p in SAS.iterdir() if p.suffix.lower() in (".h5", ".dat", ".sans"))
    found = list(read_frames(paths))
    assert [type(i) for i in found] == [Frame] * len(paths), [i for i in found if isinstance(i, Refused)]
    for item in found:
        assert isinstance(item, Frame)
        assert item.geometry.centre_px is not None


@needs_sas
def test_the_same_image_in_two_formats_is_the_same() -> None:
    text, nexus = frame(SAS / "33837rear_2D_1.75_16.5_NIST.dat"), frame(SAS / "33837rear_2D_1.75_16.5_NXcanSAS.h5")
    np.testing.assert_allclose(text.image, nexus.image, rtol=1e-5)
    assert text.geometry.centre_px == pytest.approx(nexus.geometry.centre_px)


@needs_sas
def test_the_mask_and_the_beam_of_a_laboratory_image() -> None:
    item = frame(SAS / "BAM_2D.h5")
    assert item.image.shape == (1065, 1030)
    assert masked_share(item) == pytest.approx(0.0514, abs=1e-3)
    assert item.geometry.centre_px == pytest.approx((406.6, 505.8), abs=0.1)


@needs_sas
def test_q_of_a_nist_image_is_the_q_it_lists() -> None:
    item = frame(SAS / "SILIC010.DAT")
    rows = [line.split() for line in (SAS / "SILIC010.DAT").read_text().splitlines() if line.startswith(("-0.", "0."))]
    listed = np.array(rows, float)
    expected = np.hypot(listed[:, 0], listed[:, 1]).reshape(128, 128) * 1e10
    far = expected > 0.2 * expected.max()
    np.testing.assert_allclose(item.geometry.q()[far], expected[far], rtol=0.01)
    # The header counts its beam centre from 1.
    assert item.geometry.centre_px == pytest.approx((64.79 - 1, 68.15 - 1), abs=0.05)
