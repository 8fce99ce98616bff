"""The user's devices as a table for people; apart, since it is shown at once."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .device_states import DeviceState
from .devices_file import FoundDevice


def devices_table(
    devices: Sequence[FoundDevice], states: Sequence[DeviceState] | None, path: str
) -> RenderableType:
    """The table of `devices list`; with `states`, one for each, what each answered.

    Messages and hints stand below the table, where they can be copied whole.
    """
    if not devices:
        return Text(f"no devices in {path}: edgewright devices add NAME ADDRESS [--target TARGET]")
    table = Table(header_style="bold")
    titles = ["name", "address", "target", "note", *(["state"] if states else [])]
    for title in titles:
        table.add_column(title, overflow="fold")
    for index, device in enumerate(devices):
        cells = [
            device.name or "(not in the file)",
            device.address,
            device.target or "",
            device.note or "",
        ]
        table.add_row(*cells, *([_state_text(states[index])] if states else []))
    lines: list[Text] = []
    for device, state in zip(devices, states or (), strict=bool(states)):
        if state.detail:
            lines.append(Text(f"{device.name or device.address}: {state.detail}"))
        if state.hint:
            lines.append(Text(state.hint, style="dim"))
    unlisted = [device.address for device in devices if device.name is None]
    lines += [Text(f"to add it: edgewright devices add NAME {address}") for address in unlisted]
    return Group(table, *lines)


def _state_text(state: DeviceState) -> Text:
    return Text(state.state, style="green" if state.state == "reachable" else "red")
