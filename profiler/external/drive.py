"""Driving a benchmark tool of others on a device: find or send it, run it, read what it says."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...errors import (
    AgentFailed,
    DeviceBusy,
    DeviceError,
    DeviceOutOfMemory,
    RuntimeMissing,
)
from ..deploy import Agent, install_agent, remove
from ..job import MeasuredModel, MeasureSettings, OnProgress, Phase, ProgressEvent
from ..result import Conditions, Correctness, DeviceFacts
from ..transports.base import Completed, Transport
from .base import ExternalTool, Figures, NotInThisBuild, Order, Purpose, Said, UnreadableOutput
from .delivery import Program, deliver, find_program, prepare_base
from .figures import ExternalRun, ToolFacts
from .inputs import write_inputs
from .judge import judge_external
from .machine import built_for, fits

#: How long past its own limits a tool may take before it is ended.
GRACE_S = 120.0
#: Time for the short run that tells what each operator takes.
OPERATORS_S = 60.0
#: A tool that counts inferences is asked for so many that they take the time that is wanted. The
#: run before, with the profiler on, tells how many; it is slower, most of all with a small model.
ATTEMPTS = 3
_BUSY, _BUSY_WORD = 75, "edgewright: busy"

# $1: the lock, $2: where to run, $3: the tool's libraries, then the command. The lock goes with the
# tool; where there is no `flock` it runs without.
_RUN = f"""
cd "$2" || exit 1
exec 9>>"$1" || exit 1
if command -v flock >/dev/null 2>&1
then flock -n 9 || {{ echo "{_BUSY_WORD}" >&2; exit {_BUSY}; }}
fi
LD_LIBRARY_PATH=$3${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}; export LD_LIBRARY_PATH
shift 3
exec "$@"
"""
# What is on a phone without Python. A line each: machine, kernel, host, cores, model.
_FACTS = """
uname -m; uname -r; uname -n; grep -c '^processor' /proc/cpuinfo
if command -v getprop >/dev/null 2>&1
then printf '%s %s' "$(getprop ro.product.manufacturer)" "$(getprop ro.product.model)"
else tr -d '\\0' </proc/device-tree/model
fi 2>/dev/null
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
    the device; it is not picked up again.

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

    def run(self, path: str | None, input_names: Sequence[str]) -> ExternalRun:
        self.tell("connect", f"connecting to {self.transport.address}")
        base = prepare_base(self.transport)
        observer = _Observer(self.transport)
        self.tell("push", f"bringing {self.tool.name} and {self.model.name}")
        program = find_program(self.transport, base, self.tool.name, path)
        blob = f"{base}/blobs/{self.model.sha256}{self.model.path.suffix}"
        deliver(self.transport, self.model.path, self.model.sha256, blob)
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
        finally:
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
        words = ["sh", "-c", _RUN, "sh", f"{base}/lock", order.directory, program.libraries]
        timeout_s = 2 * order.max_seconds + GRACE_S
        if self.settings.deadline_s is not None:
            timeout_s = self.settings.deadline_s
        done = self.transport.run([*words, *command], timeout_s=timeout_s)
        said = Said(done.stdout, done.stderr, self.collect(order.directory))
        if done.code != 0:
            raise self.failure(done, said, program)
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

    def failure(self, done: Completed, said: Said, program: Program) -> DeviceError:
        where, name = self.transport.address, self.tool.name
        if done.code == _BUSY and _BUSY_WORD in done.stderr:
            return DeviceBusy(
                f"{where} is busy with another measurement",
                hint="wait until it has ended: two at once would disturb each other",
            )
        told = self.tool.complaint(said) or _last(done.stderr) or _last(done.stdout)
        wrong = self.wrong_machine(program)
        if wrong is not None:
            return wrong
        if "error while loading shared libraries" in done.stderr or "CANNOT LINK" in done.stderr:
            return RuntimeMissing(
                f"{where}: {name} lacks a shared library: {_last(done.stderr)}",
                hint=f"put {name} and its libraries into a directory, and name that with "
                "--runner-path",
            )
        if done.code in (126, 127):
            return RuntimeMissing(
                f"{where}: {program.path} can't be run: {_last(done.stderr)}",
                hint="make it executable, on a disk that is not mounted noexec",
            )
        if done.code == 137:
            return DeviceOutOfMemory(
                f"{where}: {name} was killed while it ran {self.model.name}, most likely for "
                "memory",
                hint="use a smaller model, or end other programs on the device",
            )
        how = f"ended with code {done.code}"
        if done.code > 128 and (signal := _signal_name(done.code - 128)):
            how = f"crashed ({signal})"
        return AgentFailed(
            f"{where}: {name} {how} on {self.model.name}" + (f": {told}" if told else ""),
            hint="it may not read this model, or not know an option: run it by hand on the device",
        )

    def wrong_machine(self, program: Program) -> DeviceError | None:
        done = self.transport.run(
            ["sh", "-c", 'uname -m; od -An -tx1 -N20 "$1"', "sh", program.path]
        )
        machine, _, header = done.stdout.partition("\n")
        built = built_for(header)
        if built is None or fits(built, machine.strip()):
            return None
        return RuntimeMissing(
            f"{self.transport.address}: {self.tool.name} was built for {built}, the device is "
            f"{machine.strip()}",
            hint=f"use a {self.tool.name} built for {machine.strip()}",
        )

    def result(
        self,
        run_id: str,
        started_at: str,
        observer: _Observer,
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
            missing.pop("peak_rss_bytes", None)
            notes.append("peak memory is of the run that takes the operators' times")
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


class _Observer:
    """What the device is and does, by the agent where there is a Python, else what `sh` can say."""

    def __init__(self, transport: Transport) -> None:
        self.missing: dict[str, str] = {}
        self._agent: Agent | None = None
        try:
            self._agent = install_agent(transport)
            self.facts, _ = self._agent.read_facts()
            self.missing["conditions_during"] = "the device is left alone while the tool runs"
        except RuntimeMissing as error:
            self.missing["conditions"] = f"they are read with Python: {error.message}"
            self.facts = _plain_facts(transport)

    def look(self, taken: str) -> Conditions | None:
        if self._agent is None:
            return None
        document: dict[str, Any] = self._agent.ask("conditions")
        return Conditions(**{**document, "taken": taken})


def _plain_facts(transport: Transport) -> DeviceFacts:
    lines = transport.run(["sh", "-c", _FACTS]).stdout.splitlines()
    machine, kernel, host, cores, model = (*(line.strip() or None for line in lines), *5 * [None])[
        :5
    ]
    return DeviceFacts(
        address=transport.address,
        model=model,
        hostname=host,
        architecture=machine,
        kernel=kernel,
        cores=int(cores) if cores and cores.isdigit() and int(cores) else None,
        missing={"cpu": "not read without Python on the device"},
    )


def _signal_name(number: int) -> str | None:
    import signal

    try:
        return signal.Signals(number).name
    except ValueError:
        return None


def _last(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:300] if lines else ""
