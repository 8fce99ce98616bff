"""Operator times of real TFLite interpreters, and what XNNPACK takes of real graphs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from small_models import GOLDEN

from edgewright.profiler.agent.engines import TfliteInterpreter
from edgewright.profiler.agent.operators_tflite import Watch, delegate_name
from edgewright.profiler.operators import OperatorProfile

FULL, SOME, NONE = "tiny_float", "targets_branch", "targets_conv_int16"


def engine(name: str, **arguments: Any) -> TfliteInterpreter:
    made = TfliteInterpreter("ai_edge_litert")
    made.load({"path": str(GOLDEN / f"{name}.tflite"), "threads": 1}, **arguments)
    return made


def inputs(made: TfliteInterpreter, batch: int | None = None) -> list[np.ndarray]:
    shapes = [tuple(detail["shape"]) for detail in made.inputs]
    if batch is not None:
        shapes = [(batch, *shape[1:]) for shape in shapes]
    return [
        np.full(shape, 1, detail["dtype"])
        for shape, detail in zip(shapes, made.inputs, strict=True)
    ]


def profile(name: str) -> OperatorProfile:
    made = engine(name)
    samples = [inputs(made)]
    task = {"path": str(GOLDEN / f"{name}.tflite"), "threads": 1}
    return OperatorProfile.model_validate(made.operators(task, samples))


def test_a_graph_that_the_delegate_takes_whole() -> None:
    found = profile(FULL)
    assert (found.delegated_nodes, found.total_nodes, found.partitions) == (3, 3, 1)
    assert [(o.type, o.provider) for o in found.operators] == [
        ("CONV_2D", "XNNPACK"), ("MEAN", "XNNPACK"), ("FULLY_CONNECTED", "XNNPACK")
    ]  # fmt: skip
    [share] = found.providers
    assert (share.provider, share.delegate, share.nodes, share.share) == ("XNNPACK", True, 3, 1.0)
    assert "one by one" in found.method


def test_a_graph_that_the_delegate_takes_in_part() -> None:
    found = profile(SOME)
    assert (found.delegated_nodes, found.total_nodes, found.partitions) == (1, 3, 1)
    assert [(o.type, o.provider) for o in found.operators] == [
        ("SUM", "XNNPACK"), ("GREATER", "LiteRT"), ("IF", "LiteRT")
    ]  # fmt: skip
    shares = {share.provider: share for share in found.providers}
    assert shares["LiteRT"].nodes == 2 and not shares["LiteRT"].delegate
    assert sum(share.share or 0 for share in found.providers) == pytest.approx(1)
    assert found.missing == {}


def test_a_graph_that_the_delegate_leaves() -> None:
    found = profile(NONE)
    assert (found.delegated_nodes, found.total_nodes, found.partitions) == (0, 7, 0)
    assert [share.provider for share in found.providers] == ["LiteRT"]
    assert [o.type for o in found.operators] == [
        "QUANTIZE", "CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "MEAN", "FULLY_CONNECTED",
        "DEQUANTIZE",
    ]  # fmt: skip
    assert all((operator.mean_ms or 0) > 0 for operator in found.operators)


@pytest.mark.parametrize("name", [FULL, SOME, NONE])
def test_the_clocks_change_no_answer(name: str) -> None:
    plain, watched = engine(name), engine(name)
    arrays = inputs(plain)
    watch = Watch(watched.interpreter)
    for made in (plain, watched):
        made.bind(arrays)
        made.invoke()
    for expected, answer in zip(plain.fetch(), watched.fetch(), strict=True):
        np.testing.assert_array_equal(answer, expected)
    assert all(spent > 0 for spent in watch.spent_ns.values())


def test_an_input_of_another_batch() -> None:
    made = engine("targets_conv_open")
    arrays = inputs(made, batch=3)
    task = {"path": str(GOLDEN / "targets_conv_open.tflite"), "threads": 1}
    found = OperatorProfile.model_validate(made.operators(task, [arrays, inputs(made)]))
    assert found.total_nodes == len(found.operators)


def test_a_runtime_that_lays_its_graph_out_in_another_way_is_left_alone() -> None:
    """A real interpreter, of which we are told something that does not fit what a delegate sees."""
    made = engine(NONE)

    inner = made.interpreter._interpreter
    told = SimpleNamespace(
        ModifyGraphWithDelegate=inner.ModifyGraphWithDelegate, NodeOutputs=lambda index: [99]
    )
    with pytest.raises(LookupError, match="lays its graph out in another way"):
        Watch(SimpleNamespace(_interpreter=told))


def test_a_runtime_that_lets_no_delegate_be_applied() -> None:
    with pytest.raises(LookupError, match="no delegate can be applied"):
        Watch(SimpleNamespace(_interpreter=object()))


def test_names_of_delegates() -> None:
    assert delegate_name("TfLiteXNNPackDelegate") == "XNNPACK"
    assert delegate_name("TfLiteGpuDelegateV2") == "TfLiteGpuDelegateV2"
