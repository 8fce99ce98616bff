"""Every condition of a support table: a node that meets it, and one that does not."""

from __future__ import annotations

from typing import Any

import pytest
from graph_making import Making, table

from edgewright.targets.facts import Node
from edgewright.targets.judge import Verdict, judge


def conv(making: Making, dtype: str = "float32", weights: str | None = None, **node: Any) -> Node:
    making.tensor("x", dtype, node.pop("shape", (1, 8, 8, 4)))
    making.tensor("y", dtype)
    making.tensor(
        "w",
        weights or dtype,
        constant=node.pop("constant", True),
        per_channel=node.pop("per_channel", None),
    )
    return making.node("CONV_2D", ["x", "w"], ["y"], **node)


def verdict(
    rule: dict[str, Any] | list[dict[str, Any]],
    node: dict[str, Any] | None = None,
    version: str | None = None,
    **rest: Any,
) -> Verdict:
    making = Making()
    made = conv(making, **(node or {}))
    rules = [rule] if isinstance(rule, dict) else rule
    operators = [{"name": "CONV_2D", **each} for each in rules]
    return judge(made, making.graph(), table(operators=operators, **rest), version)


def test_operators_that_are_not_listed() -> None:
    making = Making()
    node = conv(making)
    no = judge(node, making.graph(), table(), None)
    assert (no.answer, no.code) == ("no", "operator-not-supported")
    unknown = judge(node, making.graph(), table(complete=False), None)
    assert (unknown.answer, unknown.code) == ("unknown", None)
    assert unknown.reason == "nobody says whether it is in the Test accelerator"
    assert verdict({}).answer == "yes"


def test_versions_of_the_runtime() -> None:
    assert verdict({"since": "2.0"}).answer == "yes", "the table's own version, where none is given"
    assert verdict({"since": "2.0"}, version="1.9").code == "operator-too-new"
    versions = {"1.0": 1, "1.5": 3, "10.0": 5}
    assert verdict({"versions": versions}, {"version": 3}, "1.5").answer == "yes"
    too_new = verdict({"versions": versions}, {"version": 5}, "9.9")
    assert too_new.code == "operator-version-too-new"
    assert too_new.reason == ("version 5 of the operator; TestRT 9.9 knows up to 3 (10.0 knows it)")
    assert verdict({"versions": versions}, {"version": 1}, "0.9").code == "operator-too-new"


def test_versions_older_than_all_that_the_table_was_read_from() -> None:
    assert verdict({}, version="1.17", oldest_version="1.17").answer == "yes"
    assert verdict({}, oldest_version="1.17").answer == "yes"
    unknown = verdict({}, version="1.16.3", oldest_version="1.17")
    assert unknown.answer == "unknown"
    assert unknown.reason == "what TestRT had before 1.17, nobody says; here it is 1.16.3"
    assert verdict({"since": "1.18"}, version="1.16", oldest_version="1.17").answer == "no"


def test_what_a_newer_release_no_longer_has() -> None:
    rule = {"until": "2.0"}
    assert verdict(rule, version="1.9").answer == "yes"
    gone = verdict(rule, version="2.0")
    assert gone.code == "operator-not-supported"
    assert gone.reason == "TestRT had it before 2.0, and here it is 2.0"


def test_opsets() -> None:
    making = Making()
    node = making.node("Conv", ["x", "w"], ["y"], version=None)
    limits = [{"name": "Conv", "min_opset": 11, "max_opset": 17}]
    about = table(operators=limits, format="onnx")

    def of(opsets: dict[str, int]) -> Verdict:
        return judge(node, making.graph(), about, None, opsets)

    assert of({"": 11}).answer == of({"": 17}).answer == "yes"
    assert of({"": 10}).code == of({"": 18}).code == "operator-opset-not-supported"
    assert of({"other": 12}).answer == "unknown"


