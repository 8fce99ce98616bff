"""Writes targets/support/onnxruntime-cpu.toml from the kernels that ONNX Runtime itself lists.

    python tests/golden/make_onnxruntime_table.py FOLDER VERSION...

FOLDER/VERSION is a folder with that onnxruntime (and a numpy it takes) in it, made by
`pip install --no-deps --target FOLDER/VERSION onnxruntime==VERSION numpy`; versions go upwards, and
the last is the one that the table is said to be read from. Run it with the newest onnx.

Each version is asked in a process of its own for its kernels (`get_all_opkernel_def`) and for its
schemas, and to load a model of each operator that ONNX defines by a function body, in each type,
since the runtime replaces such a node by its body. A kernel serves a node if the operator's schema
at the model's opset began within the kernel's range (onnxruntime/core/framework/kernel_registry.cc,
`KernelRegistry::VerifyKernelDef`). A float16 node without a kernel is computed in float32, between
casts (onnxruntime/core/optimizer/insert_cast_transformer.cc).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from onnxruntime_models import NAMES, function_models

from edgewright.targets.versions import MAX_OPSET, newest_at, version_parts

DESTINATION = Path(__file__).parents[2] / "targets" / "support" / "onnxruntime-cpu.toml"

#: The end of a kernel's range that is open.
OPEN = 2**31 - 1

DOMAINS = ("", "ai.onnx.ml", "com.microsoft")

#: What the lists do not tell. MatMulNBits: tried with the wheels 1.17 to 1.31; 1.22 loads 8-bit
#: weights and fails when it runs them.
CONDITIONS = {
    "com.microsoft::MatMulNBits": (
        ("1.24", "attributes = {bits = {one_of = [2]}}"),
        ("1.23", "attributes = {bits = {one_of = [8]}}"),
        ("1.17", "attributes = {bits = {one_of = [4]}}"),
    )
}

#: Run in the process of each version.
ASK = """
import json, sys
sys.path.insert(0, sys.argv[1])
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as state
onnxruntime.set_default_logger_severity(4)
given = json.load(open(sys.argv[2]))
kernels = [
    [k.domain, k.op_name, *k.version_range, {a: sorted(b) for a, b in k.type_constraints.items()}]
    for k in state.get_all_opkernel_def() if k.provider == "CPUExecutionProvider"
]
schemas = [
    [s.domain, s.name, s.since_version, s.deprecated,
     [i.typeStr for i in s.inputs], [o.typeStr for o in s.outputs]]
    for s in state.get_all_operator_schema()
]
loaded = []
for name, model in given.items():
    try:
        onnxruntime.InferenceSession(bytes.fromhex(model), providers=["CPUExecutionProvider"])
    except Exception:
        continue
    loaded.append(name)
