"""Which nodes LiteRT's delegates took, through the C interface that delegates use.

The Python API shows that there are delegate nodes, not what they replaced, and only in the main
graph. But a delegate is shown each graph, in C structures that have kept their layout for years
(`tflite/core/c/common.h`: TfLiteContext, TfLiteNode, TfLiteRegistration, TfLiteDelegate,
TfLiteDelegateParams). One that takes nothing, applied after the runtime's own, reads there what
those took. Runs in the sandbox: another layout costs that process.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

#: BuiltinOperator.DELEGATE of the TFLite schema.
_DELEGATE = 51
#: kTfLiteDelegateFlagsAllowDynamicTensors
_ALLOW_DYNAMIC_TENSORS = 1


def _pointers(names: str) -> list[tuple[str, Any]]:
    return [(name, ctypes.c_void_p) for name in names.split()]


class _Context(ctypes.Structure):
    _fields_ = [
        ("tensors_size", ctypes.c_size_t),
        *_pointers(
            "get_execution_plan tensors impl resize_tensor report_error add_tensors "
            "get_node_and_registration"
        ),
    ]


class _Node(ctypes.Structure):
    _fields_ = [
        *_pointers(
            "inputs outputs intermediates temporaries user_data builtin_data custom_initial_data"
        ),
        ("custom_initial_data_size", ctypes.c_int),
        ("delegate", ctypes.c_void_p),
    ]


class _Registration(ctypes.Structure):
    _fields_ = [
        *_pointers("init free prepare invoke profiling_string"),
        ("builtin_code", ctypes.c_int32),
        ("custom_name", ctypes.c_char_p),
    ]


class _DelegateParams(ctypes.Structure):
    _fields_ = _pointers("delegate nodes_to_replace input_tensors output_tensors")


class _Delegate(ctypes.Structure):
    _fields_ = [
        *_pointers("data prepare copy_from_buffer copy_to_buffer free_buffer"),
        ("flags", ctypes.c_int64),
        ("opaque_delegate_builder", ctypes.c_void_p),
    ]


_PAIR = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
_NODE_OF = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p
)


@dataclass(frozen=True)
class LitertGraph:
    """One graph, after the runtime's delegates were applied to it.

    Attributes:
        outputs: each original node's output tensors, in the file's order: what tells the graph.
        pieces: the delegate nodes, each with the delegate's name and the nodes it replaced.
    """

    outputs: list[list[int]] = field(default_factory=list)
    pieces: list[tuple[str, list[int]]] = field(default_factory=list)


def litert_graphs(interpreter: Any) -> list[LitertGraph]:
    """Every graph that the runtime shows to delegates, the main one first.

    Args:
        interpreter: an `ai_edge_litert` Interpreter whose tensors are allocated, or failed to be.

    Raises:
        LookupError: this build shows its graphs in another way.
    """
    found: list[LitertGraph] = []
    problems: list[str] = []

    def look(context: int, _: int) -> int:
        try:
            found.append(_graph(context))
        except LookupError as error:
            problems.append(str(error))
        return 0

    prepare = _PAIR(look)
    delegate = _Delegate(
        prepare=ctypes.cast(prepare, ctypes.c_void_p).value, flags=_ALLOW_DYNAMIC_TENSORS
    )
    # A graph that can't be prepared makes this fail too, after the delegate has seen it.
    failure = ""
    try:
        interpreter._interpreter.ModifyGraphWithDelegate(ctypes.addressof(delegate))
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        failure = str(error)
    if problems or not found:
        raise LookupError(next(iter(problems), failure or "no graph was shown"))
    return found


def _graph(context: int) -> LitertGraph:
    """The nodes in the order of their indices: those of the file, then those of delegates."""
    graph = LitertGraph()
    for node, registration in _nodes(context):
        taken = registration.builtin_code == _DELEGATE
        if taken != bool(node.delegate):
            raise LookupError("this build of LiteRT lays its graphs out in another way")
        if taken:
            params = _DelegateParams.from_address(node.builtin_data)
            name = (registration.custom_name or b"delegate").decode("utf-8", "replace")
            graph.pieces.append((name, _integers(params.nodes_to_replace)))
        else:
            graph.outputs.append(_integers(node.outputs))
    return graph


def _nodes(context: int) -> Iterator[tuple[_Node, _Registration]]:
    functions = _Context.from_address(context)
    plan = ctypes.c_void_p()
    if _PAIR(functions.get_execution_plan)(context, ctypes.addressof(plan)):
        raise LookupError("LiteRT does not show its execution plan")
    node_of = _NODE_OF(functions.get_node_and_registration)
    last = max(_integers(plan.value), default=-1)
    for index in range(last + 1):
        pair = (ctypes.c_void_p * 2)()
        first = ctypes.addressof(pair)
        if node_of(context, index, first, first + ctypes.sizeof(plan)) or not all(pair):
            raise LookupError(f"LiteRT does not show node {index}")
        yield _Node.from_address(pair[0] or 0), _Registration.from_address(pair[1] or 0)


def _integers(address: int | None) -> list[int]:
    """A TfLiteIntArray: its size, then its values."""
    if not address:
        return []
    size = ctypes.c_int.from_address(address).value
    return list((ctypes.c_int * size).from_address(address + ctypes.sizeof(ctypes.c_int)))
