"""A run becomes a bundle that answers as the trained network does, and whose card says what it is."""

import hashlib
import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file, save_file

from beamsight.beginning import weights_of
from beamsight.bundle import MODEL, WEIGHTS, load
from beamsight.checkpoint import BEST
from beamsight.errors import BeamsightError, CannotRead, CannotWrite
from beamsight.evaluate import evaluate
from beamsight.examples import TEST, simulate, simulated
from beamsight.export import OPSET, Whole, compare, export, graph_of, load_run
from beamsight.networks import build_network
from beamsight.rewrites import quicken
from beamsight.runtime import runtime
from beamsight.train import train
from beamsight.views import build_view
from toy import RECIPE, TOY, TOY_ONE

SHORT = replace(RECIPE, steps=25, batch=8, validate_every=25, validation=32)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(TOY, tmp_path_factory.mktemp("run"), SHORT, ahead=False)


@pytest.fixture(scope="module")
def bundle(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(run, tmp_path_factory.mktemp("bundle") / "toy", TOY, chosen=200, scored=150)


def eager(run: Path) -> Whole:
    _, recipe, network = load_run(run, TOY)
    return Whole(build_view(recipe.view), network).eval()


@pytest.mark.parametrize("n", [1, 5])
def test_the_graph_equals_the_network_at_any_batch_size(run: Path, bundle: Path, n: int) -> None:
    batch = simulated(TOY, 64, 0, TEST[:n])
    with torch.inference_mode():
        expected = eager(run)(batch.counts, batch.mask.float())
    session = onnxruntime.InferenceSession(bundle / MODEL)
    got = session.run(["logits", "embedding"], {"counts": batch.counts.numpy(), "mask": batch.mask.float().numpy()})
    for a, b in zip(expected, got, strict=True):
        # Weights are kept in half precision, of eleven bits.
        np.testing.assert_allclose(a.numpy(), b, atol=2e-2, rtol=1e-2)


def test_the_card_holds_the_measured_difference(run: Path, bundle: Path) -> None:
    card = load(bundle).card
    assert card["difference"]["f32"] < 0.03
    close = card["difference"]["bf16"] <= 0.05 and card["difference"]["bf16 found"] <= 0.25
    assert card["precision"] == ("bf16" if close else "f32")
    scale, shift = (np.array(card["calibration"][k]) for k in ("scale", "shift"))
    whole = eager(run)
    # The card compares with what ships: weights rounded to half precision.
    whole.network.load_state_dict(weights_of(bundle))
    again = compare(bundle / MODEL, whole, TOY, SHORT, scale, shift)
    assert again["f32"] == pytest.approx(card["difference"]["f32"], abs=1e-4)


def test_a_bundle_answers_with_the_scores_of_its_card(bundle: Path) -> None:
    card = load(bundle).card
    scores = evaluate(load(bundle), TOY, n=150)
    assert scores["mean_ap"] == pytest.approx(card["scores"]["mean_ap"], abs=0.02)
    assert scores["mean_auc"] == pytest.approx(card["scores"]["mean_auc"], abs=0.02)


def test_the_weights_load_into_the_network_they_came_from(run: Path, bundle: Path) -> None:
    network = build_network("compact", 6, 2)
    network.load_state_dict(weights_of(bundle))
    for a, b in zip(network.state_dict().values(), eager(run).network.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_no_large_weight_is_kept_twice(bundle: Path) -> None:
    rest = load_file(bundle / WEIGHTS)
    assert "stages.0.0.0.weight" in weights_of(bundle)
    assert all(v.numel() < 300 or "mixer" in name for name, v in rest.items())


def test_the_graph_is_one_file_of_standard_operators_without_a_trace_of_where_it_was_made(bundle: Path) -> None:
    graph = onnx.load(bundle / MODEL, load_external_data=False)
    assert {(o.domain, o.version) for o in graph.opset_import} == {("", OPSET)}
    assert not any(i.external_data for i in graph.graph.initializer)
    assert [i.name for i in graph.graph.input] == ["counts", "mask"]
    assert [o.name for o in graph.graph.output] == ["logits", "embedding"]
    assert str(Path(__file__).parents[1]).encode() not in (bundle / MODEL).read_bytes()
    assert b"site-packages" not in (bundle / MODEL).read_bytes()


def test_no_norm_is_left_in_the_graph_as_it_runs(bundle: Path) -> None:
    model = runtime().Core().read_model((bundle / MODEL).read_bytes(), b"")
    quicken(model)
    assert "BatchNormInference" not in {node.get_type_name() for node in model.get_ordered_ops()}


def test_a_bundle_is_small_and_readable_by_all(bundle: Path) -> None:
    assert sum(p.stat().st_size for p in bundle.iterdir()) < 8e6
    mask = os.umask(0)
    os.umask(mask)
    assert all(stat.S_IMODE(p.stat().st_mode) == 0o666 & ~mask for p in bundle.iterdir())


def test_the_card_says_what_it_is(bundle: Path) -> None:
    card = json.loads((bundle / "card.json").read_text())
    assert card["target"] == {"kind": "tags", "names": ["ring", "strong"]}
    assert (card["task"], card["size"], card["view"]) == ("toy-rings", 64, "image")
    assert card["recipe"]["steps"] == 25
    assert set(card["scores"]["tags"]) == {"ring", "strong"}
    assert all(hashlib.sha256((bundle / n).read_bytes()).hexdigest() == s for n, s in card["sha256"].items())
    assert all(low <= t <= high for (low, high), t in zip(card["doubtful"], card["threshold"], strict=True))
    assert "NaN" not in (bundle / "card.json").read_text()


def test_one_of_several_is_exported_too(tmp_path: Path) -> None:
    run = train(TOY_ONE, tmp_path / "run", replace(SHORT, steps=10, validate_every=10), ahead=False)
    model = load(export(run, tmp_path / "bundle", TOY_ONE, chosen=60, scored=60))
    answers = list(model.predict(simulate(TOY_ONE, 3)))
    assert all(a.answer in ("none", "ring") for a in answers)
    assert all(sum(a.probability.values()) == pytest.approx(1, abs=1e-3) for a in answers)
    assert 0 <= model.card["scores"]["accuracy"] <= 1


def test_what_is_no_run_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(CannotRead, match="no run"):
        export(tmp_path, tmp_path / "out", TOY)
    (tmp_path / "run.json").write_text((run / "run.json").read_text())
    for damaged in (b"", b"\x80\x04pickle", (run / BEST).read_bytes()[:-9]):
        (tmp_path / BEST).write_bytes(damaged)
        with pytest.raises(CannotRead, match="no run"):
            export(tmp_path, tmp_path / "out", TOY)
    save_file({"other.weight": torch.zeros(2)}, tmp_path / BEST)
    with pytest.raises(CannotRead, match="no run"):
        export(tmp_path, tmp_path / "out", TOY)


def test_a_task_that_is_not_there_is_named(run: Path, tmp_path: Path) -> None:
    with pytest.raises(BeamsightError, match="toy-rings"):
        export(run, tmp_path / "out")


def test_a_folder_that_cannot_be_written_is_refused(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotWrite, match="cannot be written"):
        export(run, tmp_path / "file" / "out", TOY)


def test_a_graph_that_answers_otherwise_is_not_exported(run: Path, bundle: Path) -> None:
    torch.manual_seed(1)
    other = Whole(build_view("image"), build_network("compact", 6, 2)).eval()
    with pytest.raises(BeamsightError, match="differs"):
        compare(bundle / MODEL, other, TOY, SHORT, np.full(2, 50.0), np.zeros(2))


@pytest.mark.slow
@pytest.mark.parametrize("view", ["image", "joint"])
def test_a_network_of_every_view_gives_the_same_answers_as_a_graph(view: str) -> None:
    torch.manual_seed(5)
    whole = Whole(build_view(view), build_network("joint", 6, 2, view, 64)).eval()
    batch = simulated(TOY, 64, 0, TEST[:3])
    centre = torch.tensor([[30.2, 33.7], [torch.nan, torch.nan], [31.0, 20.5]])
    with torch.inference_mode():
        logits, _, told = whole(batch.counts, batch.mask.float(), centre)
    graph = graph_of(whole, 64)
    # Weights and tables in half precision, but nothing that follows from them.
    assert len(graph) < 2 * sum(v.numel() for v in [*whole.parameters(), *whole.buffers()]) + 1_000_000
    session = onnxruntime.InferenceSession(graph)
    given = {"counts": batch.counts.numpy(), "mask": batch.mask.float().numpy(), "centre": centre.numpy()}
    got = session.run(["logits", "told_centre"], given)
    np.testing.assert_allclose(got[0], logits.numpy(), atol=2e-2, rtol=2e-2)
    np.testing.assert_allclose(got[1], told.numpy(), atol=0.3, rtol=2e-2)
