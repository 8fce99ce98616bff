from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper
from targets_models import (
    CONVNET_MACS,
    convnet,
    dynamically_quantized,
    in_blocks,
    mlp,
    quantized,
    save,
    value,
    weights,
)

from edgewright.errors import UsageError
from edgewright.files import sha256_file
from edgewright.targets.facts import ModelFacts, QuantizedProducts, TensorSpec
from edgewright.targets.inspect import inspect_model

MODEL = "m.onnx"


def counts(facts: ModelFacts) -> dict[str, int]:
    return {operator.name: operator.count for operator in facts.operators}


def test_a_float_model(tmp_path: Path) -> None:
    path = convnet(tmp_path / MODEL)
    facts = inspect_model(path)
    assert facts.format == "onnx"
    assert facts.sha256 == sha256_file(path)
    assert facts.size_bytes == path.stat().st_size
    assert facts.inputs == (TensorSpec("image", (1, 3, 8, 8), "float32"),)
    assert facts.outputs == (TensorSpec("scores", (1, 5), "float32"),)
    assert counts(facts) == {
        "Conv": 2,
        "Flatten": 1,
        "Gemm": 1,
        "GlobalAveragePool": 1,
        "Relu": 1,
    }
    assert facts.macs == CONVNET_MACS
    assert facts.weight_bytes == 4 * (216 + 8 + 72 + 40)
    # Conv 1's output with Relu's: 2 * 8 channels * 8 * 8 * 4 bytes.
    assert facts.peak_activation_bytes == 4096
    assert facts.convolution_share == pytest.approx(1 - 40 / CONVNET_MACS)
    assert (facts.opset, facts.ir_version, facts.subgraphs) == (17, 8, 0)
    assert facts.quantized == ()
    assert not facts.is_quantized
    conv = facts.operators[0]
    assert (conv.dtypes, conv.weight_bytes, conv.float_count) == (("float32",), 4 * 296, 2)


def test_weights_in_constant_nodes_count_too(tmp_path: Path) -> None:
    facts = inspect_model(convnet(tmp_path / MODEL))
    model = onnx.load(tmp_path / MODEL)
    nodes = [
        helper.make_node("Constant", [], [tensor.name], value=tensor)
        for tensor in model.graph.initializer
    ]
    nodes += model.graph.node
    moved = inspect_model(save(tmp_path / "c.onnx", nodes, model.graph.input, model.graph.output))
    assert (moved.macs, moved.weight_bytes) == (facts.macs, facts.weight_bytes)
    assert moved.peak_activation_bytes == facts.peak_activation_bytes


@pytest.mark.parametrize("batch", ["batch", None])
def test_an_open_batch_counts_as_one(tmp_path: Path, batch: str | None) -> None:
    facts = inspect_model(convnet(tmp_path / MODEL, batch=batch))
    assert facts.inputs[0].shape == (None, 3, 8, 8)
    assert facts.inputs[0].is_dynamic
    assert facts.macs == CONVNET_MACS
    assert facts.peak_activation_bytes == 4096


def test_other_open_dimensions_are_unknown(tmp_path: Path) -> None:
    facts = inspect_model(convnet(tmp_path / MODEL, size="side"))
    assert facts.inputs[0].shape == (1, 3, None, None)
    assert facts.macs is None
    assert facts.peak_activation_bytes is None
    # Without the work, the weights decide what kind of model it is.
    assert facts.convolution_share == pytest.approx(296 / 336)


def test_a_first_dimension_that_is_no_batch(tmp_path: Path) -> None:
    """A symbol that also stands elsewhere is a length, and a vector's only one is no batch."""
    node = helper.make_node("MatMul", ["a", "b"], ["y"])
    shapes = [value("a", ["n", 4]), value("b", [4, "n"])]
    assert inspect_model(save(tmp_path / MODEL, [node], shapes, [value("y", None)])).macs is None
    vector = save(
        tmp_path / "v.onnx",
        [helper.make_node("Relu", ["x"], ["y"])],
        [value("x", ["samples"])],
        [value("y", ["samples"])],
    )
    assert inspect_model(vector).peak_activation_bytes is None


