"""Conditions of a support table on versions, opsets and on what is known before the run."""

from __future__ import annotations

from collections.abc import Iterator

from .case import Case
from .doubt import Doubt
from .support_rule import OperatorRule
from .versions import at_least


def of_version(case: Case, rule: OperatorRule) -> Iterator[Doubt]:
    node, version, whose = case.node, case.version, case.table.versioned_by
    if rule.since is not None and not at_least(version, rule.since):
        yield Doubt(
            "operator-too-new", f"{whose} has it since {rule.since}, and here it is {version}"
        )
    if rule.until is not None and at_least(version, rule.until):
        yield Doubt(
            "operator-not-supported",
            f"{whose} had it before {rule.until}, and here it is {version}",
        )
    if not rule.versions or node.version is None:
        return
    known = rule.newest_version(version)
    if known is None:
        since = rule.first_with_version(node.version)
        yield Doubt(
            "operator-too-new",
            f"{whose} {version} is older than all that is known to have it"
            + (f" (since {since})" if since else ""),
        )
    elif node.version > known:
        since = rule.first_with_version(node.version)
        yield Doubt(
            "operator-version-too-new",
            f"version {node.version} of the operator; {whose} {version} knows up to {known}"
            + (f" ({since} knows it)" if since else ""),
        )


def of_opset(case: Case, rule: OperatorRule) -> Iterator[Doubt]:
    oldest = rule.min_opset if rule.min_opset is not None else case.table.min_opset
    newest = rule.max_opset if rule.max_opset is not None else case.table.max_opset
    if oldest is None and newest is None:
        return
    opset = (case.opsets or {}).get(case.node.operator.rpartition("::")[0])
    if opset is None:
        yield Doubt(None, "the model's opset is unknown")
    elif opset < (oldest or 0):
        yield Doubt("operator-opset-not-supported", f"opset {opset}; it needs {oldest} or newer")
    elif newest is not None and opset > newest:
        yield Doubt("operator-opset-not-supported", f"opset {opset}; it is known up to {newest}")


def of_open_dimensions(case: Case, rule: OperatorRule) -> Iterator[Doubt]:
    table = case.table
    if table.dynamic_shapes:
        return
    indices = (i for i in (*case.node.inputs, *case.node.outputs) if i >= 0)
    tensors = [case.view.graph.tensors[i] for i in indices]
    if not any(tensor.shape is None or None in tensor.shape for tensor in tensors):
        return
    if table.dynamic_shapes is None:
        yield Doubt(None, f"nobody says whether the {table.title} takes open dimensions")
    else:
        yield Doubt("dynamic-shape-not-supported", "a dimension is known only at run time")


def of_control_flow(case: Case, rule: OperatorRule) -> Iterator[Doubt]:
    if case.node.graphs and case.table.control_flow is False:
        yield Doubt("control-flow-not-supported", f"the {case.table.title} runs no control flow")
