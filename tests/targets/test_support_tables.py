from __future__ import annotations

import re
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from edgewright.targets.axes import KNOWN
from edgewright.targets.dtypes import BITS
from edgewright.targets.support_rule import OperatorRule
from edgewright.targets.support_table import SupportTable
from edgewright.targets.toml_file import read_toml

SUPPORT = Path(str(resources.files("edgewright.targets.support")))
TABLES = sorted(SUPPORT.glob("*.toml"))
#: What ONNX Runtime adds to the standard domain, or has had in it for longer than ONNX.
OWN = {
    "SimplifiedLayerNormalization", "LayerNormalization", "ThresholdedRelu", "Affine", "Crop",
    "DynamicSlice", "ImageScaler", "ParametricSoftplus", "Scale", "ScaledTanh",
}  # fmt: skip


#: What rules are about that are about convolutions alone.
CONVOLUTIONS = {"CONV_2D", "DEPTHWISE_CONV_2D", "Conv", "ConvTranspose"}
WINDOWS = {"MAX_POOL_2D", "AVERAGE_POOL_2D"}


def tables(model_format: str) -> list[SupportTable]:
    every = [read_toml(path, SupportTable) for path in TABLES]
    return [table for table in every if table.format == model_format]


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_a_table_is_valid_and_named_as_its_file(path: Path) -> None:
    table = read_toml(path, SupportTable)
    assert table.id == path.stem
    assert table.complete is False or table.operators, "an empty complete table supports nothing"
    names = [rule.name for rule in table.operators]
    assert not set(names) & set(table.unsupported)
    assert len(set(map(repr, table.operators))) == len(names), "a rule is there twice"
    written = [*table.types, *(each for rule in table.operators for each in rule.types)]
    assert {name for each in written for name in each.split("*")} <= set(BITS)
    for rule in table.operators:
        lowest, highest = rule.min_rank, rule.max_rank or table.max_rank
        assert lowest is None or highest is None or lowest <= highest, rule.name
        assert table.format == "onnx" or rule.min_opset is rule.max_opset is None, rule.name
        assert table.format == "tflite" or not rule.versions, rule.name
        for shape in (*rule.input_shapes.values(), *rule.output_shapes.values()):
            assert (
                shape.min_rank is None
                or shape.max_rank is None
                or (shape.min_rank <= shape.max_rank)
            ), rule.name


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_conditions_are_ones_that_can_be_judged(path: Path) -> None:
    table = read_toml(path, SupportTable)
    for rule in table.operators:
        assert rule.axes is None or rule.name in KNOWN, rule.name
        about_convolutions = rule.depthwise is not None or rule.padding_within_width
        assert not about_convolutions or rule.name in CONVOLUTIONS, rule.name
        assert not rule.no_padding or rule.name in CONVOLUTIONS | WINDOWS, rule.name
        named = {name for names in rule.made_by.values() for name in names}
        named |= set(rule.read_by.operators) if rule.read_by else set()
        assert named <= table.by_operator.keys(), f"{rule.name}: they have to be there, too"
        computed = () if rule.computed_inputs == "all" else rule.computed_inputs
        assert not set(rule.constant_inputs) & set(computed), rule.name


def attributes_of(rule: OperatorRule) -> set[str]:
    """All attributes that a rule names."""
    together = {name for names in rule.same_attributes for name in names}
    return {*rule.attributes, *rule.absent_attributes, *together}


def positions_of(rule: OperatorRule) -> set[int]:
    """All inputs that a rule names by their position."""
    operands = [*rule.same_rank, *rule.most_scales]
    operands += [which for same in rule.same_shapes for which in same.of]
    computed = () if rule.computed_inputs == "all" else rule.computed_inputs
    return {
        *rule.constant_inputs, *computed, *rule.input_shapes, *rule.values, *rule.made_by,
        *(which for which in operands if isinstance(which, int)),
    }  # fmt: skip


def test_tflite_operators_and_options_are_those_of_the_schema() -> None:
    from ai_edge_litert import schema_py_generated as schema

    known = {name for name in vars(schema.BuiltinOperator) if not name.startswith("_")}
    for table in tables("tflite"):
        for name in (*(rule.name for rule in table.operators), *table.unsupported):
            assert name in known or name.startswith("custom::"), f"{table.id}: {name}"
    options = {
        field.lower()
        for name, kind in vars(schema).items()
        if name.endswith("OptionsT")
        for field in vars(kind())
    }
    for table in tables("tflite"):
        for rule in table.operators:
            wanted = {name.replace("_", "").lower() for name in attributes_of(rule)}
            assert wanted <= options, f"{table.id}: {rule.name}"


def test_nnapi_has_the_operators_that_onnxruntime_ships_in_its_wheel() -> None:
    import onnxruntime

    helpers = Path(onnxruntime.__file__).parent / "tools" / "mobile_helpers"
    text = (helpers / "nnapi_supported_ops.md").read_text()
    published = {
        name.replace("ai.onnx:", "").replace("com.microsoft:", "com.microsoft::")
        for name in re.findall(r"^\|([\w.]+:\w+)\|", text, re.MULTILINE)
    }
    table = read_toml(SUPPORT / "onnxruntime-nnapi.toml", SupportTable)
    here = {rule.name for rule in table.operators}
    assert len(published) > 40
    assert here - {"com.microsoft::QLinearMul"} == published


def test_onnx_operators_opsets_and_inputs_are_those_of_the_standard() -> None:
    from onnx import defs

    newest = defs.onnx_opset_version()
    for table in tables("onnx"):
        for name in table.unsupported:
            assert defs.has(name), f"{table.id}: {name}"
        for rule in table.operators:
            if rule.name in OWN or "::" in rule.name:
                continue
            assert defs.has(rule.name), f"{table.id}: {rule.name}"
            since = {schema.since_version for schema in _versions(rule.name)}
            assert rule.min_opset is None or rule.min_opset >= min(since), rule.name
            assert max(rule.min_opset or 1, rule.max_opset or 1) <= newest, rule.name
            attributes = {each for schema in _versions(rule.name) for each in schema.attributes}
            assert attributes_of(rule) <= attributes, f"{table.id}: {rule.name}"
            most = max(schema.max_input for schema in _versions(rule.name))
            assert max(positions_of(rule), default=-1) < most, f"{table.id}: {rule.name}"


def test_kernels_of_cuda_begin_and_end_where_the_standard_changes_an_operator() -> None:
    for rule in read_toml(SUPPORT / "onnxruntime-cuda.toml", SupportTable).operators:
        if rule.name in OWN or "::" in rule.name:
            continue
        since = {schema.since_version for schema in _versions(rule.name)}
        assert rule.min_opset in since, rule.name
        assert rule.max_opset is None or rule.max_opset + 1 in since, rule.name


@cache
def _history() -> dict[str, list[Any]]:
    from onnx import defs

    found: dict[str, list[Any]] = {}
    for schema in defs.get_all_schemas_with_history():
        if schema.domain == "":
            found.setdefault(schema.name, []).append(schema)
    return found


def _versions(name: str) -> list[Any]:
    return _history()[name]