def test_types() -> None:
    integers = {"types": ["int8", "uint8*int8"]}
    assert verdict(integers, {"dtype": "int8"}).answer == "yes"
    assert verdict(integers, {"dtype": "uint8", "weights": "int8"}).answer == "yes"
    assert verdict(integers, {"dtype": "float32"}).code == "type-not-supported"
    assert verdict(integers, {"dtype": "uint8", "weights": "uint8"}).code == "type-not-supported"
    hybrid = verdict({"types": ["float32"]}, {"dtype": "float32", "weights": "int8"})
    assert hybrid.answer == "unknown", "plain float32 says nothing of int8 weights"
    assert verdict({}, {"dtype": "int16"}, types=["int8"]).code == "type-not-supported"


def test_a_type_that_nobody_knows_is_no_no() -> None:
    found = verdict({"types": ["float32"]}, {"dtype": "undefined"})
    assert (found.answer, found.reason) == ("unknown", "the type of its input is unknown")


def test_types_of_lookups_are_those_of_the_table() -> None:
    making = Making()
    making.tensor("words", "int8", (100, 8), constant=True)
    making.tensor("ids", "int32", (1, 4))
    node = making.node("GATHER", ["words", "ids"], ["y"])
    about = table(operators=[{"name": "GATHER", "types": ["int8"], "max_rank": 2}])
    assert judge(node, making.graph(), about, None).answer == "yes"


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((1, 2, 3, 4), "yes"), ((1, 2, 3, 4, 5), "no"), ((1, 2), "no"), (None, "unknown")],
)
def test_ranks(shape: tuple[int, ...] | None, expected: str) -> None:
    found = verdict({"min_rank": 3, "max_rank": 4}, {"shape": shape}, dynamic_shapes=True)
    assert found.answer == expected
    assert verdict({}, {"shape": (1,) * 5}, max_rank=4).code == "rank-not-supported"


def test_constants() -> None:
    assert verdict({"constant_inputs": [1, 2]}).answer == "yes", "a third input is left out"
    assert verdict({"constant_inputs": [1]}, {"constant": False}).code == "input-not-constant"
    making = Making()
    making.tensor("stored", "float16", constant=True)
    making.node("DEQUANTIZE", ["stored"], ["w"])
    node = making.node("CONV_2D", ["x", "w"], ["y"])
    about = table(operators=[{"name": "CONV_2D", "constant_inputs": [1]}])
    assert judge(node, making.graph(), about, None).answer == "yes", "unpacked, but constant"


def test_granularity_of_weights() -> None:
    channels = {"dtype": "int8", "per_channel": True}
    one = {"dtype": "int8", "per_channel": False}
    assert verdict({"per_channel": False}, channels).code == "per-channel-not-supported"
    assert verdict({"per_channel": True}, one).code == "per-channel-not-supported"
    assert verdict({"per_channel": False}, one).answer == "yes"
    assert verdict({}, channels, per_channel=False).code == "per-channel-not-supported"
    assert verdict({"per_channel": False}, {"dtype": "float32"}).answer == "yes"


def test_attributes() -> None:
    rule = {"attributes": {"stride": {"minimum": 1, "maximum": 4}, "padding": {"one_of": ["same"]}}}
    assert verdict(rule, {"stride": 2, "padding": "SAME"}).answer == "yes"
    assert verdict(rule, {"stride": (1, 2), "padding": "SAME"}).answer == "yes"
    wide = verdict(rule, {"stride": (1, 5), "padding": "SAME"})
    assert wide.code == "attribute-not-supported"
    assert wide.reason == "stride is 5; it takes at least 1 and at most 4"
    assert verdict(rule, {"stride": 1}).reason == "the file does not say its padding"
    assert verdict(rule, {"stride": 1}).answer == "unknown"


def test_attributes_that_onnx_has_defaults_for() -> None:
    making = Making()
    node = making.node("Conv", ["x", "w"], ["y"], version=None)
    rule = {"name": "Conv", "attributes": {"auto_pad": {"one_of": ["NOTSET"]}, "group": {}}}
    about = table(operators=[rule], format="onnx")
    assert judge(node, making.graph(), about, None, {"": 17}).answer == "yes"
    assert judge(node, making.graph(), about, None, {}).answer == "unknown"


