"""Takes a trained model to a phone or an embedded board and proves that it belongs there."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# ONNX Runtime, from 1.29 on, queues events for its makers in ~/.cache/Microsoft as soon as it is
# imported, which only this prevents: nothing leaves the user's desk unless the user says so.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from .errors import EdgewrightError as EdgewrightError
    from .exporters.export import export as export
    from .exporters.request import ExportRequest as ExportRequest
    from .pipeline import profile as profile
    from .pipeline import quantize as quantize
    from .pipeline import ship as ship
    from .project import Project as Project
    from .project import read_project as read_project
    from .targets.check import check as check
    from .targets.inspect import inspect_model as inspect_model
    from .targets.load import load_target as load_target

#: Public name -> the module it is loaded from, when it is first asked for.
_PUBLIC = {
    "EdgewrightError": "errors",
    "ExportRequest": "exporters.request",
    "export": "exporters.export",
    "profile": "pipeline",
    "quantize": "pipeline",
    "ship": "pipeline",
    "Project": "project",
    "read_project": "project",
    "check": "targets.check",
    "inspect_model": "targets.inspect",
    "load_target": "targets.load",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_PUBLIC[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
