"""Runs and their shots: pure functions of their numbers that share no run, and windows that are parts of the whole."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import default_rng
from scipy import stats

from beamsight.examples import TEST, TRAINING, VALIDATION
from beamsight.physics.backgrounds import ICE_A_M, ICE_C_M, ICE_LINES, ice_spacings, passed, scattered
from beamsight.runs import FRAMES_PER_RUN, Run, draw_run, indices_of, run_of
from beamsight.shots import SPOTS, Shot, draw_shot, place, run_numbered, shot_of, stored_at
from beamsight.taking import HIT, NAMES, cells, render, take, verdict, visible_spots, window_of
from beamsight.task import columns

SEED = 3
SHAPE = (96, 128)
FIRST = TRAINING[0]
SHOTS = [draw_shot(SEED, FIRST + i) for i in range(24)]
MODULES = [run_numbered(SEED, run_of(FIRST + i)[0]).modules for i in range(24)]


def same(a: Shot, b: Shot) -> bool:
    return all(np.array_equal(v, w) for v, w in zip(asdict(a).values(), asdict(b).values(), strict=True))


@given(st.integers(0, 2**24))
def test_an_index_belongs_to_one_run(index: int) -> None:
    run, frame = run_of(index)
    assert indices_of(run)[frame] == index
    assert len(indices_of(run)) == FRAMES_PER_RUN


def test_training_validation_and_test_share_no_run() -> None:
    ends = [
        {run_of(r[k])[0] for k in range(-5000 if last else 0, 0 if last else 5000)} for r in (TEST, VALIDATION) for last in (0, 1)
    ]
    training = {run_of(TRAINING[k])[0] for k in range(5000)}
    assert not (ends[0] | ends[1]) & (ends[2] | ends[3])
    assert not (ends[0] | ends[1] | ends[2] | ends[3]) & training
    for ranged in (TEST, VALIDATION):
        assert all(set(indices_of(run_of(i)[0])) <= set(ranged) for i in (ranged[0], ranged[-1], ranged[len(ranged) // 2]))
    # Frames that stand beside one another come from different runs.
    assert len({run_of(i)[0] for i in TRAINING[:2000]}) == 2000


def test_a_run_and_a_shot_are_functions_of_their_numbers() -> None:
    a, b = draw_run(SEED, 5), draw_run(SEED, 5)
    assert repr(a) == repr(b) != repr(draw_run(SEED, 6)) != repr(draw_run(SEED + 1, 6))
    assert same(draw_shot(SEED, FIRST + 3), SHOTS[3])
    assert not same(draw_shot(SEED + 1, FIRST + 3), SHOTS[3])


def test_frames_of_a_run_share_what_a_run_shares() -> None:
    run = run_of(FIRST)[0]
    first, second = (draw_shot(SEED, i) for i in indices_of(run)[:2])
    assert first.run == second.run == run
    assert np.array_equal(first.panels, second.panels)
    assert first.pixel_rad == second.pixel_rad
    assert first.ring_q.tolist() == second.ring_q.tolist()
    assert first.air_ph != second.air_ph


def test_levels_drift_along_a_run_and_scatter_from_shot_to_shot() -> None:
    run = replace(
        draw_run(SEED, 8),
        shape=400.0,
        jet_spread=0.0,
        hit_fraction=0.0,
        dark_fraction=0.0,
        drift=np.tile([0.5, 1.0, 0.0], (5, 1)),
    )
    air = np.log([shot_of(run, f, default_rng(f)).air_ph / run.background["air_ph"] for f in range(FRAMES_PER_RUN)])
    slow = 0.5 * np.sin(2 * np.pi * np.arange(FRAMES_PER_RUN) / FRAMES_PER_RUN)
    assert np.corrcoef(air, slow)[0, 1] > 0.95
    # A gamma distribution of shape k has relative spread k^-1/2.
    assert (air - slow).std() == pytest.approx(0.05, rel=0.2)


def test_a_dropped_pulse_lights_nothing() -> None:
    run = replace(draw_run(SEED, 8), dark_fraction=1.0, hit_fraction=1.0)
    dark = shot_of(run, 3, default_rng(1))
    assert (dark.spot_ph == 0).all()
    assert float(render(columns([dark]), (64, 64)).max()) == 0


def test_spots_of_a_shot_are_the_highest_first_and_padded() -> None:
    some = [s for s in SHOTS if s.crystals]
    assert 4 < len(some) < 22
    for s in some:
        height = s.spot_ph / s.spot_along / s.spot_across
        assert (np.diff(height) <= 1e-5 * height[0]).all()
        assert len(height) == SPOTS
        assert (s.spot_near < np.arange(SPOTS)).all()
    assert all((s.spot_ph == 0).all() for s in SHOTS if not s.crystals)


def test_render_gives_photons_one_by_one_as_together() -> None:
    together = render(columns(SHOTS), SHAPE)
    assert together.shape == (len(SHOTS), *SHAPE)
    assert together.isfinite().all()
    assert (together >= 0).all()
    for n, shot in enumerate(SHOTS):
        torch.testing.assert_close(render(columns([shot]), SHAPE)[0], together[n], rtol=1e-5, atol=1e-6)


def test_render_makes_everything_on_the_device_that_is_asked_for() -> None:
    with torch.device("meta"):
        photons = render(columns(SHOTS[:4]), SHAPE)
    assert photons.device.type == "meta"
    assert photons.shape == (4, *SHAPE)


SMALL = [n for n, s in enumerate(SHOTS) if s.height * s.width < 4.5e6]


@pytest.mark.parametrize("n", SMALL[:8])
def test_a_window_is_rendered_and_exposed_as_the_part_of_the_whole_it_is(n: int) -> None:
    shot, modules, seeds = SHOTS[n], columns([MODULES[n]]), torch.tensor([n])
    size = (min(200, shot.height), min(160, shot.width))
    full = columns([shot])
    taken = take(full, modules, size, seeds)
    where, part = taken.where, taken.exposed
    y, x = int(where.row[0, 0, 0]), int(where.column[0, 0, 0])
    cut = (slice(None), slice(y, y + size[0]), slice(x, x + size[1]))
    whole = take(full, modules, (shot.height, shot.width), seeds).exposed
    assert torch.equal(part.mask, whole.mask[cut])
    torch.testing.assert_close(part.photons, whole.photons[cut], rtol=1e-4, atol=1e-5)
    # Of what a screen spreads into a window from beside it nothing is known.
    rim = 2 if MODULES[n].spread_px else 0
    inside = (slice(None), slice(rim, size[0] - rim), slice(rim, size[1] - rim))
    # A tilted panel's place is rounded in another order; one photon in ten thousand may fall to the other side of a whole count.
    assert float((~torch.isclose(part.counts, whole.counts[cut], rtol=1e-3, atol=1e-3))[inside].float().mean()) < 3e-4


@pytest.mark.parametrize("shape", [(100, 90), (700, 1500)])
def test_a_geometry_says_where_the_pixels_of_a_window_lie(shape: tuple[int, int]) -> None:
    forms = set()
    for shot in SHOTS:
        geometry, where = place(shot, shape), window_of(columns([shot]), shape)
        on = where.panel[0].numpy() > 0
        radius = torch.hypot(where.y, where.x)[0].numpy()
        np.testing.assert_allclose(geometry.radius_px()[on], radius[on], rtol=1e-6, atol=2e-3)
        forms.add(bool(geometry.panels))
        if geometry.panels:
            np.testing.assert_array_equal(np.isfinite(geometry.radius_px()), on)
        assert geometry.wavelength_m == shot.wavelength_m
        assert geometry.pixel_m / geometry.distance_m == pytest.approx(shot.pixel_rad)
    assert forms == {True, False}


def test_what_is_visible_in_the_parts_is_visible_in_the_whole() -> None:
    """Windows side by side see the spots of the whole between them."""
    seen = 0
    for n in SMALL:
        shot = SHOTS[n]
        if not shot.crystals:
            continue
        modules, seeds = columns([MODULES[n]]), torch.tensor([n])
        whole = visible_spots(columns([shot]), take(columns([shot]), modules, (shot.height, shot.width), seeds))
        size = (-(-shot.height // 2), shot.width)
        halves = [
            visible_spots(columns([s]), take(columns([s]), modules, size, seeds))
            for s in (replace(shot, window_y=0.0), replace(shot, window_y=0.999999))
        ]
        # A spot on the cut may be seen from both sides or from neither.
        assert abs(int(sum(halves)) - int(whole)) <= 2 + 0.1 * int(whole)
        seen += int(whole)
    assert seen > 40


def about_its_brightest(shot: Shot) -> Shot:
    row, column = stored_at(shot.panels, shot.spot_y[:20].astype(float), shot.spot_x[:20].astype(float))
    on = int((row >= 0).argmax())
    return replace(shot, window_y=float(max(row[on], 0) / shot.height), window_x=float(max(column[on], 0) / shot.width))


def test_cells_hold_the_middles_of_visible_spots() -> None:
    shape, marks = (256, 200), 0
    shots = [about_its_brightest(s) for s in SHOTS]
    of, modules = columns(shots), columns(MODULES)
    taken = take(of, modules, shape, torch.arange(len(shots)))
    found, marked = taken.seen, cells(of, taken, 8)
    assert marked.shape == (len(SHOTS), 32, 25)
    assert (found.may | ~found.visible).all()
    for n, shot in enumerate(SHOTS):
        y, x = taken.where.y[n], taken.where.x[n]
        on = taken.where.panel[n] > 0
        for kind in (found.visible, found.may):
            for spot in kind[n].nonzero()[:, 0].tolist():
                away = torch.where(on, torch.hypot(y - shot.spot_y[spot], x - shot.spot_x[spot]), torch.inf)
                # One whose middle lies off the window or in a gap may still reach it.
                if away.min() < 0.6:
                    row, column = divmod(int(away.argmin()), shape[1])
                    near = marked[
                        n, max(0, (row - 1) // 8) : (row + 1) // 8 + 1, max(0, (column - 1) // 8) : (column + 1) // 8 + 1
                    ]
                    assert (near == 1).any() if found.visible[n, spot] else near.isnan().any() or (near == 1).any()
                    marks += 1
        assert int((marked[n] == 1).sum()) <= int(found.visible[n].sum())
    assert marks > 20


def test_verdicts_count_visible_spots() -> None:
    assert [NAMES[v] for v in verdict(torch.tensor([0, 1, HIT - 1, HIT, 500])).tolist()] == ["miss", "weak", "weak", "hit", "hit"]


def test_crystals_give_every_verdict_and_no_crystal_a_miss() -> None:
    found, without = [], []
    for index in range(FIRST + 100, FIRST + 320):
        shot = draw_shot(SEED, index)
        if shot.height * shot.width > 1.2e6:
            continue
        modules = columns([run_numbered(SEED, run_of(index)[0]).modules])
        taken = take(columns([shot]), modules, (shot.height, shot.width), torch.tensor([index % 1000]))
        (found if shot.crystals else without).append(int(verdict(visible_spots(columns([shot]), taken))))
    assert len(found) > 15
    assert set(found) == {0, 1, 2}
    assert set(without) == {0}


def test_ice_has_its_spacings() -> None:
    import gemmi

    cell = gemmi.UnitCell(ICE_A_M * 1e10, ICE_A_M * 1e10, ICE_C_M * 1e10, 90, 90, 120)
    np.testing.assert_allclose(ice_spacings() * 1e10, [cell.calculate_d(list(hkl)) for hkl in ICE_LINES], rtol=1e-9)
    # The strongest lines of ice Ih as tables have them, in angstrom.
    np.testing.assert_allclose(ice_spacings()[:6] * 1e10, [3.90, 3.67, 3.44, 2.67, 2.25, 2.07], atol=0.03)


def bare(**changes: object) -> Shot:
    """A shot without anything in the beam, on a detector about it."""
    dark = {
        "flat_ph": 0.0, "air_ph": 0.0, "ring_ph": np.zeros(3), "ice_ph": 0.0, "streak_ph": 0.0, "stop_px": 0.0, "shade_share":
        np.ones(3), "spot_ph": np.zeros(SPOTS),
    }  # fmt: skip
    return replace(SHOTS[0], **(dark | {"wavelength_m": 1e-10, "pixel_rad": 1e-3, "reach_px": 800.0} | changes))


def test_rings_lie_at_their_spacing_and_are_polarised() -> None:
    q = 1 / 3.2e-10
    shot = bare(ring_ph=np.array([5.0, 0, 0]), ring_q=np.full(3, q), ring_low=np.full(3, 2e7), ring_high=np.full(3, 2e7))
    r = torch.linspace(1, 700, 2000)
    for along_x in (True, False):
        y, x = (torch.zeros_like(r), r) if along_x else (r, torch.zeros_like(r))
        profile = scattered(columns([shot]), y[None, None], x[None, None])[0, 0]
        two_theta = 2 * np.arcsin(1e-10 * q / 2)
        # The slopes of polarisation and solid angle move the top by a part of the ring's width.
        assert float(r[profile.argmax()]) == pytest.approx(np.tan(two_theta) / 1e-3, abs=3)
        factor = np.cos(two_theta) ** 3 * (np.cos(two_theta) ** 2 if along_x else 1)
        assert float(profile.max()) == pytest.approx(5 * factor, rel=0.01)


def test_stop_and_shadows_take_light() -> None:
    shot = bare(
        stop_px=20.0, stop_arm_px=4.0, stop_angle=0.0, stop_soft_px=0.5, stop_share=0.1,
        shade_share=np.array([0.4, 1.0, 1.0]), shade_angle=np.full(3, np.pi / 2), shade_px=np.full(3, 100.0),
        shade_soft_px=np.full(3, 1.0),
    )  # fmt: skip
    y, x = torch.tensor([0.0, 0.0, 0.0, 200.0, 50.0]), torch.tensor([0.0, 80.0, -80.0, 0.0, 50.0])
    share = passed(columns([shot]), y[None, None], x[None, None])[0, 0]
    torch.testing.assert_close(share, torch.tensor([0.1, 0.1, 1.0, 0.4, 1.0]), atol=2e-3, rtol=0)


def test_places_lead_to_the_stored_pixel() -> None:
    for shot in SHOTS[:8]:
        where = window_of(columns([replace(shot, window_y=0.0, window_x=0.0)]), (min(shot.height, 600), min(shot.width, 600)))
        some = (where.panel[0] > 0).nonzero()[::997]
        y, x = (v[0, some[:, 0], some[:, 1]].double().numpy() for v in (where.y, where.x))
        row, column = stored_at(shot.panels, y, x)
        np.testing.assert_allclose(row, some[:, 0], atol=5e-3)
        np.testing.assert_allclose(column, some[:, 1], atol=5e-3)
    assert stored_at(SHOTS[0].panels, np.array([1e5]), np.array([0.0]))[0].tolist() == [-1]


def test_windows_do_not_tell_whether_a_crystal_was_hit() -> None:
    run = replace(draw_run(SEED, 11), double_fraction=0.0)
    places = []
    for share in (0.0, 1.0):
        shots = [shot_of(replace(run, hit_fraction=share), 5, default_rng(i)) for i in range(300)]
        assert {s.crystals for s in shots} == {int(share)}
        places.append(np.array([(s.window_y, s.window_x) for s in shots]))
    assert all(stats.ks_2samp(places[0][:, n], places[1][:, n]).pvalue > 1e-3 for n in (0, 1))
    assert places[0].min() >= 0
    assert places[0].max() < 1


def test_windows_larger_than_a_detector_are_padded() -> None:
    n = next(n for n, s in enumerate(SHOTS) if s.width == 128)
    where = window_of(columns([SHOTS[n]]), (64, 300))
    assert (where.panel[..., 128:] == 0).all()
    assert (where.panel[..., :128] > 0).all()


def test_runs_cover_every_detector_and_lattice() -> None:
    runs: list[Run] = [draw_run(SEED, n) for n in range(400)]
    assert len({r.detector for r in runs}) == 14
    assert len({r.cell.system for r in runs}) == 7
    wavelengths = np.array([r.wavelength_m for r in runs])
    assert 0.6e-10 < wavelengths.min() < 0.8e-10
    assert 2.2e-10 < wavelengths.max() <= 2.5e-10
