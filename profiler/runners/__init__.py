"""The runtimes that can run a model on a device: each is one file here and one line below."""

from __future__ import annotations

from ...errors import RuntimeMissing, UsageError
from ...targets.profile import READERS, Format, RuntimeName
from . import litert, onnxruntime, tflite_runtime
from .base import Installed, Runner

__all__ = ["RUNNERS", "Installed", "Runner", "choose_runner"]

RUNNERS: dict[str, Runner] = {
    runner.name: runner for runner in (onnxruntime.RUNNER, litert.RUNNER, tflite_runtime.RUNNER)
}


def choose_runner(
    installed: Installed, model_format: Format, requested: RuntimeName | None = None
) -> Runner:
    """The runtime for a format on a device: the one asked for, or the best that is there.

    Raises:
        UsageError: the runtime asked for can't read the format.
        RuntimeMissing: the device has none that can be used.
    """
    names = READERS[model_format]
    if requested is not None and requested not in names:
        raise UsageError(
            f"{requested} can't run {model_format} models", hint=f"use {' or '.join(names)}"
        )
    candidates = [RUNNERS[name] for name in ((requested,) if requested else names)]
    refusals = []
    for runner in candidates:
        if runner.name in installed.runtimes:
            refusal = runner.refusal(installed)
            if refusal is None:
                return runner
            refusals.append(refusal)
    raise RuntimeMissing(
        f"{installed.address} has no runtime for {model_format} models: {_inventory(installed)}"
        + "".join(f"; {refusal}" for refusal in refusals),
        hint=_remedy(installed, model_format, candidates),
    )


def _inventory(installed: Installed) -> str:
    runtimes = ", ".join(f"{name} {version}" for name, version in installed.runtimes.items())
    return f"Python {installed.python_version} ({installed.python}) has {runtimes or 'none at all'}"


def _remedy(installed: Installed, model_format: Format, candidates: list[Runner]) -> str:
    fitting = [r for r in candidates if installed.architecture in (None, *r.architectures)]
    if not fitting:
        return f"PyPI has no {candidates[0].distribution} for {installed.architecture}; " + (
            "convert the model to TFLite" if model_format == "onnx" else "build it from source"
        )
    extra = " 'numpy<2'" if fitting[0].name == "tflite_runtime" else ""
    return f"on the device: {installed.python} -m pip install {fitting[0].distribution}{extra}"
