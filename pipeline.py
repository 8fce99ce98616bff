"""The whole flow: source -> candidates -> checked -> deployed -> measured -> verdict."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .errors import EdgewrightError, UsageError
from .exporters.artifact import Array, Artifact
from .exporters.data import Sample, open_dataset, seeded_samples
from .exporters.evaluate import answers
from .exporters.export import Export, ExportRequest, Planned, export, plan_export
from .exporters.float_model import describe_file
from .exporters.runtime import LoadedArtifact
from .exporters.source import parse_source
from .profiler.deploy import remove
from .profiler.gate import Judged, Limits, Measured, Verdict, decide, judge
from .profiler.job import MeasuredModel, MeasureSettings, OnProgress, ProgressEvent
from .profiler.measure import measure
from .profiler.result import FailedRun, Mode, Run
from .profiler.transports import open_transport
from .profiler.transports.base import Transport
from .project import Project
from .targets.load import load_target

#: How often a measurement is taken, in all, when the device's other work spoils it.
ATTEMPTS: dict[Mode, int] = {"quick": 5, "release": 2}

#: Inputs that travel to the device with their answers.
REFERENCE_SAMPLES = 4


@dataclass(frozen=True)
class Shipment:
    """Everything that a ship found out."""

    project: Project
    export: Export
    judged: tuple[Judged, ...]
    verdict: Verdict
    notes: tuple[str, ...]

    @property
    def runs(self) -> list[Run]:
        return [run for j in self.judged for run in j.runs.values() if isinstance(run, Run)]


@dataclass(frozen=True)
class Listener:
    """Where progress goes: what is done here, and what the device does."""

    on_host: Callable[[str, int, int], None] = lambda what, done, total: None
    on_device: OnProgress = lambda event: None


def ship(
    project: Project,
    base: Path,
    directory: Path,
    *,
    devices: Sequence[str] = (),
    accept_invalid: str | None = None,
    listener: Listener | None = None,
) -> Shipment:
    """Runs the whole way from a project to a verdict.

    Args:
        base: directory that the project's paths start from.
        directory: where artifacts are written.
        devices: addresses in place of the project's.
        accept_invalid: the user's reason for passing measurements that are not valid.

    Raises:
        EdgewrightError: as the stages do.
    """
    listener = listener or Listener()
    addresses = tuple(devices) or project.devices
    transports = {address: open_transport(address) for address in addresses}
    sent: dict[str, list[str]] = {address: [] for address in addresses}
    request = _request(project, base, directory)
    try:
        # A device that can't be reached, or is of another kind, is said before minutes of work.
        kinds = {a: t.run(["uname", "-m"]).stdout.strip() for a, t in transports.items()}
        if accept_invalid is None:
            _refuse_other_kinds(request, kinds)
        made = export(request, listener.on_host)
        measured = [c for c in made.candidates if c.status == "kept" and c.compatible]
        models = _measured_models([c.artifact for c in measured], made)
        runs: dict[str, dict[str, Measured]] = {c.name: {} for c in made.candidates}
        for address, transport in transports.items() if models else ():
            for run in _measure_valid(transport, models, project, listener, sent[address]):
                runs[run.model_name][address] = run
    except KeyboardInterrupt:
        for address, transport in transports.items():
            with contextlib.suppress(EdgewrightError):
                remove(transport, *sent[address])
        raise
    finally:
        for transport in transports.values():
            transport.close()
    limits = Limits(
        max_p90_ms=project.budget.max_p90_ms,
        max_size_bytes=project.budget.max_size_bytes,
        max_peak_rss_bytes=project.budget.max_peak_rss_bytes,
        accept_invalid=accept_invalid,
    )
    floats = {f: reference.name for f, reference in made.float_artifacts.items()}
    judged = tuple(
        judge(c, runs[c.name], runs[floats[c.artifact.format]], limits, request.targets)
        for c in made.candidates
    )
    return Shipment(project, made, judged, decide(judged), _notes(request, made, judged))


def preview(project: Project, base: Path) -> list[Planned]:
    """What `ship` would make; nothing is quantized, measured or kept.

    Raises:
        EdgewrightError: as the source and the conversion to float do.
    """
    with tempfile.TemporaryDirectory(prefix="edgewright-") as directory:
        return plan_export(_request(project, base, Path(directory)))


def profile(
    path: Path,
    device: str,
    settings: MeasureSettings,
    on_progress: OnProgress,
    *,
    reference: Path | None = None,
    inputs: str | None = None,
) -> Run:
    """Measures one model file on one device.

    Args:
        reference: the float model whose answers the device's are compared with; without it they
            are compared with this very model's on this machine.
        inputs: data to run on (`exporters/data.py`); seeded random inputs by default.

    Raises:
        UsageError: a file is not a model, or the data or the reference do not fit it.
        DeviceError: the device, or the model's run on it, failed.
    """
    artifact = describe_file(path)
    samples = seeded_samples(artifact.inputs, REFERENCE_SAMPLES)
    if inputs is not None:
        samples = open_dataset(inputs, artifact.inputs).first(REFERENCE_SAMPLES)
    model = _with_answers(artifact, samples)
    if reference is not None:
        model = replace(model, float_outputs=_float_answers(reference, artifact, samples))
    transport = open_transport(device)
    try:
        named = replace(model, name=path.name)
        result = measure(transport, [named], settings, on_progress)[0]
    finally:
        transport.close()
    if isinstance(result, FailedRun):
        raise result.to_error()
    return result


def _notes(request: ExportRequest, made: Export, judged: Sequence[Judged]) -> tuple[str, ...]:
    """What the export and the runs noted, and features that a target has and no device."""
    runs = [(a, r) for j in judged for a, r in j.runs.items() if isinstance(r, Run)]
    found = [*made.notes, *(f"{address}: {note}" for address, run in runs for note in run.notes)]
    for target in request.targets:
        for address, run in runs:
            same_kind = run.device.architecture == target.cpu.architecture
            lacking = target.cpu.features - set(run.device.features)
            if same_kind and run.device.features and lacking:
                found.append(
                    f"{address} lacks {', '.join(sorted(lacking))}, which target {target.name} has"
                )
    return tuple(dict.fromkeys(found))


def _request(project: Project, base: Path, directory: Path) -> ExportRequest:
    return ExportRequest(
        source=parse_source(project.source, base),
        targets=tuple(load_target(_beside(base, name)) for name in project.targets),
        directory=directory,
        formats=project.formats,
        precisions=project.precisions,
        layout=project.layout,
        data=project.data_options(base),
    )


def _refuse_other_kinds(request: ExportRequest, kinds: Mapping[str, str]) -> None:
    for target in request.targets:
        if all(kinds.values()) and target.cpu.architecture not in kinds.values():
            told = ", ".join(f"{address} ({kind})" for address, kind in kinds.items())
            raise UsageError(
                f"no device is like target {target.name} ({target.cpu.architecture}): {told}",
                hint="name one in devices or with --device, change targets, or say with "
                "--accept-invalid why a measurement elsewhere will do",
            )


def _beside(base: Path, name: str) -> str:
    """A target's name; a file's path starts from the project file's folder."""
    return str(base / name) if name.endswith(".toml") else name


