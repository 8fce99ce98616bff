"""Static INT8 and INT16 in ONNX: what is computed with integers, and what stays float."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from models import conv_net, normal, save_onnx
from onnx import helper
from onnx_making import (
    MIN_MAX,
    SIGNED,
    UNSIGNED,
    WIDE,
    Array,
    File,
    but,
    chain,
    fidelity,
    inputs,
    loaded,
    made,
    mlp,
    operators,
    run,
    session,
    sqnr,
    statistics,
)

from edgewright.errors import UsageError
from edgewright.exporters.quantize.grid import Grid
from edgewright.exporters.quantize.onnx_static_plan import COMPUTING, MOVING
from edgewright.exporters.quantize.recipe import RangeMethod, Rule, Scheme
from edgewright.exporters.runtime import load_model

UNSIGNED_GRID = Grid(bits=8, signed=False, symmetric=False)

#: For each operator its attributes, further inputs, and the constants among these. '@' stands for
#: the other convolution's output.
CASES: dict[str, tuple[dict[str, Any], list[str], dict[str, Array]]] = {
    "Add": ({}, ["@"], {}),
    "Mul": ({}, ["@"], {}),
    "Concat": ({"axis": 1}, ["@"], {}),
    "Where": ({}, ["@"], {}),
    "AveragePool": ({"kernel_shape": [2, 2]}, [], {}),
    "GlobalAveragePool": ({}, [], {}),
    "LeakyRelu": ({}, [], {}),
    "Sigmoid": ({}, [], {}),
    "Softmax": ({"axis": 1}, [], {}),
    "DepthToSpace": ({"blocksize": 2}, [], {}),
    "Expand": ({}, ["k"], {"k": np.array([2, 8, 8, 8])}),
    "Flatten": ({}, [], {}),
    "Gather": ({"axis": 1}, ["k"], {"k": np.array([0, 3])}),
    "GatherElements": ({"axis": 1}, ["k"], {"k": np.zeros((1, 8, 8, 8), np.int64)}),
    "MaxPool": ({"kernel_shape": [2, 2]}, [], {}),
    "ReduceMax": ({"axes": [2, 3]}, [], {}),
    "Reshape": ({}, ["k"], {"k": np.array([1, 8, 4, 16])}),
    "Resize": ({"mode": "nearest"}, ["", "k"], {"k": np.float32([1, 1, 2, 2])}),
    "Slice": (
        {}, ["from", "to", "axis"],
        {"from": np.array([0]), "to": np.array([4]), "axis": np.array([1])},
    ),
    "Split": ({"axis": 1}, [], {}),
    "Squeeze": ({}, ["k"], {"k": np.array([0])}),
    "Tile": ({}, ["k"], {"k": np.array([1, 1, 2, 1])}),
    "Transpose": ({"perm": [0, 2, 3, 1]}, [], {}),
    "Unsqueeze": ({}, ["k"], {"k": np.array([0])}),
}  # fmt: skip


def between(path: Path, operator: str) -> Path:
    """The operator between two convolutions and a third."""
    attributes, further, constants = CASES[operator]
    names = ["c1", *("c2" if name == "@" else name for name in further)]
    if operator == "Where":
        names.insert(0, "choice")
        constants = {"choice": np.arange(8).reshape(1, 8, 1, 1) % 2 == 0}
    outputs = ["o", "p"] if operator == "Split" else ["o"]
    node = helper.make_node(operator, names, outputs, name="it", **attributes)
    return chain(path, [node], "o", constants)


def test_every_operator_of_the_tables_is_tried() -> None:
    assert set(CASES) == set(COMPUTING) | MOVING


@pytest.mark.parametrize("operator", CASES)
def test_onnx_runtime_computes_the_operators_of_the_tables_with_integers(
    tmp_path: Path, operator: str
) -> None:
    path = between(tmp_path / "m.onnx", operator)
    quantized = made(path, UNSIGNED)
    found = loaded(quantized)
    # One behind x, and one before y and before what nobody reads.
    unread = operator == "Split"
    assert (found["QuantizeLinear"], found["DequantizeLinear"]) == (1, 1 + unread)
    assert found["QLinearConv"] == operators(path)["Conv"]
    assert fidelity(path, quantized) > 22


@pytest.mark.parametrize("operator", CASES)
def test_16_bits_are_closer_whatever_the_operator(tmp_path: Path, operator: str) -> None:
    path = between(tmp_path / "m.onnx", operator)
    eight = fidelity(path, made(path, SIGNED))
    assert fidelity(path, made(path, WIDE)) > eight


@pytest.mark.parametrize("scheme", [UNSIGNED, SIGNED], ids=["u8", "s8"])
def test_relu_behind_a_convolution_is_in_the_rounding(tmp_path: Path, scheme: Scheme) -> None:
    path = conv_net(tmp_path / "c.onnx")
    quantized = made(path, scheme)
    assert operators(quantized)["Relu"] == 0 and fidelity(path, quantized) > 25
    symmetric = made(path, but(scheme, symmetric_activations=True))
    assert operators(symmetric)["Relu"] == 2 and fidelity(path, symmetric) > 20
    file = File(symmetric)
    # The symmetric grid reaches below zero, so Relu stays, between equal parameters.
    (before,) = (n for n in file.nodes.values() if n.output[0] == file.nodes["relu1"].input[0])
    (behind,) = (n for n in file.nodes.values() if n.input[0] == file.nodes["relu1"].output[0])
    assert list(before.input[1:]) == list(behind.input[1:])


def clipped(path: Path, high: float, reader: str | None = None) -> Path:
    """Convolution -> Clip to [0, high] -> convolution; the Clip's input read by another or not."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="one"),
        helper.make_node("Clip", ["c", "low", "high"], ["r"], name="clip"),
        helper.make_node("Conv", ["r", "w"], ["d"], name="two"),
        helper.make_node("Add", ["d", reader or "r"], ["y"], name="add"),
    ]
    return save_onnx(
        path,
        nodes,
        {"x": [1, 4, 5, 5]},
        {"y": [1, 4, 5, 5]},
        w=normal(0, 1, 4, 4, 1, 1)[0],
        low=np.float32(0),
        high=np.float32(high),
    )


