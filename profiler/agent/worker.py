"""One model in one process."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import faulthandler
import gc
import json
import math
import os
import resource
import signal
import sys
import time
from array import array
from typing import IO, Any, Dict, List

from .common import Json, is_out_of_memory, read_text
from .cpus import choose_cpus, pin
from .engines import OnnxRuntime, TfliteInterpreter
from .memory import Memory
from .steady import Steadiness

#: How long past the conductor's limit the worker ends itself.
OWN_LIMIT_S = 15.0
#: Numbers that are written at once.
PIECE = 1024
#: proc(5): half of the memory is added to what it uses when the kernel looks for what to end, so
#: that it ends the model and none of the device's own programs, nor the one that would tell.
OOM_SCORE_ADJ = "500"


def forget_cached(path: str) -> None:
    """Asks the kernel to forget what it has of a file in memory, so that loading reads the disk."""
    with contextlib.suppress(OSError, AttributeError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)


def write_answer(stream: IO[str], answer: Json) -> None:
    """One line of JSON: arrays of numbers, piece by piece, then the rest, of which there is some.

    As Python's lists and text all at once they would be megabytes, in the very process whose memory
    is looked at.
    """
    rest = {name: value for name, value in answer.items() if not isinstance(value, array)}
    stream.write("{")
    for name, values in answer.items():
        if isinstance(values, array):
            stream.write(json.dumps(name) + ": [")
            for start in range(0, len(values), PIECE):
                stream.write("," if start else "")
                stream.write(",".join(map(str, values[start : start + PIECE])))
            stream.write("], ")
    stream.write(json.dumps(rest)[1:] + "\n")
    stream.flush()


class Worker:
    """Answers the conductor's commands, each a method that takes and returns a JSON object."""

    def __init__(self) -> None:
        self.engine: Any = None
        self.samples: List[List[Any]] = []
        self.position = 0
        self.memory = Memory()
        self.started_s = time.monotonic()
        clock = time.get_clock_info("perf_counter")
        self.resolution_ns = max(1, math.ceil(1e9 * clock.resolution))

    def load(self, task: Json) -> Json:
        cpus = choose_cpus(task["cpus"], task["cluster_counts"])
        pin(cpus)
        import numpy

        with numpy.load(task["inputs_path"], allow_pickle=False) as archive:
            inputs = range(task["input_count"])
            samples = range(len(archive.files) // len(inputs))
            self.samples = [[archive["i%d_%d" % (s, i)] for i in inputs] for s in samples]
        forget_cached(task["path"])
        self.memory.look("start")
        began = time.perf_counter()
        name = task["runtime"]
        self.engine = OnnxRuntime() if name == "onnxruntime" else TfliteInterpreter(name)
        imported = time.perf_counter()
        self.memory.baseline()
        ready = time.perf_counter()
        self.engine.load(task)
        loaded = time.perf_counter()
        self.memory.look("loaded")
        gc.collect()
        gc.disable()
        return {
            "cpus": cpus,
            "process_ms": 1000 * (self.started_s - task["spawned_s"]),
            "import_ms": 1000 * (imported - began),
            "load_ms": 1000 * (loaded - ready),
            "version": self.engine.version,
            "provider": self.engine.provider(read_text(task["stderr_path"])),
        }

    def infer(self) -> int:
        """One inference on the next reference input; nanoseconds."""
        self.engine.bind(self.samples[self.position % len(self.samples)])
        self.position += 1
        invoke = self.engine.invoke
        began = time.perf_counter_ns()
        invoke()
        spent = time.perf_counter_ns() - began
        # No inference takes no time: what the clock did not see was shorter than its tick.
        return spent or self.resolution_ns

    def first(self, task: Json) -> Json:
        spent_ns = self.infer()
        self.memory.look("first")
        return {"first_inference_ms": spent_ns / 1e6}

    def reference(self, task: Json) -> Json:
        """Runs every reference input and keeps the outputs for the host."""
        import numpy

        arrays: Dict[str, Any] = {}
        for s, sample in enumerate(self.samples):
            self.engine.bind(sample)
            self.engine.invoke()
            for o, output in enumerate(self.engine.fetch()):
                arrays["o%d_%d" % (s, o)] = numpy.array(output)
        numpy.savez(task["outputs_path"], **arrays)
        return {}

    def warm_up(self, task: Json) -> Json:
        spent = array("q")
        steadiness = Steadiness()
        began = time.monotonic()
        while time.monotonic() - began < task["warm_up_max_s"]:
            spent.append(self.infer())
            warm = time.monotonic() - began >= task["warm_up_s"]
            if warm and len(spent) >= task["warm_up_queries"] and steadiness.look(spent):
                break
        steadiness.look(spent, finally_=True)
        return {
            "spent_ns": spent,
            "steady": steadiness.steady,
            "change": steadiness.change,
            "seconds": time.monotonic() - began,
        }

    def busy(self, task: Json) -> Json:
        """Inferences for some seconds; their times are not kept."""
        began = time.monotonic()
        count = 0
        while count == 0 or time.monotonic() - began < task["seconds"]:
            self.infer()
            count += 1
        return {"inferences": count, "seconds": time.monotonic() - began}

    def block(self, task: Json) -> Json:
        settling = array("q", (self.infer() for _ in range(task["settling"])))
        return dict(
            self.memory.report(),
            settling_ns=settling,
            spent_ns=array("q", (self.infer() for _ in range(task["queries"]))),
        )

    def operators(self, task: Json) -> Json:
        """Where the time goes; nothing can be asked afterwards."""
        return {"operators": self.engine.operators(task, self.samples)}


def worker() -> int:
    """Serves commands from standard input until it ends."""
    # The runtimes print what they like to standard output: the answers get a pipe of their own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    faulthandler.enable()
    # Read when ONNX Runtime is imported: else it leaves events for its makers in the user's home.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    # A crash is told by its signal; a dump of its memory would fill a small disk.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as handle:
        handle.write(OOM_SCORE_ADJ)
    with contextlib.suppress(OSError, AttributeError):
        # PR_SET_PDEATHSIG = 1: no worker survives its conductor.
        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    commands = Worker()
    for line in sys.stdin:
        task = json.loads(line)
        # Ends this process, whatever it is in, where the conductor could not.
        signal.setitimer(signal.ITIMER_REAL, task["limit_s"] + OWN_LIMIT_S)
        try:
            answer = getattr(commands, task["command"])(task)
        except Exception as error:
            kind = "crashed"
            if isinstance(error, MemoryError) or is_out_of_memory(str(error)):
                kind = "out-of-memory"
            elif isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                kind = "no-space"
            answer = {"error": {"kind": kind, "message": "%s: %s" % (type(error).__name__, error)}}
        write_answer(answers, answer)
        signal.setitimer(signal.ITIMER_REAL, 0)
        if "error" in answer:
            return 1
    return 0
