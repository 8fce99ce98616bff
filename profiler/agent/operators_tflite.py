"""Operator times of a TFLite interpreter, through the C interface that its delegates use.

The Python API has no profiler. But a delegate is shown the graph, in C structures that have kept
their layout for years (`tflite/core/c/common.h`: TfLiteContext, TfLiteNode, TfLiteRegistration,
TfLiteDelegate, TfLiteDelegateParams). One that takes no operator, applied after the runtime's own
delegates, sees which operators they took, and puts a clock around the function that runs each
operator. Before anything is changed, what it sees is compared with what the Python API says.
"""

from __future__ import annotations

import ctypes
import gc
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

from .common import Json
from .operators import UNSEEN, provider_shares, repeat, shares

_DELEGATE_OP = 51
_ALLOW_DYNAMIC_TENSORS = 1
_OK, _ERROR = 0, 1

_METHOD = (
    "a clock around each operator that the interpreter runs, in an interpreter of its own after "
    "the samples"
)
_ONE_BY_ONE = (
    _METHOD + "; operators of the delegate in another one, where it had to take them one by one: "
    "in one piece they can be faster"
)


def _pointers(names: str) -> Any:
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
        ("version", ctypes.c_int),
        ("registration_external", ctypes.c_void_p),
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


def _integers(address: Optional[int]) -> List[int]:
    """A TfLiteIntArray: its size, then its values."""
    if not address:
        return []
    size = ctypes.c_int.from_address(address).value
    first = address + ctypes.sizeof(ctypes.c_int)
    return list((ctypes.c_int * size).from_address(first))


class Step(NamedTuple):
    """One node that the interpreter runs.

    Attributes:
        node: its index.
        replaced: the nodes of the graph that a delegate runs in this one; None: no delegate.
        delegate: its name.
    """

    node: int
    replaced: Optional[List[int]]
    delegate: str


class Watch:
    """A clock around every operator of an interpreter that has its tensors allocated.

    Operators within a branch or a loop count to the operator that runs them. The interpreter must
    not be resized afterwards, and this object has to live as long as it.

    Raises:
        LookupError: this runtime shows its delegates another graph than its Python API does, or
            lets none be applied.
    """

    def __init__(self, interpreter: Any) -> None:
        # Not its inner interpreter: the outer one runs nothing while somebody else holds that.
        self.interpreter = interpreter
        self.steps: List[Step] = []
        self.spent_ns: Dict[int, int] = {}
        self.problem: Optional[str] = None
        self.seen = False
        self.callbacks: List[Any] = [_PAIR(self.look)]
        self.delegate = _Delegate(
            prepare=ctypes.cast(self.callbacks[0], ctypes.c_void_p).value,
            flags=_ALLOW_DYNAMIC_TENSORS,
        )
        try:
            interpreter._interpreter.ModifyGraphWithDelegate(ctypes.addressof(self.delegate))
        except (AttributeError, TypeError, ValueError, RuntimeError) as error:
            raise LookupError(self.problem or "no delegate can be applied: %s" % error) from error
        if self.problem:
            raise LookupError(self.problem)

    def look(self, context: int, _: int) -> int:
        """Called with each graph of the model, the main one first; that is the one timed."""
        if self.seen:
            return _OK
        self.seen = True
        try:
            nodes = self.nodes(context)
        except LookupError as error:
            self.problem = str(error)
            return _ERROR
        for step, registration in nodes:
            self.steps.append(step)
            self.spent_ns[step.node] = 0
            timed = _PAIR(self.timed(step.node, _PAIR(registration.invoke)))
            self.callbacks.append(timed)
            registration.invoke = ctypes.cast(timed, ctypes.c_void_p).value
        return _OK

    def nodes(self, context: int) -> List[Any]:
        """What is to be run, in order: each node's Step and its registration."""
        functions = _Context.from_address(context)
        plan = ctypes.c_void_p()
        status = _PAIR(functions.get_execution_plan)(context, ctypes.addressof(plan))
        if status != _OK:
            raise LookupError("the runtime does not show its delegates the execution plan")
        node_of = _NODE_OF(functions.get_node_and_registration)
        found = []
        for index in _integers(plan.value):
            pair = (ctypes.c_void_p * 2)()
            first, second = ctypes.addressof(pair), ctypes.addressof(pair) + ctypes.sizeof(plan)
            if node_of(context, index, first, second) != _OK or not all(pair):
                raise LookupError("the runtime does not show its delegates node %d" % index)
            node = _Node.from_address(pair[0] or 0)
            registration = _Registration.from_address(pair[1] or 0)
            outputs = [int(t) for t in self.interpreter._interpreter.NodeOutputs(index)]
            taken = registration.builtin_code == _DELEGATE_OP
            if _integers(node.outputs) != outputs or taken != bool(node.delegate):
                raise LookupError("this build of the runtime lays its graph out in another way")
            if not registration.invoke or registration.registration_external:
                raise LookupError("the runtime runs %s in a way that can't be timed" % index)
            replaced = None
            name = ""
            if taken:
                params = _DelegateParams.from_address(node.builtin_data)
                replaced = _integers(params.nodes_to_replace)
                name = (registration.custom_name or b"delegate").decode("utf-8", "replace")
            found.append((Step(index, replaced, delegate_name(name)), registration))
        return found

    def timed(self, index: int, invoke: Any) -> Callable[[int, int], int]:
        spent = self.spent_ns
        clock = time.perf_counter_ns

        def call(context: int, node: int) -> int:
            began = clock()
            status = invoke(context, node)
            spent[index] += clock() - began
            return status  # type: ignore[no-any-return]

        return call

    def mean_ms(self, index: int, inferences: int) -> float:
        return self.spent_ns[index] / 1e6 / inferences


