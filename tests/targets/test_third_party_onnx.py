"""What the inspector says of ONNX files that others made, against ONNX Runtime and ONNX itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from models import artifact, fashion_part, operators
from third_party import ONNX, third_party

from edgewright.exporters.artifact import Artifact
from edgewright.exporters.data import Sample, open_dataset
from edgewright.exporters.quantize.apply import calibrate, quantize
from edgewright.exporters.quantize.recipes import RECIPES
from edgewright.exporters.quantize.statistics import Statistics
from edgewright.targets.asked import ask_runtimes
from edgewright.targets.dtypes import elements
from edgewright.targets.facts import GraphFacts, ModelFacts
from edgewright.targets.inspect import inspect_model
from edgewright.targets.onnx_file import dtype_name
from edgewright.targets.onnx_scope import shape_of

#: onnxruntime's names of types that differ from NumPy's.
RENAMED = {"float": "float32", "double": "float64"}


@pytest.fixture(scope="module", params=ONNX)
def model(request: pytest.FixtureRequest) -> tuple[Path, ModelFacts]:
    path = third_party(request.param)
    return path, inspect_model(path)


def ports(values: Any) -> list[tuple[str, str, tuple[int | None, ...]]]:
    """Names, types and shapes as a session tells them; symbols are open dimensions."""
    told = []
    for value in values:
        name = value.type.removeprefix("tensor(").removesuffix(")")
        shape = tuple(size if isinstance(size, int) else None for size in value.shape)
        told.append((value.name, RENAMED.get(name, name), shape))
    return told


def test_the_session_says_the_same(model: tuple[Path, ModelFacts]) -> None:
    path, facts = model
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [(s.name, s.dtype, s.shape) for s in facts.inputs] == ports(session.get_inputs())
    outputs = ports(session.get_outputs())
    assert [(s.name, s.dtype) for s in facts.outputs] == [(n, t) for n, t, _ in outputs]
    for spec, (_, _, shape) in zip(facts.outputs, outputs, strict=True):
        # The session infers more than the file says.
        assert len(spec.shape) == len(shape)
        assert all(
            size is None or size == found for size, found in zip(spec.shape, shape, strict=True)
        )
    said = session.get_modelmeta()
    assert (facts.producer or "").split(" ")[0] == said.producer_name
    assert facts.metadata.get("graph_name", "") == said.graph_name
    assert facts.metadata.get("domain", "") == said.domain
    assert said.custom_metadata_map.items() <= facts.metadata.items()
    if said.description:
        assert facts.metadata["doc_string"] == said.description


def walk(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from walk(attribute.g)


def test_every_node_of_the_file_is_there_once(model: tuple[Path, ModelFacts]) -> None:
    path, facts = model
    proto = onnx.load(path)
    assert facts.opsets == {entry.domain: entry.version for entry in proto.opset_import}
    assert facts.format_version == proto.ir_version
    graphs = list(walk(proto.graph))
    assert operators(facts) == Counter(node.op_type for graph in graphs for node in graph.node)
    assert len({graph.name for graph in facts.graphs}) == len(graphs)
    for graph, told in zip(graphs, facts.graphs, strict=True):
        assert [node.op_type for node in graph.node] == [node.operator for node in told.nodes]
        for node, node_facts in zip(graph.node, told.nodes, strict=True):
            assert names(told, node_facts.inputs) == list(node.input)
            assert names(told, node_facts.outputs) == list(node.output)
            assert node_facts.name in (node.name, node.output[0])
        assert names(told, told.outputs) == [value.name for value in graph.output]
    held = [name for graph in facts.graphs for node in graph.nodes for name in node.graphs]
    assert sorted(held) == sorted(graph.name for graph in facts.graphs[1:])


def names(graph: GraphFacts, indices: tuple[int, ...]) -> list[str]:
    return [graph.tensors[index].name if index >= 0 else "" for index in indices]


def test_types_and_shapes_are_those_that_onnx_infers(model: tuple[Path, ModelFacts]) -> None:
    path, facts = model
    inferred = onnx.shape_inference.infer_shapes(onnx.load(path), data_prop=True).graph
    told = {tensor.name: tensor for tensor in facts.graphs[0].tensors}
    compared = 0
    for value in (*inferred.value_info, *inferred.input, *inferred.output):
        tensor_type = value.type.tensor_type
        if value.name not in told or told[value.name].constant is not None:
            continue
        assert told[value.name].dtype == dtype_name(tensor_type.elem_type)
        if tensor_type.HasField("shape"):
            assert told[value.name].shape == shape_of(tensor_type), value.name
            compared += 1
    assert compared


def test_weights_are_those_of_the_file(model: tuple[Path, ModelFacts]) -> None:
    path, facts = model
    found: Counter[str] = Counter()
    for graph in walk(onnx.load(path).graph):
        stored = list(graph.initializer)
        stored += [
            attribute.t
            for node in graph.node
            for attribute in node.attribute
            if node.op_type == "Constant" and attribute.name == "value"
        ]
        for tensor in stored:
            found[dtype_name(tensor.data_type)] += elements(tensor.dims) or 0
    assert {weights.dtype: weights.parameters for weights in facts.weights} == found


def test_int8_weights_of_minilm() -> None:
    facts = inspect_model(third_party("minilm-int8"))
    assert facts.scheme == (
        "INT8 weights (per channel, symmetric), FP32 activations (weights only): 36 MatMul",
        "FP32: 12 products of two activations",
    )
    scales = [t.quantization for t in facts.graphs[0].tensors if t.dtype == "int8"]
    assert all(s is not None and s.per_channel and s.symmetric for s in scales)


@pytest.fixture(scope="module")
def fashion(tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifact, Statistics]:
    """The repository's own float model, with statistics of a few pictures."""
    made = artifact(third_party("fashion-mnist"))
    data = fashion_part(tmp_path_factory.mktemp("fashion"), "calibration", 4)
    return made, calibrate(made, open_dataset(str(data), made.inputs))


@pytest.mark.parametrize("recipe", ["int8-s8s8", "int8-u8s8", "int8-u8s8-7bit"])
def test_own_qdq_fuses_as_the_runtime_says(
    fashion: tuple[Artifact, Statistics], recipe: str, tmp_path: Path
) -> None:
    source, statistics = fashion
    sample = Sample({"image": np.zeros((1, 1, 28, 28), np.float32)})
    path = tmp_path / "quantized.onnx"
    quantize(source, RECIPES[recipe].recipe, statistics, ([sample], "zeros"), path)
    facts = inspect_model(path)
    asked = ask_runtimes(facts)
    assert asked.said_by == f"ONNX Runtime {onnxruntime.__version__}"
    assert facts.unfused == asked.facts.unfused == ()
    # Six convolutions and a Gemm, each with integers on both sides.
    assert "6 Conv" in facts.scheme[0] and "static" in facts.scheme[0]
    inputs = [node for node in facts.graphs[0].nodes if node.operator == "QuantizeLinear"]
    stored = [facts.graphs[0].tensors[node.outputs[0]].quantization for node in inputs]
    assert all(s is not None and s.parameters is not None and not s.per_channel for s in stored)
