"""The inspector's parts for TFLite: options, calls between graphs, MACs, stored values."""

from __future__ import annotations

import mmap
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.tools import flatbuffer_utils
from hypothesis import given
from hypothesis import strategies as st
from models import GOLDEN
from small_tflite import Graph
from targets_tflite import LSTM_STEP_MACS, LSTM_STEPS, loop, sequence_lstm, svdf
from tflite_making import blocks, made

from edgewright.errors import UsageError
from edgewright.targets.facts import TensorFacts, TensorQuantization
from edgewright.targets.inspect import inspect_model
from edgewright.targets.inspect_tflite import inspect_tflite
from edgewright.targets.tflite_calls import callers_first, runs_per_inference
from edgewright.targets.tflite_file import TfliteNode, TfliteSubgraph, read_tflite
from edgewright.targets.tflite_graph import TfliteGraph
from edgewright.targets.tflite_macs import count_macs
from edgewright.targets.tflite_memory import peak_activation_bytes


def test_options_are_named_as_in_the_schema() -> None:
    (graph,) = inspect_model(GOLDEN / "targets_conv_float.tflite").graphs
    by_operator = {node.operator: node for node in graph.nodes}
    assert by_operator["CONV_2D"].attributes == {
        "padding": "SAME",
        "stride_w": 2,
        "stride_h": 2,
        "fused_activation_function": "RELU",
        "dilation_w_factor": 1,
        "dilation_h_factor": 1,
        "quantized_bias_type": "FLOAT32",
    }
    assert by_operator["MEAN"].attributes == {"keep_dims": False}
    assert by_operator["CONV_2D"].version == 1
    (integers,) = inspect_model(GOLDEN / "targets_conv_int8.tflite").graphs
    assert {node.version for node in integers.nodes if node.operator == "CONV_2D"} == {3}
    custom = inspect_model(GOLDEN / "targets_custom.tflite").graphs[0].nodes[0]
    assert list(custom.attributes) == ["custom_options"]


ENUMERATIONS = (schema.Padding, schema.ActivationFunctionType, schema.TensorType,
                schema.FullyConnectedOptionsWeightsFormat)  # fmt: skip


def test_every_golden_option_is_what_the_object_api_reads() -> None:
    compared = 0
    for path in GOLDEN.glob("*.tflite"):
        model = flatbuffer_utils.read_model(str(path))
        for subgraph, graph in zip(model.subgraphs, inspect_model(path).graphs, strict=True):
            for operator, node in zip(subgraph.operators, graph.nodes, strict=True):
                if operator.builtinOptions is None:
                    continue
                expected = [v for v in vars(operator.builtinOptions).values() if v is not None]
                found = list(node.attributes.values())
                assert len(found) == len(expected)
                for one, other in zip(found, expected, strict=True):
                    if isinstance(other, bytes):
                        other = other.decode()
                    elif isinstance(one, tuple):
                        other = tuple(np.asarray(other).tolist())
                    elif isinstance(one, str):
                        one = next(e for e in ENUMERATIONS if hasattr(e, one)).__dict__[one]
                    assert one == other, node
                    compared += 1
    assert compared > 40


def _graph(name: str, *nodes: TfliteNode) -> TfliteSubgraph:
    """x -> nodes -> y, 1x4 each, with 4x4 weights."""
    tensors = (
        TensorFacts("x", "float32", (1, 4)),
        TensorFacts("y", "float32", (1, 4)),
        TensorFacts("w", "float32", (4, 4), "1", 64),
    )
    shapes = tuple(tensor.shape for tensor in tensors)
    return TfliteSubgraph(name, tensors, shapes, nodes, (0,), (1,))  # type: ignore[arg-type]


def _node(operator: str, *graphs: int) -> TfliteNode:
    return TfliteNode(operator, 1, (0, 2), (1,), {}, graphs)


PRODUCT = _node("FULLY_CONNECTED")


@pytest.mark.parametrize(
    ("operator", "runs"),
    [("CALL", 2), ("STABLEHLO_COMPOSITE", 2), ("CALL_ONCE", 0), ("IF", None), ("WHILE", None)],
)
def test_how_often_inner_graphs_run(operator: str, runs: int | None) -> None:
    main = _graph("", _node(operator, 1), _node(operator, 1))
    outer = _graph("outer", _node("CALL", 2), _node("CALL", 2))
    graphs = [main, outer, _graph("inner", PRODUCT), _graph("other signature", PRODUCT)]
    inner = None if runs is None else 2 * runs
    assert runs_per_inference(graphs) == [1, runs, inner, 0]
    (facts,) = TfliteGraph(graphs[2]).node_facts(inner)
    assert facts.macs == (None if inner is None else 16 * inner)


