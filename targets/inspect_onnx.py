"""Reads an ONNX file: its graph is parsed and its shapes are inferred, nothing is run."""

from __future__ import annotations

from collections.abc import Hashable
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..files import sha256_file
from .contradictions import contradiction
from .derived import with_derived
from .dtypes import tensor_bytes
from .facts import QDQ_OPERATORS, GraphFacts, ModelFacts, TensorSpec
from .onnx_attributes import numbers, short_text
from .onnx_file import OnnxFile, dtype_name, read_onnx
from .onnx_graphs import graph_facts
from .onnx_macs import count_macs
from .onnx_operators import STANDARD_DOMAINS, operator_name
from .onnx_order import reads_of
from .onnx_quantized import quantized_use
from .onnx_scope import Inferred, Scope, shape_of
from .onnx_shapes import has_open_shapes, infer_shapes, without_declared_shapes, without_weights
from .onnx_tensor_scales import Scales, tensor_scales
from .tally import NodeFacts, Step, constant_bytes, peak_bytes, tally_operators, tally_quantized


def inspect_onnx(path: Path) -> ModelFacts:
    """The facts of an ONNX file.

    Raises:
        UsageError: the file is no ONNX model, is damaged, or lacks a file with weights.
    """
    try:
        return _facts(read_onnx(path))
    except UsageError:
        raise
    except (ValueError, RuntimeError, TypeError, IndexError, KeyError, OverflowError) as error:
        reason = str(error).strip().splitlines()
        raise UsageError(
            f"{path} is a damaged ONNX model ({reason[0] if reason else type(error).__name__})",
            hint="export it again, or let onnx.checker say more",
        ) from error


def _facts(file: OnnxFile) -> ModelFacts:
    folder = file.path.parent
    bare = without_weights(file.model)
    at_one = infer_shapes(bare, batch_of_one=True).graph
    opened = at_one
    if has_open_shapes(bare.graph):
        opened = infer_shapes(bare, batch_of_one=False).graph
    # The nodes are those of the bare model (its functions are inlined), the weights the file's.
    main = Scope(bare.graph, Inferred(at_one, opened), file.model.graph.initializer)
    _check_connected(main)
    nodes: list[NodeFacts] = []
    graphs: list[GraphFacts] = []
    scales: dict[Scope, Scales] = {}
    for scope in main.walk():
        scales[scope] = tensor_scales(scope, folder, scales[scope.outer] if scope.outer else {})
        macs = [_macs(scope, node) for node in scope.graph.node]
        nodes += map(partial(_node_facts, scope, folder), scope.graph.node, macs)
        graphs.append(graph_facts(scope, scales[scope], macs, folder))
    _check_products(file, bare, graphs)
    opsets = {entry.domain: int(entry.version) for entry in bare.opset_import}
    constants = {tensor.name for tensor in bare.graph.initializer}
    facts = ModelFacts(
        path=file.path,
        format="onnx",
        size_bytes=file.size_bytes,
        sha256=sha256_file(file.path),
        inputs=tuple(_spec(v) for v in bare.graph.input if v.name not in constants),
        outputs=tuple(_spec(v) for v in bare.graph.output),
        operators=tally_operators(nodes),
        weight_bytes=constant_bytes(nodes),
        peak_activation_bytes=_peak(main),
        opset=next((v for domain, v in opsets.items() if domain in STANDARD_DOMAINS), None),
        ir_version=file.model.ir_version or None,
        quantized=tally_quantized(nodes),
        subgraphs=len(graphs) - 1,
        external_data=tuple(p.relative_to(folder).as_posix() for p in file.external),
        format_version=file.model.ir_version or None,
        producer=f"{file.model.producer_name} {file.model.producer_version}".strip() or None,
        opsets=opsets,
        metadata=_metadata(file.model),
        graphs=tuple(graphs),
    )
    return with_derived(facts, [node.quantized for node in nodes])


def _metadata(model: Any) -> dict[str, str]:
    """What the model says of itself; `metadata_props` win over fields of the same name."""
    told = {
        "graph_name": model.graph.name,
        "domain": model.domain,
        "model_version": str(model.model_version or ""),
        "doc_string": model.doc_string or model.graph.doc_string,
    }
    said = {name: short_text(text) for name, text in told.items() if text}
    return said | {entry.key: short_text(entry.value) for entry in model.metadata_props}


def _spec(value: Any) -> TensorSpec:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        return TensorSpec(value.name, (), str(kind or "undefined").removesuffix("_type"))
    tensor = value.type.tensor_type
    return TensorSpec(value.name, shape_of(tensor), dtype_name(tensor.elem_type))


