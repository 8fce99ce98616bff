"""The table of operators that TensorFlow Lite's profilers print.

`============================== Run Order ==============================`, then a header, then one
line for each operator: type, first, average ms, %, cumulative %, memory KB, times called, name;
fields are parted by tabs, or by ", " in the CSV form, which has a start column less. Old versions
have a column `[start]` before `[first]`. Source: tensorflow/core/util/stats_calculator.cc.
"""

from __future__ import annotations

import re

from ..operators import OperatorProfile, OperatorTime, ProviderShare
from .text import lines_of, number

_TITLE = re.compile(r"=+ (.+?) =+$")
_REGULAR = "Operator-wise Profiling Info for Regular Benchmark Runs"
#: What the runtime runs itself.
OWN = "built-in kernels"
_DELEGATES = ("delegate", "litert_")


def read_operators(text: str) -> OperatorProfile | None:
    """The operators of the main graph in the order they ran; None where there is no such table.

    The tool prints a table for the initialization first, which is left out, and one for what a
    delegate did inside itself last: that has names of its own and is left out, too, since the
    delegate as a whole is an operator of the graph.
    """
    regular = text.rpartition(_REGULAR)[2]
    rows = _rows(lines_of(regular))
    timed = [row for row in rows if row is not None]
    if not timed:
        return None
    total = sum(row[2] for row in timed)
    operators = tuple(
        OperatorTime(
            name=name or kind,
            type=kind,
            count=count,
            mean_ms=ms,
            share=min(1.0, ms / total) if total else None,
            provider=_provider(kind),
        )
        for kind, name, ms, count in timed
    )
    inferences = re.search(r"Timings \(microseconds\): count=(\d{1,9})", regular)
    return OperatorProfile(
        inferences=max(1, int(inferences.group(1))) if inferences else 1,
        operators=operators,
        providers=_providers(operators, total),
        method="benchmark_model --enable_op_profiling, in a run of its own",
        missing={} if inferences else {"inferences": "the tool does not say how many it profiled"},
    )


def _rows(lines: list[str]) -> list[tuple[str, str, float, int] | None]:
    """(type, name, ms, times called) of the first table "Run Order"."""
    inside, columns = False, 7
    rows: list[tuple[str, str, float, int] | None] = []
    for line in lines:
        title = _TITLE.search(line)
        if title:
            if inside:
                break
            inside = title.group(1) == "Run Order"
        elif inside and not line.strip():
            if rows:
                break
        elif inside and "node type" in line:
            columns = 8 if "[start]" in line else 7
        elif inside:
            rows.append(_row(line, columns))
    return rows


def _row(line: str, columns: int) -> tuple[str, str, float, int] | None:
    """A line without its name has `columns` fields; the name may hold blanks, and the type too."""
    parts = [part.strip() for part in line.strip().split("\t" if "\t" in line else ", ")]
    if len(parts) < columns:
        parts = line.split()  # what was pasted somewhere has lost its tabs
    if len(parts) < columns:
        return None
    kind, name = parts[0], " ".join(parts[columns:])
    average, called = number(parts[columns - 5]), number(parts[columns - 1])
    if not kind or average is None or called is None or called < 1 or called > 1e9:
        return None
    return kind, name, average, int(called)


def _provider(kind: str) -> str:
    return kind if any(mark in kind.lower() for mark in _DELEGATES) else OWN


def _providers(operators: tuple[OperatorTime, ...], total: float) -> tuple[ProviderShare, ...]:
    names = dict.fromkeys(operator.provider for operator in operators)
    times = {n: sum(o.mean_ms or 0.0 for o in operators if o.provider == n) for n in names}
    return tuple(
        ProviderShare(
            provider=name,
            delegate=name != OWN,
            nodes=sum(operator.provider == name for operator in operators),
            time_ms=time,
            share=min(1.0, time / total) if total else None,
        )
        for name, time in sorted(times.items(), key=lambda item: -item[1])
    )
