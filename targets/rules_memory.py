"""Rules about size and memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from .abilities import RUNTIME_BASE_BYTES, compiled_operators, is_microcontroller
from .answers import Answers
from .facts import ModelFacts
from .finding import Finding
from .need import Need
from .oracles import CannotSay
from .placement import Answer
from .profile import TargetProfile
from .remedies import file_of
from .sizes import size_text

#: From here on an estimate is worth a warning: runtimes also hold repacked copies of weights.
_NEAR = 0.75


def needs(facts: ModelFacts, profile: TargetProfile, answers: Answers | None) -> tuple[Need, ...]:
    """What the model takes of the device, whether it fits or not.

    Args:
        answers: of who can be asked; None: nobody is.
    """
    return (_file(facts, profile), *_memory(facts, profile, answers)[0])


def too_large(facts: ModelFacts, profile: TargetProfile) -> str | None:
    """How much too large the file is; None where the device takes it, or nobody says."""
    need = _file(facts, profile)
    if need.allowed_bytes is None or need.needed_bytes <= need.allowed_bytes:
        return None
    return f"{need.told}, {need.limit} is {size_text(need.allowed_bytes)}"


def file_size(facts: ModelFacts, profile: TargetProfile) -> Iterator[Finding]:
    """The file must not be bigger than the device's limit, or than its flash memory."""
    size, flash = facts.size_bytes, profile.memory.flash_bytes
    if (why := too_large(facts, profile)) is not None:
        yield Finding(
            severity="error",
            code="file-too-large",
            reason=why,
            remedy=_smaller(facts, profile),
            source=profile.memory.source if _file(facts, profile).allowed_bytes == flash else None,
        )
    elif flash is not None and size > _NEAR * flash:
        yield Finding(
            severity="warning",
            code="flash-near-limit",
            reason=f"the model takes {size_text(size)} of {size_text(flash)} of flash memory, "
            "which the program needs too",
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
    found, refusal = _memory(facts, profile, answers)
    if refusal is not None:
        yield Finding(
            severity="info",
            code="arena-not-measured",
            reason=f"the arena is estimated from the activations: {refusal.message}",
            remedy=refusal.hint or "measure it on the device",
            answer="unknown",
        )
    for need in found:
        yield from _against(facts, profile, need)


def _file(facts: ModelFacts, profile: TargetProfile) -> Need:
    most = profile.limits.max_model_bytes if profile.limits else None
    limits = ((most, "the device's limit"), (profile.memory.flash_bytes, "its flash memory"))
    given = [(allowed, whose) for allowed, whose in limits if allowed is not None]
    allowed, whose = min(given, default=(None, None))
    return Need(
        what="file",
        needed_bytes=facts.size_bytes,
        allowed_bytes=allowed,
        limit=whose,
        told=f"the model has {size_text(facts.size_bytes)}",
        answer="tabled",
    )


def _memory(
    facts: ModelFacts, profile: TargetProfile, answers: Answers | None
) -> tuple[list[Need], CannotSay | None]:
    """What it takes at run time, as far as known; and why TFLite Micro could not be asked."""
    runtime = profile.runtime_for(facts.format)
    activations = facts.peak_activation_bytes
    if runtime is not None and runtime.name == "tflite_micro":
        refusal = None
        if answers is not None:
            try:
                arena = answers.arena(facts)
            except CannotSay as error:
                refusal = error
            else:
                told = f"its arena takes {size_text(arena.total_bytes)} ({arena.said_by})"
                return [_running(profile, "arena", arena.total_bytes, told, "asked")], None
        if activations is None:
            return [], refusal
        told = f"its arena takes at least {size_text(activations)} (an estimate: activations alone)"
        return [_running(profile, "arena", activations, told, "tabled")], refusal
    base = RUNTIME_BASE_BYTES[runtime.name] if runtime else 0
    parts = (
        f"weights {size_text(facts.weight_bytes)}, activations "
        f"{'unknown' if activations is None else size_text(activations)}, runtime {size_text(base)}"
    )
    total = facts.weight_bytes + (activations or 0) + base
    told = f"it needs at least about {size_text(total)} (an estimate: {parts})"
    return [_running(profile, "memory", total, told, "tabled")], None


def _running(
    profile: TargetProfile, what: Literal["memory", "arena"], total: int, told: str, answer: Answer
) -> Need:
    ram = profile.memory.ram_bytes
    limit = profile.limits.max_memory_bytes if profile.limits else None
    allowed = min(limit or ram, ram)
    return Need(
        what=what,
        needed_bytes=total,
        allowed_bytes=allowed,
        limit="the device's RAM" if allowed == ram else "the device's limit",
        told=told,
        answer=answer,
    )


def _against(facts: ModelFacts, profile: TargetProfile, need: Need) -> Iterator[Finding]:
    allowed = need.allowed_bytes
    if allowed is None or need.needed_bytes <= _NEAR * allowed:
        return
    over = need.needed_bytes > allowed
    yield Finding(
        severity="error" if over else "warning",
        code="memory-over-limit" if over else "memory-near-limit",
        reason=f"{need.told}; {need.limit} is {size_text(allowed)}",
        remedy=f"make inputs smaller; {_smaller(facts, profile)}",
        source=profile.memory.source
        if allowed == profile.memory.ram_bytes or not profile.limits
        else profile.limits.source,
        answer=need.answer,
    )


def _smaller(facts: ModelFacts, profile: TargetProfile) -> str:
    """What makes a model smaller on this device."""
    compiled = compiled_operators(profile)
    if any(operator.name in compiled for operator in facts.operators):
        return "compile a model with fewer or narrower layers"
    if facts.is_quantized:
        return "choose a model with fewer or narrower layers: it is quantized already"
    recipe = "int8-s8s8 --calibration DATA" if is_microcontroller(profile) else "int8-dynamic"
    command = f"edgewright quantize {file_of(facts)} --recipe {recipe} -o SMALLER.{facts.format}"
    return f"quantize it: {command}; or choose a smaller model"