def test_open_dimensions() -> None:
    opened = {"shape": (None, 8, 8, 4)}
    assert verdict({}, opened).code == "dynamic-shape-not-supported"
    assert verdict({}, opened, dynamic_shapes=True).answer == "yes"
    assert verdict({}, opened, dynamic_shapes=None).answer == "unknown"


def test_control_flow() -> None:
    making = Making()
    node = making.node("WHILE", ["x"], ["y"], graphs=("cond", "body"))
    listed = [{"name": "WHILE"}]
    no = judge(node, making.graph(), table(operators=listed, control_flow=False), None)
    assert no.code == "control-flow-not-supported"
    assert judge(node, making.graph(), table(operators=listed), None).answer == "yes"


def test_full_integer() -> None:
    assert verdict({}, {"dtype": "int8"}, full_integer=True).answer == "yes"
    assert verdict({}, {"dtype": "float32"}, full_integer=True).code == "not-full-integer"
    making = Making()
    making.tensor("y", "int8")
    node = making.node("QUANTIZE", ["x"], ["y"])
    about = table(operators=[{"name": "QUANTIZE"}], full_integer=True)
    assert judge(node, making.graph(), about, None).answer == "yes", "one side of it is float"


def test_floating_point_is_no_unknown_where_integers_are_needed() -> None:
    making = Making()
    making.tensor("q", "int8")
    floating = making.node("SQRT", ["x"], ["y"])
    whole = making.node("SQRT", ["q"], ["q"])
    converting = making.node("DEQUANTIZE", ["q"], ["x"])
    about = table(operators=[], complete=False, full_integer=True, unsupported=["EXP"])
    refused = judge(floating, making.graph(), about, None)
    assert (refused.answer, refused.code, refused.dtype) == ("no", "not-full-integer", "float32")
    assert judge(whole, making.graph(), about, None).answer == "unknown"
    assert judge(converting, making.graph(), about, None).answer == "unknown"
    named = judge(making.node("EXP", ["x"], ["y"]), making.graph(), about, None)
    assert named.code == "operator-not-supported", "int8 would not help it"


def test_between_qdq_pairs_onnx_accelerators_see_integers() -> None:
    making = Making()
    making.tensor("xq", "uint8", constant=False)
    making.tensor("wq", "int8", constant=True, per_channel=True)
    making.node("DequantizeLinear", ["xq"], ["x"], version=None)
    making.node("DequantizeLinear", ["wq"], ["w"], version=None)
    node = making.node("Conv", ["x", "w"], ["y"], version=None)
    making.tensor("yq", "uint8")
    making.node("QuantizeLinear", ["y"], ["yq"], version=None)
    rule = {"name": "Conv", "types": ["uint8*int8"], "constant_inputs": [1]}
    about = table(operators=[rule], format="onnx", full_integer=True)
    assert judge(node, making.graph(), about, None).answer == "yes"
    one_scale = table(operators=[{**rule, "per_channel": False}], format="onnx")
    assert judge(node, making.graph(), one_scale, None).code == "per-channel-not-supported"
    kernels = table(operators=[rule], format="onnx", role="runtime")
    assert judge(node, making.graph(), kernels, None).code == "type-not-supported"


def test_of_several_rules_one_is_enough_and_the_nearest_gives_the_reason() -> None:
    rules = [
        {"types": ["float32"], "max_rank": 2, "note": "if small"},
        {"types": ["int8"], "max_rank": 4, "source": "elsewhere"},
    ]
    assert verdict(rules, {"dtype": "int8"}).source == "elsewhere"
    no = verdict(rules, {"dtype": "float32"})
    assert (no.answer, no.code) == ("no", "rank-not-supported")
    flat = verdict(rules, {"dtype": "float32", "shape": (1, 2)})
    assert (flat.answer, flat.note, flat.source) == ("yes", "if small", "the test")
