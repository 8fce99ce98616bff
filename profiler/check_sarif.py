"""What `check` found as SARIF 2.1.0, the format that code scanning reads.

Static Analysis Results Interchange Format (SARIF) Version 2.1.0, OASIS Standard.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sarif_pydantic.sarif import (
    ArtifactLocation,
    Level,
    Location,
    LogicalLocation,
    Message,
    PhysicalLocation,
    Region,
    ReportingDescriptor,
    Result,
    Run,
    Sarif,
    Tool,
    ToolDriver,
)

from ..targets.codes import CODES
from ..targets.finding import CheckResult, Finding, Severity

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"

#: SARIF's words for our severities.
_LEVELS: dict[Severity, Level] = {
    "error": Level.ERROR,
    "warning": Level.WARNING,
    "info": Level.NOTE,
}


def sarif_document(result: CheckResult, model: Path, target: str, version: str) -> dict[str, Any]:
    """A log with one run; its results are the findings.

    Args:
        model: the file that was checked.
        target: the name of the device.
        version: Edgewright's own.
    """
    codes = sorted({finding.code for finding in result.findings})
    rules = [
        ReportingDescriptor(
            id=code,
            short_description=Message(text=CODES[code].title),
            full_description=Message(text=CODES[code].meaning),
            help=Message(text=CODES[code].remedy),
        )
        for code in codes
    ]
    run = Run(
        tool=_tool(version, rules),
        results=[_result(finding, codes.index(finding.code), model) for finding in result.findings],
        properties={"target": target, "compatible": result.compatible},
    )
    return _log(run)


def sarif_failure(message: str, hint: str | None, exit_code: int, version: str) -> dict[str, Any]:
    """A log with one run that came to no result: its invocation says why (section 3.20.14)."""
    document = _log(Run(tool=_tool(version, []), results=[]))
    text = message if hint is None else f"{message}. {hint}"
    # The library knows no notifications of an invocation.
    document["runs"][0]["invocations"] = [
        {
            "executionSuccessful": False,
            "exitCode": exit_code,
            "toolExecutionNotifications": [{"level": "error", "message": {"text": text}}],
        }
    ]
    return document


def _tool(version: str, rules: list[ReportingDescriptor]) -> Tool:
    return Tool(driver=ToolDriver(name="Edgewright", version=version, rules=rules))


def _log(run: Run) -> dict[str, Any]:
    log = Sarif(schema_uri=_SCHEMA, runs=[run])
    document: dict[str, Any] = log.model_dump(mode="json", by_alias=True, exclude_none=True)
    return document


def _result(finding: Finding, rule: int, model: Path) -> Result:
    nodes = [LogicalLocation(name=name, kind="object") for name in finding.nodes]
    # A model has no lines, but readers of SARIF show nothing without one.
    place = PhysicalLocation(
        artifact_location=ArtifactLocation(uri=quote(os.fsencode(model.as_posix()))),
        region=Region(start_line=1),
    )
    what = f"{finding.operator} ({finding.count}): " if finding.operator else ""
    return Result(
        rule_id=finding.code,
        rule_index=rule,
        level=_LEVELS[finding.severity],
        message=Message(text=f"{what}{finding.reason}. {finding.remedy}"),
        locations=[Location(physical_location=place, logical_locations=nodes or None)],
        properties={
            "operator": finding.operator,
            "count": finding.count,
            "answer": finding.answer,
            "source": finding.source,
        },
    )
