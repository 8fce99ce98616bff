"""What `check` found, for people: findings in whole lines, then where the operators run."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from ..targets.finding import CheckResult, Finding, Severity
from ..targets.need import Need
from ..targets.placement import Place, Placement
from .units import size_text

_STYLE: dict[Severity, str] = {"error": "bold red", "warning": "bold yellow", "info": "bold cyan"}

#: Names of nodes that are shown of each finding, and their letters; --json has up to 20, whole.
_NAMES = 3
_LETTERS = 60

#: A command to be copied: folded lines would be several.
_COMMAND = re.compile(r"(?:^|: )(?:edgewright|python|pip|vela|edgetpu_compiler) ")

_MORE = " (each node, and the sources of tables: --json)"

#: Operators of one finding that are shown with names of their nodes.
_OPERATORS = 6

#: Kinds of operators that are named of what an accelerator leaves.
_KINDS = 6

_LEFT: tuple[tuple[Place, str], ...] = (
    ("cpu", "left to the CPU"),
    ("nowhere", "no kernel for"),
    ("unknown", "nobody says of"),
)


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
        head = Text.assemble(("where the operators run", "bold"), (_MORE, "dim"))
        parts += [head, *_placements(result), Text()]
    if result.needs:
        parts += [Text("what it needs", style="bold"), *map(_need, result.needs), Text()]
    verdict = Text.assemble(_fits(result), target)
    counts = _counts([group[0].severity for group in groups.values()])
    verdict.append(f": {counts or 'no findings'}")
    return Group(*parts, verdict)


def _fits(result: CheckResult) -> tuple[str, str]:
    """What nobody knows is no yes."""
    if not result.compatible:
        return "does not fit ", "bold red"
    return ("may fit ", "bold yellow") if result.unknown else ("fits ", "bold green")


def _counts(severities: Sequence[Severity]) -> str:
    counts: list[str] = []
    for severity, name in (("error", "error"), ("warning", "warning"), ("info", "remark")):
        if count := severities.count(severity):
            counts.append(_plural(count, name))
    return ", ".join(counts)


def _findings(group: Sequence[Finding]) -> Iterator[RenderableType]:
    """Findings that differ in their operators alone."""
    first = group[0]
    head = Text.assemble((first.severity, _STYLE[first.severity]), f" {first.code}")
    if first.answer != "tabled":
        head.append(f" ({first.answer})")
    yield head
    for finding in group[:_OPERATORS]:
        if finding.operator or finding.nodes:
            yield _below(_where(finding), "bold")
    if len(group) > _OPERATORS:
        more = ", ".join(f"{f.operator} {f.count}x" for f in group[_OPERATORS:])
        yield _below(f"and {more}", "bold")
    yield _below(first.reason)
    yield _remedy(first.remedy)
    yield Text()


def _where(finding: Finding) -> str:
    """The operator, how often, and the first nodes by name."""
    parts = [finding.operator or "", f"{finding.count}x" if finding.count else ""]
    names = [_shortened(name) for name in finding.nodes[:_NAMES]]
    if names:
        more = finding.count - len(names)
        parts.append(f"({', '.join(names)}{f' and {more} more' if more > 0 else ''})")
    return " ".join(part for part in parts if part)


def _shortened(name: str) -> str:
    """A node's name; of those that TFLite's converter joins from many layers the first."""
    first, joined, _ = name.partition(";")
    if len(first) > _LETTERS:
        first = f"{first[: _LETTERS // 2]}...{first[-_LETTERS // 2 :]}"
    return f"{first};..." if joined else first


def _placements(result: CheckResult) -> Iterator[RenderableType]:
    before: Placement | None = None
    for placement in result.placements:
        if before is None or not _is_the_same(before, placement):
            yield _below(_placement(placement))
            for place, words in _LEFT:
                if left := _left(placement, place, words):
                    yield _below(left, columns=4)
        before = placement
        said_by = placement.said_by if placement.answer == "asked" else placement.judged_for
        yield _below(f"{placement.answer}: {said_by}", "dim", columns=4)
        for note in placement.notes:
            yield _below(note, "dim", columns=4)


def _is_the_same(one: Placement, other: Placement) -> bool:
    """Whether two answers, one from a table and one asked, put every node in the same place."""
    return one.support == other.support and [n.place for n in one.nodes] == [
        n.place for n in other.nodes
    ]


def _below(text: str, style: str = "", columns: int = 2) -> Padding:
    """Whole lines, some columns to the right."""
    return Padding(Text(text, style=style, overflow="fold"), (0, 0, 0, columns), expand=False)


def _remedy(remedy: str) -> RenderableType:
    """In lines; with a command in one, which the terminal folds, so that it can be copied."""
    if _COMMAND.search(remedy) is None:
        return _below(f"-> {remedy}", "green")
    return Text(f"  -> {remedy}", style="green", no_wrap=True, overflow="ignore")


def _placement(placement: Placement) -> str:
    """How much runs where."""
    on_cpu = placement.partitions is None
    count = placement.count("cpu" if on_cpu else "accelerator")
    total = len(placement.nodes)
    of = _plural(total, "operator")
    told = f"all {of}" if count == total > 1 else f"{count or 'none'} of {of}"
    if on_cpu:
        return f"CPU ({placement.title}): can run {told}"
    if not count:
        return f"{placement.title}: runs {told}"
    return f"{placement.title}: runs {told} in {_plural(placement.partitions or 0, 'partition')}"


def _need(need: Need) -> RenderableType:
    if need.allowed_bytes is None:
        return _below(need.told)
    return _below(f"{need.told}; {need.limit} is {size_text(need.allowed_bytes)}")


def _left(placement: Placement, place: Place, words: str) -> str:
    """The operators that stay in a place, those with most nodes first, and their work."""
    nodes = [node for node in placement.nodes if node.place == place]
    if not nodes or (place == "cpu" and placement.partitions is None):
        return ""
    kinds = Counter(node.operator for node in nodes).most_common()
    named = ", ".join(f"{operator} {count}x" for operator, count in kinds[:_KINDS])
    more = f" and {_plural(len(kinds) - _KINDS, 'kind')} more" if len(kinds) > _KINDS else ""
    work = placement.share(nodes)
    counted = any(node.macs != 0 for node in placement.nodes)
    share = f"; {_percent(work)} of the MACs" if counted else ""
    own = "left to LiteRT's own kernels" if placement.support == "xnnpack" else words
    return f"{own}: {named}{more}{share}"


def _plural(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _percent(share: float | None) -> str:
    if share is None:
        return "an unknown share"
    if share in (0.0, 1.0):
        return "all" if share else "none"
    return "less than 0.1%" if share < 0.001 else f"{share:.1%}"