def test_branches_and_loops_are_counted(tmp_path: Path) -> None:
    def branch(name: str, nodes: list[onnx.NodeProto]) -> onnx.GraphProto:
        return helper.make_graph(nodes, name, [], [value(name, None)])

    nodes = [
        helper.make_node(
            "If",
            ["yes"],
            ["y"],
            then_branch=branch("t", [helper.make_node("MatMul", ["x", "w"], ["t"])]),
            else_branch=branch(
                "e",
                [
                    helper.make_node("Concat", ["x", "x"], ["wide"], axis=0),
                    helper.make_node("Neg", ["wide"], ["n"]),
                    helper.make_node("ReduceMax", ["n"], ["e"], axes=[0]),
                ],
            ),
        )
    ]
    inputs = [value("yes", [], TensorProto.BOOL), value("x", [1, 16])]
    facts = inspect_model(
        save(tmp_path / MODEL, nodes, inputs, [value("y", None)], [weights("w", 16, 16)])
    )
    assert facts.subgraphs == 2
    assert counts(facts) == {"Concat": 1, "If": 1, "MatMul": 1, "Neg": 1, "ReduceMax": 1}
    assert facts.macs is None
    assert facts.weight_bytes == 16 * 16 * 4
    # x and y of the main graph with Concat's and Neg's outputs of the branch, and the condition.
    assert facts.peak_activation_bytes == 1 + 64 + 64 + 128 + 128


def test_a_loop(tmp_path: Path) -> None:
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["h", "w"], ["h2"]),
            helper.make_node("Identity", ["c"], ["c2"]),
        ],
        "body",
        [value("i", [], TensorProto.INT64), value("c", [], TensorProto.BOOL), value("h", [1, 8])],
        [value("c2", [], TensorProto.BOOL), value("h2", [1, 8])],
    )
    node = helper.make_node("Loop", ["n", "", "x"], ["y"], body=body)
    count = numpy_helper.from_array(np.array(4), "n")
    path = save(
        tmp_path / MODEL,
        [node],
        [value("x", [1, 8])],
        [value("y", [1, 8])],
        [count, weights("w", 8, 8)],
    )
    facts = inspect_model(path)
    assert facts.macs is None
    assert counts(facts) == {"Identity": 1, "Loop": 1, "MatMul": 1}


@pytest.mark.parametrize("operator_format", [False, True])
def test_static_quantization(tmp_path: Path, operator_format: bool) -> None:
    facts = inspect_model(quantized(tmp_path, operator_format=operator_format))
    assert facts.macs == CONVNET_MACS
    assert facts.is_quantized
    names = ("QLinearConv", "com.microsoft::QGemm") if operator_format else ("Conv", "Gemm")
    assert {use.operator: use for use in facts.quantized} == {
        names[0]: QuantizedProducts(names[0], 2, "uint8", "int8", True, False, 127),
        names[1]: QuantizedProducts(names[1], 1, "uint8", "int8", True, False, 127),
    }
    assert facts.weight_bytes < 336 * 4
    # The float image with its quantized copy (768 + 192), then pairs of 512 8-bit activations:
    # Q and DQ count as the runtime fuses them.
    assert facts.peak_activation_bytes == 1024


def test_how_static_quantization_is_described(tmp_path: Path) -> None:
    def of(**options: bool | str) -> QuantizedProducts:
        facts = inspect_model(quantized(tmp_path, **options))  # type: ignore[arg-type]
        return next(use for use in facts.quantized if use.operator == "Conv")

    assert of(activations="QInt8").activation_dtype == "int8"
    assert of(activations="QUInt16").activation_dtype == "uint16"
    reduced = of(reduce_range=True)
    assert reduced.max_weight is not None
    assert reduced.max_weight <= 64
    tensor = of(weight_type="QUInt8", per_channel=False)
    assert (tensor.weight_dtype, tensor.per_channel) == ("uint8", False)


def test_dynamic_quantization(tmp_path: Path) -> None:
    facts = inspect_model(dynamically_quantized(tmp_path, matmul=False))
    conv = next(use for use in facts.quantized if use.operator == "ConvInteger")
    assert (conv.count, conv.activation_dtype, conv.weight_dtype) == (2, "uint8", "uint8")
    assert conv.dynamic
    facts = inspect_model(dynamically_quantized(tmp_path, matmul=True))
    assert facts.macs == 2 * 64 * 64
    assert facts.quantized[0] == QuantizedProducts(
        "MatMulInteger", 2, "uint8", "int8", False, True, facts.quantized[0].max_weight
    )


@pytest.mark.parametrize(("bits", "level"), [(4, 0), (4, 4), (8, 4)])
def test_weights_in_blocks(tmp_path: Path, bits: int, level: int) -> None:
    facts = inspect_model(in_blocks(tmp_path, bits=bits, accuracy_level=level))
    name = "com.microsoft::MatMulNBits"
    assert counts(facts) == {name: 2, "Relu": 1}
    # ONNX can't infer shapes behind a contrib operator; the second product lies there.
    assert facts.macs == 2 * 64 * 64
    assert facts.peak_activation_bytes == 512
    assert facts.quantized == (
        QuantizedProducts(name, 2, "float32", f"uint{bits}", True, level == 4, None),
    )


