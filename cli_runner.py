"""What `profile` and `compare` do with the benchmark tools of others."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from .cli_common import progress, show
from .errors import UsageError

if TYPE_CHECKING:
    from .profiler.external.figures import ExternalRun
    from .profiler.job import MeasureSettings


def runner_arguments(text: str | None) -> tuple[str, ...]:
    """`--runner-args`, split as a shell does."""
    try:
        return tuple(shlex.split(text or ""))
    except ValueError as error:
        raise UsageError(f"--runner-args {text!r}: {error}") from error


def refuse_without_runner(given: Mapping[str, object]) -> None:
    """Options that mean nothing without `--runner`."""
    for name, value in given.items():
        if value is not None:
            raise UsageError(f"{name} says nothing without --runner", hint="name the tool, too")


def profile_with_runner(
    models: Sequence[Path],
    device: str,
    settings: MeasureSettings,
    output: Path | None,
    as_json: bool,
    *,
    runner: str,
    path: str | None,
    accelerator: str | None,
    arguments: tuple[str, ...],
    inputs: str | None,
    refused: Mapping[str, bool],
) -> None:
    """Measures one model with a tool of others and shows what it reported.

    Args:
        refused: options that such tools have no use for -> whether they were given.
    """
    from .files import write_json
    from .pipeline import profile_externally

    if len(models) > 1:
        raise UsageError("--runner measures one model at a time", hint="name one model")
    for name, given in refused.items():
        if given:
            raise UsageError(f"--runner can't be used with {name}", hint=f"leave {name} out")
    with progress() as listener:
        run = profile_externally(
            models[0],
            device,
            settings,
            listener.on_device,
            runner=runner,
            path_of_runner=path,
            accelerator=accelerator,
            arguments=arguments,
            inputs=inputs,
        )
    if output is not None:
        write_json(output, run.to_json())

    def table() -> Any:
        from .profiler.external.tables import external_table

        return external_table(run, operators=settings.operators)

    show(run.to_json(), table, as_json)


def compare_external_runs(
    first: ExternalRun, second: ExternalRun, max_slowdown: float | None, as_json: bool
) -> None:
    """`compare` of two runs of one tool."""
    from .profiler.external.compare import (
        compare_external,
        compared_external_document,
        judge_external_slowdown,
    )

    comparison = compare_external(first, second)
    verdict = judge_external_slowdown(first, second, comparison, max_slowdown)

    def table() -> Any:
        from .profiler.external.tables import external_comparison_text

        gated = max_slowdown is not None
        return external_comparison_text(first, second, comparison, verdict, gated=gated)

    show(compared_external_document(first, second, comparison, verdict), table, as_json)
    if max_slowdown is not None and not verdict.passed:
        raise typer.Exit(1)
