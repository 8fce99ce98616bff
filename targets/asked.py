"""What the runtimes on this machine say of a model, where `inspect` alone goes by rules."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .arena_facts import ArenaFacts
from .facts import QDQ_OPERATORS, ModelFacts


@dataclass(frozen=True)
class Asked:
    """Facts with the runtime's answers in them.

    Attributes:
        said_by: who answered, with the version; None where there was nothing to ask, or no answer.
        refusal: why there is no answer.
        arena: what LiteRT's interpreter sets aside (TFLite).
    """

    facts: ModelFacts
    said_by: str | None = None
    refusal: str | None = None
    arena: ArenaFacts | None = None


def ask_runtimes(facts: ModelFacts) -> Asked:
    """Asks ONNX Runtime which QDQ operators it keeps, LiteRT what memory it takes for tensors.

    The model is loaded apart from this process. It never raises for what a runtime can't or won't
    say.
    """
    from .oracles import CannotSay
    from .oracles.arena import arena_of
    from .oracles.qdq import kept_qdq

    try:
        if facts.format == "tflite":
            arena = arena_of(facts.path)
            return Asked(facts, arena.said_by, arena=arena)
        if not facts.count(QDQ_OPERATORS):
            return Asked(facts)
        kept = kept_qdq(facts.path, facts)
    except CannotSay as error:
        return Asked(facts, refusal=error.message)
    return Asked(replace(facts, unfused=kept.pairs), kept.said_by)
