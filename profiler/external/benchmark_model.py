"""Google's `benchmark_model`: TensorFlow Lite's, and LiteRT's of the same name.

Both take the same options; their reports differ. TensorFlow Lite's has one line for all the
inferences, `count=50 first=... curr=... min=... max=... avg=... std=...` in microseconds, later
ones with percentiles, and "Inference timings in us"; LiteRT's has a table "BENCHMARK RESULTS" in
milliseconds. Neither tells single inferences. Source: tensorflow/lite/tools/benchmark and
tensorflow/core/util/stats_calculator of TensorFlow; litert/tools/benchmark_litert_model of LiteRT.
"""

from __future__ import annotations

import re

from .base import (
    OPERATOR_RUNS,
    ExternalTool,
    Figures,
    NotInThisBuild,
    Order,
    Said,
    UnreadableOutput,
)
from .delegation import find_acceleration
from .figures import ReportedLatency
from .operator_table import read_operators
from .text import NUMBER, found, lines_of, number, positive, whole

#: `default`: what the tool does by itself, which for most builds is XNNPACK on the CPU.
_ACCELERATORS = {
    "cpu": ("--use_xnnpack=false",),
    "xnnpack": ("--use_xnnpack=true",),
    "gpu": ("--use_gpu=true",),
    "nnapi": ("--use_nnapi=true",),
    "hexagon": ("--use_hexagon=true",),
    "coreml": ("--use_coreml=true",),
    "npu": ("--use_npu=true",),
}
#: Its watch on memory is a thread of its own, which the run for the latency is spared.
_PROFILING = ("--enable_op_profiling=true", "--report_peak_memory_footprint=true")
_STATISTICS = re.compile(r"^count=\d")
_FIELD = re.compile(rf"(\w+)={NUMBER}")
_UNKNOWN = "Unconsumed cmdline flags:"


def _command(order: Order) -> list[str]:
    sampling = order.sampling
    runs, seconds = sampling.queries, sampling.seconds if sampling.both else sampling.min_seconds
    if order.purpose == "operators":
        runs, seconds = OPERATOR_RUNS, 0.0
    return [
        f"--graph={order.model}",
        f"--num_threads={order.threads}",
        f"--num_runs={runs}",
        f"--min_secs={seconds:g}",
        f"--max_secs={order.max_seconds:g}",
        f"--warmup_runs={sampling.warm_up_queries}",
        f"--warmup_min_secs={sampling.warm_up_s:g}",
        *(_ACCELERATORS[order.accelerator] if order.accelerator else ()),
        *(_PROFILING if order.purpose == "operators" else ()),
        *order.arguments,
    ]


def _parse(order: Order, said: Said) -> Figures:
    lines = lines_of(said.text)
    unknown = _unknown_flags(lines)
    told = {flag.partition("=")[0] for flag in unknown}
    for flag in _ACCELERATORS[order.accelerator] if order.accelerator else ():
        if flag.partition("=")[0] in told:
            raise NotInThisBuild(
                f"this benchmark_model does not know {flag}, so it can't run on {order.accelerator}"
            )
    figures = _from_table(lines) or _from_statistics(lines)
    peak = found(rf"^Overall peak memory footprint \(MB\).*?: {NUMBER}$", "\n".join(lines), 1 << 20)
    acceleration = find_acceleration(order.accelerator, lines) if order.accelerator else None
    return Figures(
        latency=figures.latency,
        acceleration=acceleration,
        load_ms=figures.load_ms,
        first_inference_ms=figures.first_inference_ms,
        warm_up=figures.warm_up,
        peak_rss_bytes=figures.peak_rss_bytes or whole(peak),
        memory_growth_bytes=figures.memory_growth_bytes,
        operators=read_operators(said.text) if order.purpose == "operators" else None,
        notes=(f"benchmark_model did not know {' '.join(unknown)}",) if unknown else (),
        missing={
            "samples_ms": "benchmark_model reports summaries and no single inferences",
            "peak_rss_bytes": "benchmark_model reports what its process grew by, not its peak",
        },
    )


def _from_statistics(lines: list[str]) -> Figures:
    statistics = [line for line in lines if _STATISTICS.match(line)]
    if not statistics:
        raise UnreadableOutput("there is no line 'count=... avg=...'")
    text = "\n".join(lines)
    timings = re.search(r"^(?:Average inference|Inference) timings in us: (.*)$", text, re.M)
    told = timings.group(1) if timings else ""
    if not told:
        raise UnreadableOutput("it ended before 'Inference timings in us'")
    # With its profiler on, a summary of the operators' times follows.
    latency = _statistics(statistics[1] if len(statistics) > 1 else statistics[0])
    has_warm_up = len(statistics) > 1 and not re.match(r"count=0\b", statistics[0])
    warm_up = _statistics(statistics[0]) if has_warm_up else None
    first = found(rf"First inference: {NUMBER}", told, 1e-3) if has_warm_up else None
    growth = found(rf"^Memory footprint delta .*overall={NUMBER}", text, 1 << 20)
    return Figures(
        latency=latency,
        load_ms=found(rf"Init: {NUMBER}", told, 1e-3)
        or found(rf"^Initialized session in {NUMBER} ?ms", text),
        first_inference_ms=first,
        warm_up=warm_up,
        memory_growth_bytes=whole(growth),
    )


