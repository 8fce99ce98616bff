"""Where the time of an inference goes, as tables for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .operators import OperatorProfile, ProviderShare
from .result import Run
from .units import time_text

#: Rows of the table; what is left is summed up in one.
_SHOWN = 12
#: Types named one by one in a sentence.
_NAMED = 6


def operators_tables(runs: Sequence[Run]) -> list[RenderableType]:
    """A table for each run whose operators were asked for, with the model's name if several."""
    shown: list[RenderableType] = []
    for run in runs:
        if run.operators is None and "operators" not in run.missing:
            continue
        if len(runs) > 1:
            shown.append(Text(f"\n{run.model_name}", style="bold"))
        if run.operators is None:
            reason = run.missing["operators"]
            shown.append(Text(f"operator times: none ({reason})", style="yellow"))
        else:
            shown.append(operators_table(run.operators))
    return shown


def operators_table(profile: OperatorProfile) -> RenderableType:
    """Types of operators with most time first, then who ran them, in sentences."""
    table = Table(header_style="bold")
    table.add_column("operator", overflow="fold")
    table.add_column("count", justify="right")
    table.add_column("ms", justify="right")
    table.add_column("share", justify="right")
    table.add_column("ran on")
    kinds = profile.by_type()
    for kind in kinds[:_SHOWN]:
        table.add_row(
            kind.type, str(kind.count), _time(kind.mean_ms), _percent(kind.share), kind.provider
        )
    rest = kinds[_SHOWN:]
    if rest:
        table.add_row(
            f"{len(rest)} more types",
            str(sum(kind.count for kind in rest)),
            _time(_total(kind.mean_ms for kind in rest)),
            _percent(_total(kind.share for kind in rest)),
            "",
            style="dim",
        )
    lines = [Text(line) for line in sentences(profile)]
    lines.append(Text(f"{profile.inferences} inferences; {profile.method}", style="dim"))
    lines += [Text(reason, style="yellow") for reason in profile.missing.values()]
    return Group(table, *lines)


def sentences(profile: OperatorProfile) -> list[str]:
    """Who ran how many operators, and for how long."""
    total = profile.total_nodes or sum(share.nodes for share in profile.providers)
    if profile.delegated_nodes is None:
        return [
            f"{share.nodes} of {total} operators{_of_the_time([share])} on {share.provider}"
            for share in profile.providers
        ]
    delegates = [share for share in profile.providers if share.delegate]
    own = [share for share in profile.providers if not share.delegate]
    names = " and ".join(share.provider for share in delegates)
    parts = profile.partitions
    where = f" in {parts} part{'s' if parts != 1 else ''}" if parts else ""
    if profile.delegated_nodes == 0:
        text = f"no delegate took any of the {total} operators"
    else:
        text = (
            f"{names or 'a delegate'} took {profile.delegated_nodes} of {total} operators{where}"
            f"{_of_the_time(delegates)}"
        ).removesuffix(",")
    left = total - profile.delegated_nodes
    if not left or not own:
        return [text]
    kinds = _kinds(profile, {share.provider for share in own})
    time = _of_the_time(own).removesuffix(",")
    return [f"{text}; {left} ran in {own[0].provider}'s own kernels{time}: {kinds}"]


def _kinds(profile: OperatorProfile, providers: set[str]) -> str:
    found: Counter[str] = Counter()
    for operator in profile.operators:
        if operator.provider in providers:
            found[operator.type] += operator.count
    named = [f"{kind} x {n}" if n > 1 else kind for kind, n in found.most_common(_NAMED)]
    more = len(found) - len(named)
    return ", ".join(named) + (f" and {more} more types" if more > 0 else "")


def _of_the_time(shares: Sequence[ProviderShare]) -> str:
    share = _total(share.share for share in shares) if shares else None
    return "" if share is None else f", {_percent(share)} of the time,"


def _total(values: Iterable[float | None]) -> float | None:
    known = list(values)
    return None if None in known else sum(filter(None, known))


def _percent(share: float | None) -> str:
    if share is None:
        return "?"
    return "100%" if share >= 0.9995 else f"{100 * share:.1f}%"


def _time(ms: float | None) -> str:
    return "?" if ms is None else time_text(ms)
