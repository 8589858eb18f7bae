"""Detectors of many chips by statistics: what they add, what they spoil, what their masks know."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from beamsight.catalogue import layout
from beamsight.modules import DIVIDED, LEFT, MASKED, Modules, ModulesExposed, expose_modules
from beamsight.physics.places import Places, places
from beamsight.task import columns

FULL = Modules(
    gain=7.0, read_ph=0.3, switch_ph=30.0, middle_read_ph=2.0, middle_switch_ph=500.0, low_read_ph=20.0, chip_gain=0.05,
    pixel_gain=0.02,
    read_uneven=0.7,
    offset_ph=0.05, common_ph=0.2, line_ph=0.1, dead=2e-3, hot=2e-3, struck=1e-3, dead_chips=0.1,
    saturation_ph=2000.0, sizes=DIVIDED, whole=1, dark_counts=3.0,
)  # fmt: skip
UNIT = torch.tensor([77])


def part(name: str, form: str = "stack", first: tuple[int, int] = (0, 0), shape: tuple[int, int] = (512, 1024)) -> Places:
    built = layout(name, form)
    table = torch.tensor(built.table())[None]
    return places(table, torch.tensor([first]).float(), torch.tensor([float(built.shape[1])]), shape)


JUNGFRAU = part("JUNGFRAU 1M")
PLAIN = part("EIGER 1M", "assembled", shape=(514, 1030))


def shown(
    level: float | torch.Tensor, where: Places, seed: int = 1, unit: torch.Tensor = UNIT, **changes: object
) -> ModulesExposed:
    mean = torch.as_tensor(level).expand(where.y.shape)
    return expose_modules(mean, columns([replace(Modules(), **changes)]), where, torch.tensor([seed]), unit)


@pytest.mark.parametrize(("level", "read"), [(0.3, 0.0), (5.0, 0.5), (60.0, 2.0)])
def test_mean_and_variance_are_those_of_photons_and_readout(level: float, read: float) -> None:
    e = shown(level, PLAIN, gain=3.0, dark_counts=10.0, read_ph=read)
    counts, n = e.counts.double(), e.counts.numel()
    variance = 9 * (level + read**2)
    assert float(counts.mean()) == pytest.approx(10 + 3 * level, abs=5 * (variance / n) ** 0.5)
    # Five standard errors of a variance: kurtosis 3 + 1/level at most.
    assert float(counts.var()) == pytest.approx(variance, rel=5 * ((2 + 1 / level) / n) ** 0.5)
    assert e.mask.all()
    assert e.usable.all()


def test_a_screen_spreads_noise_and_keeps_its_sum() -> None:
    sharp, soft = (shown(40.0, PLAIN, spread_px=spread).counts[0].double() for spread in (0.0, 0.6))
    inside = (slice(20, 500), slice(20, 1000))
    # Light that crosses the border of what is summed is a square root of what lies along it.
    assert float(soft[inside].sum()) == pytest.approx(float(sharp[inside].sum()), rel=2e-5)
    # Of white noise a Gaussian keeps the sum of its squared taps.
    taps = torch.exp(-0.5 * (torch.arange(-2.0, 3.0).double() / 0.6) ** 2)
    kept = float((taps**2).sum() / taps.sum() ** 2) ** 2
    assert float(soft.var()) == pytest.approx(40 * kept, rel=0.02)
    neighbours = torch.corrcoef(torch.stack([soft[:, 1:].flatten(), soft[:, :-1].flatten()]))[0, 1]
    assert float(neighbours) == pytest.approx(float((taps[1:] * taps[:-1]).sum() / (taps**2).sum()), abs=0.01)


def test_noise_grows_with_the_stage() -> None:
    stages = {"read_ph": 0.1, "switch_ph": 30.0, "middle_read_ph": 3.0, "middle_switch_ph": 900.0, "low_read_ph": 60.0}
    for level, read in ((5.0, 0.1), (200.0, 3.0), (2000.0, 60.0)):
        e = shown(level, PLAIN, **stages)
        assert float(e.counts.double().var()) == pytest.approx(level + read**2, rel=0.02)
        assert float(e.variance.mean()) == pytest.approx(read**2, rel=1e-5)


def test_noise_may_grow_in_bands_of_columns() -> None:
    counts = shown(0.0, PLAIN, read_ph=0.5, read_uneven=1.0, read_period_px=100.0).counts[0]
    quiet, loud = counts[:, ::100], counts[:, 50::100]
    assert float(quiet.std()) == pytest.approx(0.5, rel=0.05)
    assert float(loud.std()) == pytest.approx(1.0, rel=0.05)


def test_chips_keep_their_gain_through_a_run() -> None:
    chips = [JUNGFRAU.panel == n for n in range(1, 9)]
    a, b, other = (shown(1e4, JUNGFRAU, s, u, chip_gain=0.05, sizes=MASKED) for s, u in ((1, UNIT), (2, UNIT), (1, UNIT + 1)))
    gains = [torch.stack([e.counts[c & e.mask].mean() / 1e4 for c in chips]) for e in (a, b, other)]
    torch.testing.assert_close(gains[0], gains[1], rtol=1e-3, atol=0)
    assert (gains[0] - gains[2]).abs().max() > 0.01
    assert 0.01 < float(gains[0].std()) < 0.12


def test_a_chip_and_its_rows_share_a_level_that_changes_from_frame_to_frame() -> None:
    chips = [JUNGFRAU.panel == n for n in range(1, 9)]
    levels = torch.stack(
        [torch.stack([shown(0.0, JUNGFRAU, s, common_ph=0.3).counts[c].unique()[0] for c in chips]) for s in range(20)]
    )
    # A level is the same all over its chip: two values would leave the mean elsewhere than at the first.
    assert float(levels.std()) == pytest.approx(0.3, rel=0.25)
    first = shown(0.0, JUNGFRAU, 1, common_ph=0.3).counts[chips[0]]
    assert float(first.std()) == pytest.approx(0, abs=1e-6)
    lines = shown(0.0, JUNGFRAU, 1, line_ph=0.3).counts[0]
    assert float(lines[:, :256].std(1).max()) == pytest.approx(0, abs=1e-6)
    assert float(lines[:, 0].std()) == pytest.approx(0.3, rel=0.2)
    assert not torch.equal(lines[:, 0], lines[:, 300])


def test_faults_stay_where_they_are_and_masks_may_know_them() -> None:
    a, b = (shown(10.0, PLAIN, s, dead=0.01, hot=0.005, hot_ph=500.0) for s in (1, 2))
    assert torch.equal(a.mask, b.mask)
    assert float((~a.mask).float().mean()) == pytest.approx(0.015, rel=0.1)
    unknown = shown(10.0, PLAIN, 1, dead=0.01, hot=0.005, hot_ph=500.0, defects_masked=0)
    assert unknown.mask.all()
    assert torch.equal(unknown.usable, a.mask)
    assert float((unknown.counts == 0).float().mean()) == pytest.approx(0.01, rel=0.1)
    assert unknown.counts.max() <= 500
    assert float((unknown.counts > 40).float().mean()) > 0.002
    lost = shown(10.0, part("JUNGFRAU 16M", shape=(4096, 1024)), 1, dead_chips=0.2)
    assert 0.02 < float((~lost.mask).float().mean()) < 0.5


def test_saturation_clips_and_a_mask_may_know() -> None:
    ramp = torch.linspace(0, 200, 1030)
    for masked in (0, 1):
        e = shown(ramp, PLAIN, saturation_ph=100.0, saturation_masked=masked, gain=2.0)
        assert e.counts.max() <= 200
        assert bool((e.mask[..., -100:]).any()) == (not masked)
        assert (e.limit == 100).all()


def test_wider_pixels_count_more_are_divided_or_masked() -> None:
    wide = JUNGFRAU.area > 1
    for kind, mean in ((LEFT, 2.0), (DIVIDED, 1.0)):
        e = shown(100.0, JUNGFRAU, sizes=kind)
        twice = JUNGFRAU.area == 2
        assert float(e.counts[twice].mean()) == pytest.approx(100 * mean, rel=0.02)
        assert e.mask.all()
    assert torch.equal(shown(100.0, JUNGFRAU, sizes=MASKED).mask, ~wide)


def test_gaps_hold_nothing() -> None:
    gap = part("EIGER 1M", "assembled", first=(500, 0), shape=(80, 200))
    for known in (0, 1):
        e = shown(50.0, gap, dark_counts=9.0, gap_masked=known)
        assert (e.counts[gap.panel == 0] == 0).all()
        assert torch.equal(e.mask, (gap.panel > 0) | (known == 0))
        assert torch.equal(e.usable, gap.panel > 0)


@pytest.mark.parametrize(("name", "form"), [("JUNGFRAU 1M", "stack"), ("AGIPD 1M", "assembled"), ("CSPAD", "stack")])
def test_a_window_is_exposed_as_the_part_of_the_whole_it_is(name: str, form: str) -> None:
    shape = layout(name, form).shape
    first, size = (shape[0] // 3, shape[1] // 5), (100, 80)
    whole, window = part(name, form, shape=shape), part(name, form, first, size)
    light = 5 + 4 * torch.sin(whole.row / 30) * torch.cos(whole.column / 20)
    cut = (slice(None), slice(first[0], first[0] + size[0]), slice(first[1], first[1] + size[1]))
    of = columns([FULL])
    a, b = (expose_modules(p, of, w, torch.tensor([5]), UNIT) for p, w in ((light, whole), (light[cut].contiguous(), window)))
    for field in ("mask", "usable"):
        assert torch.equal(getattr(a, field)[cut], getattr(b, field))
    torch.testing.assert_close(b.counts, a.counts[cut], rtol=1e-5, atol=1e-4)
    assert len(b.counts.unique()) > 20


def test_frames_of_a_batch_do_not_know_one_another() -> None:
    wheres = [part("JUNGFRAU 1M", first=(100, 200), shape=(64, 64)), part("AGIPD 1M", first=(300, 40), shape=(64, 64))]
    detectors = [FULL, replace(FULL, sizes=LEFT, whole=0, hot=0.0, dead=0.0, spread_px=0.5)]
    panels = torch.cat([torch.tensor(layout(n, "stack").table())[None] for n in ("JUNGFRAU 1M", "AGIPD 1M")])
    both = places(panels, torch.tensor([[100.0, 200.0], [300.0, 40.0]]), torch.tensor([1024.0, 128.0]), (64, 64))
    seeds, units = torch.tensor([3, 4]), torch.tensor([8, 9])
    together = expose_modules(torch.full((2, 64, 64), 6.0), columns(detectors), both, seeds, units)
    for n, where in enumerate(wheres):
        alone = expose_modules(torch.full((1, 64, 64), 6.0), columns([detectors[n]]), where, seeds[n : n + 1], units[n : n + 1])
        torch.testing.assert_close(together.counts[n], alone.counts[0])
        assert torch.equal(together.mask[n], alone.mask[0])
