"""The robustness report: the same scenes at every strength, scores as scikit-learn's, intervals around them, a whole page."""

# SPDX-License-Identifier: BSD-3-Clause

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from beamsight import cli
from beamsight.answer import Answer
from beamsight.bundle import load
from beamsight.curves import plot
from beamsight.detector import Detector
from beamsight.errors import BeamsightError
from beamsight.evaluate import evaluate
from beamsight.examples import TEST
from beamsight.frame import Geometry
from beamsight.robustness import UNDISTURBED, Said, answered, resampled_ap, scored, sentence, stands, strengths
from beamsight.sweeps import EVERY, Instrument, read_instrument, strengths_of, sweeps_of
from models import graph, write_bundle
from toy import SIZE, TOY, TOY_ONE

SHAPE = (SIZE, SIZE)
NAMES = TOY.target.names


def sweep(name: str, *values: float):
    return sweeps_of(TOY, {name: values})[0]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that takes bright frames for such with a ring: right more often than not."""
    names = ("ring", "strong")
    folder = tmp_path_factory.mktemp("toy") / "bundle"
    target = {"kind": "tags", "names": list(names)}
    return write_bundle(folder, graph(names, SIZE), names, task=TOY.name, size=SIZE, target=target)


@pytest.fixture
def known_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy task as another package would announce it."""
    info = tmp_path / "site" / "toy_tasks-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-tasks\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[beamsight.tasks]\ntoy-rings = toy:TOY\n")
    monkeypatch.syspath_prepend(tmp_path / "site")


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 60), st.sampled_from([2, 5, 1000]))
def test_resampled_scores_are_those_of_scikit_learn(seed: int, n: int, levels: int) -> None:
    # Few levels make ties, which are claimed together.
    rng = np.random.default_rng(seed)
    p, y = rng.integers(0, levels, (n, 1)) / levels, rng.integers(0, 2, (n, 1)).astype(float)
    y[rng.random((n, 1)) < 0.1], p[rng.random((n, 1)) < 0.1] = np.nan, np.nan
    weights = np.vstack([np.ones(n), rng.multinomial(n, np.full(n, 1 / n), 3)])
    for w, found in zip(weights, resampled_ap(Said(list(p), list(y)), weights)[:, 0], strict=True):
        known = ~np.isnan(p[:, 0]) & ~np.isnan(y[:, 0]) & (w > 0)
        if 0 < y[known, 0].sum() < known.sum():
            assert found == pytest.approx(average_precision_score(y[known, 0], p[known, 0], sample_weight=w[known]))
        else:
            assert np.isnan(found)


def test_the_same_scenes_at_every_strength() -> None:
    sweeps = sweeps_of(TOY, {"exposure": (1.0, 0.3), "centre_off_px": (0.0, 10.0), "turn_deg": (0.0, 45.0)})
    seen = dict(strengths(TOY, 0, TEST[:6], SHAPE, sweeps))
    assert len(seen) == strengths_of(sweeps)
    drawn = seen[UNDISTURBED]
    assert all([f.scene for f in frames] == [f.scene for f in drawn] for frames in seen.values())
    bright, dim = (sum(f.image.sum() for f in seen["exposure", v]) for v in (1.0, 0.3))
    assert dim / bright == pytest.approx(0.3, rel=0.15)
    for a, b in zip(seen["centre_off_px", 10.0], drawn, strict=True):
        assert np.array_equal(a.image, b.image)
        assert np.hypot(*np.subtract(a.geometry.centre_px, b.geometry.centre_px)) == pytest.approx(10 * SIZE / 256)


def test_every_sweep_does_something() -> None:
    sweeps = sweeps_of(TOY)
    assert {s.name for s in sweeps} == {s.name for s in EVERY}
    seen = dict(strengths(TOY, 0, TEST[:4], SHAPE, sweeps))
    for s in sweeps:
        mild, bad = seen[s.name, s.values[0]], seen[s.name, s.values[-1]]
        same = [
            np.array_equal(a.image, b.image) and np.array_equal(a.mask, b.mask) and a.geometry == b.geometry
            for a, b in zip(mild, bad, strict=True)
        ]
        assert not any(same), s.name


