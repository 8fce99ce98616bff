"""The commands about models and devices: `inspect`, `check`, `targets`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .cli_check import refuse_two_forms, show_check, with_saturation
from .cli_common import Json, Target
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
    calibration: Annotated[
        str | None,
        typer.Option(
            help="Where sums of uint8 times int8 saturate (x86 without VNNI): emulate it on these "
            "inputs, and tell the drop. An .npz, a picture folder or FILE.py:FUNCTION.",
        ),
    ] = None,
    project: Annotated[
        Path | None,
        typer.Option(help="Project file that says how to read pictures and integers."),
    ] = None,
    as_json: Json = False,
    as_sarif: Annotated[
        bool, typer.Option("--sarif", help="Print SARIF 2.1.0, for code scanning.")
    ] = False,
    as_junit: Annotated[
        bool, typer.Option("--junit", help="Print JUnit XML, for continuous integration.")
    ] = False,
) -> None:
    """Say whether a model fits a device, and where its operators would run.

    Each finding names the operator, the reason and what to do about it.
    """
    from .targets.check import CheckOptions
    from .targets.check import check as run_check
    from .targets.inspect import inspect_model
    from .targets.load import load_target

    refuse_two_forms(json=as_json, sarif=as_sarif, junit=as_junit)
    profile_of_target = load_target(target)
    options = CheckOptions(runtime, accelerator, allow_fallback, ask, delegates=True)
    result = run_check(inspect_model(model), profile_of_target, options)
    if calibration is not None:
        result = with_saturation(result, model, calibration, project)
    form = "sarif" if as_sarif else "junit" if as_junit else None
    show_check(result, model, profile_of_target, as_json=as_json, form=form)
    if not result.compatible:
        raise typer.Exit(1)
