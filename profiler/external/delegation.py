"""What TensorFlow Lite's and LiteRT's logs say of delegates: which, how much, or not at all."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .figures import Acceleration

#: What the log may call the delegate of an accelerator, in lower case.
_NAMES = {
    "cpu": (),
    "xnnpack": ("xnnpack",),
    "gpu": ("gpu", "_cl", "_gl", "opencl", "opengl", "webgpu", "metal"),
    "nnapi": ("nnapi",),
    "hexagon": ("hexagon",),
    "coreml": ("coreml", "core ml"),
    "npu": ("npu", "dispatch"),
}
_REPLACED = re.compile(
    r"Replacing (\d{1,9}) out of (\d{1,9}) node\(s\) with delegate \((.{1,80}?)\) node, yielding "
    r"(\d{1,9}) partitions"
)
_APPLIED = re.compile(
    r"(?:Explicitly applied|Applied) (.{1,60}?) delegate,? and the model graph will be "
    r"(completely|partially) executed"
)
_NOT_APPLIED = re.compile(
    r"Though (.{1,60}?) delegate is explicitly applied, the model graph will not be|"
    r"Failed to apply (.{1,60}?) delegate|"
    r"(.{1,60}?) (?:acceleration|delegate) is (?:not supported|unsupported)",
)
_KERNELS = re.compile(r"w/ (\d{1,9}) delegate kernels")


def find_acceleration(requested: str, lines: Sequence[str]) -> Acceleration:
    """What the log proves of an accelerator that was asked for.

    XNNPACK takes what another delegate left, and says so in the same words: lines of delegates
    other than the one asked for are none of its evidence.
    """
    if requested == "cpu":
        return _without_delegates(lines)
    replaced = [
        hit for line in lines if (hit := _REPLACED.search(line)) and _is(requested, hit.group(3))
    ]
    applied = [
        hit for line in lines if (hit := _APPLIED.search(line)) and _is(requested, hit.group(1))
    ]
    refused = [
        hit
        for line in lines
        if (hit := _NOT_APPLIED.search(line))
        and _is(requested, next(filter(None, hit.groups()), ""))
    ]
    evidence = tuple(dict.fromkeys(hit.string[:300] for hit in (*replaced, *applied, *refused)))
    # Subgraphs have a line each.
    nodes = sum(int(hit.group(1)) for hit in replaced) if replaced else None
    total = sum(int(hit.group(2)) for hit in replaced) if replaced else None
    partitions = sum(int(hit.group(4)) for hit in replaced) if replaced else None
    if nodes is not None and total is not None and nodes > total:
        nodes = total = partitions = None
    kernels = [hit for line in evidence if (hit := _KERNELS.search(line))]
    if partitions is None and kernels:
        partitions = int(kernels[-1].group(1))
    delegate = replaced[0].group(3) if replaced else applied[0].group(1) if applied else None
    if (refused and not applied) or nodes == 0:
        status = "none"
    elif applied:
        status = "whole" if applied[-1].group(2) == "completely" else "partial"
    elif nodes is not None:
        status = "whole" if nodes == total else "partial"
    else:
        status = "unproven"
    return Acceleration(
        requested=requested,
        status=status,  # type: ignore[arg-type]
        delegate=delegate,
        delegated_nodes=nodes,
        total_nodes=total,
        partitions=partitions,
        evidence=evidence,
    )


def _without_delegates(lines: Sequence[str]) -> Acceleration:
    """Of the runtime's own kernels: whether any delegate took a part."""
    taken = [line[:300] for line in lines if _REPLACED.search(line) or _APPLIED.search(line)]
    return Acceleration(
        requested="cpu", status="none" if taken else "whole", evidence=tuple(dict.fromkeys(taken))
    )


def _is(accelerator: str, delegate: str) -> bool:
    return any(name in delegate.lower() for name in _NAMES[accelerator])
