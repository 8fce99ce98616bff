"""The command line: arguments, printing, exit codes.

Heavy modules are imported inside the commands, so that `--help` and completion answer at once.
"""

from __future__ import annotations

import contextlib
import errno
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, get_args

import typer

from . import __version__
from .cli_check import check
from .cli_common import (
    DryRun,
    Form,
    Format,
    Json,
    Layout,
    Mode,
    Precision,
    RuntimeName,
    State,
    Target,
    complete_device,
    preview_export,
    progress,
    show,
    show_plan,
)
from .cli_devices import devices_app
from .cli_explain import explain
from .cli_failure import failure_document
from .cli_inspect import inspect
from .cli_profile import check_output, show_runs
from .cli_quantize import add_commands
from .cli_runner import (
    compare_external_runs,
    profile_with_runner,
    refuse_without_runner,
    runner_arguments,
)
from .cli_runtime import runtime_app
from .cli_targets import targets_app
from .errors import DeviceError, EdgewrightError, UsageError

if TYPE_CHECKING:
    from .profiler.external.figures import ExternalRun
    from .profiler.result import Run

app = typer.Typer(
    name="edgewright",
    help="Takes a trained model to a phone or an embedded board and proves that it belongs there.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich doubles the time that --help takes
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(inspect)
app.command()(check)
app.command()(explain)
app.add_typer(targets_app, name="targets")
app.add_typer(devices_app, name="devices")
add_commands(app)
app.add_typer(runtime_app, name="runtime")


def _show_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", is_eager=True, callback=_show_version
        ),
    ] = False,
) -> None:
    State.debug = debug


