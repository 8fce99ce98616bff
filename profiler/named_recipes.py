"""What `edgewright recipes list` shows; imports nothing that runs models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import RenderableType
from rich.table import Table

from ..exporters.quantize.recipes import NamedRecipe


def recipes_document(recipes: Mapping[str, NamedRecipe]) -> dict[str, Any]:
    """What `edgewright recipes list --json` prints."""
    return {
        "schema_version": 1,
        "recipes": [
            {
                "name": name,
                "precision": named.recipe.precision,
                "format": named.recipe.format,
                "meaning": named.meaning,
            }
            for name, named in recipes.items()
        ],
    }


def recipes_table(recipes: Mapping[str, NamedRecipe]) -> RenderableType:
    """The table of `recipes list`."""
    table = Table(header_style="bold")
    for title in ("recipe", "precision", "format", "what for"):
        table.add_column(title, no_wrap=title != "what for", overflow="fold")
    for name, named in recipes.items():
        recipe = named.recipe
        table.add_row(name, recipe.precision, recipe.format or "both", named.meaning)
    return table
