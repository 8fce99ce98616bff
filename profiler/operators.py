"""Where the time of an inference went: each operator, each execution provider or delegate."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field, model_validator

from ..targets.profile import Model

#: Of all that was timed inside an inference, 0 to 1.
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Time = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class OperatorTime(Model):
    """One operator of the graph as it was run, in one inference.

    The runtime fuses and replaces operators when it loads a model: names and types are those of
    what ran, and a delegate that took many operators and says nothing of them is one entry.
    """

    name: str = Field(description="of the node; of its outputs where it has no name")
    type: str = Field(description="as the runtime calls it, e.g. 'Conv', 'FULLY_CONNECTED'")
    count: int = Field(ge=1, description="how often it runs in one inference")
    mean_ms: Time | None = Field(
        description="all its calls of one inference together, on average; None where not timed"
    )
    share: Share | None = Field(description="of the time of all operators")
    provider: str = Field(description="execution provider or delegate that ran it")


class ProviderShare(Model):
    """What one execution provider, one delegate or the runtime's own kernels did."""

    provider: str
    delegate: bool = Field(default=False, description="it took operators from the runtime")
    nodes: int = Field(ge=0, description="operators of the graph it ran")
    time_ms: Time | None = Field(description="of one inference; None where not timed")
    share: Share | None = Field(description="of the time of all operators")


class OperatorProfile(Model):
    """Where the time of an inference went, taken apart from the samples of the run.

    Timing every operator costs time itself: the sum is a little more than an inference takes, and
    none of these inferences is among the run's samples.
    """

    inferences: int = Field(ge=1, description="profiled; the means are over these")
    operators: tuple[OperatorTime, ...] = Field(description="in the order they ran")
    providers: tuple[ProviderShare, ...] = Field(description="the one with most time first")
    delegated_nodes: int | None = Field(
        default=None, ge=0, description="operators of the graph that a delegate took"
    )
    total_nodes: int | None = Field(
        default=None, ge=0, description="operators of the graph before a delegate took any"
    )
    partitions: int | None = Field(
        default=None, ge=0, description="connected parts in which the delegate took them"
    )
    method: str = Field(description="how it was measured")
    missing: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _delegates_no_more_than_there_is(self) -> OperatorProfile:
        if self.delegated_nodes is not None and self.delegated_nodes > (self.total_nodes or 0):
            raise ValueError(
                f"{self.delegated_nodes} operators in a delegate, of {self.total_nodes}"
            )
        return self

    @property
    def total_ms(self) -> float | None:
        """The time of all operators in one inference; None where one was not timed."""
        times = [operator.mean_ms for operator in self.operators]
        return None if None in times or not times else sum(filter(None, times))

    def by_type(self) -> tuple[OperatorTime, ...]:
        """The operators of a type and provider together, named for the type; most time first."""
        groups: dict[tuple[str, str], list[OperatorTime]] = {}
        for operator in self.operators:
            groups.setdefault((operator.type, operator.provider), []).append(operator)
        summed = [
            OperatorTime(
                name=kind,
                type=kind,
                count=sum(operator.count for operator in group),
                mean_ms=_sum(operator.mean_ms for operator in group),
                share=_sum((operator.share for operator in group), most=1.0),
                provider=provider,
            )
            for (kind, provider), group in groups.items()
        ]
        return tuple(sorted(summed, key=lambda operator: -(operator.mean_ms or 0)))


def _sum(values: Iterable[float | None], most: float = float("inf")) -> float | None:
    known = list(values)
    if None in known:
        return None
    # Shares that were rounded can add up to a little more than all.
    return min(most, sum(filter(None, known)))
