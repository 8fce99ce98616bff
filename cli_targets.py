"""The commands about models and devices: `inspect`, `check`, `targets`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .cli_common import Json, Target, show
from .cli_explain import explain
from .cli_inspect import inspect
from .cli_target_files import targets_app
from .errors import EdgewrightError


def add_target_commands(app: typer.Typer) -> None:
    """Adds these commands to the command line."""
    app.command()(inspect)
    app.command()(check)
    app.command()(explain)
    app.add_typer(targets_app, name="targets")


def _complete_accelerator(context: typer.Context, incomplete: str) -> list[str]:
    """The accelerators of the target that was given before, and none."""
    from .targets.load import load_target

    target = context.params.get("target")
    try:
        found = [a.id for a in load_target(target).accelerators] if target else []
    except EdgewrightError:
        found = []
    return [name for name in (*found, "none") if name.startswith(incomplete)]


def _complete_runtime(incomplete: str) -> list[str]:
    from .targets.profile import READS

    return [name for name in READS if name.startswith(incomplete)]


def check(
    model: Annotated[Path, typer.Argument(help="An .onnx or .tflite file.")],
    target: Target,
    runtime: Annotated[
        str | None,
        typer.Option(
            help="One of the device's; by default the first that reads the format.",
            autocompletion=_complete_runtime,
        ),
    ] = None,
    accelerator: Annotated[
        str | None,
        typer.Option(
            help="One of the device's, or none for the CPU alone; by default what it promises.",
            autocompletion=_complete_accelerator,
        ),
    ] = None,
    allow_fallback: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            metavar="SHARE",
            help="The share of the MACs that may stay on the CPU; by default no operator may.",
        ),
    ] = None,
    ask: Annotated[
        bool,
        typer.Option(
            "--ask/--no-ask",
            help="Ask runtimes and compilers on this machine; else only their tables.",
        ),
    ] = True,
    as_json: Json = False,
) -> None:
    """Say whether a model fits a device, and where its operators would run.

    Each finding names the operator, the reason and what to do about it.
    """
    from .profiler.report import check_document
    from .targets.check import CheckOptions
    from .targets.check import check as run_check
    from .targets.inspect import inspect_model
    from .targets.load import load_target

    profile_of_target = load_target(target)
    options = CheckOptions(runtime, accelerator, allow_fallback, ask)
    result = run_check(inspect_model(model), profile_of_target, options)

    def table() -> Any:
        from .profiler.tables_check import check_table

        return check_table(result, profile_of_target.title)

    document = {"schema_version": 1, "target": profile_of_target.name, **check_document(result)}
    show(document, table, as_json)
    if not result.compatible:
        raise typer.Exit(1)
