"""Whether one node can run in one runtime or on one accelerator, by the table of its support."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from .case import Case
from .conditions import of_control_flow, of_open_dimensions, of_opset, of_version
from .conditions_attributes import of_absent_attributes, of_attributes, of_same_attributes
from .conditions_axes import of_axes
from .conditions_convolutions import of_depthwise
from .conditions_operands import (
    of_constants,
    of_count,
    of_distinct_inputs,
    of_makers,
    of_readers,
    of_values,
)
from .conditions_padding import of_padding
from .conditions_scales import of_channels, of_scales, of_shared_scales, of_zero_points
from .conditions_shapes import of_factors, of_rank, of_same_shapes, of_shapes
from .conditions_types import not_integer, of_operands, of_type
from .doubt import Doubt, FailedCondition
from .facts import GraphFacts, Node
from .graph_view import GraphView
from .support_rule import OperatorRule
from .support_table import SupportTable
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


#: Every condition, in the order in which the code of a refusal is chosen.
CONDITIONS: tuple[Callable[[Case, OperatorRule], Iterator[Doubt]], ...] = (
    of_version,
    of_opset,
    of_type,
    of_operands,
    of_rank,
    of_shapes,
    of_same_shapes,
    of_factors,
    of_constants,
    of_count,
    of_distinct_inputs,
    of_values,
    of_axes,
    of_channels,
    of_scales,
    of_zero_points,
    of_shared_scales,
    of_attributes,
    of_absent_attributes,
    of_same_attributes,
    of_depthwise,
    of_padding,
    of_makers,
    of_readers,
    of_open_dimensions,
    of_control_flow,
)

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
    a yes. Of several rules that hold, one without a note is taken; of several that fail, the one
    with the fewest failed conditions gives the reason.

    Args:
        version: of what the table is versioned by; None: the one that the table was read from.
        opsets: those of the ONNX model, by domain.
    """
    view = graph if isinstance(graph, GraphView) else GraphView(graph)
    if node.operator == table.compiled_operator:
        return Verdict("yes", note=_COMPILED, source=table.source)
    case = Case(node, view, table, version or table.tables_version, opsets)
    rules = table.by_operator.get(node.operator, ())
    if not rules:
        if table.complete or node.operator in table.unsupported:
            why = f"there is no such operator in the {table.title}"
            return Verdict("no", "operator-not-supported", why, source=table.source)
        if (floating := not_integer(case)) is not None:
            return Verdict(
                "no", floating.code, floating.reason, source=table.source, dtype=floating.dtype
            )
        why = f"nobody says whether it is in the {table.title}"
        return Verdict("unknown", reason=why, source=table.source)
    judged = [
        ([doubt for condition in CONDITIONS for doubt in condition(case, rule)], rule)
        for rule in rules
    ]
    doubts, rule = min(
        judged,
        key=lambda each: (
            sum(doubt.code is not None for doubt in each[0]),
            len(each[0]),
            not each[0] and each[1].note is not None,
        ),
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
