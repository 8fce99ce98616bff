"""ONNX Runtime's `onnxruntime_perf_test`.

It writes every inference into its result file, one line each: the model's name, seconds, the peak
memory of the process, the CPU's use in percent, and a number. One version wrote the time for
handing the work over there, which on a GPU is less than the inference: the mean of the whole, which
is printed, tells. Source: onnxruntime/test/perftest of ONNX Runtime.

Where an operator ran is proven by the runtime's own profile of a run apart, since an execution
provider that can't take an operator leaves it to the CPU without a word.
"""

from __future__ import annotations

import re
import statistics

from .base import ExternalTool, Figures, Order, Said, UnreadableOutput
from .figures import Acceleration, ReportedLatency
from .ort_profile import read_profile
from .text import NUMBER, found, lines_of, positive, whole

RESULT = "result.csv"
PROFILE = "operators"
#: Both are rounded when they are printed.
MEAN_TOLERANCE = 0.01

#: Accelerator -> the tool's name for the execution provider, and the runtime's.
_PROVIDERS = {
    "cpu": ("cpu", "CPUExecutionProvider"),
    "nnapi": ("nnapi", "NnapiExecutionProvider"),
    "qnn": ("qnn", "QNNExecutionProvider"),
    "xnnpack": ("xnnpack", "XnnpackExecutionProvider"),
    "coreml": ("coreml", "CoreMLExecutionProvider"),
    "acl": ("acl", "ACLExecutionProvider"),
    "armnn": ("armnn", "ArmNNExecutionProvider"),
    "vsinpu": ("vsinpu", "VSINPUExecutionProvider"),
    "openvino": ("openvino", "OpenVINOExecutionProvider"),
    "dnnl": ("dnnl", "DnnlExecutionProvider"),
    "webgpu": ("webgpu", "WebGpuExecutionProvider"),
    "cuda": ("cuda", "CUDAExecutionProvider"),
    "tensorrt": ("tensorrt", "TensorrtExecutionProvider"),
}
_CAPABILITY = re.compile(
    r"number of partitions supported by (\w+)(?: EP)?: (\d{1,9})[,;]? "
    r"number of nodes in the graph: (\d{1,9})[,;]? number of nodes supported by \w+: (\d{1,9})"
)
_COMPLAINT = re.compile(
    r"Run failed:.*|.*(?:there is no test (?:input )?data|invalid option|unrecognized option|"
    r"Unknown command line flag|Non-zero status code returned|NOT_IMPLEMENTED|"
    r"error while loading shared libraries).*"
)
# "onnxruntime/test/onnx/onnx_model_info.cc:55 void OnnxModelInfo::Init(const path&) ": where it was
# thrown, before what is wrong; a stack follows.
_THROWN = re.compile(r"^\S+\.cc:\d+ [^()]*\([^()]*\) ")


def _command(order: Order) -> list[str]:
    profiled = order.purpose == "operators"
    return [
        *["-m", "times", "-r", str(order.times)],
        *["-x", str(order.threads)],
        *(["-e", _PROVIDERS[order.accelerator][0]] if order.accelerator else []),
        *(["-v", "-p", f"{order.directory}/{PROFILE}"] if profiled else []),
        *([] if order.inputs else ["-I"]),
        *order.arguments,
        order.model,
        f"{order.directory}/{RESULT}",
    ]


def _parse(order: Order, said: Said) -> Figures:
    text = "\n".join(lines_of(said.text))
    samples = _samples(said.files.get(RESULT, ""))
    count = whole(found(rf"^Total (?:inference requests|iterations): ?{NUMBER}", text))
    mean = found(rf"^Average (?:inference )?time cost(?: total)?: ?{NUMBER} ?ms", text)
    if not count or not mean:
        raise UnreadableOutput("there is no 'Average inference time cost' or no number of requests")
    missing = {}
    if why := _no_samples(samples, count, mean):
        missing["samples_ms"] = why
    first = found(rf"^First inference time cost: ?{NUMBER} ?ms", text)
    if not first:
        missing["first_inference_ms"] = "the tool tells it in whole milliseconds: it took less"
    profiles = [profile for name, profile in said.files.items() if name.startswith(PROFILE)]
    operators = read_profile(profiles[-1]) if profiles else None
    acceleration = None
    if order.accelerator is not None:
        acceleration = _acceleration(order.accelerator, text, operators)
    return Figures(
        latency=_measured(samples) if "samples_ms" not in missing else _reported(text, count, mean),
        acceleration=acceleration,
        samples_ms=None if "samples_ms" in missing else samples,
        load_ms=found(rf"^Session creation time cost: ?{NUMBER} ?s", text, 1000),
        first_inference_ms=first or None,
        peak_rss_bytes=whole(found(rf"^Peak working set size: ?{NUMBER}", text)) or None,
        operators=operators,
        missing=missing,
    )


