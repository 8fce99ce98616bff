"""What `check` found, for people: findings in whole lines, then where the operators run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from ..targets.finding import CheckResult, Finding, Severity
from ..targets.placement import Placement

_STYLE: dict[Severity, str] = {"error": "bold red", "warning": "bold yellow", "info": "bold cyan"}

#: Names of nodes that are shown of each finding; --json has up to 20.
_NAMES = 3


def check_table(result: CheckResult, target: str) -> RenderableType:
    """The findings of `check` by severity, and the placements below.

    Operators that have the same finding share its words.
    """
    groups: dict[tuple[str, ...], list[Finding]] = {}
    for finding in result.findings:
        key = (finding.severity, finding.code, finding.answer, finding.reason, finding.remedy)
        groups.setdefault(key, []).append(finding)
    parts: list[RenderableType] = []
    for group in groups.values():
        parts += _findings(group)
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


def _findings(group: Sequence[Finding]) -> Iterator[RenderableType]:
    """Findings that differ in their operators alone."""
    first = group[0]
    head = Text.assemble((first.severity, _STYLE[first.severity]), f" {first.code}")
    if first.answer != "tabled":
        head.append(f" ({first.answer})")
    yield head
    for finding in group:
        if finding.operator or finding.nodes:
            yield _below(_where(finding), "bold")
    yield _below(first.reason)
    yield _below(f"-> {first.remedy}", "green")
    yield Text()


def _where(finding: Finding) -> str:
    """The operator, how often, and the first nodes by name."""
    parts = [finding.operator or "", f"{finding.count}x" if finding.count else ""]
    names = [name for name in finding.nodes[:_NAMES] if name]
    if names:
        more = finding.count - len(names)
        parts.append(f"({', '.join(names)}{f' and {more} more' if more > 0 else ''})")
    return " ".join(part for part in parts if part)


def _placements(result: CheckResult) -> Iterator[RenderableType]:
    for placement in result.placements:
        yield _below(_placement(placement))
        yield _below(f"{placement.answer}: {placement.said_by}", "dim", columns=4)
        for note in placement.notes:
            yield _below(note, "dim", columns=4)


def _below(text: str, style: str = "", columns: int = 2) -> Padding:
    """Whole lines, some columns to the right."""
    return Padding(Text(text, style=style, overflow="fold"), (0, 0, 0, columns), expand=False)


def _placement(placement: Placement) -> str:
    """How much runs where."""
    total = len(placement.nodes)
    parts = []
    if placement.partitions is None:
        parts.append(f"{placement.count('cpu')} of {total} operators on the CPU")
    else:
        there = placement.count("accelerator")
        pieces = f" in {placement.partitions} partition{'s' if placement.partitions != 1 else ''}"
        parts.append(f"{there or 'none'} of {total} operators{pieces if there else ''}")
        rest = [node for node in placement.nodes if node.place in ("cpu", "nowhere")]
        if rest:
            parts.append(f"{_percent(placement.share(rest))} of the MACs on the CPU")
    if unknown := placement.count("unknown"):
        parts.append(f"{unknown} unknown")
    if nowhere := placement.count("nowhere"):
        parts.append(f"no kernel for {nowhere}")
    return f"{placement.title}: {', '.join(parts)}"


def _percent(share: float | None) -> str:
    if share is None:
        return "an unknown share"
    return "less than 0.1%" if 0 < share < 0.001 else f"{share:.1%}"
