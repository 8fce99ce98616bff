"""For which devices a model fits, as a table for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..exporters.rank import RankedTarget


def rank_table(ranked: Sequence[RankedTarget]) -> RenderableType:
    """The table of `targets rank`, then what keeps the model from the other devices."""
    table = Table(header_style="bold")
    table.add_column("device", overflow="fold")
    table.add_column("fits", no_wrap=True)
    table.add_column("precision", overflow="fold")
    table.add_column("runs on", overflow="fold", min_width=5)
    table.add_column("warnings", justify="right")
    for row in ranked:
        table.add_row(
            row.target,
            _fits(row),
            _precision(row),
            _where(row),
            str(row.warnings or ""),
        )
    lines = [Text(f"{', '.join(names)}: {why}") for why, names in _reasons(ranked).items()]
    fitting = sum(row.fits and not row.unknown for row in ranked)
    perhaps = sum(row.fits and row.unknown > 0 for row in ranked)
    note = "; (predicted): that precision is still to be made and checked"
    told = f"fits {fitting} of {len(ranked)} devices"
    if perhaps:
        told += f", perhaps {perhaps} more: `edgewright check` says what nobody knows"
    predicted = any(row.predicted and row.fits for row in ranked)
    return Group(table, *lines, Text(told + (note if predicted else "")))


def _fits(row: RankedTarget) -> Text:
    if not row.fits:
        return Text("no", style="red")
    return Text("perhaps", style="yellow") if row.unknown else Text("yes", style="green")


def _reasons(ranked: Sequence[RankedTarget]) -> dict[str, list[str]]:
    """What is said of each device, told once for all of which it is said."""
    found: dict[str, list[str]] = {}
    for row in ranked:
        if not row.fits:
            found.setdefault(f"{row.reason}; {row.remedy}", []).append(row.target)
        elif row.precision is not None:
            found.setdefault(row.reason, []).append(row.target)
    return found


def _precision(row: RankedTarget) -> str:
    if not row.fits:
        return ""
    if row.precision is None:
        return "as it is"
    return f"{row.precision} (predicted)" if row.predicted else row.precision


def _where(row: RankedTarget) -> str:
    if row.runtime is None:
        return ""
    if row.accelerator is None:
        return f"CPU ({row.runtime})"
    share = "" if row.accelerator_share is None else f", {row.accelerator_share:.0%} of the MACs"
    return f"{row.accelerator}{share}"