def test_a_clip_goes_only_where_rounding_clips_as_well(tmp_path: Path) -> None:
    path = clipped(tmp_path / "c.onnx", 1.0)
    quantized = made(path, UNSIGNED)
    assert operators(quantized)["Clip"] == 0 and fidelity(path, quantized) > 25
    # Calibrated with a wider Clip, the range goes past what this one lets through.
    wide = clipped(tmp_path / "wide.onnx", 4.0)
    quantized = made(path, UNSIGNED, known=statistics(wide))
    assert operators(quantized)["Clip"] == 1 and fidelity(path, quantized) > 20
    # Another operator wants what is before it.
    path = clipped(tmp_path / "r.onnx", 1.0, "c")
    quantized = made(path, UNSIGNED)
    assert operators(quantized)["Clip"] == 1 and fidelity(path, quantized) > 25


@pytest.mark.parametrize("scheme", [UNSIGNED, but(UNSIGNED, symmetric_activations=True)])
def test_the_ranges_of_the_statistics_are_those_in_the_file(tmp_path: Path, scheme: Scheme) -> None:
    path = mlp(tmp_path / "m.onnx")
    known = statistics(path)
    for method in (MIN_MAX, RangeMethod(method="percentile", percentile=90)):
        file = File(made(path, but(scheme, ranges=method), known=known))
        grid = Grid(bits=8, signed=False, symmetric=scheme.symmetric_activations)
        scale, zero_point = grid.parameters(*known.range("x", grid, method))
        assert file.constant("x_scale") == scale
        assert file.constant("x_zero_point") == zero_point
        assert file.constant("x_zero_point").dtype == np.uint8


def test_products_give_floats_to_those_who_want_them(tmp_path: Path) -> None:
    path = mlp(tmp_path / "m.onnx")
    quantized = made(path, UNSIGNED)
    assert loaded(quantized) == {
        "QuantizeLinear": 1, "QLinearMatMul": 1, "QGemm": 1,
    }  # fmt: skip
    # Only the last: its input is what is rounded, its output is not.
    last = made(path, Rule(scope="last", scheme=UNSIGNED), name="last")
    # Rounding takes Relu's place: it is ONNX Runtime that leaves it out.
    assert loaded(last) == {"MatMul": 1, "QuantizeLinear": 1, "QGemm": 1}
    # ONNX Runtime takes no product with integers that Relu follows, unless integers come out of it.
    first = made(path, Rule(scope="first", scheme=UNSIGNED), name="first")
    assert loaded(first) == {
        "QuantizeLinear": 1, "QLinearMatMul": 1, "DequantizeLinear": 2, "Gemm": 1,
    }  # fmt: skip
    # The second one keeps the float Gemm what it is: see below.
    assert min(fidelity(path, each) for each in (quantized, last, first)) > 28


