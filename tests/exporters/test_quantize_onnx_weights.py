"""Integers and scales in quantized ONNX files are those that we computed, and compute well."""

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
    run,
    sqnr,
    statistics,
)

from edgewright.errors import UsageError
from edgewright.exporters.quantize.onnx import layers
from edgewright.exporters.quantize.recipe import Rule, Scheme
from edgewright.exporters.quantize.recipes import RECIPES
from edgewright.exporters.quantize.weights import QuantizedWeights, quantize_weights
from edgewright.targets.inspect import inspect_model

SCHEMES = {
    "static": UNSIGNED,
    "static, signed": SIGNED,
    "static, per tensor": but(UNSIGNED, granularity="per-tensor"),
    "static, per tensor, asymmetric": but(
        UNSIGNED, granularity="per-tensor", symmetric_weights=False
    ),
    "static, unsigned weights": but(UNSIGNED, weights="uint8"),
    "static, 7 bits": but(UNSIGNED, reduce_range=True),
    "static, mse": but(UNSIGNED, weight_ranges="mse"),
    "static, stochastic": but(UNSIGNED, rounding="stochastic", seed=7),
    "static, gptq": but(UNSIGNED, rounding="gptq"),
    "16 bits": WIDE,
    "dynamic": DYNAMIC,
    "dynamic, per tensor": but(DYNAMIC, granularity="per-tensor"),
    "dynamic, unsigned": but(DYNAMIC, weights="uint8"),
    "dynamic, gptq": but(DYNAMIC, rounding="gptq"),
    "stored": STORED,
    "stored, asymmetric": but(STORED, symmetric_weights=False),
    "stored, unsigned": but(STORED, weights="uint8"),
    "int4": Scheme(weights="int4"),
    "int4, asymmetric": Scheme(weights="int4", symmetric_weights=False),
    "int4 in blocks": blocks(),
    "int4 in blocks, dynamic": blocks(activations="dynamic"),
    "int4 in blocks, asymmetric": blocks(symmetric_weights=False),
    "int4 in blocks of 64": blocks(64),
    "int4 in blocks of 128": blocks(128, symmetric_weights=False),
    "int4 in blocks, gptq": blocks(rounding="gptq"),
    "int4 in blocks, stochastic": blocks(rounding="stochastic", seed=1),
    "int4 in blocks, mse": blocks(weight_ranges="mse"),
    "int8 in blocks": blocks(weights="int8"),
    "int8 in blocks, asymmetric": blocks(weights="int8", symmetric_weights=False),
    "int8 in blocks, unsigned": blocks(weights="uint8"),
}


def to_half(scale: np.ndarray) -> np.ndarray:
    return scale.astype(np.float16).astype(np.float32)


def assert_held(file: File, name: str, wanted: QuantizedWeights, offset: int = 0) -> None:
    held = file.weights(name)
    np.testing.assert_array_equal(held.integers + offset, wanted.integers)
    np.testing.assert_array_equal(held.scale, wanted.scale)
    np.testing.assert_array_equal(held.zero_point + offset, wanted.zero_point)


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES.keys())
def test_the_file_holds_our_integers_and_scales(tmp_path: Path, scheme: Scheme) -> None:
    path = mlp(tmp_path / "m.onnx", (80, 49, 10))  # no multiples of a block
    known = statistics(path)
    quantized = made(path, scheme, known=known)
    file = File(quantized)
    is_blockwise = scheme.granularity == "blockwise"
    for layer in layers(path):
        wanted = quantize_weights(
            layer.weights, scheme, covariance=known.covariance(layer.input),
            round_scale=to_half if is_blockwise else None,
        )  # fmt: skip
        assert wanted.rounding == scheme.rounding
        offset = 128 if is_blockwise and scheme.weights == "uint8" else 0
        assert_held(file, layer.name, wanted, offset)
    onnx.checker.check_model(str(quantized))
    assert fidelity(path, quantized) > (8 if scheme.weights == "int4" else 25)


