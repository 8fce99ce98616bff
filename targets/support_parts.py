"""What the rules of support tables are made of: conditions on values, shapes, axes, neighbours."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from .profile import Model

#: An input by its position, or the first output.
Operand = int | Literal["output"]

_INFINITE: dict[str, float] = {"inf": math.inf, "-inf": -math.inf}


class ValueRule(Model):
    """Which values of an attribute, a size or a constant are supported."""

    one_of: tuple[str | int | float | bool, ...] | None = None
    none_of: tuple[str | int | float | bool, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    multiple_of: int | None = Field(default=None, ge=1)

    def allows(self, value: str | int | float | bool) -> bool:
        """Whether a value is supported; text is compared without regard to case."""
        if self.one_of is not None and _plain(value) not in [_plain(v) for v in self.one_of]:
            return False
        if _plain(value) in [_plain(v) for v in self.none_of]:
            return False
        limits = (self.minimum, self.maximum, self.above, self.multiple_of)
        if all(limit is None for limit in limits):
            return True
        # Infinite attributes stand as text in the facts.
        value = _INFINITE.get(value, value) if isinstance(value, str) else value
        if isinstance(value, str):
            return False
        low = -math.inf if self.minimum is None else self.minimum
        high = math.inf if self.maximum is None else self.maximum
        return (
            low <= value <= high
            and (self.above is None or value > self.above)
            and (self.multiple_of is None or value % self.multiple_of == 0)
        )

    @property
    def told(self) -> str:
        """The condition in words."""
        parts = [] if self.one_of is None else [" or ".join(str(v) for v in self.one_of)]
        parts += [f"not {' or '.join(str(v) for v in self.none_of)}"] if self.none_of else []
        parts += [] if self.minimum is None else [f"at least {self.minimum:g}"]
        parts += [] if self.maximum is None else [f"at most {self.maximum:g}"]
        parts += [] if self.above is None else [f"more than {self.above:g}"]
        parts += [] if self.multiple_of is None else [f"a multiple of {self.multiple_of}"]
        return " and ".join(parts) or "any"


class ShapeRule(Model):
    """Which shapes of a tensor are supported. Negative dimensions count from the last one."""

    min_rank: int | None = None
    max_rank: int | None = None
    max_non_singleton: int | None = Field(
        default=None, description="how many dimensions may be larger than 1"
    )
    non_singleton: tuple[int, ...] | None = Field(
        default=None, description="the dimensions that may be larger than 1"
    )
    sizes: dict[int, ValueRule] = Field(
        default_factory=dict, description="dimension -> its size; one that is not there is skipped"
    )
    max_elements: int | None = Field(default=None, description="in all, or in `elements_of`")
    elements_of: tuple[int, ...] | None = Field(
        default=None, description="the dimensions that `max_elements` is about; None: all"
    )


class AxesRule(Model):
    """Which dimensions an operator may work along. Negative ones count from the last one."""

    one_of: tuple[int, ...] | None = None
    none_of: tuple[int, ...] = ()
    leading: bool = Field(
        default=False, description="whether all dimensions before them have to be 1"
    )


class FactorRule(Model):
    """By what dimensions may be enlarged: the output's size over the input's."""

    axes: tuple[int, ...]
    one_of: tuple[float, ...]
    same: bool = Field(default=False, description="whether all by the same")


class SameShape(Model):
    """Operands whose shapes are equal; one that is left out is not judged."""

    of: tuple[Operand, ...]
    axes: tuple[int, ...] | None = Field(
        default=None,
        description="only in these dimensions, of shapes that are aligned at the last one as for "
        "broadcasting; None: in all, and in their number",
    )


class ReaderRule(Model):
    """Which operators may read a tensor; one at least has to."""

    operators: tuple[str, ...]
    types: tuple[str, ...] = Field(default=(), description="of the reader's first output")
    most: int | None = Field(default=None, description="how many may read it")


def _plain(value: str | int | float | bool) -> str | float:
    return value.lower() if isinstance(value, str) else float(value)
