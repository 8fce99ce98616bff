"""`edgewright inspect`, on models that others made and on large ones."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from clirunner import Cli
from models import FASHION, GOLDEN
from onnx import TensorProto, helper
from targets_models import quantized, save, value
from third_party import third_party

PAGE = Path(__file__).parent.parent / "docs" / "inspecting.md"


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("COLUMNS", "96")
    yield


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]


@pytest.mark.usefixtures("wide")
def test_the_page_shows_what_is_printed(cli: Cli) -> None:
    (shown,) = re.findall(r"\$ edgewright inspect .*?\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert lines(shown) == lines(cli("inspect", third_party("lite0-int8")).out)


def test_lines_of_the_page_are_those_of_the_command(cli: Cli) -> None:
    """Every line that a model of many kinds has is explained."""
    titles = {
        title.strip()
        for row in re.findall(r"^\| ([a-zQDQ ,]+?) \|", PAGE.read_text(), re.MULTILINE)
        for title in row.split(",")
    }
    for name in ("wakeword", "vad", "minilm-int8", "lite0-int8"):
        out = cli("inspect", third_party(name)).out
        found = {match for match in re.findall(r"^([a-zQD]+(?: [a-z]+)?)  ", out, re.MULTILINE)}
        assert found - titles == set()
        assert {"model", "format", "inputs", "outputs", "precision", "weights"} <= found


def test_every_node_and_constant(cli: Cli) -> None:
    document = cli("inspect", FASHION / "model.onnx", "--json").json
    assert document["schema_version"] == 1
    (graph,) = document["graphs"]
    shown = cli("inspect", FASHION / "model.onnx", "--operators", "--weights").out
    for node in graph["nodes"]:
        assert node["name"] in shown
    for tensor in graph["tensors"]:
        assert (tensor["name"] in shown) or tensor["constant"] is None


def test_what_stays_of_qdq(cli: Cli, tmp_path: Path) -> None:
    path = quantized(tmp_path, activations="QUInt16")
    by_rule = cli("inspect", path, "--json").json
    asked = cli("inspect", path, "--ask", "--json").json
    assert by_rule["asked"] == {"said_by": None, "refusal": None, "arena": None}
    assert asked["asked"]["said_by"].startswith("ONNX Runtime ")
    assert {p["node"] for p in by_rule["unfused"]} == {p["node"] for p in asked["unfused"]} != set()
    assert {p["asked"] for p in asked["unfused"]} == {True}
    assert "Conv has no integer kernel for 16 bits" in cli("inspect", path).out
    assert "asked" in cli("inspect", path, "--ask").out


def test_a_runtime_that_refuses_is_no_error(cli: Cli, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "x"], ["q"]),
        helper.make_node("Mystery", ["q"], ["y"], domain="my.own"),
    ]
    path = save(
        tmp_path / "m.onnx", nodes, [value("x", [])], [value("y", None)], domains=["my.own"]
    )
    outcome = cli("inspect", path, "--ask")
    assert outcome.code == 0
    assert "not asked: ONNX Runtime refuses it" in " ".join(outcome.out.split())
    assert "1 my.own::Mystery" in outcome.out


def test_what_the_arena_of_litert_takes(cli: Cli) -> None:
    path = third_party("lite0-int8")
    document = cli("inspect", path, "--json").json
    arena = document["asked"]["arena"]
    assert arena["said_by"] == document["asked"]["said_by"]
    assert document["peak_activation_bytes"] < arena["arena_bytes"] == 1655808
    assert (arena["kept_bytes"], arena["whole"]) == (0, True)
    assert "1.66 MB for activations and scratch (LiteRT" in cli("inspect", path).out
    assert cli("inspect", path, "--no-ask", "--json").json["asked"]["arena"] is None
    unpacked = cli("inspect", third_party("face-range"), "--ask").out
    assert "2.06 MB for state and unpacked weights" in " ".join(unpacked.split())
    refused = cli("inspect", GOLDEN / "targets_custom.tflite", "--ask").out
    assert "not asked: LiteRT refuses it" in " ".join(refused.split())


@pytest.mark.parametrize("element", [TensorProto.FLOAT, TensorProto.INT8])
def test_weights_of_3_gb_beside_the_model(cli: Cli, tmp_path: Path, element: int) -> None:
    """They are mapped: of INT8 weights as much is read as tells how large they get."""
    width = 3000 if element == TensorProto.FLOAT else 12000
    tensor = TensorProto(
        name="w", data_type=element, dims=[250_000, width], data_location=TensorProto.EXTERNAL
    )
    for key, text in (("location", "w.bin"), ("offset", "4096"), ("length", "3000000000")):
        tensor.external_data.add(key=key, value=text)
    with (tmp_path / "w.bin").open("wb") as handle:
        handle.seek(4096)
        handle.write(b"\x7f")
        handle.truncate(4096 + 3_000_000_000)
    constants, weights = [tensor], "w"
    nodes = []
    if element == TensorProto.INT8:
        constants.append(helper.make_tensor("s", TensorProto.FLOAT, [], [0.5]))
        nodes.append(helper.make_node("DequantizeLinear", ["w", "s"], ["d"]))
        weights = "d"
    nodes.append(helper.make_node("MatMul", ["x", weights], ["y"]))
    path = tmp_path / "m.onnx"
    save(path, nodes, [value("x", [1, 250_000])], [value("y", [1, width])], constants)
    document = cli("inspect", path, "--json").json
    assert document["size_bytes"] > 3_000_000_000
    assert document["weights"][0]["parameters"] == 250_000 * width
    assert document["external_data"] == ["w.bin"]
    assert document["macs"] == 250_000 * width
