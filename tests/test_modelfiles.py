"""What is let in as a model: each hostile or damaged file is refused with its reason (test S1)."""

# SPDX-License-Identifier: BSD-3-Clause

import io
import json
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

from beamsight.bundle import load
from beamsight.errors import BadBundle
from beamsight.modelfiles import MAX_HEADER_BYTES, check_onnx, check_safetensors
from models import card, graph, safetensors, write_bundle

GRAPH = graph().SerializeToString()


def reseal(folder: Path) -> None:
    """Write the checksums of what lies there now into the card: the attacker can do that too."""
    (folder / "card.json").write_text(json.dumps(card(folder)))


def external(location: str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        tensor = next(t for t in model.graph.initializer if t.name == "weight")
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    return change


def only_the_list(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].external_data.add(key="location", value="x")


def custom_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "com.evil"


def custom_domain(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def own_function(model: onnx.ModelProto) -> None:
    node = helper.make_node("Add", ["a", "b"], ["c"])
    model.functions.append(helper.make_function("", "Add", ["a", "b"], ["c"], [node], [helper.make_opsetid("", 18)]))


def unknown_set(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 999


def no_set(model: onnx.ModelProto) -> None:
    del model.opset_import[:]


def hidden_in_a_branch(model: onnx.ModelProto) -> None:
    inner = helper.make_graph([helper.make_node("Run", [], ["o"], domain="com.evil")], "inner", [], [])
    model.graph.node.append(helper.make_node("If", ["one"], ["o"], then_branch=inner, else_branch=inner))


CHANGES = [
    (external("../../../etc/passwd"), "other files"),
    (external("/etc/passwd"), "other files"),
    (external("link"), "other files"),
    (only_the_list, "other files"),
    (custom_operator, "com.evil"),
    (custom_domain, "com.microsoft"),
    (own_function, "functions"),
    (unknown_set, "999"),
    (no_set, "operator set none"),
    (hidden_in_a_branch, "com.evil"),
]


@pytest.mark.parametrize(("change", "reason"), CHANGES)
def test_a_graph_that_reaches_out_is_refused_though_its_checksum_is_right(
    tmp_path: Path, change: Callable[[onnx.ModelProto], None], reason: str
) -> None:
    folder = write_bundle(tmp_path / "b")
    (folder / "link").symlink_to("/etc/passwd")
    model = graph()
    change(model)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    reseal(folder)
    with pytest.raises(BadBundle, match=reason):
        load(folder)


def test_an_operator_that_no_one_knows_is_refused_when_it_should_run(tmp_path: Path) -> None:
    model = graph()
    model.graph.node[1].op_type = "NoSuchOperator"
    bundle = load(write_bundle(tmp_path / "b", model))
    with pytest.raises(BadBundle, match="OpenVINO cannot run"):
        list(bundle.predict(np.ones((32, 32))))


def pickled(protocol: int) -> bytes:
    return pickle.dumps({"weight": np.zeros(3)}, protocol)


def zipped() -> bytes:
    """What torch.save writes: a zip archive that holds a pickle."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", pickled(2))
    return stream.getvalue()


@pytest.mark.parametrize("name", ["model.onnx", "weights.safetensors"])
@pytest.mark.parametrize("data", [pickled(p) for p in range(6)] + [zipped()], ids=[*map(str, range(6)), "zip"])
def test_a_pickle_under_another_name_is_refused(tmp_path: Path, name: str, data: bytes) -> None:
    folder = write_bundle(tmp_path / "b")
    (folder / name).write_bytes(data)
    reseal(folder)
    with pytest.raises(BadBundle, match=name):
        load(folder)


@pytest.mark.parametrize("data", [pickled(2), pickled(5), zipped()])
def test_a_pt_file_in_place_of_a_folder_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(data)
    with pytest.raises(BadBundle, match=r"pickle|zip archive"):
        load(path)


@pytest.mark.parametrize("name", ["model.onnx", "weights.safetensors"])
def test_one_changed_byte_is_noticed(tmp_path: Path, name: str) -> None:
    folder = write_bundle(tmp_path / "b")
    data = bytearray((folder / name).read_bytes())
    data[-1] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(BadBundle, match="SHA-256"):
        load(folder)


@pytest.mark.parametrize("length", [MAX_HEADER_BYTES + 1, 200_000_000, 2**63, 2**64 - 1])
def test_a_huge_header_is_refused_before_it_is_read(length: int) -> None:
    head = length.to_bytes(8, "little") + b"{}"
    with pytest.raises(BadBundle, match="header claims"):
        check_safetensors(head, 2**66, "x")


def test_holes_overlaps_and_truncation_are_refused() -> None:
    good = safetensors({"a": np.zeros(4), "b": np.ones(4)})
    check_safetensors(good, len(good), "x")
    for wrong in (good.replace(b"[16, 32]", b"[12, 28]"), good.replace(b"[16, 32]", b"[20, 32]"), good[:-1], good + b"\0"):
        with pytest.raises(BadBundle):
            check_safetensors(wrong, len(wrong), "x")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_judged_in_one_sentence(data: bytes) -> None:
    for check in (lambda: check_onnx(data, "x"), lambda: check_safetensors(data, len(data), "x")):
        with pytest.raises(BadBundle) as caught:
            check()
        assert "\n" not in str(caught.value)


def verdict(data: bytes) -> str | None:
    try:
        check_onnx(data, "x")
    except BadBundle as error:
        return str(error)
    return None


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, len(GRAPH) - 1), st.integers(0, 255), st.booleans())
def test_a_damaged_graph_is_refused_or_read_never_worse(at: int, value: int, cut: bool) -> None:
    data = GRAPH[:at] if cut else GRAPH[:at] + bytes([value]) + GRAPH[at + 1 :]
    said = verdict(data)
    assert said is None or said.startswith("x: ")
    assert said is not None or not cut


def test_nothing_in_the_source_unpickles() -> None:
    source = Path(__file__).parents[1] / "src"
    text = "\n".join(p.read_text() for p in source.rglob("*.py"))
    assert not re.search(r"torch\.load\b|import pickle|weights_only|read_external", text)
