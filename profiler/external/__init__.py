"""Benchmark tools of others: each is one file here and one line in the table below."""

from __future__ import annotations

from collections.abc import Mapping

from ...errors import UsageError
from . import benchmark_model, onnxruntime_perf_test
from .base import ExternalTool

__all__ = ["TOOLS", "ExternalTool", "find_tool"]

TOOLS: Mapping[str, ExternalTool] = {
    tool.name: tool for tool in (benchmark_model.TOOL, onnxruntime_perf_test.TOOL)
}


def find_tool(name: str, model_format: str, accelerator: str | None) -> ExternalTool:
    """The tool of a name, if it can do what is asked.

    Raises:
        UsageError: there is no such tool, or it can't read the format or use the accelerator.
    """
    tool = TOOLS.get(name)
    if tool is None:
        raise UsageError(
            f"{name!r} is no runner that Edgewright knows", hint=f"use {' or '.join(TOOLS)}"
        )
    if model_format not in tool.formats:
        others = [other.name for other in TOOLS.values() if model_format in other.formats]
        raise UsageError(
            f"{name} can't run {model_format} models", hint=f"use {' or '.join(others)}"
        )
    if accelerator is not None and accelerator not in tool.accelerators:
        raise UsageError(
            f"{name} has no accelerator {accelerator!r}",
            hint=f"use one of {', '.join(tool.accelerators)}",
        )
    return tool
