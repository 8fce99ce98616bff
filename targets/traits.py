"""What a model asks of its runtime beyond operators: custom kernels, control flow, open shapes."""

from __future__ import annotations

from .facts import ModelFacts, OperatorFacts

#: Domains whose operators ONNX Runtime has kernels for (docs/ContribOperators.md, onnx.ai).
_KNOWN_DOMAINS = frozenset({"com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc"})

_CONTROL_FLOW = frozenset(
    {"If", "Loop", "Scan", "SequenceMap"}
    | {"IF", "WHILE", "CALL", "CALL_ONCE", "STABLEHLO_WHILE", "STABLEHLO_CASE"}
)


def custom_operators(facts: ModelFacts) -> list[OperatorFacts]:
    """Operators that the runtime has no kernel for of its own; TensorFlow's (flex) included."""
    return [operator for operator in facts.operators if _is_custom(operator.name)]


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


def _is_custom(name: str) -> bool:
    domain, separator, _ = name.rpartition("::")
    return bool(separator) and not (domain in _KNOWN_DOMAINS or domain.startswith("ai.onnx"))
