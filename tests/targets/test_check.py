"""Every finding: a real model that raises it, and one or a device that does not."""

from __future__ import annotations

import dataclasses
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import onnx
import onnxruntime
import pytest
from ai_edge_litert.tools import flatbuffer_utils
from converting import need_extra
from models import save_onnx
from onnx import TensorProto, helper
from targets_models import (
    GOLDEN,
    convnet,
    dynamically_quantized,
    in_blocks,
    mlp,
    quantized,
    save,
    value,
)

from edgewright.errors import UsageError
from edgewright.targets.answers import Answers
from edgewright.targets.check import CheckOptions, check
from edgewright.targets.codes import CODES, Code
from edgewright.targets.facts import ModelFacts
from edgewright.targets.finding import CheckResult, Finding
from edgewright.targets.inspect import inspect_model
from edgewright.targets.load import list_targets, load_target
from edgewright.targets.oracles.tflite_micro import arena
from edgewright.targets.profile import (
    CoreCluster,
    Cpu,
    Feature,
    Limits,
    Memory,
    Runtime,
    TargetProfile,
    TargetRuntimeName,
)
from edgewright.targets.versions import MAX_IR_VERSION, MAX_OPSET, newest_at

AVX2: tuple[Feature, ...] = ("sse4_1", "avx", "avx2", "fma")
VNNI: tuple[Feature, ...] = (*AVX2, "avx512f", "avx512_vnni")


def device(
    *features: Feature,
    runtimes: dict[TargetRuntimeName, str] | None = None,
    ram_bytes: int = 8 * 2**30,
    limits: Limits | None = None,
) -> TargetProfile:
    """A device with recent runtimes; x86 if its features are."""
    x86 = not features or features[0] in AVX2
    runtimes = runtimes or {"onnxruntime": "1.31", "ai_edge_litert": "2.3"}
    return TargetProfile(
        schema_version=1,
        name="test",
        title="Test device",
        cpu=Cpu(
            soc="soc",
            architecture="x86_64" if x86 else "aarch64",
            clusters=(CoreCluster(core="core", count=4, features=features),),
            source="test",
        ),
        memory=Memory(ram_bytes=ram_bytes, source="test"),
        os=load_target("raspberry-pi-5").os,
        runtimes=tuple(
            Runtime(name=name, min_version=version, source="test")
            for name, version in runtimes.items()
        ),
        limits=limits,
    )


ARM = device("neon", "asimd", "fp16", "dotprod")
OLD_ARM = device("neon", "asimd")
X86 = device(*AVX2)
X86_VNNI = device(*VNNI)
X86_FP16 = device(*VNNI, "avx512_fp16")
UNREAD = device()
CORAL = load_target("coral-dev-board")


def golden(name: str) -> ModelFacts:
    return inspect_model(GOLDEN / f"targets_{name}.tflite")


def found(facts: ModelFacts, profile: TargetProfile) -> dict[str, Finding]:
    return {finding.code: finding for finding in check(facts, profile).findings}


def alarms(facts: ModelFacts, profile: TargetProfile) -> set[str]:
    """The codes of findings, but for the remark that every int8 model gets on old cores."""
    return set(found(facts, profile)) - {"int8-without-dot-product"}


def compatible(facts: ModelFacts, profile: TargetProfile) -> bool:
    return check(facts, profile).compatible


@pytest.mark.parametrize("name", ["conv_float", "conv_batch", "conv_int8"])
def test_no_alarm_on_good_tflite_models(name: str) -> None:
    for profile in list_targets():
        runtime = profile.runtime_for("tflite")
        if runtime is None:
            continue
        if runtime.name == "tflite_micro" and find_spec("tflite_micro") is None:
            continue  # its arena can't be asked of anybody, and that is told
        result = check(golden(name), profile, CheckOptions(accelerator="none"))
        assert result.compatible
        assert {finding.severity for finding in result.findings} <= {"info"}
        assert {finding.code for finding in result.findings} <= {"int8-without-dot-product"}


def test_no_alarm_on_good_onnx_models(tmp_path: Path) -> None:
    for path in (convnet(tmp_path / "c.onnx"), mlp(tmp_path / "m.onnx", batch="batch")):
        facts = inspect_model(path)
        for profile in (*list_targets(), ARM, OLD_ARM, X86, X86_VNNI, UNREAD):
            if profile.runtime_for("onnx") is not None:
                options = CheckOptions(accelerator="none")
                assert check(facts, profile, options).findings == ()


def test_no_alarm_on_quantization_as_it_should_be(tmp_path: Path) -> None:
    facts = inspect_model(quantized(tmp_path))
    assert found(facts, X86_VNNI) == {}
    assert found(facts, ARM) == {}
    assert alarms(inspect_model(quantized(tmp_path, reduce_range=True)), X86) == set()
    assert found(inspect_model(quantized(tmp_path, activations="QInt8")), ARM) == {}
    assert found(inspect_model(dynamically_quantized(tmp_path, matmul=True)), X86_VNNI) == {}
    assert found(inspect_model(in_blocks(tmp_path, accuracy_level=4)), X86) == {}


