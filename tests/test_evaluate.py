"""Scores agree with scikit-learn and with cases done by hand; thresholds, calibration and bands do what they say."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_score, recall_score, roc_auc_score

from beamsight.answer import Answer
from beamsight.calibrate import calibration, doubtful_bands, thresholds
from beamsight.errors import BeamsightError
from beamsight.evaluate import auc, average_precision, calibration_error, evaluate, mean, score, table
from beamsight.examples import simulate
from beamsight.targets import OneOf, Tags
from toy import TOY, TOY_ONE

NAN = np.nan


def drawn(seed: int, n: int = 400, tags: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and truths that come true as often as they say, a tenth of them doubtful."""
    rng = np.random.default_rng(seed)
    p = rng.random((n, tags))
    truth = (rng.random((n, tags)) < p).astype(float)
    truth[rng.random((n, tags)) < 0.1] = NAN
    return p, truth


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_scores_are_those_of_scikit_learn_over_what_is_known(seed: int) -> None:
    p, truth = drawn(seed)
    for t in range(3):
        known = ~np.isnan(truth[:, t])
        y, q = truth[known, t], p[known, t]
        assert average_precision(p, truth)[t] == pytest.approx(average_precision_score(y, q))
        assert auc(p, truth)[t] == pytest.approx(roc_auc_score(y, q))


def test_doubtful_frames_change_nothing() -> None:
    p, truth = drawn(1)
    more = np.vstack([p, np.random.default_rng(2).random((50, 3))]), np.vstack([truth, np.full((50, 3), NAN)])
    for f in (average_precision, auc, calibration_error, thresholds):
        assert np.array_equal(f(p, truth), f(*more))


def test_a_tag_of_one_kind_has_no_score() -> None:
    p, truth = np.array([[0.1, 0.2], [0.8, 0.9]]), np.array([[0.0, 1.0], [1.0, NAN]])
    assert np.array_equal(np.isnan(average_precision(p, truth)), [False, True])
    assert mean(average_precision(p, truth)) == 1
    assert np.isnan(mean(np.array([NAN])))
    assert thresholds(p, truth)[1] == 0.5


def test_calibration_error_by_hand() -> None:
    # Two groups of two: means 0.2 and 0.7, of which 0 and 1 come true.
    p, truth = np.array([[0.1], [0.3], [0.6], [0.8]]), np.array([[0.0], [0.0], [1.0], [1.0]])
    assert calibration_error(p, truth, bins=2)[0] == pytest.approx((0.2 + 0.3) / 2)
    # What comes true as often as it says errs only by chance: of 15 groups of 1,300 each by about 0.01.
    assert calibration_error(*drawn(0, 20_000)).max() < 0.02


def test_calibration_undoes_a_known_distortion() -> None:
    p, truth = drawn(3, 20_000)
    logits = np.log(p / (1 - p))
    scale, shift = calibration(Tags(("a", "b", "c")), (logits - 0.7) * 3, truth)
    np.testing.assert_allclose(scale, 1 / 3, rtol=0.05)
    np.testing.assert_allclose(shift, 0.7, atol=0.07)


def test_calibration_leaves_what_it_cannot_know() -> None:
    logits = np.array([[1.0, -1.0], [2.0, 1.0], [-1.0, 0.0]])
    scale, shift = calibration(Tags(("always", "misled")), logits, np.array([[1.0, 1], [1, 0], [1, 0.0]]))
    assert scale.tolist() == [1, 1]
    assert shift.tolist() == [0, 0]


def test_one_temperature_for_one_of_several() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20_000, 3)) * 2
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = np.eye(3)[(p.cumsum(1) < rng.random((20_000, 1))).sum(1)]
    truth[:100] = NAN
    scale, shift = calibration(OneOf(("a", "b", "c")), logits * 2.5, truth)
    np.testing.assert_allclose(scale, 0.4, rtol=0.05)
    assert not shift.any()
    assert calibration(OneOf(("a", "b")), np.ones((2, 2)), np.full((2, 2), NAN))[0].tolist() == [1, 1]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_thresholds_reach_the_precision_where_it_can_be_reached(seed: int) -> None:
    p, truth = drawn(seed)
    for t, limit in enumerate(thresholds(p, truth, precision=0.9)):
        known = ~np.isnan(truth[:, t])
        y, claimed = truth[known, t], p[known, t] >= limit
        assert precision_score(y, claimed) >= 0.9
        assert recall_score(y, claimed) > 0


