"""A model of the job, as the conductor knows it."""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import signal
import statistics
import subprocess
import time
from typing import Any, Callable, List, Optional, Sequence

from .common import Json, is_out_of_memory, self_command, why
from .files import last_lines
from .power import power_w
from .uptime import oom_kills

BLOCK_S = 1.0
#: A model that takes longer from process to first answer is not started cold again.
COLD_START_PATIENCE_S = 5.0
POWER_EVERY_S = 0.2
#: What takes so many times as long as it ought to hangs.
HANG_FACTOR = 20


def signal_name(number: int) -> str:
    """What people call it; most of the real-time signals have no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return "signal %d" % number


class ModelFailed(Exception):
    """This model can't be measured; the others go on. Carries the `error` of its result."""

    def __init__(self, error: Json) -> None:
        super().__init__(error["message"])
        self.error = error


class DeadlinePassed(Exception):
    """The job's time is up."""


class Measured:
    """A model of the job, its worker, and what is known so far."""

    def __init__(self, index: int, model: Json, job: Json, directory: str, deadline: float) -> None:
        self.model = model
        self.job = job
        self.deadline = deadline
        self.stderr_path = "%s/worker-%d.stderr" % (directory, index)
        self.outputs_path = "%s/outputs-%d.npz" % (directory, index)
        self.process: Optional[subprocess.Popen[bytes]] = None
        self.buffer = b""
        self.phase = "load"
        self.slowest_s = 0.0
        self.each_s = 0.0
        self.block_queries = 1
        self.planned = 0
        self.block_s = 0.0
        self.unkept_s = 0.0
        self.blocks: List[List[int]] = []
        self.warm_up_ns: List[int] = []
        self.result: Json = {
            "name": model["name"],
            "status": "finished",
            "missing": {},
            "conditions": [],
            "cold_starts": [],
        }

    @property
    def alive(self) -> bool:
        return self.process is not None

    @property
    def taken(self) -> int:
        return sum(map(len, self.blocks))

    @property
    def done(self) -> bool:
        """Enough queries, time (that of the inferences, kept or not) and rounds."""
        sampling = self.job["sampling"]
        enough = [self.taken >= sampling["queries"], self.seconds >= sampling["seconds"]]
        if self.taken >= sampling["max_queries"]:
            return True
        return (
            (all(enough) if sampling["both"] else any(enough))
            and len(self.blocks) >= sampling["min_rounds"]
            and self.taken >= sampling["min_queries"]
            and self.seconds >= sampling["min_seconds"]
        )

    @property
    def seconds(self) -> float:
        return sum(map(sum, self.blocks)) / 1e9 + self.unkept_s

    def start(self) -> None:
        self.oom_kills = oom_kills()
        with open(self.stderr_path, "wb") as stderr:
            self.process = subprocess.Popen(
                [*self_command(), "worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
            )

    def limit_s(self, expected_s: float = 0.0) -> float:
        """How long inferences may take before they count as hanging.

        Args:
            expected_s: what they ought to take, if that is more than the slowest known.
        """
        limit: float = self.job["limits"]["inference_s"]
        return max(limit, HANG_FACTOR * max(expected_s, self.slowest_s))

    def ask(
        self,
        command: str,
        limit_s: float,
        meanwhile: Callable[[], None] = lambda: None,
        every_s: float = 60.0,
        **task: Any,
    ) -> Json:
        """Sends one command and waits for its answer.

        Args:
            limit_s: without an answer for so long, the worker hangs, and is killed.
            meanwhile: called every so many seconds while there is no answer yet.

        Raises:
            ModelFailed: the worker failed, died or hangs.
            DeadlinePassed: no answer in the job's time.
        """
        assert self.process is not None and self.process.stdin and self.process.stdout
        with contextlib.suppress(BrokenPipeError):
            message = json.dumps(dict(task, command=command, limit_s=limit_s))
            self.process.stdin.write(message.encode() + b"\n")
            self.process.stdin.flush()
        pipe = self.process.stdout.fileno()
        hangs = time.monotonic() + limit_s
        while b"\n" not in self.buffer:
            now = time.monotonic()
            if now >= self.deadline:
                raise DeadlinePassed
            if now >= hangs:
                raise ModelFailed(self.hanging(limit_s))
            left = min(self.deadline, hangs) - now
            if not select.select([pipe], [], [], min(left, every_s))[0]:
                meanwhile()
                continue
            chunk = os.read(pipe, 1 << 16)
            if not chunk:
                raise ModelFailed(self.obituary())
            self.buffer += chunk
        line, _, self.buffer = self.buffer.partition(b"\n")
        answer: Json = json.loads(line)
        if "error" in answer:
            raise ModelFailed(dict(self.obituary(), **answer["error"]))
        self.result["missing"].update(answer.pop("missing", {}))
        return answer

    def hanging(self, limit_s: float) -> Json:
        """Kills a worker that does not answer, and says so."""
        assert self.process is not None
        self.process.kill()
        message = "no answer in %.3g s, the limit of this phase: it hangs, and was ended" % limit_s
        return dict(self.obituary(), kind="hang", message=message, signal=None)

    def obituary(self) -> Json:
        """Why the worker is gone."""
        assert self.process is not None
        try:
            code = self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        stderr = last_lines(self.stderr_path)
        name = None
        kind = "crashed"
        message = "the process ended with exit code %d" % code
        if code < 0:
            name = signal_name(-code)
            message = "the process was ended by %s" % name
        if code == -signal.SIGALRM:  # the worker's own watchdog: see `worker.py`
            kind = "hang"
        kills = oom_kills()
        killed = code == -signal.SIGKILL and (kills is None or kills != self.oom_kills)
        if killed or (code == -signal.SIGABRT and is_out_of_memory("\n".join(stderr))):
            kind = "out-of-memory"
        return {
            "kind": kind,
            "message": message,
            "phase": self.phase,
            "signal": name,
            "exit_code": code if code >= 0 else 128 - code,
            "stderr": stderr,
        }

    def fail(self, error: Json) -> None:
        self.result.update(status="failed", error=error)
        self.end()

    def end(self) -> None:
        """Ends the worker, which keeps nothing that would need a farewell."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout):
                if pipe:
                    with contextlib.suppress(OSError):
                        pipe.close()
            self.process = None

    def load(self) -> None:
        """Loads the model, before that a few times in processes that end again."""
        for _ in range(self.job["sampling"]["cold_starts"] - 1):
            began = time.monotonic()
            self.result["cold_starts"].append(dict(self.load_once(), **self.first_once()))
            self.end()
            if time.monotonic() - began > COLD_START_PATIENCE_S:
                break
        answer = self.load_once()
        self.result["cold_starts"].append(answer)
        self.result.update(answer)

    def load_once(self) -> Json:
        spawned_s = time.monotonic()
        self.start()
        return self.ask(
            "load",
            self.job["limits"]["load_s"],
            **self.model,
            threads=self.job["threads"],
            stderr_path=self.stderr_path,
            spawned_s=spawned_s,
            cpus=self.job["cpus"],
            cluster_counts=self.job["cluster_counts"],
        )

    def first(self) -> None:
        self.result["cold_starts"][-1].update(self.first_once())

    def first_once(self) -> Json:
        # Nobody knows yet how long it ought to take.
        answer = self.ask("first", self.job["limits"]["load_s"])
        self.slowest_s = max(self.slowest_s, answer["first_inference_ms"] / 1000)
        return answer

    def reference(self) -> None:
        self.ask("reference", self.limit_s(), outputs_path=self.outputs_path)

    def warm_up(self) -> None:
        """Warms up, and plans blocks so that there are rounds enough, of about a second at most."""
        sampling = self.job["sampling"]
        answer = self.ask("warm_up", sampling["warm_up_max_s"] + self.limit_s(), **sampling)
        self.warm_up_ns = answer.pop("spent_ns")
        self.result["warm_up"] = dict(answer, queries=len(self.warm_up_ns))
        each_s = self.each_s = max(statistics.median(self.warm_up_ns) / 1e9, 1e-6)
        choose = max if sampling["both"] else min
        planned = choose(sampling["queries"], sampling["seconds"] / each_s)
        planned = max(planned, sampling["min_queries"], sampling["min_seconds"] / each_s)
        planned = min(planned, sampling["max_queries"])
        if planned > sampling["keep_queries"]:
            planned = sampling["keep_queries"]
            self.block_s = min(BLOCK_S, sampling["seconds"] / sampling["min_rounds"])
            self.block_queries = max(1, int(planned * self.block_s / sampling["seconds"]))
            self.planned = planned
            return
        in_rounds = math.ceil(planned / sampling["min_rounds"])
        self.block_queries = max(1, min(in_rounds, math.ceil(BLOCK_S / each_s)))
        self.planned = max(math.ceil(planned), self.block_queries * sampling["min_rounds"])

    def measure_block(self, settling: int) -> None:
        limit_s = self.limit_s((self.block_queries + settling) * self.each_s)
        answer = self.ask("block", limit_s, queries=self.block_queries, settling=settling)
        self.warm_up_ns += answer.pop("settling_ns")
        self.blocks.append(answer.pop("spent_ns"))
        self.result.update(answer)
        rest_s = self.block_s - sum(self.blocks[-1]) / 1e9
        if rest_s > 0:
            self.unkept_s += self.ask("busy", rest_s + self.limit_s(), seconds=rest_s)["seconds"]

    def energy(self, idle_w: Sequence[float], seconds: float) -> None:
        """Keeps the model busy and looks at what the device draws meanwhile.

        What goes wrong here costs no sample.
        """
        drawn: List[float] = []
        problem = "there was no time to look at the power"

        def look() -> None:
            nonlocal problem
            try:
                drawn.append(power_w()[0])
            except (OSError, ValueError, LookupError) as error:
                problem = why(error)

        limit_s = seconds + self.limit_s()
        try:
            answer = self.ask(
                "busy", limit_s, meanwhile=look, every_s=POWER_EVERY_S, seconds=seconds
            )
        except ModelFailed as failure:
            self.result["missing"]["energy"] = failure.error["message"]
            self.end()
            return
        if drawn:
            self.result["energy"] = dict(answer, power_w=drawn, idle_power_w=list(idle_w))
            del self.result["missing"]["energy"]
        else:
            self.result["missing"]["energy"] = problem

    def operators(self) -> None:
        """Takes the time apart, last of all: what goes wrong here costs no sample."""
        missing = self.result["missing"]
        try:
            answer = self.ask(
                "operators",
                self.job["limits"]["load_s"] + self.limit_s(),
                **self.model,
                threads=self.job["threads"],
                profile_prefix=self.stderr_path + ".profile",
            )["operators"]
        except ModelFailed as failure:
            missing["operators"] = failure.error["message"]
            self.end()
            return
        del missing["operators"]
        self.result["operators"] = answer

    def document(self) -> Json:
        return dict(
            self.result,
            unkept_s=self.unkept_s,
            blocks_ns=self.blocks,
            warm_up_ns=self.warm_up_ns,
            has_outputs=os.path.exists(self.outputs_path),
        )
