"""Measurements, as tables for people."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .gate import Verdict
from .heat import Stretch
from .result import FailedRun, Run
from .stats import Comparison
from .tables import verdict_mark
from .units import size_text, time_text

#: Wrong answers shown one by one.
_SHOWN_DIFFERENCES = 4


def run_table(run: Run) -> RenderableType:
    """One measurement, for `profile`."""
    latency = run.latency_ms
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    device = " ".join(part for part in (run.device.model, run.device.cpu) if part)
    emulated = " (emulated)" if run.device.emulated else ""
    batch = f", batches of {run.batch}" if run.batch > 1 else ""
    rows: list[tuple[str, RenderableType]] = [
        ("device", f"{run.device.address}: {device or 'unnamed'}"),
        ("runtime", _runtime_text(run)),
        (f"p50{emulated}", f"{latency.p50:.3f} ms{_interval_text(latency.p50_interval)}"),
        (f"p90{emulated}", f"{latency.p90:.3f} ms{_interval_text(latency.p90_interval)}"),
        (f"p99{emulated}", f"{latency.p99:.3f} ms"),
        ("samples", f"{len(run.samples_ms)} in {len(run.rounds)} rounds ({run.mode} mode{batch})"),
        ("warm-up", _warm_up_text(run)),
        ("cold start", _cold_start_text(run)),
        ("peak memory", _memory_text(run)),
        ("energy", _energy_text(run)),
        ("conditions", _conditions_text(run)),
        ("correctness", _correctness_text(run)),
    ]
    for name, text in rows:
        table.add_row(name, text)
    table.add_row("validity", validity_text(run))
    for note in run.notes:
        table.add_row("note", note)
    return Group(table, _stretches_table(run.over_time)) if run.over_time else table


def runs_table(
    runs: Sequence[Run | FailedRun], comparisons: Sequence[Comparison | None]
) -> RenderableType:
    """Several models measured in turn, each against the first; reasons in words below."""
    table = Table(header_style="bold", show_lines=True)
    table.add_column("model\ncold start, peak memory", overflow="fold")
    table.add_column("p50 / p90 ms", justify="right", no_wrap=True)
    table.add_column("speed to\nthe first", justify="right", no_wrap=True)
    table.add_column("answers", no_wrap=True)
    table.add_column("validity", no_wrap=True)
    lines: list[Text] = []
    for run, comparison in zip(runs, comparisons, strict=True):
        if isinstance(run, FailedRun):
            table.add_row(Text(run.model_name), Text("failed", style="red"))
            lines.append(Text(f"failed {run.model_name}: {run.message}", style="red"))
            continue
        emulated = "\n(emulated)" if run.device.emulated else ""
        table.add_row(
            Text(f"{run.model_name}\n{_start_text(run)}"),
            f"{time_text(run.latency_ms.p50)} / {time_text(run.latency_ms.p90)}{emulated}",
            "" if comparison is None else Text(_ratio_cell(comparison) + emulated),
            run.correctness.status.replace("-", "\n"),
            Text("valid", "green") if run.validity.valid else Text("INVALID", "red"),
        )
        for reason in run.validity.reasons:
            lines.append(Text(f"INVALID {run.model_name}: {reason}", style="red"))
    notes = dict.fromkeys(note for run in runs if isinstance(run, Run) for note in run.notes)
    lines += [Text(f"note: {note}", style="yellow") for note in notes]
    return Group(table, Text("cold start: without NumPy's own", style="dim"), *lines)


def comparison_text(
    reference: Run, run: Run, comparison: Comparison, verdict: Verdict, *, gated: bool
) -> RenderableType:
    """The answer of `compare`; `gated` where a limit was stated."""
    table = Table(header_style="bold")
    table.add_column("run")
    table.add_column("runtime, threads")
    for title in ("p50 ms", "p90 ms", "p99 ms", "peak memory", "valid"):
        table.add_column(title, justify="right")
    for each in (reference, run):
        latency = each.latency_ms
        table.add_row(
            each.model_name,
            f"{each.runtime.name} {each.runtime.version}, {each.runtime.threads}",
            f"{latency.p50:.3f}",
            f"{latency.p90:.3f}",
            f"{latency.p99:.3f}",
            "?" if each.peak_rss_bytes is None else size_text(each.peak_rss_bytes),
            "yes" if each.validity.valid else Text("INVALID", style="red"),
        )
    answer = (
        "faster" if comparison.is_faster
        else "slower" if comparison.is_slower
        else "not proven to be faster or slower"
    )  # fmt: skip
    lines = [Text(f"the second is {answer}: {_ratio_text(comparison)} ({comparison.method})")]
    if gated:
        lines.append(verdict_mark(verdict))
    lines += [Text(f"  {'' if gated else 'but '}{reason}") for reason in verdict.reasons]
    return Group(table, *lines)


def validity_text(run: Run) -> Text:
    """Whether the samples may be believed, and why not."""
    if run.validity.valid:
        return Text("valid", style="green")
    return Text("INVALID: " + "; ".join(run.validity.reasons), style="red")


def _runtime_text(run: Run) -> str:
    provider = f" ({run.runtime.provider})" if run.runtime.provider else ""
    cores = run.runtime.cpus
    pinned = "" if cores is None else f" on core{'s' if len(cores) > 1 else ''} {_list(cores)}"
    threads = f"{run.runtime.threads} thread{'s' if run.runtime.threads > 1 else ''}"
    return f"{run.runtime.name} {run.runtime.version}{provider}, {threads}{pinned}"


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _interval_text(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]"


def _start_text(run: Run) -> str:
    start = run.cold_start
    total = start.process_ms + start.import_ms + start.load_ms + start.first_inference_ms
    memory = "?" if run.peak_rss_bytes is None else size_text(run.peak_rss_bytes)
    return f"{total:.0f} ms, {memory}"


def _ratio_cell(comparison: Comparison) -> str:
    text = f"{comparison.speedup:.2f}x"
    if comparison.interval is None:
        return text
    low, high = comparison.interval
    return f"{text}\n[{1 / high:.2f}, {1 / low:.2f}]"


def _ratio_text(comparison: Comparison) -> str:
    text = f"{comparison.speedup:.2f}x the speed"
    if comparison.interval is not None:
        low, high = comparison.interval
        text += f" [{1 / high:.2f}, {1 / low:.2f}]"
    return text


def _warm_up_text(run: Run) -> str:
    if run.warm_up is None:
        return "none"
    text = f"{run.warm_up.queries} inferences in {run.warm_up.seconds:.1f} s, "
    if run.warm_up.change is None:
        return text + "too few to tell whether it was steady"
    steady = "steady" if run.warm_up.steady else "not steady"
    return text + f"{steady}: the last two medians {100 * run.warm_up.change:+.1f}% apart"


def _cold_start_text(run: Run) -> str:
    start, count = run.cold_start, len(run.cold_starts)
    of = f" (median of {count})" if count > 1 else ""
    return (
        f"process {start.process_ms:.0f} ms, runtime {start.import_ms:.0f} ms, load "
        f"{start.load_ms:.1f} ms, first inference {start.first_inference_ms:.1f} ms{of}"
    )


def _memory_text(run: Run) -> str:
    if run.peak_rss_bytes is None:
        return f"unknown: {run.missing.get('peak_rss_bytes', 'not read')}"
    text = f"{size_text(run.peak_rss_bytes)} of the whole process"
    if run.memory is not None and run.memory.model_added_bytes is not None:
        text += f", of that {size_text(run.memory.model_added_bytes)} added by the model"
    return text


def _energy_text(run: Run) -> str:
    if run.energy is None:
        return f"unknown: {run.missing.get('energy', 'not read')}"
    above = run.energy.above_idle_mj
    over = "" if above is None else f", {above:.3g} mJ above idle"
    return f"{run.energy.inference_mj:.3g} mJ for one inference{over} ({run.energy.method})"


def _conditions_text(run: Run) -> str:
    last = run.conditions[-1] if run.conditions else None
    if last is None:
        return "not read"
    parts = []
    if last.temperature_c is not None:
        parts.append(f"{last.temperature_c:.0f} °C")
    if len(last.clusters) > 1:
        parts += [
            f"cores {_list(c.cpus)} at {c.frequency_hz / 1e6:.0f} MHz"
            for c in last.clusters
            if c.frequency_hz is not None
        ]
    elif last.frequency_hz is not None:
        parts.append(f"{last.frequency_hz / 1e6:.0f} MHz")
    if last.governor is not None:
        parts.append(f"governor {last.governor}")
    if last.throttled is not None:
        parts.append("throttled" if last.throttled else "not throttled")
    if last.battery is not None and last.battery.level_percent is not None:
        parts.append(f"battery {last.battery.level_percent:.0f}%, {last.battery.status}")
    if last.load_1min is not None:
        parts.append(f"load {last.load_1min:.2f}")
    others = [
        m.other_cpu for m in run.conditions if m.taken == "during" and m.other_cpu is not None
    ]
    if others:
        parts.append(f"other programs on {median(others):.1f} cores meanwhile")
    if last.missing:
        parts.append("unread: " + ", ".join(sorted(last.missing)))
    return ", ".join(parts)


def _correctness_text(run: Run) -> Text:
    correctness = run.correctness
    text: str = correctness.status
    if correctness.against:
        whose = {"float": "the float model's answers", "self": "this model's answers on the host"}
        text += f" against {whose[correctness.against]}, {correctness.inputs} input(s)"
    if correctness.reason:
        text += f": {correctness.reason}"
    for check in correctness.outputs:
        if check.top1_agreement is None:
            continue
        whose = {"float": "the float model", "self": "the host"}
        text += f"\n{check.output}: top-1 as {whose[check.against]} says {check.top1_agreement:.0%}"
        told = [
            f"input {d.input}: {whose[check.against]} says {d.host}, the device says {d.device}"
            for d in check.top1_differences[:_SHOWN_DIFFERENCES]
        ]
        text += "".join(f"\n  {line}" for line in told)
    return Text(text, style="red" if correctness.status == "failed" else "")


def _stretches_table(stretches: Sequence[Stretch]) -> RenderableType:
    table = Table(header_style="bold", title="over time", title_justify="left")
    unit, seconds = ("minutes", 60) if stretches[-1].to_s >= 300 else ("seconds", 1)
    for title in (unit, "p50 ms", "p90 ms", "°C", "MHz", "throttled"):
        table.add_column(title, justify="right")
    for part in stretches:
        table.add_row(
            f"{part.from_s / seconds:.1f} - {part.to_s / seconds:.1f}",
            f"{part.p50_ms:.3f}",
            f"{part.p90_ms:.3f}",
            "?" if part.temperature_c is None else f"{part.temperature_c:.0f}",
            "?" if part.frequency_hz is None else f"{part.frequency_hz / 1e6:.0f}",
            "?" if part.throttled is None else "yes" if part.throttled else "no",
        )
    change = stretches[-1].p50_ms / stretches[0].p50_ms - 1
    return Group(table, Text(f"the last stretch against the first: {100 * change:+.1f}%"))
