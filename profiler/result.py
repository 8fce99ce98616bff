"""What one measurement on one device said: frozen, versioned, with every raw sample."""

from __future__ import annotations

from statistics import fmean, median
from typing import Annotated, Any, Literal

from pydantic import Field, computed_field, model_validator

from .. import errors
from ..errors import DeviceError
from ..targets.profile import Model
from .heat import Moment, Stretch, over_time
from .operators import OperatorProfile

Mode = Literal["quick", "release"]
#: "sustained" goes on for minutes to show what heat does.
RunMode = Literal["quick", "release", "sustained"]
#: Of an inference: none takes no time.
Milliseconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class RuntimeFacts(Model):
    """The runtime that ran the model on the device."""

    name: str
    version: str
    threads: int = Field(ge=1)
    python: str
    provider: str | None = Field(
        default=None, description="execution provider or delegate, e.g. 'CPUExecutionProvider'"
    )
    cpus: tuple[int, ...] | None = Field(
        default=None, description="the cores it was kept on; None where it was free to choose"
    )


class DeviceFacts(Model):
    """The device as it described itself; None is explained in `missing`."""

    address: str
    model: str | None = None
    hostname: str | None = None
    architecture: str | None = None
    kernel: str | None = None
    os: str | None = None
    libc: str | None = Field(default=None, description="of the Python that the agent runs in")
    cpu: str | None = None
    cores: int | None = None
    features: tuple[str, ...] = ()
    ram_bytes: int | None = None
    emulated: bool | None = Field(
        default=False,
        description="the CPU is emulated: its latencies say nothing of a device; None where the "
        "device could not tell",
    )
    missing: dict[str, str] = Field(default_factory=dict)


class ClusterState(Model):
    """Cores that share one clock."""

    cpus: tuple[int, ...]
    governor: str | None = None
    frequency_hz: int | None = None
    max_frequency_hz: int | None = Field(default=None, description="what the hardware can do")
    allowed_frequency_hz: int | None = Field(
        default=None, description="what the system allows now: heat lowers it, and so do people"
    )


class ZoneTemperature(Model):
    """One thermal zone, by the name that the kernel gives it."""

    name: str
    temperature_c: float


class Battery(Model):
    """The state of a device's battery."""

    level_percent: float | None = None
    status: str | None = Field(default=None, description="e.g. 'Discharging'")
    charging: bool | None = None
    temperature_c: float | None = None


class Conditions(Model):
    """The device's state at one moment; what could not be read is in `missing` with the reason."""

    taken: Literal["before", "during", "after"]
    at_s: float = Field(description="seconds since the measurement began")
    model: str | None = Field(
        default=None, description="whose inferences had just been made, while measuring"
    )
    temperature_c: float | None = Field(
        default=None, description="the hottest zone of the CPU or chip; of all where none is named"
    )
    zones: tuple[ZoneTemperature, ...] = Field(
        default=(), description="while measuring only those of the CPU and chip are read"
    )
    frequency_hz: int | None = Field(default=None, description="highest of all cores")
    governor: str | None = None
    clusters: tuple[ClusterState, ...] = ()
    throttled: bool | None = None
    throttled_flags: str | None = None
    free_memory_bytes: int | None = None
    load_1min: float | None = None
    other_cpu: float | None = Field(
        default=None, description="cores busy with other work since the look before this one"
    )
    battery: Battery | None = None
    missing: dict[str, str] = Field(default_factory=dict)


class ColdStart(Model):
    """From nothing to the first answer, in a process of its own; milliseconds.

    The model's file is asked out of the page cache before, which the kernel may refuse: what is
    read from the disk and what from memory is the system's affair.
    """

    process_ms: float = Field(ge=0, description="until the agent's Python runs; an app has its own")
    import_ms: float = Field(ge=0, description="loading the runtime itself, without NumPy")
    load_ms: float = Field(ge=0, description="from the file to a runtime ready for inputs")
    first_inference_ms: Milliseconds


class WarmUp(Model):
    """The inferences before the first sample, and why there were no more.

    Steady is: the median of the last quarter is within 3% of that of the quarter before
    (`agent/steady.py`).
    """

    queries: int = Field(ge=0)
    seconds: float = Field(ge=0)
    steady: bool | None = Field(description="None: there were too few to tell")
    change: float | None = Field(description="of the median between the two quarters, at the end")