def test_a_float_operator_reads_what_a_float_operator_computed(tmp_path: Path) -> None:
    """A residual around a quantized product is not rounded."""
    path = save_onnx(
        tmp_path / "r.onnx",
        [
            helper.make_node("Tanh", ["x"], ["t"], name="tanh"),
            helper.make_node("MatMul", ["t", "w"], ["m"], name="product"),
            helper.make_node("Add", ["m", "b"], ["a"], name="bias"),
            helper.make_node("Add", ["a", "t"], ["y"], name="residual"),
        ],
        {"x": [2, 3, 16]},
        {"y": [2, 3, 16]},
        w=normal(0, 1, 16, 16)[0] / np.float32(100),
        b=normal(1, 1, 16)[0],
    )
    quantized = made(path, Rule(operator="MatMul", scheme=UNSIGNED))
    assert File(quantized).nodes["residual"].input[1] == "t"
    # Bias and all.
    found = loaded(quantized)
    assert found["QGemm"] == 1 and found["DequantizeLinear"] == 0 and found["Add"] == 1
    assert fidelity(path, quantized) > 60


def test_a_layer_kept_float_between_integers_is_float(tmp_path: Path) -> None:
    """ONNX Runtime would quantize its weights itself, all channels with one scale."""
    generator = np.random.default_rng(0)
    spread = np.float32(10) ** generator.uniform(-3, 0, (4, 1, 1, 1)).astype(np.float32)
    for bias in (["b"], []):
        path = save_onnx(
            tmp_path / "k.onnx",
            [
                helper.make_node("Conv", ["x", "w"], ["c"], name="one"),
                helper.make_node("Conv", ["c", "v", *bias], ["d"], name="kept"),
                helper.make_node("Relu", ["d"], ["r"], name="relu"),
                helper.make_node("Conv", ["r", "u"], ["y"], name="two"),
            ],
            {"x": [1, 4, 5, 5]},
            {"y": [1, 4, 5, 5]},
            w=normal(0, 1, 4, 4, 1, 1)[0],
            v=normal(1, 1, 4, 4, 1, 1)[0] * spread,
            b=normal(2, 1, 4)[0] / np.float32(100),
            u=normal(3, 1, 4, 4, 1, 1)[0],
        )
        quantized = made(path, UNSIGNED, Rule(scope="^kept$", scheme=None))
        found = loaded(quantized)
        assert found["QLinearConv"] == 2 and found["Conv"] + found["FusedConv"] == 1
        file = File(quantized)
        np.testing.assert_array_equal(
            file.constant(file.nodes["kept"].input[1]), normal(1, 1, 4, 4, 1, 1)[0] * spread
        )
        if bias:
            integers, scale, _ = (
                file.constant(n) for n in file.producers[file.nodes["kept"].input[2]].input
            )
            np.testing.assert_array_equal(integers * scale, normal(2, 1, 4)[0] / np.float32(100))


def test_neighbours_of_other_types_understand_each_other(tmp_path: Path) -> None:
    path = chain(
        tmp_path / "n.onnx", [helper.make_node("Add", ["c1", "c2"], ["o"], name="add")], "o"
    )
    whole = made(path, UNSIGNED)
    mixed = made(
        path, UNSIGNED, Rule(scope="^two$", scheme=SIGNED), Rule(scope="^add$", scheme=SIGNED),
        name="mixed",
    )  # fmt: skip
    assert abs(fidelity(path, whole) - fidelity(path, mixed)) < 3
    # 16 bits for one operator are 16 bits for what it reads and gives.
    wide = made(path, UNSIGNED, Rule(scope="^add$", scheme=WIDE), name="wide")
    assert fidelity(path, wide) > fidelity(path, whole)
    zero_points = [
        File(wide).constant(f"{name}_zero_point").dtype for name in ("x", "c1", "c2", "o")
    ]
    assert zero_points == [np.uint8, np.int16, np.int16, np.int16]