@app.command()
def export(
    source: Annotated[
        str,
        typer.Argument(
            help="FILE.py:FACTORY, package.module:FACTORY, a .pt2, .keras, .h5, .onnx or .tflite "
            "file, or a SavedModel directory."
        ),
    ],
    target: Target,
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory for the artifacts.")],
    model_format: Annotated[
        Format | None,
        typer.Option("--format", "-f", help="By default what the target prefers."),
    ] = None,
    precision: Annotated[
        Precision, typer.Option(help="'auto' tries what the target's CPU runs fast.")
    ] = "auto",
    layout: Annotated[
        Layout | None, typer.Option(help="nhwc: channels-last inputs for TFLite.")
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(help="Inputs for static INT8: an .npz, a picture folder or FILE.py:FUNCTION."),
    ] = None,
    evaluation: Annotated[
        str | None, typer.Option(help="Inputs (and labels) to prove the accuracy with.")
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            help="top1, top5, agreement, cosine, sqnr, kl, nll, mae, mse or FILE.py:FUNCTION; by "
            "default top1 with labels, cosine without."
        ),
    ] = None,
    max_drop: Annotated[
        float, typer.Option(min=0.0, max=1e9, help="Allowed drop in the metric's own unit.")
    ] = 0.01,
    project: Annotated[
        Path | None,
        typer.Option(help="Project file that says how to read pictures and integers."),
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Convert and quantize a model, with proof.

    Every candidate answers the evaluation samples beside the float model, and is kept only if the
    95% confidence interval of its drop lies within --max-drop.
    """
    from .exporters.export import export as run_export
    from .exporters.request import DataOptions, ExportRequest
    from .exporters.source import parse_source
    from .files import write_json
    from .profiler.report import export_document
    from .project import told_beside
    from .targets.load import load_target

    told, checks = told_beside(project)
    request = ExportRequest(
        source=parse_source(source),
        targets=(load_target(target),),
        directory=output,
        formats=(model_format,) if model_format else (),
        precisions=() if precision == "auto" else (precision,),
        layout=layout,
        data=DataOptions(
            calibration=calibration,
            evaluation=evaluation,
            preprocessing=told.images,
            scale=told.scale,
            metric=metric,
            max_drop=max_drop,
        ),
        checks=checks,
    )
    if dry_run:
        preview_export(request, as_json)
        return
    with progress() as listener:
        result = run_export(request, listener.on_host)
    document = export_document(result)
    write_json(output / "export.json", document)

    def table() -> Any:
        from .profiler.tables import export_table

        return export_table(result)

    show(document, table, as_json)
    if result.chosen is None:
        raise typer.Exit(1)


@app.command()
def profile(
    models: Annotated[
        list[Path],
        typer.Argument(help="An .onnx or .tflite file; several are measured in turn."),
    ],
    device: Annotated[
        str,
        typer.Option(
            "--device",
            "-d",
            help="A device by its name in the devices file, local, ssh://user@host:port or adb://SERIAL.",
            autocompletion=complete_device,
        ),
    ] = "local",
    runtime: Annotated[
        RuntimeName | None, typer.Option(help="By default what the device has for the format.")
    ] = None,
    bundled: Annotated[
        bool | None,
        typer.Option(
            "--bundled-runtime/--no-bundled-runtime",
            help="Use what `runtime build` made; by default where the device's own will not do.",
        ),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the runtime.")] = 1,
    cpus: Annotated[
        str | None,
        typer.Option(
            metavar="big|little|LIST",
            help="Keep to the fastest or slowest kind of cores, or to these (0,2-3).",
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Samples in one inference.")] = 1,
    reference: Annotated[
        Path | None,
        typer.Option(help="The float model whose answers the device's are compared with."),
    ] = None,
    inputs: Annotated[
        str | None,
        typer.Option(
            help="Inputs to run on: an .npz, a folder of pictures or FILE.py:FUNCTION; by default "
            "random."
        ),
    ] = None,
    project: Annotated[
        Path | None,
        typer.Option(help="Project file that says how to read pictures and integers."),
    ] = None,
    mode: Annotated[
        Mode, typer.Option(help="quick: 128 queries or 10 s; release: 1024 and 60 s.")
    ] = "quick",
    sustained: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            max=24 * 60,
            metavar="MINUTES",
            help="Go on for so long, to show what heat does.",
        ),
    ] = None,
    wait: Annotated[
        float,
        typer.Option(min=0.0, max=1e6, help="Seconds to wait for another measurement's end there."),
    ] = 600.0,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Give up at once where another measurement runs.")
    ] = False,
    deadline: Annotated[
        float | None,
        typer.Option(
            min=1.0,
            max=1e6,
            metavar="SECONDS",
            help="When the device gives up; by default 300 for each model, 900 in release mode.",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Collect the result of this very measurement, which is on the device or runs "
            "there still; start none.",
        ),
    ] = False,
    operators: Annotated[
        bool,
        typer.Option("--operators", help="Also show which operators take the time, and where."),
    ] = False,
    runner: Annotated[
        str | None,
        typer.Option(
            metavar="TOOL",
            help="Measure with benchmark_model or onnxruntime_perf_test instead, which run on "
            "GPUs and NPUs.",
        ),
    ] = None,
    runner_path: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="The tool, or a directory with it and its libraries, here (it is sent) or on the "
            "device.",
        ),
    ] = None,
    accelerator: Annotated[
        str | None,
        typer.Option(help="What the tool has to run on: gpu, nnapi, xnnpack, qnn, cpu, ..."),
    ] = None,
    runner_args: Annotated[
        str | None, typer.Option(metavar="TEXT", help="More arguments for the tool.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File for the run with every sample; a directory for those of several models.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure models on a device.

    Latency with every sample, cold start, memory, conditions, and whether the answers are right.
    """
    from .pipeline import profile_in_turn
    from .profiler.job import MeasureSettings, parse_cpus
    from .project import read_project

    check_output(output, models)
    settings = MeasureSettings(
        mode=mode,
        threads=threads,
        cpus=parse_cpus(cpus),
        runtime=runtime,
        bundled=bundled,
        sustained_minutes=sustained,
        busy_s=0.0 if no_wait else wait,
        deadline_s=deadline,
        resume=resume,
        operators=operators,
    )
    if runner is not None:
        profile_with_runner(
            models,
            device,
            settings,
            output,
            as_json,
            runner=runner,
            path=runner_path,
            accelerator=accelerator,
            arguments=runner_arguments(runner_args),
            inputs=inputs,
            refused={
                "--runtime": runtime is not None,
                "--bundled-runtime": bundled is not None,
                "--cpus": cpus is not None,
                "--project": project is not None,
                "--batch": batch > 1,
                "--reference": reference is not None,
                "--sustained": sustained is not None,
                "--resume": resume,
            },
        )
        return
    refuse_without_runner(
        {
            "--runner-path": runner_path,
            "--accelerator": accelerator,
            "--runner-args": runner_args,
        }
    )
    with progress() as listener:
        runs = profile_in_turn(
            models,
            device,
            settings,
            listener.on_device,
            reference=reference,
            inputs=inputs,
            data=read_project(project).data if project else None,
            batch=batch,
        )
    show_runs(runs, output, as_json)


@app.command()
def compare(
    reference: Annotated[Path, typer.Argument(help="A run that `profile -o` wrote.")],
    run: Annotated[Path, typer.Argument(help="The run to hold against it.")],
    max_slowdown: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1e6,
            help="Fail unless both runs are valid and RUN is proven at most so much slower "
            "(0.05 is 5%).",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say whether one run is faster than another.

    By the 95% confidence interval of the ratio of their times.
    """
    from .profiler.external.figures import ExternalRun
    from .profiler.gate import judge_slowdown
    from .profiler.report import compared_document
    from .profiler.stats import compare_runs

    first, second = _read_run(reference), _read_run(run)
    if isinstance(first, ExternalRun) and isinstance(second, ExternalRun):
        compare_external_runs(first, second, max_slowdown, as_json)
        return
    if isinstance(first, ExternalRun) or isinstance(second, ExternalRun):
        raise UsageError(
            "one of the runs was measured by another tool: their times do not cover the same",
            hint="measure both with --runner, or both without",
        )
    if first.device.address != second.device.address or first.device.cpu != second.device.cpu:
        raise UsageError(
            f"the runs are of different devices: {first.device.address} ({first.device.cpu}) and "
            f"{second.device.address} ({second.device.cpu})",
            hint="compare runs of one device; a ratio across devices says nothing of the models",
        )
    comparison = compare_runs(first, second)
    verdict = judge_slowdown(first, second, comparison, max_slowdown)

    def table() -> Any:
        from .profiler.tables_run import comparison_text

        return comparison_text(first, second, comparison, verdict, gated=max_slowdown is not None)

    show(compared_document(first, second, comparison, verdict), table, as_json)
    if max_slowdown is not None and not verdict.passed:
        raise typer.Exit(1)


@app.command()
def ship(
    project: Annotated[Path, typer.Argument(help="The project file, edgewright.toml.")],
    device: Annotated[
        list[str] | None,
        typer.Option(
            "--device",
            "-d",
            help="Measure there instead of the project's devices.",
            autocompletion=complete_device,
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Directory for artifacts, runs and result.json.")
    ] = Path("edgewright-result"),
    accept_invalid: Annotated[
        str | None,
        typer.Option(
            metavar="REASON", help="Let measurements pass that are not valid; say in words why."
        ),
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Go the whole way to a yes or no.

    Export, evaluate, check, deploy, measure float and candidates in turn, choose, and judge.
    """
    from .files import ensure_directory, write_json
    from .pipeline import preview
    from .pipeline import ship as run_ship
    from .profiler.report import forget_results, ship_document, write_runs
    from .project import read_project

    told = read_project(project)
    base = project.resolve().parent
    if dry_run:
        show_plan(preview(told, base), as_json)
        return
    if accept_invalid is not None and not accept_invalid.strip():
        raise UsageError("--accept-invalid needs a reason in words")
    ensure_directory(output)
    forget_results(output)
    with progress() as listener:
        shipment = run_ship(
            told,
            base,
            output,
            devices=device or (),
            accept_invalid=accept_invalid,
            listener=listener,
        )
    document = ship_document(
        shipment.judged,
        shipment.verdict,
        shipment.export,
        shipment.notes,
        accept_invalid,
        write_runs(shipment.runs, output / "runs"),
    )
    write_json(output / "result.json", document)

    def table() -> Any:
        from .profiler.tables import ship_table

        return ship_table(
            shipment.judged, shipment.verdict, shipment.export.skipped, shipment.notes
        )

    show(document, table, as_json)
    if not as_json:
        print(f"result: {output / 'result.json'}")
    if not shipment.verdict.passed:
        raise typer.Exit(1)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Say what this machine can do.

    And what is missing for the rest, with the command that installs it.
    """
    from .doctor import examine

    findings = examine()

    def table() -> Any:
        from .doctor import doctor_table

        return doctor_table(findings)

    show({"schema_version": 1, "findings": [f.document() for f in findings]}, table, as_json)
    if any(f.status == "broken" for f in findings):
        raise typer.Exit(1)


#: What typer returns after Ctrl-C: 128 + SIGINT, as shells do.
_INTERRUPTED = 130


def main() -> NoReturn:
    """Runs the command line; every error becomes one message and an exit code here."""
    State.debug = False
    State.form = next((form for form in get_args(Form) if f"--{form}" in sys.argv), None)
    State.out = sys.stdout
    # Beside a document nothing may reach standard output, whatever the user's own code prints.
    apart = contextlib.redirect_stdout(sys.stderr) if State.form else contextlib.nullcontext()
    try:
        with apart:
            code = app(standalone_mode=False)
        with contextlib.suppress(AttributeError):  # without a standard output there is nothing
            State.out.flush()
        if code == _INTERRUPTED:
            print("interrupted; what was sent to a device has been removed", file=sys.stderr)
        sys.exit(code if isinstance(code, int) else 0)
    except SystemExit as end:
        # click ends with 1, a check's no, where the reader of our output has gone (`... | head`).
        sys.exit(0 if isinstance(end.__context__, BrokenPipeError) else end.code)
    except EdgewrightError as error:
        _fail(error, error.message, error.hint, error.exit_code)
    except typer.Abort:
        # Ctrl-C, or the end of the input, where a question was asked.
        print("interrupted", file=sys.stderr)
        sys.exit(_INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output has gone (`edgewright ... | head`); nothing is wrong.
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            _fail(error, f"can't write: {error.strerror}", "make room, and run it again", 2)
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):
            message = error.format_message().replace("Value error, ", "")
            _fail(error, message, _usage_of(error), 2)
        _fail(
            error,
            f"{type(error).__name__}: {error}",
            "this is a defect of Edgewright; run again with --debug and report what it shows",
            4,
        )


def _usage_of(error: Any) -> str | None:
    context = getattr(error, "ctx", None)
    return f"see {context.command_path} --help" if context is not None else None


def _fail(error: Exception, message: str, hint: str | None, code: int) -> NoReturn:
    if State.debug:
        import traceback

        traceback.print_exception(error)
    if State.form is not None:
        document = failure_document(State.form, type(error).__name__, message, hint, code)
        with contextlib.suppress(OSError):  # the error may be that nothing can be written
            print(document, file=State.out)
    from .terminal import harmless

    kind = "device error" if isinstance(error, DeviceError) else "error"
    print(harmless(f"{kind}: {message}"), file=sys.stderr)
    if hint:
        print(harmless(f"hint: {hint}"), file=sys.stderr)
    sys.exit(code)


def _read_run(path: Path) -> Run | ExternalRun:
    from pydantic import ValidationError

    from .files import read_json
    from .profiler.external.figures import ExternalRun
    from .profiler.result import Run

    document = read_json(path, "run")
    try:
        if document.get("kind") == "external":
            return ExternalRun.from_json(document)
        return Run.from_json(document)
    except (ValidationError, AttributeError) as error:
        raise UsageError(
            f"{path} is not a run that `edgewright profile -o` or `ship` wrote",
            hint="give the file that -o named, or one of a result directory's runs/",
        ) from error
