"""Rules about what goes in and out, and in how many files."""

from __future__ import annotations

from collections.abc import Iterator

from .facts import ModelFacts, TensorSpec
from .finding import MOST_NODES, Finding
from .profile import TargetProfile
from .remedies import file_of


def external_data(facts: ModelFacts, profile: TargetProfile) -> Iterator[Finding]:
    """Weights in other files, which do not travel with the model."""
    if not facts.external_data:
        return
    files = facts.external_data
    names = ", ".join(files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")
    yield Finding(
        severity="warning",
        code="external-data",
        reason=f"weights are in {names}: applications that load a model from memory "
        "don't find them, and Edgewright measures single files",
        remedy=f"write one file, below 2 GB: edgewright export {file_of(facts)} "
        f"--target {profile.name} --precision float32 -o DIR",
        source="ONNX, docs/ExternalData.md",
    )


def float_borders(facts: ModelFacts, profile: TargetProfile) -> Iterator[Finding]:
    """Float inputs and outputs of an integer model on a microcontroller."""
    runtime = profile.runtime_for(facts.format)
    if runtime is None or runtime.name != "tflite_micro":
        return
    if not any(use.activation_dtype in ("int8", "int16") for use in facts.quantized):
        return
    floats = [spec for spec in (*facts.inputs, *facts.outputs) if spec.dtype == "float32"]
    if floats:
        yield Finding(
            severity="warning",
            code="float-input-output",
            nodes=_names(floats),
            count=len(floats),
            reason="inputs or outputs are float32 and the operators between are integers: the "
            "microcontroller converts them, in buffers of four times the size",
            remedy="convert with int8 inputs and outputs (the TFLite converter's "
            "inference_input_type and inference_output_type)",
            source="TensorFlow documentation, 'Post-training integer quantization'",
        )


def _names(specs: list[TensorSpec]) -> tuple[str, ...]:
    return tuple(spec.name for spec in specs[:MOST_NODES])
