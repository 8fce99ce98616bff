"""Blocks of every model in turn."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import time
from typing import Callable, Dict, Iterator, List, NoReturn, Optional, Sequence

from .common import Json, Refusal, why
from .conditions import Observer
from .device import memory_bytes
from .files import write_whole
from .jobs import take_lock
from .measured import DeadlinePassed, Measured, ModelFailed
from .power import power_w
from .processes import write_pid

#: Kept free for saying that the disk is full.
RESERVE_BYTES = 65536
#: A model in memory is taken to need this many times its file: weights, a packed copy, the rest.
RESIDENT_FACTOR = 3
#: How long past the job's deadline the conductor ends itself.
OWN_LIMIT_S = 60.0
#: What the device draws at rest is looked at so often, this far apart.
IDLE_LOOKS, IDLE_EVERY_S = 5, 0.2


class Conductor:
    """Measures every model of a job under the same conditions: a block of each in turn."""

    def __init__(self, directory: str) -> None:
        with open(directory + "/job.json", encoding="utf-8") as handle:
            self.job: Json = json.load(handle)
        self.directory = directory
        self.observer = Observer()
        self.began = self.observer.began
        deadline = self.began + self.job["deadline_s"]
        self.models = [
            Measured(index, model, self.job, directory, deadline)
            for index, model in enumerate(self.job["models"])
        ]
        self.in_turn = True
        self.notes: List[str] = []
        self.conditions: List[Json] = []
        self.last_told = 0.0
        self.idle_w: List[float] = []

    def run(self) -> Json:
        groups = [self.models]
        needed = sum(RESIDENT_FACTOR * model["size_bytes"] for model in self.job["models"])
        with contextlib.suppress(OSError, ValueError):
            free = memory_bytes("MemAvailable")
            if len(self.models) > 1 and free < needed:
                groups = [[model] for model in self.models]
                self.in_turn = False
                self.notes.append(
                    "the models were measured one after another, not in turn: together they need "
                    "about %d MB and %d MB are free" % (needed // 1_000_000, free // 1_000_000)
                )
        try:
            for group in groups:
                self.conditions = []
                self.measure(group)
        except DeadlinePassed:
            for model in self.models:
                if not model.blocks and model.result["status"] == "finished":
                    message = "not done in %g s" % self.job["deadline_s"]
                    model.fail({"kind": "timeout", "message": message, "phase": model.phase})
            self.look("after")
            self.notes.append("stopped at the deadline of %g s" % self.job["deadline_s"])
        finally:
            for model in self.models:
                model.end()
        self.write({"phase": "end"})
        return {
            "schema": 1,
            "duration_s": time.monotonic() - self.began,
            "in_turn": self.in_turn,
            "notes": self.notes,
            "models": [model.document() for model in self.models],
        }

    def measure(self, group: List[Measured]) -> None:
        for model in group:
            model.result["conditions"] = self.conditions
        self.look("before")
        idle_w = self.idle_power(group)
        wanted = {"energy": idle_w, "operators": self.job.get("operators")}
        last = [phase for phase, is_wanted in wanted.items() if is_wanted]
        for model in group:
            unless_done = "not done in %g s" % self.job["deadline_s"]
            model.result["missing"].update(dict.fromkeys(last, unless_done))
        for model in group:
            self.take(model, ("load", "first inference", "reference inputs"))
        for model in group:
            self.take(model, ("warm-up",))
        forwards = True
        while True:
            unfinished = [model for model in group if model.alive and not model.done]
            if not unfinished:
                break
            settling = 1 if sum(model.alive for model in group) > 1 else 0
            # Every other round backwards, so that none always follows the same neighbour.
            for model in unfinished if forwards else reversed(unfinished):
                model.phase = "measure"
                with self.surviving(model):
                    model.measure_block(settling)
                self.look("during", model)
                self.tell(model, always=model.done)
            forwards = not forwards
        self.look("after")
        for phase in last:
            for model in filter(lambda model: model.alive, group):
                self.take(model, (phase,))
        for model in group:
            model.end()

    def idle_power(self, group: List[Measured]) -> List[float]:
        """What the device draws before anything is started, in watts; empty where it can't tell."""
        try:
            watts, method = power_w()
            rest = []
            for _ in range(IDLE_LOOKS - 1):
                time.sleep(IDLE_EVERY_S)
                rest.append(power_w()[0])
        except (OSError, ValueError, LookupError) as error:
            for model in group:
                model.result["missing"]["energy"] = why(error)
            return []
        for model in group:
            model.result["power_method"] = method
        self.idle_w = [watts, *rest]
        return self.idle_w

    def take(self, model: Measured, phases: Sequence[str]) -> None:
        """Takes a model through phases of its preparation, until one fails."""
        steps: Dict[str, Callable[[], None]] = {
            "load": model.load,
            "first inference": model.first,
            "reference inputs": model.reference,
            "warm-up": model.warm_up,
            "energy": lambda: model.energy(self.idle_w, self.job["sampling"]["power_s"]),
            "operators": model.operators,
        }
        for phase in phases:
            if model.result["status"] == "finished":
                model.phase = phase
                self.tell(model, always=True)
                with self.surviving(model):
                    steps[phase]()

    @contextlib.contextmanager
    def surviving(self, model: Measured) -> Iterator[None]:
        try:
            yield
        except ModelFailed as failure:
            model.fail(failure.error)
            self.tell(model, always=True)

    def look(self, taken: str, model: Optional[Measured] = None) -> None:
        if taken == "during" and self.conditions[-1]["taken"] == "during":
            due = self.conditions[-1]["at_s"] + self.job["sampling"]["conditions_every_s"]
            if time.monotonic() - self.began < due:
                return
        name = model.result["name"] if model else None
        self.conditions.append(self.observer.look(taken, name))

    def tell(self, model: Measured, always: bool = False) -> None:
        """Appends one line of progress; measuring goes on where that fails."""
        now = time.monotonic()
        if not always and now - self.last_told < 0.25:
            return
        self.last_told = now
        self.write(
            {
                "phase": model.phase,
                "model": model.result["name"],
                "done": model.taken,
                "total": max(model.planned, model.taken),
                "message": model.result.get("error", {}).get("message", ""),
            }
        )

    def write(self, line: Json) -> None:
        with contextlib.suppress(OSError), open(self.directory + "/progress.jsonl", "a") as handle:
            handle.write(json.dumps(line) + "\n")


def run(directory: str, lock: Optional[int]) -> Json:
    """Measures, and leaves result.json."""

    def terminated(number: int, frame: object) -> NoReturn:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, terminated)
    if lock is None:
        lock = take_lock(directory, {})
    reserve = directory + "/reserve"
    try:
        write_pid(directory)
        write_whole(reserve, "x" * RESERVE_BYTES)
        conductor = Conductor(directory)
        # Nothing here may outlive its time by much, even if it is the conductor that hangs: it
        # ends by SIGALRM, and its workers with it.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, conductor.job["deadline_s"] + OWN_LIMIT_S)
        document = conductor.run()
        write_whole(directory + "/result.json", json.dumps(document))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        with contextlib.suppress(OSError):
            os.unlink(reserve)
        failure = {"kind": "no-space", "message": why(error)}
        write_whole(directory + "/result.json", json.dumps({"schema": 1, "error": failure}))
        raise Refusal("no-space", why(error)) from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(reserve)
        os.close(lock)
    return {"state": "finished"}