@pytest.mark.parametrize(
    "scheme",
    [s for n, s in SCHEMES.items() if n.startswith(("static", "16")) and s.rounding != "gptq"],
    ids=lambda s: f"{s.weights}-{s.activations}-{s.granularity}-{s.rounding}",
)
def test_so_it_does_for_convolutions(tmp_path: Path, scheme: Scheme) -> None:
    path = conv_net(tmp_path / "c.onnx")
    file = File(made(path, scheme))
    for layer in layers(path):
        assert_held(file, layer.name, quantize_weights(layer.weights, scheme))


@pytest.mark.parametrize("weights", ["int4", "int8"])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("activations", ["float32", "dynamic"])
def test_blocks_compute_what_their_integers_say(
    tmp_path: Path, weights: str, symmetric: bool, activations: str
) -> None:
    path = save_onnx(
        tmp_path / "m.onnx",
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")],
        {"x": [3, 80]},
        {"y": [3, 49]},
        w=normal(0, 1, 80, 49)[0],
    )
    scheme = blocks(weights=weights, symmetric_weights=symmetric, activations=activations)
    quantized = made(path, scheme)
    (layer,) = layers(path)
    wanted = quantize_weights(layer.weights, scheme, round_scale=to_half).dequantized()
    (sample,) = inputs(path, 1)
    # With dynamic activations the kernel may round them to 8 bits in blocks.
    assert sqnr(sample["x"] @ wanted.T, run(quantized, sample)) > (
        38 if activations == "dynamic" else 90
    )
    options = {
        a.name: helper.get_attribute_value(a) for a in File(quantized).nodes["product"].attribute
    }
    assert options == {
        "K": 80, "N": 49, "bits": 4 if weights == "int4" else 8, "block_size": 32,
        "accuracy_level": 4 if activations == "dynamic" else 1,
    }  # fmt: skip


def test_scales_are_half_only_where_that_holds_them(tmp_path: Path) -> None:
    path = mlp(tmp_path / "m.onnx")
    model = onnx.load(str(path))
    small = normal(0, 1, 64, 48)[0] * np.float32(1e-6)
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(small, "w1"))
    onnx.save(model, str(path))
    file = File(made(path, blocks()))
    stored = {
        name: file.constant(file.producers[n.input[2]].input[0] if n.input[2] in file.producers
                            else n.input[2]).dtype
        for name, n in file.nodes.items() if n.op_type == "MatMulNBits"
    }  # fmt: skip
    assert stored == {"first": np.float32, "last": np.float16}
    for layer in layers(path):
        half = to_half if layer.name == "last" else None
        assert_held(file, layer.name, quantize_weights(layer.weights, blocks(), round_scale=half))


def test_gptq_is_closer_than_nearest_in_the_file(tmp_path: Path) -> None:
    path = save_onnx(
        tmp_path / "g.onnx",
        [
            helper.make_node("MatMul", ["x", "mix"], ["h"], name="mix"),
            helper.make_node("MatMul", ["h", "w"], ["y"], name="product"),
        ],
        {"x": [32, 64]},
        {"y": [32, 32]},
        mix=normal(0, 1, 64, 8)[0] @ normal(1, 1, 8, 64)[0],
        w=normal(2, 1, 64, 32)[0],
    )
    rules = {r: Rule(scope="product", scheme=blocks(rounding=r)) for r in ("nearest", "gptq")}
    found = {name: fidelity(path, made(path, rule)) for name, rule in rules.items()}
    assert found["gptq"] > found["nearest"] + 3


