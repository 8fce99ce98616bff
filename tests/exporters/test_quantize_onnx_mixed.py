"""Several schemes in one ONNX file, dynamic activations, and half precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from models import conv_net, normal, save_onnx
from onnx import helper
from onnx_making import (
    DYNAMIC,
    HALF,
    SIGNED,
    STORED,
    UNSIGNED,
    WIDE,
    File,
    blocks,
    but,
    decoder,
    fidelity,
    inputs,
    loaded,
    made,
    mlp,
    operators,
    recipe,
    run,
    session,
)

from edgewright.errors import UsageError
from edgewright.exporters.quantize.onnx import apply, unsupported
from edgewright.exporters.quantize.recipe import Rule, Scheme


def network(path: Path) -> Path:
    """Convolutions 'one' (Relu) and 'two', flattened, then products 'three' (bias, Relu), 'four'
    and 'five' (Gemm)."""
    return save_onnx(
        path,
        [
            helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], name="one", pads=[1] * 4),
            helper.make_node("Relu", ["c1"], ["r1"], name="relu one"),
            helper.make_node("Conv", ["r1", "w2"], ["c2"], name="two"),
            helper.make_node("Add", ["c2", "r1"], ["s"], name="residual"),
            helper.make_node("Flatten", ["s"], ["f"], name="flatten"),
            helper.make_node("MatMul", ["f", "w3"], ["m3"], name="three"),
            helper.make_node("Add", ["m3", "b3"], ["a3"], name="bias three"),
            helper.make_node("Relu", ["a3"], ["r3"], name="relu three"),
            helper.make_node("MatMul", ["r3", "w4"], ["m4"], name="four"),
            helper.make_node("Gemm", ["m4", "w5", "b5"], ["y"], name="five"),
        ],
        {"x": [1, 3, 6, 6]},
        {"y": [1, 16]},
        w1=normal(0, 1, 8, 3, 3, 3)[0],
        b1=normal(1, 1, 8)[0],
        w2=normal(2, 1, 8, 8, 1, 1)[0],
        w3=normal(3, 1, 288, 96)[0],
        b3=normal(4, 1, 96)[0],
        w4=normal(5, 1, 96, 64)[0],
        w5=normal(6, 1, 64, 16)[0],
        b5=normal(7, 1, 16)[0],
    )


MIXTURES = {
    "all kinds": [
        Rule(scope="^one$", scheme=UNSIGNED), Rule(scope="^two$", scheme=WIDE),
        Rule(scope="^three$", scheme=DYNAMIC), Rule(scope="^four$", scheme=blocks(weights="int8")),
        Rule(scope="^five$", scheme=HALF),
    ],
    "one of them float": [UNSIGNED, Rule(scope="^three$", scheme=None)],
    "static and half": [HALF, Rule(operator="convolution", scheme=UNSIGNED)],
    "half and static": [UNSIGNED, Rule(operator="convolution", scheme=HALF)],
    "static and dynamic": [UNSIGNED, Rule(operator="matrix-product", scheme=DYNAMIC)],
    "static and stored": [UNSIGNED, Rule(scope="two|four", scheme=STORED)],
    "stored and static": [STORED, Rule(scope="two|four", scheme=UNSIGNED)],
    "signed and unsigned": [UNSIGNED, Rule(scope="two|four", scheme=SIGNED)],
    "16 bits in between": [UNSIGNED, Rule(scope="two|four", scheme=WIDE)],
    "dynamic and blocks": [DYNAMIC, Rule(scope="four", scheme=blocks(weights="int8"))],
    "half and blocks": [HALF, Rule(scope="four", scheme=blocks(weights="int8"))],
    "per tensor and per channel": [
        UNSIGNED, Rule(scope="two", scheme=but(UNSIGNED, granularity="per-tensor")),
    ],
}  # fmt: skip


@pytest.mark.parametrize("rules", MIXTURES.values(), ids=MIXTURES.keys())
def test_schemes_mix(tmp_path: Path, rules: list[Rule | Scheme]) -> None:
    path = network(tmp_path / "n.onnx")
    quantized = made(path, *rules)
    onnx.checker.check_model(str(quantized))
    assert fidelity(path, quantized) > 25
    before, after = session(path), session(quantized)
    assert [(v.name, v.shape, v.type) for v in (*before.get_inputs(), *before.get_outputs())] == [
        (v.name, v.shape, v.type) for v in (*after.get_inputs(), *after.get_outputs())
    ]


def test_each_operator_has_its_own_scheme(tmp_path: Path) -> None:
    path = network(tmp_path / "n.onnx")
    file = File(made(path, *MIXTURES["all kinds"]))
    kinds = {name: file.nodes[name].op_type for name in ("three", "four", "five")}
    assert kinds == {"three": "MatMulInteger", "four": "MatMulNBits", "five": "Gemm"}
    assert file.constant(file.nodes["five"].input[1]).dtype == np.float16
    assert file.constant("x_zero_point").dtype == np.uint8
    assert file.constant("c2_zero_point").dtype == np.int16


@pytest.mark.parametrize("half", ["one", "two", "three", "five"])
def test_half_precision_beside_integers_is_half(tmp_path: Path, half: str) -> None:
    path = network(tmp_path / "n.onnx")
    file = File(made(path, UNSIGNED, Rule(scope=f"^{half}$", scheme=HALF)))
    assert file.constant(file.nodes[half].input[1]).dtype == np.float16
    assert {"one", "two", "three", "four", "five"} - {half} <= set(file.nodes)
    assert not any(
        tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) > 1
        for tensor in file.model.graph.initializer
    )


@pytest.mark.parametrize("scheme", [UNSIGNED, DYNAMIC, STORED, HALF, blocks()])
def test_what_no_rule_names_stays_float_to_the_bit(tmp_path: Path, scheme: Scheme) -> None:
    path = network(tmp_path / "n.onnx")
    quantized = made(path, Rule(scope="^five$", scheme=scheme))
    file = File(quantized)
    for name, place in (("one", "w1"), ("two", "w2"), ("three", "w3"), ("four", "w4")):
        np.testing.assert_array_equal(
            file.constant(file.nodes[name].input[1]), File(path).constant(place)
        )
    # All before it is computed as before.
    model = onnx.load(str(path))
    tensor = onnx.helper.make_tensor_value_info("m4", onnx.TensorProto.FLOAT, [1, 64])
    outputs = []
    for each in (path, quantized):
        model = onnx.load(str(each))
        model.graph.output.append(tensor)
        onnx.save(model, str(tmp_path / "seen.onnx"))
        (sample,) = inputs(path, 1)
        outputs.append(session(tmp_path / "seen.onnx").run(["m4"], sample)[0])
    np.testing.assert_allclose(outputs[0], outputs[1], rtol=1e-5, atol=1e-4)


def test_dynamic_products_become_what_onnx_runtime_has_kernels_for(tmp_path: Path) -> None:
    path = mlp(tmp_path / "m.onnx")
    quantized = made(path, DYNAMIC)
    assert operators(quantized)["MatMulInteger"] == 2
    assert operators(quantized)["DynamicQuantizeLinear"] == 2
    assert loaded(quantized) == {"DynamicQuantizeMatMul": 2, "Relu": 1}
    assert fidelity(path, quantized) > 30


def test_products_of_one_input_quantize_it_once(tmp_path: Path) -> None:
    path = save_onnx(
        tmp_path / "q.onnx",
        [
            helper.make_node("MatMul", ["x", "w"], ["a"], name="one"),
            helper.make_node("MatMul", ["x", "v"], ["b"], name="two"),
            helper.make_node("Add", ["a", "b"], ["y"], name="sum"),
        ],
        {"x": [4, 16]},
        {"y": [4, 8]},
        w=normal(0, 1, 16, 8)[0],
        v=normal(1, 1, 16, 8)[0],
    )
    quantized = made(path, DYNAMIC)
    assert operators(quantized)["DynamicQuantizeLinear"] == 1
    assert loaded(quantized)["MatMulIntegerToFloat"] == 2
    assert fidelity(path, quantized) > 30


@pytest.mark.parametrize("granularity", ["per-channel", "per-tensor"])
@pytest.mark.parametrize("weights", ["int8", "uint8"])
def test_dynamic_convolutions_are_right(tmp_path: Path, weights: str, granularity: str) -> None:
    path = conv_net(tmp_path / "c.onnx")
    quantized = made(path, but(DYNAMIC, weights=weights, granularity=granularity))
    assert operators(quantized)["ConvInteger"] == 2
    assert fidelity(path, quantized) > 28


@pytest.mark.parametrize("granularity", ["per-channel", "per-tensor"])
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_recurrent_layers_are_dynamic(tmp_path: Path, direction: str, granularity: str) -> None:
    count = 1 if direction == "forward" else 2
    path = save_onnx(
        tmp_path / "l.onnx",
        [
            helper.make_node(
                "LSTM", ["x", "w", "r", "b"], ["y"], name="lstm", hidden_size=16,
                direction=direction,
            ),
        ],
        {"x": [5, 1, 8]},
        {"y": [5, count, 1, 16]},
        w=normal(0, 1, count, 64, 8)[0],
        r=normal(1, 1, count, 64, 16)[0] / np.float32(4),
        b=normal(2, 1, count, 128)[0],
    )  # fmt: skip
    quantized = made(path, but(DYNAMIC, granularity=granularity))
    assert operators(quantized) == {"DynamicQuantizeLSTM": 1}
    assert fidelity(path, quantized) > 20
    assert quantized.stat().st_size < 0.5 * path.stat().st_size


def test_half_precision_halves_the_weights_and_keeps_the_interface(tmp_path: Path) -> None:
    for path in (conv_net(tmp_path / "c.onnx"), decoder(tmp_path / "d.onnx", vocabulary=1200)):
        quantized = made(path, HALF)
        assert quantized.stat().st_size < 0.75 * path.stat().st_size
        assert fidelity(path, quantized) > 50
        # Casts where floats come in and go out, and nowhere between.
        assert operators(quantized)["Cast"] <= 2


def test_a_tensor_of_halves_that_two_floats_read_is_cast_once(tmp_path: Path) -> None:
    path = save_onnx(
        tmp_path / "h.onnx",
        [
            helper.make_node("MatMul", ["x", "w"], ["m"], name="product"),
            helper.make_node("Tanh", ["m"], ["t"], name="tanh"),
            helper.make_node("Exp", ["m"], ["e"], name="exp"),
            helper.make_node("Add", ["t", "e"], ["y"], name="sum"),
        ],
        {"x": [2, 8]},
        {"y": [2, 8]},
        w=normal(0, 1, 8, 8)[0] / np.float32(8),
    )
    quantized = made(path, Rule(operator="MatMul", scheme=HALF))
    assert operators(quantized)["Cast"] == 2 and fidelity(path, quantized) > 50


def test_constants_beyond_half_precision_stay_finite(tmp_path: Path) -> None:
    path = save_onnx(
        tmp_path / "m.onnx",
        [
            helper.make_node("Add", ["x", "mask"], ["a"], name="mask"),
            helper.make_node("Softmax", ["a"], ["s"], name="softmax"),
            helper.make_node("Add", ["s", "tiny"], ["b"], name="tiny"),
            helper.make_node("Div", ["s", "b"], ["y"], name="divide"),
        ],
        {"x": [1, 4]},
        {"y": [1, 4]},
        mask=np.float32([0, -3.4e38, 0, 0]),
        tiny=np.float32(1e-12),
    )
    (sample,) = inputs(path, 1)
    found = run(made(path, HALF), sample)
    assert np.isfinite(found).all() and found[0, 1] < 1e-3


def test_an_operator_without_a_half_stays_float(tmp_path: Path) -> None:
    path = save_onnx(
        tmp_path / "r.onnx",
        [
            helper.make_node("MatMul", ["x", "w"], ["m"], name="product"),
            helper.make_node("Resize", ["m", "", "scales"], ["r"], name="resize", mode="nearest"),
            helper.make_node("Max", ["r", "zero"], ["n"], name="max"),
            helper.make_node("Cast", ["n"], ["i"], name="whole", to=onnx.TensorProto.INT32),
            helper.make_node("Cast", ["i"], ["f"], name="real", to=onnx.TensorProto.FLOAT),
            helper.make_node("Add", ["n", "f"], ["y"], name="sum"),
        ],
        {"x": [1, 4, 4]},
        {"y": [1, 4, 8]},
        w=normal(0, 1, 4, 4)[0],
        scales=np.float32([1, 1, 2]),
        zero=np.float32(0),
    )
    assert fidelity(path, made(path, HALF)) > 45


def test_a_recipe_that_matches_nothing_lists_the_operators(tmp_path: Path) -> None:
    path = mlp(tmp_path / "m.onnx")
    with pytest.raises(UsageError, match="recipe mine matches no operator") as caught:
        made(path, Rule(operator="Conv", scheme=DYNAMIC))
    assert caught.value.hint == "the model has Gemm, MatMul, Relu"


UNSUPPORTED: list[tuple[Any, str]] = [
    (Scheme(weights="int4", activations="dynamic"), "INT4 weights"),
    (Scheme(weights="int4", activations="int8"), "INT4 weights"),
    (but(UNSIGNED, granularity="blockwise", block_size=32), "blockwise"),
    (but(UNSIGNED, symmetric_weights=False), "per channel"),
    (but(SIGNED, weights="uint8"), "int8 weights"),
    (but(DYNAMIC, symmetric_activations=True), "asymmetric"),
]


@pytest.mark.parametrize(("scheme", "word"), UNSUPPORTED)
def test_what_onnx_can_not_hold_is_refused_and_not_bent(
    tmp_path: Path, scheme: Scheme, word: str
) -> None:
    reason = unsupported(scheme)
    assert reason is not None and word in reason
    path, destination = mlp(tmp_path / "m.onnx"), tmp_path / "q.onnx"
    with pytest.raises(UsageError, match="recipe mine: ONNX Runtime"):
        apply(path, recipe(scheme), None, destination)
    assert not destination.exists()
