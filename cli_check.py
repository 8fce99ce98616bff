"""How `check` shows what it found, and what it emulates on the user's data."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cli_common import State, progress, show
from .errors import UsageError

if TYPE_CHECKING:
    from .targets.finding import CheckResult
    from .targets.profile import TargetProfile


def refuse_two_forms(**forms: bool) -> None:
    """That at most one form of output is asked for."""
    wanted = [f"--{name}" for name, given in forms.items() if given]
    if len(wanted) > 1:
        raise UsageError(f"{' and '.join(wanted)} exclude each other")


def show_check(
    result: CheckResult, model: Path, profile: TargetProfile, *, as_json: bool, form: str | None
) -> None:
    """Prints the result: for people, as JSON, as 'sarif' or as 'junit'."""
    from .profiler.report_check import check_document

    if form == "sarif":
        import json

        from . import __version__
        from .profiler.check_sarif import sarif_document

        document = sarif_document(result, model, profile.name, __version__)
        print(json.dumps(document, indent=2), file=State.out)
        return
    if form == "junit":
        from .profiler.check_junit import junit_document

        print(junit_document(result, model, profile.name), file=State.out)
        return

    def table() -> Any:
        from .profiler.tables_check import check_table

        return check_table(result, profile.title)

    document = {"schema_version": 1, "target": profile.name, **check_document(result)}
    show(document, table, as_json)


def with_saturation(
    result: CheckResult, model: Path, calibration: str, project: Path | None
) -> CheckResult:
    """The result with what saturating sums cost on the user's data, where there are such."""
    from .exporters.request import DataOptions
    from .exporters.saturation.drop import saturation_drop
    from .exporters.saturation.finding import has_saturation, with_drop
    from .project import read_project

    if not has_saturation(result):
        print("no sums of this model saturate on the device: nothing to emulate", file=sys.stderr)
        return result
    told = read_project(project).data if project else None
    data = DataOptions(
        calibration=calibration,
        preprocessing=told.images if told else None,
        scale=told.scale if told else None,
    )
    with progress() as listener:
        drop = saturation_drop(model, data, listener.on_host)
    return with_drop(result, drop)
