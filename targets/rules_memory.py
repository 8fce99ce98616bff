"""Rules about size and memory."""

from __future__ import annotations

from collections.abc import Iterator

from .abilities import RUNTIME_BASE_BYTES, is_microcontroller
from .answers import Answers
from .facts import ModelFacts
from .finding import Finding
from .oracles import CannotSay
from .placement import Answer
from .profile import TargetProfile

#: From here on an estimate is worth a warning: runtimes also hold repacked copies of weights.
_NEAR = 0.75


def file_size(facts: ModelFacts, profile: TargetProfile) -> Iterator[Finding]:
    """The file must not be bigger than the device's limit, or than its flash memory."""
    most = profile.limits.max_model_bytes if profile.limits else None
    flash = profile.memory.flash_bytes
    size = facts.size_bytes
    for allowed, what in ((most, "the device's limit"), (flash, "its flash memory")):
        if allowed is not None and size > allowed:
            yield Finding(
                severity="error",
                code="file-too-large",
                reason=f"the model has {_size(size)}, {what} is {_size(allowed)}",
                remedy=_smaller(facts, profile),
                source=profile.memory.source if allowed is flash else None,
            )
            return
    if flash is not None and size > _NEAR * flash:
        yield Finding(
            severity="warning",
            code="flash-near-limit",
            reason=f"the model takes {_size(size)} of {_size(flash)} of flash memory, which the "
            "program needs too",
            remedy=_smaller(facts, profile),
            source=profile.memory.source,
        )


def memory(facts: ModelFacts, profile: TargetProfile, answers: Answers | None) -> Iterator[Finding]:
    """What the model needs at run time must fit, with margin.

    On a microcontroller that is the arena, which TFLite Micro is asked for: weights stay in flash.
    Elsewhere weights, the most activations at once and the runtime: an estimate from below.

    Args:
        answers: of who can be asked; None: nobody is.
    """
    runtime = profile.runtime_for(facts.format)
    if runtime is not None and runtime.name == "tflite_micro":
        yield from _arena(facts, profile, answers)
        return
    base = RUNTIME_BASE_BYTES[runtime.name] if runtime else 0
    activations = facts.peak_activation_bytes
    parts = (
        f"weights {_size(facts.weight_bytes)}, activations "
        f"{'unknown' if activations is None else _size(activations)}, runtime {_size(base)}"
    )
    total = facts.weight_bytes + (activations or 0) + base
    told = f"it needs at least about {_size(total)} (an estimate: {parts})"
    yield from _against(facts, profile, total, told, "tabled")


def _arena(facts: ModelFacts, profile: TargetProfile, answers: Answers | None) -> Iterator[Finding]:
    if answers is not None:
        try:
            arena = answers.arena(facts)
        except CannotSay as error:
            yield Finding(
                severity="info",
                code="arena-not-measured",
                reason=f"the arena is estimated from the activations: {error.message}",
                remedy=error.hint or "measure it on the device",
                answer="unknown",
            )
        else:
            told = f"its arena takes {_size(arena.total_bytes)} ({arena.said_by})"
            yield from _against(facts, profile, arena.total_bytes, told, "asked")
            return
    activations = facts.peak_activation_bytes
    if activations is not None:
        told = f"its arena takes at least {_size(activations)} (an estimate: activations alone)"
        yield from _against(facts, profile, activations, told, "tabled")


def _against(
    facts: ModelFacts, profile: TargetProfile, total: int, told: str, answer: Answer
) -> Iterator[Finding]:
    ram = profile.memory.ram_bytes
    limit = profile.limits.max_memory_bytes if profile.limits else None
    allowed = min(limit or ram, ram)
    if total <= _NEAR * allowed:
        return
    over = total > allowed
    what = "the device's RAM" if allowed == ram else "the device's limit"
    yield Finding(
        severity="error" if over else "warning",
        code="memory-over-limit" if over else "memory-near-limit",
        reason=f"{told}; {what} is {_size(allowed)}",
        remedy=f"make inputs smaller; {_smaller(facts, profile)}",
        source=profile.memory.source
        if allowed == ram or not profile.limits
        else profile.limits.source,
        answer=answer,
    )


def _smaller(facts: ModelFacts, profile: TargetProfile) -> str:
    """What makes a model smaller on this device."""
    if facts.is_quantized:
        return "choose a model with fewer or narrower layers: it is quantized already"
    recipe = "int8-s8s8 --calibration DATA" if is_microcontroller(profile) else "int8-dynamic"
    command = f"edgewright quantize MODEL --recipe {recipe} -o SMALLER.{facts.format}"
    return f"quantize it: {command}; or choose a smaller model"


def _size(size: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size} bytes"
