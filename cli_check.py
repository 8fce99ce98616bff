"""The command that says whether a model fits a device."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .cli_common import AllowFallback, Ask, Json, State, Target, progress, show
from .errors import EdgewrightError, UsageError

if TYPE_CHECKING:
    from .targets.facts import ModelFacts
    from .targets.finding import CheckResult
    from .targets.profile import TargetProfile


def _complete_accelerator(context: typer.Context, incomplete: str) -> list[str]:
    """The accelerators of the target that was given before, and none."""
    from .targets.load import load_target

    target = context.params.get("target")
    try:
        found = [a.id for a in load_target(target).accelerators] if target else []
    except EdgewrightError:
        found = []
    return [name for name in (*found, "none") if name.startswith(incomplete)]


def _complete_runtime(context: typer.Context, incomplete: str) -> list[str]:
    """The runtimes of the target that was given before; all, where it is still to come."""
    from .targets.load import load_target
    from .targets.profile import READS

    target = context.params.get("target")
    try:
        found = [r.name for r in load_target(target).runtimes] if target else list(READS)
    except EdgewrightError:
        found = []
    return [name for name in found if name.startswith(incomplete)]


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
    allow_fallback: AllowFallback = None,
    ask: Ask = True,
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

    _refuse_two_forms(json=as_json, sarif=as_sarif, junit=as_junit)
    profile_of_target = load_target(target)
    if allow_fallback is not None:
        _refuse_fallback_from_nothing(profile_of_target, accelerator)
    options = CheckOptions(runtime, accelerator, allow_fallback, ask, ask_cpu=True)
    facts = inspect_model(model)
    result = run_check(facts, profile_of_target, options)
    if calibration is not None:
        result = _with_saturation(result, facts, calibration, project)
    form = "sarif" if as_sarif else "junit" if as_junit else None
    _show_check(result, model, profile_of_target, as_json=as_json, form=form)
    if not result.compatible:
        raise typer.Exit(1)


def _refuse_fallback_from_nothing(profile: TargetProfile, accelerator: str | None) -> None:
    """That there is an accelerator from which work can fall back."""
    from .targets.check_options import chosen_accelerator

    if accelerator == "none":
        raise UsageError(
            "--accelerator none leaves nothing to --allow-fallback: all of it runs on the CPU"
        )
    if chosen_accelerator(profile, accelerator) is None:
        names = ", ".join(each.id for each in profile.accelerators)
        raise UsageError(
            f"--allow-fallback: {profile.name} promises no accelerator, and none is chosen: all of "
            "it runs on the CPU",
            hint=f"choose one: --accelerator {names}" if names else "leave --allow-fallback out",
        )


def _refuse_two_forms(**forms: bool) -> None:
    """That at most one form of output is asked for."""
    wanted = [f"--{name}" for name, given in forms.items() if given]
    if len(wanted) > 1:
        raise UsageError(f"{' and '.join(wanted)} exclude each other")


def _show_check(
    result: CheckResult, model: Path, profile: TargetProfile, *, as_json: bool, form: str | None
) -> None:
    """Prints the result: for people, as JSON, as 'sarif' or as 'junit'."""
    from .profiler.report_check import check_document

    if form == "sarif":
        import json

        from . import __version__
        from .profiler.check_sarif import sarif_document

        document = sarif_document(result, model, profile.name, __version__)
        print(json.dumps(document, indent=2), file=State.out)
        return
    if form == "junit":
        from .profiler.check_junit import junit_document

        print(junit_document(result, model, profile.name), file=State.out)
        return

    def table() -> Any:
        from .profiler.tables_check import check_table

        return check_table(result, profile.title)

    document = {"schema_version": 1, "target": profile.name, **check_document(result)}
    show(document, table, as_json)


def _with_saturation(
    result: CheckResult, facts: ModelFacts, calibration: str, project: Path | None
) -> CheckResult:
    """The result with what saturating sums cost on the user's data, where there are such."""
    from .exporters.artifact import Port
    from .exporters.request import DataOptions
    from .exporters.saturation.drop import saturation_drop
    from .exporters.saturation.finding import has_saturation, with_drop
    from .project import told_beside

    told, _ = told_beside(project)
    data = DataOptions(
        calibration=calibration,
        preprocessing=told.images,
        scale=told.scale,
    )
    if not has_saturation(result):
        # Data that can't be read are a mistake, needed or not.
        data.open(calibration, [Port(spec.name, spec) for spec in facts.inputs])
        print("no sums of this model saturate on the device: nothing to emulate", file=sys.stderr)
        return result
    with progress() as listener:
        drop = saturation_drop(facts.path, data, listener.on_host)
    return with_drop(result, drop)
