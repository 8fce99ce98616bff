"""What a model file holds, as tables for people."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table

from ..targets.asked import Asked
from ..targets.facts import (
    QDQ_OPERATORS,
    GraphFacts,
    ModelFacts,
    Node,
    OperatorFacts,
    SignatureFacts,
    TensorFacts,
    TensorQuantization,
    TensorSpec,
)
from ..targets.traits import control_flow, custom_operators, dynamic_tensors, state
from ..targets.weights import StoredConstant, stored_constants
from .units import count_text, size_text

#: Items of a list that are named one by one.
_NAMED = 4
_FORMATS = {"onnx": "ONNX", "tflite": "TFLite"}


def inspect_tables(asked: Asked, *, operators: bool, weights: bool) -> RenderableType:
    """What `inspect` shows.

    Args:
        asked: the facts, with what runtimes said, if they were asked.
        operators: whether every node is listed instead of the kinds of operators.
        weights: whether every constant is listed, too.
    """
    facts = asked.facts
    shown: list[RenderableType] = [_summary(asked)]
    shown += _node_tables(facts) if operators else [_operators_table(facts)]
    if weights:
        shown.append(_weights_table(facts))
    return Group(*shown)


def _summary(asked: Asked) -> RenderableType:
    lines = Table.grid(padding=(0, 2))
    lines.add_column(style="bold", no_wrap=True)
    lines.add_column(overflow="fold")
    for title, text in _lines(asked):
        lines.add_row(title, text)
    return lines


def _lines(asked: Asked) -> Iterator[tuple[str, str]]:
    """The lines of the summary; what a model does not have is not mentioned."""
    facts = asked.facts
    yield "model", f"{facts.path.name}, {size_text(facts.size_bytes)}, sha256 {facts.sha256[:16]}"
    yield "format", _format(facts)
    yield from _titled("inputs", [_port(facts, spec, 0) for spec in facts.inputs])
    yield from _titled("outputs", [_port(facts, spec, 1) for spec in facts.outputs])
    yield from _titled("signatures", [_signature(s) for s in facts.signatures])
    yield from _titled("precision", facts.scheme)
    yield from _titled("QDQ kept", _unfused(asked))
    yield "weights", _weights(facts)
    yield "work", _work(facts)
    yield "activations", _activations(facts)
    yield from _titled("arena", _arena(asked))
    yield from _titled("custom", [_counted(custom_operators(facts))])
    yield from _titled("control flow", [_counted(control_flow(facts))])
    inner = [graph.name for graph in facts.graphs[1:]]
    yield from _titled(
        "graphs", [f"{len(inner)} beside the main one: {_some(inner)}"] * bool(inner)
    )
    yield from _titled("state", [_some(state(facts))])
    dynamic = dynamic_tensors(facts)
    if dynamic:
        total = sum(len(graph.tensors) for graph in facts.graphs)
        yield "open shapes", f"{dynamic} of {total} tensors have sizes known at run time only"
    yield from _titled("data files", facts.external_data)
    told = [f"{key}: {text}" for key, text in facts.metadata.items()]
    more = [f"and {len(told) - _NAMED} more"] if len(told) > _NAMED else []
    yield from _titled("metadata", [*told[:_NAMED], *more])


def _titled(title: str, texts: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Lines of one title; without texts none."""
    yield from zip([title, *[""] * len(texts)], filter(None, texts), strict=False)


def _format(facts: ModelFacts) -> str:
    version = {"onnx": "IR version", "tflite": "schema version"}[facts.format]
    parts = [_FORMATS[facts.format]]
    if facts.format_version is not None:
        parts[0] += f" {version} {facts.format_version}"
    parts += [
        f"opset {number}" if domain in ("", "ai.onnx") else f"{domain} {number}"
        for domain, number in facts.opsets.items()
    ]
    if facts.min_runtime_version:
        parts.append(f"needs a runtime from {facts.min_runtime_version} on")
    if facts.producer:
        parts.append(f"written by {facts.producer}")
    return ", ".join(parts)


