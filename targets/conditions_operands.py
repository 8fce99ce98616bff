"""Conditions of a support table on a node's inputs and outputs as such, and on its neighbours."""

from __future__ import annotations

from collections.abc import Iterator

from .case import Case
from .doubt import Doubt
from .support_rule import OperatorRule


def of_constants(case: Case, rule: OperatorRule) -> Iterator[Doubt]:
    inputs, constants = case.node.inputs, case.view.constants
    for position in rule.constant_inputs:
        if case.input(position) is not None and inputs[position] not in constants:
            yield Doubt("input-not-constant", f"its input {position} is computed, not constant")
    computed = rule.computed_inputs
    for position in range(len(inputs)) if computed == "all" else computed:
        if case.input(position) is not None and inputs[position] in constants:
            yield Doubt("operands-not-supported", f"its input {position} is constant, not computed")


def of_count(case: Case, rule: OperatorRule) -> Iterator[Doubt]:
    given = sum(position >= 0 for position in case.node.inputs)
    if rule.min_inputs is not None and given < rule.min_inputs:
        yield Doubt("operator-not-supported", f"{given} inputs; it takes {rule.min_inputs} or more")
    elif rule.max_inputs is not None and given > rule.max_inputs:
        yield Doubt("operator-not-supported", f"{given} inputs; it takes up to {rule.max_inputs}")
    made = sum(position >= 0 for position in case.node.outputs)
    if rule.max_outputs is not None and made > rule.max_outputs:
        yield Doubt("operands-not-supported", f"{made} outputs; it gives up to {rule.max_outputs}")


def of_distinct_inputs(case: Case, rule: OperatorRule) -> Iterator[Doubt]:
    given = [index for index in case.node.inputs if index >= 0]
    if rule.distinct_inputs and len(set(given)) < len(given):
        yield Doubt("operands-not-supported", "the same tensor is there twice among its inputs")


def of_values(case: Case, rule: OperatorRule) -> Iterator[Doubt]:
    """What constants hold that the file tells; what is left out is not judged."""
    for position, wanted in rule.values.items():
        tensor = case.input(position)
        if tensor is None:
            continue
        if tensor.values is None:
            yield Doubt(None, f"the values of its input {position} are unknown")
            continue
        refused = [value for value in tensor.values if not wanted.allows(value)]
        if refused:
            yield Doubt(
                "value-not-supported",
                f"its input {position} holds {refused[0]:g}; it takes {wanted.told}",
            )


def of_makers(case: Case, rule: OperatorRule) -> Iterator[Doubt]:
    for position, operators in rule.made_by.items():
        if case.input(position) is None:
            continue
        maker = case.view.producers.get(case.node.inputs[position])
        if maker is None or maker.operator not in operators:
            made = "the model's input or a constant" if maker is None else f"from {maker.operator}"
            yield Doubt(
                "neighbour-not-supported",
                f"its input {position} is {made}; it takes that of {' or '.join(operators)}",
            )


def of_readers(case: Case, rule: OperatorRule) -> Iterator[Doubt]:
    wanted = rule.read_by
    if wanted is None or not case.node.outputs:
        return
    index, tensors = case.node.outputs[0], case.view.graph.tensors
    takes = " or ".join(wanted.operators)
    readers = case.view.readers.get(index, [])
    if not readers:
        yield Doubt("neighbour-not-supported", f"no operator reads its output; it is for {takes}")
    elif wanted.most is not None and len(readers) > wanted.most:
        yield Doubt(
            "neighbour-not-supported",
            f"{len(readers)} operators read its output; it may be {wanted.most}",
        )
    for reader in readers:
        gives = tensors[reader.outputs[0]].dtype if reader.outputs else "undefined"
        if reader.operator not in wanted.operators:
            yield Doubt("neighbour-not-supported", f"{reader.operator} reads it; it is for {takes}")
        elif wanted.types and gives not in wanted.types:
            yield Doubt(
                "neighbour-not-supported",
                f"{reader.operator} makes {gives} of it; it takes {', '.join(wanted.types)}",
            )
