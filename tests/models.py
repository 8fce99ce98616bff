"""Small real models, the artifacts and profiles around them, and data that fit them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgewright.exporters.artifact import Artifact, Port
from edgewright.targets.facts import ModelFacts, TensorSpec
from edgewright.targets.inspect import inspect_model
from edgewright.targets.profile import (
    CoreCluster,
    Cpu,
    Feature,
    Memory,
    OperatingSystem,
    Runtime,
    TargetProfile,
)

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "golden"
FASHION = ROOT / "examples" / "fashion-mnist"
FASHION_SCALE = 1 / 255
TINY_TFLITE = GOLDEN / "tiny_float.tflite"
#: Convolution and two dense layers, the latter with most of the work.
DENSE_TFLITE = GOLDEN / "exporters_float.tflite"


def save_onnx(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: dict[str, list[int | str]],
    outputs: dict[str, list[int | str]],
    **constants: np.ndarray,
) -> Path:
    """A float32 model of these nodes, checked."""
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def conv_net(path: Path, seed: int = 0) -> Path:
    """x 1x3x12x12 -> conv 8 -> ReLU -> conv 8 /2 -> ReLU -> mean -> Gemm -> y 1x5."""
    generator = np.random.default_rng(seed)

    def weights(*shape: int) -> np.ndarray:
        scale = float(np.sqrt(np.prod(shape[1:])))
        return generator.normal(size=shape).astype(np.float32) / np.float32(scale)

    return save_onnx(
        path,
        [
            helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], name="conv1", pads=[1] * 4),
            helper.make_node("Relu", ["c1"], ["r1"], name="relu1"),
            helper.make_node("Conv", ["r1", "w2"], ["c2"], name="conv2", strides=[2, 2]),
            helper.make_node("Relu", ["c2"], ["r2"], name="relu2"),
            helper.make_node("GlobalAveragePool", ["r2"], ["g"], name="pool"),
            helper.make_node("Flatten", ["g"], ["f"], name="flatten"),
            helper.make_node("Gemm", ["f", "w3", "b3"], ["y"], name="dense", transB=1),
        ],
        {"x": [1, 3, 12, 12]},
        {"y": [1, 5]},
        w1=weights(8, 3, 3, 3),
        b1=weights(8, 1).ravel(),
        w2=weights(8, 8, 3, 3),
        w3=weights(5, 8),
        b3=weights(5, 1).ravel(),
    )


def matmul_net(path: Path, seed: int = 0) -> Path:
    """x 1x64 -> MatMul -> ReLU -> Gemm (transposed weights, bias) -> y 1x10."""
    generator = np.random.default_rng(seed)
    return save_onnx(
        path,
        [
            helper.make_node("MatMul", ["x", "w1"], ["h"], name="first"),
            helper.make_node("Relu", ["h"], ["r"], name="relu"),
            helper.make_node("Gemm", ["r", "w2", "b2"], ["y"], name="last", transB=1),
        ],
        {"x": [1, 64]},
        {"y": [1, 10]},
        w1=generator.normal(size=(64, 48)).astype(np.float32),
        w2=generator.normal(size=(10, 48)).astype(np.float32),
        b2=generator.normal(size=10).astype(np.float32),
    )


def elementwise_net(path: Path, operator: str, constant: float | None = None) -> Path:
    """x 1x10 -> one operator, with a constant as its second input or none -> y 1x10."""
    if constant is None:
        node = helper.make_node(operator, ["x"], ["y"], name="only")
        return save_onnx(path, [node], {"x": [1, 10]}, {"y": [1, 10]})
    node = helper.make_node(operator, ["x", "c"], ["y"], name="only")
    value = np.array([constant], np.float32)
    return save_onnx(path, [node], {"x": [1, 10]}, {"y": [1, 10]}, c=value)


def gather_past_the_end(path: Path) -> Path:
    """x 1x10 -> y 1x1: loads, and fails when it runs, as with ids outside of a vocabulary."""
    return save_onnx(
        path,
        [
            helper.make_node("ArgMax", ["x"], ["i"], axis=1, keepdims=0),
            helper.make_node("Add", ["i", "far"], ["j"]),
            helper.make_node("Gather", ["x", "j"], ["y"], axis=1),
        ],
        {"x": [1, 10]},
        {"y": [1, 1]},
        far=np.array([1000]),
    )


def artifact(path: Path) -> Artifact:
    """A float model file as an artifact."""
    facts = inspect_model(path)
    return Artifact(
        path=path,
        format=facts.format,
        precision="float32",
        inputs=tuple(Port(spec.name, spec) for spec in facts.inputs),
        outputs=tuple(Port(spec.name, spec) for spec in facts.outputs),
        size_bytes=facts.size_bytes,
        sha256=facts.sha256,
        made_from=str(path),
    )


def port(*shape: int | None, name: str = "x", dtype: str = "float32") -> Port:
    return Port(name, TensorSpec(name, shape, dtype))


def normal(seed: int, count: int, *shape: int) -> list[np.ndarray]:
    """Standard normal float32 arrays."""
    generator = np.random.default_rng(seed)
    return [generator.normal(size=shape).astype(np.float32) for _ in range(count)]


def fashion_part(directory: Path, which: Literal["calibration", "evaluation"], count: int) -> Path:
    """The first pictures of an example's data file, in a file of their own."""
    with np.load(FASHION / f"{which}.npz") as archive:
        arrays = {name: archive[name][:count] for name in archive.files}
    path = directory / f"{which}-{count}.npz"
    np.savez(path, **arrays)
    return path


def profile(
    *features: Feature, architecture: Literal["x86_64", "aarch64", "armv7l"] = "x86_64"
) -> TargetProfile:
    """A board with nothing said about it but its CPU's features."""
    return TargetProfile(
        schema_version=1,
        name="made-up",
        title="Made up",
        cpu=Cpu(
            soc="Made up",
            architecture=architecture,
            clusters=(CoreCluster(core="Core", count=4, features=features),),
            source="a test",
        ),
        memory=Memory(ram_bytes=2**32, source="a test"),
        os=OperatingSystem(name="linux", version="1", source="a test"),
        runtimes=(
            Runtime(name="onnxruntime", min_version="1.17", source="a test"),
            Runtime(name="ai_edge_litert", min_version="1.1", source="a test"),
        ),
    )


def operators(facts: ModelFacts) -> dict[str, int]:
    return {operator.name: operator.count for operator in facts.operators}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
