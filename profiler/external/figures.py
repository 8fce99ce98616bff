"""What a benchmark tool of others reported about one model on one device: frozen, versioned."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ...targets.profile import Model
from ..operators import OperatorProfile
from ..result import Conditions, Correctness, DeviceFacts, Milliseconds, Mode, Validity

Spread = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class ReportedLatency(Model):
    """Figures as a tool printed them, in milliseconds; what it did not print is None."""

    count: int = Field(ge=1)
    mean_ms: Milliseconds
    min_ms: Milliseconds | None = None
    max_ms: Milliseconds | None = None
    std_ms: Spread | None = None
    percentiles_ms: dict[str, Milliseconds] = Field(
        default_factory=dict, description="'p50', 'p95', ... -> milliseconds"
    )


class Acceleration(Model):
    """Whether a model ran where the user was promised, as far as the tool's output proves it."""

    requested: str
    status: Literal["whole", "partial", "none", "unproven"] = Field(
        description="'none': the output says that nothing ran there; 'unproven': it says nothing"
    )
    delegate: str | None = Field(default=None, description="as the runtime calls it")
    delegated_nodes: int | None = Field(default=None, ge=0)
    total_nodes: int | None = Field(default=None, ge=0)
    partitions: int | None = Field(default=None, ge=0)
    evidence: tuple[str, ...] = Field(default=(), description="lines of the output")


class ToolFacts(Model):
    """The program that measured."""

    name: str
    path: str = Field(description="on the device")
    sha256: str | None = Field(description="of the program; None where it could not be read")
    command: tuple[str, ...] = Field(description="as it was run for the latency")


class ExternalRun(Model):
    """One model on one device, measured by a tool that is not Edgewright's.

    The times cover what that tool times; they are no measurement of Edgewright's and are compared
    only with others of the same tool. Where it tells every inference, `samples_ms` has them, in
    order; else `missing` says why there are none, and nothing that needs them is claimed: no
    confidence interval, no test for drift.
    """

    kind: Literal["external"] = "external"
    schema_version: Literal[1] = 1
    source: str = Field(description="who measured, in words")
    measurement: str
    model_name: str
    model_sha256: str
    model_size_bytes: int
    mode: Mode
    device: DeviceFacts
    tool: ToolFacts
    threads: int = Field(ge=1)
    acceleration: Acceleration | None = Field(description="None where none was asked for")
    started_at: str = Field(description="UTC, ISO 8601, by the host's clock")
    latency: ReportedLatency
    samples_ms: tuple[Milliseconds, ...] | None
    warm_up: ReportedLatency | None
    load_ms: Spread | None = Field(description="from the model file to a runtime ready for inputs")
    first_inference_ms: Spread | None
    peak_rss_bytes: int | None = Field(description="of the tool's process")
    memory_growth_bytes: int | None = Field(
        description="what the process grew by while it loaded and ran the model"
    )
    operators: OperatorProfile | None
    conditions: tuple[Conditions, ...]
    correctness: Correctness
    validity: Validity
    notes: tuple[str, ...] = ()
    missing: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _says_why_there_are_no_samples(self) -> ExternalRun:
        if self.samples_ms is None and "samples_ms" not in self.missing:
            raise ValueError("neither samples nor the reason why there are none")
        if self.samples_ms is not None and len(self.samples_ms) != self.latency.count:
            raise ValueError(f"{len(self.samples_ms)} samples, {self.latency.count} were reported")
        return self

    @property
    def rounds(self) -> tuple[int, ...]:
        """The samples in consecutive blocks of equal length; empty where there are none."""
        count = len(self.samples_ms or ())
        blocks = min(BLOCKS, count)
        return tuple(count // blocks + (i < count % blocks) for i in range(blocks))

    def to_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> ExternalRun:
        """Reads what `to_json` wrote.

        Raises:
            pydantic.ValidationError: the document is no such run.
        """
        return cls.model_validate(document)


#: Neighbouring samples of one process are alike, so comparisons draw blocks of them.
BLOCKS = 10
