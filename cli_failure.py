"""What a command that failed prints on standard output, in the form that was asked for."""

from __future__ import annotations

import json

from . import __version__
from .cli_common import Form


def failure_document(form: Form, kind: str, message: str, hint: str | None, exit_code: int) -> str:
    """One document that says what failed.

    Args:
        kind: the type of the error.
    """
    if form == "sarif":
        from .profiler.check_sarif import sarif_failure

        return json.dumps(sarif_failure(message, hint, exit_code, __version__), indent=2)
    if form == "junit":
        from .profiler.check_junit import junit_failure

        return junit_failure(kind, message, hint)
    body = {"type": kind, "message": message, "hint": hint, "exit_code": exit_code}
    return json.dumps({"schema_version": 1, "error": body}, indent=2)
