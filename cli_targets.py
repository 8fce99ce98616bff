"""The commands about models and devices: `inspect`, `check`, `targets`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .cli_common import Json, Target, show
from .cli_target_files import targets_app


def add_target_commands(app: typer.Typer) -> None:
    """Adds these commands to the command line."""
    app.command()(inspect)
    app.command()(check)
    app.add_typer(targets_app, name="targets")


def inspect(
    model: Annotated[Path, typer.Argument(help="An .onnx or .tflite file.")], as_json: Json = False
) -> None:
    """Tell what a model file holds.

    Inputs, outputs, operators, types, multiply-accumulates (MACs), weights, peak activations.
    """
    from .profiler.report import facts_document
    from .targets.inspect import inspect_model

    facts = inspect_model(model)

    def table() -> Any:
        from .profiler.tables import facts_table

        return facts_table(facts)

    show(facts_document(facts), table, as_json)


def check(
    model: Annotated[Path, typer.Argument(help="An .onnx or .tflite file.")],
    target: Target,
    as_json: Json = False,
) -> None:
    """Say whether a model fits a device.

    Each finding names the operator, the reason and what to do about it.
    """
    from .profiler.report import check_document
    from .targets.check import check as run_check
    from .targets.inspect import inspect_model
    from .targets.load import load_target

    profile_of_target = load_target(target)
    result = run_check(inspect_model(model), profile_of_target)

    def table() -> Any:
        from .profiler.tables import check_table

        return check_table(result, profile_of_target.title)

    document = {"schema_version": 1, "target": profile_of_target.name, **check_document(result)}
    show(document, table, as_json)
    if not result.compatible:
        raise typer.Exit(1)
