"""A model folder: what it answers is what its graph and its card say."""

# SPDX-License-Identifier: BSD-3-Clause

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

import beamsight.bundle
from beamsight.bundle import Bundle, load
from beamsight.errors import BadBundle, BadFrame, UnknownTask
from beamsight.frame import Frame, Geometry, fit
from models import NAMES, SIZE, graph, write_bundle


@dataclass(frozen=True)
class Refused:
    key: str
    reason: str


def frame(value: float, shape: tuple[int, int] = (SIZE, SIZE), key: str = "k", trusted: float = 1.0) -> Frame:
    mask = np.zeros(shape, bool)
    mask[: round(shape[0] * trusted)] = True
    return Frame(np.full(shape, value, np.float32), mask, Geometry(shape), key)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load(write_bundle(tmp_path_factory.mktemp("models") / "b"))


def sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))


def test_probabilities_are_those_of_the_graph(bundle: Bundle) -> None:
    (answer,) = bundle.predict(frame(9.0))
    bright = np.log(10) - 2
    expected = [sigmoid(bright), sigmoid(-bright), sigmoid(-2)]
    assert list(answer.probability) == list(NAMES)
    np.testing.assert_allclose(list(answer.probability.values()), expected, atol=1e-5)
    assert answer.answer == ["bright"]
    assert answer.doubtful == ["bright", "dark"]
    assert answer.seconds > 0


def test_a_centre_that_the_file_lacks_is_told_with_its_error_in_pixels_of_the_file(tmp_path: Path) -> None:
    model = load(write_bundle(tmp_path / "b", graph(told=True), centre={"scale": 3.0, "power": 0.5}))
    side, known = 2 * SIZE, Geometry((SIZE, SIZE), centre_px=(4.0, 5.0))
    lacking, given = frame(np.e**4 - 1, (side, side)), replace(frame(9.0), geometry=known)
    found, said = model.predict([lacking, given])
    # The toy graph tells (mean log, share trusted) and the mean log as spread: (4, 1) and 4 px of a frame half as wide.
    assert found.centre_px == pytest.approx((4.5 * 2 - 0.5, 1.5 * 2 - 0.5), abs=1e-4)
    assert found.centre_error_px == pytest.approx(3 * 4**0.5 * 2, abs=1e-4)
    assert "± 12.0 px" in found.centre
    assert said.centre_px is said.centre_error_px is None
    assert said.centre == ""


@pytest.mark.parametrize("batch", [1, 2, 7, 100])
def test_order_and_values_do_not_depend_on_the_batch(bundle: Bundle, batch: int) -> None:
    items = [Refused(f"k{i}", "torn") if i % 5 == 3 else frame(float(i), (20 + i, 40), f"k{i}") for i in range(23)]
    answers = list(bundle.predict(items, batch=batch))
    assert [a.key for a in answers] == [f"k{i}" for i in range(23)]
    assert [a.error for a in answers] == ["torn" if i % 5 == 3 else None for i in range(23)]
    single = [next(bundle.predict(item)).probability for item in items]
    assert [a.probability for a in answers] == [pytest.approx(p, abs=1e-5) for p in single]


def test_frames_are_taken_as_they_are_needed(bundle: Bundle) -> None:
    taken = []

    def endless():  # type: ignore[no-untyped-def]
        while True:
            taken.append(1)
            yield frame(3.0)

    answers = bundle.predict(endless(), batch=4)
    for _ in range(5):
        next(answers)
    answers.close()  # type: ignore[attr-defined]
    assert len(taken) == 8


def test_any_size_is_fitted_and_masked_counts_do_not_matter(bundle: Bundle) -> None:
    big = frame(9.0, (100, 70), trusted=0.5)
    wild = Frame(np.where(big.mask, big.image, np.nan).astype(np.float32), big.mask, big.geometry, "k")
    a, b, c = bundle.predict([big, wild, fit(big, SIZE)])
    assert a.probability == b.probability == c.probability


def test_arrays_are_frames_of_counts(bundle: Bundle) -> None:
    stack = np.arange(3 * 40 * 50, dtype=np.uint16).reshape(3, 40, 50)
    answers = list(bundle.predict(stack))
    assert [a.key for a in answers] == ["array/00000000", "array/00000001", "array/00000002"]
    assert answers[1].probability == pytest.approx(next(bundle.predict(stack[1])).probability, abs=1e-6)


@pytest.mark.parametrize("array", [np.zeros((2, 3, 4, 5)), np.zeros((4, 4), complex), np.array([["a"]])])
def test_an_array_that_is_no_image_is_refused(bundle: Bundle, array: np.ndarray) -> None:
    with pytest.raises(BadFrame, match="no image"):
        list(bundle.predict(array))


@pytest.mark.parametrize("array", [np.full((9, 9), np.nan), np.full((9, 9), -1.0), np.full((9, 9), np.inf)])
def test_a_frame_without_one_trusted_pixel_gets_no_answer(bundle: Bundle, array: np.ndarray) -> None:
    (answer,) = bundle.predict(array)
    assert answer.answer is None
    assert answer.probability == {}
    assert "trusted" in str(answer.error)


