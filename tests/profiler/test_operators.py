"""Operator times as values: sums by type, and what can't be."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from edgewright.profiler.operators import OperatorProfile, OperatorTime, ProviderShare

CPU = "CPUExecutionProvider"


def operator(name: str, kind: str, mean_ms: float | None, share: float | None) -> OperatorTime:
    return OperatorTime(name=name, type=kind, count=1, mean_ms=mean_ms, share=share, provider=CPU)


def profile(*operators: OperatorTime, **more: int) -> OperatorProfile:
    share = ProviderShare(provider=CPU, nodes=len(operators), time_ms=4.0, share=1.0)
    return OperatorProfile(
        inferences=10, operators=operators, providers=(share,), method="by hand", **more
    )


def test_operators_of_a_type_are_summed_most_time_first() -> None:
    first, second = profile(
        operator("relu", "Relu", 0.5, 0.125),
        operator("a", "Conv", 1.5, 0.375),
        operator("b", "Conv", 2.0, 0.5),
    ).by_type()
    assert (first.name, first.type, first.count) == ("Conv", "Conv", 2)
    assert (first.mean_ms, first.share) == (3.5, 0.875)
    assert second.type == "Relu"


def test_a_sum_with_an_unknown_part_is_unknown() -> None:
    mixed = profile(operator("a", "Conv", 1.5, None), operator("b", "Conv", None, None))
    assert mixed.total_ms is None
    assert mixed.by_type()[0].mean_ms is None
    assert mixed.by_type()[0].share is None


def test_a_delegate_takes_no_more_than_there_is() -> None:
    with pytest.raises(ValidationError, match="3 operators in a delegate, of 2"):
        profile(operator("a", "Conv", 1.0, 1.0), delegated_nodes=3, total_nodes=2)


def test_survives_json() -> None:
    before = profile(operator("a", "Conv", 1.0, 1.0), delegated_nodes=1, total_nodes=2)
    assert OperatorProfile.model_validate_json(before.model_dump_json()) == before
