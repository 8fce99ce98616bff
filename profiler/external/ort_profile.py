"""ONNX Runtime's own profile as its tool writes it, read as the agent reads its own."""

from __future__ import annotations

import json

from ..agent.operators_onnxruntime import read_trace
from ..operators import OperatorProfile

#: Inferences that are left out: the first is the tool's warm-up.
_UNSEEN = 1


def read_profile(text: str) -> OperatorProfile | None:
    """What each node took and where it ran; None for what is no such profile."""
    try:
        found = read_trace(json.loads(text, strict=False), _UNSEEN)
        method = "onnxruntime_perf_test -p, in a run of its own"
        return OperatorProfile.model_validate({**found, "method": method})
    except (
        ValueError,  # also pydantic's and json's
        LookupError,
        TypeError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ):
        return None
