"""Products whose weights contradict the shape of what they are multiplied with.

Runtimes load some of these models and fail at the first inference. What is open or unknown
contradicts nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from .facts import GraphFacts, Node

#: A shape; None if it is unknown.
Shape = tuple[int | None, ...] | None


def contradiction(graphs: Iterable[GraphFacts]) -> str | None:
    """The first contradiction, in words.

    Graphs that are given their inputs by another (loops' bodies) are left out: their shapes are
    those of the file, and need not be those at run time.

    Sources: ONNX operators, Conv, ConvTranspose, Gemm and MatMul; TFLite's kernels conv.cc,
    depthwise_conv.cc and fully_connected.cc, Prepare.
    """
    for graph in graphs:
        if graph.name and graph.inputs:
            continue
        for node in graph.nodes:
            judge = _JUDGES.get(node.operator)
            if judge is None:
                continue
            operands = [graph.operand(node, at) for at in range(len(node.inputs))]
            shapes = [None if tensor is None else tensor.shape for tensor in operands]
            for why in judge(node, [*shapes, *[None] * (_MOST_INPUTS - len(shapes))]):
                name = f" '{node.name}'" if node.name else ""
                return f"{node.operator}{name}: {why}"
    return None


def _conv(
    node: Node,
    shapes: list[Shape],
    data: int,
    weights: int,
    bias: int,
    *,
    transposed: bool = False,
) -> Iterator[str]:
    """[batch, channels, ...] with [outputs, channels / group, ...].

    Of a transposed convolution the weights are [channels, outputs / group, ...].
    """
    x, w = shapes[data], shapes[weights]
    if x is None or w is None or len(w) < 2:
        return
    if len(x) != len(w):
        yield f"its input has {len(x)} dimensions, and its weights have {len(w)}"
        return
    group = _group(node)
    whole, parts = w[0], None if w[1] is None else w[1] * group
    channels, outputs = (whole, parts) if transposed else (parts, whole)
    yield from _other("channels", x[1], channels)
    what, divided = ("channels", x[1]) if transposed else ("outputs", outputs)
    if divided is not None and divided % group:
        yield f"{divided} {what} in {group} groups"
    yield from _kernel(node, w)
    yield from _bias(shapes[bias], outputs)


def _gemm(node: Node, shapes: list[Shape]) -> Iterator[str]:
    left, right, bias = shapes[:3]
    if left is None or right is None:
        return
    if (len(left), len(right)) != (2, 2):
        yield f"it multiplies {len(left)} dimensions with {len(right)}, and takes two of each"
        return
    deep = left[0 if node.attributes.get("transA") else 1]
    depth, outputs = reversed(right) if node.attributes.get("transB") else right
    yield from _other("columns", deep, depth)
    last = bias[-1] if bias else 1
    if None not in (last, outputs) and last not in (1, outputs):
        yield f"a bias of {last} for {outputs} outputs"


def _matmul(shapes: list[Shape], left: int, right: int) -> Iterator[str]:
    """Of NumPy's matmul."""
    a, b = shapes[left], shapes[right]
    if a and b:
        yield from _other("columns", a[-1], b[-2] if len(b) > 1 else b[0])


def _conv_2d(shapes: list[Shape]) -> Iterator[str]:
    """[batch, height, width, channels] with [outputs, height, width, channels / groups]."""
    x, w, bias = shapes[:3]
    if not x or not w or len(x) != 4 or len(w) != 4:
        return
    channels, deep, outputs = x[3], w[3], w[0]
    if channels is None or not deep or outputs is None:
        return
    if channels % deep:
        yield from _other("channels", channels, deep)
    elif channels and outputs % (channels // deep):
        yield f"{outputs} outputs in {channels // deep} groups"
    yield from _bias(bias, outputs)


def _fully_connected(shapes: list[Shape]) -> Iterator[str]:
    """The input in rows as long as those of the weights [outputs, columns]."""
    x, w, bias = shapes[:3]
    if not x or None in x or not w or len(w) != 2 or not w[1]:
        return
    count = 1
    for size in x:
        count *= size or 0
    if count % w[1]:
        yield f"its input has {count} elements, and its weights are for rows of {w[1]}"
    yield from _bias(bias, w[0])


def _group(node: Node) -> int:
    group = node.attributes.get("group", 1)
    return group if isinstance(group, int) and group > 0 else 1


def _other(what: str, given: int | None, wanted: int | None) -> Iterator[str]:
    if given is not None and wanted is not None and given != wanted:
        yield f"its input has {given} {what}, and its weights are for {wanted}"


def _kernel(node: Node, weights: tuple[int | None, ...]) -> Iterator[str]:
    said, stored = node.attributes.get("kernel_shape"), weights[2:]
    if isinstance(said, tuple) and None not in stored and said != stored:
        yield f"its kernel_shape is {list(said)}, and its weights are for {list(stored)}"


def _bias(shape: Shape, outputs: int | None) -> Iterator[str]:
    if shape and len(shape) == 1 and None not in (shape[0], outputs) and shape[0] != outputs:
        yield f"a bias of {shape[0]} for {outputs} outputs"


_Judge = Callable[[Node, list[Shape]], Iterator[str]]

#: More than the position of any operand that is looked at.
_MOST_INPUTS = 9

_JUDGES: dict[str, _Judge] = {
    "Conv": lambda node, shapes: _conv(node, shapes, 0, 1, 2),
    "com.microsoft::FusedConv": lambda node, shapes: _conv(node, shapes, 0, 1, 2),
    "ConvInteger": lambda node, shapes: _conv(node, shapes, 0, 1, _MOST_INPUTS - 1),
    "QLinearConv": lambda node, shapes: _conv(node, shapes, 0, 3, 8),
    "ConvTranspose": lambda node, shapes: _conv(node, shapes, 0, 1, 2, transposed=True),
    "Gemm": _gemm,
    "MatMul": lambda _, shapes: _matmul(shapes, 0, 1),
    "MatMulInteger": lambda _, shapes: _matmul(shapes, 0, 1),
    "QLinearMatMul": lambda _, shapes: _matmul(shapes, 0, 3),
    "CONV_2D": lambda _, shapes: _conv_2d(shapes),
    "FULLY_CONNECTED": lambda _, shapes: _fully_connected(shapes),
}
