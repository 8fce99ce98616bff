"""What to do about a node that a runtime or accelerator does not take."""

from __future__ import annotations

import shlex

from .conditions_types import CONVERSIONS
from .doubt import FailedCondition
from .dtypes import FLOATS
from .facts import ModelFacts
from .judge import Verdict
from .support_table import SupportTable


def remedy_for(verdict: Verdict, operator: str, table: SupportTable, facts: ModelFacts) -> str:
    """One concrete step."""
    code = verdict.code
    takes = _types(table, operator)
    floating = verdict.dtype in FLOATS
    if operator in CONVERSIONS and (floating or code == "operator-not-supported"):
        return "it goes when the float layer beside it is quantized or replaced"
    if code in ("not-full-integer", "type-not-supported") and floating:
        if "float32" in takes and not table.full_integer:
            return "convert the layer to float32"
        if "int8" in takes:
            return _to_int8(operator, table, facts)
    if code == "dynamic-shape-not-supported":
        return fixed_shapes(facts)
    if code == "operator-opset-not-supported":
        return _other_opset(operator, table, facts)
    return _REMEDIES.get(code, f"replace {operator} by operators of the {table.title}")


def file_of(facts: ModelFacts) -> str:
    """The model's file as a word of a shell command."""
    return shlex.quote(str(facts.path))


def fixed_shapes(facts: ModelFacts) -> str:
    """How a model gets fixed shapes: of ONNX by the tool that comes with ONNX Runtime.

    Source: ONNX Runtime documentation, "Making dynamic input shapes fixed".
    """
    opened = [spec for spec in facts.inputs if None in spec.shape]
    if facts.format == "tflite" or not opened:
        return "export with fixed shapes, one model for each size"
    first = opened[0]
    shape = ",".join("N" if size is None else str(size) for size in first.shape)
    more = f"; so for all {len(opened)} inputs with open dimensions" if len(opened) > 1 else ""
    return (
        "fix the shapes, one model for each size: python -m "
        f"onnxruntime.tools.make_dynamic_shape_fixed --input_name {shlex.quote(first.name)} "
        f"--input_shape {shape} {file_of(facts)} FIXED.onnx, with numbers for N{more}"
    )


def in_opset(facts: ModelFacts, opset: int) -> str:
    """How an ONNX model gets to another opset; `onnx` documents what it can convert."""
    convert = f"onnx.version_converter.convert_version(onnx.load(sys.argv[1]), {opset})"
    return _python(
        facts,
        f"import sys, onnx.version_converter; onnx.save({convert}, sys.argv[2])",
        f"OPSET{opset}.onnx",
    )


def in_ir_version(facts: ModelFacts, version: int) -> str:
    """How an ONNX file gets an older version of the file format; its operators stay."""
    change = f"m = onnx.load(sys.argv[1]); m.ir_version = {version}; onnx.save(m, sys.argv[2])"
    return _python(facts, f"import sys, onnx; {change}", f"IR{version}.onnx")


def _python(facts: ModelFacts, code: str, to: str) -> str:
    """A command that makes a file of the model."""
    return f"python -c {shlex.quote(code)} {file_of(facts)} {to}"


def _other_opset(operator: str, table: SupportTable, facts: ModelFacts) -> str:
    """The nearest opset of which the table knows the operator."""
    rules = table.by_operator.get(operator, ())
    newest = [n for rule in rules if (n := rule.max_opset or table.max_opset) is not None]
    oldest = [n for rule in rules if (n := rule.min_opset or table.min_opset) is not None]
    now = facts.opset
    if now is not None and newest and now > max(newest):
        wanted, words = max(newest), f"{max(newest)} or lower"
    elif now is not None and oldest and now < min(oldest):
        wanted, words = min(oldest), f"{min(oldest)} or newer"
    else:
        return "export with another opset"
    return f"export with opset {words}, or convert the file: {in_opset(facts, wanted)}"


def _to_int8(operator: str, table: SupportTable, facts: ModelFacts) -> str:
    """How a float layer gets to int8: `quantize` starts from float32 models alone."""
    if any(p.activation_dtype not in FLOATS and not p.dynamic for p in facts.quantized):
        return (
            f"{operator} stayed float when the model was quantized: replace it by one that does not"
        )
    what = "the float32 model that it was made from" if _is_made(facts) else "it"
    return f"quantize {what} to int8 with static ranges: {quantized(facts, 'int8-s8s8')}"


def quantized(facts: ModelFacts, recipe: str, *, calibrated: bool = True) -> str:
    """The command that applies a recipe of int8: it starts from a float32 model."""
    start = "FLOAT32_MODEL" if _is_made(facts) else file_of(facts)
    data = " --calibration DATA" if calibrated else ""
    made = f"INT8.{facts.format}"
    return f"edgewright quantize {start} --recipe {recipe} --format {facts.format}{data} -o {made}"


def _is_made(facts: ModelFacts) -> bool:
    """Whether it was made from a float32 model, which is wanted instead."""
    return facts.is_quantized or facts.is_float16


def _types(table: SupportTable, operator: str) -> set[str]:
    """The types that an operator's data may have, by any of its rules."""
    found: set[str] = set()
    for rule in table.by_operator.get(operator, ()):
        operands = rule.inputs.values() or rule.outputs.values()
        given = rule.types or next(iter(operands), ()) or table.types
        found |= {name.partition("*")[0] for name in table.spelled_out(given)}
    return found or ({"int8"} if table.full_integer else set())


_REMEDIES: dict[FailedCondition | None, str] = {
    "operator-too-new": "use a newer runtime there, or build the layer from older operators",
    "operator-version-too-new": "use a newer runtime there, or convert with an older converter",
    "type-not-supported": "convert the layer to a type that it takes",
    "rank-not-supported": "reshape before and after the layer",
    "shape-not-supported": "change the sizes, or reshape before and after the layer",
    "axis-not-supported": "transpose or reshape before and after the layer",
    "value-not-supported": "build the layer with a value that it takes",
    "input-not-constant": "export with fixed shapes and weights, so that the converter folds it",
    "per-channel-not-supported": "quantize with a recipe of the other granularity",
    "attribute-not-supported": "build the layer with a value that it takes",
    "control-flow-not-supported": "unroll it, or run its parts as models of their own",
}
