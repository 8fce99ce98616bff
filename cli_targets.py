"""The commands about device profiles: `edgewright targets`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from .cli_common import AllowFallback, Ask, Json, complete_target, show, warn
from .cli_devices import probe
from .errors import UsageError

targets_app = typer.Typer(help="The devices Edgewright knows.", invoke_without_command=True)

targets_app.command("probe")(probe)

Replace = Annotated[bool, typer.Option("--replace", help="Write over a file that is there.")]


@targets_app.callback()
def _targets(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_targets()


@targets_app.command("list")
def list_targets(as_json: Json = False) -> None:
    """List the devices.

    A profile of your own that is wrong is a warning, and the others are listed.
    """
    from .targets.load import list_targets as load_all
    from .targets.load import own_names

    found = load_all(warn)

    def table() -> Any:
        from .profiler.tables_targets import targets_table

        return targets_table(found, own_names())

    show(
        {"schema_version": 1, "targets": [t.model_dump(mode="json") for t in found]}, table, as_json
    )


@targets_app.command("show")
def show_target(
    name: Annotated[str, typer.Argument(autocompletion=complete_target)], as_json: Json = False
) -> None:
    """Show one device with the source of each group of facts."""
    from .targets.load import load_target

    show(load_target(name).model_dump(mode="json", exclude_none=True), None, as_json)


@targets_app.command("schema")
def target_schema(as_json: Json = False) -> None:
    """Print the JSON Schema of device files."""
    from .targets.profile import TargetProfile

    show(TargetProfile.model_json_schema(), None, as_json)


@targets_app.command("new")
def new_target(
    name: Annotated[str, typer.Argument(help="What to call it: small letters, digits and '-'.")],
    original: Annotated[
        str,
        typer.Option("--from", help="The device it is most like.", autocompletion=complete_target),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="By default NAME.toml in the folder of your own profiles."
        ),
    ] = None,
    replace: Replace = False,
    as_json: Json = False,
) -> None:
    """Make a profile of your own from one that is like it.

    In the folder of your own profiles it is found by its name, like a built-in one.
    """
    from .targets.write import copy_text, own_file, write_profile

    path = output or own_file(name)
    write_profile(copy_text(name, original), path, replace=replace)
    told = (
        f"{path} is a copy of {original}: change what differs, then "
        f"`edgewright targets validate {shlex.quote(str(path))}`"
    )
    show({"schema_version": 1, "name": name, "file": str(path)}, lambda: told, as_json)


@targets_app.command("validate")
def validate_target(
    file: Annotated[
        Path,
        typer.Argument(
            help="A device's TOML file, or the name of one.", autocompletion=complete_target
        ),
    ],
    as_json: Json = False,
) -> None:
    """Say whether a file is a valid profile.

    Every problem is told with its line and key.
    """
    from .targets.load import profile_of, target_file
    from .targets.toml_file import parse_toml

    file = file if file.exists() else target_file(str(file))
    profile = profile_of(parse_toml(file))
    document = {"schema_version": 1, "file": str(file), "name": profile.name, "valid": True}
    show(document, lambda: f"{file} is a valid profile of {profile.title}", as_json)


def _complete_targets(incomplete: str) -> list[str]:
    before, comma, last = incomplete.rpartition(",")
    named = before.split(",")
    everything = ["all"] if "all".startswith(incomplete) else []
    found = [name for name in complete_target(last) if name not in named]
    return [*everything, *(f"{before}{comma}{name}" for name in found)]


@targets_app.command("rank")
def rank_targets(
    model: Annotated[Path, typer.Argument(help="An .onnx or .tflite file.")],
    targets: Annotated[
        list[str] | None,
        typer.Option(
            "--targets",
            "-t",
            help="A device, several with commas between them, or all (the default).",
            autocompletion=_complete_targets,
        ),
    ] = None,
    allow_fallback: AllowFallback = None,
    ask: Ask = True,
    as_json: Json = False,
) -> None:
    """Show for which devices a model fits, and in which precision.

    A float model is judged in the precisions that `quantize` would try on each device, the one
    expected to be fastest first; a quantized one as it is. What is still to be made is predicted.
    How fast a device is, only `profile` says.
    """
    from dataclasses import asdict

    from .exporters.rank import rank
    from .targets.check_options import CheckOptions
    from .targets.inspect import inspect_model
    from .targets.load import list_targets as load_all
    from .targets.load import load_target

    names = [name.strip() for given in targets or ["all"] for name in given.split(",")]
    if "all" in names:
        found = load_all(warn)
    else:
        found = [load_target(name) for name in dict.fromkeys(names) if name]
    if not found:
        raise UsageError("no target is named", hint="give --targets all, or names")
    if allow_fallback is not None and not any(each.default_accelerator for each in found):
        raise UsageError(
            "--allow-fallback: none of these devices promises an accelerator",
            hint="leave it out, or `edgewright check --accelerator` one of them",
        )
    ranked = rank(inspect_model(model), found, CheckOptions(allow_fallback=allow_fallback, ask=ask))
    document = {
        "schema_version": 1,
        "model": str(model),
        "targets": [asdict(row) for row in ranked],
    }

    def table() -> Any:
        from .profiler.tables_rank import rank_table

        return rank_table(ranked)

    show(document, table, as_json)
    if not any(row.fits for row in ranked):
        raise typer.Exit(1)
