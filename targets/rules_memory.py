"""Rules about size and memory."""

from __future__ import annotations

from collections.abc import Iterator

from .abilities import RUNTIME_BASE_BYTES
from .facts import ModelFacts
from .finding import Finding
from .profile import TargetProfile

#: From here on an estimate is worth a warning: runtimes also hold repacked copies of weights.
_NEAR = 0.75


def file_size(facts: ModelFacts, profile: TargetProfile) -> Iterator[Finding]:
    """The file must not be bigger than the device's limit."""
    most = profile.limits.max_model_bytes if profile.limits else None
    if most is not None and facts.size_bytes > most:
        yield Finding(
            severity="error",
            code="file-too-large",
            reason=f"the model has {_megabytes(facts.size_bytes)}, the device's limit is "
            f"{_megabytes(most)}",
            remedy="quantize its weights to 8 or 4 bits, or choose a smaller model",
        )


def estimated_memory(facts: ModelFacts, profile: TargetProfile) -> Iterator[Finding]:
    """Weights, the most activations at once and the runtime must fit; an estimate from below."""
    limit = profile.limits.max_memory_bytes if profile.limits else None
    allowed = min(limit or profile.memory.ram_bytes, profile.memory.ram_bytes)
    runtime = profile.runtime_for(facts.format)
    base = RUNTIME_BASE_BYTES[runtime.name] if runtime else 0
    activations = facts.peak_activation_bytes
    total = facts.weight_bytes + (activations or 0) + base
    if total <= _NEAR * allowed:
        return
    what = "the device's RAM" if allowed == profile.memory.ram_bytes else "the device's limit"
    parts = (
        f"weights {_megabytes(facts.weight_bytes)}, activations "
        f"{'unknown' if activations is None else _megabytes(activations)}, "
        f"runtime {_megabytes(base)}"
    )
    over = total > allowed
    yield Finding(
        severity="error" if over else "warning",
        code="memory-over-limit" if over else "memory-near-limit",
        reason=f"it needs at least about {_megabytes(total)} (an estimate: {parts}); {what} is "
        f"{_megabytes(allowed)}",
        remedy="quantize weights, make inputs smaller, or choose a smaller model",
    )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.3g} MB" if size < 1e9 else f"{size / 1e9:.3g} GB"