json.dump({"kernels": kernels, "schemas": schemas, "loaded": loaded}, open(sys.argv[3], "w"))
"""

#: Of each operand that counts ('i0' the first input, 'o0' the first output), the types it may have.
Form = tuple[tuple[str, frozenset[str]], ...]


@dataclass(frozen=True)
class Segment:
    """The opsets, first and last, for which one schema of an operator holds."""

    first: int
    last: int | None


def main() -> None:
    folder, versions = Path(sys.argv[1]), sys.argv[2:]
    models = function_models()
    said = {version: ask(folder / version, models) for version in versions}
    schemas = {
        (domain, name, since): (inputs, outputs)
        for domain, name, since, _, inputs, outputs in said[versions[-1]]["schemas"]
    }
    segments = all_segments(said[versions[-1]]["schemas"])
    found: dict[str, dict[Segment, dict[str, list[Form]]]] = {}
    for (domain, name), parts in sorted(segments.items()):
        if domain not in DOMAINS or name.startswith("Memcpy"):
            continue
        operator = f"{domain}::{name}" if domain else name
        for part in parts:
            operands = schemas[domain, name, part.first]
            for version in versions:
                forms = kernel_forms(said[version]["kernels"], domain, name, part, operands)
                if not domain:
                    forms += function_forms(said[version]["loaded"], name, part)
                if forms:
                    by_version = found.setdefault(operator, {}).setdefault(part, {})
                    by_version[short(version)] = merged(with_casts(forms, operands))
    write(found, [short(version) for version in versions], versions[-1])


def ask(folder: Path, models: dict[str, bytes]) -> Any:
    with tempfile.TemporaryDirectory() as scratch:
        given, answer = Path(scratch) / "given.json", Path(scratch) / "answer.json"
        given.write_text(json.dumps({name: model.hex() for name, model in models.items()}))
        subprocess.run([sys.executable, "-c", ASK, folder, given, answer], check=True)
        return json.loads(answer.read_text())


def short(version: str) -> str:
    return ".".join(version.split(".")[:2])


def all_segments(schemas: Iterable[Any]) -> dict[tuple[str, str], list[Segment]]:
    since = defaultdict(set)
    gone = set()
    for domain, name, version, deprecated, *_ in schemas:
        since[domain, name].add(version)
        if deprecated:
            gone.add((domain, name, version))
    return {
        key: [
            Segment(first, after - 1 if after else None)
            for first, after in pairwise([*sorted(starts), 0])
            if (*key, first) not in gone
        ]
        for key, starts in since.items()
    }


def kernel_forms(
    kernels: Iterable[Any], domain: str, name: str, part: Segment, operands: Any
) -> list[Form]:
    """What the kernels take that serve an operator at these opsets."""
    forms = []
    for kernel_domain, kernel_name, first, last, constraints in kernels:
        if (kernel_domain, kernel_name) != (domain, name):
            continue
        if first == part.first or (first < part.first <= last != OPEN):
            forms.append(form_of(constraints, operands))
    return forms


def form_of(constraints: dict[str, list[str]], operands: Any) -> Form:
    inputs, outputs = operands
    form = []
    for letter, types in constraints.items():
        if any(not text.startswith("tensor(") for text in types):
            continue  # facts name no type for sequences and optionals
        names = frozenset(dtype(text) for text in types)
        if letter in inputs:
            form.append((f"i{inputs.index(letter)}", names))
        elif letter in outputs:
            form.append((f"o{outputs.index(letter)}", names))
    return tuple(sorted(form))


def dtype(text: str) -> str:
    """As `TensorFacts.dtype`."""
    return NAMES[text.removeprefix("tensor(").removesuffix(")")]


def function_forms(loaded: Iterable[str], name: str, part: Segment) -> list[Form]:
    """What the runtime loaded of an operator that it replaces by its body."""
    forms = []
    for case in loaded:
        operator, opset, types = case.split("/")
        if operator == name and int(opset) == part.first:
            pairs = (each.split("=") for each in types.split(","))
            forms.append(tuple((at, frozenset([kind])) for at, kind in pairs))
    return forms


def with_casts(forms: list[Form], operands: Any) -> Iterator[Form]:
    """float16 wherever there is float32."""
    for form in forms:
        yield tuple((at, t | {"float16"} if "float32" in t else t) for at, t in form)


def merged(forms: Iterable[Form]) -> list[Form]:
    """The same with fewer: two that differ in one operand's types become one."""
    left = sorted(set(forms), key=repr)
    while pair := next(
        (
            (a, b)
            for i, a in enumerate(left)
            for b in left[i + 1 :]
            if [at for at, _ in a] == [at for at, _ in b]
            and sum(x != y for x, y in zip(a, b, strict=True)) <= 1
        ),
        None,
    ):
        a, b = pair
        both = tuple((at, x | y) for (at, x), (_, y) in zip(a, b, strict=True))
        left = [form for form in left if form not in pair] + [both]
    return left