def test_errors_come_first_and_decide(tmp_path: Path) -> None:
    facts = inspect_model(mlp(tmp_path / "m.onnx", dtype=TensorProto.DOUBLE))
    facts = dataclasses.replace(facts, opset=99)
    result = check(facts, ARM)
    assert [finding.severity for finding in result.findings] == ["error", "warning"]
    assert not result.compatible
    assert CheckResult.model_validate_json(result.model_dump_json()) == result


def test_no_runtime(tmp_path: Path) -> None:
    facts = inspect_model(convnet(tmp_path / "m.onnx"))
    (finding,) = check(facts, CORAL).findings
    assert finding.code == "no-runtime"
    assert finding.severity == "error"
    assert finding.remedy == "export with --format tflite, from the source model"
    assert "no-runtime" not in found(golden("conv_int8"), CORAL)
    only_onnx = device("asimd", runtimes={"onnxruntime": "1.31"})
    remedy = found(golden("conv_int8"), only_onnx)["no-runtime"].remedy
    assert remedy.startswith("export with --format onnx")


def test_opset_too_new(tmp_path: Path) -> None:
    facts = inspect_model(convnet(tmp_path / "m.onnx", opset=22))
    old = device("asimd", runtimes={"onnxruntime": "1.17"})
    finding = found(facts, old)["opset-too-new"]
    assert "opset 22" in finding.reason
    assert "opset 20 or lower" in finding.remedy
    assert "onnxruntime 1.21" in finding.remedy
    assert found(facts, device("asimd", runtimes={"onnxruntime": "1.21.0"})) == {}
    future = dataclasses.replace(facts, opset=99)
    remedy = found(future, ARM)["opset-too-new"].remedy
    assert remedy.startswith("export with opset 26 or lower, or convert the file: python -c ")
    # Nothing is known of runtimes older than the tables, and that is said.
    ancient = device("asimd", runtimes={"onnxruntime": "1.2"})
    assert set(found(facts, ancient)) == {"operator-unknown"}


def test_ir_version_too_new(tmp_path: Path) -> None:
    facts = inspect_model(convnet(tmp_path / "m.onnx", opset=20, ir=10))
    finding = found(facts, device("asimd", runtimes={"onnxruntime": "1.17.1"}))
    assert list(finding) == ["ir-version-too-new"]
    assert finding["ir-version-too-new"].severity == "error"
    assert found(facts, device("asimd", runtimes={"onnxruntime": "1.18"})) == {}
    assert "write it as IR version 9" in finding["ir-version-too-new"].remedy


def test_an_ir_version_that_a_type_needs_is_not_written_older(tmp_path: Path) -> None:
    stored = helper.make_tensor("w", TensorProto.INT4, [2], [1, 2])
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s"], ["d"], domain="com.microsoft"),
        helper.make_node("Add", ["x", "d"], ["y"]),
    ]
    scale = helper.make_tensor("s", TensorProto.FLOAT, [], [0.5])
    io = [value("x", [2])], [value("y", [2])]
    facts = inspect_model(
        save(tmp_path / "m.onnx", nodes, *io, [stored, scale], ir_version=10,
             domains=["com.microsoft"])
    )  # fmt: skip
    old = found(facts, device("asimd", runtimes={"onnxruntime": "1.17"}))
    told = old["ir-version-too-new"].remedy
    assert "has no int4" in told and "write it" not in told


def followed(remedy: str, folder: Path) -> ModelFacts:
    """What the command of a remedy makes."""
    (command,) = re.findall(r"python (-c '[^']+' \S+ \w+\.onnx)", remedy)
    words = shlex.split(command)
    subprocess.run([sys.executable, *words], cwd=folder, check=True)
    return inspect_model(folder / words[-1])


def test_remedies_of_versions_can_be_pasted(tmp_path: Path) -> None:
    old = device("asimd", runtimes={"onnxruntime": "1.17"})
    facts = inspect_model(convnet(tmp_path / "m.onnx", opset=22, ir=10))
    facts = followed(found(facts, old)["opset-too-new"].remedy, tmp_path)
    facts = followed(found(facts, old)["ir-version-too-new"].remedy, tmp_path)
    assert (facts.opset, facts.ir_version) == (20, 9)
    assert found(facts, old) == {}
    # Of RKNN no newer opset than 19 is known.
    board = load_target("rock-5b")
    facts = inspect_model(convnet(tmp_path / "m.onnx", opset=21, ir=10))
    options = CheckOptions(accelerator="npu", ask=False)
    finding = next(f for f in check(facts, board, options).findings if "opset" in f.reason)
    facts = followed(finding.remedy, tmp_path)
    assert facts.opset == 19
    assert not any("opset" in f.reason for f in check(facts, board, options).findings)


