"""What is to be measured, in the host's words."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from ..errors import UsageError
from ..exporters.artifact import Array, Artifact
from ..targets.profile import Format, RuntimeName
from .result import Mode, RunMode

Precision = Literal["float32", "float16", "quantized"]


@dataclass(frozen=True)
class OutputPort:
    """One output of a model.

    Attributes:
        name: what results call it.
        to_comparable: raw output of the file -> real values in the source's layout.
    """

    name: str
    to_comparable: Callable[[Array], Array]


@dataclass(frozen=True, eq=False)
class MeasuredModel:
    """One model of a measurement, with the inputs it is run on and the answers it ought to give.

    Attributes:
        name: what progress and results call it; unique within a measurement.
        precision: decides how close the device has to come to the host (`correctness.py`).
        inputs: reference inputs, each a list of arrays in the file's own order, layout and dtype.
            Timed inferences use them in turn; there has to be at least one.
        outputs: the file's outputs, in its own order.
        host_outputs: what this very file gives on the host for `inputs`, raw, in its own order;
            empty where unknown.
        float_outputs: what the float model gives for the same inputs, comparable (as
            `to_comparable` returns them), in the same order of outputs; empty where unknown.
        batch: how many samples one of the inputs holds.
        notes: what is to be said of every run of it.
    """

    name: str
    path: Path
    format: Format
    sha256: str
    size_bytes: int
    precision: Precision
    inputs: Sequence[Sequence[Array]]
    outputs: Sequence[OutputPort]
    host_outputs: Sequence[Sequence[Array]] = ()
    float_outputs: Sequence[Sequence[Array]] = ()
    batch: int = 1
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        artifact: Artifact,
        inputs: Sequence[Sequence[Array]],
        *,
        host_outputs: Sequence[Sequence[Array]] = (),
        float_outputs: Sequence[Sequence[Array]] = (),
    ) -> MeasuredModel:
        """A model from an artifact; arrays as the attributes of the same names."""
        is_float = artifact.precision in ("float32", "float16")
        return cls(
            name=artifact.name,
            path=artifact.path,
            format=artifact.format,
            sha256=artifact.sha256,
            size_bytes=artifact.size_bytes,
            precision=artifact.precision if is_float else "quantized",  # type: ignore[arg-type]
            inputs=inputs,
            outputs=[OutputPort(port.source_name, port.to_source) for port in artifact.outputs],
            host_outputs=host_outputs,
            float_outputs=float_outputs,
        )


@dataclass(frozen=True)
class Sampling:
    """When there are enough samples.

    Attributes:
        queries: inferences wanted.
        seconds: time wanted, the sum of the inferences alone.
        both: whether both are needed, or the first that is reached is enough.
        min_rounds: blocks needed in any case; models alternate block by block.
        min_queries: inferences needed in any case.
        min_seconds: time needed in any case.
        max_queries: where to stop in any case (a very fast model).
        warm_up_queries: inferences of the warm-up, at least.
        warm_up_s: time of the warm-up, at least.
        warm_up_max_s: where the warm-up stops that does not get steady (`agent/steady.py`).
        cold_starts: how often a model is started in a process of its own; the last one goes on.
        power_s: how long the power is watched, where the device can tell what it draws.
        keep_queries: where more are expected, so many are spread over the time; between them the
            model is kept busy, and those times are not kept.
        conditions_every_s: how often the conditions are looked at while measuring.
    """

    queries: int
    seconds: float
    both: bool
    min_rounds: int
    min_queries: int
    min_seconds: float = 0.0
    max_queries: int = 100_000
    warm_up_queries: int = 5
    warm_up_s: float = 0.5
    warm_up_max_s: float = 5.0
    cold_starts: int = 1
    power_s: float = 3.0
    keep_queries: int = 5_000_000
    conditions_every_s: float = 1.0


#: Quick: 128 queries or 10 s, whichever is first, but a second at least: 128 queries of a small
#: model are over before the CPU has settled. Release: 1024 queries and 60 s at least, as MLPerf
#: Mobile's single stream (Janapa Reddi et al. 2022, "MLPerf Mobile Inference Benchmark",
#: arXiv:2012.02328).
SAMPLING: dict[Mode, Sampling] = {
    "quick": Sampling(
        queries=128, seconds=10, both=False, min_rounds=10, min_queries=20, min_seconds=1
    ),
    "release": Sampling(
        queries=1024,
        seconds=60,
        both=True,
        min_rounds=20,
        min_queries=1024,
        max_queries=5_000_000,
        keep_queries=100_000,
        warm_up_max_s=30,
        cold_starts=5,
        power_s=10,
    ),
}


def sustained(minutes: float) -> Sampling:
    """Goes on for minutes, to show what heat does: the time of the inferences of each model."""
    return replace(
        SAMPLING["release"],
        queries=1,
        seconds=60 * minutes,
        min_queries=20,
        min_rounds=5,
        keep_queries=500_000,
        conditions_every_s=max(1.0, minutes / 6),
    )


@dataclass(frozen=True)
class MeasureSettings:
    """How to measure.

    Attributes:
        threads: of the runtime, within one operator.
        cpus: the cores to run on: "big" or "little" (the fastest or slowest kind), or their
            numbers; None: wherever the system likes.
        cluster_counts: cores of each kind, fastest first, as the device's profile has them: where
            the device itself does not tell its kinds apart.
        sustained_minutes: goes on for so long instead, to show what heat does.
        operators: also take the time of an inference apart, after the samples (`operators.py`).
        runtime: the runtime to use on the device; the first it has for the format by default.
        deadline_s: after which the device gives up; None: from the mode and the number of models.
        reconnect_s: how long a lost connection is tried again.
        busy_s: how long the end of another measurement on the device is waited for.
        load_limit_s: how long loading a model, or its first inference, may take on the device.
        inference_limit_s: the same of any later inference, unless the model is known to be slow:
            20 times what it took at first is allowed in any case.
        resume: the result of a measurement that is on the device already is all that is wanted:
            nothing is sent and none is started.
        poll_s: how often the device is looked at.
        quiet_s: without news for so long, the agent is asked whether the measurement still lives.
        pick_up_s: how old a finished measurement left on the device may be to be taken for this.
        sampling: in place of the mode's.
        base: the directory on the device; None: see `deploy.py`.
        python: the Python on the device; None: see `deploy.py`.
        bundled: whether to use a runtime of ours (`device_runtime/`): always, never, or (None)
            where the device's own Python will not do.
    """

    mode: Mode = "quick"
    threads: int = 1
    cpus: Literal["big", "little"] | tuple[int, ...] | None = None
    cluster_counts: tuple[int, ...] | None = None
    sustained_minutes: float | None = None
    operators: bool = False
    runtime: RuntimeName | None = None
    deadline_s: float | None = None
    reconnect_s: float = 60.0
    busy_s: float = 600.0
    load_limit_s: float = 240.0
    inference_limit_s: float = 60.0
    resume: bool = False
    poll_s: float = 0.5
    quiet_s: float = 10.0
    pick_up_s: float = 3600.0
    sampling: Sampling | None = None
    base: str | None = None
    python: str | None = None
    bundled: bool | None = None

    @property
    def effective_sampling(self) -> Sampling:
        minutes = self.sustained_minutes
        if self.sampling is not None:
            return self.sampling
        return SAMPLING[self.mode] if minutes is None else sustained(minutes)

    @property
    def run_mode(self) -> RunMode:
        return self.mode if self.sustained_minutes is None else "sustained"

    def effective_deadline_s(self, models: int) -> float:
        if self.deadline_s is not None:
            return self.deadline_s
        patience_s = 300.0 if self.mode == "quick" else 900.0
        # Blocks take turns, and between them the conditions are looked at.
        sampling_s = 1.5 * 60 * (self.sustained_minutes or 0)
        return (patience_s + sampling_s) * models


def parse_cpus(text: str | None) -> Literal["big", "little"] | tuple[int, ...] | None:
    """Cores as a user names them: "big", "little", or numbers and ranges like "0,2-3".

    Raises:
        UsageError: it is none of these.
    """
    if text is None or text == "big" or text == "little":
        return text  # type: ignore[return-value]
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,4})(?:-(\d{1,4}))?\s*", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if last < first:
            raise UsageError(
                f"cores {text!r} are not understood", hint="say big, little, or numbers like 0,2-3"
            )
        found += range(first, last + 1)
    return tuple(sorted(set(found)))


Phase = Literal[
    "connect", "push", "load", "first inference", "reference inputs", "warm-up", "measure",
    "energy", "operators", "collect", "lost",
]  # fmt: skip


@dataclass(frozen=True)
class ProgressEvent:
    """What a measurement does now.

    Attributes:
        phase: 'push' counts bytes, 'measure' inferences; 'lost' says that the connection broke and
            is being tried again; the others count nothing.
        model: the model's name; None where it is about all.
        done, total: of what the phase counts.
        message: words for a person; may be empty.
    """

    phase: Phase
    model: str | None = None
    done: int = 0
    total: int = 0
    message: str = field(default="")


OnProgress = Callable[[ProgressEvent], None]
