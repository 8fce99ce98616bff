"""Models of one node each, made from the test cases that ONNX has for its operators."""

from __future__ import annotations

import functools
import itertools
import math
import warnings
from collections.abc import Iterator

from onnx import ModelProto, TensorProto, ValueInfoProto, defs
from onnx.backend.test.case import node as cases

from edgewright.targets.onnx_file import dtype_name

#: ONNX's spelling of an element type -> that of `TensorFacts.dtype`.
NAMES = {
    TensorProto.DataType.Name(number).lower(): dtype_name(number)
    for number in TensorProto.DataType.values()
    if number
}
#: Of one operator's models; CastLike has 576.
MOST_COMBINATIONS = 1000
_NUMBERS = {dtype_name(number): number for number in TensorProto.DataType.values() if number}


@functools.cache
def case_models() -> tuple[ModelProto, ...]:
    """One-node models, as ONNX' own tests of its operators have them; plain ones first."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = cases.collect_testcases(None)
    models = [c.model for c in found if c.model is not None and len(c.model.graph.node) == 1]
    return tuple(sorted(models, key=lambda model: len(model.graph.node[0].attribute)))


def in_types(model: ModelProto, opset: int) -> Iterator[tuple[str, ModelProto]]:
    """The model at an opset, in every combination of the types of its operator's schema.

    The name lists the type of the first operand of every letter: 'i0=float32,o0=bool'.
    """
    node = model.graph.node[0]
    schema = defs.get_schema(node.op_type, opset, node.domain)
    letters = {t.type_param_str: t.allowed_type_strs for t in schema.type_constraints}
    operands = [*_bound("i", node.input, schema.inputs), *_bound("o", node.output, schema.outputs)]
    present = {letter for *_, letter in operands if letter in letters}
    infos = {info.name: info for info in (*model.graph.input, *model.graph.output)}
    before = {letter: _dtype(infos.get(name)) for _, name, letter in reversed(operands)}
    named = {letter: [n for t in letters[letter] if (n := _named(t))] for letter in sorted(present)}
    for chosen in _choices({letter: types for letter, types in named.items() if types}):
        made = ModelProto()
        made.CopyFrom(model)
        made.ir_version = min(made.ir_version, 8 if opset < 21 else 10)
        del made.opset_import[:]
        made.opset_import.add(domain="", version=opset)
        types = before | chosen
        for info in (*made.graph.input, *made.graph.output):
            for _, name, bound in operands:
                if name == info.name and types.get(bound) in _NUMBERS:
                    info.type.tensor_type.elem_type = _NUMBERS[types[bound] or ""]
        told: dict[str, str] = {}
        for at, _, bound in operands:
            if types.get(bound) and bound not in told:
                told[bound] = f"{at}={types[bound]}"
        yield ",".join(told.values()), made


def _named(text: str) -> str | None:
    """The name of a tensor's type; of sequences and optionals, facts have none."""
    return NAMES.get(text[7:-1]) if text.startswith("tensor(") else None


def _choices(named: dict[str, list[str]]) -> Iterator[dict[str, str]]:
    """Every combination of types; where those are very many, each type once."""
    if math.prod(map(len, named.values())) <= MOST_COMBINATIONS:
        for types in itertools.product(*named.values()):
            yield dict(zip(named, types, strict=True))
        return
    for letter, types in named.items():
        for each in types:
            yield {letter: each}


def function_models() -> dict[str, bytes]:
    """'OPERATOR/OPSET/TYPES' -> a model, for all operators that have a function body."""
    made: dict[str, bytes] = {}
    for model in case_models():
        name, domain = model.graph.node[0].op_type, model.graph.node[0].domain
        if domain:
            continue
        for schema in defs.get_all_schemas_with_history():
            if (schema.name, schema.domain) != (name, "") or schema.deprecated:
                continue
            if not (schema.has_function or schema.has_context_dependent_function):
                continue
            for types, typed in in_types(model, schema.since_version):
                made.setdefault(f"{name}/{schema.since_version}/{types}", typed.SerializeToString())
    return made


def _bound(side: str, names, formals) -> Iterator[tuple[str, str, str]]:  # type: ignore[no-untyped-def]
    for position, name in enumerate(names):
        if name and formals:
            formal = formals[min(position, len(formals) - 1)]
            yield f"{side}{min(position, len(formals) - 1)}", name, formal.type_str


def _dtype(info: ValueInfoProto | None) -> str | None:
    if info is None or not info.type.HasField("tensor_type"):
        return None
    return dtype_name(info.type.tensor_type.elem_type)
