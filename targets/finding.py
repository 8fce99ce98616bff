"""What a check says."""

from __future__ import annotations

from typing import Literal

from .profile import Model

Severity = Literal["error", "warning", "info"]


class Finding(Model):
    """One thing that stands between a model and a device.

    `error`: the model can't run there, or gives wrong results. `warning`: it runs, but slower,
    bigger or less exactly than it need. `info`: worth knowing.
    """

    severity: Severity
    code: str
    operator: str | None = None
    count: int = 0
    reason: str
    remedy: str


class CheckResult(Model):
    """All findings, errors first. Compatible means that none of them is an error."""

    compatible: bool
    findings: tuple[Finding, ...]
