"""A check's finding about saturation, with what was emulated in place of what was measured once."""

from __future__ import annotations

from ...targets.finding import CheckResult, Finding, in_order
from .drop import SaturationDrop


def has_saturation(result: CheckResult) -> bool:
    """Whether the check found products that can saturate on the device."""
    return any(finding.code == "saturating-weights" for finding in result.findings)


def with_drop(result: CheckResult, drop: SaturationDrop) -> CheckResult:
    """The check's result, its findings about saturation told by the user's own data.

    Where no sum changes an output, they become a remark.
    """
    return result.model_copy(
        update={"findings": in_order(_told(finding, drop) for finding in result.findings)}
    )


def _told(finding: Finding, drop: SaturationDrop) -> Finding:
    if finding.code != "saturating-weights":
        return finding
    return finding.model_copy(
        update={
            "severity": "warning" if drop.sqnr_db is not None else "info",
            "answer": "asked",
            "reason": "without VNNI, sums of uint8 times full-range int8 products saturate; "
            + drop.describe(),
        }
    )
