"""What tools reported, as tables for people."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..gate import Verdict
from ..stats import Comparison
from ..tables import verdict_mark
from ..tables_operators import operators_table
from ..units import size_text
from .figures import Acceleration, ExternalRun, ReportedLatency


def external_table(run: ExternalRun, *, operators: bool = False) -> RenderableType:
    """One run, for `profile --runner`; with a table of its operators, where it has them."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    device = " ".join(part for part in (run.device.model, run.device.cpu) if part)
    emulated = " (emulated)" if run.device.emulated else ""
    threads = f"{run.threads} thread{'s' if run.threads > 1 else ''}"
    told = run.tool.sha256[:16] if run.tool.sha256 else "unknown"
    rows: list[tuple[str, RenderableType]] = [
        ("device", f"{run.device.address}: {device or run.device.architecture or 'unnamed'}"),
        ("tool", f"{run.tool.name}, sha256 {told}, {threads}"),
        ("source", Text(run.source, style="yellow")),
        (f"latency{emulated}", _latency_text(run.latency)),
        ("samples", _samples_text(run)),
        ("load", _load_text(run)),
        ("memory", _memory_text(run)),
    ]
    if run.acceleration is not None:
        rows.append((f"on {run.acceleration.requested}", _acceleration_text(run.acceleration)))
    rows += [
        ("correctness", f"{run.correctness.status}: {run.correctness.reason}"),
        ("validity", _validity_text(run)),
        *(("note", note) for note in run.notes),
        *(("missing", f"{name}: {why}") for name, why in run.missing.items()),
    ]
    for name, text in rows:
        table.add_row(name, text)
    if run.operators is None or not operators:
        return table
    return Group(table, operators_table(run.operators))


def external_comparison_text(
    reference: ExternalRun,
    run: ExternalRun,
    comparison: Comparison,
    verdict: Verdict,
    *,
    gated: bool,
) -> RenderableType:
    """The answer of `compare` about two such runs."""
    table = Table(header_style="bold")
    for title in ("run", "tool", "mean ms", "min ms", "max ms", "inferences", "valid"):
        table.add_column(title, justify="left" if title in ("run", "tool") else "right")
    for each in (reference, run):
        latency = each.latency
        table.add_row(
            each.model_name,
            each.tool.name,
            f"{latency.mean_ms:.3f}",
            _ms(latency.min_ms),
            _ms(latency.max_ms),
            str(latency.count),
            "yes" if each.validity.valid else Text("INVALID", style="red"),
        )
    answer = (
        "faster" if comparison.is_faster
        else "slower" if comparison.is_slower
        else "not proven to be faster or slower"
    )  # fmt: skip
    ratio = f"{comparison.speedup:.2f}x the speed"
    if comparison.interval is not None:
        low, high = comparison.interval
        ratio += f" [{1 / high:.2f}, {1 / low:.2f}]"
    lines = [Text(f"the second is {answer}: {ratio}, as {run.tool.name} reported it")]
    if gated:
        lines.append(verdict_mark(verdict))
    lines += [Text(f"  {'' if gated else 'but '}{reason}") for reason in verdict.reasons]
    return Group(table, *lines)


def _ms(value: float | None) -> str:
    return "?" if value is None else f"{value:.3f}"


def _latency_text(latency: ReportedLatency) -> str:
    parts = [f"{latency.mean_ms:.3f} ms on average"]
    if latency.std_ms is not None:
        parts.append(f"standard deviation {latency.std_ms:.3f}")
    if latency.min_ms is not None and latency.max_ms is not None:
        parts.append(f"{latency.min_ms:.3f} to {latency.max_ms:.3f}")
    parts += [f"{name} {value:.3f}" for name, value in latency.percentiles_ms.items()]
    return ", ".join(parts)


def _samples_text(run: ExternalRun) -> str:
    kept = "each one kept" if run.samples_ms is not None else "a summary only"
    return f"{run.latency.count} inferences, {kept} ({run.mode} mode)"


def _load_text(run: ExternalRun) -> str:
    first = run.first_inference_ms
    return (
        "unknown" if run.load_ms is None else f"{run.load_ms:.1f} ms"
    ) + f", first inference {'unknown' if first is None else f'{first:.3g} ms'}"


def _memory_text(run: ExternalRun) -> str:
    parts = []
    if run.peak_rss_bytes is not None:
        parts.append(f"peak {size_text(run.peak_rss_bytes)}")
    if run.memory_growth_bytes is not None:
        parts.append(f"grew by {size_text(run.memory_growth_bytes)}")
    return ", ".join(parts) or "unknown"


def _acceleration_text(acceleration: Acceleration) -> Text:
    words = {
        "whole": "the whole model",
        "partial": "a part of the model",
        "none": "NOTHING of the model",
        "unproven": "UNPROVEN: the output does not say",
    }[acceleration.status]
    if acceleration.total_nodes is not None:
        words += f", {acceleration.delegated_nodes} of {acceleration.total_nodes} operators"
    if acceleration.partitions is not None:
        plural = "s" if acceleration.partitions != 1 else ""
        words += f" in {acceleration.partitions} partition{plural}"
    if acceleration.delegate is not None:
        words += f" ({acceleration.delegate})"
    style = {"whole": "green", "partial": "yellow"}.get(acceleration.status, "red")
    return Text(words, style=style)


def _validity_text(run: ExternalRun) -> Text:
    if run.validity.valid:
        return Text("valid, as far as the tool tells", style="green")
    return Text("INVALID: " + "; ".join(run.validity.reasons), style="red")
