"""ONNX Runtime on this machine beside the table of the device's release."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from edgewright.targets.check import CheckOptions, check
from edgewright.targets.finding import CheckResult
from edgewright.targets.inspect import inspect_model
from edgewright.targets.load import load_target

#: What the command line asks for.
ASK = CheckOptions(ask_cpu=True)


def one_node(
    path: Path, operator: str, dtype: int, opset: int, constants: tuple[onnx.TensorProto, ...] = ()
) -> Path:
    node = helper.make_node(operator, ["x", *(each.name for each in constants)], ["y"], name="n")
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", dtype, [1, 4])],
        [helper.make_tensor_value_info("y", dtype, [1, 4])],
        list(constants),
    )
    opsets = [helper.make_opsetid("", opset)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), str(path))
    return path


def checked(path: Path, release: str, options: CheckOptions = ASK) -> CheckResult:
    board = load_target("raspberry-pi-4")
    runtimes = tuple(
        runtime.model_copy(update={"min_version": release})
        for runtime in board.runtimes
        if runtime.name == "onnxruntime"
    )
    device = board.model_copy(update={"runtimes": runtimes, "accelerators": ()})
    return check(inspect_model(path), device, options)


def test_the_runtime_itself_decides_of_its_own_release(tmp_path: Path) -> None:
    here = version("onnxruntime")
    good = checked(one_node(tmp_path / "relu.onnx", "Relu", TensorProto.FLOAT, 17), here)
    (placement,) = good.placements
    assert (placement.answer, placement.nodes[0].place) == ("asked", "cpu")
    assert placement.said_by == f"ONNX Runtime {here} on this machine"
    bad = checked(one_node(tmp_path / "elu.onnx", "Elu", TensorProto.DOUBLE, 17), here)
    finding = next(each for each in bad.findings if each.operator == "Elu")
    assert (finding.severity, finding.answer) == ("error", "asked")
    assert bad.placements[0].nodes[0].place == "nowhere"


def test_a_newer_release_here_is_told_and_the_table_decides(tmp_path: Path) -> None:
    path = one_node(tmp_path / "relu.onnx", "Relu", TensorProto.FLOAT, 17)
    tabled, told = checked(path, "1.20").placements
    assert (tabled.answer, told.answer) == ("tabled", "asked")
    assert told.notes == ("the device has ONNX Runtime 1.20: the table of that release decides",)


def test_a_yes_of_a_newer_release_is_none_for_an_older(tmp_path: Path) -> None:
    """Sums of int16 came with 1.21."""
    path = one_node(
        tmp_path / "add.onnx",
        "Add",
        TensorProto.INT16,
        14,
        (helper.make_tensor("b", TensorProto.INT16, [4], [1, 2, 3, 4]),),
    )
    old, new = checked(path, "1.20"), checked(path, version("onnxruntime"))
    assert (old.compatible, new.compatible) == (False, True)
    assert [each.nodes[0].place for each in old.placements] == ["nowhere", "cpu"]


def test_a_no_of_a_newer_release_leaves_a_yes_of_the_table_in_doubt(tmp_path: Path) -> None:
    """1.17 reshapes 8-bit floats in opset 19; later releases do so from opset 21 on."""
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [1, 4])
    path = one_node(tmp_path / "reshape.onnx", "Reshape", TensorProto.FLOAT8E4M3FN, 19, (shape,))
    result = checked(path, "1.17")
    finding = next(each for each in result.findings if each.operator == "Reshape")
    assert (finding.severity, finding.answer) == ("warning", "unknown")
    assert "on this machine has no kernel for it" in finding.reason
    silent = checked(path, "1.17", CheckOptions(ask_cpu=True, ask=False))
    assert not any(each.operator == "Reshape" for each in silent.findings)
    assert [each.answer for each in silent.placements] == ["tabled"]
