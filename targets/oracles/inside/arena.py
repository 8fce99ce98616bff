"""LiteRT's interpreter without delegates, and where it lays the tensors.

Tensors begin at multiples of 64 bytes right behind one another (kDefaultTensorAlignment of
tensorflow/lite/arena_planner.cc), so that the stretches they cover are the arenas.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...tflite_file import read_tflite
from ...tflite_graph import TfliteGraph
from .. import CannotSay

_ALIGNMENT_BYTES = 64

#: Tensors without memory in an arena: handles to variables, and strings.
_ELSEWHERE = frozenset({"resource", "variant", "string"})


def measure(path: str) -> dict[str, Any]:
    """For the sandbox: the fields of `ArenaFacts`.

    Raises:
        CannotSay: LiteRT is not installed, or refuses the model.
    """
    try:
        from importlib.metadata import version

        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    except ImportError as error:
        raise CannotSay(f"LiteRT is not installed ({error})") from error
    with Path(path).open("rb") as handle:
        file = read_tflite(mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ))
    try:
        interpreter = Interpreter(
            model_path=path,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise CannotSay(f"LiteRT refuses it ({' '.join(str(error).split())})") from error
    arena = kept = 0
    whole = True
    for position, subgraph in enumerate(file.subgraphs):
        places = _places(interpreter, position, TfliteGraph(subgraph))
        arena += places.arena_bytes
        kept += places.kept_bytes
        whole = whole and (places.whole or position > 0)
    return {
        "arena_bytes": arena,
        "kept_bytes": kept,
        "whole": whole,
        "said_by": f"LiteRT {version('ai-edge-litert')}, CPU kernels without delegates",
    }


#: First byte and the one behind the last.
Span = tuple[int, int]


@dataclass(frozen=True)
class _Places:
    arena_bytes: int
    kept_bytes: int
    whole: bool


def _places(interpreter: Any, position: int, graph: TfliteGraph) -> _Places:
    """Where the tensors of one subgraph lie."""
    activations: list[Span] = []
    kept: list[Span] = []
    scratch: list[Span] = []
    whole = True
    tensors = graph.subgraph.tensors
    for index in range(interpreter._interpreter.NumTensors(position)):
        if index >= len(tensors):
            span = _span(interpreter, position, index)
            if span is not None:
                scratch.append(span)
            continue
        tensor = tensors[index]
        if tensor.constant is not None or tensor.dtype in _ELSEWHERE:
            continue
        span = _span(interpreter, position, index)
        if span is None:
            whole = False
        else:
            (kept if tensor.variable or index in graph.constants else activations).append(span)
    kept, arena = _tell_apart(kept, activations, scratch)
    return _Places(_length(arena), _length(kept), whole)


def _tell_apart(
    kept: list[Span], activations: list[Span], scratch: list[Span]
) -> tuple[list[Span], list[Span]]:
    """The stretches that outlive an inference, and those of the arena.

    Kernels decide which of the two their scratch memory and unpacked weights belong to, so
    where they lie has to tell: only in the arena do tensors overlap.
    """
    arena = stretches([*activations, *scratch])
    outliving = [
        stretch
        for stretch in arena
        if not any(_overlap(stretch, span) for span in activations)
        and any(span[0] <= stretch[1] and stretch[0] <= span[1] for span in kept)
    ]
    arena = [stretch for stretch in arena if stretch not in outliving]
    outliving += kept
    while inside := [s for s in outliving if any(_overlap(s, stretch) for stretch in arena)]:
        outliving = [span for span in outliving if span not in inside]
        arena = stretches([*arena, *inside])
    return stretches(outliving), arena


def _span(interpreter: Any, position: int, index: int) -> Span | None:
    """Where a tensor lies, with what alignment leaves behind it; None if it has no memory yet."""
    try:
        # Asked first: a tensor without a shape is not looked at, the wrapper would crash.
        interpreter._interpreter.TensorSize(index, position)
        values = interpreter._interpreter.tensor(interpreter, index, position)
    except ValueError:
        return None
    if values is None:
        return None
    start = int(values.__array_interface__["data"][0])
    end = start + int(values.nbytes)
    return start, -(-end // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES


def stretches(spans: Iterable[Span]) -> list[Span]:
    """The memory that the spans cover, those that adjoin in one."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        else:
            merged.append((start, end))
    return merged


def _overlap(one: Span, other: Span) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _length(spans: Iterable[Span]) -> int:
    return sum(end - start for start, end in spans)
