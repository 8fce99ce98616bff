"""The whole flow: source -> candidates -> checked -> deployed -> measured -> verdict."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .errors import UsageError
from .exporters.artifact import Array, Artifact
from .exporters.batching import in_batches
from .exporters.candidate import Export, Planned
from .exporters.data import Sample, open_dataset, seeded_samples
from .exporters.export import export, plan_export
from .exporters.float_model import describe_file
from .exporters.request import ExportRequest
from .exporters.runtime import LoadedArtifact
from .exporters.source import parse_source
from .profiler.bench import (
    REFERENCE_SAMPLES,
    knowing_clusters,
    open_devices,
    run_all,
    with_answers,
)
from .profiler.devices_file import open_device
from .profiler.external import find_tool
from .profiler.external.drive import measure_external
from .profiler.external.figures import ExternalRun
from .profiler.gate import Judged, Limits, Measured, Verdict, decide, judge
from .profiler.job import MeasuredModel, MeasureSettings, OnProgress, parse_cpus
from .profiler.measure import measure
from .profiler.quantization import Quantization
from .profiler.result import FailedRun, Run
from .project import Data, Project
from .targets.load import load_target

_RANDOM = (
    "the inputs are random numbers, of which no model has learned anything: they show whether the "
    "device computes right, not how good the answers are (--inputs takes real ones)"
)


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
    request = _request(project, base, directory)
    settings = MeasureSettings(
        mode=project.profile.mode,
        threads=project.profile.threads,
        runtime=project.profile.runtime,
        cpus=parse_cpus(project.profile.cpus),
    )
    with open_devices(tuple(devices) or project.devices) as bench:
        # A device that can't be reached, or is of another kind, is said before minutes of work.
        kinds = bench.kinds()
        if accept_invalid is None:
            _refuse_other_kinds(request, kinds)
        made = export(request, listener.on_host)
        measured = [c for c in made.candidates if c.status == "kept" and c.compatible]
        runs = bench.measure(made, measured, settings, listener.on_device)
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


def quantize(
    request: ExportRequest,
    *,
    device: str | None = None,
    settings: MeasureSettings | None = None,
    listener: Listener | None = None,
) -> Quantization:
    """Climbs the ladder and measures every rung that gives answers, on a device or on this host.

    The choice goes by the time measured where the device is like the first target, and by what is
    expected of each precision there otherwise.

    Raises:
        EdgewrightError: as the stages do.
    """
    listener, settings = listener or Listener(), settings or MeasureSettings()
    address = device or "local"
    with open_devices((address,)) as bench:
        kind = bench.kinds()[address]
        made = export(request, listener.on_host)
        measured = [c for c in made.candidates if c.compatible and not c.is_broken]
        runs = bench.measure(made, measured, settings, listener.on_device)
    floats = {f: reference.name for f, reference in made.float_artifacts.items()}
    judged = tuple(
        judge(c, runs[c.name], runs[floats[c.artifact.format]], Limits(), request.targets)
        for c in made.candidates
    )
    is_target = kind == request.targets[0].cpu.architecture and not _lacks(request, runs)
    verdict = decide(judged) if is_target else None
    if verdict is not None and verdict.chosen is not None:
        chosen: str | None = verdict.chosen
        why = verdict.reasons
    else:
        chosen = made.chosen.name if made.chosen else None
        why = (_why_expected(request, address, verdict, made),)
    return Quantization(
        made, judged, chosen, why, address, is_target, _notes(request, made, judged)
    )


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
    batch: int = 1,
) -> Run:
    """Measures one model file on one device; arguments and errors as of `profile_in_turn`."""
    [run] = profile_in_turn(
        [path], device, settings, on_progress, reference=reference, inputs=inputs, batch=batch
    )
    if isinstance(run, FailedRun):
        raise run.to_error()
    return run


def profile_in_turn(
    paths: Sequence[Path],
    device: str,
    settings: MeasureSettings,
    on_progress: OnProgress,
    *,
    reference: Path | None = None,
    inputs: str | None = None,
    data: Data | None = None,
    batch: int = 1,
) -> list[Run | FailedRun]:
    """Measures model files on one device, a block of each in turn.

    Args:
        reference: the float model whose answers the device's are compared with; without it they
            are compared with this very model's on this machine.
        inputs: data to run on (`exporters/data.py`); seeded random inputs by default.
        data: how a project reads pictures and integers.
        batch: samples in one inference.

    Raises:
        UsageError: a file is not a model, or the data or the reference do not fit it.
        DeviceError: the device, or the run of the only model on it, failed.
    """
    models = [_to_measure(path, reference, inputs, data or Data(), batch) for path in paths]
    if len({model.name for model in models}) < len(models):
        models = [replace(model, name=str(path)) for model, path in zip(models, paths, strict=True)]
    transport = open_device(device)
    try:
        return measure(transport, models, knowing_clusters(settings, device), on_progress)
    finally:
        transport.close()


def profile_externally(
    path: Path,
    device: str,
    settings: MeasureSettings,
    on_progress: OnProgress,
    *,
    runner: str,
    path_of_runner: str | None = None,
    accelerator: str | None = None,
    arguments: Sequence[str] = (),
    inputs: str | None = None,
) -> ExternalRun:
    """Measures one model file on one device with a benchmark tool of others.

    Args:
        runner: the tool's name (`profiler/external`).
        path_of_runner: where it is, here or on the device; by default on the device's PATH.
        accelerator: what it has to run on, in its own words there.
        arguments: more of them for the tool.
        inputs: as of `profile_in_turn`, for tools that take inputs.

    Raises:
        UsageError: the file is no model, or the tool can't do what is asked.
        DeviceError: the device, or the tool on it, failed.
    """
    artifact = describe_file(path)
    tool = find_tool(runner, artifact.format, accelerator)
    if inputs is not None and not tool.needs_inputs:
        raise UsageError(f"{runner} makes its inputs itself", hint="leave --inputs out")
    samples = (
        seeded_samples(artifact.inputs, 1)
        if inputs is None
        else open_dataset(inputs, artifact.inputs).first(1)
    )
    arrays = [
        [port.to_artifact(s.inputs[port.source_name]) for port in artifact.inputs] for s in samples
    ]
    model = replace(MeasuredModel.of(artifact, arrays), name=path.name)
    transport = open_device(device)
    try:
        return measure_external(
            transport,
            tool,
            model,
            settings,
            on_progress,
            input_names=[port.spec.name for port in artifact.inputs],
            path=path_of_runner,
            accelerator=accelerator,
            arguments=arguments,
        )
    finally:
        transport.close()


def _to_measure(
    path: Path, reference: Path | None, inputs: str | None, data: Data, batch: int
) -> MeasuredModel:
    artifact = describe_file(path)
    wanted = REFERENCE_SAMPLES * batch
    samples = (
        seeded_samples(artifact.inputs, wanted)
        if inputs is None
        else open_dataset(
            inputs, artifact.inputs, preprocessing=data.images, scale=data.scale
        ).first(wanted)
    )
    samples = in_batches(samples, artifact.inputs, batch, REFERENCE_SAMPLES)
    model = replace(with_answers(artifact, samples), name=path.name, batch=batch)
    if reference is None:
        return model
    notes = (_RANDOM,) if inputs is None else ()
    floats = _float_answers(reference, artifact, samples)
    return replace(model, float_outputs=floats, notes=notes)


def _why_expected(
    request: ExportRequest, address: str, verdict: Verdict | None, made: Export
) -> str:
    if made.chosen is None:
        return "no candidate is proven within the allowed drop"
    if verdict is None:
        return (
            f"expected to be the fastest on {request.targets[0].name}; {address} is another kind "
            "of device: measure there with --device"
        )
    return f"expected to be the fastest; its measurement does not count: {verdict.reasons[0]}"


def _lacks(request: ExportRequest, runs: Mapping[str, Mapping[str, Measured]]) -> bool:
    """Whether what measured has not all the CPU features of the first target."""
    wanted = request.targets[0].cpu.features
    found = [r.device.features for by in runs.values() for r in by.values() if isinstance(r, Run)]
    return any(features and wanted - set(features) for features in found)


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
        checks=project.check_options,
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
    return run_all(LoadedArtifact(reference).run, samples)
