"""Devices, and what Edgewright has on them, as tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..errors import EdgewrightError
from ..targets.profile import TargetProfile
from .cleaning import Leftovers
from .devices_file import FoundDevice
from .live_device import KeptRun, LiveDevice, Stored
from .owner import duration_text
from .units import size_text


def shown_table(device: FoundDevice, live: LiveDevice) -> RenderableType:
    """The table of `devices show`."""
    now, stored = live.conditions, live.stored
    clocks = [
        f"cores {_cores(c.cpus)}: {_hertz(c.frequency_hz)} of {_hertz(c.max_frequency_hz)}"
        + (f", {c.governor}" if c.governor else "")
        for c in now.clusters
    ]
    zones = [f"{zone.name} {zone.temperature_c:.1f} °C" for zone in now.zones]
    throttled = {None: None, False: "no", True: f"yes ({now.throttled_flags})"}[now.throttled]
    battery = now.battery
    free = now.free_memory_bytes
    rows = [
        *_identity(device, live),
        ("clocks", "\n".join(clocks) or _absent(now.missing, "frequency_hz")),
        ("temperatures", ", ".join(zones) or _absent(now.missing, "temperature_c")),
        ("throttled", throttled or _absent(now.missing, "throttled")),
        ("free memory", size_text(free) if free else _absent(now.missing, "free_memory_bytes")),
        ("load", f"{now.load_1min:g}" if now.load_1min is not None else ""),
        ("battery", f"{battery.level_percent:g}%, {battery.status}"
         if battery and battery.level_percent is not None else ""),
        ("disk", f"{size_text(stored.free_bytes)} free of {size_text(stored.total_bytes)}"),
        ("kept there", _kept(stored)),
        ("measuring", stored.holder.describe() if stored.holder else "nothing"),
        *(("note", note) for note in live.notes),
    ]  # fmt: skip
    table = _two_columns(rows)
    return Group(table, _runs_table(stored.runs)) if stored.runs else table


def probed_table(
    device: FoundDevice,
    live: LiveDevice,
    profile: TargetProfile | None,
    differences: Sequence[str] | None,
    kept: tuple[Path, str | None],
) -> RenderableType:
    """The table of `devices probe`; `kept`: the profile's file, and what became of it."""
    facts = live.facts
    cores = [
        f"{cluster.count}x {cluster.core}"
        + (f", at most {_hertz(cluster.max_frequency_hz)}" if cluster.max_frequency_hz else "")
        + f": {' '.join(cluster.features) or 'no features'}"
        for cluster in live.clusters
    ]
    runtimes = [f"{name} {version}" for name, version in live.runtimes.items()]
    seen = [f"{a.name} ({a.id}): {a.source}" for a in live.accelerators]
    zones = ", ".join(zone.name for zone in live.conditions.zones)
    rows = [
        *_identity(device, live),
        ("cores", "\n".join(cores) or _absent(facts.missing, "cpu")),
        ("memory", size_text(facts.ram_bytes) if facts.ram_bytes else "unknown"),
        ("C library", facts.libc or _absent(facts.missing, "libc")),
        ("Python", f"{live.python_version} ({live.python}), NumPy {live.numpy or 'none'}"),
        ("runtimes", ", ".join(runtimes) or "none"),
        ("accelerators", "\n".join(seen) or "none in sight"),
        ("thermal zones", zones or _absent(live.conditions.missing, "temperature_c")),
        ("free disk", size_text(live.stored.free_bytes)),
        *(("note", note) for note in live.notes),
    ]
    table = _two_columns(rows)
    if profile is None or differences is None:
        why = (
            "no profile to hold it against: give --against, or write the device down with "
            "`edgewright devices add NAME ADDRESS --target PROFILE`"
        )
        return Group(table, Text(why, style="dim"), _what_is_kept(*kept))
    lines = [Text(f"warning: {line}", style="yellow") for line in differences]
    agrees = Text(f"it is what the profile {profile.name} says", style="green")
    return Group(table, *(lines or [agrees]), _what_is_kept(*kept))


def _what_is_kept(path: Path, kept: str | None) -> Text:
    return {
        None: Text(""),
        "written": Text(f"its profile is in {path}: `--target {path.stem}` from now on"),
        "same": Text(f"its profile is in {path}, and has not changed"),
        "differs": Text(
            f"warning: {path} is there and differs; --replace writes over it", style="yellow"
        ),
    }[kept]


def _identity(device: FoundDevice, live: LiveDevice) -> list[tuple[str, str]]:
    facts = live.facts
    emulated = ", emulated" if facts.emulated else ""
    name = f"{device.name}: {device.address}" if device.name else device.address
    return [
        ("device", name + (f" ({device.note})" if device.note else "")),
        ("profile", device.target or "none"),
        ("model", facts.model or _absent(facts.missing, "model")),
        ("CPU", f"{facts.cpu or 'unknown'} ({facts.architecture}{emulated})"),
        ("system", f"{facts.os or 'unknown'}, kernel {facts.kernel}, host {facts.hostname}"),
    ]


def _kept(stored: Stored) -> str:
    kinds = [f"{k} {size_text(v.size_bytes)}" for k, v in stored.kept.items() if v.files]
    return f"{', '.join(kinds) or 'nothing'} in {stored.directory}"


def _runs_table(runs: Sequence[KeptRun]) -> Table:
    table = Table(header_style="bold")
    for title in ("measurement", "of", "state", "last changed"):
        table.add_column(title, overflow="fold")
    for run in runs:
        hint = {
            "running": "running: profile --resume follows it",
            "finished": "finished: profile --resume collects it",
            "stale": "ended without a result",
        }.get(run.state, "not started")
        age = f"{duration_text(run.changed_s_ago)} ago"
        table.add_row(run.run[:16], ", ".join(run.models), hint, age)
    return table


def _two_columns(rows: Sequence[tuple[str, str]]) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in rows:
        if text:
            table.add_row(name, text)
    return table


def _absent(missing: Mapping[str, str], name: str) -> str:
    return f"unknown: {missing[name]}" if name in missing else "unknown"


def _cores(cpus: Sequence[int]) -> str:
    consecutive = len(cpus) > 1 and cpus[-1] - cpus[0] == len(cpus) - 1
    return f"{cpus[0]}-{cpus[-1]}" if consecutive else ",".join(map(str, cpus))


def _hertz(frequency: int | None) -> str:
    return "unknown" if frequency is None else f"{frequency / 1e6:.0f} MHz"


def cleaned_table(
    results: Mapping[str, Leftovers | EdgewrightError], dry_run: bool
) -> RenderableType:
    """What `devices clean` did on each device, or would do."""
    return Group(*(Text(_cleaned(name, result, dry_run)) for name, result in results.items()))


def _cleaned(name: str, result: Leftovers | EdgewrightError, dry_run: bool) -> str:
    if isinstance(result, EdgewrightError):
        hint = f"\n    {result.hint}" if result.hint else ""
        return f"{name}: not cleaned: {result.message}{hint}"
    if not result.size_bytes and not result.processes:
        return f"{name}: nothing of Edgewright's is in {result.directory}"
    did = "would free" if dry_run else "freed"
    text = f"{name}: {did} {size_text(result.size_bytes)} in {result.directory}"
    if result.processes:
        text += f", {'would end' if dry_run else 'ended'} {len(result.processes)} processes"
    if result.holder is not None:
        text += f" ({result.holder.describe()})"
    if result.kept:
        text += f"; kept what is not Edgewright's: {', '.join(result.kept)}"
    return text
