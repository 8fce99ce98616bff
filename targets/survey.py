"""Where a model's nodes run on a device, and what is wrong with that."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from .answers import Answers, settled
from .check_options import CheckOptions
from .facts import ModelFacts
from .finding import Finding
from .judge import Verdict
from .oracles import CannotSay, Refused
from .place import NodeKey, judge_all, place
from .placement import Answer, Placement
from .profile import Accelerator, Runtime, TargetProfile
from .rules_accelerator import (
    compiled_for_others,
    fallback_findings,
    unreachable,
    without_table,
)
from .rules_cache import beyond_the_cache
from .rules_kernels import kernel_findings
from .rules_precision import float_on_integers
from .support_files import kernels_of, support_table, tables_for
from .support_table import SupportTable
from .survey_cpu import asked_here, begin_to_ask, on_cpu, refusal, unprepared
from .versions import version_for


@dataclass
class Survey:
    """Goes through what runs a model's nodes: the runtime's kernels, then accelerators.

    Attributes:
        accelerator: the one that was promised, or is asked for; None: the CPU.
        unasked: why nobody is asked who could say, where the options would have it.
    """

    facts: ModelFacts
    profile: TargetProfile
    runtime: Runtime
    accelerator: Accelerator | None
    options: CheckOptions
    answers: Answers
    unasked: str | None = None
    placements: list[Placement] = field(default_factory=list)

    @property
    def leaves_work(self) -> bool:
        """Whether the CPU has to compute products, or may have to; after `findings`."""
        if self.accelerator is None:
            return True
        nodes = [n for p in self.placements if p.partitions is not None for n in p.nodes]
        return not nodes or any(n.place != "accelerator" and n.macs != 0 for n in nodes)

    def begin(self) -> None:
        """Starts what is to be asked: it loads while other rules are applied."""
        begin_to_ask(self.facts, self.runtime, self.options, self.answers)
        if self.accelerator is not None and self.options.ask:
            for table in self._tables(self.accelerator)[:1]:
                if table.oracle is not None:
                    self.answers.begin(table.oracle, self.facts, self.accelerator)

    def findings(self) -> Iterator[Finding]:
        """Everything about the nodes; fills `placements` on the way."""
        yield from compiled_for_others(self.facts, self.profile, self.accelerator)
        kernels = kernels_of(self.runtime.name)
        lacking: dict[NodeKey, Verdict] = {}
        decided: Answer = "tabled"
        if kernels is not None:
            version = version_for(kernels.versioned_by, self.runtime)
            tabled = judge_all(self.facts, kernels, version)
            asked = None
            try:
                asked = asked_here(self.facts, kernels, self.runtime, self.options, self.answers)
            except Refused as error:
                yield refusal(self.runtime, "onnxruntime", error.message)
            joined = on_cpu(self.facts, kernels, self.runtime, version, tabled, asked)
            lacking, decided = joined.verdicts, joined.answer
            self.placements += [self._told(kernels, each) for each in joined.placements]
        accelerated: frozenset[NodeKey] = frozenset()
        if self.accelerator is not None:
            yield from self._promised(self.accelerator, lacking)
            accelerated = frozenset(
                (node.graph, node.index)
                for placement in self.placements
                for node in placement.nodes
                if node.place == "accelerator"
            )
        else:
            yield from self._delegated(lacking)
            if self.options.accelerator is None:
                self._possible(lacking)
        if kernels is not None:
            yield from kernel_findings(self.facts, kernels, lacking, accelerated, decided)

    def _promised(
        self, accelerator: Accelerator, lacking: Mapping[NodeKey, Verdict]
    ) -> Iterator[Finding]:
        tables = self._tables(accelerator)
        if not tables:
            ways = [t for name in accelerator.support if (t := support_table(name)) is not None]
            yield (
                unreachable(self.facts, accelerator, ways)
                if ways
                else without_table(self.facts, accelerator)
            )
            return
        table = tables[0]
        version = version_for(table.versioned_by, self.runtime)
        verdicts = judge_all(self.facts, table, version)
        placement = place(self.facts, table, version, verdicts)
        if self.options.ask and table.oracle is not None:
            try:
                asked = self.answers.ask(table.oracle, self.facts, accelerator)
                placement = settled(asked, placement)
            except CannotSay as error:
                yield Finding(
                    severity="info",
                    code="accelerator-not-asked",
                    reason=f"{table.title}: {error.message}; the table says what is known",
                    remedy=error.hint or "measure on the device",
                )
        placement = _nowhere(placement, lacking)
        self.placements.append(self._told(table, placement))
        yield from fallback_findings(
            self.facts, accelerator, table, placement, verdicts, self.options.allow_fallback
        )
        yield from float_on_integers(self.facts, accelerator, table, placement)
        yield from beyond_the_cache(self.facts, accelerator, table, placement)

    def _delegated(self, lacking: Mapping[NodeKey, Verdict]) -> Iterator[Finding]:
        """What the CPU's own delegate takes, where its runtime can be asked."""
        table = support_table("xnnpack")
        if table is None or table.oracle is None or self.runtime.name not in table.runtimes:
            return
        if self.options.ask and self.options.ask_cpu:
            with contextlib.suppress(CannotSay):
                placement = self.answers.ask(table.oracle, self.facts, None)
                self.placements.append(placement)
                if (words := unprepared(placement, lacking)) is not None:
                    yield refusal(self.runtime, "ai_edge_litert", f"LiteRT: {words}")

    def _possible(self, lacking: Mapping[NodeKey, Verdict]) -> None:
        """What would run on the accelerators that nobody asked for: by their tables alone."""
        for accelerator in self.profile.accelerators:
            for table in self._tables(accelerator)[:1]:
                version = version_for(table.versioned_by, self.runtime)
                self.placements.append(_nowhere(place(self.facts, table, version), lacking))

    def _told(self, table: SupportTable, placement: Placement) -> Placement:
        """The placement, with the reason where its table's program was not asked."""
        if self.unasked is None or table.oracle is None:
            return placement
        note = f"not asked, as the file is too large: {self.unasked}"
        return placement.model_copy(update={"notes": (*placement.notes, note)})

    def _tables(self, accelerator: Accelerator) -> tuple[SupportTable, ...]:
        return tables_for(accelerator.support, self.facts.format, self.runtime.name)


def _nowhere(placement: Placement, lacking: Mapping[NodeKey, Verdict]) -> Placement:
    """The placement, with what falls back to a CPU that has no kernel for it."""
    nodes = tuple(
        node.model_copy(update={"place": "nowhere"})
        if node.place == "cpu"
        and (verdict := lacking.get((node.graph, node.index))) is not None
        and verdict.answer == "no"
        else node
        for node in placement.nodes
    )
    return placement.model_copy(update={"nodes": nodes})
