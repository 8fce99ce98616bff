"""Rules about what a device's runtimes can load."""

from __future__ import annotations

from collections.abc import Iterator

from .abilities import compiled_operators
from .facts import ModelFacts, OperatorFacts
from .finding import Finding
from .profile import READERS, READS, Runtime, TargetProfile
from .remedies import in_ir_version, in_opset
from .support_files import compiler_of, kernels_of
from .versions import (
    IR_VERSION_OF_TYPE,
    MAX_IR_VERSION,
    MAX_OPSET,
    at_least,
    first_with_opset,
    is_foreign,
    newest_at,
    tensorflow_version,
)


def format_has_runtime(
    facts: ModelFacts, profile: TargetProfile, chosen: str | None
) -> Iterator[Finding]:
    """The device needs a runtime that reads the format.

    Args:
        profile: the device with all of its runtimes.
        chosen: the one that was asked for; None: any.
    """
    readers = [runtime.name for runtime in profile.runtimes if READS[runtime.name] == facts.format]
    if (chosen in readers) if chosen else readers:
        return
    there = {READS[runtime.name] for runtime in profile.runtimes if chosen in (None, runtime.name)}
    export = f"export with --format {' or '.join(sorted(there))}, from the source model"
    listed = ", ".join(runtime.name for runtime in profile.runtimes)
    yield Finding(
        severity="error",
        code="no-runtime",
        reason=f"{chosen} does not read {facts.format}"
        if readers
        else f"no runtime of {profile.title} reads {facts.format} (it has {listed})",
        remedy=f"check with --runtime {' or '.join(readers)}, or {export}" if readers else export,
    )


def opset(facts: ModelFacts, profile: TargetProfile) -> Iterator[Finding]:
    """The oldest ONNX Runtime assumed for the device must know the operator set."""
    runtime = _onnxruntime(facts, profile)
    if runtime is None or facts.opset is None:
        return
    most = newest_at(MAX_OPSET, runtime.min_version)
    if most is not None and facts.opset > most:
        since = first_with_opset(facts.opset)
        newer = f", or use onnxruntime {since} or newer there" if since else ""
        yield Finding(
            severity="error",
            code="opset-too-new",
            reason=f"the model uses opset {facts.opset}; onnxruntime {runtime.min_version}, the "
            f"oldest assumed for this device, knows opsets up to {most}",
            remedy=f"export with opset {most} or lower{newer}, or convert the file: "
            f"{in_opset(facts, most)}",
        )


def ir_version(facts: ModelFacts, profile: TargetProfile) -> Iterator[Finding]:
    """The oldest ONNX Runtime assumed for the device must know the file format's version."""
    runtime = _onnxruntime(facts, profile)
    if runtime is None or facts.ir_version is None:
        return
    most = newest_at(MAX_IR_VERSION, runtime.min_version)
    if most is not None and facts.ir_version > most:
        dtypes = {tensor.dtype for graph in facts.graphs for tensor in graph.tensors}
        late = sorted(name for name in dtypes if IR_VERSION_OF_TYPE.get(name, 0) > most)
        rewrite = f"write it as IR version {most}: {in_ir_version(facts, most)}"
        others = f"the older version has no {', '.join(late)}: take another precision"
        yield Finding(
            severity="error",
            code="ir-version-too-new",
            reason=f"the file has IR version {facts.ir_version}; onnxruntime "
            f"{runtime.min_version}, the oldest assumed for this device, reads up to {most}",
            remedy=f"{others if late else rewrite}; or use a newer onnxruntime there",
        )


def foreign_domains(facts: ModelFacts, profile: TargetProfile) -> Iterator[Finding]:
    """Operators outside of ONNX' and ONNX Runtime's domains need a library of their own."""
    if _onnxruntime(facts, profile) is None:
        return
    for operator in facts.operators:
        if not is_foreign(operator.name):
            continue
        domain = operator.name.rpartition("::")[0]
        if domain == "com.microsoft.nchwc":
            yield _finding(
                operator,
                "warning",
                "optimized-for-host",
                "this operator was put in by an optimizer for the processor that it ran on",
                "save the model before ONNX Runtime optimizes it; each device optimizes for itself",
            )
            continue
        yield _finding(
            operator,
            "error",
            "custom-operator",
            f"the domain {domain} is not part of onnxruntime",
            "replace the operator by standard ones; Edgewright registers no custom libraries",
        )


