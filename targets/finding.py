"""What a check says."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .placement import Answer, Placement
from .profile import Model

Severity = Literal["error", "warning", "info"]


class Finding(Model):
    """One thing that stands between a model and a device.

    `error`: the model can't run there, or gives wrong results. `warning`: it runs, but slower,
    bigger or less exactly than it need. `info`: worth knowing.
    """

    severity: Severity
    code: str = Field(description="`edgewright explain CODE` says more")
    operator: str | None = None
    nodes: tuple[str, ...] = Field(default=(), description="names in the graph, at most 20")
    count: int = 0
    reason: str
    remedy: str
    source: str | None = Field(default=None, description="where the rule comes from")
    answer: Answer = "tabled"


class CheckResult(Model):
    """All findings, errors first. Compatible means that none of them is an error."""

    compatible: bool
    findings: tuple[Finding, ...]
    placements: tuple[Placement, ...] = ()