def test_graphs_that_run_themselves_are_unknown() -> None:
    graphs = [_graph("", _node("CALL", 1)), _graph("a", _node("CALL", 2)), _graph("b", PRODUCT)]
    assert callers_first(graphs) == [0, 1, 2]
    assert peak_activation_bytes([TfliteGraph(graph) for graph in graphs]) == 6 * 16
    graphs[2] = _graph("b", _node("CALL", 1))
    assert callers_first(graphs) == [0]
    assert runs_per_inference(graphs) == [1, None, None]
    assert peak_activation_bytes([TfliteGraph(graph) for graph in graphs]) is None


def test_many_calls_of_calls_are_counted_at_once() -> None:
    depth = 200
    graphs = [_graph(str(i), _node("CALL", i + 1), _node("CALL", i + 1)) for i in range(depth)]
    graphs.append(_graph("last", PRODUCT))
    assert runs_per_inference(graphs)[-1] == 2**depth


def test_graphs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    facts = inspect_model(loop(tmp_path / "loop.tflite"))
    assert [graph.name for graph in facts.graphs] == ["", "again", "again #2"]
    assert facts.graphs[0].nodes[0].graphs == ("again", "again #2")
    assert facts.graphs[2].nodes[1].macs == 16
    assert facts.macs is None
    # x, the counter and the result; in the body the counter, the product's input and its output.
    assert facts.peak_activation_bytes == 2 * (16 + 4 + 16)
    assert [operator.name for operator in facts.operators if operator.macs] == []


@pytest.mark.parametrize("coupled", [False, True])
def test_recurrent_layers_multiply_each_matrix_once_a_step(tmp_path: Path, coupled: bool) -> None:
    path = sequence_lstm(tmp_path / "lstm.tflite", coupled=coupled)
    # The runtime checks that every matrix is where it has to be.
    Interpreter(model_path=str(path)).allocate_tensors()
    facts = inspect_model(path)
    assert facts.macs == LSTM_STEPS * LSTM_STEP_MACS * (3 if coupled else 4) // 4
    # Input and output, and two states of 2x5 that stay.
    assert facts.peak_activation_bytes == 4 * (2 * 7 * 3 + 2 * 7 * 5 + 2 * 2 * 5)
    assert sum(tensor.variable for tensor in facts.graphs[0].tensors) == 2


def test_svdf_multiplies_features_and_time(tmp_path: Path) -> None:
    assert inspect_model(svdf(tmp_path / "svdf.tflite")).macs == 8 * 6 + 8 * 5


sizes = st.integers(1, 6)


@given(sizes, sizes, sizes, sizes, sizes)
def test_products_in_space_and_time(n: int, k: int, i: int, o: int, side: int) -> None:
    """Against the products that the definitions' sums have, written out."""
    volume = [n, side, side, side, o]
    kernel = [k, k, k, i, o]
    assert count_macs("CONV_3D", [[n, 9, 9, 9, i], kernel], [volume], {}) == (
        n * side**3 * o * k**3 * i
    )
    spread = [n, side, side, side, i]
    assert count_macs(
        "CONV_3D_TRANSPOSE", [[5], [k, k, k, o, i], spread], [[n, 9, 9, 9, o]], {}
    ) == (n * side**3 * i * k**3 * o)
    assert (
        count_macs(
            "STABLEHLO_DOT_GENERAL",
            [[n, k, i], [n, i, o]],
            [[n, k, o]],
            {"lhs_contracting_dimensions": (2,)},
        )
        == n * k * o * i
    )
    assert (
        count_macs(
            "STABLEHLO_CONVOLUTION",
            [[n, 9, 9, i], [k, k, i, o]],
            [[n, side, side, o]],
            {"kernel_output_feature_dimension": 3},
        )
        == n * side**2 * o * k**2 * i
    )
    assert count_macs("RNN", [[n, i], [o, i], [o, o], [o], [n, o]], [[n, o]], {}) == (
        n * o * (i + o)
    )
    basic = [[n, i], [n, o], [4 * o, i + o], [4 * o], [n, o]]
    assert count_macs("LSTM", basic, [[n, o]], {"kernel_type": "BASIC"}) == n * 4 * o * (i + o)


def test_unknown_shapes_and_operators_are_unknown() -> None:
    assert count_macs("SVDF", [None, [8, 6], [8, 5]], [[1, 8]], {}) is None
    assert count_macs("RNN", [[1, 4], None, [4, 4]], [[1, 4]], {}) is None
    assert count_macs("STABLEHLO_DOT_GENERAL", [None, None], [None], {}) is None
    assert count_macs("BUILTIN_999", [], [], {}) is None


