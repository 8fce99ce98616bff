"""Driving a benchmark tool of others on a device: find or send it, run it, read what it says."""

from __future__ import annotations

import contextlib
import json
import secrets
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from ...errors import (
    AgentFailed,
    DeviceError,
    EdgewrightError,
    RuntimeMissing,
)
from ..deploy import busy, remove
from ..job import MeasuredModel, MeasureSettings, OnProgress, Phase, ProgressEvent
from ..owner import Holder, this_owner
from ..result import Conditions, Correctness
from ..transports.base import Completed, Transport
from .base import ExternalTool, Figures, NotInThisBuild, Order, Purpose, Said, UnreadableOutput
from .delivery import Program, deliver, find_program, prepare_base
from .failures import failure
from .figures import ExternalRun, ToolFacts
from .inputs import write_inputs
from .judge import judge_external
from .observer import Observer

#: How long past its own limits a tool may take before it is ended.
GRACE_S = 120.0
#: Time for the short run that tells what each operator takes.
OPERATORS_S = 60.0
#: A tool that counts inferences is asked for so many that they take the time that is wanted. The
#: run before, with the profiler on, tells how many; it is slower, most of all with a small model.
ATTEMPTS = 3
BUSY_POLL_S = 2.0
_BUSY, _BUSY_WORD = 75, "edgewright: busy"

# $1: the lock, $2: what it is to say, $3: where to run, $4: the tool's libraries; then the command.
# The lock goes with the tool, and says who has it as the agent's does (`agent/jobs.py`), since when
# by the clock that nobody sets. Where there is no `flock` the tool runs without. Android's shell
# gives a file that `exec` opened to no program unless it is named again there.
_RUN = f"""
up() {{ cut -d" " -f1 /proc/uptime 2>/dev/null || echo 0; }}
cd "$3" || exit 1
exec 9>>"$1" || exit 1
if command -v flock >/dev/null 2>&1
then flock -n 9 9>&9
  if [ $? -eq 1 ]; then echo "{_BUSY_WORD} $(up) $(cat "$1")" >&2; exit {_BUSY}; fi
fi
printf '%s, "since": %s}}' "$2" "$(up)" >"$1"
LD_LIBRARY_PATH=$4${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}; export LD_LIBRARY_PATH
ORT_DISABLE_TELEMETRY=1; export ORT_DISABLE_TELEMETRY
shift 4
exec "$@" 9>&9
"""


def measure_external(
    transport: Transport,
    tool: ExternalTool,
    model: MeasuredModel,
    settings: MeasureSettings,
    on_progress: OnProgress,
    *,
    input_names: Sequence[str] = (),
    path: str | None = None,
    accelerator: str | None = None,
    arguments: Sequence[str] = (),
) -> ExternalRun:
    """Measures a model with a tool that is not Edgewright's, and says what that tool said.

    It runs twice: shortly with its profiler on, which tells what each operator takes and where it
    ran, then for the latency with nothing on that costs time. A lost connection ends the run on
    the device; it is not picked up again. Ctrl-C ends it there, and deletes what was sent for it.

    Args:
        input_names: of the model's inputs, in order.
        path: of the tool, here or on the device; None: by name on the device's PATH.
        arguments: the user's own, for the tool.

    Raises:
        RuntimeMissing: the tool is not there, can't be run, or was built for another machine.
        AgentFailed: it failed, or its output can't be read.
        DeviceOutOfMemory, DeviceTimeout, DeviceBusy, NoSpaceOnDevice, DeviceError: as they say.
        IntegrityError: a file did not arrive as it was sent.
    """
    drive = _Drive(transport, tool, model, settings, on_progress, accelerator, tuple(arguments))
    return drive.run(path, input_names)


