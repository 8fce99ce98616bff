"""What the commands of the command line share: options, printing, progress."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from .errors import EdgewrightError
    from .exporters.candidate import Planned
    from .exporters.request import ExportRequest
    from .pipeline import Listener

# The field's names as the types in targets/profile.py and exporters/artifact.py have them: written
# out, since importing those would import pydantic and NumPy.
Format = Literal["onnx", "tflite"]
Precision = Literal["auto", "float32", "float16", "int8", "int8-dynamic", "int8-weights", "int4"]
Layout = Literal["nchw", "nhwc"]
Mode = Literal["quick", "release"]
Form = Literal["json", "sarif", "junit"]
RuntimeName = Literal["onnxruntime", "ai_edge_litert", "tflite_runtime"]


def complete_target(incomplete: str) -> list[str]:
    # Names are file names: reading the profiles would make completion slow.
    from .targets.folders import names_beginning

    return names_beginning(incomplete)


def complete_device(incomplete: str) -> list[str]:
    from .profiler.devices_path import device_names

    here = ["local"] if "local".startswith(incomplete) else []
    return [*here, *device_names(incomplete)]


Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be made and why; make nothing.")
]
Target = Annotated[
    str,
    typer.Option(
        "--target",
        "-t",
        help="A device by name (`targets list` has them), or a TOML file.",
        autocompletion=complete_target,
    ),
]

AllowFallback = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        metavar="SHARE",
        help="The share of the MACs that may stay on the CPU where an accelerator is promised; by "
        "default no operator may.",
    ),
]
Ask = Annotated[
    bool,
    typer.Option(
        "--ask/--no-ask", help="Ask runtimes and compilers on this machine; else only their tables."
    ),
]


class State:
    """What main() has to know of the command that failed."""

    debug = False
    #: What the one document on standard output has to be; None: text for people.
    form: Form | None = None
    out = sys.stdout


def show(document: Any, table: Callable[[], Any] | None, as_json: bool) -> None:
    if as_json or table is None:
        import json

        print(json.dumps(document, indent=2, allow_nan=False), file=State.out)
        return
    from rich.console import Console

    from .terminal import HarmlessConsole

    # Into a file or a pipe, tables keep their width instead of being folded to 80 columns.
    wide = None if Console().is_terminal or "COLUMNS" in os.environ else 160
    # Square brackets in findings and commands are themselves, and no markup; a line that is wider
    # than the terminal is one that must stay whole.
    HarmlessConsole(highlight=False, markup=False, width=wide).print(table(), crop=False)


def warn(error: EdgewrightError) -> None:
    """Says on standard error what is wrong, where the command goes on without it."""
    from .terminal import harmless

    print(harmless(f"warning: {error.message}"), file=sys.stderr)
    if error.hint:
        print(harmless(f"hint: {error.hint}"), file=sys.stderr)


def show_plan(planned: list[Planned], as_json: bool) -> None:
    from .profiler.report import plan_document
    from .profiler.tables import plan_table

    show(plan_document(planned), lambda: plan_table(planned), as_json)


@contextlib.contextmanager
def progress() -> Iterator[Listener]:
    """Live progress on standard error."""
    from .pipeline import Listener
    from .progress import ProgressPrinter

    with ProgressPrinter() as printer:
        yield Listener(on_host=printer.on_host, on_device=printer.on_device)


def preview_export(request: ExportRequest, as_json: bool) -> None:
    """Shows what an export would make; nothing is kept."""
    import tempfile
    from dataclasses import replace

    from .exporters.export import plan_export

    with tempfile.TemporaryDirectory(prefix="edgewright-") as scratch:
        show_plan(plan_export(replace(request, directory=Path(scratch))), as_json)
