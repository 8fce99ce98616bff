"""Conditions of a support table on shapes: of one operand, and of several together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

from .case import Case, told
from .doubt import Doubt
from .dtypes import elements
from .support_parts import Operand, SameShape, ShapeRule
from .support_rule import OperatorRule

Shape = Sequence[int | None]


def of_rank(case: Case, rule: OperatorRule) -> Iterator[Doubt]:
    """Of the data, whichever input they are."""
    most = rule.max_rank if rule.max_rank is not None else case.table.max_rank
    wide, where = rule.max_non_singleton, case.table.non_singleton
    limits = (most, rule.min_rank, wide, where, rule.max_batch)
    index = case.view.data_input(case.node)
    if index is None or all(limit is None for limit in limits):
        return
    shape = case.view.graph.tensors[index].shape
    if shape is None:
        yield Doubt(None, "the rank of its input is unknown")
        return
    yield from _ranks(shape, rule.min_rank, most, "")
    yield from _non_singleton(shape, wide, "")
    yield from _all_one(shape, where, "its input")
    batch = shape[0] if shape else None
    if rule.max_batch is not None and batch is not None and batch > rule.max_batch:
        yield Doubt("rank-not-supported", f"batch {batch}; it takes up to {rule.max_batch}")


def of_shapes(case: Case, rule: OperatorRule) -> Iterator[Doubt]:
    for position, wanted in rule.input_shapes.items():
        tensor = case.input(position)
        if tensor is not None:
            yield from _of_shape(tensor.shape, wanted, f"its input {position}")
    for position, wanted in rule.output_shapes.items():
        tensor = case.output(position)
        if tensor is not None:
            yield from _of_shape(tensor.shape, wanted, f"its output {position}")


def _of_shape(shape: Shape | None, rule: ShapeRule, what: str) -> Iterator[Doubt]:
    if shape is None:
        yield Doubt(None, f"the shape of {what} is unknown")
        return
    yield from _ranks(shape, rule.min_rank, rule.max_rank, f"{what}: ")
    yield from _non_singleton(shape, rule.max_non_singleton, f"{what}: ")
    yield from _all_one(shape, rule.non_singleton, what)
    for axis, wanted in rule.sizes.items():
        for position in _positions((axis,), shape):
            size = shape[position]
            if size is None:
                yield Doubt(None, f"the size of dimension {position} of {what} is unknown")
            elif not wanted.allows(size):
                yield Doubt(
                    "shape-not-supported",
                    f"dimension {position} of {what} is {size}; it takes {wanted.told}",
                )
    if rule.max_elements is not None:
        axes = range(len(shape)) if rule.elements_of is None else rule.elements_of
        count = elements([shape[position] for position in _positions(axes, shape)])
        if count is None:
            yield Doubt(None, f"the size of {what} is unknown")
        elif count > rule.max_elements:
            yield Doubt(
                "shape-not-supported",
                f"{what} has {count} elements"
                + ("" if rule.elements_of is None else f" in the dimensions {list(axes)}")
                + f"; it takes up to {rule.max_elements}",
            )


def of_same_shapes(case: Case, rule: OperatorRule) -> Iterator[Doubt]:
    for wanted in rule.same_shapes:
        yield from _same_shape(case, wanted)
    ranks: dict[Operand, int] = {}
    for which, shape in _shapes(case, rule.same_rank):
        if shape is None:
            yield Doubt(None, f"the rank of {told(which)} is unknown")
            return
        ranks[which] = len(shape)
    if len(set(ranks.values())) > 1:
        told_ranks = ", ".join(f"{told(which)} has {rank}" for which, rank in ranks.items())
        yield Doubt("shape-not-supported", f"{told_ranks} dimensions; it takes the same number")


def _same_shape(case: Case, wanted: SameShape) -> Iterator[Doubt]:
    known: dict[Operand, list[int | None]] = {}
    for which, shape in _shapes(case, wanted.of):
        if shape is None:
            yield Doubt(None, f"the shape of {told(which)} is unknown")
            return
        known[which] = list(shape)
    rank = max(map(len, known.values()), default=0)
    if wanted.axes is not None:
        known = {which: [*[1] * (rank - len(shape)), *shape] for which, shape in known.items()}
        axes = sorted(_positions(wanted.axes, range(rank)))
        known = {which: [shape[axis] for axis in axes] for which, shape in known.items()}
    first, *others = known.values() or [[]]
    where = "" if wanted.axes is None else f" in the dimensions {list(wanted.axes)}"
    if any(_differ(first, other) for other in others):
        sizes = ", ".join(f"{told(which)} is {_told(shape)}" for which, shape in known.items())
        yield Doubt("shape-not-supported", f"{sizes}{where}; it takes the same")
    elif any(None in shape for shape in known.values()):
        yield Doubt(None, f"whether {', '.join(map(told, wanted.of))} are the same{where} is open")


def _shapes(case: Case, operands: Sequence[Operand]) -> Iterator[tuple[Operand, Shape | None]]:
    for which in operands:
        tensor = case.operand(which)
        if tensor is not None:
            yield which, tensor.shape


def _differ(one: Shape, other: Shape) -> bool:
    """Whether two shapes are known to be different."""
    if len(one) != len(other):
        return True
    pairs = zip(one, other, strict=True)
    return any(a is not None and b is not None and a != b for a, b in pairs)


def of_factors(case: Case, rule: OperatorRule) -> Iterator[Doubt]:
    wanted = rule.factors
    if wanted is None:
        return
    before, after = case.input(0), case.output(0)
    if before is None or after is None or before.shape is None or after.shape is None:
        yield Doubt(None, "by what it resizes is unknown")
        return
    found: list[Fraction] = []
    for axis in sorted(_positions(wanted.axes, before.shape)):
        size = before.shape[axis]
        larger = after.shape[axis] if axis < len(after.shape) else None
        if not size or larger is None:
            yield Doubt(None, f"by what it resizes dimension {axis} is unknown")
            return
        found.append(Fraction(larger, size))
    by = " and ".join(f"{float(each):g}" for each in found)
    if any(each not in map(Fraction, wanted.one_of) for each in found):
        takes = " or ".join(f"{each:g}" for each in wanted.one_of)
        yield Doubt("shape-not-supported", f"it resizes by {by}; it takes {takes}")
    elif wanted.same and len(set(found)) > 1:
        yield Doubt("shape-not-supported", f"it resizes by {by}; it takes the same in each")


def _ranks(shape: Shape, least: int | None, most: int | None, what: str) -> Iterator[Doubt]:
    rank = len(shape)
    if most is not None and rank > most:
        yield Doubt("rank-not-supported", f"{what}rank {rank}; it takes up to {most} dimensions")
    elif least is not None and rank < least:
        yield Doubt("rank-not-supported", f"{what}rank {rank}; it takes {least} dimensions or more")


def _non_singleton(shape: Shape, most: int | None, what: str) -> Iterator[Doubt]:
    larger = sum(size is not None and size > 1 for size in shape)
    if most is not None and larger > most:
        yield Doubt(
            "rank-not-supported",
            f"{what}{larger} dimensions are larger than 1; it takes up to {most}",
        )


def _all_one(shape: Shape, others: Sequence[int] | None, what: str) -> Iterator[Doubt]:
    """All dimensions but the others; None: none."""
    if others is None:
        return
    for axis in sorted(set(range(len(shape))) - _positions(others, shape)):
        size = shape[axis]
        if size is None:
            yield Doubt(None, f"the size of dimension {axis} of {what} is unknown")
        elif size > 1:
            yield Doubt("shape-not-supported", f"dimension {axis} of {what} is {size}; it takes 1")


def _positions(axes: Sequence[int], shape: Sequence[object]) -> set[int]:
    """The axes that a shape has, counted from its first dimension."""
    rank = len(shape)
    return {axis % rank for axis in axes if -rank <= axis < rank}


def _told(shape: Shape) -> str:
    return "x".join("?" if size is None else str(size) for size in shape) or "a scalar"