@pytest.mark.parametrize(
    ("bits", "too_old", "enough"), [(4, "1.16.3", "1.17"), (8, "1.22", "1.23")]
)
def test_operator_too_new(tmp_path: Path, bits: int, too_old: str, enough: str) -> None:
    facts = inspect_model(in_blocks(tmp_path, bits=bits))
    facts = dataclasses.replace(facts, opset=17, ir_version=8)
    finding = found(facts, device("asimd", runtimes={"onnxruntime": too_old}))["operator-too-new"]
    assert (finding.operator, finding.count) == ("com.microsoft::MatMulNBits", 2)
    assert f"since {enough}" in finding.reason
    assert found(facts, device("asimd", runtimes={"onnxruntime": enough})) == {}


def domain_model(path: Path, domain: str) -> ModelFacts:
    node = helper.make_node("Something", ["x"], ["y"], domain=domain)
    return inspect_model(save(path, [node], [value("x", [1])], [value("y", [1])], domains=[domain]))


def test_custom_operators(tmp_path: Path) -> None:
    finding = found(domain_model(tmp_path / "m.onnx", "my.own"), ARM)["custom-operator"]
    assert (finding.operator, finding.count) == ("my.own::Something", 1)
    for own in ("com.microsoft", "ai.onnx.ml"):
        assert set(found(domain_model(tmp_path / "m.onnx", own), ARM)) == {"operator-not-supported"}
    finding = found(golden("custom"), ARM)["custom-operator"]
    assert (finding.operator, finding.severity) == ("custom::Betainc", "error")
    assert "custom-operator" not in found(golden("conv_int8"), ARM)


def renamed(facts: ModelFacts, name: str) -> ModelFacts:
    return dataclasses.replace(
        facts, operators=tuple(dataclasses.replace(o, name=name) for o in facts.operators)
    )


def test_custom_operators_that_are_there(tmp_path: Path) -> None:
    detection = renamed(golden("custom"), "custom::TFLite_Detection_PostProcess")
    assert found(detection, ARM) == {}
    compiled = renamed(golden("custom"), "custom::edgetpu-custom-op")
    assert "custom-operator" not in found(compiled, CORAL)
    assert "custom-operator" in found(compiled, ARM)


def test_optimized_for_host(tmp_path: Path) -> None:
    findings = found(domain_model(tmp_path / "m.onnx", "com.microsoft.nchwc"), ARM)
    assert findings["optimized-for-host"].severity == "warning"
    assert "custom-operator" not in findings


def test_select_tf_operator() -> None:
    finding = found(golden("flex"), ARM)["select-tf-operator"]
    assert (finding.operator, finding.severity) == ("flex::MatrixDeterminant", "error")
    assert "select-tf-operator" not in found(golden("custom"), ARM)


def test_runtime_too_old() -> None:
    facts = golden("dense_dynamic")
    assert facts.min_runtime_version == "2.17.0"
    old = device("asimd", runtimes={"tflite_runtime": "2.14"})
    assert "tflite_runtime 2.14" in found(facts, old)["runtime-too-old"].reason
    assert "runtime-too-old" not in found(golden("conv_int8"), old)
    first = device("asimd", runtimes={"ai_edge_litert": "1.0.1"})
    assert alarms(facts, first) == set()
    newer = dataclasses.replace(facts, min_runtime_version="2.20.0")
    reason = found(newer, first)["runtime-too-old"].reason
    assert "ai_edge_litert 1.0.1 (as TensorFlow 2.18)" in reason
    assert alarms(newer, device("asimd", runtimes={"ai_edge_litert": "2.0"})) == set()


def test_tflite_runtime_wrong_result() -> None:
    facts = dataclasses.replace(golden("dense_dynamic"), min_runtime_version=None)
    only = device("asimd", runtimes={"tflite_runtime": "2.14"})
    finding = found(facts, only)["tflite-runtime-wrong-result"]
    assert (finding.severity, finding.operator, finding.count) == ("error", "FULLY_CONNECTED", 1)
    both = device("asimd", runtimes={"ai_edge_litert": "2.3", "tflite_runtime": "2.14"})
    assert found(facts, both)["tflite-runtime-wrong-result"].severity == "warning"
    assert compatible(facts, both)
    assert found(facts, ARM) == {}
    assert alarms(golden("conv_int8"), only) == set()
    (use,) = facts.quantized
    tensor = dataclasses.replace(facts, quantized=(dataclasses.replace(use, per_channel=False),))
    assert "tflite-runtime-wrong-result" not in found(tensor, only)
    four = dataclasses.replace(use, operator="CONV_2D", weight_dtype="int4")
    four_bits = dataclasses.replace(facts, quantized=(four,))
    assert "int4 weights" in found(four_bits, only)["tflite-runtime-wrong-result"].reason


