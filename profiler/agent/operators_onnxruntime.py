"""ONNX Runtime's own profile, read.

It is a trace of events (Chrome's format, times in microseconds): `model_run` for each inference,
and in it one NODE_kernel_time for each operator of the graph as it was optimized, with the
operator's type, its index and the execution provider that ran it. The operators of a branch or a
loop's body lie within the operator that ran them, whose own time is what they leave of it.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
from typing import Any, Dict, List, Sequence, Tuple

from .common import Json
from .operators import UNSEEN, provider_shares, repeat, shares

_SUFFIX = "_kernel_time"
METHOD = (
    "ONNX Runtime's profile, in microseconds, of a session of its own after the samples; operators "
    "as the runtime optimized them"
)


def profile(module: Any, options: Any, task: Json, samples: Sequence[Sequence[Any]]) -> Json:
    """Runs the model in a session that profiles, and reads what it wrote."""
    options.enable_profiling = True
    options.profile_file_prefix = task["profile_prefix"]
    try:
        session = module.InferenceSession(task["path"], options, providers=["CPUExecutionProvider"])
        names = [value.name for value in session.get_inputs()]

        def infer(arrays: Sequence[Any]) -> None:
            session.run(None, dict(zip(names, arrays)))  # noqa: B905 - Python 3.10

        for _ in range(UNSEEN):
            infer(samples[0])
        repeat(infer, samples)
        with open(session.end_profiling(), encoding="utf-8", errors="replace") as handle:
            # Names of nodes are written as they are, whatever is in them.
            events = json.loads(handle.read(), strict=False)
    finally:
        for path in glob.glob(glob.escape(task["profile_prefix"]) + "*"):
            with contextlib.suppress(OSError):
                os.unlink(path)
    return read_trace(events, UNSEEN)


def read_trace(events: Sequence[Json], skip: int) -> Json:
    """Operators and providers of a trace, without its first inferences.

    Raises:
        ValueError: there is no inference in it, or no operator.
    """
    runs = sorted(
        (event["ts"], event["ts"] + event["dur"])
        for event in events
        if event.get("name") == "model_run"
    )[skip:]
    if not runs:
        raise ValueError("the runtime's profile has no inference")
    nodes = sorted(
        (
            event
            for event in events
            if event.get("cat") == "Node"
            and event["name"].endswith(_SUFFIX)
            and runs[0][0] <= event["ts"] <= runs[-1][1]
        ),
        key=lambda event: (event["ts"], -event["dur"]),
    )
    if not nodes:
        raise ValueError("the runtime's profile has no operator")
    own = _own_times(nodes)
    found: Dict[Tuple[str, str, str, str], List[int]] = {}
    for event, spent in zip(nodes, own):  # noqa: B905 - Python 3.10
        arguments = event["args"]
        name = event["name"][: -len(_SUFFIX)]
        key = (
            name or "%s_%s" % (arguments["op_name"], arguments["node_index"]),
            str(arguments["node_index"]),
            arguments["op_name"],
            arguments["provider"],
        )
        found.setdefault(key, []).append(spent)
    operators = [
        {
            "name": name,
            "type": kind,
            "provider": provider,
            # One that only some of the inferences ran (a branch) was run once all the same.
            "count": max(1, round(len(times) / len(runs))),
            "mean_ms": sum(times) / 1000 / len(runs),
        }
        for (name, _, kind, provider), times in found.items()
    ]
    return {
        "inferences": len(runs),
        "operators": shares(operators),
        "providers": provider_shares(operators),
        "total_nodes": len(operators),
        "method": METHOD,
    }


def _own_times(nodes: Sequence[Json]) -> List[int]:
    """The time of each event without that of the events within it; they come in order of start."""
    own = [event["dur"] for event in nodes]
    around: List[int] = []
    for index, event in enumerate(nodes):
        while around:
            outer = nodes[around[-1]]
            if event["ts"] + event["dur"] <= outer["ts"] + outer["dur"]:
                break
            around.pop()
        if around:
            own[around[-1]] = max(0, own[around[-1]] - event["dur"])
        around.append(index)
    return own