def test_numbers_beyond_the_model_are_no_answer(bundle: Bundle) -> None:
    below = Frame(np.full((SIZE, SIZE), -5, np.float32), np.ones((SIZE, SIZE), bool), Geometry((SIZE, SIZE)), "k")
    (answer,) = bundle.predict(below)
    assert "no number" in str(answer.error)


def test_thresholds_and_calibration_come_from_the_card(tmp_path: Path) -> None:
    scale, shift = [2.0, 1.0, 1.0], [1.0, 0.0, 0.0]
    given = {"threshold": [0.9, 0.01, 0.99], "calibration": {"scale": scale, "shift": shift}, "doubtful": [[2, 3]] * 3}
    bundle = load(write_bundle(tmp_path / "b", **given))
    (answer,) = bundle.predict(frame(9.0))
    assert answer.probability["bright"] == pytest.approx(sigmoid(2 * (np.log(10) - 2) + 1), abs=1e-5)
    assert answer.answer == ["dark"]
    assert answer.doubtful == []
    (every,) = bundle.predict(frame(9.0), threshold=0.0)
    assert every.answer == list(NAMES)


def test_one_of_names_the_most_probable(tmp_path: Path) -> None:
    bundle = load(write_bundle(tmp_path / "b", target={"kind": "one_of", "names": list(NAMES)}))
    (answer,) = bundle.predict(frame(100.0))
    assert answer.answer == "bright"
    assert sum(answer.probability.values()) == pytest.approx(1)
    assert set(answer.doubtful) <= {"bright"}


def test_embedding_is_that_of_the_graph(bundle: Bundle) -> None:
    (key, vector), (_, none) = bundle.embed([frame(9.0, trusted=0.5), Refused("r", "torn")])
    assert key == "k"
    assert none is None
    np.testing.assert_allclose(vector, [np.log(10) / 2, 0.5], atol=1e-5)


def test_bf16_is_close_to_f32(tmp_path: Path, bundle: Bundle) -> None:
    coarse = load(write_bundle(tmp_path / "b", precision="bf16"))
    (a,), (b,) = bundle.predict(frame(30.0)), coarse.predict(frame(30.0))
    # bf16 keeps 8 bits: a logit near 1.4 is off by less than 0.02, its probability by less than a quarter of that.
    assert list(a.probability.values()) == pytest.approx(list(b.probability.values()), abs=0.01)


def test_close_names_are_suggested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bundle(tmp_path / "test_frames")
    monkeypatch.setattr(beamsight.bundle, "SHIPPED", tmp_path)
    assert load("test-frames").folder == tmp_path / "test_frames"
    with pytest.raises(UnknownTask, match=r"'test-framse'; did you mean test-frames\?"):
        load("test-framse")


@pytest.mark.parametrize(
    "wrong",
    [
        {"threshold": [0.5]},
        {"doubtful": [0.1, 0.2, 0.3]},
        {"target": {"kind": "words", "names": ["a"]}},
        {"target": None},
        {"calibration": {}},
        {"size": "large"},
        {"precision": "int2"},
        {"sha256": {}},
        {"normal": {"scale": [1.0] * 3}},
    ],
)
def test_a_card_that_contradicts_itself_is_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(BadBundle, match="contradicts itself"):
        load(write_bundle(tmp_path / "b", **wrong))


@pytest.mark.parametrize("text", ["", "[1]", "{", "[" * 100_000, "{}", "\x00"])
def test_a_card_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    folder = write_bundle(tmp_path / "b")
    (folder / "card.json").write_text(text)
    with pytest.raises(BadBundle, match=r"card\.json"):
        load(folder)


@pytest.mark.parametrize("name", ["card.json", "model.onnx", "weights.safetensors"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    folder = write_bundle(tmp_path / "b")
    (folder / name).unlink()
    with pytest.raises(BadBundle, match=name):
        load(folder)


def test_a_bundle_needs_neither_its_task_nor_torch(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "b", task="a-task-nobody-has")
    code = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "onnx", "matplotlib", "scipy"):
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Block())
import json, numpy as np, beamsight as bs
print(json.dumps([a.answer for a in bs.load(sys.argv[1]).predict(np.full((2, 50, 60), 99))]))
"""
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [["bright"], ["bright"]]


def test_answering_calls_nobody_and_leaves_nothing_at_home(bundle: Bundle, tmp_path: Path) -> None:
    code = """
import os, sys
def refuse(*_):
    raise SystemExit("a process was forked")
os.fork = refuse
import numpy as np
from beamsight.bundle import load
print(next(load(sys.argv[1]).predict(np.full((32, 32), 9))).answer)
assert not any(name.startswith("openvino_telemetry.") for name in sys.modules)
"""
    command = [sys.executable, "-c", code, str(bundle.folder)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "HOME": str(tmp_path)}, check=False)
    assert done.returncode == 0, done.stderr
    assert "bright" in done.stdout
    assert not list(tmp_path.iterdir())
