"""The commands of the quantization engine: quantize, analyze, recipes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .cli_common import (
    DryRun,
    Format,
    Json,
    Mode,
    RuntimeName,
    complete_device,
    complete_target,
    preview_export,
    progress,
    show,
)
from .errors import UsageError

if TYPE_CHECKING:
    from .exporters.request import ExportRequest

recipes_app = typer.Typer(help="Recipes: what to quantize, and how, as data.")


def add_commands(app: typer.Typer) -> None:
    """Adds what is here to the application."""
    app.command()(quantize)
    app.command()(analyze)
    app.add_typer(recipes_app, name="recipes")


def _complete_recipe(incomplete: str) -> list[str]:
    from .exporters.quantize.recipes import RECIPES

    return [name for name in RECIPES if name.startswith(incomplete)]


Model = Annotated[
    str,
    typer.Argument(
        help="An .onnx or .tflite file, or any other source that `export` takes.", metavar="MODEL"
    ),
]
RecipeName = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        "-r",
        help="Just this: a name that `recipes list` shows, or a .json file.",
        autocompletion=_complete_recipe,
    ),
]
OptionalTarget = Annotated[
    str | None,
    typer.Option(
        "--target", "-t", help="A device by name, or a TOML file.", autocompletion=complete_target
    ),
]
ModelFormat = Annotated[
    Format | None, typer.Option("--format", "-f", help="By default the model's own.")
]
Calibration = Annotated[
    str | None,
    typer.Option(help="Typical inputs: an .npz, a picture folder or FILE.py:FUNCTION."),
]
Evaluation = Annotated[
    str | None, typer.Option(help="Inputs (and labels) to prove the accuracy with.")
]
StatisticsFile = Annotated[
    str | None,
    typer.Option("--statistics", help="What an earlier calibration kept, in place of data."),
]
MetricName = Annotated[
    str | None,
    typer.Option(
        "--metric",
        help="top1, top5, agreement, cosine, sqnr, kl, nll, mae, mse or FILE.py:FUNCTION; by "
        "default top1 with labels, cosine without.",
    ),
]
MaxDrop = Annotated[
    float, typer.Option(min=0.0, max=1e9, help="Allowed drop in the metric's own unit.")
]
ProjectFile = Annotated[
    Path | None,
    typer.Option("--project", help="Project file that says how to read pictures and integers."),
]


def quantize(
    model: Model,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Directory; with --recipe the file to write."),
    ],
    recipe: RecipeName = None,
    target: OptionalTarget = None,
    model_format: ModelFormat = None,
    calibration: Calibration = None,
    statistics: StatisticsFile = None,
    evaluation: Evaluation = None,
    metric: MetricName = None,
    max_drop: MaxDrop = 0.01,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            "-d",
            help="Measure there; by default on this host.",
            autocompletion=complete_device,
        ),
    ] = None,
    runtime: Annotated[
        RuntimeName | None, typer.Option(help="By default what the device has for the format.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the runtime.")] = 1,
    mode: Annotated[
        Mode, typer.Option(help="quick: 128 queries or 10 s; release: 1024 and 60 s.")
    ] = "quick",
    project: ProjectFile = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Choose a precision by evidence, or apply one recipe.

    With --target it climbs the ladder for that device: FP16, dynamic INT8, static INT8 with the
    best range method, bias correction and equalization, mixed precision, INT4 weights. Each rung
    is kept only if the 95% confidence interval of its drop lies within --max-drop. With --recipe
    it applies that recipe and nothing else.
    """
    if recipe is None and target is None:
        raise UsageError(
            "nothing says what to quantize for",
            hint="give --target DEVICE for the ladder, or --recipe NAME for one recipe",
        )
    request = _request(
        model, output, recipe, target, model_format, calibration, statistics, evaluation, metric,
        max_drop, project,
    )  # fmt: skip
    if dry_run:
        preview_export(request, as_json)
    elif request.recipes:
        if device is not None:
            raise UsageError(
                "--device goes with the ladder, not with --recipe",
                hint="measure the file with `edgewright profile`",
            )
        _apply_recipe(request, output, as_json)
    else:
        _climb(request, output, device, runtime, threads, mode, as_json)


