"""Every finding: a real model that raises it, and one or a device that does not."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import get_args

import onnxruntime
import pytest
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
from edgewright.targets.check import CheckOptions, check
from edgewright.targets.codes import CODES, Code
from edgewright.targets.facts import ModelFacts
from edgewright.targets.finding import CheckResult, Finding
from edgewright.targets.inspect import inspect_model
from edgewright.targets.load import list_targets, load_target
from edgewright.targets.profile import (
    CoreCluster,
    Cpu,
    Feature,
    Limits,
    Memory,
    Runtime,
    RuntimeName,
    TargetProfile,
)
from edgewright.targets.versions import MAX_IR_VERSION, MAX_OPSET, newest_at

AVX2: tuple[Feature, ...] = ("sse4_1", "avx", "avx2", "fma")
VNNI: tuple[Feature, ...] = (*AVX2, "avx512f", "avx512_vnni")


def device(
    *features: Feature,
    runtimes: dict[RuntimeName, str] | None = None,
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


def compatible(facts: ModelFacts, profile: TargetProfile) -> bool:
    return check(facts, profile).compatible


@pytest.mark.parametrize("name", ["conv_float", "conv_batch", "conv_int8"])
def test_no_alarm_on_good_tflite_models(name: str) -> None:
    for profile in list_targets():
        result = check(golden(name), profile, CheckOptions(accelerator="none"))
        assert result.compatible
        assert result.findings == ()


def test_no_alarm_on_good_onnx_models(tmp_path: Path) -> None:
    for path in (convnet(tmp_path / "c.onnx"), mlp(tmp_path / "m.onnx", batch="batch")):
        facts = inspect_model(path)
        for profile in (*list_targets(), ARM, OLD_ARM, X86, X86_VNNI, UNREAD):
            if profile.runtime_for("onnx") is not None:
                assert check(facts, profile).findings == ()


def test_no_alarm_on_quantization_as_it_should_be(tmp_path: Path) -> None:
    facts = inspect_model(quantized(tmp_path))
    assert found(facts, X86_VNNI) == {}
    assert found(facts, ARM) == {}
    assert found(inspect_model(quantized(tmp_path, reduce_range=True)), X86) == {}
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
    assert found(future, ARM)["opset-too-new"].remedy == "export with opset 26 or lower"
    # Nothing is known of runtimes older than the tables.
    ancient = device("asimd", runtimes={"onnxruntime": "1.2"})
    assert found(facts, ancient) == {}


def test_ir_version_too_new(tmp_path: Path) -> None:
    facts = inspect_model(convnet(tmp_path / "m.onnx", opset=20, ir=10))
    finding = found(facts, device("asimd", runtimes={"onnxruntime": "1.17.1"}))
    assert list(finding) == ["ir-version-too-new"]
    assert finding["ir-version-too-new"].severity == "error"
    assert found(facts, device("asimd", runtimes={"onnxruntime": "1.18"})) == {}


@pytest.mark.parametrize(
    ("bits", "too_old", "enough"), [(4, "1.16.3", "1.17"), (8, "1.22", "1.23")]
)
def test_operator_too_new(tmp_path: Path, bits: int, too_old: str, enough: str) -> None:
    facts = inspect_model(in_blocks(tmp_path, bits=bits))
    facts = dataclasses.replace(facts, opset=17, ir_version=8)
    finding = found(facts, device("asimd", runtimes={"onnxruntime": too_old}))["operator-too-new"]
    assert (finding.operator, finding.count) == ("com.microsoft::MatMulNBits", 2)
    assert enough in finding.remedy
    assert found(facts, device("asimd", runtimes={"onnxruntime": enough})) == {}


def domain_model(path: Path, domain: str) -> ModelFacts:
    node = helper.make_node("Something", ["x"], ["y"], domain=domain)
    return inspect_model(save(path, [node], [value("x", [1])], [value("y", [1])], domains=[domain]))


def test_custom_operators(tmp_path: Path) -> None:
    finding = found(domain_model(tmp_path / "m.onnx", "my.own"), ARM)["custom-operator"]
    assert (finding.operator, finding.count) == ("my.own::Something", 1)
    assert found(domain_model(tmp_path / "m.onnx", "com.microsoft"), ARM) == {}
    assert found(domain_model(tmp_path / "m.onnx", "ai.onnx.ml"), ARM) == {}
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
    assert found(facts, first) == {}
    newer = dataclasses.replace(facts, min_runtime_version="2.20.0")
    reason = found(newer, first)["runtime-too-old"].reason
    assert "ai_edge_litert 1.0.1 (as TensorFlow 2.18)" in reason
    assert found(newer, device("asimd", runtimes={"ai_edge_litert": "2.0"})) == {}


def test_tflite_runtime_wrong_result() -> None:
    facts = dataclasses.replace(golden("dense_dynamic"), min_runtime_version=None)
    only = device("asimd", runtimes={"tflite_runtime": "2.14"})
    finding = found(facts, only)["tflite-runtime-wrong-result"]
    assert (finding.severity, finding.operator, finding.count) == ("error", "FULLY_CONNECTED", 1)
    both = device("asimd", runtimes={"ai_edge_litert": "2.3", "tflite_runtime": "2.14"})
    assert found(facts, both)["tflite-runtime-wrong-result"].severity == "warning"
    assert compatible(facts, both)
    assert found(facts, ARM) == {}
    assert found(golden("conv_int8"), only) == {}
    (use,) = facts.quantized
    tensor = dataclasses.replace(facts, quantized=(dataclasses.replace(use, per_channel=False),))
    assert found(tensor, only) == {}
    four = dataclasses.replace(use, operator="CONV_2D", weight_dtype="int4")
    four_bits = dataclasses.replace(facts, quantized=(four,))
    assert "int4 weights" in found(four_bits, only)["tflite-runtime-wrong-result"].reason


def test_file_too_large() -> None:
    facts = golden("conv_float")
    small = device("asimd", limits=Limits(max_model_bytes=1000, source="test"))
    assert found(facts, small)["file-too-large"].severity == "error"
    enough = device("asimd", limits=Limits(max_model_bytes=10_000, source="test"))
    assert found(facts, enough) == {}


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
    assert "RAM is 256 MB" in under(None, ram=256_000_000)["memory-over-limit"].reason
    unknown = dataclasses.replace(facts, peak_activation_bytes=None)
    small = device("asimd", ram_bytes=256_000_000)
    assert "activations unknown" in found(unknown, small)["memory-over-limit"].reason


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
    assert found(golden("conv_int8"), X86) == {}


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


def test_wide_activations(tmp_path: Path) -> None:
    facts = inspect_model(quantized(tmp_path, activations="QUInt16"))
    assert "0.34 times" in found(facts, ARM)["wide-activations"].reason
    assert "0.05 times" in found(golden("conv_int16"), ARM)["wide-activations"].reason
    assert found(golden("conv_int8"), ARM) == {}


def test_models_for_the_edge_tpu_are_compiled() -> None:
    finding = found(golden("conv_int8"), CORAL)["accelerator-not-compiled"]
    assert finding.severity == "info"
    assert "edgetpu_compiler" in finding.remedy
    compiled = renamed(golden("conv_int8"), "custom::edgetpu-custom-op")
    assert "accelerator-not-compiled" not in found(compiled, CORAL)
    assert "accelerator-not-compiled" not in found(golden("conv_int8"), ARM)


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
    with pytest.raises(UsageError, match="no runtime 'qwertz'") as error:
        check(facts, CORAL, CheckOptions(runtime="qwertz"))
    assert error.value.hint is None


def test_rules_are_about_the_runtime_that_is_asked_for() -> None:
    pi = load_target("raspberry-pi-4")
    facts = golden("conv_int8")
    assert "no-runtime" in {
        f.code for f in check(facts, pi, CheckOptions(runtime="onnxruntime")).findings
    }
    assert check(facts, pi, CheckOptions(runtime="tflite_runtime")).compatible
