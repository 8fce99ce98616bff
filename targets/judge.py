"""Whether one node can run in one runtime or on one accelerator, by the table of its support."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from .conditions import (
    of_attribute,
    of_constants,
    of_count,
    of_opset,
    of_rank,
    of_shapes,
    of_version,
)
from .conditions_types import of_channels, of_operands, of_type
from .doubt import Doubt, FailedCondition
from .facts import GraphFacts, Node
from .graph_view import GraphView
from .support_table import OperatorRule, SupportTable
from .versions import at_least


@dataclass(frozen=True)
class Verdict:
    """What a table says of a node.

    Attributes:
        code: the first condition that fails; None unless the answer is 'no'.
        reason: why not, or why nobody knows; None for a yes.
        note: a condition of the yes that nobody checked.
        source: where the rule comes from.
        dtype: the element type that is refused, where it is for that.
    """

    answer: Literal["yes", "no", "unknown"]
    code: FailedCondition | None = None
    reason: str | None = None
    note: str | None = None
    source: str | None = None
    dtype: str | None = None


_COMPILED = "the model was compiled for this very chip"


def judge(
    node: Node,
    graph: GraphFacts | GraphView,
    table: SupportTable,
    version: str | None,
    opsets: Mapping[str, int] | None = None,
) -> Verdict:
    """Judges a node by every condition of the table.

    The rules of its operator are alternatives: one that holds is enough. A condition that can't be
    judged (an unknown rank, an attribute that the file does not give) makes a rule unknown, never
    a yes. Of several rules that fail, the one with the fewest failed conditions gives the reason.

    Args:
        version: of what the table is versioned by; None: the one that the table was read from.
        opsets: those of the ONNX model, by domain.
    """
    view = graph if isinstance(graph, GraphView) else GraphView(graph)
    if node.operator == table.compiled_operator:
        return Verdict("yes", note=_COMPILED, source=table.source)
    rules = table.by_operator.get(node.operator, ())
    if not rules:
        if table.complete or node.operator in table.unsupported:
            why = f"there is no such operator in the {table.title}"
            return Verdict("no", "operator-not-supported", why, source=table.source)
        why = f"nobody says whether it is in the {table.title}"
        return Verdict("unknown", reason=why, source=table.source)
    judged = [
        (list(_doubts(node, view, rule, table, version or table.tables_version, opsets)), rule)
        for rule in rules
    ]
    doubts, rule = min(
        judged, key=lambda each: (sum(d.code is not None for d in each[0]), len(each[0]))
    )
    source = rule.source or table.source
    if not doubts:
        if version and table.oldest_version and not at_least(version, table.oldest_version):
            why = f"what {table.versioned_by} had before {table.oldest_version}, nobody says"
            return Verdict("unknown", reason=f"{why}; here it is {version}", source=source)
        return Verdict("yes", note=rule.note, source=source)
    failed = [doubt for doubt in doubts if doubt.code is not None]
    reason = "; ".join(doubt.reason for doubt in failed or doubts)
    if failed:
        return Verdict("no", failed[0].code, reason, source=source, dtype=failed[0].dtype)
    return Verdict("unknown", reason=reason, source=source)


def _doubts(
    node: Node,
    view: GraphView,
    rule: OperatorRule,
    table: SupportTable,
    version: str,
    opsets: Mapping[str, int] | None,
) -> Iterator[Doubt]:
    yield from of_version(node, rule, table, version)
    yield from of_opset(node, rule, table, opsets)
    yield from of_type(node, view, rule, table)
    yield from of_operands(node, view, rule, table)
    yield from of_rank(node, view, rule, table)
    yield from of_constants(node, view, rule)
    yield from of_count(node, rule)
    yield from of_channels(node, view, rule, table)
    for name, wanted in rule.attributes.items():
        yield from of_attribute(node, name, wanted, table, opsets)
    yield from of_shapes(node, view, table)
    if node.graphs and table.control_flow is False:
        yield Doubt("control-flow-not-supported", f"the {table.title} runs no control flow")
