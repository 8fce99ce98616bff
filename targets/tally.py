"""From single nodes to the sums that `ModelFacts` holds, the same for both formats."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .dtypes import FLOATS
from .facts import OperatorFacts, QuantizedProducts


@dataclass(frozen=True)
class QuantizedUse:
    """How one convolution or matrix product was quantized; fields as in `QuantizedProducts`."""

    activation_dtype: str
    weight_dtype: str | None
    per_channel: bool
    dynamic: bool
    max_weight: int | None = None


@dataclass(frozen=True)
class NodeFacts:
    """One node.

    Attributes:
        constants: bytes of each constant that the node reads, by what identifies it in the file.
        macs: None where unknown.
    """

    operator: str
    dtypes: frozenset[str]
    macs: int | None = 0
    constants: Mapping[Hashable, int] = field(default_factory=dict)
    quantized: QuantizedUse | None = None


def tally_operators(nodes: Iterable[NodeFacts]) -> tuple[OperatorFacts, ...]:
    """The nodes grouped by operator, most frequent first."""
    groups: dict[str, list[NodeFacts]] = {}
    for node in nodes:
        groups.setdefault(node.operator, []).append(node)
    facts = []
    for name, members in groups.items():
        constants: dict[Hashable, int] = {}
        for node in members:
            constants.update(node.constants)
        macs = [node.macs for node in members if node.macs is not None]
        facts.append(
            OperatorFacts(
                name=name,
                count=len(members),
                dtypes=tuple(sorted(set().union(*(node.dtypes for node in members)))),
                macs=sum(macs) if len(macs) == len(members) else None,
                weight_bytes=sum(constants.values()),
                float_count=sum(bool(node.dtypes & FLOATS) for node in members),
            )
        )
    return tuple(sorted(facts, key=lambda o: (-o.count, o.name)))


def tally_quantized(nodes: Iterable[NodeFacts]) -> tuple[QuantizedProducts, ...]:
    """The quantized convolutions and matrix products, grouped by operator and scheme."""
    counts: dict[tuple[str, str, str | None, bool, bool], int] = {}
    largest: dict[tuple[str, str, str | None, bool, bool], int | None] = {}
    for node in nodes:
        use = node.quantized
        if use is None:
            continue
        key = (
            node.operator,
            use.activation_dtype,
            use.weight_dtype,
            use.per_channel,
            use.dynamic,
        )
        counts[key] = counts.get(key, 0) + 1
        before = largest.get(key, 0)
        if before is None or use.max_weight is None:
            largest[key] = None
        else:
            largest[key] = max(before, use.max_weight)
    return tuple(
        QuantizedProducts(k[0], counts[k], *k[1:], largest[k]) for k in sorted(counts, key=str)
    )


def constant_bytes(nodes: Iterable[NodeFacts]) -> int:
    """Bytes of all constants that are read, each once."""
    constants: dict[Hashable, int] = {}
    for node in nodes:
        constants.update(node.constants)
    return sum(constants.values())


@dataclass(frozen=True)
class Step:
    """One node in the order of execution: what it reads and writes, and needs while it runs."""

    reads: Sequence[Hashable]
    writes: Sequence[Hashable]
    inner_bytes: int | None = 0


def peak_bytes(
    steps: Sequence[Step],
    sizes: Mapping[Hashable, int | None],
    inputs: Sequence[Hashable],
    outputs: Sequence[Hashable],
) -> int | None:
    """Most bytes alive at once; None where the size of a tensor is unknown.

    A tensor lives from the step that writes it (inputs: from the start) to the last step that
    reads it (outputs, and inputs that nobody reads: to the end). Tensors without an entry in
    `sizes` are constants and cost nothing.
    """
    last = {name: index for index, step in enumerate(steps) for name in (*step.writes, *step.reads)}
    last.update({name: len(steps) for name in outputs})
    ends: dict[int, list[Hashable]] = {}
    for name, index in last.items():
        ends.setdefault(index, []).append(name)
    alive: dict[Hashable, int] = {}
    total = 0

    def enter(names: Iterable[Hashable]) -> bool:
        nonlocal total
        for name in names:
            if name in sizes and name not in alive:
                size = sizes[name]
                if size is None:
                    return False
                alive[name] = size
                total += size
        return True

    if not enter(inputs):
        return None
    peak = total
    for index, step in enumerate(steps):
        if step.inner_bytes is None or not enter(step.writes):
            return None
        peak = max(peak, total + step.inner_bytes)
        for name in ends.get(index, ()):
            total -= alive.pop(name, 0)
    return peak