def test_file_too_large() -> None:
    facts = golden("conv_float")
    small = device("asimd", limits=Limits(max_model_bytes=1000, source="test"))
    assert found(facts, small)["file-too-large"].severity == "error"
    enough = device("asimd", limits=Limits(max_model_bytes=10_000, source="test"))
    assert found(facts, enough) == {}


def test_of_a_file_that_is_too_large_nobody_is_asked() -> None:
    need_extra("ethos-u", ["ethosu"])
    need_extra("tflite-micro", ["tflite_micro"])
    board, small = load_target("alif-ensemble-e7"), golden("conv_int8")
    assert {each.answer for each in check(small, board).placements} == {"tabled", "asked"}
    facts = dataclasses.replace(small, size_bytes=100_000_000)
    told = check(facts, board)
    assert not told.compatible
    for placement in told.placements:
        assert placement.answer == "tabled" and placement.notes[-1] == (
            "not asked, as the file is too large: the model has 100 MB, its flash memory is 5.77 MB"
        )
    assert {need.answer for need in told.needs} == {"tabled"}
    assert not any(f.code in ("arena-not-measured", "accelerator-not-asked") for f in told.findings)
    wanted = check(facts, board, CheckOptions(ask=False))
    assert wanted.findings == told.findings
    assert not any("not asked" in note for each in wanted.placements for note in each.notes)


def test_memory() -> None:
    facts = dataclasses.replace(golden("conv_float"), weight_bytes=300_000_000)

    def under(limit: int | None, ram: int = 8 * 2**30) -> dict[str, Finding]:
        limits = Limits(max_memory_bytes=limit, source="test")
        return found(facts, device("asimd", ram_bytes=ram, limits=limits))

    over = under(320_000_000)["memory-over-limit"]
    assert over.severity == "error"
    assert "an estimate" in over.reason
    assert "the device's limit is 320 MB" in over.reason
    assert under(400_000_000)["memory-near-limit"].severity == "warning"
    assert under(600_000_000) == {}
    assert "--recipe int8-dynamic" in over.remedy
    file, needed = check(facts, device("asimd", ram_bytes=2**30)).needs
    assert (file.needed_bytes, file.allowed_bytes) == (facts.size_bytes, None)
    assert (needed.what, needed.limit, needed.allowed_bytes) == (
        "memory",
        "the device's RAM",
        2**30,
    )
    assert needed.needed_bytes > facts.weight_bytes
    assert "RAM is 256 MB" in under(None, ram=256_000_000)["memory-over-limit"].reason
    unknown = dataclasses.replace(facts, peak_activation_bytes=None)
    small = device("asimd", ram_bytes=256_000_000)
    assert "activations unknown" in found(unknown, small)["memory-over-limit"].reason


def test_the_tool_that_fixes_shapes_takes_the_command(tmp_path: Path) -> None:
    relu = onnx.helper.make_node("Relu", ["x y"], ["z"])
    shape: dict[str, list[int | str]] = {"x y": [1, "n", 4]}
    path = save_onnx(tmp_path / "open.onnx", [relu], shape, {"z": [1, "n", 4]})
    facts = inspect_model(path)
    told = found(facts, device())["dynamic-shapes"].remedy
    command = told.partition("python ")[2].partition(", with numbers for N")[0]
    fixed = tmp_path / "fixed.onnx"
    given = {"MODEL": str(path), "FIXED.onnx": str(fixed), "1,N,4": "1,3,4"}
    words = [given.get(word, word) for word in shlex.split(command)]
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    assert inspect_model(fixed).inputs[0].shape == (1, 3, 4)


def test_dynamic_shapes(tmp_path: Path) -> None:
    finding = found(golden("conv_open"), ARM)["dynamic-shapes"]
    assert finding.severity == "warning"
    assert "image float32[1x?x?x3]" in finding.reason
    facts = inspect_model(convnet(tmp_path / "m.onnx", size="side"))
    assert found(facts, ARM)["dynamic-shapes"].severity == "info"
    assert "dynamic-shapes" not in found(golden("conv_batch"), ARM)
    assert found(inspect_model(convnet(tmp_path / "m.onnx", batch="n")), ARM) == {}


def test_float16(tmp_path: Path) -> None:
    facts = inspect_model(mlp(tmp_path / "m.onnx", dtype=TensorProto.FLOAT16))
    finding = found(facts, OLD_ARM)["float16-without-arithmetic"]
    assert (finding.severity, finding.count) == ("warning", 3)
    assert "float16-without-arithmetic" in found(facts, X86_VNNI)
    for profile in (ARM, X86_FP16, UNREAD):
        assert found(facts, profile) == {}
    weights = golden("conv_float16")
    assert found(weights, OLD_ARM)["float16-weights"].severity == "info"
    assert found(weights, ARM) == {}