@pytest.mark.parametrize(
    "scheme",
    [
        STORED, but(STORED, granularity="per-tensor"), but(STORED, weights="uint8"),
        but(STORED, symmetric_weights=False), Scheme(weights="int4"),
        Scheme(weights="int4", symmetric_weights=False), blocks(), blocks(64),
        blocks(symmetric_weights=False), blocks(weights="int8"), DYNAMIC, UNSIGNED,
    ],
    ids=lambda s: f"{s.weights}-{s.activations}-{s.granularity}-{s.symmetric_weights}",
)  # fmt: skip
def test_embeddings_look_up_what_their_integers_say(tmp_path: Path, scheme: Scheme) -> None:
    table = normal(0, 1, 40, 64)[0]
    path = save_onnx(
        tmp_path / "e.onnx",
        [
            helper.make_node("ArgMax", ["x"], ["ids"], name="ids", axis=1, keepdims=0),
            helper.make_node("Gather", ["table", "ids"], ["y"], name="embed"),
        ],
        {"x": [5, 40]},
        {"y": [5, 64]},
        table=table,
    )
    quantized = made(path, Rule(operator="embedding", scheme=scheme))
    is_half = scheme.granularity == "blockwise" or scheme.weights == "int4"
    wanted = quantize_weights(table, scheme, round_scale=to_half if is_half else None)
    (sample,) = inputs(path, 1)
    expected = wanted.dequantized()[sample["x"].argmax(axis=1)]
    np.testing.assert_allclose(run(quantized, sample), expected, rtol=1e-6, atol=1e-7)
    assert quantized.stat().st_size < 0.45 * path.stat().st_size


@pytest.mark.parametrize(
    ("scheme", "share"),
    [
        (blocks(), 0.25), (blocks(symmetric_weights=False), 0.27), (blocks(weights="int8"), 0.35),
        (STORED, 0.4), (DYNAMIC, 0.4), (UNSIGNED, 0.4),
    ],
    ids=["int4", "int4 asymmetric", "int8 blocks", "stored", "dynamic", "static"],
)  # fmt: skip
def test_a_tied_embedding_is_stored_once(tmp_path: Path, scheme: Scheme, share: float) -> None:
    path = decoder(tmp_path / "d.onnx", vocabulary=1200)
    quantized = made(path, scheme)
    assert quantized.stat().st_size < share * path.stat().st_size
    untied = made(path, scheme, Rule(scope="embed", scheme=None), name="untied")
    assert fidelity(path, quantized) > fidelity(path, untied) - 6
    assert untied.stat().st_size > path.stat().st_size * 0.75