def delegate_name(name: str) -> str:
    """What people call it: 'TfLiteXNNPackDelegate' is XNNPACK."""
    return "XNNPACK" if "xnnpack" in name.lower() else name


def profile(make: Callable[..., Any], kernels: str, samples: Sequence[Sequence[Any]]) -> Json:
    """Operators, and what the delegates took of them.

    Args:
        make: an engine, its model loaded with these further arguments of the interpreter.
        kernels: what to call the runtime's own kernels.

    Raises:
        LookupError: see Watch.
    """
    alike = [s for s in samples if [a.shape for a in s] == [a.shape for a in samples[0]]]
    engine = make()
    inferences, watch = _run(engine, alike)
    graph = engine.interpreter
    operators = [_operator(graph, step, watch, inferences, kernels) for step in watch.steps]
    parts = [step.replaced for step in watch.steps if step.replaced is not None]
    taken = {node for part in parts for node in part}
    document: Json = {
        "inferences": inferences,
        "operators": [dict(operator) for operator in operators],
        "providers": provider_shares(operators),
        "delegated_nodes": len(taken),
        "total_nodes": len(taken) + len(watch.steps) - len(parts),
        "partitions": len(parts),
        "method": _METHOD,
    }
    if any(len(part) > 1 for part in parts):
        delegate = next(step.delegate for step in watch.steps if step.replaced is not None)
        del engine, graph, watch
        # Python's functions and the structures that hold them refer to each other.
        gc.collect()
        try:
            engine = make(experimental_disable_delegate_node_fusion=True)
        except TypeError:
            document["missing"] = {
                "operators": "this version of the runtime lets nobody look into %s: each of its "
                "parts is one operator here" % delegate
            }
        else:
            inferences, watch = _run(engine, alike)
            document["operators"] = [
                _operator(engine.interpreter, step, watch, inferences, kernels)
                for step in watch.steps
            ]
            document["method"] = _ONE_BY_ONE
    for operator in shares(document["operators"]):
        del operator["nodes"], operator["delegate"]
    return document


def _run(engine: Any, samples: Sequence[Sequence[Any]]) -> Any:
    engine.bind(samples[0])
    watch = Watch(engine.interpreter)

    def infer(arrays: Sequence[Any]) -> None:
        engine.bind(arrays)
        engine.invoke()

    for _ in range(UNSEEN):
        infer(samples[0])
    watch.spent_ns.update(dict.fromkeys(watch.spent_ns, 0))
    return repeat(infer, samples), watch


def _operator(graph: Any, step: Step, watch: Watch, inferences: int, kernels: str) -> Json:
    nodes = [step.node] if step.replaced is None else step.replaced
    name, kind = _output_name(graph, nodes[-1]), graph._interpreter.NodeName(nodes[-1])
    if len(nodes) > 1:
        name, kind = "%d operators, the last one %s" % (len(nodes), name), "DELEGATE"
    return {
        "name": name,
        "type": kind,
        "provider": kernels if step.replaced is None else step.delegate,
        "count": 1,
        "mean_ms": watch.mean_ms(step.node, inferences),
        "nodes": len(nodes),
        "delegate": step.replaced is not None,
    }


def _output_name(graph: Any, node: int) -> str:
    """Nodes of a TFLite file have no names: that of the first output."""
    outputs = graph._interpreter.NodeOutputs(node)
    if not len(outputs):
        return "node %d" % node
    try:
        detail = graph._get_tensor_details(int(outputs[0]), 0)
    except TypeError:
        # Before there were subgraphs.
        detail = graph._get_tensor_details(int(outputs[0]))
    return str(detail["name"]) or "node %d" % node