def test_float64(tmp_path: Path) -> None:
    facts = inspect_model(mlp(tmp_path / "m.onnx", dtype=TensorProto.DOUBLE))
    assert found(facts, ARM)["float64"].count == 3
    cast = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)
    shapes = [value("x", [1], TensorProto.DOUBLE)], [value("y", [1])]
    assert found(inspect_model(save(tmp_path / "c.onnx", [cast], *shapes)), ARM) == {}
    double = helper.make_tensor("one", TensorProto.DOUBLE, [1], [1.0])
    nodes = [
        helper.make_node("Constant", [], ["c"], value=double),
        helper.make_node("CastLike", ["c", "x"], ["one"]),
        helper.make_node("Add", ["x", "one"], ["y"]),
    ]
    constant = save(tmp_path / "c.onnx", nodes, [value("x", [1])], [value("y", [1])])
    assert found(inspect_model(constant), ARM) == {}


def test_dynamic_convolutions(tmp_path: Path) -> None:
    facts = inspect_model(dynamically_quantized(tmp_path, matmul=False))
    finding = found(facts, ARM)["dynamic-convolution"]
    assert (finding.operator, finding.count) == ("ConvInteger", 2)
    (use,) = golden("dense_dynamic").quantized
    lite = dataclasses.replace(
        golden("dense_dynamic"), quantized=(dataclasses.replace(use, operator="CONV_2D"),)
    )
    assert "0.62 times" in found(lite, ARM)["dynamic-convolution"].reason
    assert found(golden("dense_dynamic"), ARM) == {}


def test_signed_activations(tmp_path: Path) -> None:
    facts = inspect_model(quantized(tmp_path, activations="QInt8"))
    assert found(facts, X86)["signed-activations"].severity == "warning"
    assert {f.operator for f in check(facts, X86_VNNI).findings} == {"Conv", "Gemm"}
    assert found(facts, ARM) == {}
    assert alarms(golden("conv_int8"), X86) == set()


def test_int8_without_dot_product(tmp_path: Path) -> None:
    code = "int8-without-dot-product"
    static, dynamic = golden("conv_int8"), golden("dense_dynamic")
    assert "expect 1.0 times the speed of float" in found(static, X86)[code].reason
    assert "expect 1.15 times the speed of float" in found(dynamic, X86)[code].reason
    narrow = inspect_model(quantized(tmp_path, reduce_range=True))
    assert "expect 1.4 times the speed of float" in found(narrow, X86)[code].reason
    assert found(static, X86)[code].severity == "info"
    assert "SDOT" in found(static, OLD_ARM)[code].reason
    for profile in (X86_VNNI, ARM, UNREAD):
        assert code not in found(static, profile)
    assert code not in found(golden("conv_float"), X86)
    assert code not in found(golden("conv_int16"), X86)


def test_four_bit_convolutions() -> None:
    uses = golden("conv_int8").quantized
    four = tuple(dataclasses.replace(use, weight_dtype="int4") for use in uses)
    findings = found(dataclasses.replace(golden("conv_int8"), quantized=four), ARM)
    assert "0.36 times" in findings["four-bit-convolution"].reason
    about = check(dataclasses.replace(golden("conv_int8"), quantized=four), ARM).findings
    assert {f.operator for f in about} == {"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"}
    assert "four-bit-convolution" not in found(golden("conv_int8"), ARM)


def test_findings_name_the_nodes(tmp_path: Path) -> None:
    facts = inspect_model(quantized(tmp_path, activations="QInt8"))
    nodes = {n.name for graph in facts.graphs for n in graph.nodes if n.operator == "Conv"}
    (conv,) = [f for f in check(facts, X86_VNNI).findings if f.operator == "Conv"]
    assert set(conv.nodes) == nodes
    custom = found(golden("custom"), ARM)["custom-operator"]
    assert len(custom.nodes) == 1


def test_external_data(tmp_path: Path) -> None:
    inside = mlp(tmp_path / "inside.onnx")
    assert "external-data" not in found(inspect_model(inside), ARM)
    onnx.save(
        onnx.load(inside), tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0,
        location="weights.bin",
    )  # fmt: skip
    finding = found(inspect_model(tmp_path / "m.onnx"), ARM)["external-data"]
    assert finding.severity == "warning"
    assert "weights are in weights.bin" in finding.reason


def microcontroller(flash_bytes: int = 10**6, ram_bytes: int = 10**6) -> TargetProfile:
    board = device(runtimes={"tflite_micro": "1"}).model_dump()
    board["cpu"]["architecture"] = "armv8.1-m"
    board["cpu"]["clusters"][0]["features"] = ("mve",)
    board["memory"].update(flash_bytes=flash_bytes, ram_bytes=ram_bytes)
    board["os"].update(name="none", python=None)
    return TargetProfile.model_validate(board)