def _port(facts: ModelFacts, spec: TensorSpec, side: int) -> str:
    """An input (side 0) or output (side 1), with how its integers stand for reals."""
    specs = (facts.inputs, facts.outputs)[side]
    quantization = None
    if facts.graphs:
        graph = facts.graphs[0]
        index = (graph.inputs, graph.outputs)[side][specs.index(spec)]
        quantization = graph.tensors[index].quantization
    told = f", {_scales(quantization)}" if quantization is not None else ""
    return f"{spec.describe()}{told}"


def _scales(quantization: TensorQuantization) -> str:
    known = quantization.parameters
    if known is not None:
        minus = f" - {known.zero_point}" if known.zero_point >= 0 else f" + {-known.zero_point}"
        integer = f"(integer{minus})" if known.zero_point else "integer"
        return f"real = {known.scale:.6g} * {integer}"
    even = "symmetric" if quantization.symmetric else "asymmetric"
    if quantization.block:
        return f"blocks of {quantization.block}, {even}"
    if quantization.per_channel:
        return f"per channel (axis {quantization.axis}), {even}"
    return f"per tensor, {even}"


def _signature(signature: SignatureFacts) -> str:
    inputs = ", ".join(name for name, _ in signature.inputs)
    outputs = ", ".join(name for name, _ in signature.outputs)
    where = f" in {signature.graph}" if signature.graph else ""
    return f"{signature.name}({inputs}) -> {outputs}{where}"


def _unfused(asked: Asked) -> list[str]:
    facts = asked.facts
    refusal = [f"not asked: {asked.refusal}"] if asked.refusal else []
    total = facts.count(QDQ_OPERATORS)
    if not total:
        return []
    source = f"{asked.said_by}, asked" if asked.said_by else "by ONNX Runtime's rules"
    if not facts.unfused:
        return [*refusal, f"none of {total} QDQ operators, but at inputs and outputs ({source})"]
    # Which nodes they are, --json says.
    reasons = Counter(re.sub(" '.*?'", "", pair.reason) for pair in facts.unfused).most_common()
    lines = [f"{len(facts.unfused)} of {total} QDQ operators run as such ({source}):"]
    lines += [f"{count}: {reason}" for reason, count in reasons[:_NAMED]]
    more = len(reasons) - _NAMED
    return [*refusal, *lines, *[f"and {more} more reasons"] * (more > 0)]


def _weights(facts: ModelFacts) -> str:
    if not facts.weights:
        return "none"
    parts = []
    for weights in facts.weights:
        number = "?" if weights.parameters is None else count_text(weights.parameters)
        notes = [f"{weights.sparse_tensors} sparse"] * bool(weights.sparse_tensors)
        notes += [f"{weights.shared_tensors} shared"] * bool(weights.shared_tensors)
        told = f" ({', '.join(notes)})" if notes else ""
        parts.append(f"{number} {weights.dtype} in {size_text(weights.size_bytes)}{told}")
    return ", ".join(parts)


def _work(facts: ModelFacts) -> str:
    if facts.macs is not None:
        return f"{count_text(facts.macs)} multiply-accumulates (MACs) at batch 1"
    unknown = [operator for operator in facts.operators if operator.macs is None]
    known = sum(operator.macs or 0 for operator in facts.operators)
    least = f"at least {count_text(known)} MACs; " if known else ""
    return f"{least}unknown for {_counted(unknown)}"


def _activations(facts: ModelFacts) -> str:
    peak = facts.peak_activation_bytes
    if peak is None:
        return "unknown: sizes are known at run time only"
    return f"{size_text(peak)} alive at once at the peak, at batch 1"


def _arena(asked: Asked) -> list[str]:
    arena = asked.arena
    if arena is None:
        refused = asked.refusal if asked.facts.format == "tflite" else None
        return [f"not asked: {refused}"] if refused else []
    least = "" if arena.whole else "at least "
    told = f"{least}{size_text(arena.arena_bytes)} for activations and scratch"
    if arena.kept_bytes:
        told += f", {size_text(arena.kept_bytes)} for state and unpacked weights"
    rest = [] if arena.whole else ["some sizes are known at run time only"]
    return [f"{told} ({arena.said_by}, asked)", *rest]


