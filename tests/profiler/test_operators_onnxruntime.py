"""ONNX Runtime's profile: recorded ones of several versions, and real ones of the version here.

The recordings are of tests/golden/make_profiles.py's model, five inferences each.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from small_models import GOLDEN, matmul

from edgewright.profiler.agent.engines import OnnxRuntime
from edgewright.profiler.agent.operators import PROFILED
from edgewright.profiler.agent.operators_onnxruntime import read_trace
from edgewright.profiler.operators import OperatorProfile

CPU = "CPUExecutionProvider"
RECORDED = sorted((GOLDEN / "onnxruntime_profiles").glob("*.json"))


def event(name: str, ts: int, dur: int, provider: str = CPU, kind: str = "Op") -> dict[str, Any]:
    arguments = {"op_name": kind, "node_index": str(ts), "provider": provider}
    return {"cat": "Node", "name": name + "_kernel_time", "ts": ts, "dur": dur, "args": arguments}


def inference(ts: int, dur: int) -> dict[str, Any]:
    return {"cat": "Session", "name": "model_run", "ts": ts, "dur": dur, "args": {}}


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_reads_recorded_profiles(path: Path) -> None:
    profile = OperatorProfile.model_validate(read_trace(json.loads(path.read_text()), 2))
    assert profile.inferences == 3
    assert [operator.type for operator in profile.operators] == [
        "Conv", "ReorderOutput", "Reshape", "ReduceSum", "Greater", "If", "MatMul", "Sigmoid"
    ]  # fmt: skip
    assert {operator.count for operator in profile.operators} == {1}
    assert [operator.name for operator in profile.operators][-3:] == [
        "choose", "then_matmul", "then_end"
    ]  # fmt: skip
    [provider] = profile.providers
    assert (provider.provider, provider.nodes, provider.share) == (CPU, 8, 1.0)
    assert sum(operator.share or 0 for operator in profile.operators) == pytest.approx(1)


def test_a_branch_is_not_counted_twice() -> None:
    """The recorded branches took part of their If's time: what is left is the If's own."""
    events = json.loads((GOLDEN / "onnxruntime_profiles" / "1.32.0.json").read_text())
    found = {operator["type"]: operator for operator in read_trace(events, 2)["operators"]}
    whole = [e["dur"] for e in events if e["name"] == "choose_kernel_time"][2:]
    inside = sum(found[kind]["mean_ms"] for kind in ("MatMul", "Sigmoid"))
    assert found["If"]["mean_ms"] + inside == pytest.approx(sum(whole) / 3000)


def test_two_providers_and_a_node_without_a_name() -> None:
    events = [
        inference(0, 100),
        event("a", 0, 60, "NnapiExecutionProvider", "NNAPI_0"),
        event("", 70, 20, kind="Softmax"),
    ]
    found = read_trace(events, 0)
    assert [o["name"] for o in found["operators"]] == ["a", "Softmax_70"]
    assert [(p["provider"], p["share"]) for p in found["providers"]] == [
        ("NnapiExecutionProvider", 0.75),
        (CPU, 0.25),
    ]


@pytest.mark.parametrize(
    ("events", "message"),
    [([], "no inference"), ([inference(0, 9)], "no operator"), ([event("a", 0, 1)], "no inf")],
)
def test_a_profile_of_nothing(events: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_trace(events, 0)


def test_a_real_profile_leaves_no_file(tmp_path: Path) -> None:
    model = matmul(tmp_path / "m.onnx")
    place = tmp_path / "[run] 1"
    place.mkdir()
    task = {"path": str(model), "threads": 1, "profile_prefix": f"{place}/worker-0.stderr.profile"}
    engine = OnnxRuntime()
    engine.load(task)
    samples = [[np.ones((1, 16, 16), np.float32)], [np.zeros((1, 16, 16), np.float32)]]
    engine.bind(samples[0])
    engine.invoke()
    profile = OperatorProfile.model_validate(engine.operators(task, samples))
    assert profile.inferences == PROFILED
    assert [operator.type for operator in profile.operators] == ["MatMul"]
    assert list(place.iterdir()) == []
    assert engine.version == onnxruntime.__version__
