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

import functools
import importlib.metadata
import json
import math
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
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


@dataclass(frozen=True)
class Rule:
    """One line of the table; `until` is the first version that no longer has it."""

    operator: str
    first: int
    last: int | None
    since: str
    until: str | None
    form: Form


def main() -> None:
    folder, versions = Path(sys.argv[1]), sys.argv[2:]
    models = function_models()
    said = {version: ask(folder / version, models) for version in versions}
    schemas = {version: operands_of(said[version]["schemas"]) for version in versions}
    segments = all_segments(said[versions[-1]]["schemas"])
    found: dict[str, dict[Segment, dict[str, list[Form]]]] = {}
    for (domain, name), parts in sorted(segments.items()):
        if domain not in DOMAINS or name.startswith("Memcpy"):
            continue
        operator = f"{domain}::{name}" if domain else name
        for part in parts:
            key = domain, name, part.first
            newest = schemas[versions[-1]][key]
            for version in versions:
                own = schemas[version].get(key, newest)
                forms = kernel_forms(said[version]["kernels"], domain, name, part, own, newest)
                if not domain:
                    forms += judging_all(function_forms(said[version]["loaded"], name, part), forms)
                if forms:
                    by_version = found.setdefault(operator, {}).setdefault(part, {})
                    by_version[short(version)] = merged(frozenset(with_casts(forms)))
    write(found, [short(each) for each in versions], versions)


def ask(folder: Path, models: dict[str, bytes]) -> Any:
    with tempfile.TemporaryDirectory() as scratch:
        given, answer = Path(scratch) / "given.json", Path(scratch) / "answer.json"
        given.write_text(json.dumps({name: model.hex() for name, model in models.items()}))
        subprocess.run([sys.executable, "-c", ASK, folder, given, answer], check=True)
        return json.loads(answer.read_text())


def operands_of(schemas: Iterable[Any]) -> dict[tuple[str, str, int], tuple[list[str], list[str]]]:
    """The letters of the types of inputs and outputs, by domain, operator and first opset."""
    return {
        (domain, name, since): (inputs, outputs)
        for domain, name, since, _, inputs, outputs in schemas
    }


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
    kernels: Iterable[Any], domain: str, name: str, part: Segment, own: Any, newest: Any
) -> list[Form]:
    """What the kernels take that serve an operator at these opsets."""
    forms = []
    for kernel_domain, kernel_name, first, last, constraints in kernels:
        if (kernel_domain, kernel_name) != (domain, name):
            continue
        if first == part.first or (first < part.first <= last != OPEN):
            forms.append(form_of(constraints, own, newest))
    return forms


def form_of(constraints: dict[str, list[str]], own: Any, newest: Any) -> Form:
    """The types of the operands that a kernel's letters stand for.

    Of operands that share a letter, by the release's own schema and by the newest, the first is
    enough: ONNX gives the others its type.
    """
    form = []
    told = set()
    for side, letters, later in zip("io", own, newest, strict=True):
        for position, letter in enumerate(letters):
            types = constraints.get(letter, ["other"])
            if any(not text.startswith("tensor(") for text in types):
                continue  # facts name no type for sequences and optionals
            both = letter, later[position] if position < len(later) else None
            if both not in told:
                told.add(both)
                form.append((f"{side}{position}", frozenset(dtype(text) for text in types)))
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
            pairs = (each.split("=") for each in types.split(",") if each)
            forms.append(tuple((at, frozenset([kind])) for at, kind in pairs))
    return forms


def judging_all(forms: list[Form], kernels: list[Form]) -> list[Form]:
    """Without models that lack an operand, where there are such that have it.

    A form says yes to any type of an operand that it has not.
    """
    kept = []
    for form in forms:
        at = {position for position, _ in form}
        wider = [each for each in (*forms, *kernels) if at < {position for position, _ in each}]
        parts = [tuple(pair for pair in each if pair[0] in at) for each in wider]
        if left(form, parts):
            kept.append(form)
    return kept


def with_casts(forms: list[Form]) -> Iterator[Form]:
    """float16 wherever there is float32."""
    for form in forms:
        yield tuple((at, t | {"float16"} if "float32" in t else t) for at, t in form)


@functools.cache
def merged(forms: frozenset[Form]) -> list[Form]:
    """The same in fewer forms, each as wide as can be."""
    rest = sorted(forms, key=in_words)
    while pair := next((two for two in combinations(rest, 2) if differ_once(*two)), None):
        a, b = pair
        both = tuple((at, x | y) for (at, x), (_, y) in zip(a, b, strict=True))
        rest = [form for form in rest if form not in pair] + [both]
    wide = sorted({widened(form, rest) for form in rest}, key=in_words)
    for form in sorted(
        wide, key=lambda each: (math.prod(len(types) for _, types in each), in_words(each))
    ):
        others = [each for each in wide if each != form]
        wide = others if not left(form, others) else wide
    return wide


