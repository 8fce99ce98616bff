"""One recipe applied to one model, into one file."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import replace
from pathlib import Path

from ..errors import UsageError
from ..files import ensure_directory
from ..targets.profile import READERS
from .candidate import Export
from .export import OnProgress, export
from .request import ExportRequest


def apply_recipe(request: ExportRequest, output: Path, on_progress: OnProgress) -> Export:
    """Writes the model that the request's one recipe makes, and what calibration saw beside it.

    Args:
        output: the file, or a directory for `<model>.<recipe>.<format>`.

    Raises:
        UsageError, ConversionError: as `export` does; nothing is left then but statistics.
    """
    (recipe,), (model_format,) = request.recipes, request.formats
    if output.suffix in [f".{name}" for name in READERS]:
        if output.suffix != f".{model_format}":
            raise UsageError(
                f"{output} is not a name for {model_format}",
                hint=f"end it in .{model_format}, or choose --format {output.suffix[1:]}",
            )
        file = output
    else:
        file = output / f"{request.source.stem}.{recipe.name}.{model_format}"
    if request.source.path is not None and file.resolve() == request.source.path.resolve():
        raise UsageError(f"{file} is the source itself", hint="choose another -o")
    is_new = not file.parent.exists()
    ensure_directory(file.parent)
    try:
        with tempfile.TemporaryDirectory(prefix=".edgewright-", dir=file.parent) as scratch:
            made = export(
                replace(
                    request,
                    directory=Path(scratch),
                    statistics_file=file.with_suffix(".statistics.npz"),
                ),
                on_progress,
            )
            candidate = next(c for c in made.candidates if c.artifact.recipe is not None)
            candidate.artifact.path.replace(file)
    except BaseException:
        if is_new:
            with contextlib.suppress(OSError):
                file.parent.rmdir()
        raise
    final = replace(candidate, artifact=replace(candidate.artifact, path=file))
    return replace(
        made, candidates=(final,), chosen=None if final.status == "rolled back" else final
    )
