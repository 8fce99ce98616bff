"""`edgewright inspect`: what a model file holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .cli_common import Json, show


def inspect(
    model: Annotated[Path, typer.Argument(help="An .onnx or .tflite file.")],
    operators: Annotated[
        bool, typer.Option("--operators", help="List every node with its shapes and its MACs.")
    ] = False,
    weights: Annotated[
        bool, typer.Option("--weights", help="List every constant with its size and its scales.")
    ] = False,
    ask: Annotated[
        bool | None,
        typer.Option(
            "--ask/--no-ask",
            help="Load it in the runtime, in a process apart: LiteRT tells what its arena takes "
            "(by default), ONNX Runtime which QDQ operators it keeps on this processor.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Tell what a model file holds; nothing of it is run.

    Format, inputs and outputs, what is quantized how, operators, multiply-accumulates (MACs),
    weights, peak activations. docs/inspecting.md explains each line; --json has everything.
    """
    from .profiler.report_inspect import facts_document
    from .targets.asked import Asked, ask_runtimes
    from .targets.inspect import inspect_model

    facts = inspect_model(model)
    # The arena is the same everywhere; which QDQ operators stay differs between x86 and ARM.
    wanted = facts.format == "tflite" if ask is None else ask
    asked = ask_runtimes(facts) if wanted else Asked(facts)

    def table() -> Any:
        from .profiler.tables_inspect import inspect_tables

        return inspect_tables(asked, operators=operators, weights=weights)

    show(facts_document(asked) if as_json else None, table, as_json)
