"""What the runtime on this machine says of its kernels, beside the table of the release there."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass

from .answers import Answers
from .check_options import CheckOptions
from .facts import ModelFacts
from .finding import Finding
from .judge import Verdict
from .oracles import CannotSay, Refused
from .place import NodeKey, place
from .placement import Answer, Placement
from .profile import Runtime, TargetRuntimeName
from .support_files import kernels_of
from .support_table import SupportTable
from .versions import version_parts

#: The package of each runtime that is asked for its kernels.
_PACKAGES: dict[TargetRuntimeName, str] = {"onnxruntime": "onnxruntime"}

#: Beyond these bytes it is not asked of its own accord: it loads the whole model.
_MOST_BYTES = 500_000_000


@dataclass(frozen=True)
class OnCpu:
    """Where the nodes run on the CPU.

    Attributes:
        verdicts: of every node.
        placements: by who decides; then what a runtime of another release says.
        answer: who decided.
    """

    verdicts: dict[NodeKey, Verdict]
    placements: tuple[Placement, ...]
    answer: Answer


def begin_to_ask(
    facts: ModelFacts, runtime: Runtime, options: CheckOptions, answers: Answers
) -> None:
    """Starts the runtime on this machine, so that it loads while the rules are applied."""
    table = kernels_of(runtime.name)
    if table is not None and table.oracle is not None and _may_ask(facts, runtime, options):
        answers.begin(table.oracle, facts, None)


def on_cpu(
    facts: ModelFacts,
    table: SupportTable,
    runtime: Runtime,
    version: str | None,
    verdicts: dict[NodeKey, Verdict],
    asked: Placement | None,
) -> OnCpu:
    """Joins what the table says of the device's release with what this machine's release says.

    Of the same release the runtime itself decides. A newer one has more: its yes is none for the
    device, and its no makes a yes of the table doubtful. An older one decides nothing.
    """
    tabled = place(facts, table, version, verdicts)
    if asked is None:
        return OnCpu(verdicts, (tabled,), "tabled")
    device = version or table.tables_version
    here = importlib.metadata.version(_PACKAGES[runtime.name])
    same = version_parts(here)[:2] == version_parts(device)[:2]
    decided = verdicts
    if same or version_parts(here) > version_parts(device):
        decided = _decided(verdicts, asked, same)
        tabled = place(facts, table, version, decided)
    if same:
        nodes = asked.model_copy(update={"nodes": tabled.nodes})
        return OnCpu(decided, (nodes,), "asked")
    note = f"the device has {table.versioned_by} {device}: the table of that release decides"
    told = asked.model_copy(update={"notes": (*asked.notes, note)})
    return OnCpu(decided, (tabled, told), "tabled")


def asked_here(
    facts: ModelFacts,
    table: SupportTable,
    runtime: Runtime,
    options: CheckOptions,
    answers: Answers,
) -> Placement | None:
    """What the runtime on this machine says; None where it is not asked, or gives no answer.

    Raises:
        Refused: it does not load the model.
    """
    if table.oracle is not None and _may_ask(facts, runtime, options):
        try:
            return answers.ask(table.oracle, facts, None)
        except Refused:
            raise
        except CannotSay:
            pass
    return None


def refusal(runtime: Runtime, package: str, words: str) -> Finding:
    """Of a model to whose nodes the tables say yes, and that the runtime here does not load."""
    here = importlib.metadata.version(package)
    same = package == runtime.name and (
        version_parts(here)[:2] == version_parts(runtime.min_version)[:2]
    )
    other = "" if same else f"; assumed for the device: {runtime.name} {runtime.min_version}"
    return Finding(
        severity="error" if same else "warning",
        code="runtime-refuses",
        reason=f"{words} ({package} {here} on this machine{other})",
        remedy="load the model with the runtime on your own machine, and export it again",
        answer="asked" if same else "unknown",
    )


def unprepared(placement: Placement, verdicts: Mapping[NodeKey, Verdict]) -> str | None:
    """Why LiteRT can't prepare a node that its table says yes to; None where it can."""
    for node in placement.nodes:
        if node.place == "nowhere" and verdicts[node.graph, node.index].answer == "yes":
            return node.reason
    return None


def _may_ask(facts: ModelFacts, runtime: Runtime, options: CheckOptions) -> bool:
    wanted = options.ask and options.ask_cpu and runtime.name in _PACKAGES
    return wanted and facts.size_bytes <= _MOST_BYTES


def _decided(
    verdicts: Mapping[NodeKey, Verdict], asked: Placement, same: bool
) -> dict[NodeKey, Verdict]:
    found = dict(verdicts)
    for node in asked.nodes:
        key = node.graph, node.index
        before = verdicts[key].answer
        if node.place == "nowhere" and before == "yes":
            found[key] = (
                Verdict("no", "operator-not-supported", node.reason, source=asked.said_by)
                if same
                else Verdict(
                    "unknown",
                    reason=f"{asked.said_by} has no kernel for it: {node.reason}",
                    source=asked.said_by,
                )
            )
        elif node.place == "cpu" and before != "yes" and same:
            found[key] = Verdict("yes", source=asked.said_by)
    return found