def analyze(
    model: Model,
    calibration: Calibration = None,
    statistics: StatisticsFile = None,
    recipe: RecipeName = None,
    target: OptionalTarget = None,
    model_format: ModelFormat = None,
    worst: Annotated[
        int, typer.Option(min=0, help="Layers whose true effect on the outputs is measured.")
    ] = 8,
    project: ProjectFile = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File for the analysis as JSON.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show which layers quantization hurts, and what to do.

    The distribution of each layer's weights, the SQNR of its own output with its weights or its
    input quantized, and for the worst what keeping them float gives the model and costs in time.
    The recipe is what the target (by default this host) would try as static INT8.
    """
    from .exporters.analysis import run_analysis
    from .files import write_json
    from .profiler.report import analysis_document

    request = _request(
        model, Path(), recipe, target or "host", model_format, calibration, statistics, None,
        None, 0.01, project,
    )  # fmt: skip
    with progress() as listener:
        found = run_analysis(request, listener.on_host, worst=worst)
    document = analysis_document(found)
    if output is not None:
        write_json(output, document)

    def table() -> Any:
        from .profiler.tables_quantize import analysis_table

        return analysis_table(found)

    show(document, table, as_json)


@recipes_app.command("list")
def list_recipes(as_json: Json = False) -> None:
    """List the recipes that have a name."""
    from .exporters.quantize.recipes import RECIPES
    from .profiler.named_recipes import recipes_document, recipes_table

    show(recipes_document(RECIPES), lambda: recipes_table(RECIPES), as_json)


@recipes_app.command("show")
def show_recipe(
    name: Annotated[str, typer.Argument(autocompletion=_complete_recipe)], as_json: Json = True
) -> None:
    """Print one recipe as JSON: the start for one of your own."""
    from .exporters.quantize.recipes import find_recipe

    show(find_recipe(name).model_dump(mode="json"), None, as_json)


@recipes_app.command("schema")
def recipe_schema(as_json: Json = True) -> None:
    """Print the JSON Schema of recipes."""
    from .exporters.quantize.recipe import Recipe

    show(Recipe.model_json_schema(), None, as_json)


def _request(
    model: str,
    output: Path,
    recipe: str | None,
    target: str | None,
    model_format: Format | None,
    calibration: str | None,
    statistics: str | None,
    evaluation: str | None,
    metric: str | None,
    max_drop: float,
    project: Path | None,
) -> ExportRequest:
    from .exporters.convert import formats_for
    from .exporters.quantize.apply import refuse_unfit
    from .exporters.quantize.recipes import find_recipe
    from .exporters.request import DataOptions, ExportRequest
    from .exporters.source import parse_source
    from .project import told_beside
    from .targets.load import load_target

    if calibration is not None and statistics is not None:
        raise UsageError(
            "--calibration and --statistics exclude each other",
            hint="statistics are what an earlier calibration kept; give one of them",
        )
    told, checks = told_beside(project)
    source = parse_source(model)
    found = find_recipe(recipe) if recipe else None
    chosen = model_format
    if chosen is None and source.kind in ("onnx", "tflite"):
        chosen = source.kind
    if chosen is None and found is not None:
        chosen = found.format or formats_for(source.kind)[0]
    if found is not None and chosen is not None:
        refuse_unfit(found, chosen)
    return ExportRequest(
        source=source,
        targets=(load_target(target),) if target else (),
        directory=output,
        formats=(chosen,) if chosen else (),
        recipes=(found,) if found else (),
        data=DataOptions(
            calibration=calibration,
            evaluation=evaluation,
            statistics=statistics,
            preprocessing=told.images,
            scale=told.scale,
            metric=metric,
            max_drop=max_drop,
        ),
        checks=checks,
    )


def _apply_recipe(request: ExportRequest, output: Path, as_json: bool) -> None:
    from .exporters.single import apply_recipe
    from .profiler.report import export_document

    with progress() as listener:
        result = apply_recipe(request, output, listener.on_host)

    def table() -> Any:
        from .profiler.tables import export_table

        return export_table(result)

    show(export_document(result), table, as_json)
    if any(candidate.status == "rolled back" for candidate in result.candidates):
        raise typer.Exit(1)


def _climb(
    request: ExportRequest,
    output: Path,
    device: str | None,
    runtime: RuntimeName | None,
    threads: int,
    mode: Mode,
    as_json: bool,
) -> None:
    from .files import write_json
    from .pipeline import quantize as run_quantize
    from .profiler.job import MeasureSettings
    from .profiler.report import forget_results, quantize_document, write_runs

    if output.is_dir():
        forget_results(output)
    settings = MeasureSettings(mode=mode, threads=threads, runtime=runtime)
    with progress() as listener:
        found = run_quantize(request, device=device, settings=settings, listener=listener)
    document = quantize_document(found, write_runs(found.runs, output / "runs"))
    write_json(output / "result.json", document)

    def table() -> Any:
        from .profiler.tables_quantize import quantize_table

        return quantize_table(found)

    show(document, table, as_json)
    if found.chosen is None:
        raise typer.Exit(1)