class Energy(Model):
    """What inferences cost, from the power the device says it draws while it does nothing else.

    Taken after the samples, so that looking does not disturb them.
    """

    method: str = Field(description="what was read, and what that covers")
    inferences: int = Field(ge=1)
    seconds: float = Field(gt=0)
    power_w: tuple[float, ...] = Field(min_length=1, description="watts during the inferences")
    idle_power_w: tuple[float, ...] = Field(description="before anything was started")

    @computed_field  # type: ignore[prop-decorator]
    @property
    def inference_mj(self) -> float:
        """Millijoules of the whole device for one inference."""
        return 1000 * fmean(self.power_w) * self.seconds / self.inferences

    @computed_field  # type: ignore[prop-decorator]
    @property
    def above_idle_mj(self) -> float | None:
        """What of that the device would not have drawn anyhow."""
        if not self.idle_power_w:
            return None
        above = fmean(self.power_w) - fmean(self.idle_power_w)
        return 1000 * above * self.seconds / self.inferences


class Top1Difference(Model):
    """One answer where the host says one class and the device another."""

    input: int = Field(description="which reference input, from 0")
    row: int = Field(description="which row of the output, from 0")
    host: int
    device: int


class OutputCheck(Model):
    """One output on the device against one reference, over all the reference inputs.

    Both are compared in the source's layout with real values, so a quantized model and its float
    original can be told apart by their answers alone.
    """

    output: str
    against: Literal["self", "float"] = Field(
        description="'self': this very model on the host; 'float': the float model on the host"
    )
    max_abs_error: float | None = Field(description="None where one of them has NaN or Inf")
    sqnr_db: float | None = Field(description="None where there is no difference, or no number")
    cosine: float | None
    top1_agreement: float | None = Field(
        default=None,
        description="share of the answers whose greatest value stands at the same place; None "
        "where an answer is no row of scores",
    )
    top1_differences: tuple[Top1Difference, ...] = Field(
        default=(), description="which answers differ: the first of them"
    )


class Correctness(Model):
    """Whether the device gives the answers the host gives.

    `outputs` has the device's difference to every reference that was known; `against` says which of
    them decided, and `reason` how (`correctness.py` has the rule).
    """

    status: Literal["passed", "failed", "not-checked"]
    against: Literal["float", "self"] | None = None
    inputs: int = Field(default=0, description="how many reference inputs were run")
    outputs: tuple[OutputCheck, ...] = ()
    reason: str = ""


class MemoryUse(Model):
    """Memory of the process that ran the model, as the kernel counts what of it is in RAM.

    `baseline_rss_bytes` has Python, NumPy, the runtime and the reference inputs: all that is there
    before the model is opened. What the model added is its weights as far as they were touched,
    what the runtime makes of them, activations and outputs: the most that the process had from the
    model's load on, less the baseline.
    """

    start_rss_bytes: int | None = Field(
        default=None, description="Python, NumPy and the reference inputs, before the runtime"
    )
    baseline_rss_bytes: int | None = Field(
        default=None, description="the same with the runtime, before the model"
    )
    loaded_rss_bytes: int | None = Field(default=None, description="after the model's load")
    first_rss_bytes: int | None = Field(default=None, description="after the first inference")
    peak_rss_bytes: int | None = Field(default=None, description="the most, from the load on")
    model_added_bytes: int | None = Field(
        default=None, description="the peak less the baseline; None where either is unknown"
    )


class Validity(Model):
    """Whether the samples may be believed."""

    valid: bool
    reasons: tuple[str, ...] = ()


class LatencySummary(Model):
    """Derived from the samples; never stored without them. Milliseconds."""

    p50: float
    p90: float
    p99: float
    mean: float
    p50_interval: tuple[float, float] | None = Field(
        description="95% confidence interval; None where there are too few samples"
    )
    p90_interval: tuple[float, float] | None


