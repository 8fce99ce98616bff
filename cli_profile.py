"""What `profile` does with its runs: files, tables, exit codes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from .cli_common import show
from .errors import DeviceError, UsageError

if TYPE_CHECKING:
    from .profiler.result import FailedRun, Run


def check_output(output: Path | None, models: Sequence[Path]) -> None:
    """Refuses an output that can't be written, or must not be, before anything is measured."""
    from .files import ensure_writable

    if output is None:
        return
    if len(models) > 1:
        ensure_writable(output)
        return
    if output.is_dir():
        raise UsageError(f"{output} is a directory", hint="-o names the file for the run")
    if any(model.exists() and output.exists() and output.samefile(model) for model in models):
        raise UsageError(
            f"-o names the model {output} itself, which would be lost",
            hint="give the run a file of its own",
        )
    if output.exists() and not output.is_file():
        raise UsageError(f"{output} is no ordinary file", hint="--json prints the run instead")
    ensure_writable(output.parent)


def show_runs(runs: Sequence[Run | FailedRun], output: Path | None, as_json: bool) -> None:
    """Writes and prints runs; ends with 1 where answers are wrong, with 3 where a model failed."""
    from .files import write_json
    from .profiler.report import runs_document, write_runs
    from .profiler.result import FailedRun, Run
    from .profiler.stats import compare_runs

    finished = [run for run in runs if isinstance(run, Run)]
    if len(runs) == 1:
        [run] = finished
        if output is not None:
            write_json(output, run.to_json())
        show(run.to_json(), lambda: _run_table(run), as_json)
    else:
        first = runs[0]
        comparisons = [
            compare_runs(first, run)
            if run is not first and isinstance(first, Run) and isinstance(run, Run)
            else None
            for run in runs
        ]
        files = {} if output is None else write_runs(finished, output)

        def table() -> Any:
            from rich.console import Group

            from .profiler.tables_operators import operators_tables
            from .profiler.tables_run import runs_table

            return Group(runs_table(runs, comparisons), *operators_tables(finished))

        show(runs_document(runs, comparisons, files), table, as_json)
    if any(isinstance(run, FailedRun) for run in runs):
        raise typer.Exit(DeviceError.exit_code)
    if any(run.correctness.status == "failed" for run in finished):
        raise typer.Exit(1)


def _run_table(run: Run) -> Any:
    from rich.console import Group

    from .profiler.tables_operators import operators_tables
    from .profiler.tables_run import run_table

    return Group(run_table(run), *operators_tables([run]))
