"""What is known of the user's devices, as JSON documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import EdgewrightError
from .cleaning import Leftovers


def cleaned_document(
    results: Mapping[str, Leftovers | EdgewrightError], dry_run: bool
) -> dict[str, Any]:
    """What `devices clean --json` prints."""
    devices = [{"device": name, **_cleaned(result)} for name, result in results.items()]
    return {"schema_version": 1, "dry_run": dry_run, "devices": devices}


def _cleaned(result: Leftovers | EdgewrightError) -> dict[str, Any]:
    if isinstance(result, EdgewrightError):
        return {
            "error": {
                "type": type(result).__name__,
                "message": result.message,
                "hint": result.hint,
            }
        }
    return {
        "directory": result.directory,
        "size_bytes": result.size_bytes,
        "processes": list(result.processes),
        "holder": result.holder.model_dump(mode="json") if result.holder else None,
        "kept": list(result.kept),
    }
