"""Vela with a temporary folder."""

from __future__ import annotations

import csv
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ....errors import UsageError
from ...tflite_file import read_tflite
from .overhear import overheard, plain

#: The custom operator that stands for a piece on the NPU.
_NPU = "custom::ethos-u"

_REFUSAL = re.compile(
    r"Warning \(supported operators\) operator: (\S+), ofm: '(.*?)'\nReason: (.*?)(?=\n\s*\n|\Z)",
    re.DOTALL,
)


def compiled(path: str, options: dict[str, str]) -> dict[str, Any]:
    """For the sandbox: compiles a file.

    Returns:
        The operators left on the CPU (each with the names of its outputs and inputs), how many
        pieces are on the NPU, the reasons, and the row of the summary.

    Raises:
        UsageError: Vela refused the file or the options.
    """
    from ethosu.vela import vela

    arguments = [path]
    for name, value in options.items():
        arguments += [f"--{name.replace('_', '-')}", value]
    with tempfile.TemporaryDirectory() as folder:
        failure: BaseException | None = None
        with overheard() as heard:
            try:
                vela.main([*arguments, "--output-dir", folder])
            except (Exception, SystemExit) as error:
                failure = error
        # argparse leaves with its words on standard error, and so do Vela's own errors.
        made = sorted(Path(folder).glob("*_vela.tflite"))
        if failure is not None or not made:
            raise UsageError(f"Vela can't compile {path}: {_words(failure, heard[0])}")
        with next(Path(folder).glob("*_summary_*.csv")).open(newline="") as table:
            summary = next(csv.DictReader(table))
        left = list(_operators(made[0]))
    reasons = [(op, ofm, plain(why)) for op, ofm, why in _REFUSAL.findall(heard[0])]
    return {
        "left": [names for names in left if names[0] != _NPU],
        "pieces": sum(names[0] == _NPU for names in left),
        "reasons": reasons,
        "summary": summary,
    }


def _words(failure: BaseException | None, heard: str) -> str:
    if failure is not None and not isinstance(failure, SystemExit):
        return plain(str(failure)) or type(failure).__name__
    lines = [line for line in heard.splitlines() if line.strip() and "Warning" not in line]
    return plain(lines[-1]) if lines else "it gave no reason"


def _operators(path: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    for graph in read_tflite(path.read_bytes()).subgraphs:
        for node in graph.nodes:
            outputs = [graph.tensors[index].name for index in node.outputs]
            inputs = [graph.tensors[index].name for index in node.inputs if index >= 0]
            yield node.operator, outputs, inputs
