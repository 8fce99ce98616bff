"""Measuring models on a device: deploy -> start -> follow -> collect -> runs.

The measurement runs detached on the device under an id made of everything it depends on. A host
that loses the connection, or is killed and started again, finds it by that id and goes on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..errors import (
    AgentFailed,
    DeviceError,
    DeviceOutOfMemory,
    DeviceRestarted,
    DeviceTimeout,
    EdgewrightError,
    IntegrityError,
    NoSpaceOnDevice,
    Unreachable,
    UsageError,
)
from ..exporters.artifact import Array
from .arrival import Arrival, arrive
from .blobs import Blob, blob_paths, deploy
from .collected import HINTS, Context, read_outputs
from .deploy import Agent, busy, remove
from .garbage import read_answer, understood
from .job import MeasuredModel, MeasureSettings, OnProgress, Phase, ProgressEvent
from .owner import Holder, owner_name, this_owner
from .patience import while_busy, while_lost
from .result import FailedRun, Run
from .runners import Runner
from .transports.base import Transport

__all__ = ["FailedRun", "measure"]

T = TypeVar("T")

#: How long past its own deadline a measurement may hang before it is ended from here.
GRACE_S = 120.0

#: States of a measurement that runs no more.
_ENDED = ("stale", "finished")
RESUME_HINT = (
    "the measurement goes on there: the same command picks it up; with --resume it starts none anew"
)


def measure(
    transport: Transport,
    models: Sequence[MeasuredModel],
    settings: MeasureSettings | None = None,
    on_progress: OnProgress | None = None,
    *,
    sent: list[str] | None = None,
) -> list[Run | FailedRun]:
    """Measures models on a device under the same conditions, block by block in turn.

    Where the device's memory is too small for all the models at once, they follow one another: the
    runs then have a `measurement` each, and a note that says so.

    Ctrl-C ends it on the device and deletes what was sent for it; any other end of this process
    leaves it running there, to be picked up by the next call with the same models and settings.

    Args:
        transport: the way to the device; it is closed on Ctrl-C only.
        models: at least one; with several, one that fails is in the list as a FailedRun.
        on_progress: called with what happens, as it happens, in this thread.
        sent: the caller's journal of files on the device. Models, inputs and the agent are added
            when they are sent, not where the device has them already; Ctrl-C deletes all that is in
            it. One list for several measurements on one device makes Ctrl-C in a later one delete
            what the earlier ones sent, too; another device needs another list.

    Returns:
        One result for each model, in order.

    Raises:
        UsageError: a model has no reference inputs, or two have one name.
        RuntimeMissing: the device has no Python or no runtime for a model.
        AgentFailed, DeviceOutOfMemory, DeviceTimeout, NoSpaceOnDevice: the only model failed so, or
            the measurement as a whole did.
        DeviceBusy: another measurement did not end in time; it says which.
        DeviceRestarted: the device was restarted meanwhile.
        DeviceError: anything else about the device.
        IntegrityError: a file did not arrive as it was sent.
    """
    _check(models)
    measurement = _Measurement(
        transport,
        models,
        settings or MeasureSettings(),
        on_progress or (lambda event: None),
        [] if sent is None else sent,
    )
    try:
        results = measurement.run()
    except KeyboardInterrupt:
        with contextlib.suppress(EdgewrightError):
            measurement.abandon()
        transport.close()
        raise
    if len(results) == 1 and isinstance(results[0], FailedRun):
        raise results[0].to_error()
    return results


def _check(models: Sequence[MeasuredModel]) -> None:
    if not models:
        raise UsageError("there is no model to measure")
    names = [model.name for model in models]
    if len(set(names)) != len(names):
        raise UsageError(f"two models have the same name: {', '.join(names)}")
    for model in models:
        if not model.inputs or not all(model.inputs):
            raise UsageError(f"{model.name} has no reference inputs to be run on")


@dataclass
class _Measurement:
    transport: Transport
    models: Sequence[MeasuredModel]
    settings: MeasureSettings
    on_progress: OnProgress
    sent: list[str]
    agent: Agent | None = None
    directory: str = ""
    boot_id: str = ""

    def run(self) -> list[Run | FailedRun]:
        self.tell("connect", message=f"connecting to {self.transport.address}")
        arrival = arrive(
            self.transport,
            [model.format for model in self.models],
            self.settings,
            self.patiently,
            lambda done, total: self.tell("push", done, total),
            self.sent,
        )
        agent = self.agent = arrival.agent
        with tempfile.TemporaryDirectory(prefix="edgewright-") as name:
            scratch = Path(name)
            blobs = self.blobs(scratch)
            if not self.settings.resume:
                self.patiently(lambda: self.push(agent, blobs))
            job = self.job(blob_paths(agent, blobs), arrival.runners)
            run_id = self.run_id(agent, job, [blob.sha256 for blob in blobs[1::2]])
            self.directory = f"{agent.base}/runs/{run_id}"
            self.start(agent, job, scratch)
            try:
                started_at = self.follow(agent)
                document, outputs = self.patiently(lambda: self.collect(agent, scratch))
            except Unreachable as error:
                error.hint = RESUME_HINT + (f"; {error.hint}" if error.hint else "")
                raise
            except AgentFailed:
                # What makes no sense now would make none when it is picked up again.
                with contextlib.suppress(EdgewrightError):
                    agent.ask("stop", self.directory)
                remove(self.transport, self.directory)
                raise
        self.patiently(lambda: remove(self.transport, self.directory))
        with understood(self.transport.address, "result.json"):
            return self.results(document, outputs, arrival, run_id, started_at)

    def results(
        self,
        document: dict[str, Any],
        outputs: Sequence[list[list[Array]] | None],
        arrival: Arrival,
        run_id: str,
        started_at: str,
    ) -> list[Run | FailedRun]:
        """What was collected, as the caller gets it."""
        if "error" in document:
            raise NoSpaceOnDevice(
                f"{self.transport.address}: {document['error']['message']}",
                hint=HINTS["NoSpaceOnDevice"],
            )
        context = Context(
            measurement=f"{run_id[:16]}-{started_at}",
            started_at=started_at,
            settings=self.settings,
            device=arrival.facts,
            installed=arrival.installed,
            notes=(*arrival.notes, *document["notes"]),
        )
        contexts = [context] * len(self.models)
        if not document["in_turn"]:
            # Their rounds have nothing in common but their numbers: they must not be paired.
            contexts = [
                replace(context, measurement=f"{context.measurement}-{index}")
                for index in range(len(self.models))
            ]
        return [
            own.result(*parts)
            for own, *parts in zip(
                contexts, self.models, arrival.runners, document["models"], outputs, strict=True
            )
        ]

    def abandon(self) -> None:
        """Ends the measurement on the device and deletes what was brought there."""
        if self.agent is not None and self.directory:
            self.agent.ask("stop", self.directory)
        remove(self.transport, *filter(None, [self.directory]), *self.sent)

    def tell(self, phase: Phase, done: int = 0, total: int = 0, message: str = "") -> None:
        self.on_progress(ProgressEvent(phase, None, done, total, message))

    def patiently(self, action: Callable[[], T]) -> T:
        """Does something that can be done again, again while the connection is lost."""
        return while_lost(
            action,
            self.settings.reconnect_s,
            lambda: self.tell("lost", message="connection lost, picking up again"),
        )

    def when_free(self, action: Callable[[], T]) -> T:
        """Does something as soon as no other measurement runs on the device."""
        limit_s = self.settings.busy_s
        return while_busy(
            action,
            limit_s,
            lambda busy: self.tell(
                "connect", message=f"{busy}; waiting up to {limit_s:g} s for its end"
            ),
        )

    def blobs(self, scratch: Path) -> list[Blob]:
        """Each model, and its reference inputs."""
        blobs: list[Blob] = []
        for index, model in enumerate(self.models):
            try:
                blob = Blob.of(model.path)
            except OSError as error:
                raise UsageError(f"{model.path}: {error.strerror}") from error
            if blob.sha256 != model.sha256:
                raise IntegrityError(f"{model.path} changed since it was made")
            arrays = {
                f"i{s}_{i}": array
                for s, sample in enumerate(model.inputs)
                for i, array in enumerate(sample)
            }
            path = scratch / f"inputs-{index}.npz"
            np.savez(path, **arrays)  # type: ignore[arg-type]
            blobs += [blob, Blob.of(path)]
        return blobs

    def push(self, agent: Agent, blobs: Sequence[Blob]) -> None:
        deployed = deploy(
            agent, blobs, lambda done, total: self.tell("push", done, total), self.sent
        )
        self.tell(
            "push",
            deployed.sent_bytes,
            deployed.sent_bytes,
            f"sent {deployed.sent_bytes} bytes, {deployed.reused_bytes} were there",
        )

    def job(self, paths: Sequence[str], runners: Sequence[Runner]) -> dict[str, Any]:
        return {
            "threads": self.settings.threads,
            "cpus": self.settings.cpus,
            "cluster_counts": self.settings.cluster_counts,
            "deadline_s": self.settings.effective_deadline_s(len(self.models)),
            "operators": self.settings.operators,
            "limits": {
                "load_s": self.settings.load_limit_s,
                "inference_s": self.settings.inference_limit_s,
            },
            "sampling": asdict(self.settings.effective_sampling),
            "models": [
                {
                    "name": model.name,
                    "runtime": runner.name,
                    "path": paths[2 * index],
                    "size_bytes": model.size_bytes,
                    "inputs_path": paths[2 * index + 1],
                    "input_count": len(model.inputs[0]),
                }
                for index, (model, runner) in enumerate(zip(self.models, runners, strict=True))
            ],
        }

    def run_id(self, agent: Agent, job: dict[str, Any], inputs: Sequence[str]) -> str:
        """Names the measurement by all that it depends on; another user's is another."""
        models = [model.sha256 for model in self.models]
        text = json.dumps(
            [owner_name(), agent.sha256, agent.python, job, models, inputs], sort_keys=True
        )
        return hashlib.sha256(text.encode()).hexdigest()

    def start(self, agent: Agent, job: dict[str, Any], scratch: Path) -> None:
        """Starts it, unless it runs already or has just finished."""
        begin_words = ("start", self.directory, "--owner", this_owner().model_dump_json())
        found = self.when_free(lambda: self.patiently(lambda: self.find(agent)))
        self.boot_id = str(found.get("boot_id", ""))
        with understood(self.transport.address, "poll"):
            wanted = self.is_wanted(found)
        if wanted:
            self.patiently(lambda: agent.ask(*begin_words))
            self.tell("connect", message="picking up the measurement that is on the device")
            return
        if self.settings.resume:
            if found["state"] == "stale":
                self.raise_ended(found)
            raise DeviceError(
                f"{self.transport.address} has no measurement of {self.names} with these settings, "
                "started by this user on this host with this version of Edgewright",
                hint="`edgewright devices show` lists what is there; measure without --resume",
            )
        path = scratch / "job.json"
        path.write_text(json.dumps(job), encoding="utf-8")

        def prepare() -> None:
            # What is queued may be another process's, which begins it at this moment. That one may
            # also have cleared away what was found: it is looked at anew.
            if found["state"] not in _ENDED:
                return
            now = self.find(agent)
            if now["state"] in _ENDED and not self.is_wanted(now):
                agent.ask("stop", self.directory)
                remove(self.transport, self.directory)

        waited = theirs = False

        def begin() -> None:
            nonlocal waited, theirs
            theirs = waited
            if waited:  # while others measured, a second process may have begun this very one
                self.find(agent)
            waited, theirs = True, False
            self.transport.run(["mkdir", "-p", "--", self.directory])
            self.transport.push(path, f"{self.directory}/job.json")
            if not agent.ask(*begin_words, "--new").get("started"):
                # Begun before the answer got lost, or by a second process just now.
                theirs = True
                self.find(agent)
                theirs = False
                agent.ask(*begin_words)

        self.when_free(lambda: self.patiently(prepare))
        try:
            self.when_free(lambda: self.patiently(begin))
        except EdgewrightError as error:
            if not error.transient and not theirs:
                remove(self.transport, self.directory)
            raise

    def find(self, agent: Agent) -> dict[str, Any]:
        """What the device says of this measurement.

        Raises:
            DeviceBusy: another process on this host waits for the same.
        """
        found = agent.ask("poll", self.directory)
        with understood(self.transport.address, "poll"):
            holder = Holder.model_validate(found.get("holder", {}))
            found["state"] = str(found["state"])
        followed = found["state"] in ("running", "finished") and holder.is_followed_here
        if followed and not self.settings.resume:  # who resumes knows better than the process
            raise busy(self.transport.address, holder)
        return found

    def is_wanted(self, found: dict[str, Any]) -> bool:
        """Whether what is on the device is the measurement asked for, and no old one."""
        if found["state"] == "finished":
            ago = _seconds(found, "started_s_ago")  # None where the device was restarted since
            recent = ago is not None and ago <= self.settings.pick_up_s
            return self.settings.resume or recent
        return bool(found["state"] == "running")

    @property
    def names(self) -> str:
        return ", ".join(model.name for model in self.models)

    def follow(self, agent: Agent) -> str:
        """Reports progress until the measurement has ended; returns when it began (UTC)."""
        seen = 0
        began = ""
        while True:
            answer = self.patiently(
                lambda: agent.ask("poll", self.directory, "--since", str(seen))  # noqa: B023
            )
            with understood(self.transport.address, "poll"):
                lines = list(answer["progress"])
                events = _events(lines)
                state = str(answer["state"])
                ago = _seconds(answer, "started_s_ago")
                if not began:
                    age_s = ago if ago is not None else _seconds(answer, "wall_s_ago") or 0.0
                    start = datetime.now(UTC) - timedelta(seconds=age_s)
                    began = start.isoformat(timespec="milliseconds")
            seen += self.report(lines, events)
            if state == "finished":
                return began
            if state != "running":
                self.raise_ended(answer)
            limit = self.settings.effective_deadline_s(len(self.models)) + GRACE_S
            if ago is not None and ago > limit:
                agent.ask("stop", self.directory)
                remove(self.transport, self.directory)
                raise DeviceTimeout(
                    f"{self.transport.address}: the measurement hangs; it was ended"
                )
            seen += self.watch(seen)

    def watch(self, seen: int) -> int:
        """Reads progress while there is some, with no more than `tail`: a Python started for every
        look would take its time from what is measured."""
        count = 0
        last_news = time.monotonic()
        while time.monotonic() - last_news < self.settings.quiet_s:
            time.sleep(self.settings.poll_s)
            command = ["tail", "-n", f"+{seen + count + 1}", f"{self.directory}/progress.jsonl"]
            done = self.patiently(lambda: self.transport.run(command))  # noqa: B023
            # A line may be written at this very moment: it is read next time.
            with understood(self.transport.address, "progress"):
                lines = [read_answer(line) for line in done.stdout.split("\n")[:-1]]
                events = _events(lines)
            count += self.report(lines, events)
            if len(events) < len(lines):
                break
            if lines:
                last_news = time.monotonic()
        return count

    def report(self, lines: Sequence[Any], events: Sequence[ProgressEvent]) -> int:
        for event in events:
            self.on_progress(event)
        return len(lines)

    def raise_ended(self, answer: dict[str, Any]) -> None:
        address = self.transport.address
        remove(self.transport, self.directory)
        with understood(address, "poll"):
            last = "; ".join(answer.get("stderr", [])[-3:])
        if "no-space" in last or "No space left" in last:
            raise NoSpaceOnDevice(f"{address}: {last}", hint=HINTS["NoSpaceOnDevice"])
        if answer.get("boot_id", "") != self.boot_id or answer.get("end") == "restart":
            raise DeviceRestarted(
                f"{address}: the device was restarted during the measurement, which left no result",
                hint="measure again; if nobody restarted it, look at its power supply",
            )
        if answer.get("end") == "out-of-memory":
            raise DeviceOutOfMemory(
                f"{address}: the device ran out of memory and ended the measurement",
                hint=HINTS["DeviceOutOfMemory"],
            )
        if answer["state"] == "absent":
            raise AgentFailed(
                f"{address}: the measurement is gone: another process has taken its result, or "
                "somebody has cleaned the device",
                hint="measure again",
            )
        raise AgentFailed(
            f"{address}: the measurement ended without a result ({answer['state']})"
            + (f": {last}" if last else ""),
            hint="something on the device has ended it: measure again",
        )

    def collect(
        self, agent: Agent, scratch: Path
    ) -> tuple[dict[str, Any], list[list[list[Array]] | None]]:
        """The result and each model's outputs for its reference inputs."""
        self.tell("collect", message="collecting the result")
        path = scratch / "result.json"
        self.transport.pull(f"{self.directory}/result.json", path)
        outputs: list[list[list[Array]] | None] = []
        with understood(self.transport.address, path.name):
            document = read_answer(path.read_text(encoding="utf-8"))
            answered = [bool(model["has_outputs"]) for model in document.get("models", ())]
        for index, (model, has_outputs) in enumerate(zip(self.models, answered, strict=False)):
            path = scratch / f"outputs-{index}.npz"
            if has_outputs:
                self.transport.pull(f"{self.directory}/{path.name}", path)
            with understood(self.transport.address, path.name):
                outputs.append(read_outputs(path, model) if has_outputs else None)
        return document, outputs


def _seconds(answer: dict[str, Any], name: str) -> float | None:
    """A time that the device tells; None where it can't tell it."""
    return None if answer.get(name) is None else float(answer[name])


def _events(lines: Sequence[Any]) -> list[ProgressEvent]:
    """Lines of progress as events; the last one of all is none."""
    from pydantic import TypeAdapter

    adapter = TypeAdapter(ProgressEvent)
    return [adapter.validate_python(line) for line in lines if line["phase"] != "end"]
