"""Recipes applied to real ONNX models, and what the written graphs hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from models import (
    artifact,
    conv_net,
    gather_past_the_end,
    matmul_net,
    normal,
    operators,
    profile,
    save_onnx,
    sha256,
)
from onnx import helper, numpy_helper

from edgewright.errors import ConversionError, UsageError
from edgewright.exporters.artifact import Artifact
from edgewright.exporters.data import Sample, open_dataset
from edgewright.exporters.quantize import onnx_model
from edgewright.exporters.quantize.apply import calibrate, quantize
from edgewright.exporters.quantize.calibrate import Statistics
from edgewright.exporters.quantize.plan import recipe_for
from edgewright.exporters.quantize.recipe import Calibration, Recipe, Rule, Scheme
from edgewright.exporters.runtime import LoadedArtifact
from edgewright.targets.facts import ModelFacts
from edgewright.targets.inspect import inspect_model

MIN_MAX = Calibration(method="min-max")
HALF = Scheme(weights="float16", activations="float16", granularity="per-tensor")
SIGNED = Scheme(weights="int8", activations="int8")
DYNAMIC = Scheme(weights="int8", activations="dynamic")
BLOCKS = Scheme(weights="int4", granularity="blockwise", block_size=32)


def recipe(*rules: Rule, precision: str = "int8", calibration: Calibration | None = None) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "mine",
            "format": "onnx",
            "precision": precision,
            "rules": rules,
            "calibration": calibration,
        }
    )


class Made:
    """A float model, its data and statistics, and whatever is made from them."""

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self.float: Artifact = artifact(path)
        np.savez(path.with_suffix(".npz"), x=np.stack(normal(1, 24, *shape)))
        self.data = open_dataset(str(path.with_suffix(".npz")), self.float.inputs)
        self.statistics: Statistics = calibrate(self.float, self.data)
        self.samples: list[Sample] = self.data.first(8)

    def quantize(self, recipe: Recipe, name: str = "quantized") -> Artifact:
        destination = self.float.path.with_name(f"{name}.onnx")
        return quantize(
            self.float, recipe, self.statistics, (self.samples, "its data"), destination
        )


@pytest.fixture(scope="module")
def conv(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(conv_net(tmp_path_factory.mktemp("conv") / "conv.onnx"), (3, 12, 12))


@pytest.fixture(scope="module")
def matmul(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(matmul_net(tmp_path_factory.mktemp("matmul") / "matmul.onnx"), (1, 64))


def facts(made: Artifact) -> ModelFacts:
    return inspect_model(made.path)


def sqnr(made: Artifact) -> float:
    (difference,) = made.differences
    assert difference.sqnr_db is not None
    return difference.sqnr_db


def constants(made: Artifact) -> dict[str, np.ndarray]:
    model = onnx.load(str(made.path))
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def weights(made: Artifact, dtype: type) -> list[np.ndarray]:
    return [array for array in constants(made).values() if array.dtype == dtype and array.ndim > 1]


@pytest.mark.parametrize("activations", ["int8", "uint8"])
def test_static_int8_is_qdq_with_weights_per_channel(conv: Made, activations: str) -> None:
    scheme = Scheme.model_validate({"weights": "int8", "activations": activations})
    made = conv.quantize(recipe(Rule(scheme=scheme), calibration=MIN_MAX))
    assert made.precision == "int8" and made.made_from == conv.float.sha256
    assert made.sha256 == sha256(made.path) and made.size_bytes == made.path.stat().st_size
    assert made.compared_on == "its data"
    found = facts(made)
    assert {"QuantizeLinear", "DequantizeLinear"} <= set(operators(found))
    products = {use.operator: use for use in found.quantized}
    assert set(products) == {"Conv", "Gemm"} and products["Conv"].count == 2
    for use in products.values():
        assert (use.activation_dtype, use.weight_dtype) == (activations, "int8")
        assert use.per_channel and not use.dynamic
    assert made.inputs == conv.float.inputs and made.outputs == conv.float.outputs
    assert sqnr(made) > 25


def test_per_tensor_is_per_tensor_and_less_exact(conv: Made) -> None:
    plain = Scheme(weights="int8", activations="int8", granularity="per-tensor")
    made = conv.quantize(recipe(Rule(scheme=plain), calibration=MIN_MAX))
    assert not any(use.per_channel for use in facts(made).quantized)
    channel = conv.quantize(recipe(Rule(scheme=SIGNED), calibration=MIN_MAX))
    assert sqnr(made) < sqnr(channel)


def test_reduced_ranges_keep_weights_to_seven_bits(conv: Made, matmul: Made) -> None:
    reduced = Scheme(weights="int8", activations="uint8", reduce_range=True)
    whole = Scheme(weights="int8", activations="uint8")
    for one in (conv, matmul):
        narrow = weights(one.quantize(recipe(Rule(scheme=reduced), calibration=MIN_MAX)), np.int8)
        wide = weights(one.quantize(recipe(Rule(scheme=whole), calibration=MIN_MAX)), np.int8)
        assert narrow and len(narrow) == len(wide)
        for array in narrow:
            assert array.min() >= -64 and array.max() <= 64 and np.abs(array).max() >= 63
        assert any(np.abs(array).max() == 127 for array in wide)
    dynamic = Scheme(weights="int8", activations="dynamic", reduce_range=True)
    made = matmul.quantize(recipe(Rule(scheme=dynamic), precision="int8-dynamic"))
    assert all(np.abs(array).max() <= 64 for array in weights(made, np.int8))


def test_the_ranges_of_the_statistics_are_those_in_the_file(matmul: Made) -> None:
    made = matmul.quantize(recipe(Rule(scheme=SIGNED), calibration=MIN_MAX))
    low, high = matmul.statistics.ranges(MIN_MAX)["x"]
    held = constants(made)
    scale, zero = float(held["x_scale"]), int(held["x_zero_point"])
    assert scale == pytest.approx((high - low) / 255, rel=1e-5)
    assert zero == round(-128 - low / scale)
    cut = matmul.quantize(recipe(Rule(scheme=SIGNED), calibration=Calibration(percentile=90)))
    assert float(constants(cut)["x_scale"]) < 0.8 * scale


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
    one = Made(path, (1, 8))
    made = one.quantize(recipe(Rule(operator="MatMul", scheme=SIGNED), calibration=MIN_MAX))
    low, high = one.statistics.ranges(MIN_MAX)["e"]
    assert low > 0
    held = constants(made)
    assert float(held["e_scale"]) == pytest.approx(high / 255, rel=1e-5)
    assert int(held["e_zero_point"]) == -128


def test_symmetric_activations_have_no_zero_point(matmul: Made) -> None:
    symmetric = Scheme(weights="int8", activations="int8", symmetric_activations=True)
    held = constants(matmul.quantize(recipe(Rule(scheme=symmetric), calibration=MIN_MAX)))
    assert int(held["x_zero_point"]) == 0


def test_dynamic_int8_takes_gemm_too(matmul: Made) -> None:
    made = matmul.quantize(recipe(Rule(scheme=DYNAMIC), precision="int8-dynamic"))
    found = operators(facts(made))
    assert found["MatMulInteger"] == 2 and found["DynamicQuantizeLinear"] == 2
    assert "Gemm" not in found and "MatMul" not in found
    (use,) = facts(made).quantized
    assert use.dynamic and use.per_channel and use.weight_dtype == "int8"
    assert sqnr(made) > 30
    assert made.size_bytes < 0.5 * matmul.float.size_bytes


def test_int4_is_matmulnbits_and_takes_gemm_too(matmul: Made) -> None:
    made = matmul.quantize(recipe(Rule(operator="MatMul", scheme=BLOCKS), precision="int4"))
    found = operators(facts(made))
    assert found["com.microsoft::MatMulNBits"] == 2
    assert "Gemm" not in found and "MatMul" not in found
    (first, second) = [
        {a.name: helper.get_attribute_value(a) for a in node.attribute}
        for node in onnx.load(str(made.path)).graph.node
        if node.op_type == "MatMulNBits"
    ]
    assert (first["bits"], first["block_size"], first["accuracy_level"]) == (4, 32, 4)
    assert (first["K"], first["N"], second["K"], second["N"]) == (64, 48, 48, 10)
    assert 12 < sqnr(made) < 30
    assert made.size_bytes < 0.25 * matmul.float.size_bytes


def test_block_size_is_the_recipes(matmul: Made) -> None:
    large = Scheme(weights="int4", granularity="blockwise", block_size=64)
    made = matmul.quantize(recipe(Rule(operator="MatMul", scheme=large), precision="int4"))
    (first, _) = [n for n in onnx.load(str(made.path)).graph.node if n.op_type == "MatMulNBits"]
    assert {a.name: helper.get_attribute_value(a) for a in first.attribute}["block_size"] == 64


@pytest.mark.parametrize("model", ["conv", "matmul"])
def test_float16_halves_the_file_and_keeps_the_interface(
    model: str, request: pytest.FixtureRequest
) -> None:
    one: Made = request.getfixturevalue(model)
    made = one.quantize(recipe(Rule(scheme=HALF), precision="float16"))
    dtypes = {o.name: o.dtypes for o in facts(made).operators}
    assert all(
        dtypes[name] == ("float16",) for name in dtypes if name in ("Conv", "MatMul", "Gemm")
    )
    assert made.inputs == one.float.inputs and made.outputs == one.float.outputs
    assert sqnr(made) > 50
    assert made.size_bytes < 0.75 * one.float.size_bytes


@pytest.mark.parametrize(
    ("scheme", "precision", "calibration"),
    [(SIGNED, "int8", MIN_MAX), (DYNAMIC, "int8-dynamic", None), (HALF, "float16", None)],
)
def test_what_no_rule_names_stays_float(
    matmul: Made, scheme: Scheme, precision: str, calibration: Calibration | None
) -> None:
    rules = [Rule(scheme=scheme), Rule(scope="^last", scheme=None)]
    made = matmul.quantize(recipe(*rules, precision=precision, calibration=calibration))
    model = onnx.load(str(made.path))
    assert any(
        array.dtype == np.float32 and array.size == 480 for array in constants(made).values()
    )
    assert not any(
        array.dtype == np.float32 and array.size == 64 * 48 for array in constants(made).values()
    )
    assert [node.op_type for node in model.graph.node if node.name == "last"] in (
        ["Gemm"],
        ["MatMul"],
    )


def test_one_node_of_int4_leaves_the_other(matmul: Made) -> None:
    made = matmul.quantize(recipe(Rule(scope="^last", scheme=BLOCKS), precision="int4"))
    found = operators(facts(made))
    assert (found["com.microsoft::MatMulNBits"], found["MatMul"]) == (1, 1)


def test_a_recipe_that_matches_nothing_lists_the_operators(matmul: Made) -> None:
    with pytest.raises(UsageError, match="recipe mine matches no operator") as caught:
        matmul.quantize(recipe(Rule(operator="Conv", scheme=DYNAMIC), precision="int8-dynamic"))
    assert caught.value.hint == "the model has Add, MatMul, Relu"


@pytest.mark.parametrize("model", ["relu", "two inputs"])
def test_a_recipe_that_changes_nothing_is_refused(tmp_path: Path, matmul: Made, model: str) -> None:
    if model == "relu":
        one, rule = matmul, Rule(operator="Relu", scheme=DYNAMIC)
    else:
        # A product of activations: the quantizers pass over it in silence.
        node = helper.make_node("MatMul", ["x", "x"], ["y"], name="square")
        path = save_onnx(tmp_path / "s.onnx", [node], {"x": [4, 4]}, {"y": [4, 4]})
        one, rule = Made(path, (4, 4)), Rule(scheme=DYNAMIC)
    with pytest.raises(UsageError, match="recipe mine quantizes nothing in"):
        one.quantize(recipe(rule, precision="int8-dynamic"), "unchanged")
    assert not one.float.path.with_name("unchanged.onnx").exists()


def test_mixed_schemes_are_refused(matmul: Made) -> None:
    rules = [Rule(operator="MatMul", scheme=DYNAMIC), Rule(scope="last", scheme=BLOCKS)]
    with pytest.raises(UsageError, match="mixes 2 schemes"):
        matmul.quantize(recipe(*rules, precision="int4"))


@pytest.mark.parametrize(
    "scheme",
    [
        Scheme(weights="int4"),
        Scheme(weights="int4", activations="dynamic"),
        Scheme(weights="int4", activations="int8"),
        Scheme(weights="int8"),
        Scheme(weights="int8", activations="int8", granularity="blockwise", block_size=32),
        Scheme(weights="int8", activations="dynamic", granularity="blockwise", block_size=32),
    ],
    ids=lambda s: f"{s.weights}-{s.activations}-{s.granularity}",
)
def test_what_onnx_can_not_hold_is_refused_and_not_bent(matmul: Made, scheme: Scheme) -> None:
    calibration = MIN_MAX if scheme.needs_calibration else None
    with pytest.raises(UsageError, match="recipe mine: ONNX has no"):
        matmul.quantize(recipe(Rule(operator="MatMul", scheme=scheme), calibration=calibration))


def test_recipes_of_another_format_and_without_statistics(matmul: Made, tmp_path: Path) -> None:
    other = recipe(Rule(scheme=DYNAMIC)).model_copy(update={"format": "tflite"})
    with pytest.raises(UsageError, match="recipe mine is for tflite, not onnx"):
        matmul.quantize(other)
    static = recipe(Rule(scheme=SIGNED), calibration=MIN_MAX)
    with pytest.raises(UsageError, match="recipe mine needs calibration data"):
        quantize(matmul.float, static, None, (matmul.samples, ""), tmp_path / "q.onnx")


def test_a_librarys_failure_is_a_conversion_error_and_leaves_what_was_there(
    matmul: Made, tmp_path: Path
) -> None:
    # Statistics of another model: ONNX Runtime's quantizer finds no range for 'x'.
    strange = Statistics({}, 1)
    destination = tmp_path / "q.onnx"
    destination.write_text("the old file")
    with pytest.raises(ConversionError, match=r"quantizing matmul\.onnx with mine failed: .+"):
        quantize(
            matmul.float,
            recipe(Rule(scheme=SIGNED), calibration=MIN_MAX),
            strange,
            (matmul.samples, ""),
            destination,
        )
    assert destination.read_text() == "the old file"
    assert [path.name for path in tmp_path.iterdir()] == ["q.onnx"]


def test_the_float_model_is_never_touched(conv: Made) -> None:
    assert sha256(conv.float.path) == conv.float.sha256


def test_nodes_without_names_can_be_named_by_rules(tmp_path: Path) -> None:
    path = save_onnx(
        tmp_path / "n.onnx",
        [
            helper.make_node("MatMul", ["x", "w"], ["h"]),
            helper.make_node("MatMul", ["h", "w"], ["y"]),
        ],
        {"x": [1, 8]},
        {"y": [1, 8]},
        w=normal(0, 1, 8, 8)[0],
    )
    made = Made(path, (1, 8)).quantize(
        recipe(Rule(scope="^MatMul_1$", scheme=DYNAMIC), precision="int8-dynamic")
    )
    assert operators(facts(made))["MatMulInteger"] == 1 and operators(facts(made))["MatMul"] == 1


@pytest.mark.parametrize("attributes", [{"alpha": 0.5}, {"beta": 2.0}, {"transA": 1}])
def test_gemms_that_are_no_plain_product_stay_and_stay_right(
    tmp_path: Path, attributes: dict[str, Any]
) -> None:
    path = save_onnx(
        tmp_path / "g.onnx",
        [
            helper.make_node("MatMul", ["x", "w"], ["h"], name="first"),
            helper.make_node("Gemm", ["h", "v", "b"], ["y"], name="odd", **attributes),
        ],
        {"x": [4, 4]},
        {"y": [4, 4]},
        w=normal(0, 1, 4, 4)[0],
        v=normal(1, 1, 4, 4)[0],
        b=normal(2, 1, 4)[0],
    )
    made = Made(path, (4, 4)).quantize(recipe(Rule(scheme=DYNAMIC), precision="int8-dynamic"))
    found = operators(facts(made))
    assert found["Gemm"] == 1 and found["MatMulInteger"] == 1
    assert sqnr(made) > 25


@pytest.mark.parametrize(
    "recipe",
    [
        recipe(Rule(scheme=DYNAMIC), precision="int8-dynamic"),
        recipe(Rule(scheme=SIGNED), calibration=MIN_MAX),
        recipe(Rule(scheme=Scheme(weights="int8", activations="uint8")), calibration=MIN_MAX),
    ],
    ids=["dynamic", "s8s8", "u8s8"],
)
@pytest.mark.parametrize("operator", ["Gemm", "Conv"])
def test_a_weight_shared_by_two_nodes_serves_both(
    tmp_path: Path, operator: str, recipe: Recipe
) -> None:
    dense = operator == "Gemm"
    shape = (1, 16) if dense else (1, 4, 6, 6)
    options: dict[str, Any] = {"transB": 1} if dense else {"pads": [1] * 4}
    path = save_onnx(
        tmp_path / "shared.onnx",
        [
            helper.make_node(operator, ["x", "w", "b"], ["h"], name="one", **options),
            helper.make_node(operator, ["h", "w"], ["y"], name="two", **options),
        ],
        {"x": list(shape)},
        {"y": list(shape)},
        w=normal(0, 1, *((16, 16) if dense else (4, 4, 3, 3)))[0],
        b=normal(2, 1, shape[1])[0],
    )
    made = Made(path, shape).quantize(recipe)
    assert sum(use.count for use in facts(made).quantized) == 2
    assert sqnr(made) > 25
    # Both ways of computing U8S8 on x86 load it.
    for saturating in (True, False):
        assert LoadedArtifact(made, saturating=saturating).run({"x": normal(1, 1, *shape)[0]})


def test_data_that_the_model_fails_on_are_blamed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"fails on calibration sample 0: .*Gather"):
        Made(gather_past_the_end(tmp_path / "failing.onnx"), (1, 10))


def test_planned_recipes_apply(conv: Made, matmul: Made) -> None:
    """What a name stands for on x86 without VNNI, on both models."""
    avx2 = profile("avx2")
    for one in (conv, matmul):
        for precision in ("float16", "int8", "int8-dynamic"):
            found = recipe_for(precision, avx2, facts(one.float))
            assert sqnr(one.quantize(found)) > 15


def test_products_do_not_saturate_unless_asked_to(tmp_path: Path) -> None:
    """255 * 127 + 255 * 127 does not fit 16 bits, which is where x86 without VNNI adds them."""
    path = save_onnx(
        tmp_path / "large.onnx",
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")],
        {"x": [1, 32]},
        {"y": [1, 4]},
        w=np.ones((32, 4), np.float32),
    )
    float_model = artifact(path)
    np.savez(tmp_path / "d.npz", x=np.float32([[0.0] * 32, [1.0] * 32]))
    data = open_dataset(str(tmp_path / "d.npz"), float_model.inputs)
    made = quantize(
        float_model,
        recipe(Rule(scheme=Scheme(weights="int8", activations="uint8")), calibration=MIN_MAX),
        calibrate(float_model, data),
        (data.first(2), ""),
        tmp_path / "q.onnx",
    )
    (ones,) = LoadedArtifact(made).run({"x": np.ones((1, 32), np.float32)})
    assert np.allclose(ones, 32, rtol=0.01)


def test_types_left_behind_are_no_activations(tmp_path: Path) -> None:
    """ONNX Runtime's optimizer leaves the types of constants and of folded values in the graph."""
    path = matmul_net(tmp_path / "net.onnx")
    model = onnx_model.load(path)
    constant = model.graph.initializer[0]
    model.graph.value_info.append(
        helper.make_tensor_value_info(constant.name, onnx.TensorProto.FLOAT, constant.dims)
    )
    given = {output.name for output in onnx_model.activations(model).graph.output}
    assert constant.name not in given
    assert given <= {name for node in model.graph.node for name in node.output}
