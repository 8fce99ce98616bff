"""What `check` found, for people: findings in whole lines, then where the operators run."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from ..targets.finding import CheckResult, Finding, Severity
from ..targets.placement import Placement

_STYLE: dict[Severity, str] = {"error": "bold red", "warning": "bold yellow", "info": "bold cyan"}

#: Names of nodes that are shown of each finding; --json has up to 20.
_NAMES = 3


def check_table(result: CheckResult, target: str) -> RenderableType:
    """The findings of `check` by severity, and the placements below."""
    parts: list[RenderableType] = []
    for finding in result.findings:
        parts += _finding(finding)
    if result.placements:
        parts += [Text("where the operators run", style="bold"), *_placements(result), Text()]
    verdict = Text.assemble(
        ("fits ", "bold green") if result.compatible else ("does not fit ", "bold red"), target
    )
    verdict.append(f": {_counts(result)}" if result.findings else ": no findings")
    return Group(*parts, verdict)


def _counts(result: CheckResult) -> str:
    counts: list[str] = []
    for severity, plural in (("error", "errors"), ("warning", "warnings"), ("info", "remarks")):
        count = sum(finding.severity == severity for finding in result.findings)
        if count:
            counts.append(f"{count} {plural if count > 1 else plural[:-1]}")
    return ", ".join(counts)


def _finding(finding: Finding) -> Iterator[RenderableType]:
    head = Text.assemble((finding.severity, _STYLE[finding.severity]), f" {finding.code}")
    if finding.operator:
        head.append(f"  {finding.operator}", style="bold")
    if finding.count:
        head.append(f"  {finding.count}x")
    if finding.answer != "tabled":
        head.append(f"  ({finding.answer})")
    yield head
    names = [name for name in finding.nodes[:_NAMES] if name]
    if names:
        more = finding.count - len(names)
        told = ", ".join(names) + (f" and {more} more" if more > 0 else "")
        yield Padding(Text(told, style="dim", overflow="fold"), (0, 0, 0, 2), expand=False)
    yield Padding(Text(finding.reason, overflow="fold"), (0, 0, 0, 2), expand=False)
    yield Padding(
        Text(f"-> {finding.remedy}", style="green", overflow="fold"), (0, 0, 0, 2), expand=False
    )
    yield Text()


def _placements(result: CheckResult) -> Iterator[RenderableType]:
    for placement in result.placements:
        yield _below(_placement(placement))
        yield _below(f"  {placement.answer}: {placement.said_by}", "dim")


def _below(text: str, style: str = "") -> Padding:
    """Whole lines, two columns to the right."""
    return Padding(Text(text, style=style, overflow="fold"), (0, 0, 0, 2), expand=False)


def _placement(placement: Placement) -> str:
    """One line: how much runs where."""
    total = len(placement.nodes)
    there = placement.count("accelerator")
    unknown, nowhere = placement.count("unknown"), placement.count("nowhere")
    if placement.partitions is None:
        told = f"{placement.count('cpu')} of {total} operators on the CPU"
    else:
        pieces = f"{placement.partitions} partition{'s' if placement.partitions != 1 else ''}"
        told = f"{there} of {total} operators in {pieces}"
        share = placement.share(n for n in placement.nodes if n.place != "accelerator")
        told += f", {_percent(share)} of the MACs elsewhere"
    if unknown:
        told += f", unknown of {unknown}"
    if nowhere:
        told += f", no kernel for {nowhere}"
    return f"{placement.title}: {told}"


def _percent(share: float) -> str:
    return "less than 0.1%" if 0 < share < 0.001 else f"{share:.1%}"