def test_flash_and_arena_of_a_microcontroller() -> None:
    facts = dataclasses.replace(golden("conv_int8"), size_bytes=800_000, weight_bytes=700_000)
    assert {"file-too-large", "flash-near-limit", "memory-over-limit"}.isdisjoint(
        found(facts, microcontroller(2_000_000, 100_000))
    ), "weights stay in flash"
    assert found(facts, microcontroller(900_000))["flash-near-limit"].severity == "warning"
    full = found(facts, microcontroller(700_000))["file-too-large"]
    assert full.reason == "the model has 800 kB, its flash memory is 700 kB"
    assert full.source == "test"
    assert "it is quantized already" in full.remedy
    floats = dataclasses.replace(golden("conv_float"), size_bytes=800_000)
    remedy = found(floats, microcontroller(700_000))["file-too-large"].remedy
    assert f"edgewright quantize {floats.path} --recipe int8-s8s8" in remedy
    named = dataclasses.replace(floats, path=Path("my model.tflite"))
    assert "quantize 'my model.tflite' " in (
        found(named, microcontroller(700_000))["file-too-large"].remedy
    )
    tight = check(facts, microcontroller(ram_bytes=100), CheckOptions(ask=False))
    (small,) = [f for f in tight.findings if f.code == "memory-over-limit"]
    assert "its arena takes at least" in small.reason
    assert (small.severity, small.answer) == ("error", "tabled")


def test_the_arena_is_what_tflite_micro_says() -> None:
    need_extra("tflite-micro", ["tflite_micro"])
    facts = golden("conv_int8")
    takes = arena(facts.path).total_bytes
    assert takes > (facts.peak_activation_bytes or 0)
    answers = Answers()

    def of(ram_bytes: int) -> list[Finding]:
        result = check(facts, microcontroller(ram_bytes=ram_bytes), answers=answers)
        return [f for f in result.findings if f.code.startswith(("memory", "arena"))]

    (over,) = of(takes - 1)
    assert (over.code, over.answer) == ("memory-over-limit", "asked")
    assert "TFLite Micro" in over.reason
    assert [f.code for f in of(takes)] == ["memory-near-limit"]
    assert of(2 * takes) == []
    file, needed = check(facts, microcontroller(ram_bytes=2 * takes), answers=answers).needs
    assert (file.what, file.needed_bytes) == ("file", facts.size_bytes)
    assert (needed.what, needed.answer) == ("arena", "asked")
    assert (needed.needed_bytes, needed.allowed_bytes) == (takes, 2 * takes)
    unread = dataclasses.replace(facts, path=Path("gone.tflite"))
    codes = {f.code for f in check(unread, microcontroller()).findings}
    assert "arena-not-measured" in codes


def test_integer_models_with_float_borders_on_a_microcontroller() -> None:
    facts = golden("conv_int8")
    assert "float-input-output" not in found(facts, microcontroller())
    floats = tuple(dataclasses.replace(spec, dtype="float32") for spec in facts.inputs)
    bordered = dataclasses.replace(facts, inputs=floats)
    finding = found(bordered, microcontroller())["float-input-output"]
    assert (finding.severity, finding.count) == ("warning", 1)
    assert "float-input-output" not in found(bordered, ARM)
    assert "float-input-output" not in found(golden("conv_float"), microcontroller())


def test_unsigned_weights(tmp_path: Path) -> None:
    facts = inspect_model(quantized(tmp_path, weight_type="QUInt8", per_channel=False))
    assert found(facts, X86_VNNI)["unsigned-weights"].severity == "warning"
    assert found(facts, ARM) == {}


@pytest.mark.parametrize("operator_format", [False, True])
def test_saturating_weights(tmp_path: Path, operator_format: bool) -> None:
    facts = inspect_model(quantized(tmp_path, operator_format=operator_format))
    findings = [f for f in check(facts, X86).findings if f.code == "saturating-weights"]
    assert sum(finding.count for finding in findings) == 3
    for profile in (X86_VNNI, ARM, UNREAD):
        assert found(facts, profile) == {}


def test_weights_that_nobody_read_may_saturate(tmp_path: Path) -> None:
    facts = inspect_model(quantized(tmp_path))
    known = [dataclasses.replace(use, max_weight=64) for use in facts.quantized]
    assert "saturating-weights" not in found(
        dataclasses.replace(facts, quantized=tuple(known)), X86
    )
    unread = [dataclasses.replace(use, max_weight=None) for use in facts.quantized]
    assert "saturating-weights" in found(dataclasses.replace(facts, quantized=tuple(unread)), X86)


def test_wide_activations(tmp_path: Path) -> None:
    facts = inspect_model(quantized(tmp_path, activations="QUInt16"))
    assert "0.34 times" in found(facts, ARM)["wide-activations"].reason
    assert "0.05 times" in found(golden("conv_int16"), ARM)["wide-activations"].reason
    assert found(golden("conv_int8"), ARM) == {}