def _check_connected(main: Scope) -> None:
    """That every tensor that is read has one source: the parts of a damaged file can be valid.

    Source: ONNX IR specification, "Graphs" (static single assignment).
    """
    for scope in main.walk():
        computed: set[str] = set()
        for node in scope.graph.node:
            for name in filter(None, node.input):
                if not scope.has(name):
                    raise ValueError(f"nothing computes '{name}', which {node.op_type} reads")
            for name in filter(None, node.output):
                if name in computed:
                    raise ValueError(f"two nodes compute '{name}'")
                computed.add(name)
        for value in scope.graph.output:
            if not scope.has(value.name):
                raise ValueError(f"nothing computes the output '{value.name}'")


def _check_products(file: OnnxFile, bare: Any, graphs: list[GraphFacts]) -> None:
    """That weights fit to what they are multiplied with.

    Shapes that the file declares between its nodes can be stale, which runtimes put up with: what
    counts is what follows from the inputs and constants.
    """
    if contradiction(graphs) is None:
        return
    inferred = infer_shapes(without_declared_shapes(bare), batch_of_one=False).graph
    main = Scope(bare.graph, Inferred(inferred, inferred), file.model.graph.initializer)
    folder = file.path.parent
    again = (
        graph_facts(scope, {}, [None] * len(scope.graph.node), folder) for scope in main.walk()
    )
    if (why := contradiction(again)) is not None:
        raise ValueError(why)


def _macs(scope: Scope, node: Any) -> int | None:
    """Multiply-accumulates of one run."""
    operator = operator_name(node)
    return count_macs(
        operator,
        numbers(node),
        [scope.value(name).shape if name else None for name in node.input],
        [scope.value(name).shape for name in node.output],
    )


def _node_facts(scope: Scope, folder: Path, node: Any, macs: int | None) -> NodeFacts:
    operator = operator_name(node)
    inputs = [name for name in node.input if name]
    constants: dict[Hashable, int] = {}
    for name in inputs:
        constants.update(scope.constants(name) or {})
    dtypes = {scope.value(name).dtype for name in (*inputs, *node.output) if name}
    return NodeFacts(
        operator=operator,
        dtypes=frozenset(dtypes - {"undefined"}),
        # How often a branch or a loop's body runs is known at run time only.
        macs=macs if scope.outer is None or macs == 0 else None,
        constants=constants,
        quantized=quantized_use(scope, node, operator, folder),
    )


def _peak(scope: Scope) -> int | None:
    """Of a graph, plus what branches and loop bodies need while they run.

    QDQ pairs count as the runtime fuses them: one tensor, of the quantized type.
    """
    stored = _stored_as(scope)
    graph = scope.graph
    sizes: dict[Hashable, int | None] = {}
    names = [v.name for v in graph.input] + [n for node in graph.node for n in node.output if n]
    for name in names:
        if scope.constants(name) is None:
            value = scope.value(stored.get(name, name))
            sizes[stored.get(name, name)] = tensor_bytes(value.dtype, value.shape)
    steps = []
    for position, node in enumerate(graph.node):
        peaks = [_peak(inner) for inner in scope.inner.get(position, [])]
        steps.append(
            Step(
                reads=[stored.get(n, n) for n in reads_of(node)],
                writes=[stored.get(n, n) for n in node.output if stored.get(n, n) in sizes],
                inner_bytes=None if None in peaks else max((p or 0 for p in peaks), default=0),
            )
        )
    inputs = [v.name for v in graph.input if v.name in sizes]
    outputs = [stored.get(v.name, v.name) for v in graph.output]
    return peak_bytes(steps, sizes, inputs, outputs)


def _stored_as(scope: Scope) -> dict[str, str]:
    """For floating point tensors between Q and DQ: the quantized tensor that stands for them."""
    if not any(node.op_type in QDQ_OPERATORS for node in scope.graph.node):
        return {}
    readers: dict[str, list[Any]] = {}
    for node in scope.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    outputs = {value.name for value in scope.graph.output}
    inputs = {value.name for value in scope.graph.input}
    stored: dict[str, str] = {}
    for node in scope.graph.node:
        if not node.input or not node.output or scope.constants(node.output[0]) is not None:
            continue
        source, target = node.input[0], node.output[0]
        if node.op_type == "DequantizeLinear" and target not in outputs:
            stored[target] = source
        elif (
            node.op_type == "QuantizeLinear"
            and source not in outputs | inputs
            and len(readers[source]) == 1
        ):
            stored[source] = target
    return stored