def _float_answers(path: Path, artifact: Artifact, samples: Sequence[Sample]) -> list[list[Array]]:
    reference = describe_file(path)
    for own, other in ((artifact.inputs, reference.inputs), (artifact.outputs, reference.outputs)):
        if [(p.source_name, p.source_shape) for p in own] != [
            (p.source_name, p.source_shape) for p in other
        ]:
            raise UsageError(
                f"{path} is not the float model of {artifact.path}: it has "
                f"{', '.join(p.spec.describe() for p in other)}, not "
                f"{', '.join(p.spec.describe() for p in own)}"
            )
    return _run_all(LoadedArtifact(reference).run, samples)


def _measured_models(artifacts: Sequence[Artifact], made: Export) -> list[MeasuredModel]:
    """Each with its own answers and the float model's, which is run once for each format."""
    samples = {f: comparison[:REFERENCE_SAMPLES] for f, comparison in made.comparison.items()}
    floats = {
        f: _run_all(LoadedArtifact(reference).run, samples[f])
        for f, reference in made.float_artifacts.items()
    }
    return [
        replace(_with_answers(a, samples[a.format]), float_outputs=floats[a.format])
        for a in artifacts
    ]


def _with_answers(artifact: Artifact, samples: Sequence[Sample]) -> MeasuredModel:
    loaded = LoadedArtifact(artifact)
    return MeasuredModel.of(
        artifact,
        [loaded.native_inputs(sample.inputs) for sample in samples],
        host_outputs=_run_all(loaded.native_outputs, samples),
    )


def _run_all(
    run: Callable[[Mapping[str, Array]], list[Array]], samples: Sequence[Sample]
) -> list[list[Array]]:
    return [answers(run, sample.inputs, index) for index, sample in enumerate(samples)]


def _measure_valid(
    transport: Transport,
    models: list[MeasuredModel],
    project: Project,
    listener: Listener,
    sent: list[str],
) -> list[Measured]:
    settings = MeasureSettings(
        mode=project.profile.mode,
        threads=project.profile.threads,
        runtime=project.profile.runtime,
    )
    attempts = ATTEMPTS[project.profile.mode]
    for attempt in range(1, attempts + 1):
        runs = measure(transport, models, settings, listener.on_device, sent=sent)
        spoilt = [r for r in runs if isinstance(r, Run) and not r.validity.valid]
        if not spoilt or attempt == attempts or any(r.device.emulated for r in spoilt):
            break
        listener.on_device(
            ProgressEvent("measure", message=f"{spoilt[0].validity.reasons[0]}; measuring again")
        )
    return list(runs)
