from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from graph_making import Making, model
from rich.console import Console
from targets_models import mlp, weights

from edgewright.exporters.predicted import predicted
from edgewright.exporters.rank import RankedTarget, rank
from edgewright.profiler.tables_rank import rank_table
from edgewright.targets.check_options import CheckOptions
from edgewright.targets.facts import ModelFacts
from edgewright.targets.inspect import inspect_model
from edgewright.targets.load import list_targets, load_target
from edgewright.targets.oracles import ORACLES
from edgewright.targets.placement import Placement
from edgewright.targets.profile import Limits

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"


@pytest.fixture(scope="module")
def fashion() -> ModelFacts:
    return inspect_model(ROOT / "examples" / "fashion-mnist" / "model.onnx")


def by_name(ranked: list[RankedTarget]) -> dict[str, RankedTarget]:
    return {row.target: row for row in ranked}


def test_all_devices_are_ranked_those_that_it_fits_first(fashion: ModelFacts) -> None:
    ranked = rank(fashion, list_targets())
    assert {row.target for row in ranked} == {target.name for target in list_targets()}
    fits = [row.fits for row in ranked]
    assert fits == sorted(fits, reverse=True)
    rows = by_name(ranked)
    pi = rows["raspberry-pi-5"]
    assert (pi.precision, pi.predicted, pi.runtime) == ("int8", True, "onnxruntime")
    assert "dot-product" in pi.reason and pi.accelerator is None
    coral = rows["coral-dev-board"]
    assert not coral.fits and "reads onnx" in coral.reason and "tflite" in coral.remedy
    assert coral.precision is None and coral.runtime is None


def test_a_quantized_model_is_taken_as_it_is() -> None:
    facts = inspect_model(GOLDEN / "targets_conv_int8.tflite")
    [pi] = rank(facts, [load_target("raspberry-pi-5")])
    assert pi.fits and pi.precision is None and not pi.predicted
    assert pi.runtime == "ai_edge_litert"


def test_what_nobody_knows_is_no_fit() -> None:
    facts = inspect_model(GOLDEN / "targets_conv_int8.tflite")
    pixel = load_target("pixel-9")
    promising = pixel.model_copy(update={"name": "a-phone", "default_accelerator": "tpu"})
    rows = rank(facts, [promising, pixel])
    assert [(row.target, row.unknown > 0) for row in rows] == [
        ("pixel-9", False),
        ("a-phone", True),
    ]
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(rank_table(rows))
    told = console.export_text()
    assert "perhaps" in told and "fits 1 of 2 devices, perhaps 1 more" in told


def test_integers_are_predicted_where_an_accelerator_takes_nothing_else() -> None:
    facts = inspect_model(GOLDEN / "targets_conv_float.tflite")
    [coral] = rank(facts, [load_target("coral-dev-board")])
    assert coral.fits and (coral.precision, coral.accelerator) == ("int8", "edge-tpu")


def test_memory_decides_between_precisions(fashion: ModelFacts) -> None:
    pi = load_target("raspberry-pi-5")
    big = replace(fashion, weight_bytes=5_000_000_000, size_bytes=5_000_000_000)
    [row] = rank(big, [pi])
    assert row.fits and row.precision == "int8"
    limits = Limits(max_memory_bytes=1_000_000_000, source="test")
    [row] = rank(big, [pi.model_copy(update={"limits": limits})])
    assert not row.fits and row.precision is None and "GB" in row.reason


def test_predicted_facts_are_those_of_the_widths(fashion: ModelFacts) -> None:
    assert predicted(fashion, "float32", full_integer=False) == fashion
    small = predicted(fashion, "int8", full_integer=True)
    assert small.weight_bytes * 4 == pytest.approx(fashion.weight_bytes, abs=4)
    assert small.peak_activation_bytes == (fashion.peak_activation_bytes or 0) // 4
    dtypes = {t.dtype for graph in small.graphs for t in graph.tensors}
    assert "float32" not in dtypes and "int8" in dtypes
    dynamic = predicted(fashion, "int8-dynamic", full_integer=False)
    assert dynamic.peak_activation_bytes == fashion.peak_activation_bytes
    assert dynamic.graphs == fashion.graphs


def test_what_the_runtime_here_refuses_fits_in_no_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tables say yes to every node, and to what would be made of the model."""
    made = onnx.load(mlp(tmp_path / "net.onnx"))
    made.graph.initializer.append(weights("h", 1, 64))  # which a node computes, too
    onnx.save(made, tmp_path / "net.onnx")
    facts = inspect_model(tmp_path / "net.onnx")
    asked = []
    real = ORACLES["onnxruntime"]

    def counting(*arguments: Any) -> Placement:
        asked.append(arguments[0])
        return real(*arguments)

    monkeypatch.setitem(ORACLES, "onnxruntime", counting)
    targets = [load_target(name) for name in ("host", "raspberry-pi-5", "raspberry-pi-4")]
    rows = by_name(rank(facts, targets))
    assert not rows["host"].fits and "ONNX Runtime can't load" in rows["host"].reason
    # Of another release than this machine's nobody knows.
    pi = rows["raspberry-pi-5"]
    assert pi.fits and pi.predicted and pi.unknown == 1
    assert rows["raspberry-pi-4"].unknown == 1
    assert asked == [facts.path]
    unasked = by_name(rank(facts, targets, CheckOptions(ask=False)))
    assert all(row.fits and not row.unknown for row in unasked.values())

    # Where the float model has another fault, what is made of it is refused all the same.
    limits = Limits(max_memory_bytes=1_000_000_000, source="test")
    big = replace(facts, weight_bytes=2_000_000_000)
    small = [target.model_copy(update={"limits": limits}) for target in targets[:1]]
    [fits] = rank(big, small, CheckOptions(ask=False))
    [row] = rank(big, small)
    assert fits.fits and fits.predicted and not row.fits


def test_what_speaks_against_a_device_names_the_operator() -> None:
    making = Making()
    making.node("X", ["in"], ["out"])
    [row] = rank(model(making.graph(("in",), ("out",))), [load_target("coral-dev-board")])
    assert not row.fits and row.reason.startswith("X: ")


def test_a_narrow_terminal_shows_every_column(fashion: ModelFacts) -> None:
    ranked = rank(fashion, [load_target("raspberry-pi-5")])
    console = Console(width=40, record=True, file=io.StringIO())
    console.print(rank_table(ranked))
    told = "".join(console.export_text().split())
    assert "CPU" in told and "int8" in told