def test_other_products(tmp_path: Path) -> None:
    def macs(
        node: onnx.NodeProto, *shapes: list[int], constants: tuple[str, ...] = ()
    ) -> int | None:
        inputs = [value(n, s) for n, s in zip(node.input, shapes, strict=True) if n]
        outputs = [value(name, None) for name in node.output]
        domains = [node.domain] if node.domain else []
        path = save(tmp_path / MODEL, [node], inputs, outputs, domains=domains)
        return inspect_model(path).macs

    make = helper.make_node
    assert macs(make("MatMul", ["a", "b"], ["y"]), [2, 3, 4], [2, 4, 5]) == 2 * 3 * 4 * 5
    assert macs(make("MatMul", ["a", "b"], ["y"]), [4], [4, 5]) == 20
    assert macs(make("Gemm", ["a", "b"], ["y"], transA=1), [4, 3], [4, 5]) == 60
    assert macs(make("Conv", ["a", "b"], ["y"]), [1, 4, 9], [6, 4, 2]) == 6 * 8 * 8
    # Each of the 2x2 input pixels of 3 channels is spread over 2x2 pixels of 4 channels.
    up = make("ConvTranspose", ["a", "b"], ["y"], strides=[2, 2])
    assert macs(up, [1, 3, 2, 2], [3, 4, 2, 2]) == 4 * 3 * 4 * 4
    lstm = make("LSTM", ["x", "w", "r"], ["y"], hidden_size=8)
    assert macs(lstm, [5, 1, 4], [1, 32, 4], [1, 32, 8]) == 5 * (32 * 4 + 32 * 8)
    fused = make("FusedMatMul", ["a", "b"], ["y"], domain="com.microsoft")
    assert macs(fused, [3, 4], [4, 5]) == 60
    conv = make("FusedConv", ["a", "b"], ["y"], domain="com.microsoft", activation="Relu")
    assert macs(conv, [1, 4, 9], [6, 4, 2]) == 6 * 8 * 8
    assert macs(make("Einsum", ["a", "b"], ["y"], equation="ij,jk->ik"), [3, 4], [4, 5]) is None
    assert macs(make("Mystery", ["a"], ["y"], domain="my.own"), [3]) is None


def test_functions_are_replaced_by_what_they_do(tmp_path: Path) -> None:
    function = helper.make_function(
        "my.own",
        "Twice",
        ["a"],
        ["b"],
        [helper.make_node("Relu", ["a"], ["h"]), helper.make_node("Neg", ["h"], ["b"])],
        [helper.make_opsetid("", 17)],
    )
    nodes = [helper.make_node("Twice", ["x"], ["y"], domain="my.own")]
    path = save(
        tmp_path / MODEL,
        nodes,
        [value("x", [4])],
        [value("y", [4])],
        domains=["my.own"],
        functions=[function],
    )
    facts = inspect_model(path)
    assert counts(facts) == {"Neg": 1, "Relu": 1}
    assert facts.peak_activation_bytes == 32


def test_nodes_in_any_order(tmp_path: Path) -> None:
    path = quantized(tmp_path)
    facts = inspect_model(path)
    model = onnx.load(path)
    nodes = list(model.graph.node)[::-1]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    del model.graph.value_info[:]
    model.graph.node.extend(copies)
    onnx.save(model, path)
    onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    shuffled = inspect_model(path)
    assert shuffled.macs == facts.macs
    assert shuffled.quantized == facts.quantized
    assert shuffled.peak_activation_bytes == facts.peak_activation_bytes
    assert shuffled.operators == facts.operators


def test_nodes_that_wait_for_each_other(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Add", ["x", "b"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
    ]
    path = save(tmp_path / MODEL, nodes, [value("x", [1])], [value("b", [1])])
    with pytest.raises(UsageError, match="wait for each other"):
        inspect_model(path)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([helper.make_node("Add", ["x", "lost"], ["y"])], "nothing computes 'lost', which Add"),
        (
            [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Neg", ["x"], ["y"])],
            "two nodes compute 'y'",
        ),
    ],
)
def test_every_tensor_has_one_source(nodes: list[NodeProto], message: str, tmp_path: Path) -> None:
    path = save(tmp_path / MODEL, nodes, [value("x", [1])], [value("y", [1])])
    with pytest.raises(UsageError, match=message):
        inspect_model(path)


