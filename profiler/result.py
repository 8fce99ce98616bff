"""What one measurement on one device said: frozen, versioned, with every raw sample."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, computed_field, model_validator

from .. import errors
from ..errors import DeviceError
from ..targets.profile import Model
from .operators import OperatorProfile

Mode = Literal["quick", "release"]
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


class DeviceFacts(Model):
    """The device as it described itself; None is explained in `missing`."""

    address: str
    model: str | None = None
    hostname: str | None = None
    architecture: str | None = None
    kernel: str | None = None
    os: str | None = None
    cpu: str | None = None
    cores: int | None = None
    features: tuple[str, ...] = ()
    ram_bytes: int | None = None
    emulated: bool = Field(
        default=False, description="the CPU is emulated: its latencies say nothing of a device"
    )
    missing: dict[str, str] = Field(default_factory=dict)


class Conditions(Model):
    """The device's state at one moment; what could not be read is in `missing` with the reason."""

    taken: Literal["before", "during", "after"]
    at_s: float = Field(description="seconds since the measurement began")
    temperature_c: float | None = None
    frequency_hz: int | None = Field(default=None, description="highest of all cores")
    governor: str | None = None
    throttled: bool | None = None
    throttled_flags: str | None = None
    free_memory_bytes: int | None = None
    load_1min: float | None = None
    missing: dict[str, str] = Field(default_factory=dict)


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
    mode: Mode
    device: DeviceFacts
    runtime: RuntimeFacts
    started_at: str = Field(description="UTC, ISO 8601, by the host's clock")
    samples_ms: tuple[Milliseconds, ...] = Field(min_length=1)
    rounds: tuple[Annotated[int, Field(ge=1)], ...]
    warm_up_ms: tuple[Milliseconds, ...]
    import_ms: float = Field(
        ge=0, allow_inf_nan=False, description="loading the runtime itself, without NumPy"
    )
    load_ms: float = Field(
        ge=0, allow_inf_nan=False, description="from the model file to a runtime ready for inputs"
    )
    first_inference_ms: Milliseconds
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
        return cls.model_validate({k: v for k, v in document.items() if k != "latency_ms"})


class FailedRun(Model):
    """One model that could not be measured, beside others that could."""

    schema_version: Literal[1] = 1
    measurement: str
    model_name: str
    model_sha256: str
    mode: Mode
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