def test_a_task_gives_values_of_its_own_or_none() -> None:
    found = {s.name: s.values for s in sweeps_of(replace(TOY, sweeps={"exposure": (1.0, 0.5), "gap": (), "gain": (1, 2)}))}
    assert found["exposure"] == (1.0, 0.5)
    assert found["gain"] == (1.0, 2.0)
    assert "gap" not in found
    assert len(found) == len(EVERY)
    centreless = replace(TOY, place=lambda scene, shape: Geometry(shape))
    assert "centre_off_px" not in {s.name for s in sweeps_of(centreless)}
    with pytest.raises(BeamsightError, match="did you mean exposure"):
        sweeps_of(TOY, {"exposur": (1, 2)})


def test_masks_do_not_know_what_strikes_pixels_in_a_sweep() -> None:
    seen = dict(strengths(TOY, 0, TEST[:2], SHAPE, [sweep("salt_pepper", 0, 0.05)]))
    for frame in seen["salt_pepper", 0.05]:
        assert (frame.image == 2.0**16).mean() == pytest.approx(0.025, abs=0.01)
        assert frame.mask.all()


def noisy(truth: np.ndarray, noise: float, seed: int = 0) -> Said:
    p = 1 / (1 + np.exp(-(truth - 0.5 + noise * np.random.default_rng(seed).normal(size=truth.shape))))
    return Said(list(p), list(truth))


def test_scores_by_hand() -> None:
    truth = np.random.default_rng(1).integers(0, 2, (300, 2)).astype(float)
    s = sweep("spread_px", 0, 1, 2)
    said = {
        UNDISTURBED: noisy(truth, 0),
        ("spread_px", 0.0): noisy(truth, 0),
        ("spread_px", 1.0): noisy(truth, 0.1),
        ("spread_px", 2.0): noisy(truth, 3),
    }
    report = scored(said, NAMES, [s])
    told = report["sweeps"][0]
    first, second, last = told["points"]
    assert report["undisturbed"]["score"] == first["score"] == 1
    assert first["loss"] == first["loss_low"] == first["loss_high"] == 0
    assert told["stands"] == 1
    assert second["loss"] < 2 < last["loss"] == pytest.approx(100 * (1 - last["score"]))
    for p in told["points"]:
        assert p["low"] <= p["score"] <= p["high"]
        assert p["loss_low"] <= p["loss"] <= p["loss_high"]
        assert p["score"] == pytest.approx(np.mean(list(p["tags"].values())))
    # Of 300 frames the mean of two scores of 0.6 is known to a few hundredths.
    assert 0.005 < last["high"] - last["score"] < 0.1
    assert "up to a spread of 1 px" in report["sentence"]


def test_an_interval_covers_the_score_of_other_frames() -> None:
    # The interval that 300 frames give holds the score of 30,000 about 19 times of 20.
    rng = np.random.default_rng(0)
    sure = average_of(rng, 30_000)["score"]
    held = [(r := average_of(rng, 300))["low"] <= sure <= r["high"] for _ in range(60)]
    assert np.mean(held) > 0.85


def average_of(rng: np.random.Generator, n: int) -> dict[str, float]:
    truth = (rng.random((n, 2)) < 0.3).astype(float)
    return scored({UNDISTURBED: noisy(truth, 0.5, int(rng.integers(2**31)))}, NAMES, [])["undisturbed"]


def test_a_tag_that_vanishes_counts_at_no_strength() -> None:
    truth = np.random.default_rng(1).integers(0, 2, (50, 2)).astype(float)
    gone = truth.copy()
    gone[:, 1] = 0
    s = sweep("spread_px", 0, 1)
    said = {UNDISTURBED: noisy(truth, 1), ("spread_px", 0.0): noisy(truth, 1), ("spread_px", 1.0): noisy(gone, 0)}
    told = scored(said, NAMES, [s])["sweeps"][0]
    assert told["tags"] == [NAMES[0]]
    assert told["points"][1]["tags"][NAMES[1]] is None
    # By the labels of the mildest both tags are still there, but the mean is of the same one.
    assert told["points"][1]["first_labels"] == 1


@pytest.mark.parametrize(
    ("losses", "found"), [([0, 1, 2], 2.0), ([0, 1, 3, 1], 1.0), ([0, 5], None), ([0, None], None), ([0, -3, 1.99], 2.0)]
)
def test_a_model_stands_until_it_first_loses_more(losses: list[float | None], found: float | None) -> None:
    assert stands([{"value": float(n), "loss": loss} for n, loss in enumerate(losses)]) == found