def _samples(result: str) -> tuple[float, ...]:
    """Milliseconds, in order; empty where a line is not as it ought to be."""
    samples = []
    for line in result.splitlines():
        if not line.strip() or "Latency" in line:
            continue
        fields = line.rsplit(",", 4)
        value = positive(fields[1], 1000) if len(fields) == 5 else None
        if value is None:
            return ()
        samples.append(value)
    return tuple(samples)


def _no_samples(samples: tuple[float, ...], count: int, mean: float) -> str | None:
    """Why the result file is not what was measured; None where it is."""
    if not samples:
        return "it wrote no result file that can be read"
    if len(samples) != count:
        return f"its result file has {len(samples)} inferences, it ran {count}"
    own = statistics.fmean(samples)
    if abs(own - mean) > MEAN_TOLERANCE * mean:
        return (
            f"the inferences in its result file take {own:.3g} ms on average, and by its report "
            f"{mean:.3g} ms: they may be the times for handing the work over"
        )
    return None


def _measured(samples: tuple[float, ...]) -> ReportedLatency:
    import numpy as np

    return ReportedLatency(
        count=len(samples),
        mean_ms=statistics.fmean(samples),
        min_ms=min(samples),
        max_ms=max(samples),
        std_ms=statistics.pstdev(samples),
        percentiles_ms={f"p{p}": float(np.percentile(samples, p)) for p in (50, 90, 99)},
    )


def _reported(text: str, count: int, mean: float) -> ReportedLatency:
    def seconds(name: str) -> float | None:
        # 'P50 Latency: 0.01 s' now, 'P50 Latency is 0.01sec' before 1.8.
        hits = re.findall(rf"^{name} Latency(?: is|:) ?{NUMBER} ?s", text, re.MULTILINE)
        return positive(hits[-1], 1000) if hits else None

    percentiles = {f"p{p}": value for p in (50, 90, 95, 99) if (value := seconds(f"P{p}"))}
    return ReportedLatency(
        count=count,
        mean_ms=mean,
        min_ms=seconds("Min"),
        max_ms=seconds("Max"),
        percentiles_ms=percentiles,
    )


def _acceleration(requested: str, text: str, operators: object) -> Acceleration:
    from ..operators import OperatorProfile

    provider = _PROVIDERS[requested][1]
    told = [hit for hit in _CAPABILITY.finditer(text) if hit.group(1).lower() == requested]
    nodes = total = partitions = None
    if told:
        partitions, total, nodes = (int(value) for value in told[-1].groups()[1:])
        if nodes > total:
            nodes = total = partitions = None
    evidence = [hit.group()[:300] for hit in told[-1:]]
    if not isinstance(operators, OperatorProfile):
        return Acceleration(requested=requested, status="unproven", evidence=tuple(evidence))
    names = [share.provider for share in operators.providers]
    evidence += [
        f"{share.nodes} operator(s) of the profile ran on {share.provider}"
        for share in operators.providers
    ]
    own = [name for name in names if name.lower() == provider.lower()]
    status = "none" if not own else "whole" if len(names) == 1 else "partial"
    return Acceleration(
        requested=requested,
        status=status,  # type: ignore[arg-type]
        delegate=own[0] if own else None,
        delegated_nodes=nodes,
        total_nodes=total,
        partitions=partitions,
        evidence=tuple(evidence),
    )


def _complaint(said: Said) -> str | None:
    lines = lines_of(said.text)
    thrown = [_THROWN.sub("", line) for line in lines if _THROWN.match(line)]
    known = [hit.group() for line in lines if (hit := _COMPLAINT.search(line))]
    return next((line.strip()[:300] for line in (*thrown, *known) if line.strip()), None)


TOOL = ExternalTool(
    name="onnxruntime_perf_test",
    formats=("onnx",),
    accelerators={name: ("-e", tool) for name, (tool, _) in _PROVIDERS.items()},
    counts=True,
    needs_inputs=True,
    command=_command,
    parse=_parse,
    complaint=_complaint,
)
