"""Candidates measured beside each other on devices, again where the measurement was spoilt."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from ..errors import EdgewrightError
from ..exporters.artifact import Array, Artifact
from ..exporters.candidate import Candidate, Export
from ..exporters.data import Sample
from ..exporters.evaluate import answers
from ..exporters.runtime import LoadedArtifact
from ..targets.load import load_target
from .deploy import remove
from .devices_file import find_device, open_device
from .gate import Measured
from .job import MeasuredModel, MeasureSettings, OnProgress, ProgressEvent
from .measure import measure
from .result import Mode, Run
from .transports.base import Transport

#: How often a measurement is taken, in all, when the device's other work spoils it.
ATTEMPTS: dict[Mode, int] = {"quick": 5, "release": 2}

#: Inputs that travel to the device with their answers.
REFERENCE_SAMPLES = 4


@contextlib.contextmanager
def open_devices(devices: Sequence[str]) -> Iterator[Bench]:
    """Devices to measure on, by name or address.

    What was sent there is removed when the user interrupts.
    """
    bench = Bench({device: open_device(device) for device in devices})
    try:
        yield bench
    except KeyboardInterrupt:
        bench.remove_sent()
        raise
    finally:
        bench.close()


class Bench:
    """Open devices, and what was sent to each."""

    def __init__(self, transports: Mapping[str, Transport]) -> None:
        self._transports = transports
        self._sent: dict[str, list[str]] = {address: [] for address in transports}

    def kinds(self) -> dict[str, str]:
        """The architecture of each, as `uname -m` says it."""
        return {a: t.run(["uname", "-m"]).stdout.strip() for a, t in self._transports.items()}

    def measure(
        self,
        made: Export,
        candidates: Sequence[Candidate],
        settings: MeasureSettings,
        on_device: OnProgress,
    ) -> dict[str, dict[str, Measured]]:
        """What each device measured of each candidate, by the candidate's name."""
        models = measured_models([c.artifact for c in candidates], made)
        runs: dict[str, dict[str, Measured]] = {c.name: {} for c in made.candidates}
        for address, transport in self._transports.items() if models else ():
            own = knowing_clusters(settings, address)
            for run in _measure_valid(transport, models, own, on_device, self._sent[address]):
                runs[run.model_name][address] = run
        return runs

    def remove_sent(self) -> None:
        for address, transport in self._transports.items():
            with contextlib.suppress(EdgewrightError):
                remove(transport, *self._sent[address])

    def close(self) -> None:
        for transport in self._transports.values():
            transport.close()


def knowing_clusters(settings: MeasureSettings, device: str) -> MeasureSettings:
    """With the kinds of cores that the device's profile names, for kernels that don't tell them."""
    if not isinstance(settings.cpus, str) or (target := find_device(device).target) is None:
        return settings
    counts = tuple(cluster.count for cluster in load_target(target).cpu.clusters)
    return replace(settings, cluster_counts=counts)


def _measure_valid(
    transport: Transport,
    models: list[MeasuredModel],
    settings: MeasureSettings,
    on_device: OnProgress,
    sent: list[str],
) -> list[Measured]:
    attempts = ATTEMPTS[settings.mode]
    for attempt in range(1, attempts + 1):
        runs = measure(transport, models, settings, on_device, sent=sent)
        spoilt = [r for r in runs if isinstance(r, Run) and not r.validity.valid]
        if not spoilt or attempt == attempts or any(r.device.emulated for r in spoilt):
            break
        on_device(
            ProgressEvent("measure", message=f"{spoilt[0].validity.reasons[0]}; measuring again")
        )
    return list(runs)


def measured_models(artifacts: Sequence[Artifact], made: Export) -> list[MeasuredModel]:
    """Each with its own answers and the float model's, which is run once for each format."""
    samples = {f: comparison[:REFERENCE_SAMPLES] for f, comparison in made.comparison.items()}
    floats = {
        f: run_all(LoadedArtifact(reference).run, samples[f])
        for f, reference in made.float_artifacts.items()
    }
    return [
        replace(with_answers(a, samples[a.format]), float_outputs=floats[a.format])
        for a in artifacts
    ]


def with_answers(artifact: Artifact, samples: Sequence[Sample]) -> MeasuredModel:
    loaded = LoadedArtifact(artifact)
    return MeasuredModel.of(
        artifact,
        [loaded.native_inputs(sample.inputs) for sample in samples],
        host_outputs=run_all(loaded.native_outputs, samples),
    )


def run_all(
    run: Callable[[Mapping[str, Array]], list[Array]], samples: Sequence[Sample]
) -> list[list[Array]]:
    return [answers(run, sample.inputs, index) for index, sample in enumerate(samples)]
