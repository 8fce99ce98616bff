"""The tables of the runtimes' own kernels against the runtimes on this host."""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
from ai_edge_litert import schema_py_generated as schema
from one_operator import (
    OPERATORS,
    A,
    Operator,
    code_only,
    custom_node,
    ints,
    one_operator,
    typed_models,
)
from onnx import TensorProto, helper
from onnxruntime.capi import onnxruntime_pybind11_state as state
from onnxruntime_models import NAMES
from tflite_trials import Kind, said

from edgewright.targets.facts import GraphFacts, Node, TensorFacts
from edgewright.targets.inspect_onnx import inspect_onnx
from edgewright.targets.inspect_tflite import inspect_tflite
from edgewright.targets.judge import Verdict, judge
from edgewright.targets.support_files import support_table
from edgewright.targets.support_table import SupportTable
from edgewright.targets.versions import DOMAINS

#: The end of a kernel's range that is open.
OPEN = 2**31 - 1


@functools.cache
def table(name: str) -> SupportTable:
    found = support_table(name)
    assert found is not None
    return found


def judged(path: Path, name: str) -> Verdict:
    """Of the one node in a file."""
    facts = inspect_onnx(path) if path.suffix == ".onnx" else inspect_tflite(path)
    graph = facts.graphs[0]
    assert len(graph.nodes) == 1
    return judge(graph.nodes[0], graph, table(name), None, facts.opsets)


# ONNX Runtime


def operands() -> dict[tuple[str, str, int], tuple[list[str], list[str]]]:
    """The letters of the types of an operator's inputs and outputs, by the schema's start."""
    return {
        (s.domain, s.name, s.since_version): (
            [i.typeStr for i in s.inputs],
            [o.typeStr for o in s.outputs],
        )
        for s in state.get_all_operator_schema()
    }


def made_node(name: str, inputs: list[str], outputs: list[str]) -> tuple[Node, GraphFacts]:
    types = [*inputs, *outputs]
    node = Node(
        index=0, operator=name, name="n", version=None,
        inputs=tuple(range(len(inputs))), outputs=tuple(range(len(inputs), len(types))),
        attributes={"bits": 4}, macs=None,
    )  # fmt: skip
    tensors = tuple(TensorFacts(str(i), dtype, (1,)) for i, dtype in enumerate(types))
    return node, GraphFacts("", tensors, (node,), node.inputs, node.outputs)


def kernels() -> Iterator[tuple[str, str, int, dict[str, list[str]]]]:
    """Domain, operator, an opset and the types by letter of every kernel for the CPU."""
    for kernel in state.get_all_opkernel_def():
        if kernel.provider == "CPUExecutionProvider" and kernel.domain in {"", *DOMAINS}:
            yield kernel.domain, kernel.op_name, kernel.version_range[0], kernel.type_constraints


def test_every_kernel_of_the_installed_onnxruntime_is_in_the_table() -> None:
    letters = operands()
    checked = 0
    for domain, operator, opset, constraints in kernels():
        if (domain, operator, opset) not in letters or operator.startswith("Memcpy"):
            continue  # it serves later schemas, and the first it was written for is gone
        inputs, outputs = letters[domain, operator, opset]
        named = {
            letter: [NAMES[t[7:-1]] for t in types if t.startswith("tensor(")]
            for letter, types in constraints.items()
        }
        for letter, types in named.items():
            for dtype in types:
                chosen = {k: v[0] for k, v in named.items() if v} | {letter: dtype}
                before = [chosen.get(i, NAMES.get(i[7:-1], "float32")) for i in inputs]
                after = [chosen.get(o, NAMES.get(o[7:-1], "float32")) for o in outputs]
                name = f"{domain}::{operator}" if domain else operator
                node, graph = made_node(name, before, after)
                verdict = judge(node, graph, table("onnxruntime-cpu"), None, {domain: opset})
                assert verdict.answer == "yes", (name, opset, chosen, verdict)
                checked += 1
    assert checked > 3000


#: Operator -> (how many inputs, type of the output or None for the input's).
SIMPLE: dict[str, tuple[int, int | None]] = {
    "Relu": (1, None), "HardSwish": (1, None), "Gelu": (1, None), "Mish": (1, None),
    "Erf": (1, None), "Softmax": (1, None), "Neg": (1, None), "Not": (1, None),
    "Add": (2, None), "Pow": (2, None), "Mod": (2, None), "MatMul": (2, None),
    "Equal": (2, TensorProto.BOOL), "Greater": (2, TensorProto.BOOL), "Max": (2, None),
    "BitwiseNot": (1, None), "Celu": (1, None), "Softplus": (1, None), "Sign": (1, None),
    "ReduceSumSquare": (1, None), "Transpose": (1, None), "NonZero": (1, TensorProto.INT64),
    "MatMulInteger": (2, TensorProto.INT32), "GlobalAveragePool": (1, None), "Det": (1, None),
}  # fmt: skip