def test_models_for_the_edge_tpu_are_compiled() -> None:
    finding = found(golden("conv_int8"), CORAL)["accelerator-not-compiled"]
    assert finding.severity == "info"
    assert "edgetpu_compiler" in finding.remedy
    in_float = found(golden("conv_float"), CORAL)
    assert "accelerator-not-compiled" not in in_float, "nothing of it would run there"
    compiled = renamed(golden("conv_int8"), "custom::edgetpu-custom-op")
    assert "accelerator-not-compiled" not in found(compiled, CORAL)
    assert "accelerator-not-compiled" not in found(golden("conv_int8"), ARM)
    (main,) = compiled.graphs
    node = dataclasses.replace(main.nodes[0], operator="custom::edgetpu-custom-op")
    whole = dataclasses.replace(compiled, graphs=(dataclasses.replace(main, nodes=(node,)),))
    condition = found(whole, CORAL)["accelerator-condition"]
    assert "compiled for this very chip" in condition.reason
    large = CORAL.model_dump()
    large["memory"]["flash_bytes"] = whole.size_bytes
    remedy = found(whole, TargetProfile.model_validate(large))["flash-near-limit"].remedy
    assert remedy == "compile a model with fewer or narrower layers"
    without = check(compiled, CORAL, CheckOptions(accelerator="none", ask=False))
    assert not without.compatible
    assert [f.code for f in without.findings if f.severity == "error"] == ["custom-operator"]
    assert "--accelerator edge-tpu" in without.findings[0].remedy


def test_weights_beyond_what_the_accelerator_keeps() -> None:
    facts = golden("conv_int8")
    (main,) = facts.graphs
    # Two of its biases are one buffer of the file.
    stored = {t.constant: t.constant_bytes for t in main.tensors if t.constant is not None}
    takes = sum(stored.values())

    def keeping(size: int) -> TargetProfile:
        given = CORAL.model_dump()
        given["accelerators"][0]["weight_cache_bytes"] = size
        return TargetProfile.model_validate(given)

    assert "accelerator-cache" not in found(facts, CORAL)
    assert "accelerator-cache" not in found(facts, keeping(takes))
    finding = found(facts, keeping(takes - 1))["accelerator-cache"]
    assert finding.severity == "info" and f"have {takes} bytes" in finding.reason
    assert "the rest is fetched over the bus at each inference" in finding.reason
    assert finding.source is not None and "Parameter data caching" in finding.source
    assert "accelerator-cache" not in found(golden("conv_float"), keeping(1)), "it runs on the CPU"
    compiled = dataclasses.replace(
        renamed(facts, "custom::edgetpu-custom-op"), size_bytes=9_600_000
    )
    told = found(compiled, CORAL)["accelerator-cache"].reason
    assert told.startswith("the compiled model has 9.6 MB, and the Google Edge TPU (4 TOPS) keeps")


def test_the_tables_agree_with_the_installed_runtime() -> None:
    """It accepts the versions that the tables say, and no newer ones."""
    opset = newest_at(MAX_OPSET, onnxruntime.__version__)
    ir_version = newest_at(MAX_IR_VERSION, onnxruntime.__version__)
    assert opset is not None
    assert ir_version is not None

    def loads(opset: int, ir_version: int) -> bool:
        node = helper.make_node("Relu", ["x"], ["y"])
        graph = helper.make_graph([node], "g", [value("x", [1])], [value("y", [1])])
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version
        )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        try:
            onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception:
            return False
        return True

    assert loads(opset, ir_version)
    assert not loads(opset + 1, ir_version)
    assert not loads(opset, ir_version + 1)


def test_every_code_is_explained() -> None:
    """A finding takes no other code, by its type; each has its words."""
    assert set(CODES) == set(get_args(Code))
    for meaning in CODES.values():
        assert all(text[-1] in ".`" for text in (meaning.meaning, meaning.remedy))


def test_unknown_runtimes_and_accelerators_name_the_nearest() -> None:
    facts = golden("conv_int8")
    with pytest.raises(UsageError, match="coral-dev-board has no accelerator 'edgetpu'") as error:
        check(facts, CORAL, CheckOptions(accelerator="edgetpu"))
    assert error.value.hint == "did you mean 'edge-tpu'?"
    with pytest.raises(UsageError, match="there is tflite_runtime") as error:
        check(facts, CORAL, CheckOptions(runtime="tflite-runtime"))
    assert error.value.hint == "did you mean 'tflite_runtime'?"
    with pytest.raises(UsageError, match="no runtime 'litert'") as error:
        check(facts, load_target("raspberry-pi-5"), CheckOptions(runtime="litert"))
    assert error.value.hint == "did you mean 'ai_edge_litert'?"
    with pytest.raises(UsageError, match="no runtime 'qwertz'") as error:
        check(facts, CORAL, CheckOptions(runtime="qwertz"))
    assert error.value.hint is None