class Run(Model):
    """One model, measured on one device.

    `samples_ms` are single inferences in the order they were taken; `rounds` gives how many belong
    to each block. Blocks of the models of one measurement alternate: runs with the same
    `measurement` were taken under the same conditions, and their rounds can be paired. Models that
    had to follow one another for want of memory have a `measurement` each.
    `warm_up_ms` also has the inference that each block starts with to get its caches back from the
    other models. What the times cover is said in `agent/__init__.py`.
    """

    schema_version: Literal[1] = 1
    measurement: str = Field(description="what was measured together, by content")
    model_name: str
    model_sha256: str
    model_size_bytes: int
    mode: RunMode
    batch: int = Field(default=1, ge=1, description="samples that one inference takes")
    device: DeviceFacts
    runtime: RuntimeFacts
    started_at: str = Field(description="UTC, ISO 8601, by the host's clock")
    samples_ms: tuple[Milliseconds, ...] = Field(min_length=1)
    rounds: tuple[Annotated[int, Field(ge=1)], ...]
    unkept_s: float = Field(
        default=0,
        ge=0,
        description="of a long run of a fast model: seconds of inferences between the samples, "
        "which kept the device as warm as the samples did",
    )
    warm_up_ms: tuple[Milliseconds, ...]
    warm_up: WarmUp | None = None
    cold_starts: tuple[ColdStart, ...] = Field(
        min_length=1, description="each in a process of its own; the samples are of the last one"
    )
    peak_rss_bytes: int | None = Field(
        description="of the process that ran the model: Python, the runtime and inputs included"
    )
    memory: MemoryUse | None = Field(
        default=None, description="what the model added; None is explained in `missing`"
    )
    operators: OperatorProfile | None = Field(
        default=None,
        description="where the time went, if asked for; a None that was asked for is explained in "
        "`missing`",
    )
    energy: Energy | None = Field(
        default=None, description="where the device can tell; None is explained in `missing`"
    )
    conditions: tuple[Conditions, ...]
    correctness: Correctness
    validity: Validity
    notes: tuple[str, ...] = ()
    missing: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _has_a_round_for_each_sample(self) -> Run:
        if sum(self.rounds) != len(self.samples_ms):
            raise ValueError(
                f"rounds of {sum(self.rounds)} samples, but there are {len(self.samples_ms)}"
            )
        return self

    @computed_field  # type: ignore[prop-decorator]
    @property
    def cold_start(self) -> ColdStart:
        """The median of each part over the cold starts."""
        return ColdStart(
            process_ms=median(start.process_ms for start in self.cold_starts),
            import_ms=median(start.import_ms for start in self.cold_starts),
            load_ms=median(start.load_ms for start in self.cold_starts),
            first_inference_ms=median(start.first_inference_ms for start in self.cold_starts),
        )

    @computed_field  # type: ignore[prop-decorator]
    @property
    def over_time(self) -> tuple[Stretch, ...]:
        """What heat does; empty but in mode "sustained"."""
        if self.mode != "sustained":
            return ()
        looks = [
            Moment.model_validate(moment.model_dump(include=set(Moment.model_fields)))
            for moment in self.conditions
            if moment.taken == "during"
        ]
        return over_time(self.samples_ms, looks, self.unkept_s)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def latency_ms(self) -> LatencySummary:
        from .stats import summarize

        return summarize(self.samples_ms)

    def to_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Run:
        """Reads what `to_json` wrote; the derived figures are computed anew.

        Raises:
            pydantic.ValidationError: the document is no run, or its samples are none.
        """
        derived = ("latency_ms", "cold_start", "over_time")
        told = {k: v for k, v in document.items() if k not in derived}
        if isinstance(energy := told.get("energy"), dict):
            told["energy"] = {k: v for k, v in energy.items() if k in Energy.model_fields}
        return cls.model_validate(told)


class FailedRun(Model):
    """One model that could not be measured, beside others that could."""

    schema_version: Literal[1] = 1
    measurement: str
    model_name: str
    model_sha256: str
    mode: RunMode
    device: DeviceFacts
    runtime: str
    error: Literal["AgentFailed", "DeviceOutOfMemory", "DeviceTimeout", "NoSpaceOnDevice"]
    message: str
    hint: str | None = None
    phase: str = Field(description="what the model was doing, e.g. 'first inference'")
    stderr: tuple[str, ...] = Field(default=(), description="the last lines of its process")

    def to_error(self) -> DeviceError:
        """The same as an exception."""
        return getattr(errors, self.error)(self.message, hint=self.hint)  # type: ignore[no-any-return]