def _statistics(line: str) -> ReportedLatency:
    """One line of `Stat::OutputToStream`, in microseconds.

    Where all were the same it says `count=3 curr=7(all same)`, and for one alone `count=1 curr=7`.
    """
    told = {name: number(value) for name, value in _FIELD.findall(line)}

    def ms(*names: str) -> float | None:
        value = next((told[name] for name in names if told.get(name)), None)
        return None if value is None else value / 1000

    count, same = whole(told.get("count")), ms("curr") if "avg" not in told else None
    mean = ms("avg") or same
    if not count or mean is None:
        raise UnreadableOutput(f"no inferences are reported: {line[:80]!r}")
    percentiles = {
        "p50" if name == "median" else name: value / 1000
        for name, value in told.items()
        if value and (name == "median" or re.fullmatch(r"p\d{1,3}", name))
    }
    std = told.get("std")
    return ReportedLatency(
        count=count,
        mean_ms=mean,
        min_ms=ms("min") or same,
        max_ms=ms("max") or same,
        std_ms=0.0 if same is not None else None if std is None else std / 1000,
        percentiles_ms=percentiles,
    )


def _from_table(lines: list[str]) -> Figures | None:
    """LiteRT's table; None where there is none."""
    start = next((i for i, line in enumerate(lines) if "BENCHMARK RESULTS" in line), None)
    if start is None:
        return None
    told: dict[str, str] = {}
    for line in lines[start + 1 :]:
        name, separator, value = line.partition(":")
        if separator:
            told.setdefault(" ".join(name.split()), value.strip())

    def ms(name: str) -> float | None:
        return positive(told.get(name, "").partition(" ")[0])

    def count(name: str) -> int:
        hit = re.search(r"\((\d{1,9}) runs\)", told.get(name, ""))
        return int(hit.group(1)) if hit else 0

    mean, runs = ms("Inference (avg)"), count("Inference (avg)")
    if not runs:
        raise UnreadableOutput("its table has no inferences")
    if mean is None:
        raise UnreadableOutput("its table has hundredths of a millisecond: the model is too fast")
    warm_mean, warm_runs = ms("Warmup (avg)"), count("Warmup (avg)")
    names = {"Inference (median)": "p50", "Inference (p5)": "p5", "Inference (p95)": "p95"}
    growth = positive(told.get("Overall footprint", "").partition(" ")[0], 1 << 20)
    peak = positive(told.get("Peak memory", "").partition(" ")[0], 1 << 20)
    return Figures(
        latency=ReportedLatency(
            count=runs,
            mean_ms=mean,
            min_ms=ms("Inference (min)"),
            max_ms=ms("Inference (max)"),
            std_ms=number(told.get("Inference (std)", "").partition(" ")[0]),
            percentiles_ms={short: v for name, short in names.items() if (v := ms(name))},
        ),
        load_ms=ms("Model initialization"),
        first_inference_ms=ms("Warmup (first)"),
        warm_up=ReportedLatency(count=warm_runs, mean_ms=warm_mean)
        if warm_mean and warm_runs
        else None,
        peak_rss_bytes=whole(peak),
        memory_growth_bytes=whole(growth),
    )


def _unknown_flags(lines: list[str]) -> list[str]:
    told = [line.partition(_UNKNOWN)[2] for line in lines if _UNKNOWN in line]
    return [flag for flags in told for flag in flags.split()]


def _complaint(said: Said) -> str | None:
    """The last line in which something failed, or could not be done."""
    marks = ("ERROR", "FATAL", "Failed", "failed", "error:", "not supported", "doesn't support")
    # Without the prefixes: those of the tool's own errors say so themselves.
    hits = [
        stripped
        for raw, stripped in zip(said.text.splitlines(), lines_of(said.text), strict=True)
        if stripped and any(mark in raw for mark in marks) and not stripped.startswith("usage:")
    ]
    benchmarking = [hit for hit in hits if "Benchmarking failed" not in hit]
    return (benchmarking or hits)[0][:300] if hits else None


TOOL = ExternalTool(
    name="benchmark_model",
    formats=("tflite",),
    accelerators=_ACCELERATORS,
    counts=False,
    needs_inputs=False,
    command=_command,
    parse=_parse,
    complaint=_complaint,
)
