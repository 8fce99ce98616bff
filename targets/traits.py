"""What a model asks of its runtime beyond operators: custom kernels, control flow, open shapes."""

from __future__ import annotations

from .facts import ModelFacts, OperatorFacts
from .versions import is_foreign

#: What ONNX Runtime's optimizer puts into a model that is saved after it.
_OPTIMIZED = "com.microsoft.nchwc::"

_CONTROL_FLOW = frozenset(
    {"If", "Loop", "Scan", "SequenceMap"}
    | {"IF", "WHILE", "CALL", "CALL_ONCE", "STABLEHLO_WHILE", "STABLEHLO_CASE"}
)


def custom_operators(facts: ModelFacts) -> list[OperatorFacts]:
    """Operators that the runtime has no kernel for of its own; TensorFlow's (flex) included."""
    return [
        operator
        for operator in facts.operators
        if is_foreign(operator.name) and not operator.name.startswith(_OPTIMIZED)
    ]


def control_flow(facts: ModelFacts) -> list[OperatorFacts]:
    """Operators that run other graphs."""
    return [operator for operator in facts.operators if operator.name in _CONTROL_FLOW]


def state(facts: ModelFacts) -> list[str]:
    """What keeps its value from one inference to the next, by name."""
    names = [t.name for graph in facts.graphs for t in graph.tensors if t.variable]
    handles = [n.name for graph in facts.graphs for n in graph.nodes if n.operator == "VAR_HANDLE"]
    return list(dict.fromkeys([*names, *handles]))


def dynamic_tensors(facts: ModelFacts) -> int:
    """How many tensors have a dimension that is known at run time only."""
    return sum(t.shape is None or None in t.shape for graph in facts.graphs for t in graph.tensors)
