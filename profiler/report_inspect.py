"""What a model file holds, as a JSON document for machines."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from ..targets.asked import Asked
from ..targets.traits import control_flow, custom_operators, dynamic_tensors, state


def facts_document(asked: Asked) -> dict[str, Any]:
    """What `edgewright inspect --json` prints: `ModelFacts` with what follows from it.

    Numbers that JSON does not know (infinity, no number) stand as text.
    """
    facts = asked.facts
    return {
        "schema_version": 1,
        **_plain(facts),
        "macs": facts.macs,
        "is_quantized": facts.is_quantized,
        "custom_operators": [operator.name for operator in custom_operators(facts)],
        "control_flow": [operator.name for operator in control_flow(facts)],
        "dynamic_tensors": dynamic_tensors(facts),
        "state": state(facts),
        "asked": {
            "said_by": asked.said_by,
            "refusal": asked.refusal,
            "arena": None if asked.arena is None else _plain(asked.arena),
        },
    }


def _plain(value: Any) -> Any:
    """Dataclasses as dictionaries, tuples as lists."""
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Path):
        return str(value)
    return {key: _plain(item) for key, item in vars(value).items()}
