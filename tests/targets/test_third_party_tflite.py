"""What the inspector says of TFLite files that others made, against what LiteRT says of them."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from models import GOLDEN
from targets_tflite import loop, sequence_lstm, svdf, uint8_convolution
from third_party import TFLITE, third_party

from edgewright.targets.facts import ModelFacts, TensorFacts
from edgewright.targets.inspect import inspect_model

#: Control flow and quantization that no packaged model has.
GOLDENS = ("targets_branch", "targets_conv_int16", "targets_dense_dynamic", "targets_conv_open")
BUILT = {build.__name__: build for build in (uint8_convolution, loop, sequence_lstm, svdf)}


@cache
def _facts(path: Path) -> ModelFacts:
    return inspect_model(path)


@pytest.fixture(params=(*TFLITE, *GOLDENS, *BUILT))
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    name: str = request.param
    if name in BUILT:
        return BUILT[name](tmp_path / "built.tflite")
    return GOLDEN / f"{name}.tflite" if name in GOLDENS else third_party(name)


@pytest.fixture
def facts(path: Path) -> ModelFacts:
    return _facts(path)


@pytest.fixture
def runtime(path: Path) -> Any:
    return Interpreter(
        model_path=str(path),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )


def test_nodes_are_the_interpreters(facts: ModelFacts, runtime: Any) -> None:
    found = [
        (detail["op_name"], tuple(detail["inputs"]), tuple(detail["outputs"]))
        for detail in runtime._get_ops_details()
    ]
    assert [(n.operator, n.inputs, n.outputs) for n in facts.graphs[0].nodes] == found
    counts = Counter(node.operator for graph in facts.graphs for node in graph.nodes)
    assert {operator.name: operator.count for operator in facts.operators} == counts


def test_tensors_are_the_interpreters(facts: ModelFacts, runtime: Any) -> None:
    assert runtime._interpreter.NumSubgraphs() == len(facts.graphs) == facts.subgraphs + 1
    compared = 0
    for position, graph in enumerate(facts.graphs):
        for detail in runtime.get_tensor_details(position):
            # The interpreter adds tensors of its own behind the file's.
            if detail["index"] < len(graph.tensors):
                _compare(graph.tensors[detail["index"]], detail)
                compared += 1
    assert compared == sum(len(graph.tensors) for graph in facts.graphs)


def _compare(tensor: TensorFacts, detail: dict[str, Any]) -> None:
    assert tensor.name == detail["name"]
    # NumPy has no name for a handle to a variable.
    assert tensor.dtype == np.dtype(detail["dtype"]).name.replace("object", "resource")
    assert [-1 if size is None else size for size in tensor.shape or ()] == (
        detail["shape_signature"].tolist() or detail["shape"].tolist()
    )
    assert tensor.sparse == bool(detail["sparsity_parameters"])
    parameters = detail["quantization_parameters"]
    scales, zero_points = parameters["scales"], parameters["zero_points"]
    how = tensor.quantization
    if how is None:
        assert len(scales) == 0
        return
    assert how.per_channel == (len(scales) > 1)
    middle = 128 if tensor.dtype == "uint8" else 0
    assert how.symmetric == bool((zero_points == middle).all())
    if how.per_channel:
        assert how.axis == parameters["quantized_dimension"]
        assert how.parameters is None
    else:
        assert how.parameters is not None
        assert (how.parameters.scale, how.parameters.zero_point) == (scales[0], zero_points[0])


def test_inputs_outputs_and_signatures_are_the_interpreters(
    facts: ModelFacts, runtime: Any
) -> None:
    main = facts.graphs[0]
    for indices, specs, details in (
        (main.inputs, facts.inputs, runtime.get_input_details()),
        (main.outputs, facts.outputs, runtime.get_output_details()),
    ):
        assert list(indices) == [detail["index"] for detail in details]
        assert [spec.dtype for spec in specs] == [np.dtype(d["dtype"]).name for d in details]
        for spec, detail in zip(specs, details, strict=True):
            scale, zero_point = detail["quantization"]
            if spec.quantization is None:
                assert scale == 0
            else:
                assert (spec.quantization.scale, spec.quantization.zero_point) == (
                    scale,
                    zero_point,
                )
    signatures = {
        signature.name: {
            "inputs": sorted(name for name, _ in signature.inputs),
            "outputs": sorted(name for name, _ in signature.outputs),
        }
        for signature in facts.signatures
    }
    assert signatures == {
        name: {which: sorted(names) for which, names in each.items()}
        for name, each in runtime.get_signature_list().items()
    }


def test_constants_are_the_interpreters(facts: ModelFacts, runtime: Any) -> None:
    """Before anything is allocated, only what the file stores has values."""
    for index, tensor in enumerate(facts.graphs[0].tensors):
        if tensor.dtype == "resource":
            continue
        try:
            stored = runtime._interpreter.tensor(runtime, index, 0)
        except ValueError:
            assert tensor.constant is None, tensor.name
            continue
        assert tensor.constant is not None, tensor.name
        if not tensor.sparse:
            assert stored.nbytes == tensor.constant_bytes


def test_the_state_of_a_stateful_model() -> None:
    facts = inspect_model(third_party("wakeword"))
    start = next(graph for graph in facts.graphs if graph.name == "NoOp")
    # CALL_ONCE assigns every variable its first value: a constant of the variable's size.
    state = sum(tensor.constant_bytes for tensor in start.tensors)
    assert state == 3408
    assert facts.peak_activation_bytes == 3584 + state
    (once,) = [node for node in facts.graphs[0].nodes if node.graphs]
    assert (once.operator, once.graphs) == ("CALL_ONCE", ("NoOp",))
    assert facts.macs == 36480


def test_what_files_say_of_themselves() -> None:
    classifier = inspect_model(third_party("lite0-int8"))
    assert classifier.producer == "MLIR Converted."
    assert classifier.metadata["TFLITE_METADATA.author"] == "TensorFlow"
    assert classifier.metadata["associated files"] == "labels_without_background.txt"
    pitch = inspect_model(third_party("pitch"))
    assert pitch.producer == "TensorFlow 2.13.0 (MLIR Converted.)"
    assert pitch.format_version == 3
    assert pitch.metadata == {
        "min_runtime_version": "2.2.0",
        "CONVERSION_METADATA": "84 bytes",
    }


def test_sparse_weights_are_told_from_what_they_unpack_to() -> None:
    facts = inspect_model(third_party("face-sparse"))
    (graph,) = facts.graphs
    unpacked = [node for node in graph.nodes if node.operator == "DENSIFY"]
    assert len(unpacked) == 46
    for node in unpacked:
        stored, dense = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
        assert stored.sparse and not dense.sparse
        assert dense.constant is None
        # FP16.
        assert 0 < stored.constant_bytes < 2 * np.prod(dense.shape)
