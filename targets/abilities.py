"""What a device's processor can do: the one place that checks, plans and benchmarks ask."""

from __future__ import annotations

from .profile import Accelerator, Format, TargetProfile, TargetRuntimeName
from .support_files import support_table, tables_for

#: Memory of a process that has loaded the runtime and a model of a few kilobytes. Python, NumPy and
#: the runtime: VmHWM, measured on x86-64 with onnxruntime 1.31 and ai-edge-litert 2.3. TFLite Micro
#: is part of the firmware and counts nothing beside its arena.
RUNTIME_BASE_BYTES: dict[TargetRuntimeName, int] = {
    "onnxruntime": 60_000_000,
    "ai_edge_litert": 44_000_000,
    "tflite_runtime": 44_000_000,
    "tflite_micro": 0,
}


def is_x86(profile: TargetProfile) -> bool:
    return profile.cpu.architecture == "x86_64"


def is_microcontroller(profile: TargetProfile) -> bool:
    """Whether models run without an operating system, from flash."""
    return profile.cpu.architecture in ("armv8-m", "armv8.1-m")


def knows_features(profile: TargetProfile) -> bool:
    """Whether the CPU's features are known: no core without any exists."""
    return any(cluster.features for cluster in profile.cpu.clusters)


def has_dot_product(profile: TargetProfile) -> bool:
    """Whether every core multiplies and adds four bytes at once: ARM's SDOT, Helium, or VNNI."""
    return bool(profile.cpu.features & {"dotprod", "mve", "avx512_vnni", "avx_vnni"})


def computes_float16(profile: TargetProfile) -> bool:
    """Whether every core has FP16 arithmetic."""
    return ("avx512_fp16" if is_x86(profile) else "fp16") in profile.cpu.features


def saturates_u8s8(profile: TargetProfile) -> bool:
    """Whether U8S8 products overflow 16 bits on this CPU: x86 without VNNI (`vpmaddubsw`).

    EfficientNet-Lite0 on AVX2: SQNR 8.0 dB with 8-bit weights, 13.3 dB with 7-bit ones
    (docs/precision.md).
    """
    return is_x86(profile) and not has_dot_product(profile)


def compiled_operators(profile: TargetProfile) -> frozenset[str]:
    """What models consist of that were compiled for an accelerator of this device."""
    tables = (support_table(name) for each in profile.accelerators for name in each.support)
    operators = (table.compiled_operator for table in tables if table is not None)
    return frozenset(operator for operator in operators if operator is not None)


def integers_only(
    profile: TargetProfile, model_format: Format, accelerator: Accelerator | None
) -> str | None:
    """Why every operator has to be quantized to integers on this device; None where it has not.

    Args:
        accelerator: what the model is to run on; None: the CPU.
    """
    runtime = profile.runtime_for(model_format)
    if accelerator is not None and runtime is not None:
        for table in tables_for(accelerator.support, model_format, runtime.name)[:1]:
            if table.full_integer:
                return f"the {accelerator.name} computes in integers only"
    if runtime is not None and runtime.name == "tflite_micro":
        return "TFLite Micro has fast kernels for full-integer int8, and none for hybrid operators"
    return None