def test_rules_are_about_the_runtime_that_is_asked_for() -> None:
    pi = load_target("raspberry-pi-4")
    facts = golden("conv_int8")
    finding = check(facts, pi, CheckOptions(runtime="onnxruntime")).findings[0]
    assert (finding.code, finding.reason) == ("no-runtime", "onnxruntime does not read tflite")
    assert finding.remedy.startswith("check with --runtime ai_edge_litert or tflite_runtime, or ")
    assert check(facts, pi, CheckOptions(runtime="tflite_runtime")).compatible


def twice(path: Path) -> Path:
    """A model that defines 'w' twice, each time in a way of its own: nodes see nothing wrong."""
    nodes = [helper.make_node("Relu", ["x"], ["w"]), helper.make_node("Neg", ["w"], ["y"])]
    stored = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    return save(path, nodes, [value("x", [1])], [value("y", [1])], [stored])


def without_stride(path: Path) -> Path:
    """A convolution that moves by 0."""
    model = flatbuffer_utils.read_model(str(GOLDEN / "targets_conv_float.tflite"))
    model.subgraphs[0].operators[0].builtinOptions.strideW = 0
    flatbuffer_utils.write_model(model, str(path))
    return path


@pytest.mark.parametrize(("make", "name"), [(twice, "m.onnx"), (without_stride, "m.tflite")])
def test_what_the_runtime_refuses_does_not_fit(
    make: Callable[[Path], Path], name: str, tmp_path: Path
) -> None:
    """The tables say yes to every node; the runtime that is asked does not load the model."""
    facts = inspect_model(make(tmp_path / name))

    def refused(target: str, *, ask_cpu: bool = True) -> list[Finding]:
        result = check(facts, load_target(target), CheckOptions(ask_cpu=ask_cpu))
        return [f for f in result.findings if f.code == "runtime-refuses"]

    (here,) = refused("host")
    assert (here.severity, here.answer) == ("error", "asked")
    # Of another release than this machine's nobody knows.
    (there,) = refused("raspberry-pi-5")
    assert (there.severity, there.answer) == ("warning", "unknown")
    assert "assumed for the device" in there.reason
    assert refused("host", ask_cpu=False) == []


def test_a_remedy_names_the_recipe_of_the_processor(tmp_path: Path) -> None:
    facts = inspect_model(quantized(tmp_path, activations="QInt8"))

    def remedy(device: TargetProfile, code: str) -> str:
        return found(facts, device)[code].remedy

    assert "--recipe int8-u8s8-7bit --format onnx" in remedy(device(*AVX2), "signed-activations")
    vnni = device(*AVX2, "avx512_vnni")
    assert "--recipe int8-u8s8 --format onnx" in remedy(vnni, "signed-activations")
    told = remedy(device("asimd"), "int8-without-dot-product")
    assert f"edgewright profile FLOAT32_MODEL {facts.path} --device DEVICE" in told


def test_a_refusal_that_has_a_reason_is_not_told_twice(tmp_path: Path) -> None:
    facts = dataclasses.replace(inspect_model(twice(tmp_path / "m.onnx")), opset=99)
    codes = {f.code for f in check(facts, load_target("host"), CheckOptions(ask_cpu=True)).findings}
    assert "opset-too-new" in codes and "runtime-refuses" not in codes


def test_floating_point_on_an_accelerator_of_integers(tmp_path: Path) -> None:
    board = load_target("imx-8m-plus")

    def told(facts: ModelFacts) -> dict[str, Finding]:
        result = check(facts, board, CheckOptions(accelerator="npu", ask=False))
        return {finding.code: finding for finding in result.findings}

    finding = told(golden("conv_float"))["accelerator-precision"]
    assert (finding.severity, finding.answer) == ("warning", "unknown")
    assert "computes in int8, uint8, int16" in finding.reason and finding.nodes
    assert "nobody says" in finding.reason and "to int8" in finding.remedy
    assert "accelerator-precision" not in told(golden("conv_int8"))
    phone = load_target("galaxy-s24")
    on_gpu = check(golden("conv_float"), phone, CheckOptions(accelerator="gpu", ask=False))
    assert "accelerator-precision" not in {finding.code for finding in on_gpu.findings}
    # Between QDQ pairs it is integers that count.
    tensor = load_target("pixel-6")
    facts = inspect_model(quantized(tmp_path))
    result = check(facts, tensor, CheckOptions(accelerator="tpu", ask=False))
    assert "accelerator-precision" not in {finding.code for finding in result.findings}
    assert result.placements[-1].count("accelerator")


def test_floating_point_that_the_accelerators_compiler_quantizes() -> None:
    options = CheckOptions(accelerator="tidl", ask=False)
    result = check(golden("conv_float"), load_target("beaglebone-ai-64"), options)
    (finding,) = (f for f in result.findings if f.code == "accelerator-precision")
    assert (finding.severity, finding.answer) == ("info", "tabled")
    assert "its compiler quantizes them itself" in finding.reason
    assert "measure the accuracy" in finding.remedy
    assert finding.source is not None and "docs/quantization.md" in finding.source
