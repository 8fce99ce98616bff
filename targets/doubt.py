"""One condition of a support table that a node does not meet, or that can't be judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: What a condition that fails is called; the codes of findings about a runtime's kernels.
FailedCondition = Literal[
    "operator-not-supported",
    "operator-too-new",
    "operator-version-too-new",
    "operator-opset-not-supported",
    "type-not-supported",
    "rank-not-supported",
    "shape-not-supported",
    "axis-not-supported",
    "input-not-constant",
    "value-not-supported",
    "operands-not-supported",
    "neighbour-not-supported",
    "per-channel-not-supported",
    "scales-not-supported",
    "attribute-not-supported",
    "dynamic-shape-not-supported",
    "control-flow-not-supported",
    "not-full-integer",
]


@dataclass(frozen=True)
class Doubt:
    """A condition that fails, or (without a code) that can't be judged."""

    code: FailedCondition | None
    reason: str
    dtype: str | None = None