@dataclass
class _Drive:
    transport: Transport
    tool: ExternalTool
    model: MeasuredModel
    settings: MeasureSettings
    on_progress: OnProgress
    accelerator: str | None
    arguments: tuple[str, ...]
    sent: list[str] = field(default_factory=list)

    def run(self, path: str | None, input_names: Sequence[str]) -> ExternalRun:
        try:
            return self.drive(path, input_names)
        except KeyboardInterrupt:
            with contextlib.suppress(EdgewrightError):
                remove(self.transport, *self.sent)
            raise

    def drive(self, path: str | None, input_names: Sequence[str]) -> ExternalRun:
        self.tell("connect", f"connecting to {self.transport.address}")
        base = prepare_base(self.transport, self.tool.name, self.settings.base)
        observer = Observer(self.transport, self.model.format, self.settings, self.sent)
        self.tell("push", f"bringing {self.tool.name} and {self.model.name}")
        program = find_program(self.transport, base, self.tool.name, path, self.sent)
        blob = f"{base}/blobs/{self.model.sha256}{self.model.path.suffix}"
        deliver(self.transport, self.model.path, self.model.sha256, blob, self.sent)
        run_id = secrets.token_hex(8)
        directory = f"{base}/runs/{self.tool.name}-{run_id}"
        try:
            place = self.lay_out(directory, blob, input_names)
            started_at = datetime.now(UTC).isoformat(timespec="milliseconds")
            self.tell("load", f"{self.tool.name} runs {self.model.name} operator by operator")
            order = self.order("operators", place, directory)
            profiled = self.ask(base, program, order)
            self.tell("measure", f"{self.tool.name} measures {self.model.name}")
            before = observer.look("before")
            order, measured = self.measure(base, program, place, directory, profiled)
            conditions = tuple(c for c in (before, observer.look("after")) if c is not None)
        except BaseException:
            # What went wrong is what is told; what can't be removed now is the next time.
            with contextlib.suppress(EdgewrightError):
                remove(self.transport, directory)
            raise
        remove(self.transport, directory)
        return self.result(
            run_id, started_at, observer, conditions, program, order, profiled, measured
        )

    def measure(
        self, base: str, program: Program, place: str, directory: str, profiled: Figures
    ) -> tuple[Order, Figures]:
        """Runs it for the latency, again where it turned out faster than was thought."""
        estimate_ms = profiled.latency.mean_ms
        for _ in range(ATTEMPTS):
            order = replace(self.order("measure", place, directory), estimate_ms=estimate_ms)
            measured = self.ask(base, program, order)
            estimate_ms = measured.latency.mean_ms
            if not self.tool.counts or measured.latency.count != order.times:
                break
            if replace(order, estimate_ms=estimate_ms).times <= order.times:
                break
        return order, measured

    def tell(self, phase: Phase, message: str) -> None:
        self.on_progress(ProgressEvent(phase, message=message))

    def lay_out(self, directory: str, blob: str, input_names: Sequence[str]) -> str:
        """The model under a name that the tool takes, with inputs beside it where it wants them."""
        place = f"{directory}/model/model{self.model.path.suffix}"
        words = 'mkdir -p "${2%/*}" && { ln "$1" "$2" 2>/dev/null || cp "$1" "$2"; }'
        done = self.transport.run(["sh", "-c", words, "sh", blob, place], timeout_s=600)
        if done.code != 0:
            raise DeviceError(f"{self.transport.address}: can't write {place}: {done.stderr[:200]}")
        if self.tool.needs_inputs:
            folder = f"{directory}/model/test_data_set_0"
            self.transport.run(["mkdir", "-p", "--", folder])
            with tempfile.TemporaryDirectory(prefix="edgewright-") as name:
                for file in write_inputs(input_names, self.model.inputs[0], Path(name)):
                    self.transport.push(file, f"{folder}/{file.name}")
        return place

    def order(self, purpose: Purpose, place: str, directory: str) -> Order:
        limit = self.settings.effective_deadline_s(1) / 2
        return Order(
            purpose=purpose,
            model=place,
            directory=directory,
            threads=self.settings.threads,
            sampling=self.settings.effective_sampling,
            accelerator=self.accelerator,
            inputs=self.tool.needs_inputs,
            max_seconds=min(limit, OPERATORS_S) if purpose == "operators" else limit,
            arguments=self.arguments,
        )

    def ask(self, base: str, program: Program, order: Order) -> Figures:
        command = [program.path, *self.tool.command(order)]
        words = ["sh", "-c", _RUN, "sh", f"{base}/lock", self.holder(order), order.directory]
        words.append(program.libraries)
        timeout_s = 2 * order.max_seconds + GRACE_S
        if self.settings.deadline_s is not None:
            timeout_s = self.settings.deadline_s
        done = self.when_free([*words, *command], timeout_s)
        said = Said(done.stdout, done.stderr, self.collect(order.directory))
        if done.code != 0:
            raise failure(self.transport, self.tool, self.model.name, program, done, said)
        try:
            return self.tool.parse(order, said)
        except NotInThisBuild as error:
            raise RuntimeMissing(
                f"{self.transport.address}: {error}",
                hint=f"use a build of {self.tool.name} for this device that has it",
            ) from None
        except UnreadableOutput as error:
            complaint = self.tool.complaint(said)
            raise AgentFailed(
                f"{self.transport.address}: the output of {self.tool.name} can't be read: {error}"
                + (f"; it said: {complaint}" if complaint else ""),
                hint="it is no version that Edgewright knows, or it did not do what was asked: run "
                "it by hand on the device",
            ) from None

    def holder(self, order: Order) -> str:
        """What the device's lock says while the tool runs, without its end."""
        run = order.directory.rpartition("/")[2]
        holder = {**this_owner().model_dump(), "run": run, "models": [self.model.name]}
        return json.dumps(holder).removesuffix("}")

    def when_free(self, command: Sequence[str], timeout_s: float) -> Completed:
        """Runs a command as soon as no other measurement runs on the device."""
        deadline = time.monotonic() + self.settings.busy_s
        while True:
            done = self.transport.run(command, timeout_s=timeout_s)
            if done.code != _BUSY or _BUSY_WORD not in done.stderr:
                return done
            error = busy(self.transport.address, _read_holder(done.stderr))
            if time.monotonic() >= deadline:
                raise error
            self.tell("connect", f"{error}; waiting for its end")
            time.sleep(BUSY_POLL_S)

    def collect(self, directory: str) -> dict[str, str]:
        """The files the tool wrote, which are removed there: the next run writes its own."""
        words = 'cd "$1" && for f in *; do if [ -f "$f" ]; then printf "%s\\n" "$f"; fi; done'
        listed = self.transport.run(["sh", "-c", words, "sh", directory]).stdout.splitlines()
        files = {}
        with tempfile.TemporaryDirectory(prefix="edgewright-") as scratch:
            for index, name in enumerate(listed):
                here = Path(scratch) / str(index)
                self.transport.pull(f"{directory}/{name}", here)
                files[name] = here.read_text(encoding="utf-8", errors="replace")
        remove(self.transport, *(f"{directory}/{name}" for name in listed))
        return files

    def result(
        self,
        run_id: str,
        started_at: str,
        observer: Observer,
        conditions: tuple[Conditions, ...],
        program: Program,
        order: Order,
        profiled: Figures,
        measured: Figures,
    ) -> ExternalRun:
        missing = {**measured.missing, **observer.missing}
        if profiled.operators is None:
            missing["operators"] = f"{self.tool.name} told nothing of them"
        # The latency run of a tool that proves nothing there is proven by the run before it: the
        # program, the model and the options are the same.
        acceleration = measured.acceleration
        if acceleration is not None and acceleration.status == "unproven":
            acceleration = profiled.acceleration
        operators = profiled.operators
        if operators is not None and acceleration is not None and operators.total_nodes is None:
            operators = operators.model_copy(
                update={
                    "delegated_nodes": acceleration.delegated_nodes,
                    "total_nodes": acceleration.total_nodes,
                    "partitions": acceleration.partitions,
                }
            )
        peak = measured.peak_rss_bytes
        notes = [*profiled.notes, *measured.notes]
        if peak is None and profiled.peak_rss_bytes is not None:
            peak = profiled.peak_rss_bytes
            notes.append("peak memory is of the run that takes the operators' times")
        if peak is not None:
            missing.pop("peak_rss_bytes", None)
        if self.accelerator == "nnapi":
            notes.append(
                "NNAPI chooses the hardware by itself: the output proves that it took operators, "
                "not where they ran"
            )
        return ExternalRun(
            source=f"reported by {self.tool.name}, not measured by Edgewright",
            measurement=f"{self.tool.name}-{run_id}",
            model_name=self.model.name,
            model_sha256=self.model.sha256,
            model_size_bytes=self.model.size_bytes,
            mode=self.settings.mode,
            device=observer.facts,
            tool=ToolFacts(
                name=self.tool.name,
                path=program.path,
                sha256=program.sha256,
                command=(program.path, *self.tool.command(order)),
            ),
            threads=self.settings.threads,
            acceleration=acceleration,
            started_at=started_at,
            latency=measured.latency,
            samples_ms=measured.samples_ms,
            warm_up=measured.warm_up,
            load_ms=measured.load_ms,
            first_inference_ms=measured.first_inference_ms,
            peak_rss_bytes=peak,
            memory_growth_bytes=measured.memory_growth_bytes,
            operators=operators,
            conditions=conditions,
            correctness=Correctness(
                status="not-checked",
                reason=f"{self.tool.name} does not give the model's outputs; run `edgewright "
                "profile` without --runner for that",
            ),
            validity=judge_external(
                measured,
                acceleration,
                conditions,
                self.settings.effective_sampling,
                emulated=observer.facts.emulated,
                threads=self.settings.threads,
                cores=observer.facts.cores,
            ),
            notes=tuple(dict.fromkeys(notes)),
            missing=missing,
        )


def _read_holder(stderr: str) -> Holder:
    """Whom the lock names; nobody where it can't be read."""
    now, _, text = stderr.partition(_BUSY_WORD)[2].strip().partition(" ")
    try:
        told = json.loads(text)
        for_s = max(0.0, float(now) - told.pop("since"))
        return Holder(**{**told, "for_s": for_s})
    except (ValueError, TypeError, LookupError, AttributeError):
        return Holder()