def test_inner_graphs_read_what_is_around_them(tmp_path: Path) -> None:
    def model(read: str) -> Path:
        inner = helper.make_graph(
            [helper.make_node("Neg", [read], ["t"])], "inner", [], [value("t", [1])]
        )
        nodes = [helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)]
        inputs = [value("c", [1], TensorProto.BOOL), value("x", [1])]
        return save(tmp_path / MODEL, nodes, inputs, [value("y", [1])])

    assert inspect_model(model("x")).subgraphs == 2
    with pytest.raises(UsageError, match="nothing computes 'lost', which Neg"):
        inspect_model(model("lost"))


def test_names_and_order_are_the_runtimes(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Add", ["zed", "alpha"], ["second"]),
        helper.make_node("Cast", ["alpha"], ["first"], to=TensorProto.INT64),
    ]
    path = save(
        tmp_path / MODEL,
        nodes,
        [value("zed", [2]), value("alpha", ["n"])],
        [value("second", [2]), value("first", ["n"], TensorProto.INT64)],
        [weights("unused", 2)],
    )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    facts = inspect_model(path)
    assert [s.name for s in facts.inputs] == [i.name for i in session.get_inputs()]
    assert [s.name for s in facts.outputs] == [o.name for o in session.get_outputs()]
    assert facts.outputs[1].dtype == "int64"
    # Nobody reads it.
    assert facts.weight_bytes == 0


def test_initializers_listed_as_inputs_are_none(tmp_path: Path) -> None:
    node = helper.make_node("Add", ["x", "w"], ["y"])
    inputs = [value("x", [2]), value("w", [2])]
    path = save(
        tmp_path / MODEL, [node], inputs, [value("y", [2])], [weights("w", 2)], ir_version=3
    )
    assert [spec.name for spec in inspect_model(path).inputs] == ["x"]


def test_float16_and_float64(tmp_path: Path) -> None:
    half = inspect_model(mlp(tmp_path / MODEL, dtype=TensorProto.FLOAT16))
    assert half.operators[0].dtypes == ("float16",)
    assert half.weight_bytes == 2 * 64 * 64 * 2
    double = inspect_model(mlp(tmp_path / MODEL, dtype=TensorProto.DOUBLE))
    assert double.inputs[0].dtype == "float64"


class TestExternalData:
    def saved(self, folder: Path, location: str = "weights.bin") -> Path:
        path = folder / MODEL
        model = onnx.load(quantized(folder))
        onnx.save(model, path, save_as_external_data=True, location=location, size_threshold=0)
        return path

    def test_is_read(self, tmp_path: Path) -> None:
        path = self.saved(tmp_path)
        facts = inspect_model(path)
        inside = inspect_model(tmp_path / "quantized.onnx")
        assert facts.external_data == ("weights.bin",)
        assert facts.size_bytes == sum(
            (tmp_path / n).stat().st_size for n in (MODEL, "weights.bin")
        )
        assert facts.weight_bytes == inside.weight_bytes
        assert facts.macs == inside.macs
        # The weights' range is read from the other file.
        assert facts.quantized == inside.quantized

    def test_missing(self, tmp_path: Path) -> None:
        path = self.saved(tmp_path)
        (tmp_path / "weights.bin").unlink()
        with pytest.raises(UsageError, match=r"weights\.bin, which is missing"):
            inspect_model(path)

    def test_truncated(self, tmp_path: Path) -> None:
        path = self.saved(tmp_path)
        data = (tmp_path / "weights.bin").read_bytes()
        (tmp_path / "weights.bin").write_bytes(data[:-10])
        with pytest.raises(UsageError, match=r"weights\.bin.* is truncated"):
            inspect_model(path)

    @pytest.mark.parametrize("location", ["/etc/passwd", "../secret", "C:\\x", "a/../../b", ""])
    def test_outside_of_the_folder(self, tmp_path: Path, location: str) -> None:
        path = self.saved(tmp_path)
        model = onnx.load(path, load_external_data=False)
        for tensor in model.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = location
        path.write_bytes(model.SerializeToString())
        with pytest.raises(UsageError, match="outside of its folder"):
            inspect_model(path)

    @pytest.mark.parametrize(
        ("key", "value", "saying"),
        [
            ("offset", "-1", "is no number"),
            # ONNX Runtime refuses to load it, too.
            ("length", "1", r"has 1 of its \d+ bytes in weights\.bin"),
        ],
    )
    def test_a_range_that_is_wrong(self, tmp_path: Path, key: str, value: str, saying: str) -> None:
        path = self.saved(tmp_path)
        model = onnx.load(path, load_external_data=False)
        entries = [e for t in model.graph.initializer for e in t.external_data]
        next(entry for entry in entries if entry.key == key).value = value
        path.write_bytes(model.SerializeToString())
        with pytest.raises(UsageError, match=saying):
            inspect_model(path)