def tflite_runtime_version(facts: ModelFacts, profile: TargetProfile) -> Iterator[Finding]:
    """The TFLite runtime must be as new as the file asks for."""
    runtime = profile.runtime_for(facts.format)
    if facts.format != "tflite" or runtime is None or facts.min_runtime_version is None:
        return
    equivalent = tensorflow_version(runtime)
    if equivalent is not None and not at_least(equivalent, facts.min_runtime_version):
        same = "" if equivalent == runtime.min_version else f" (as TensorFlow {equivalent})"
        yield Finding(
            severity="error",
            code="runtime-too-old",
            reason=f"the file asks for a TFLite runtime of TensorFlow {facts.min_runtime_version}; "
            f"the oldest assumed for this device is {runtime.name} {runtime.min_version}{same}",
            remedy="use a newer runtime there, or convert with an older converter",
        )


def select_operators(facts: ModelFacts, profile: TargetProfile) -> Iterator[Finding]:
    """The runtimes' Python packages and libraries lack TensorFlow's own kernels."""
    if profile.runtime_for(facts.format) is None:
        return
    for operator in facts.operators:
        if operator.name.startswith("flex::"):
            yield _finding(
                operator,
                "error",
                "select-tf-operator",
                "this operator runs in TensorFlow only (Select TF ops), which the device's "
                "runtime does not contain",
                "convert with TFLITE_BUILTINS alone, and replace what does not convert",
            )


def custom_operators(facts: ModelFacts, profile: TargetProfile) -> Iterator[Finding]:
    """Custom operators need code that Edgewright does not bring to the device."""
    runtime = profile.runtime_for(facts.format)
    if runtime is None:
        return
    kernels = kernels_of(runtime.name)
    known = set(kernels.by_operator) if kernels is not None else set()
    known |= compiled_operators(profile)
    for operator in facts.operators:
        if operator.name.startswith("custom::") and operator.name not in known:
            compiler = compiler_of(operator.name)
            yield _finding(
                operator,
                "error",
                "custom-operator",
                "this operator is not part of the device's TFLite runtime",
                "replace it by builtin operators; Edgewright registers no custom kernels"
                if compiler is None
                else f"use the model that {compiler} compiled this one from",
            )


def tflite_runtime_traps(facts: ModelFacts, profile: TargetProfile) -> Iterator[Finding]:
    """What tflite-runtime computes wrongly without a word (measured with 2.14.0)."""
    readers = [r for r in profile.runtimes if r.name in READERS["tflite"]]
    if facts.format != "tflite" or "tflite_runtime" not in {r.name for r in readers}:
        return
    for use in facts.quantized:
        four_bits = use.weight_dtype == "int4"
        by_channel = use.operator == "FULLY_CONNECTED" and use.per_channel
        if not use.dynamic or not (four_bits or by_channel):
            continue
        kind = "int4 weights" if four_bits else "int8 weights per channel"
        yield Finding(
            severity="error" if len(readers) == 1 else "warning",
            code="tflite-runtime-wrong-result",
            operator=use.operator,
            count=use.count,
            reason=f"tflite_runtime 2.14 computes {use.operator} with {kind} and dynamic "
            "activations wrongly, without an error (measured)",
            remedy="run it with ai_edge_litert"
            if len(readers) > 1
            else "quantize statically, or keep these operators in float",
        )


def _onnxruntime(facts: ModelFacts, profile: TargetProfile) -> Runtime | None:
    return profile.runtime_for("onnx") if facts.format == "onnx" else None


def _finding(
    operator: OperatorFacts, severity: str, code: str, reason: str, remedy: str
) -> Finding:
    return Finding.model_validate(
        {
            "severity": severity,
            "code": code,
            "operator": operator.name,
            "count": operator.count,
            "reason": reason,
            "remedy": remedy,
        }
    )
