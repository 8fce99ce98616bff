"""Names of inputs and outputs that no two share."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def distinct(names: Sequence[str], taken: Collection[str] = ()) -> tuple[str, ...]:
    """The names in order; one that is taken gets '_output', then '_output_2' and on.

    A file's inputs and outputs share one space of names, while in a source an output may be called
    as an input is.
    """
    used = set(taken)
    chosen: list[str] = []
    for name in names:
        candidate, count = name, 1
        while candidate in used:
            candidate = f"{name}_output" if count == 1 else f"{name}_output_{count}"
            count += 1
        used.add(candidate)
        chosen.append(candidate)
    return tuple(chosen)