@pytest.mark.parametrize("name", ["int4-b32-gptq", "int4-b32-asymmetric-gptq"])
def test_a_tied_embedding_takes_the_integers_of_gptq(tmp_path: Path, name: str) -> None:
    path = decoder(tmp_path / "d.onnx", vocabulary=1200)
    quantized = made(path, *RECIPES[name].recipe.rules)
    file = File(quantized)
    table, head = file.weights("embed"), file.weights("head")
    for part in ("integers", "scale", "zero_point"):
        np.testing.assert_array_equal(getattr(table, part), getattr(head, part))
    large = [t.name for t in file.model.graph.initializer if np.prod(t.dims) >= 1200 * 64 // 2]
    assert len(large) == 1
    # They are not those of rounding to nearest, which the embedding alone would have.
    rules = [rule for rule in RECIPES[name].recipe.rules if rule.operator == "embedding"]
    alone = File(made(path, *rules, name="alone")).weights("embed")
    assert (alone.integers != table.integers).any()


def test_a_tied_embedding_that_stays_float_is_stored_once_too(tmp_path: Path) -> None:
    path = decoder(tmp_path / "d.onnx", vocabulary=1200)
    quantized = made(path, Rule(scope="inner", scheme=STORED))
    assert quantized.stat().st_size < path.stat().st_size
    assert fidelity(path, quantized) > 30


@pytest.mark.parametrize("scheme", [STORED, Scheme(weights="int4")], ids=["int8", "int4"])
def test_weights_of_convolutions_alone(tmp_path: Path, scheme: Scheme) -> None:
    path = conv_net(tmp_path / "c.onnx")
    quantized = made(path, scheme)
    found = loaded(quantized)
    if scheme.weights == "int8":
        # They are floats again when the model is loaded.
        assert found["Conv"] + found["FusedConv"] == 2
        assert found["DequantizeLinear"] == found["Cast"] == found["Mul"] == 0
    expected = path.with_name("expected.onnx")
    model = onnx.load(str(path))
    by_weight = {layer.weight: layer for layer in layers(path)}
    for tensor in model.graph.initializer:
        if tensor.name in by_weight:
            layer = by_weight[tensor.name]
            values = quantize_weights(layer.weights, scheme).dequantized()
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(model, str(expected))
    (sample,) = inputs(path, 1)
    # MatMulNBits, which the dense layer becomes, rounds its input to 8 bits.
    assert sqnr(run(expected, sample), run(quantized, sample)) > 38


@pytest.mark.parametrize(
    ("weights", "symmetric"), [("int8", True), ("int8", False), ("uint8", True)]
)
def test_folded_weights_of_convolutions_count_as_quantized(
    tmp_path: Path, weights: Any, symmetric: bool
) -> None:
    path = save_onnx(
        tmp_path / "c.onnx",
        [helper.make_node("Conv", ["x", "w"], ["y"], name="conv")],
        {"x": [1, 3, 8, 8]},
        {"y": [1, 4, 6, 6]},
        w=normal(0, 1, 4, 3, 3, 3)[0],
    )
    assert not inspect_model(path).is_quantized
    quantized = made(path, Scheme(weights=weights, symmetric_weights=symmetric))
    facts = inspect_model(quantized)
    assert "DequantizeLinear" not in operators(quantized)
    (use,) = facts.quantized
    assert facts.is_quantized and (use.operator, use.count) == ("Conv", 1)
    assert (use.activation_dtype, use.weight_dtype) == ("float32", weights)
    assert use.per_channel and not use.dynamic and use.max_weight is not None


def test_an_embedding_in_blocks_counts_as_quantized(tmp_path: Path) -> None:
    path = decoder(tmp_path / "d.onnx")
    quantized = made(path, Rule(operator="embedding", scheme=blocks()))
    assert "MatMulNBits" not in operators(quantized) and inspect_model(quantized).is_quantized


@pytest.mark.parametrize("scheme", [DYNAMIC, STORED, blocks()], ids=["dynamic", "stored", "blocks"])
def test_the_layer_whose_weights_are_nan_is_named(tmp_path: Path, scheme: Scheme) -> None:
    path = mlp(tmp_path / "m.onnx")
    known = statistics(path)
    model = onnx.load(str(path))
    for tensor in model.graph.initializer:
        if tensor.name == "w2":
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.full((10, 48), np.nan, "f4"), "w2"))
    onnx.save(model, str(path))
    with pytest.raises(UsageError, match=r"^last: weights are NaN or infinite"):
        made(path, scheme, known=known)


def test_weights_shared_by_two_nodes_are_stored_once(tmp_path: Path) -> None:
    path = save_onnx(
        tmp_path / "s.onnx",
        [
            helper.make_node("MatMul", ["x", "w"], ["h"], name="one"),
            helper.make_node("MatMul", ["h", "w"], ["y"], name="two"),
        ],
        {"x": [2, 128]},
        {"y": [2, 128]},
        w=normal(0, 1, 128, 128)[0],
    )
    for scheme in (UNSIGNED, DYNAMIC, STORED, blocks(), Scheme(weights="int4")):
        quantized = made(path, scheme)
        assert quantized.stat().st_size < 0.35 * path.stat().st_size
        assert fidelity(path, quantized) > 10
    # Two schemes, two copies.
    quantized = made(path, Rule(scope="one", scheme=STORED), Rule(scope="two", scheme=blocks()))
    assert fidelity(path, quantized) > 12
    assert {"DequantizeLinear", "MatMulNBits"} <= set(operators(quantized))
