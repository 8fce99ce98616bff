"""The support tables by id, each read once."""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path

from .profile import Format, TargetRuntimeName
from .support_table import SupportTable
from .toml_file import parse_toml_text, validate_toml

_DATA = "edgewright.targets.support"

#: The table of each runtime's own kernels.
KERNELS: dict[TargetRuntimeName, str] = {
    "onnxruntime": "onnxruntime-cpu",
    "ai_edge_litert": "tflite-cpu",
    "tflite_runtime": "tflite-cpu",
    "tflite_micro": "tflite-micro",
}


@cache
def support_ids() -> tuple[str, ...]:
    """The ids of all tables, sorted."""
    files = resources.files(_DATA).iterdir()
    return tuple(sorted(f.name[:-5] for f in files if f.name.endswith(".toml")))


@cache
def support_table(name: str) -> SupportTable | None:
    """A table by its id; None where there is none, which means that nobody says.

    Raises:
        UsageError: the file is wrong (it says which line and key).
    """
    if name not in support_ids():
        return None
    file = resources.files(_DATA) / f"{name}.toml"
    document = parse_toml_text(Path(str(file)), file.read_text(encoding="utf-8"))
    return validate_toml(document, SupportTable)


def kernels_of(runtime: TargetRuntimeName) -> SupportTable | None:
    """The table of a runtime's own kernels."""
    return support_table(KERNELS[runtime])


def compiler_of(operator: str) -> str | None:
    """The program that makes models of this operator; None if no table knows of one."""
    tables = (support_table(name) for name in support_ids())
    makers = (table.compiler for table in tables if table and table.compiled_operator == operator)
    return next((maker for maker in makers if maker is not None), None)


def tables_for(
    names: tuple[str, ...], model_format: Format, runtime: TargetRuntimeName
) -> tuple[SupportTable, ...]:
    """The tables among these that are about models of a format in a runtime, in their order."""
    tables = [table for name in names if (table := support_table(name)) is not None]
    return tuple(
        table
        for table in tables
        if table.format == model_format and (not table.runtimes or runtime in table.runtimes)
    )
