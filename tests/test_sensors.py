"""Detectors have the sizes their makers publish; every pixel lies where its panel says, in any window."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import numpy as np
import pytest
import torch

from beamsight.catalogue import FORMS, SENSORS, layout
from beamsight.frame import Geometry
from beamsight.physics.places import Places, places, stored
from beamsight.sensors import PANELS, Layout

# (name, form): the stored image's shape and its panels, chips where their pixels differ at borders.
PUBLISHED = {
    ("PILATUS 300K", "assembled"): ((619, 487), 3),
    ("PILATUS 2M", "assembled"): ((1679, 1475), 24),
    ("PILATUS 6M", "assembled"): ((2527, 2463), 60),
    ("EIGER 1M", "assembled"): ((1065, 1030), 2),
    ("EIGER 4M", "assembled"): ((2167, 2070), 8),
    ("EIGER 16M", "assembled"): ((4371, 4150), 32),
    ("EIGER2 16M", "assembled"): ((4362, 4148), 32),
    ("Rayonix MX340", "assembled"): ((1920, 1920), 16),
    ("CSPAD", "stack"): ((32 * 185, 388), 64),
    ("ePix10k 2M", "stack"): ((16 * 352, 384), 64),
    ("JUNGFRAU 1M", "stack"): ((2 * 512, 1024), 16),
    ("JUNGFRAU 4M", "stack"): ((8 * 512, 1024), 64),
    ("JUNGFRAU 16M", "stack"): ((32 * 512, 1024), 256),
    ("AGIPD 1M", "stack"): ((16 * 512, 128), 128),
}
# What a sensor covers with the gaps between its chips.
COVERED = {"CSPAD": 32 * 185 * 391, "JUNGFRAU 1M": 2 * 514 * 1030, "AGIPD 1M": 16 * 526 * 128, "ePix10k 2M": 16 * 355 * 387}
SMALL = ("CSPAD", "JUNGFRAU 1M", "AGIPD 1M", "PILATUS 300K", "ePix10k 2M", "EIGER 1M")
MIDDLE = (13.25, -40.5)
every_small = pytest.mark.parametrize(("name", "form"), [(n, f) for n in SMALL for f in FORMS])


def window(built: Layout, first: tuple[int, int], shape: tuple[int, int]) -> Places:
    table = torch.tensor(built.table(MIDDLE))[None]
    return places(table, torch.tensor([first]).float(), torch.tensor([built.shape[1]]).float(), shape)


@pytest.mark.parametrize(("name", "form"), PUBLISHED)
def test_shapes_are_the_published_ones(name: str, form: str) -> None:
    shape, panels = PUBLISHED[name, form]
    assert layout(name, form).shape == shape
    assert len(layout(name, form).panels) == panels


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", SENSORS)
def test_panels_lie_within_the_image_and_apart(name: str, form: str) -> None:
    built = layout(name, form)
    assert len(built.panels) <= PANELS
    covered = np.zeros(built.shape, np.uint8)
    for p in built.panels:
        covered[p.y0 : p.y1, p.x0 : p.x1] += 1
    assert covered.max() == 1
    assert covered.sum() == sum((p.y1 - p.y0) * (p.x1 - p.x0) for p in built.panels)
    if form == "stack":
        assert covered.all()


@pytest.mark.parametrize("name", SENSORS)
def test_both_forms_put_the_chips_at_the_same_places(name: str) -> None:
    middles = []
    for form in FORMS:
        found = []
        for p in layout(name, form).panels:
            y, x = p.offsets_px()
            found.append((y.mean(), x.mean(), p.y1 - p.y0 + p.x1 - p.x0))
        middles.append(np.array(found))
    # An assembled image rounds to whole pixels, leaves tilts out and is centred by what it covers.
    for one in middles[0]:
        away = np.hypot(*(middles[1][:, :2] - one[:2]).T)
        assert away.min() < 3
        assert middles[1][away.argmin(), 2] == one[2]


@pytest.mark.parametrize("name", SENSORS)
def test_sensors_do_not_overlap_in_the_plane(name: str) -> None:
    built = layout(name, "stack")
    taken = np.concatenate([np.stack([c.ravel() for c in p.offsets_px()], 1)[::37] for p in built.panels])
    # Every 37th pixel of each, on a grid of pixels: no two within half of one.
    cell = np.round(taken / 0.5).astype(np.int64)
    assert len(np.unique(cell, axis=0)) == len(cell)


@every_small
def test_pixels_lie_where_their_panel_says(name: str, form: str) -> None:
    built = layout(name, form)
    found = window(built, (0, 0), built.shape)
    radius = Geometry(built.shape, panels=built.placed(MIDDLE)).radius_px()
    mine = torch.hypot(found.y, found.x)[0].numpy()
    on = found.panel[0].numpy() > 0
    np.testing.assert_array_equal(on, np.isfinite(radius))
    np.testing.assert_allclose(mine[on], radius[on], atol=1e-3)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", COVERED)
def test_pixels_beside_a_gap_take_it(name: str, form: str) -> None:
    built = layout(name, form)
    area = window(built, (0, 0), built.shape).area
    assert float(area.double().sum()) == pytest.approx(COVERED[name], rel=1e-6)


@every_small
def test_a_window_is_the_part_of_the_whole_it_shows(name: str, form: str) -> None:
    built = layout(name, form)
    first = (built.shape[0] // 3, built.shape[1] // 4)
    whole, part = window(built, (0, 0), built.shape), window(built, first, (90, 70))
    cut = (0, slice(first[0], first[0] + 90), slice(first[1], first[1] + 70))
    for field in ("panel", "row", "column", "pixel", "area"):
        assert torch.equal(getattr(part, field)[0], getattr(whole, field)[cut])
    # Sums over other panels may round a tilted one's place in another order: 1e-4 px.
    torch.testing.assert_close(part.y[0], whole.y[cut], atol=2e-4, rtol=0)
    torch.testing.assert_close(part.x[0], whole.x[cut], atol=2e-4, rtol=0)


@every_small
def test_the_place_of_a_pixel_leads_back_to_it(name: str, form: str) -> None:
    built = layout(name, form)
    found = window(built, (0, 0), built.shape)
    some = (found.panel[0] > 0).nonzero()[:: built.shape[0]]
    row, column = some.unbind(1)
    back_row, back_column = stored(found.panels, found.y[:, row, column], found.x[:, row, column])
    panel = found.panel[0, row, column].long() - 1
    each = torch.arange(len(row))
    torch.testing.assert_close(back_row[0, each, panel], row.float(), atol=2e-3, rtol=0)
    torch.testing.assert_close(back_column[0, each, panel], column.float(), atol=2e-3, rtol=0)


def test_what_is_beside_the_detector_has_no_panel() -> None:
    built = layout("AGIPD 1M", "stack")
    found = window(built, (100, 0), (64, 256))
    assert (found.panel[..., 128:] == 0).all()
    assert (found.panel[..., :128] > 0).all()