def test_the_sentence_says_what_stood_and_what_fell() -> None:
    sweeps = [sweep("exposure", 1, 0.1), sweep("spread_px", 0, 3), sweep("dead", 0, 0.01), sweep("turn_deg", 0, 45)]
    whole = {"score": 0.9, "low": 0.88, "high": 0.92}
    told = [{"stands": v, "points": [{}, {"loss": 9.0}]} for v in (0.1, 3.0, None, 45.0)]
    assert sentence(whole, sweeps, told) == (
        "Loses at most 2 points of mean AP (0.900 ± 0.020 undisturbed) down to 10 % of the light, and up to a spread of 3 px and "
        "a turn by 45 degrees; loses more than 2 points already at 1 % of pixels dead."
    )
    assert sentence(whole, sweeps[:1], [told[2]]).startswith("Loses more than 2 points already at 10 % of the light")


class Refusing:
    """A bundle that refuses every third frame."""

    size, name = SIZE, "refusing"

    def __init__(self, task) -> None:
        self.target = task.target

    def predict(self, frames):
        for n, frame in enumerate(frames):
            value = np.nan_to_num(self.target.encode(frame.truth), nan=0.5)
            good = Answer(frame.key, [], dict(zip(self.target.names, value.tolist(), strict=True)))
            yield Answer(frame.key, error="masked") if n % 3 == 0 else good


@pytest.mark.parametrize("task", [TOY, TOY_ONE], ids=lambda t: t.name)
def test_refused_frames_are_counted_and_not_scored(task) -> None:
    s = sweep("turn_deg", 0, 45)
    said = answered(Refusing(task), task, [s], n=30)
    points = scored(said, task.target.names, [s])["sweeps"][0]["points"]
    assert [p["refused"] for p in points] == [10, 10]
    assert [p["score"] for p in points] == [1, 1]


def test_a_turn_is_measured_against_the_same_pixels_lost() -> None:
    truth = np.random.default_rng(1).integers(0, 2, (200, 2)).astype(float)
    good, poor = noisy(truth, 0), noisy(truth, 2)
    said = {UNDISTURBED: good, ("turn_deg", 0.0): good, ("cut_corners_deg", 0.0): good}
    s = sweep("turn_deg", 0, 45)
    points = scored(said | {("turn_deg", 45.0): poor, ("cut_corners_deg", 45.0): poor}, NAMES, [s])["sweeps"][0]["points"]
    assert points[1]["control"] == points[1]["score"] < 0.9
    assert points[1]["loss"] == 0
    points = scored(said | {("turn_deg", 45.0): poor, ("cut_corners_deg", 45.0): good}, NAMES, [s])["sweeps"][0]["points"]
    assert points[1]["loss"] == pytest.approx(100 * (1 - points[1]["score"]))


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(BeamsightError, match="at least 2"):
        answered(Refusing(TOY), TOY, [], n=1)
    with pytest.raises(BeamsightError, match="train it anew"):
        answered(Refusing(TOY), TOY_ONE, [], n=4)


def test_a_higher_score_is_drawn_higher() -> None:
    point = {"low": 0.5, "high": 0.9, "first_labels": None, "control": None}
    points = [{"value": float(n), "score": score} | point for n, score in enumerate((0.9, 0.6))]
    drawn = plot({"points": points, "undisturbed": 0.8}, 0.4)
    (x0, y0, low, high, *_), (x1, y1, *_) = drawn.points
    assert x0 < x1
    assert y0 < drawn.undisturbed < y1
    assert high <= y0 < low
    assert [label for _, label in drawn.ticks] == ["0.4", "0.5", "0.6", "0.7", "0.8", "0.9", "1.0"]


