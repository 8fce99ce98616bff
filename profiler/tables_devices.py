"""The user's devices, as tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..errors import EdgewrightError
from .cleaning import Leftovers
from .device_states import DeviceState
from .devices_file import FoundDevice
from .tables import size_text


def devices_table(
    devices: Sequence[FoundDevice], states: Sequence[DeviceState] | None, path: str
) -> RenderableType:
    """The table of `devices list`; with `states`, one for each, what each answered."""
    if not devices:
        return Text(f"no devices in {path}: edgewright devices add NAME ADDRESS [--target TARGET]")
    table = Table(header_style="bold")
    titles = ["name", "address", "target", "note", *(["state"] if states else [])]
    for title in titles:
        table.add_column(title, overflow="fold")
    for index, device in enumerate(devices):
        cells = [device.name or "", device.address, device.target or "", device.note or ""]
        table.add_row(*cells, *([_state_text(states[index])] if states else []))
    return table


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


def _state_text(state: DeviceState) -> Text:
    text = Text(state.state, style="green" if state.state == "reachable" else "red")
    for line in filter(None, [state.detail, state.hint]):
        text.append(f"\n{line}", style="dim")
    return text
