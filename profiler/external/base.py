"""What a benchmark tool of others is: how it is asked, and what its answer holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from ...targets.profile import Format
from .figures import Acceleration, ReportedLatency

if TYPE_CHECKING:
    from ..job import Sampling
    from ..operators import OperatorProfile

Purpose = Literal["measure", "operators"]


class UnreadableOutput(Exception):
    """A tool's output is not what any known version of it writes; the message says what lacks."""


class NotInThisBuild(Exception):
    """The tool was built without what was asked for; the message says which."""


@dataclass(frozen=True)
class Order:
    """What a tool is asked to do, once.

    Attributes:
        purpose: 'measure': latency, with nothing switched on that costs time; 'operators': a short
            run that says what each operator took, and where it ran.
        model: path of the model on the device.
        directory: a directory of this run's own on the device, for what the tool writes.
        accelerator: where the user wants the model to run; None: as the tool does by itself.
        inputs: whether reference inputs lie beside the model, as the tool wants them.
        max_seconds: when to stop, whatever is missing.
        estimate_ms: time of one inference, where a run before this one told it.
        arguments: the user's own, passed on as they are.
    """

    purpose: Purpose
    model: str
    directory: str
    threads: int
    sampling: Sampling
    accelerator: str | None = None
    inputs: bool = False
    max_seconds: float = 150.0
    estimate_ms: float | None = None
    arguments: tuple[str, ...] = ()

    @property
    def times(self) -> int:
        """How many inferences to ask a tool for that counts them and looks at no clock."""
        if self.purpose == "operators":
            return OPERATOR_RUNS
        wanted = self.sampling.queries
        if self.estimate_ms:
            seconds = self.sampling.seconds if self.sampling.both else self.sampling.min_seconds
            wanted = max(wanted, math.ceil(1000 * seconds / self.estimate_ms))
            if not self.sampling.both:
                enough = math.ceil(1000 * self.sampling.seconds / self.estimate_ms)
                wanted = max(self.sampling.min_queries, min(wanted, enough))
        return min(wanted, MOST_RUNS)


#: Inferences of the run that takes the operators' times.
OPERATOR_RUNS = 20
#: More are not asked for: such a tool keeps all of them in memory, and some write each down.
MOST_RUNS = 100_000


@dataclass(frozen=True)
class Said:
    """What a tool printed, and the files it wrote, by name."""

    stdout: str
    stderr: str
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return f"{self.stdout}\n{self.stderr}"


@dataclass(frozen=True)
class Figures:
    """What one run of a tool reported.

    Attributes:
        samples_ms: every inference, where the tool tells each.
        load_ms: from the model file to a runtime ready for inputs.
        memory_growth_bytes: what the process grew by while it loaded and ran the model.
        operators: of a run for the operators.
        missing: name of a figure -> why the tool does not give it.
    """

    latency: ReportedLatency
    acceleration: Acceleration | None = None
    samples_ms: tuple[float, ...] | None = None
    load_ms: float | None = None
    first_inference_ms: float | None = None
    warm_up: ReportedLatency | None = None
    peak_rss_bytes: int | None = None
    memory_growth_bytes: int | None = None
    operators: OperatorProfile | None = None
    notes: tuple[str, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ExternalTool:
    """One benchmark tool.

    Attributes:
        name: the program's file name, as it is looked for on the device.
        formats: of the models it reads.
        accelerators: what the user may ask for -> the tool's arguments for that.
        counts: whether it stops after a number of inferences, whatever time they took.
        needs_inputs: whether it wants reference inputs in files beside the model.
        command: the arguments that carry out an order.
        parse: reads what it said, or raises UnreadableOutput or NotInThisBuild.
        complaint: the line that says why it failed; None where it says nothing that is known.
    """

    name: str
    formats: tuple[Format, ...]
    accelerators: Mapping[str, tuple[str, ...]]
    counts: bool
    needs_inputs: bool
    command: Callable[[Order], list[str]]
    parse: Callable[[Order, Said], Figures]
    complaint: Callable[[Said], str | None]
