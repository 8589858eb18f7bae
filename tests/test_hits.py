"""What else speaks for a hit: peaks beside the model's answer, in the record; hits in a file that others read."""

# SPDX-License-Identifier: BSD-3-Clause

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from beamsight.answer import Answer
from beamsight.answers import read_answers
from beamsight.cli import run
from beamsight.errors import CannotWrite
from beamsight.frame import Frame, Geometry
from beamsight.hits import Looked, agree, examining, saturated_px
from beamsight.task import make_frame
from formats import nxmx
from toy_spots import TOY_SPOTS, trained
from toy_spots import run as indices

NUMBER = 12
PEAKS = ["--peak-threshold", "5", "--min-snr", "5", "--min-pix-count", "2", "--min-peaks", "1"]


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frames = [make_frame(TOY_SPOTS, 12, i) for i in range(NUMBER)]
    return nxmx(tmp_path_factory.mktemp("shots"), np.stack([np.rint(f.image.clip(0)).astype("u4") for f in frames]))


def answered(out: Path) -> list[Answer]:
    return list(read_answers(out))


def test_peaks_stand_beside_the_answer_with_every_parameter(shots: Path, tmp_path: Path) -> None:
    assert run(["predict", str(trained()), str(shots), "-o", str(tmp_path / "out"), "--peaks", *PEAKS, "-q"]) == 0
    answers = answered(tmp_path / "out")
    assert len(answers) == NUMBER
    for number, answer in enumerate(answers):
        assert answer.reasons is not None
        assert {"spots", "peaks", "agree", "saturated_px"} <= set(answer.reasons)
        there = int((make_frame(TOY_SPOTS, 12, number).scene.photons > 0).sum())
        # Spots may touch, and a spot at its faintest may be missed.
        assert abs(answer.reasons["peaks"] - there) <= 1 + there // 3
        assert answer.reasons["agree"] is (
            None if answer.answer == "unsure" else (answer.reasons["peaks"] >= 1) == (answer.answer == "hit")
        )
    options = json.loads((tmp_path / "out" / "run.json").read_text())["options"]
    assert set(options) == set(Looked(peaks=True).told())
    assert options["peak_threshold"] == "5.0"
    assert {"max_pix_count", "local_bg_radius", "max_res", "peakfinder8_fast"} <= set(options)


def test_hits_are_written_once_with_their_peaks(shots: Path, tmp_path: Path) -> None:
    hits = tmp_path / "hits.cxi"
    command = ["predict", str(trained()), str(shots), "-o", str(tmp_path / "out"), "--write-hits", str(hits), *PEAKS, "-q"]
    assert run([*command, "--frames", ":7"]) == 0
    assert run(command) == 0
    said = [a for a in answered(tmp_path / "out") if a.answer == "hit"]
    with h5py.File(hits) as file:
        keys = [key.decode() for key in file["entry_1/result_1/key"][()]]
        assert keys == [a.key for a in said]
        assert file["entry_1/result_1/nPeaks"][()].tolist() == [a.reasons["peaks"] for a in said if a.reasons]
        assert file["entry_1/data_1/data"].shape == (len(said), 128, 128)
    assert len(hits.with_suffix(".lst").read_text().split("\n")) == len(said) + 1


def test_hits_found_another_way_are_not_mixed(shots: Path, tmp_path: Path) -> None:
    command = ["predict", str(trained()), str(shots), "--write-hits", str(tmp_path / "hits.cxi"), "-q", "--json"]
    assert run([*command, *PEAKS]) == 0
    assert run([*command, *PEAKS, "--max-pix-count", "50"]) == 1


def test_what_cannot_go_together_is_said(shots: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hits = ["--write-hits", str(tmp_path / "hits.cxi")]
    assert run(["predict", str(trained()), str(shots), "--json", *hits, "--workers", "2"]) == 2
    assert "one process" in capsys.readouterr().err
    assert run(["predict", "scattering-tags", str(shots), "--json", "--peaks"]) == 2
    assert "sees every pixel" in capsys.readouterr().err


def frame(image: np.ndarray, key: str = "k") -> Frame:
    shape = (image.shape[0], image.shape[1])
    return Frame(image.astype(np.float32), np.ones(shape, bool), Geometry(shape), key)


def test_a_hit_of_another_shape_is_refused_and_the_run_goes_on(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    said = Answer("k", "hit", {"hit": 0.9})
    with examining(Looked(write_hits=tmp_path / "hits.cxi"), watched=False) as examine:
        shapes = [(64, 64), (64, 80), (64, 64)]
        done = [examine(frame(rng.poisson(3, s), f"k{n}"), replace(said, key=f"k{n}")) for n, s in enumerate(shapes)]
    assert [a.error is not None for a in done] == [False, True, False]
    with h5py.File(tmp_path / "hits.cxi") as file:
        assert len(file["entry_1/data_1/data"]) == 2


def test_two_writers_of_one_file_are_told(tmp_path: Path) -> None:
    looked = Looked(write_hits=tmp_path / "hits.cxi")
    with examining(looked, watched=False), pytest.raises(CannotWrite, match="another"), examining(looked, watched=False):
        pass


def test_agreement_is_of_hits_and_misses_alone() -> None:
    assert agree(Answer("k", "hit"), 12, 10) is True
    assert agree(Answer("k", "hit"), 9, 10) is False
    assert agree(Answer("k", "miss"), 9, 10) is True
    assert agree(Answer("k", "unsure"), 9, 10) is None


def test_saturated_pixels_stand_at_one_height() -> None:
    image = np.random.default_rng(1).poisson(50, (64, 64)).astype(float)
    assert saturated_px(frame(image)) <= 3
    image[10:12, 20:25] = 4095
    assert saturated_px(frame(image)) == 10
    assert saturated_px(frame(np.zeros((64, 64)))) == 0


def test_a_change_along_the_run_is_said_once_while_it_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = list(indices(5))  # of one run
    images = np.stack([make_frame(TOY_SPOTS, 12, i).image.clip(0) for i in numbers])
    images = np.concatenate([images, images])
    calm = ["predict", str(trained()), "-o", str(tmp_path / "calm"), "-q", "--no-report"]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert run([*calm, str(nxmx(tmp_path / "a", np.rint(images).astype("u4")))]) == 0
    assert "changed" not in capsys.readouterr().err
    images[len(numbers) :] *= 3  # the gain
    broken = [str(tmp_path / "broken") if part.endswith("calm") else part for part in calm]
    assert run([*broken, str(nxmx(tmp_path / "b", np.rint(images).astype("u4")))]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "changed" in line]
    assert len(said) == 1
    after = int(said[0].split("after ")[1].split(" frames")[0])
    assert len(numbers) < after < len(numbers) + 100


def test_frames_are_watched_where_the_card_knows_normal_runs() -> None:
    image = np.random.default_rng(1).poisson(5, (64, 64))
    for watched in (True, False):
        with examining(Looked(), watched) as examine:
            answer = examine(frame(image), Answer("k", "miss", {"hit": 0.1}))
        assert (answer.state is not None) is watched
        assert answer.reasons == {"saturated_px": saturated_px(frame(image))}
        assert json.loads(answer.line())["key"] == "k"