def _counted(operators: Iterable[OperatorFacts]) -> str:
    return _some([f"{operator.count} {operator.name}" for operator in operators])


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _operators_table(facts: ModelFacts) -> RenderableType:
    """Kinds of operators, those with most work first."""
    versions: dict[str, set[int]] = {}
    for graph in facts.graphs:
        for node in graph.nodes:
            if node.version is not None:
                versions.setdefault(node.operator, set()).add(node.version)
    table = Table(header_style="bold")
    table.add_column("operator", overflow="fold")
    table.add_column("count", justify="right")
    if versions:
        table.add_column("version", justify="right")
    table.add_column("types", overflow="fold")
    for title in ("MACs", "share", "weights"):
        table.add_column(title, justify="right")
    for operator in sorted(facts.operators, key=lambda o: -(o.macs or 0)):
        known = sorted(versions.get(operator.name, ()))
        table.add_row(
            operator.name,
            str(operator.count),
            *[", ".join(map(str, known))] * bool(versions),
            " ".join(operator.dtypes),
            _macs(operator.macs),
            _share(operator.macs, facts.macs),
            size_text(operator.weight_bytes) if operator.weight_bytes else "",
        )
    return table


def _node_tables(facts: ModelFacts) -> Iterator[RenderableType]:
    """Every node, a table for each graph."""
    for graph in facts.graphs:
        has_versions = any(node.version is not None for node in graph.nodes)
        table = Table(header_style="bold", title=graph.name or None, title_justify="left")
        table.add_column("#", justify="right")
        table.add_column("name", overflow="fold")
        table.add_column("operator", overflow="fold")
        if has_versions:
            table.add_column("version", justify="right")
        table.add_column("types and shapes", overflow="fold")
        table.add_column("MACs", justify="right")
        table.add_column("share", justify="right")
        for node in graph.nodes:
            table.add_row(
                str(node.index),
                node.name,
                node.operator,
                *[str(node.version or "")] * has_versions,
                _operands(graph, node),
                _macs(node.macs),
                # A graph inside may run any number of times.
                "" if graph.name else _share(node.macs, facts.macs),
            )
        yield table


def _operands(graph: GraphFacts, node: Node) -> str:
    """Types and shapes of what a node reads and writes; a type is not said twice in a row."""
    words: list[str] = []
    last = ""
    for side in (node.inputs, node.outputs):
        parts = []
        for index in side:
            if index >= 0:
                tensor = graph.tensors[index]
                shape = _shape(tensor)
                parts.append(shape if tensor.dtype == last else f"{tensor.dtype} {shape}")
                last = tensor.dtype
        words.append(", ".join(parts))
    return " -> ".join(words)


def _shape(tensor: TensorFacts) -> str:
    if tensor.shape is None:
        return "[?]"
    return f"[{'x'.join('?' if size is None else str(size) for size in tensor.shape)}]"


def _weights_table(facts: ModelFacts) -> RenderableType:
    """Every constant, the largest first."""
    table = Table(header_style="bold")
    table.add_column("constant", overflow="fold")
    for title in ("type", "shape"):
        table.add_column(title)
    table.add_column("bytes", justify="right")
    table.add_column("quantization and notes", overflow="fold")
    constants = stored_constants(facts.graphs, facts.format)
    for constant in sorted(constants, key=lambda c: -c.size_bytes):
        first = constant.first
        table.add_row(
            first.name, constant.dtype, _shape(first), str(constant.size_bytes), _notes(constant)
        )
    return table


def _notes(constant: StoredConstant) -> str:
    notes = []
    if constant.first.quantization is not None:
        notes.append(_scales(constant.first.quantization))
    if constant.first.sparse:
        notes.append("sparse")
    if len(constant.tensors) > 1:
        notes.append(f"shared by {len(constant.tensors)} tensors")
    return ", ".join(notes)


def _macs(macs: int | None) -> str:
    if macs is None:
        return "?"
    return count_text(macs) if macs else ""


def _share(macs: int | None, total: int | None) -> str:
    return f"{100 * macs / total:.1f}%" if macs and total else ""