def test_blocks_of_a_scale_each(tmp_path: Path) -> None:
    source = tmp_path / "float.tflite"
    graph = Graph()
    values = np.random.default_rng(0).normal(size=(16, 64)).astype(np.float32)
    product = graph.dense(graph.input("x", [1, 64]), graph.constant("w", values), "y")
    path = made(graph.write(source, product), blocks(32))
    (main,) = inspect_model(path).graphs
    weights = main.operand(next(n for n in main.nodes if n.operator == "FULLY_CONNECTED"), 1)
    assert weights is not None
    assert weights.dtype == "int4"
    assert weights.quantization == TensorQuantization(True, 1, True, None, 32)
    details = {d["name"]: d for d in Interpreter(model_path=str(path)).get_tensor_details()}
    assert details[weights.name]["quantization_parameters"]["block_size"] == 32


def test_weights_are_not_copied(tmp_path: Path) -> None:
    graph = Graph()
    weights = graph.constant("w", np.ones((2000, 2000), np.float32))
    path = graph.write(
        tmp_path / "large.tflite", graph.dense(graph.input("x", [1, 2000]), weights, "y")
    )
    inspect_tflite(path)
    tracemalloc.start()
    try:
        facts = inspect_tflite(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert facts.weight_bytes == 16_000_000
    # The hash goes over the file a megabyte at a time.
    assert peak < 4_000_000


def _write(path: Path, change: Callable[[Any, Any], None]) -> Path:
    """A product with weights 4x4, changed before it is written."""
    graph = Graph()
    product = graph.dense(
        graph.input("x", [1, 4]), graph.constant("w", np.ones((4, 4), np.float32)), "y"
    )
    change(graph.model, graph.graph.tensors[1])
    return graph.write(path, product)


def _behind(offset: int) -> Callable[[Any, Any], None]:
    def change(model: Any, weights: Any) -> None:
        buffer = model.buffers[weights.buffer]
        buffer.data, buffer.offset, buffer.size = None, offset, 64

    return change


def test_weights_beyond_2_gb_are_not_read(tmp_path: Path) -> None:
    offset = 3 << 30
    path = _write(tmp_path / "large.tflite", _behind(offset))
    with path.open("r+b") as handle:
        # Sparse: it takes no space.
        handle.truncate(offset + 64)
        view = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
    (graph,) = read_tflite(view).subgraphs
    assert graph.tensors[1].constant_bytes == 64
    assert TfliteGraph(graph).macs == [16]


def test_weights_past_the_end_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="weights reach past the end of the file"):
        inspect_model(_write(tmp_path / "short.tflite", _behind(10_000)))


def _beside(location: str) -> Callable[[Any, Any], None]:
    def change(model: Any, weights: Any) -> None:
        group, buffer = schema.ExternalBufferGroupT(), schema.ExternalBufferT()
        group.name = location
        buffer.id, buffer.group, buffer.offset, buffer.length = 1, 0, 16, 64
        model.externalBufferGroups, model.externalBuffers = [group], [buffer]
        weights.buffer, weights.externalBuffer = 0, 1

    return change


def test_weights_in_a_file_beside_the_model(tmp_path: Path) -> None:
    path = _write(tmp_path / "model.tflite", _beside("weights.bin"))
    with pytest.raises(UsageError, match="which is missing"):
        inspect_model(path)
    (tmp_path / "weights.bin").write_bytes(bytes(80))
    facts = inspect_model(path)
    assert facts.external_data == ("weights.bin",)
    assert facts.weight_bytes == 64
    assert facts.size_bytes == path.stat().st_size + 80
    with pytest.raises(UsageError, match="outside of its folder"):
        inspect_model(_write(tmp_path / "out.tflite", _beside("../weights.bin")))


def test_a_tensor_of_unknown_rank_is_no_scalar(tmp_path: Path) -> None:
    def unrank(model: Any, weights: Any) -> None:
        main = model.subgraphs[0]
        for tensor in main.tensors:
            tensor.hasRank = True
        main.tensors[0].hasRank, main.tensors[0].shape = False, []

    facts = inspect_model(_write(tmp_path / "unranked.tflite", unrank))
    assert facts.graphs[0].tensors[0].shape is None
    assert facts.peak_activation_bytes is None


def test_nodes_that_run_graphs_which_do_not_exist(tmp_path: Path) -> None:
    graph = Graph()
    out = graph.node("CALL", [graph.input("x", [1])], "y", [1], "CallOptions", subgraph=7)
    with pytest.raises(UsageError, match="runs a subgraph that does not exist"):
        inspect_model(graph.write(tmp_path / "call.tflite", out))
