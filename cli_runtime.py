"""The commands of the runtimes that are brought to devices: runtime build, list, remove."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .cli_common import DryRun, Json, complete_device, complete_target, progress, show
from .errors import UsageError

if TYPE_CHECKING:
    from .profiler.device_runtime.recipe import Recipe

runtime_app = typer.Typer(
    help="Runtimes for devices without Python: built here, brought along by `profile`.",
    no_args_is_help=True,
)

Buildable = Literal["onnxruntime", "litert", "ai_edge_litert", "tflite_runtime"]


@runtime_app.command()
def build(
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            "-t",
            help="A device by name, or a TOML file.",
            autocompletion=complete_target,
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            "-d",
            help="Ask this device what it is instead.",
            autocompletion=complete_device,
        ),
    ] = None,
    runtime: Annotated[
        Buildable | None, typer.Option(help="By default what the target prefers.")
    ] = None,
    mirror: Annotated[
        str | None,
        typer.Option(
            metavar="'URL SUITE'",
            help="A mirror of Debian packages; by default this host's apt sources.",
        ),
    ] = None,
    packages: Annotated[
        Path | None, typer.Option(help="A directory of .deb files, in place of a mirror.")
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Build a runtime for a phone or board that has no Python, an old one, or none of the wheels.

    Python, the C library, NumPy and one runtime in an archive of 9 to 21 MB that needs no root
    and no installation there. It is kept on this host; `profile` sends it once to each device that
    needs it.
    """
    from .profiler.device_runtime.build import build_runtime
    from .profiler.device_runtime.cache import keep, prepare_cache
    from .profiler.device_runtime.packages import PackageSource
    from .profiler.device_runtime.tables import (
        kept_document,
        kept_table,
        recipe_document,
        recipe_text,
    )

    if mirror is not None and packages is not None:
        raise UsageError("--mirror and --packages exclude each other")
    recipe = _recipe(target, device, runtime)
    source = PackageSource(mirror, packages)
    if dry_run:
        show(recipe_document(recipe), lambda: recipe_text(recipe), as_json)
        return
    directory = prepare_cache()
    with progress() as listener:
        bundle, archive = build_runtime(recipe, source, directory, listener.on_host)
        kept = keep(bundle, archive)
    show(kept_document(kept), lambda: kept_table([kept]), as_json)


@runtime_app.command("list")
def list_runtimes(as_json: Json = False) -> None:
    """List the runtimes that are built, with their sizes."""
    from .profiler.device_runtime.cache import list_kept
    from .profiler.device_runtime.tables import kept_document, kept_table

    found = list_kept()
    show({"runtimes": [kept_document(kept) for kept in found]}, lambda: kept_table(found), as_json)


@runtime_app.command()
def remove(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Beginnings of hashes, or RUNTIME-ARCHITECTURE, as `list` shows them."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    as_json: Json = False,
) -> None:
    """Delete built runtimes from this host; devices keep theirs."""
    from .profiler.device_runtime.cache import find_by_name, list_kept, remove_kept
    from .profiler.device_runtime.tables import kept_document

    if bool(names) is everything:
        raise UsageError("say which: names, or --all", hint="`edgewright runtime list` shows them")
    found = list_kept() if everything else [find_by_name(name) for name in names or ()]
    for kept in found:
        remove_kept(kept)

    def told() -> Any:
        return "\n".join(f"removed {kept.bundle.title}" for kept in found) or "nothing is built"

    show({"removed": [kept_document(kept) for kept in found]}, told, as_json)


def _recipe(target: str | None, device: str | None, runtime: Buildable | None) -> Recipe:
    from .profiler.device_runtime.recipe import WHEELS, recipe_for
    from .targets.load import load_target

    if (target is None) is (device is None):
        raise UsageError(
            "nothing says which device the runtime is for"
            if target is None
            else "--target and --device exclude each other",
            hint="give --target NAME (`edgewright targets` lists them), or --device ADDRESS",
        )
    preferred = tuple(WHEELS)
    if target is not None:
        profile = load_target(target)
        architecture = profile.cpu.architecture
        preferred = profile.measured_runtimes
        if not preferred:
            raise UsageError(
                f"{profile.title} has no runtime that can be built "
                f"({', '.join(known.name for known in profile.runtimes)})"
            )
    else:
        from .profiler.arrival import machine_of
        from .profiler.devices_file import open_device

        transport = open_device(device or "")
        try:
            architecture, _ = machine_of(transport)
        finally:
            transport.close()
    if runtime is not None:
        return recipe_for(architecture, "ai_edge_litert" if runtime == "litert" else runtime)
    fitting = [name for name in preferred if architecture in WHEELS[name][1]]
    return recipe_for(architecture, (fitting or preferred)[0])
