"""Recipes applied to real ONNX models: the artifacts, and what they say of themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from models import (
    FASHION,
    artifact,
    conv_net,
    fashion_part,
    gather_past_the_end,
    matmul_net,
    normal,
    operators,
    profile,
    save_onnx,
    sha256,
)
from onnx import helper
from onnx_making import DYNAMIC, HALF, SIGNED, STORED, UNSIGNED, blocks, but, recipe

from edgewright.errors import ConversionError, UsageError
from edgewright.exporters.artifact import Artifact
from edgewright.exporters.data import Sample, open_dataset
from edgewright.exporters.quantize import onnx_model
from edgewright.exporters.quantize.apply import calibrate, quantize
from edgewright.exporters.quantize.plan import recipe_for
from edgewright.exporters.quantize.recipe import Recipe, Rule, Scheme
from edgewright.exporters.quantize.statistics import Statistics
from edgewright.exporters.runtime import LoadedArtifact
from edgewright.targets.facts import ModelFacts
from edgewright.targets.inspect import inspect_model


class Made:
    """A float model, its data and statistics, and whatever is made from them."""

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self.float: Artifact = artifact(path)
        np.savez(path.with_suffix(".npz"), x=np.stack(normal(1, 24, *shape)))
        self.data = open_dataset(str(path.with_suffix(".npz")), self.float.inputs)
        self.statistics: Statistics = calibrate(self.float, self.data, covariances=True)
        self.samples: list[Sample] = self.data.first(8)

    def quantize(self, *rules: Rule | Scheme, name: str = "quantized") -> Artifact:
        return self.apply(recipe(*rules), name)

    def apply(self, chosen: Recipe, name: str = "quantized") -> Artifact:
        destination = self.float.path.with_name(f"{name}.onnx")
        return quantize(
            self.float, chosen, self.statistics, (self.samples, "its data"), destination
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


@pytest.mark.parametrize("scheme", [UNSIGNED, SIGNED], ids=["u8", "s8"])
def test_static_int8_is_qdq_with_weights_per_channel(conv: Made, scheme: Scheme) -> None:
    made = conv.quantize(scheme)
    assert made.precision == "int8" and made.made_from == conv.float.sha256
    assert made.sha256 == sha256(made.path) and made.size_bytes == made.path.stat().st_size
    assert made.compared_on == "its data"
    found = facts(made)
    assert {"QuantizeLinear", "DequantizeLinear"} <= set(operators(found))
    products = {use.operator: use for use in found.quantized}
    assert set(products) == {"Conv", "Gemm"} and products["Conv"].count == 2
    for use in products.values():
        assert (use.activation_dtype, use.weight_dtype) == (scheme.activations, "int8")
        assert use.per_channel and not use.dynamic
    assert made.inputs == conv.float.inputs and made.outputs == conv.float.outputs
    assert sqnr(made) > 25


def test_per_tensor_is_per_tensor_and_less_exact(conv: Made) -> None:
    made = conv.quantize(but(SIGNED, granularity="per-tensor"))
    assert not any(use.per_channel for use in facts(made).quantized)
    assert sqnr(made) < sqnr(conv.quantize(SIGNED))


def test_reduced_ranges_keep_weights_to_seven_bits(conv: Made, matmul: Made) -> None:
    for one, scheme in ((conv, UNSIGNED), (matmul, UNSIGNED), (matmul, DYNAMIC)):
        narrow = facts(one.quantize(but(scheme, reduce_range=True))).quantized
        assert all(use.max_weight in (63, 64) for use in narrow)
        assert any(use.max_weight == 127 for use in facts(one.quantize(scheme)).quantized)


def test_dynamic_and_blocks_say_what_they_are(matmul: Made) -> None:
    (use,) = facts(matmul.quantize(DYNAMIC)).quantized
    assert use.dynamic and use.per_channel and use.weight_dtype == "int8" and use.count == 2
    made = matmul.quantize(blocks())
    assert operators(facts(made))["com.microsoft::MatMulNBits"] == 2
    assert made.precision == "int4" and 10 < sqnr(made) < 30
    assert made.size_bytes < 0.25 * matmul.float.size_bytes
    (use,) = facts(made).quantized
    assert use.weight_dtype == "uint4"


def test_a_mixture_is_mixed(conv: Made) -> None:
    made = conv.quantize(UNSIGNED, Rule(scope="dense", scheme=STORED))
    assert made.precision == "mixed" and sqnr(made) > 25


@pytest.mark.parametrize("model", ["conv", "matmul"])
def test_float16_keeps_the_interface(model: str, request: pytest.FixtureRequest) -> None:
    one: Made = request.getfixturevalue(model)
    made = one.quantize(HALF)
    dtypes = {o.name: o.dtypes for o in facts(made).operators}
    assert all(
        dtypes[name] == ("float16",) for name in dtypes if name in ("Conv", "MatMul", "Gemm")
    )
    assert made.inputs == one.float.inputs and made.outputs == one.float.outputs
    assert sqnr(made) > 50


@pytest.mark.parametrize("model", ["relu", "two inputs"])
def test_a_recipe_that_changes_nothing_is_refused(tmp_path: Path, matmul: Made, model: str) -> None:
    if model == "relu":
        one, rule = matmul, Rule(operator="Relu", scheme=DYNAMIC)
    else:
        node = helper.make_node("MatMul", ["x", "x"], ["y"], name="square")
        path = save_onnx(tmp_path / "s.onnx", [node], {"x": [4, 4]}, {"y": [4, 4]})
        one, rule = Made(path, (4, 4)), Rule(scheme=DYNAMIC)
    with pytest.raises(UsageError, match="recipe mine quantizes nothing in"):
        one.quantize(rule, name="unchanged")
    assert not one.float.path.with_name("unchanged.onnx").exists()


def test_recipes_of_another_format_and_without_statistics(matmul: Made, tmp_path: Path) -> None:
    other = recipe(DYNAMIC).model_copy(update={"format": "tflite"})
    with pytest.raises(UsageError, match="recipe mine is for tflite, not onnx"):
        matmul.apply(other)
    with pytest.raises(UsageError, match="recipe mine needs calibration data"):
        quantize(matmul.float, recipe(SIGNED), None, (matmul.samples, ""), tmp_path / "q.onnx")


def test_what_can_not_be_done_leaves_what_was_there(
    matmul: Made, conv: Made, tmp_path: Path
) -> None:
    destination = tmp_path / "q.onnx"
    destination.write_text("the old file")
    with pytest.raises(UsageError, match="statistics hold nothing of tensor"):
        quantize(matmul.float, recipe(SIGNED), conv.statistics, (matmul.samples, ""), destination)
    assert destination.read_text() == "the old file"
    assert {path.name for path in tmp_path.iterdir()} == {"q.onnx"}


def test_a_librarys_failure_is_a_conversion_error(tmp_path: Path) -> None:
    path = matmul_net(tmp_path / "m.onnx")
    one = artifact(path)
    path.write_bytes(b"no model any more")
    with pytest.raises(ConversionError, match=r"quantizing m\.onnx with mine failed: .+"):
        quantize(one, recipe(DYNAMIC), None, ([], ""), tmp_path / "q.onnx")


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
    made = Made(path, (1, 8)).quantize(Rule(scope="^MatMul_1$", scheme=DYNAMIC))
    assert operators(facts(made))["MatMulInteger"] == 1 and operators(facts(made))["MatMul"] == 1


@pytest.mark.parametrize("attributes", [{"alpha": 0.5}, {"beta": 2.0}, {"transA": 1}])
@pytest.mark.parametrize("scheme", [DYNAMIC, UNSIGNED, blocks(weights="int8")])
def test_gemms_that_are_no_plain_product_stay_and_stay_right(
    tmp_path: Path, attributes: dict[str, Any], scheme: Scheme
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
    made = Made(path, (4, 4)).quantize(scheme)
    assert operators(facts(made))["Gemm"] == 1
    assert [(use.operator != "Gemm", use.count) for use in facts(made).quantized] == [(True, 1)]
    assert sqnr(made) > 25


@pytest.mark.parametrize("scheme", [DYNAMIC, SIGNED, UNSIGNED], ids=["dynamic", "s8s8", "u8s8"])
@pytest.mark.parametrize("operator", ["Gemm", "Conv"])
def test_a_weight_shared_by_two_nodes_serves_both(
    tmp_path: Path, operator: str, scheme: Scheme
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
    made = Made(path, shape).quantize(scheme)
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
        for precision in ("float16", "int8", "int8-dynamic", "int8-weights"):
            found = recipe_for(precision, avx2, facts(one.float))
            assert sqnr(one.apply(found)) > 15


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
        float_model, recipe(UNSIGNED), calibrate(float_model, data), (data.first(2), ""),
        tmp_path / "q.onnx",
    )  # fmt: skip
    (ones,) = LoadedArtifact(made).run({"x": np.ones((1, 32), np.float32)})
    assert np.allclose(ones, 32, rtol=0.01)


def test_types_left_behind_are_no_activations(tmp_path: Path) -> None:
    """ONNX Runtime's optimizer leaves the types of constants and of folded values in the graph."""
    model = onnx.load(str(matmul_net(tmp_path / "net.onnx")))
    constant = model.graph.initializer[0]
    model.graph.value_info.append(
        helper.make_tensor_value_info(constant.name, onnx.TensorProto.FLOAT, constant.dims)
    )
    given = {output.name for output in onnx_model.with_outputs(model, set()).graph.output}
    assert constant.name not in given
    assert given <= {name for node in model.graph.node for name in node.output}


def test_a_trained_net_stays_what_it_is(tmp_path: Path) -> None:
    """Fashion-MNIST: the classes found are those of the float model."""
    float_model = artifact(FASHION / "model.onnx")
    paths = [fashion_part(tmp_path, which, 64) for which in ("calibration", "evaluation")]
    calibration, evaluation = (open_dataset(str(path), float_model.inputs) for path in paths)
    known = calibrate(float_model, calibration)
    reference = LoadedArtifact(float_model)
    expected = [reference.run(sample.inputs)[0].argmax() for sample in evaluation]
    for name, scheme in {"static": UNSIGNED, "dynamic": DYNAMIC, "stored": STORED}.items():
        made = quantize(
            float_model, recipe(scheme), known, (evaluation.first(8), ""), tmp_path / f"{name}.onnx"
        )
        loaded = LoadedArtifact(made)
        found = [loaded.run(sample.inputs)[0].argmax() for sample in evaluation]
        assert np.mean(np.equal(found, expected)) > 0.96
        assert made.size_bytes < 0.3 * float_model.size_bytes
