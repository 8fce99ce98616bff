"""Where the time of an inference goes: what every runtime's operator profile has in common."""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, List, Sequence

from .common import Json

#: Inferences before those that are looked at, and how many of them: so many, or so long.
UNSEEN = 2
PROFILED, PROFILED_S = 20, 3.0


def repeat(infer: Callable[[Any], None], samples: Sequence[Any]) -> int:
    """Runs the reference inputs in turn; returns how often, once at least."""
    began = time.monotonic()
    done = 0
    while done == 0 or (done < PROFILED and time.monotonic() - began < PROFILED_S):
        infer(samples[done % len(samples)])
        done += 1
    return done


def shares(operators: List[Json]) -> List[Json]:
    """Gives each operator (name, type, provider, count, mean_ms) its share of all their time."""
    total = sum(operator["mean_ms"] for operator in operators)
    for operator in operators:
        operator["share"] = operator["mean_ms"] / total if total > 0 else None
    return operators


def provider_shares(operators: Sequence[Json]) -> List[Json]:
    """What each provider ran, the one with most time first.

    Args:
        operators: with `nodes`, where an entry stands for several operators of the graph, and
            `delegate`, where one took it.
    """
    total = sum(operator["mean_ms"] for operator in operators)
    found: Dict[str, Json] = {}
    for operator in operators:
        name = operator["provider"]
        entry = found.setdefault(
            name,
            {
                "provider": name,
                "delegate": operator.get("delegate", False),
                "nodes": 0,
                "time_ms": 0.0,
            },
        )
        entry["nodes"] += operator.get("nodes", 1)
        entry["time_ms"] += operator["mean_ms"]
    for entry in found.values():
        entry["share"] = entry["time_ms"] / total if total > 0 else None
    return sorted(found.values(), key=lambda entry: -entry["time_ms"])