def in_words(form: Form) -> str:
    """The same for the same form in every run, unlike `repr` of a set."""
    return repr([(at, sorted(types)) for at, types in form])


def differ_once(a: Form, b: Form) -> bool:
    same = [at for at, _ in a] == [at for at, _ in b]
    return same and sum(x != y for x, y in zip(a, b, strict=True)) <= 1


def widened(form: Form, forms: list[Form]) -> Form:
    """With all types in it that the forms take together."""
    every: dict[str, set[str]] = defaultdict(set)
    for at, types in (pair for each in forms for pair in each):
        every[at] |= types
    for at, _ in form:
        for one in sorted(every[at]):
            more = tuple((k, t | {one} if k == at else t) for k, t in form)
            form = form if left(more, forms) else more
    return form


def write(
    found: dict[str, dict[Segment, dict[str, list[Form]]]], versions: list[str], asked: list[str]
) -> None:
    rules = [
        Rule(operator, first, last, *span)
        for operator, parts in found.items()
        for first, last, by_version in joined(parts, versions)
        for span in spans(by_version, versions)
    ]
    for each in rules:
        if each.until is not None:
            print(f"{each.operator} {each.first}..{each.last} until {each.until}: {each.form}")
    sets = common_sets(each.form for each in rules)
    lines = [
        HEADER.format(
            newest=asked[-1],
            oldest=versions[0],
            asked=", ".join(asked),
            onnx=importlib.metadata.version("onnx"),
        )
    ]
    lines.append("operators = [")
    # It has no kernel: its value becomes an initializer when a model is loaded.
    lines.append('  {name = "Constant"},')
    for each in rules:
        for start, condition in CONDITIONS.get(each.operator, (("", ""),)):
            later = replace(each, since=max(each.since, start, key=version_parts))
            lines.append(row(later, versions[0], sets, condition))
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


def spans(
    by_version: dict[str, list[Form]], versions: list[str]
) -> list[tuple[str, str | None, Form]]:
    """The forms, each with the first version that has it and the first that no longer has it.

    A form that stays, alone or as parts of others, has no end. One that loses a part ends there,
    and what is left of it begins.
    """
    ended: list[tuple[str, str | None, Form]] = []
    active: list[tuple[str, Form]] = []
    for version in versions:
        forms = by_version.get(version, [])
        ended += [(since, version, form) for since, form in active if left(form, forms)]
        active = [(since, form) for since, form in active if not left(form, forms)]
        active += [(version, form) for form in forms if left(form, [known for _, known in active])]
    every = [*ended, *((since, None, form) for since, form in active)]
    return sorted(
        every,
        key=lambda each: (
            version_parts(each[0]), version_parts(each[1] or "999"), in_words(each[2])
        ),
    )  # fmt: skip


def left(form: Form, others: Iterable[Form]) -> list[dict[str, frozenset[str]]]:
    """What of a form no other one takes, as forms."""
    rest = [dict(form)]
    for other in others:
        rest = [part for each in rest for part in without(each, dict(other))]
    return rest


def without(
    form: dict[str, frozenset[str]], other: dict[str, frozenset[str]]
) -> list[dict[str, frozenset[str]]]:
    if not other.keys() <= form.keys() or not all(form[at] & other[at] for at in other):
        return [form]
    parts = []
    for at, types in other.items():
        if beyond := form[at] - types:
            parts.append(form | {at: beyond})
        form = form | {at: form[at] & types}
    return parts


def common_sets(forms: Iterable[Form]) -> dict[frozenset[str], str]:
    """Names of the sets of types that are used more than twice."""
    uses: dict[frozenset[str], int] = defaultdict(int)
    for form in forms:
        for _, types in form:
            uses[types] += 1
    often = [types for types, count in uses.items() if count > 2 and len(types) > 1]
    often.sort(key=lambda types: (len(types), sorted(types)))
    return {types: f"t{position}" for position, types in enumerate(often)}


def row(rule: Rule, oldest: str, sets: dict[frozenset[str], str], condition: str) -> str:
    parts = [f'name = "{rule.operator}"']
    if rule.since != oldest or condition:
        parts.append(f'since = "{rule.since}"')
    if rule.until is not None:
        parts.append(f'until = "{rule.until}"')
    if rule.first > 1:
        parts.append(f"min_opset = {rule.first}")
    if rule.last is not None:
        parts.append(f"max_opset = {rule.last}")
    for key, letter in (("inputs", "i"), ("outputs", "o")):
        given = [(at[1:], types) for at, types in rule.form if at[0] == letter]
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
# Asked: onnxruntime {asked}; models made with onnx {onnx}.
# A rule without `since` holds from {oldest} on; one with `until` holds before that version.
schema_version = 1
id = "onnxruntime-cpu"
title = "CPU execution provider of ONNX Runtime"
role = "runtime"
format = "onnx"
runtimes = ["onnxruntime"]
versioned_by = "ONNX Runtime"
tables_version = "{newest}"
oldest_version = "{oldest}"
complete = true
oracle = "onnxruntime"
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