@pytest.mark.parametrize("operator", SIMPLE)
def test_onnxruntime_loads_what_the_table_says_and_nothing_else(
    tmp_path: Path, operator: str
) -> None:
    count, output = SIMPLE[operator]
    answers = set()
    for opset in (17, 22):
        for dtype in range(1, 17):
            if dtype in (TensorProto.COMPLEX64, TensorProto.COMPLEX128):
                continue
            names = [f"x{i}" for i in range(count)]
            node = helper.make_node(operator, names, ["y"])
            inputs = [helper.make_tensor_value_info(name, dtype, [1, 1, 4, 4]) for name in names]
            outputs = [helper.make_tensor_value_info("y", output or dtype, None)]
            model = helper.make_model(
                helper.make_graph([node], "g", inputs, outputs),
                opset_imports=[helper.make_opsetid("", opset)],
                ir_version=8,
            )
            path = tmp_path / "m.onnx"
            path.write_bytes(model.SerializeToString())
            loads = loaded(path)
            if loads is not None:
                verdict = judged(path, "onnxruntime-cpu")
                assert (verdict.answer == "yes") == loads, (operator, opset, dtype, verdict)
                answers.add(loads)
    assert True in answers


def loaded(path: Path) -> bool | None:
    """Whether a session can be made; None for models that ONNX itself calls invalid."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        if "NOT_IMPLEMENTED" in str(error):
            return False
        return None
    return True


# TFLite

SAMPLE = (
    "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "MUL", "SOFTMAX", "MEAN", "PAD",
    "RESHAPE", "LOGISTIC", "GATHER", "TRANSPOSE_CONV", "RESIZE_BILINEAR", "CONCATENATION",
)  # fmt: skip


def agrees(tmp_path: Path, models: dict[str, bytes], kind: Kind, name: str) -> None:
    answers = said(models, kind)
    assert {True, False} == set(answers.values())
    for key, answer in answers.items():
        path = tmp_path / "m.tflite"
        path.write_bytes(models[key])
        verdict = judged(path, name)
        assert (verdict.answer == "yes") == answer, (key, answer, verdict)


def sample() -> dict[str, bytes]:
    return {k: m for k, m in typed_models().items() if k.split("/")[0] in SAMPLE}


def test_litert_runs_what_the_table_says_and_nothing_else(tmp_path: Path) -> None:
    agrees(tmp_path, sample(), "kernels", "tflite-cpu")


def needs_micro() -> None:
    if importlib.util.find_spec("tflite_micro") is None:
        if os.environ.get("EDGEWRIGHT_REQUIRE_EXTRAS"):
            pytest.fail("tflite-micro is not installed")
        pytest.skip("tflite-micro is not installed: pip install tflite-micro")


def test_tflite_micro_runs_what_the_table_says_and_nothing_else(tmp_path: Path) -> None:
    needs_micro()
    agrees(tmp_path, sample(), "micro", "tflite-micro")


@pytest.mark.parametrize("name", ["CIRCULAR_BUFFER", "SignalPCAN", "ethos-u", "NoSuchOperator"])
def test_tflite_micro_knows_the_custom_operators_of_the_table(tmp_path: Path, name: str) -> None:
    """A name that it lacks is refused as such; others get further, some to a crash."""
    needs_micro()
    path = tmp_path / "m.tflite"
    path.write_bytes(custom_node(name))
    program = (
        "import sys; from tflite_micro.python.tflite_micro import runtime; "
        "runtime.Interpreter.from_file(sys.argv[1], arena_size=100_000)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, path], capture_output=True, text=True, check=False
    )
    lacks = "Failed to get registration" in ended.stderr
    assert ended.returncode and lacks == (judged(path, "tflite-micro").answer == "no")


def test_litert_has_the_versions_of_operators_that_the_table_says(tmp_path: Path) -> None:
    newest = {
        name: max(version for rule in rules for version in rule.versions.values())
        for name, rules in table("tflite-cpu").by_operator.items()
        if "::" not in name
    }
    codes = {name: code for name, code in vars(schema.BuiltinOperator).items() if name in newest}
    models = {
        f"{name}/{newest[name] + more}": code_only(code, newest[name] + more)
        for name, code in codes.items()
        for more in (0, 1)
    }
    for key, answer in said(models, "codes").items():
        name, number = key.split("/")
        assert answer == (int(number) == newest[name]), key


def test_operators_that_are_not_in_the_table_are_not_in_litert() -> None:
    here = table("tflite-cpu").by_operator
    absent = {
        name: code
        for name, code in vars(schema.BuiltinOperator).items()
        if isinstance(code, int) and name not in here and name not in ("CUSTOM", "DELEGATE")
    }
    assert "STABLEHLO_DIVIDE" in absent
    models = {name: code_only(code, 1) for name, code in absent.items()}
    assert not any(said(models, "codes").values())


def test_what_older_releases_have() -> None:
    def known(name: str, tensorflow: str) -> Any:
        return table("tflite-cpu").by_operator[name][0].newest_version(tensorflow)

    assert [known("CONV_2D", v) for v in ("2.5", "2.9", "2.14", "2.18")] == [5, 6, 7, 8]
    assert [known("GELU", v) for v in ("2.8", "2.9", "2.23")] == [None, 2, 3]
    assert known("STABLEHLO_ADD", "2.14") is None
    assert known("STABLEHLO_ADD", "2.18") == 1


def test_xnnpack_takes_what_the_table_says_of_products(tmp_path: Path) -> None:
    models = {
        key: model
        for key, model in typed_models().items()
        if key.split("/")[0] in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "TANH")
    }
    agrees(tmp_path, models, "xnnpack", "xnnpack")


def changed(name: str, /, inputs: Any = None, outputs: Any = None, **options: Any) -> Operator:
    usual = OPERATORS[name]
    table, values = usual.options or ("", {})
    return replace(
        usual,
        inputs=inputs or usual.inputs,
        outputs=outputs or usual.outputs,
        options=(table, values | options) if table else None,
    )


def unusual() -> dict[str, tuple[str, Operator]]:
    """Uses of operators that meet a condition of the delegate, or fail it."""
    image, tanh = A(1, 4, 4, 4), schema.ActivationFunctionType.TANH
    weights, bias = OPERATORS["CONV_2D"].inputs[1:]
    assert weights is not None
    one = {"filterWidth": 1, "filterHeight": 1, "strideW": 1, "strideH": 1}
    cube = A(1, 1, 1, 1, 2, 2, 2)
    return {
        "sum": ("ADD", changed("ADD")),
        "sum, RELU6": (
            "ADD",
            changed("ADD", fusedActivationFunction=schema.ActivationFunctionType.RELU6),
        ),
        "sum, tanh": ("ADD", changed("ADD", fusedActivationFunction=tanh)),
        "product, tanh": ("CONV_2D", changed("CONV_2D", fusedActivationFunction=tanh)),
        "no bias": ("CONV_2D", changed("CONV_2D", inputs=(image, weights))),
        "computed weights": (
            "CONV_2D",
            changed("CONV_2D", inputs=(image, replace(weights, constant=False), bias)),
        ),
        "beta": ("SOFTMAX", changed("SOFTMAX", beta=2.0)),
        "window of one": ("MAX_POOL_2D", changed("MAX_POOL_2D", outputs=(image,), **one)),
        "window of one, stride": (
            "MAX_POOL_2D",
            changed("MAX_POOL_2D", **one | {"strideW": 2, "strideH": 2}),
        ),
        "five parts": (
            "CONCATENATION",
            changed("CONCATENATION", inputs=(image,) * 5, outputs=(A(1, 4, 4, 20),)),
        ),
        "six parts": (
            "CONCATENATION",
            changed("CONCATENATION", inputs=(image,) * 6, outputs=(A(1, 4, 4, 24),)),
        ),
        "shrinks": (
            "STRIDED_SLICE",
            changed("STRIDED_SLICE", outputs=(A(2, 2, 2),), shrinkAxisMask=1),
        ),
        "cut into five": (
            "SPLIT",
            changed("SPLIT", inputs=(ints(3), A(1, 4, 4, 5)), outputs=(A(1, 4, 4, 1),) * 5,
                    numSplits=5),
        ),
        "seven dimensions": ("ABS", changed("ABS", inputs=(cube,), outputs=(cube,))),
        "stays unsigned": (
            "QUANTIZE",
            changed("QUANTIZE", inputs=(replace(image, dtype="uint8"),),
                    outputs=(replace(image, dtype="uint8"),)),
        ),
        "becomes signed": (
            "QUANTIZE",
            changed("QUANTIZE", inputs=(replace(image, dtype="uint8"),)),
        ),
    }  # fmt: skip


def test_xnnpack_takes_what_the_table_says_of_conditions(tmp_path: Path) -> None:
    models = {
        key: one_operator(name, "float32", operator=use) for key, (name, use) in unusual().items()
    }
    agrees(tmp_path, models, "xnnpack", "xnnpack")


def test_every_operator_that_was_tried_exists() -> None:
    assert set(OPERATORS) <= set(vars(schema.BuiltinOperator))