def test_where_all_is_told_apart_the_threshold_stands_midway() -> None:
    p, truth = np.array([[0.1], [0.2], [0.9], [0.95]]), np.array([[0.0], [0], [1], [1]])
    assert thresholds(p, truth)[0] == pytest.approx(0.55)


def test_without_such_a_precision_a_tag_is_claimed_as_often_as_it_holds() -> None:
    p, truth = np.array([[0.9], [0.8], [0.7], [0.6]]), np.array([[0.0], [1], [1], [0]])
    assert thresholds(p, truth, precision=0.9)[0] == pytest.approx((0.7 + 0.8) / 2)


def test_bands_hold_the_probabilities_that_are_often_wrong() -> None:
    p, truth = drawn(5, 30_000)
    (low, high), limit = doubtful_bands(p, truth, np.full(3, 0.5))[0], 0.5
    # A tag of probability 1/3 ... 2/3 is answered wrongly more than once in three times.
    assert low == pytest.approx(1 / 3, abs=0.07)
    assert high == pytest.approx(2 / 3, abs=0.07)
    assert low <= limit <= high
    apart = doubtful_bands(np.array([[0.1], [0.9]]), np.array([[0.0], [1.0]]), np.array([0.5]))
    assert apart.tolist() == [[0.5, 0.5]]


class Oracle:
    """A bundle that knows the answer of every second frame, refuses one, and guesses the rest."""

    size = 64

    def __init__(self, target) -> None:
        self.target, self.card = target, {"threshold": [0.5] * target.width}

    def predict(self, frames):
        for n, frame in enumerate(frames):
            if n == 3:
                yield Answer(frame.key, error="no pixel can be trusted")
            else:
                value = np.nan_to_num(self.target.encode(frame.truth), nan=0.5) if n % 2 else np.full(2, 0.5)
                yield Answer(frame.key, [], dict(zip(self.target.names, value.tolist(), strict=True)))


@pytest.mark.parametrize("task", [TOY, TOY_ONE], ids=lambda t: t.name)
def test_a_bundle_is_scored_on_a_task_and_on_frames_alike(task) -> None:
    of_task = evaluate(Oracle(task.target), task, n=40)
    of_frames = evaluate(Oracle(task.target), list(simulate(task, 40)))
    assert of_task == of_frames
    assert (of_task["frames"], of_task["refused"]) == (39, 1)
    assert set(of_task["tags"]) == set(task.target.names)
    assert 0.5 < of_task["mean_auc"] < 1
    assert all(name in table(of_task) for name in (*task.target.names, "mean"))
    assert ("accuracy" in of_task) == isinstance(task.target, OneOf)


def test_scores_at_thresholds_by_hand() -> None:
    p = np.array([[0.9], [0.8], [0.7], [0.2], [0.6]])
    scores = score(Tags(("ring",)), p, np.array([[1.0], [0], [1], [1], [NAN]]), np.array([0.5]))["tags"]["ring"]
    assert scores["precision"] == pytest.approx(2 / 3)
    assert scores["recall"] == pytest.approx(2 / 3)
    assert (scores["present"], scores["absent"]) == (3, 1)


def test_frames_without_truth_or_answer_are_not_scored() -> None:
    frames = list(simulate(TOY, 4))
    with pytest.raises(BeamsightError, match="no truth"):
        evaluate(Oracle(TOY.target), [replace(f, truth=None) for f in frames])
    with pytest.raises(BeamsightError, match="nothing to score"):
        evaluate(Oracle(TOY.target), [])
