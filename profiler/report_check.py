"""The result of a check, as a JSON document for machines."""

from __future__ import annotations

from typing import Any

from ..targets.finding import CheckResult


def check_document(result: CheckResult) -> dict[str, Any]:
    """What `edgewright check --json` prints."""
    return {
        "compatible": result.compatible,
        "needs": [need.model_dump(mode="json") for need in result.needs],
        "findings": [finding.model_dump(mode="json") for finding in result.findings],
        "placements": [placement.model_dump(mode="json") for placement in result.placements],
    }