@pytest.mark.usefixtures("known_task")
def test_the_report_of_another_packages_task(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert cli.run(["evaluate", str(bundle), "--robustness", "-n", "40", "-o", str(out)]) == 0
    report = json.loads((out / "robustness.json").read_text())
    assert capsys.readouterr().out == f"{report['sentence']}\nreport: {out / 'robustness.html'}\n"
    assert report["undisturbed"]["score"] == pytest.approx(evaluate(load(bundle), TOY, 40)["mean_ap"])
    names = [s.name for s in sweeps_of(TOY)]
    assert [s["name"] for s in report["sweeps"]] == names
    for s in report["sweeps"]:
        # The toy model gives no number for negative counts, which read noise makes: then there is no score.
        assert all(p["low"] <= p["score"] <= p["high"] if p["refused"] < 40 else p["score"] is None for p in s["points"])
        if s["against"].startswith("the labels"):
            assert s["points"][0]["score"] == pytest.approx(report["undisturbed"]["score"])
    page = (out / "robustness.html").read_text()
    assert re.findall(r'<section id="(\w+)">', page) == names
    assert page.count("<svg") == len(names)
    pictures = sum(2 * len(s["points"]) for s in report["sweeps"])
    assert page.count('<img src="data:image/webp') == pictures == page.count("<img")
    assert report["sentence"] in page
    # Nothing is fetched from elsewhere.
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    with (out / "robustness.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["sweep"], float(r["value"])) for r in rows] == [
        (s["name"], p["value"]) for s in report["sweeps"] for p in s["points"]
    ]


@pytest.mark.usefixtures("known_task")
def test_ones_own_instrument(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"detector": {"module_y": 0.25, "gap": 0.02}, "sweeps": {"spread_px": [0, 2]}}))
    command = ["evaluate", str(bundle), "--instrument", str(path), "-n", "20"]
    assert cli.run([*command, "--robustness", "-o", str(tmp_path / "out"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [s["name"] for s in printed["sweeps"]] == ["spread_px"]
    kept = json.loads((tmp_path / "out" / "robustness.json").read_text())
    assert kept["instrument"] == str(path)
    assert kept["detector"]["gap"] == 0.02
    assert f"by the detector of <code>{path}</code>" in (tmp_path / "out" / "robustness.html").read_text()
    assert cli.run([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["mean_ap"] == pytest.approx(printed["undisturbed"]["score"])


def test_an_instrument_is_one_detector_for_every_frame(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text('{"detector": {"gap": 0.02, "module_y": 0.25, "bleed_px": 3}}')
    mine = read_instrument(path)
    assert mine.detector == Detector(gap=0.02, module_y=0.25, bleed_px=3)
    rng = np.random.default_rng(0)
    assert mine.seen(TOY).detector(rng) == mine.detector
    assert Instrument().seen(TOY) is TOY


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "no instrument could be read"),
        ("[]", "an instrument is"),
        ("{}", "an instrument is"),
        ('{"detektor": {}}', "an instrument is"),
        ('{"detector": {"spread": 1}}', "no number called 'spread'; did you mean spread_px"),
        ('{"detector": {"spread_px": "1"}}', "must give a number"),
        ('{"detector": {"spread_px": NaN}}', "must give a number"),
        ('{"detector": [1]}', "must give a number"),
        ('{"sweeps": {"spread_px": [1]}}', "at least two numbers"),
        ('{"sweeps": {"spread_px": 1}}', "at least two numbers"),
        ('{"sweeps": {"turn": [0, 1]}}', "did you mean turn_deg"),
    ],
)
def test_an_instrument_that_cannot_be_is_one_line(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(text)
    with pytest.raises(BeamsightError, match=re.escape(said)) as caught:
        read_instrument(tmp_path / "mine.json")
    assert "\n" not in str(caught.value)


def test_mistakes_are_one_line(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    robust = ["evaluate", "scattering-tags", "--robustness"]
    for command, status, said in (
        (robust, 2, "give -o OUT"),
        (["evaluate", "scattering-tags", "-o", "out"], 2, "--robustness"),
        ([*robust[:2], "frames", "--robustness", "-o", "out"], 2, "leave out frames"),
        ([*robust, "-o", str(tmp_path / "out"), "-n", "1"], 2, "at least 2"),
        ([*robust, "-o", str(tmp_path / "file")], 1, "give another -o folder"),
        ([*robust, "-o", str(tmp_path / "out"), "--instrument", str(tmp_path / "none.json")], 3, "No such file"),
        (["evaluate", str(bundle), "--robustness", "-o", str(tmp_path / "out")], 2, "no task is called 'toy-rings'"),
    ):
        assert cli.run(command) == status, command
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1


def test_the_instrument_of_the_how_to_page_can_be_read(tmp_path: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "how-to" / "robustness-report.md").read_text()
    (block,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    (tmp_path / "mine.json").write_text(block)
    mine = read_instrument(tmp_path / "mine.json")
    assert mine.detector is not None
    assert [s.name for s in sweeps_of(TOY, mine.sweeps)] == ["exposure", "spread_px", "centre_off_px"]
    # The page lists what every task is measured by.
    assert all(f"| `{s.name}` |" in page for s in EVERY)
