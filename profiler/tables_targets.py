"""The devices that Edgewright knows, as a table for people."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..targets.profile import TargetProfile
from .units import size_text


def targets_table(targets: Sequence[TargetProfile], own: Collection[str]) -> RenderableType:
    """The table of `targets list`; two lines for a device, so that 80 columns hold it.

    Args:
        own: names of the profiles that are the user's.
    """
    table = Table(header_style="bold", show_lines=True)
    table.add_column("name", no_wrap=True)
    table.add_column("device\ncores")
    table.add_column("RAM", no_wrap=True, justify="right")
    table.add_column("accelerators", no_wrap=True)
    for target in targets:
        cores = ", ".join(f"{c.count}x {c.core}" for c in target.cpu.clusters)
        table.add_row(
            Text.assemble(target.name, ("\nyours" if target.name in own else "", "dim")),
            Text.assemble(target.title, (f"\n{cores}", "dim")),
            size_text(target.memory.ram_bytes),
            "\n".join(
                f"{a.id} *" if a.id == target.default_accelerator else a.id
                for a in target.accelerators
            ),
        )
    notes = (
        "*: models for this device are expected to run there",
        "`edgewright targets show NAME`: features, runtimes, limits and the sources",
    )
    return Group(table, *(Text(note, style="dim") for note in notes))