def test_readers_of_one_tensor_may_have_other_grids(tmp_path: Path) -> None:
    path = save_onnx(
        tmp_path / "r.onnx",
        [
            helper.make_node("MatMul", ["x", "w"], ["m"], name="first"),
            helper.make_node("Relu", ["m"], ["r"], name="relu"),
            helper.make_node("MatMul", ["r", "w"], ["a"], name="left"),
            helper.make_node("MatMul", ["r", "w"], ["b"], name="right"),
        ],
        {"x": [2, 8]},
        {"a": [2, 8], "b": [2, 8]},
        w=normal(0, 1, 8, 8)[0],
    )
    symmetric = but(SIGNED, symmetric_activations=True)
    for scheme in (UNSIGNED, SIGNED, symmetric, WIDE):
        quantized = made(path, UNSIGNED, Rule(scope="right", scheme=scheme))
        assert operators(quantized)["Relu"] == 0 and fidelity(path, quantized) > 25


@pytest.mark.parametrize(("opset", "domain"), [(17, "com.microsoft"), (21, "")])
def test_16_bits_are_in_the_domain_that_has_them(tmp_path: Path, opset: int, domain: str) -> None:
    path = mlp(tmp_path / "m.onnx")
    model = onnx.load(str(path))
    model.opset_import[0].version = opset
    onnx.save(model, str(path))
    quantized = made(path, WIDE)
    written = onnx.load(str(quantized))
    assert {n.domain for n in written.graph.node if n.op_type == "QuantizeLinear"} == {domain}
    assert {o.domain for o in written.opset_import} == {"", domain}
    assert fidelity(path, quantized) > 35


def dead(path: Path) -> Path:
    """A convolution with an empty channel and one too small for its bias; and one of zeros."""
    weights = normal(0, 1, 4, 4, 1, 1)[0]
    weights[0] = 0
    weights[1] *= np.float32(1e-12)
    return save_onnx(
        path,
        [
            helper.make_node("Conv", ["x", "w", "b"], ["c"], name="one"),
            helper.make_node("Conv", ["c", "z"], ["n"], name="nothing"),
            helper.make_node("Mul", ["n", "zero"], ["m"], name="mul"),
            helper.make_node("Add", ["m", "c"], ["s"], name="add"),
            helper.make_node("Add", ["s", "seven"], ["y"], name="constant"),
        ],
        {"x": [1, 4, 5, 5]},
        {"y": [1, 4, 5, 5]},
        w=weights,
        b=np.float32([3, 5, -1, 0]),
        z=np.zeros((4, 4, 1, 1), np.float32),
        zero=np.float32(0),
        seven=np.full((1, 4, 1, 1), 7, np.float32),
    )


@pytest.mark.parametrize("granularity", ["per-channel", "per-tensor"])
@pytest.mark.parametrize("scheme", [UNSIGNED, SIGNED, WIDE], ids=["u8", "s8", "s16"])
def test_zeros_and_constants_are_exact_enough(
    tmp_path: Path, scheme: Scheme, granularity: str
) -> None:
    path = dead(tmp_path / "d.onnx")
    quantized = made(path, but(scheme, granularity=granularity))
    assert fidelity(path, quantized) > 35
    still = {"x": np.zeros((1, 4, 5, 5), np.float32)}
    silent = made(path, but(scheme, granularity=granularity), known=statistics(path, [still]))
    np.testing.assert_allclose(run(silent, still), run(path, still), atol=0.1)


def test_zero_is_exact_where_values_are_all_positive(tmp_path: Path) -> None:
    path = save_onnx(
        tmp_path / "p.onnx",
        [
            helper.make_node("Exp", ["x"], ["e"], name="exp"),
            helper.make_node("MatMul", ["e", "w"], ["y"], name="product"),
        ],
        {"x": [1, 8]},
        {"y": [1, 4]},
        w=normal(0, 1, 8, 4)[0],
    )
    file = File(made(path, Rule(operator="MatMul", scheme=SIGNED)))
    _, high = statistics(path).range("e", UNSIGNED_GRID, MIN_MAX)
    assert file.constant("e_scale") == pytest.approx(high / 255, rel=1e-6)
    assert file.constant("e_zero_point") == -128


