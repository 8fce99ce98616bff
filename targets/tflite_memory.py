"""Lifetime analysis of a TFLite file: what it needs beside its weights."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from .dtypes import tensor_bytes
from .tally import Step, peak_bytes
from .tflite_calls import callers_first
from .tflite_file import TfliteNode
from .tflite_graph import TfliteGraph


def peak_activation_bytes(graphs: Sequence[TfliteGraph]) -> int | None:
    """Most bytes alive at once, with the state that is kept between inferences.

    A node that runs other subgraphs needs what the neediest of them does, beside what is alive
    around it. None where a size is unknown.
    """
    state = state_bytes(graphs)
    peaks: dict[int, int | None] = {}
    for index in reversed(callers_first([graph.subgraph for graph in graphs])):
        peaks[index] = _peak(graphs[index], peaks)
    main = peaks.get(0)
    return None if main is None or state is None else main + state


def state_bytes(graphs: Sequence[TfliteGraph]) -> int | None:
    """Bytes of resource variables, each by the largest value that is assigned to it or read."""
    sizes: dict[Hashable, int] = {}
    for graph in graphs:
        variables: dict[int, Hashable] = {}
        for node in graph.subgraph.nodes:
            if node.operator == "VAR_HANDLE":
                names = node.attributes.get("container", ""), node.attributes.get("shared_name", "")
                variables.update(dict.fromkeys(node.outputs, names))
            elif node.operator in ("ASSIGN_VARIABLE", "READ_VARIABLE"):
                value = node.inputs[1] if node.operator == "ASSIGN_VARIABLE" else node.outputs[0]
                size = tensor_bytes(graph.subgraph.tensors[value].dtype, graph.shape(value))
                if size is None:
                    return None
                # A handle that comes from outside stands for a variable made there.
                variable = variables.get(node.inputs[0])
                if variable is not None:
                    sizes[variable] = max(size, sizes.get(variable, 0))
    return sum(sizes.values())


def _peak(graph: TfliteGraph, peaks: dict[int, int | None]) -> int | None:
    tensors = graph.subgraph.tensors
    sizes: dict[Hashable, int | None] = {
        index: tensor_bytes(tensor.dtype, graph.shape(index))
        for index, tensor in enumerate(tensors)
        if index not in graph.constants
    }
    computed = {index for node in graph.subgraph.nodes for index in node.outputs}
    kept = [index for index, tensor in enumerate(tensors) if tensor.variable]
    filled = computed.union(graph.subgraph.inputs, kept)
    steps = []
    for node in graph.subgraph.nodes:
        inner = [peaks.get(callee) for callee in node.graphs]
        if any(index in sizes and index not in filled for index in node.inputs):
            inner.append(_beyond_own(node, sizes, filled))
        known = [peak for peak in inner if peak is not None]
        steps.append(
            Step(
                reads=node.inputs,
                writes=[index for index in node.outputs if index in sizes],
                inner_bytes=max(known, default=0) if len(known) == len(inner) else None,
            )
        )
    return peak_bytes(
        steps, sizes, [*graph.subgraph.inputs, *kept], [*graph.subgraph.outputs, *kept]
    )


def _beyond_own(
    node: TfliteNode, sizes: dict[Hashable, int | None], filled: set[int]
) -> int | None:
    """What compiled code takes beside its inputs and outputs, which its memory may hold as well.

    That memory is an input which nobody fills (Vela calls it scratch).
    """
    scratch = own = 0
    for index in {*node.inputs, *node.outputs}.intersection(sizes):
        size = sizes[index]
        if size is None:
            return None
        scratch += 0 if index in filled else size
        own += size if index in filled else 0
    return max(scratch - own, 0)
