"""Models small enough for a test, and how to run them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgewright.exporters.runtime import load_model
from edgewright.profiler.job import MeasuredModel, OutputPort, Sampling
from edgewright.profiler.result import (
    ColdStart,
    Correctness,
    DeviceFacts,
    Run,
    RuntimeFacts,
    Validity,
)

GOLDEN = Path(__file__).parent / "golden"
#: Enough to see that it works.
SHORT = Sampling(
    queries=24, seconds=0.2, both=False, min_rounds=4, min_queries=8,
    warm_up_queries=2, warm_up_s=0.01, warm_up_max_s=0.1,
)  # fmt: skip
#: Enough to be interrupted.
LONG = Sampling(
    queries=10**6, seconds=60, both=True, min_rounds=600, min_queries=10**6, max_queries=10**7,
    warm_up_queries=2, warm_up_s=0.01, warm_up_max_s=0.1,
)  # fmt: skip
#: Some seconds long.
SECONDS = Sampling(
    queries=10**6, seconds=1.5, both=False, min_rounds=20, min_queries=20, max_queries=10**6,
    warm_up_queries=2, warm_up_s=0.01, warm_up_max_s=0.1,
)  # fmt: skip


def save(path: Path, nodes: Sequence[onnx.NodeProto], **arrays: np.ndarray) -> Path:
    """An ONNX model from x (float32, 1x16x16 or as broadcast) to y, whatever its shape."""
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


def matmul(path: Path, seed: int = 0) -> Path:
    weights = np.random.default_rng(seed).normal(size=(16, 16)).astype(np.float32)
    return save(path, [helper.make_node("MatMul", ["x", "w"], ["y"])], w=weights)


def out_of_range(path: Path) -> Path:
    """Loads, and fails when it runs: a Gather past the end."""
    nodes = [
        helper.make_node("ArgMax", ["x"], ["big"], axis=2, keepdims=0),
        helper.make_node("Add", ["big", "far"], ["at"]),
        helper.make_node("Gather", ["x", "at"], ["y"], axis=2),
    ]
    return save(path, nodes, far=np.array([1000], np.int64))


def greedy(path: Path, gibibytes: float) -> Path:
    """Loads, and wants a lot of memory when it runs."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Mul", ["s", "factor"], ["many"]),
        helper.make_node("Expand", ["x", "many"], ["wide"]),
        helper.make_node("ReduceMean", ["wide"], ["y"], keepdims=0),
    ]
    factor = np.array([round(gibibytes * 2**20), 1, 1], np.int64)
    return save(path, nodes, factor=factor)


def measured(
    path: Path, *, name: str | None = None, check: bool = True, samples: int = 2
) -> MeasuredModel:
    """A model ready to be measured, with what this machine says as the reference."""
    generator = np.random.default_rng(3)
    is_onnx = path.suffix == ".onnx"
    quantized = "int8" in path.name
    shape = (1, 16, 16) if is_onnx else (1, 8, 8, 3)
    inputs = [[generator.normal(size=shape).astype(np.float32)] for _ in range(samples)]
    if quantized:
        inputs = [[np.clip(x * 40, -128, 127).astype(np.int8)] for [x] in inputs]
    outputs = []
    if check:
        model = load_model(str(path), "onnx" if is_onnx else "tflite")
        outputs = [[array.copy() for array in model.run(sample)] for sample in inputs]
    return MeasuredModel(
        name=name or path.stem,
        path=path,
        format="onnx" if is_onnx else "tflite",
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        size_bytes=path.stat().st_size,
        precision="quantized" if quantized else "float32",
        inputs=inputs,
        outputs=[OutputPort("y", lambda array: array)],
        host_outputs=outputs,
    )


COLD_START = ColdStart(process_ms=1, import_ms=1, load_ms=1, first_inference_ms=1)


def fake_run(blocks: Sequence[Sequence[float]], measurement: str = "one", **changes: object) -> Run:
    """A run with given samples, for what is derived from them."""
    values: dict[str, object] = {
        "measurement": measurement,
        "model_name": "m",
        "model_sha256": "0" * 64,
        "model_size_bytes": 1,
        "mode": "quick",
        "device": DeviceFacts(address="local"),
        "runtime": RuntimeFacts(name="onnxruntime", version="1", threads=1, python="3"),
        "started_at": "2026-01-01T00:00:00+00:00",
        "samples_ms": [sample for block in blocks for sample in block],
        "rounds": [len(block) for block in blocks],
        "warm_up_ms": [],
        "cold_starts": [COLD_START],
        "peak_rss_bytes": 1,
        "conditions": [],
        "correctness": Correctness(status="not-checked"),
        "validity": Validity(valid=True),
    }
    return Run.model_validate({**values, **changes})
