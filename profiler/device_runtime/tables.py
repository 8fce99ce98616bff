"""Built runtimes, as a table for people and as documents for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .cache import Kept, cache_directory
from .recipe import PYTHON_PACKAGES, Recipe


def kept_table(found: Sequence[Kept]) -> RenderableType:
    """What is in the cache; MB are millions of bytes."""
    if not found:
        return Text(
            "no runtime is built; `edgewright runtime build --target NAME` builds one", style="dim"
        )
    table = Table(header_style="bold")
    table.add_column("runtime")
    table.add_column("for")
    table.add_column("Python, NumPy")
    table.add_column("sent", justify="right")
    table.add_column("on the device", justify="right")
    table.add_column("hash")
    for kept in found:
        bundle = kept.bundle
        table.add_row(
            f"{bundle.runtime} {bundle.runtime_version}",
            bundle.architecture,
            f"{bundle.python_version}, {bundle.numpy_version}",
            f"{bundle.archive_bytes / 1e6:.1f} MB",
            f"{bundle.installed_bytes / 1e6:.1f} MB",
            bundle.sha256[:12] + ("" if kept.is_current else " (old)"),
        )
    lines: list[RenderableType] = [table, Text(f"in {cache_directory()}", style="dim")]
    if not all(kept.is_current for kept in found):
        lines.append(
            Text("old: of another version of Edgewright, and not used; build it again", style="dim")
        )
    if not all(kept.bundle.compiled for kept in found):
        lines.append(
            Text(
                "built by another Python than its own: it starts more slowly the first time on a "
                "device",
                style="dim",
            )
        )
    return Group(*lines)


def kept_document(kept: Kept) -> dict[str, Any]:
    return {
        **kept.bundle.model_dump(mode="json"),
        "archive": str(kept.archive),
        "is_current": kept.is_current,
    }


def recipe_text(recipe: Recipe) -> RenderableType:
    """What would be built, in words."""
    packages = ", ".join((*recipe.packages, *PYTHON_PACKAGES))
    return Text(
        f"a runtime for {recipe.architecture}, by recipe {recipe.digest}\n"
        f"wheel: {recipe.wheel}\n"
        f"Debian packages ({recipe.platform.debian}; X.Y is the suite's Python): {packages}\n"
        f"without {len(recipe.left_out)} kinds of files that no inference needs (--json shows them)"
    )


def recipe_document(recipe: Recipe) -> dict[str, Any]:
    """What would be built."""
    return {
        "schema_version": 1,
        "digest": recipe.digest,
        **recipe.model_dump(mode="json", exclude={"version"}),
        "python_packages": list(PYTHON_PACKAGES),
    }
