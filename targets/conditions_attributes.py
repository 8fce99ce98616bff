"""Conditions of a support table on a node's attributes."""

from __future__ import annotations

from collections.abc import Iterator

from .case import Case
from .doubt import Doubt
from .support_rule import OperatorRule


def of_attributes(case: Case, rule: OperatorRule) -> Iterator[Doubt]:
    for name, wanted in rule.attributes.items():
        value = case.attribute(name)
        if value is None:
            if not case.lacks(name):
                yield Doubt(None, f"the file does not say its {name}")
            continue
        for each in value if isinstance(value, tuple) else (value,):
            if not wanted.allows(each):
                yield Doubt("attribute-not-supported", f"{name} is {each}; it takes {wanted.told}")
                break


def of_absent_attributes(case: Case, rule: OperatorRule) -> Iterator[Doubt]:
    for name in rule.absent_attributes:
        if name in case.node.attributes:
            yield Doubt("attribute-not-supported", f"{name} is given; it is not supported")


def of_same_attributes(case: Case, rule: OperatorRule) -> Iterator[Doubt]:
    for names in rule.same_attributes:
        found: list[str | int | float | bool] = []
        for name in names:
            value = case.attribute(name)
            if value is None:
                yield Doubt(None, f"the file does not say its {name}")
                return
            found += list(value) if isinstance(value, tuple) else [value]
        if len(set(found)) > 1:
            values = ", ".join(map(str, found))
            what = " and ".join(names)
            yield Doubt(
                "attribute-not-supported", f"{what} are {values}; it takes the same in each place"
            )
