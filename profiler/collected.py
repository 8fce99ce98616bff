"""What a device brought back of a measurement, as runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..exporters.artifact import Array
from . import validity
from .correctness import check_answers
from .job import MeasuredModel, MeasureSettings
from .operators import OperatorProfile
from .result import (
    ColdStart,
    Conditions,
    DeviceFacts,
    Energy,
    FailedRun,
    MemoryUse,
    Run,
    RuntimeFacts,
    WarmUp,
)
from .runners import Installed, Runner

_ERRORS = {
    "crashed": "AgentFailed",
    "out-of-memory": "DeviceOutOfMemory",
    "timeout": "DeviceTimeout",
    "hang": "DeviceTimeout",
    "no-space": "NoSpaceOnDevice",
}
#: What to do about each error.
HINTS = {
    "AgentFailed": "the model does not run in this runtime on this device: try another runtime, "
    "its newest version, or another recipe",
    "DeviceOutOfMemory": "use a smaller model, fewer threads, or end other programs on the device",
    "DeviceTimeout": "raise the deadline (--deadline), or use a faster model",
    "NoSpaceOnDevice": "make room on the device's disk",
}
_HANG_HINT = (
    "the model, or this runtime with it, never returns: try another runtime or its newest version"
)
#: SIGILL: the CPU does not know an instruction.
_OLD_CPU_HINT = (
    "the CPU lacks an instruction that this build of the runtime uses: it was made for a newer "
    "CPU; install a build for this one, or an older version"
)


def read_outputs(path: Path, model: MeasuredModel) -> list[list[Array]]:
    """What a model answered to each reference input: `outputs-N.npz` of the measurement."""
    with np.load(path, allow_pickle=False) as archive:
        return [
            [archive[f"o{s}_{o}"] for o in range(len(model.outputs))]
            for s in range(len(model.inputs))
        ]


@dataclass(frozen=True)
class Context:
    """What the results of one measurement share."""

    measurement: str
    started_at: str
    settings: MeasureSettings
    device: DeviceFacts
    installed: Installed
    notes: tuple[str, ...]

    def result(
        self,
        model: MeasuredModel,
        runner: Runner,
        found: dict[str, Any],
        outputs: list[list[Array]] | None,
    ) -> Run | FailedRun:
        """One model's entry of result.json, with its outputs where there are any."""
        if found["status"] != "finished":
            return self.failed(model, runner, found["error"])
        samples = tuple(ns / 1e6 for block in found["blocks_ns"] for ns in block)
        rounds = tuple(map(len, found["blocks_ns"]))
        conditions = tuple(Conditions.model_validate(moment) for moment in found["conditions"])
        return Run(
            measurement=self.measurement,
            model_name=model.name,
            model_sha256=model.sha256,
            model_size_bytes=model.size_bytes,
            mode=self.settings.run_mode,
            batch=model.batch,
            device=self.device,
            runtime=RuntimeFacts(
                name=runner.name,
                version=found["version"],
                threads=self.settings.threads,
                python=self.installed.python_version,
                provider=found["provider"],
                cpus=found["cpus"],
            ),
            started_at=self.started_at,
            samples_ms=samples,
            rounds=rounds,
            unkept_s=found["unkept_s"],
            warm_up_ms=tuple(ns / 1e6 for ns in found["warm_up_ns"]),
            warm_up=WarmUp.model_validate(found["warm_up"]),
            cold_starts=tuple(_cold_start(start) for start in found["cold_starts"]),
            peak_rss_bytes=found["peak_rss_bytes"],
            memory=MemoryUse.model_validate(found["memory"]) if found["memory"] else None,
            operators=_operators(found),
            energy=_energy(found),
            conditions=conditions,
            correctness=check_answers(model, outputs),
            validity=validity.judge(
                samples,
                self.settings.effective_sampling,
                conditions,
                rounds=len(rounds),
                unkept_s=found["unkept_s"],
                emulated=self.device.emulated,
                threads=self.settings.threads,
                cores=self.device.cores,
                cpus=found["cpus"],
                sustained=self.settings.run_mode == "sustained",
            ),
            notes=self.notes + model.notes + runner.notes(self.installed, model),
            missing=found["missing"],
        )

    def failed(self, model: MeasuredModel, runner: Runner, error: dict[str, Any]) -> FailedRun:
        kind = _ERRORS[error["kind"]]
        stderr = tuple(error.get("stderr", ()))
        version = self.installed.runtimes.get(runner.name, "")
        told = "".join(f"\n    {line}" for line in _telling(stderr))
        return FailedRun(
            measurement=self.measurement,
            model_name=model.name,
            model_sha256=model.sha256,
            mode=self.settings.run_mode,
            device=self.device,
            runtime=runner.name,
            error=kind,  # type: ignore[arg-type]
            message=f"{model.name} failed on {self.device.address} in {runner.name} {version} "
            f"({error['phase']}): {error['message']}{told}",
            hint=_hint(kind, error),
            phase=error["phase"],
            stderr=stderr,
        )


def _telling(stderr: Sequence[str]) -> Sequence[str]:
    """The last lines; or those around the beginning of Python's report of a crash, whose innermost
    calls come first."""
    for index, line in enumerate(stderr):
        if line.startswith("Fatal Python error"):
            return [line for line in stderr[max(0, index - 2) : index + 6] if line.strip()]
    return stderr[-5:]


def _hint(kind: str, error: dict[str, Any]) -> str:
    if error["kind"] == "hang":
        return _HANG_HINT
    return _OLD_CPU_HINT if error.get("signal") == "SIGILL" else HINTS[kind]


def _cold_start(found: dict[str, Any]) -> ColdStart:
    return ColdStart.model_validate({name: found[name] for name in ColdStart.model_fields})


def _energy(found: dict[str, Any]) -> Energy | None:
    if "energy" not in found:
        return None
    return Energy.model_validate({**found["energy"], "method": found["power_method"]})


def _operators(found: dict[str, Any]) -> OperatorProfile | None:
    return OperatorProfile.model_validate(found["operators"]) if "operators" in found else None