def test_softmax_may_reach_one(tmp_path: Path) -> None:
    path = between(tmp_path / "s.onnx", "Softmax")
    file = File(made(path, UNSIGNED))
    assert file.constant("o_scale") == np.float32(1 / 255) and file.constant("o_zero_point") == 0


def test_products_of_activations_and_constants_beside_them(tmp_path: Path) -> None:
    path = save_onnx(
        tmp_path / "a.onnx",
        [
            helper.make_node("Transpose", ["x"], ["t"], name="transpose", perm=[1, 0]),
            helper.make_node("MatMul", ["x", "t"], ["m"], name="square"),
            helper.make_node("Mul", ["m", "scale"], ["s"], name="scaled"),
            helper.make_node("MatMul", ["c", "s"], ["y"], name="constant first"),
        ],
        {"x": [6, 8]},
        {"y": [4, 6]},
        scale=np.float32(0.125),
        c=normal(0, 1, 4, 6)[0],
    )
    quantized = made(path, UNSIGNED)
    found = loaded(quantized)
    assert found["MatMul"] == found["Mul"] == 0 and fidelity(path, quantized) > 25


def test_graph_outputs_keep_their_names(tmp_path: Path) -> None:
    """Inner tensors that are outputs, of a convolution and of a product, and read by others."""
    path = save_onnx(
        tmp_path / "o.onnx",
        [
            helper.make_node("Conv", ["x", "w"], ["c"], name="one"),
            helper.make_node("Relu", ["c"], ["r"], name="relu"),
            helper.make_node("MatMul", ["r", "v"], ["m"], name="product"),
            helper.make_node("MatMul", ["m", "v"], ["y"], name="last"),
        ],
        {"x": [1, 4, 4, 4]},
        {"c": [1, 4, 4, 4], "r": [1, 4, 4, 4], "m": [1, 4, 4, 4], "y": [1, 4, 4, 4]},
        w=normal(0, 1, 4, 4, 1, 1)[0],
        v=normal(1, 1, 4, 4)[0],
    )
    quantized = made(path, UNSIGNED)
    (sample,) = inputs(path, 1)
    expected = load_model(str(path), "onnx").run([sample["x"]])
    found = load_model(str(quantized), "onnx").run([sample["x"]])
    assert [o.name for o in session(quantized).get_outputs()] == ["c", "r", "m", "y"]
    for one, other in zip(expected, found, strict=True):
        assert sqnr(one, other) > 25


def test_what_a_branch_reads_stays(tmp_path: Path) -> None:
    """Graphs inside of nodes read tensors and constants of the one around them."""
    branches = [
        helper.make_graph(
            [helper.make_node("Mul", ["c", factor], [f"{factor}_out"], name=factor)],
            factor,
            [],
            [helper.make_tensor_value_info(f"{factor}_out", onnx.TensorProto.FLOAT, None)],
        )
        for factor in ("two", "three")
    ]
    path = save_onnx(
        tmp_path / "b.onnx",
        [
            helper.make_node("Conv", ["x", "w"], ["p"], name="conv"),
            helper.make_node("Relu", ["p"], ["c"], name="relu"),
            helper.make_node("ReduceMax", ["x"], ["most"], name="most", keepdims=0),
            helper.make_node("Greater", ["most", "limit"], ["large"], name="large"),
            helper.make_node(
                "If", ["large"], ["i"], name="if",
                then_branch=branches[0], else_branch=branches[1],
            ),
            helper.make_node("Conv", ["i", "w"], ["y"], name="last"),
        ],
        {"x": [1, 4, 4, 4]},
        {"y": [1, 4, 4, 4]},
        w=normal(0, 1, 4, 4, 1, 1)[0],
        two=np.float32(2), three=np.float32(3), limit=np.float32(2),
    )  # fmt: skip
    for scheme in (UNSIGNED, WIDE, but(UNSIGNED, activations="int8")):
        assert fidelity(path, made(path, Rule(operator="Conv", scheme=scheme))) > 15


def test_statistics_of_another_model_are_refused_by_the_tensors_name(tmp_path: Path) -> None:
    path = mlp(tmp_path / "m.onnx")
    other = statistics(conv_net(tmp_path / "c.onnx"))
    destination = tmp_path / "quantized.onnx"
    with pytest.raises(UsageError, match="statistics hold nothing of tensor"):
        made(path, UNSIGNED, known=other)
    assert not destination.exists()