def write(
    found: dict[str, dict[Segment, dict[str, list[Form]]]], versions: list[str], newest: str
) -> None:
    rules = []
    for operator, parts in found.items():
        for first, last, by_version in joined(parts, versions):
            shown: list[Form] | None = None
            for version in versions:
                forms = by_version.get(version, [])
                if forms == shown or (shown is None and not forms):
                    continue
                if shown is not None and not covered(shown, forms):
                    print(f"{operator} {first}..{last} lost something in {version}")
                for form in forms:
                    if shown is None or form not in shown:
                        rules.append((operator, first, last, version, form))
                shown = forms
    rules = dropped(rules)
    sets = common_sets(form for *_, form in rules)
    lines = [HEADER.format(newest=newest, oldest=versions[0])]
    lines.append("operators = [")
    # It has no kernel: its value becomes an initializer when a model is loaded.
    lines.append('  {name = "Constant"},')
    for operator, first, last, since, form in rules:
        for start, condition in CONDITIONS.get(operator, (("", ""),)):
            start = max(since, start, key=version_parts)
            lines.append(rule(operator, first, last, start, versions[0], form, sets, condition))
    lines += ["]", "", "[type_sets]"]
    lines += [f"{name} = {json.dumps(sorted(types))}" for types, name in sets.items()]
    DESTINATION.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{DESTINATION}: {len(rules)} rules, {DESTINATION.stat().st_size} bytes")


def joined(parts: dict[Segment, dict[str, list[Form]]], versions: list[str]) -> list[Any]:
    """Neighbouring segments of the same support as one.

    What a version says of opsets that it refuses as a whole does not count.
    """
    result: list[Any] = []
    for part, by_version in parts.items():
        same = result and all(
            result[-1][2].get(version) == by_version.get(version)
            for version in versions
            if (newest_at(MAX_OPSET, version) or 0) >= part.first
        )
        if same and result[-1][1] is not None and result[-1][1] + 1 == part.first:
            result[-1][1] = part.last
        else:
            result.append([part.first, part.last, by_version])
    return result


def covered(before: list[Form], after: list[Form]) -> bool:
    return all(any(within(a, b) for b in after) for a in before)


def within(small: Form, big: Form) -> bool:
    known = dict(small)
    return all(at in known and known[at] <= types for at, types in big)


def dropped(rules: list[Any]) -> list[Any]:
    """Without those that an older or equal rule includes."""
    kept: list[Any] = []
    for each in rules:
        operator, first, last, _, form = each
        if not any(k[:3] == (operator, first, last) and within(form, k[4]) for k in kept):
            kept.append(each)
    return kept


def common_sets(forms: Iterable[Form]) -> dict[frozenset[str], str]:
    """Names of the sets of types that are used more than twice."""
    uses: dict[frozenset[str], int] = defaultdict(int)
    for form in forms:
        for _, types in form:
            uses[types] += 1
    often = [types for types, count in uses.items() if count > 2 and len(types) > 1]
    often.sort(key=lambda types: (len(types), sorted(types)))
    return {types: f"t{position}" for position, types in enumerate(often)}


def rule(
    operator: str, first: int, last: int | None, since: str, oldest: str, form: Form,
    sets: dict[frozenset[str], str], condition: str,
) -> str:  # fmt: skip
    parts = [f'name = "{operator}"']
    if since != oldest or condition:
        parts.append(f'since = "{since}"')
    if first > 1:
        parts.append(f"min_opset = {first}")
    if last is not None:
        parts.append(f"max_opset = {last}")
    for key, letter in (("inputs", "i"), ("outputs", "o")):
        given = [(at[1:], types) for at, types in form if at[0] == letter]
        told = (
            f'{at} = ["@{sets[types]}"]' if types in sets else f"{at} = {json.dumps(sorted(types))}"
            for at, types in given
        )
        if given:
            parts.append(f"{key} = {{{', '.join(told)}}}")
    if condition:
        parts.append(condition)
    return f"  {{{', '.join(parts)}}},"


HEADER = """# Written by tests/golden/make_onnxruntime_table.py.
# A rule without `since` holds from {oldest} on, the oldest version that was asked.
schema_version = 1
id = "onnxruntime-cpu"
title = "CPU execution provider of ONNX Runtime"
role = "runtime"
format = "onnx"
runtimes = ["onnxruntime"]
versioned_by = "ONNX Runtime"
tables_version = "{newest}"
complete = true
dynamic_shapes = true
control_flow = true
notes = [
  "float16 without a kernel of its own is computed in float32, between casts",
  "operators that ONNX defines by a function are listed where the runtime loads them in a type",
]
source = "onnxruntime {newest}, get_all_opkernel_def() of the installed package, and of those since {oldest}"
"""  # noqa: E501


if __name__ == "__main__":
    main()
