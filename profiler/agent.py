"""Edgewright's hands on a device: the one file that is pushed there.

Standard library only (workers add NumPy and one inference runtime), Python 3.7 or newer, Linux.
Every command prints one JSON document; one that fails on purpose prints {"error": {kind, message}}
and exits with 3.

    facts                   what the device is, and which runtimes it has
    hash PATH...            SHA-256 of files; null where there is none
    adopt [SHA PART FINAL]  renames PART to FINAL if its SHA-256 is right, else deletes it
    start DIR               starts the measurement described by DIR/job.json, detached
    poll DIR [--since N]    its state and its progress from line N on
    stop DIR                ends it and every process it started
    run DIR                 the measurement itself, in the foreground (what `start` starts)
    worker                  one model in one process (what `run` starts); JSON lines on both pipes

What is timed: `invoke()` alone, between two reads of `time.perf_counter_ns`. For ONNX Runtime that
is `InferenceSession.run`, which also allocates the output arrays; for TFLite runtimes it is
`Interpreter.invoke`, with the inputs already copied in and the outputs not yet copied out. What the
clock is too coarse to see is taken to last as long as the clock's resolution.

Files of one measurement, BASE/runs/RUN_ID: job.json (pushed), pid, progress.jsonl, outputs-N.npz,
worker-N.stderr, conductor.stderr, result.json (written whole, last). BASE/lock is held by whichever
measurement runs, so that two never overlap on one device.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import errno
import faulthandler
import fcntl
import gc
import glob
import hashlib
import importlib
import importlib.util
import json
import math
import os
import platform
import re
import resource
import select
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import time
from typing import Any, Callable, Dict, Iterator, List, NoReturn, Optional, Sequence, Tuple

Json = Dict[str, Any]

PROC = "/proc"
SYS = "/sys"

#: Runtime -> (module that is imported, distributions that may carry it).
RUNTIMES = {
    "onnxruntime": ("onnxruntime", ("onnxruntime", "onnxruntime-openvino", "onnxruntime-gpu")),
    "ai_edge_litert": ("ai_edge_litert", ("ai-edge-litert",)),
    "tflite_runtime": ("tflite_runtime", ("tflite-runtime",)),
}

#: Kept free for saying that the disk is full.
RESERVE_BYTES = 65536
STDERR_LINES = 20
#: A model in memory is taken to need this many times its file: weights, a packed copy, the rest.
RESIDENT_FACTOR = 3
#: Conditions during the measurement are read at block boundaries, this far apart.
CONDITIONS_EVERY_S = 1.0
BLOCK_S = 1.0


class Refusal(Exception):
    """Something that the host is told in so many words."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


# --- Reading the device ---------------------------------------------------------------------------


def read_text(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as handle:
        return handle.read().replace("\0", "").strip()


def why(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return "%s: %s" % (error.filename, error.strerror) if error.filename else error.strerror
    return str(error) or type(error).__name__


def fill(document: Json, readers: Dict[str, Callable[[], Any]]) -> Json:
    """Calls each reader; what can't be read is null, with the reason under `missing`."""
    missing = {}
    for name, reader in readers.items():
        try:
            document[name] = reader()
        except (OSError, ValueError, LookupError, subprocess.SubprocessError) as error:
            document[name] = None
            missing[name] = why(error)
    document["missing"] = missing
    return document


def device_model() -> str:
    for path in (PROC + "/device-tree/model", SYS + "/firmware/devicetree/base/model"):
        with contextlib.suppress(OSError):
            return read_text(path)
    vendor = read_text(SYS + "/class/dmi/id/sys_vendor")
    return (vendor + " " + read_text(SYS + "/class/dmi/id/product_name")).strip()


def architecture() -> str:
    """That of this Python: a 64-bit kernel may carry a 32-bit system."""
    machine = platform.machine()
    if struct.calcsize("P") == 4 and machine in ("aarch64", "armv8l"):
        return "armv7l"
    return {"arm64": "aarch64", "amd64": "x86_64"}.get(machine, machine)


def os_name() -> str:
    found = re.search(r'^PRETTY_NAME="?([^"\n]*)', read_text("/etc/os-release"), re.MULTILINE)
    if found is None:
        raise ValueError("/etc/os-release has no PRETTY_NAME")
    return found.group(1)


def memory_bytes(key: str) -> int:
    found = re.search(r"^%s:\s+(\d+) kB" % key, read_text(PROC + "/meminfo"), re.MULTILINE)
    if found is None:
        raise ValueError("/proc/meminfo has no " + key)
    return int(found.group(1)) * 1024


def is_emulated() -> bool:
    """Whether another kind of CPU plays this one. A hypervisor alone is not emulation.

    qemu-user hides itself from a process that looks at itself, but not from its child; older ones
    also show the /proc/cpuinfo of the machine underneath.
    """
    cpuinfo = read_text(PROC + "/cpuinfo")
    if architecture() in ("aarch64", "armv7l") and re.search("^vendor_id", cpuinfo, re.MULTILINE):
        return True
    if re.search(r"^model name\s*: QEMU TCG", cpuinfo, re.MULTILINE):
        return True
    receiver, sender = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(OSError):
            os.write(sender, os.readlink("/proc/%d/exe" % parent).encode())
        os._exit(0)
    os.close(sender)
    with os.fdopen(receiver) as pipe:
        name = os.path.basename(pipe.read())
    os.waitpid(child, 0)
    return name.startswith("qemu")


def distribution_version(module: str, distributions: Sequence[str]) -> Optional[str]:
    """The version of an installed module, which is not imported; None where there is none."""
    if importlib.util.find_spec(module) is None:
        return None
    try:
        metadata = importlib.import_module("importlib.metadata")
    except ImportError:
        return "unknown"
    for name in distributions:
        with contextlib.suppress(metadata.PackageNotFoundError):
            return str(metadata.version(name))
    return "unknown"


def facts() -> Json:
    """What the device is; the host reads `cpuinfo` itself."""
    runtimes = {}
    for name, (module, distributions) in RUNTIMES.items():
        version = distribution_version(module, distributions)
        if version is not None:
            runtimes[name] = version
    document = {
        "hostname": platform.node(),
        "architecture": architecture(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "numpy": distribution_version("numpy", ("numpy",)),
        "runtimes": runtimes,
    }  # type: Json
    return fill(
        document,
        {
            "model": device_model,
            "os": os_name,
            "cpuinfo": lambda: read_text(PROC + "/cpuinfo"),
            "cores": os.cpu_count,
            "ram_bytes": lambda: memory_bytes("MemTotal"),
            "emulated": is_emulated,
        },
    )


def temperature_c() -> float:
    """The hottest zone that names the CPU or the chip; of all zones where none does."""
    cpu = []  # type: List[float]
    others = []  # type: List[float]
    for zone in glob.glob(SYS + "/class/thermal/thermal_zone*"):
        try:
            kind, millidegrees = read_text(zone + "/type").lower(), int(read_text(zone + "/temp"))
        except (OSError, ValueError):
            continue
        is_cpu = any(word in kind for word in ("cpu", "soc", "pkg", "core", "bcm2835"))
        (cpu if is_cpu else others).append(millidegrees / 1000)
    if not cpu and not others:
        raise ValueError("no readable thermal zone in /sys/class/thermal")
    return max(cpu or others)


def read_cores(name: str) -> List[str]:
    found = []
    for path in glob.glob(SYS + "/devices/system/cpu/cpu[0-9]*/cpufreq/" + name):
        with contextlib.suppress(OSError):
            found.append(read_text(path))
    if not found:
        raise ValueError("no readable %s in /sys/devices/system/cpu/cpu*/cpufreq" % name)
    return found


def vcgencmd(*arguments: str) -> str:
    """Asks the Raspberry Pi's firmware."""
    program = shutil.which("vcgencmd")
    if program is None:
        raise LookupError("no vcgencmd (Raspberry Pi only)")
    done = subprocess.run(
        [program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
        timeout=5,
    )
    if done.returncode != 0:
        raise LookupError("vcgencmd: " + done.stdout.strip())
    return done.stdout.strip().partition("=")[2]


def throttling() -> Tuple[bool, str]:
    """Whether the CPU is held back now, and the flags that say so.

    Raspberry Pi firmware, `get_throttled`: bits 0-3 are now (under-voltage, frequency capped,
    throttled, soft temperature limit), bits 16-19 the same since boot. Elsewhere: the state of the
    kernel's CPU cooling devices, which is 0 while they do nothing.
    """
    try:
        flags = int(vcgencmd("get_throttled"), 16)
        return bool(flags & 0xF), hex(flags)
    except (LookupError, ValueError, OSError, subprocess.SubprocessError) as error:
        reason = why(error)
    states = []
    for device in sorted(glob.glob(SYS + "/class/thermal/cooling_device*")):
        with contextlib.suppress(OSError, ValueError):
            kind = read_text(device + "/type")
            if "cpu" in kind.lower() or "processor" in kind.lower():
                states.append((kind, int(read_text(device + "/cur_state"))))
    if not states:
        raise LookupError(reason + ", and no CPU cooling device in /sys/class/thermal")
    active = ["%s=%d" % pair for pair in states if pair[1] > 0]
    return bool(active), " ".join(active)


def conditions(taken: str, began: float) -> Json:
    """The device's state now; the frequency first, since the other readings would disturb it."""
    document = {"taken": taken, "at_s": round(time.monotonic() - began, 3)}  # type: Json
    fill(
        document,
        {
            "frequency_hz": lambda: 1000 * max(map(int, read_cores("scaling_cur_freq"))),
            "governor": lambda: ",".join(sorted(set(read_cores("scaling_governor")))),
            "temperature_c": temperature_c,
            "throttled_flags": throttling,
            "free_memory_bytes": lambda: memory_bytes("MemAvailable"),
            "load_1min": lambda: float(read_text(PROC + "/loadavg").split()[0]),
        },
    )
    flags = document["throttled_flags"]
    document["throttled"], document["throttled_flags"] = flags or (None, None)
    if flags is None:
        document["missing"]["throttled"] = document["missing"].pop("throttled_flags")
    return document


def oom_kills() -> Optional[int]:
    """How many processes the kernel's out-of-memory killer has ended since boot, if it says."""
    try:
        found = re.search(r"^oom_kill (\d+)", read_text(PROC + "/vmstat"), re.MULTILINE)
    except OSError:
        return None
    return int(found.group(1)) if found else None


# --- Files and processes --------------------------------------------------------------------------


def sha256(path: str) -> Optional[str]:
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as handle:
            for chunk in iter(lambda: handle.read(1 << 20), b""):
                digest.update(chunk)
    except FileNotFoundError:
        return None
    return digest.hexdigest()


def adopt(words: Sequence[str]) -> Json:
    """Gives pushed files their names, those that are whole. Doing it twice is fine.

    Args:
        words: for each file its SHA-256, the path it was pushed to, and the one it is to have.

    Raises:
        Refusal: one is not whole; it is deleted.
    """
    broken = []
    for expected, part, final in zip(words[::3], words[1::3], words[2::3]):  # noqa: B905
        actual = sha256(part)
        if actual is None:
            actual = sha256(final)
        elif actual == expected:
            os.replace(part, final)
        else:
            os.unlink(part)
        if actual != expected:
            broken.append("%s arrived as sha256 %s" % (final, actual or "nothing"))
    if broken:
        raise Refusal("integrity", "; ".join(broken))
    return {"adopted": len(words) // 3}


def write_whole(path: str, text: str) -> None:
    temporary = path + ".part"
    try:
        with open(temporary, "w", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def process_stat(pid: int) -> Optional[List[str]]:
    """Fields of /proc/PID/stat from the state (field 3) on; None where the process is gone."""
    try:
        fields = read_text("/proc/%d/stat" % pid).rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields


def write_pid(directory: str) -> None:
    """Says that this process measures here; the file stays open, and locked, while it lives."""
    part = directory + "/pid.part"
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    fcntl.flock(handle, fcntl.LOCK_EX)
    os.write(handle, b"%d" % os.getpid())
    os.rename(part, directory + "/pid")


def read_pid(directory: str) -> Tuple[Optional[int], bool]:
    """The process that measures here, or did, and whether it lives."""
    try:
        with open(directory + "/pid") as handle:
            pid = int(handle.read())
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return pid, True
            return pid, False
    except (OSError, ValueError):
        return None, False


def group_members(group: int) -> List[int]:
    """Living processes of a process group (field 5 of /proc/PID/stat)."""
    members = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = process_stat(int(name))
            if fields is not None and int(fields[2]) == group:
                members.append(int(name))
    return members


def state_of(directory: str) -> str:
    if os.path.exists(directory + "/result.json"):
        return "finished"
    if read_pid(directory)[1]:
        return "running"
    # It may have ended between the two looks.
    if os.path.exists(directory + "/result.json"):
        return "finished"
    if os.path.exists(directory + "/pid"):
        return "stale"
    return "queued" if os.path.exists(directory + "/job.json") else "absent"


def poll(directory: str, since: int) -> Json:
    state = state_of(directory)
    document = {"state": state, "progress": []}  # type: Json
    with contextlib.suppress(OSError), open(directory + "/progress.jsonl") as handle:
        lines = handle.read().split("\n")[:-1]
        document["progress"] = [json.loads(line) for line in lines[since:]]
    with contextlib.suppress(OSError):
        began = os.stat(directory + "/pid").st_mtime
        document["started_s_ago"] = max(0.0, time.time() - began)
    if state == "stale":
        document["stderr"] = last_lines(directory + "/conductor.stderr")
    return document


def last_lines(path: str) -> List[str]:
    try:
        text = re.sub(r"\x1b\[[0-9;]*m", "", read_text(path))
        return text.splitlines()[-STDERR_LINES:]
    except OSError:
        return []


def take_lock(directory: str) -> int:
    """The device-wide lock, as an open file: it goes with the last process that has it.

    Raises:
        Refusal: another measurement runs.
    """
    base = os.path.dirname(os.path.dirname(os.path.abspath(directory)))
    lock = os.open(base + "/lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(lock, 200).decode("utf-8", "replace").strip()
        os.close(lock)
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        raise Refusal("busy", holder) from None
    os.ftruncate(lock, 0)
    os.write(lock, os.path.basename(directory).encode())
    return lock


def start(directory: str) -> Json:
    """Starts the measurement, or says that it runs or is finished."""
    state = state_of(directory)
    if state in ("running", "finished"):
        return {"state": state, "started": False}
    try:
        lock = take_lock(directory)
    except Refusal as refusal:
        if refusal.message == os.path.basename(directory):
            return {"state": "running", "started": False}
        raise
    with contextlib.suppress(FileNotFoundError):
        os.unlink(directory + "/pid")
    with open(directory + "/conductor.stderr", "wb") as stderr:
        conductor = subprocess.Popen(
            [sys.executable, os.path.abspath(__file__), "run", directory, "--lock-fd", str(lock)],
            stdin=subprocess.DEVNULL,
            stdout=stderr,
            stderr=stderr,
            cwd=directory,
            start_new_session=True,
            pass_fds=(lock,),
        )
    while not os.path.exists(directory + "/pid") and conductor.poll() is None:
        time.sleep(0.02)
    return {"state": "running", "started": True}


def stop(directory: str) -> Json:
    """Ends the conductor and its workers, which share its process group, and waits for it."""
    group, alive = read_pid(directory)
    # A number is not given away while a group has it: if it is a stranger's, the group is gone.
    if group is None or (not alive and process_stat(group) is not None):
        return {"stopped": 0}
    stopped = len(group_members(group))
    for number, patience_s in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 10.0)):
        deadline = time.monotonic() + patience_s
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, number)
        while group_members(group) and time.monotonic() < deadline:
            time.sleep(0.02)
    return {"stopped": stopped}


# --- The worker: one model in one process ---------------------------------------------------------


class OnnxRuntime:
    """ONNX Runtime on the CPU; idle threads sleep, so that other workers are not disturbed."""

    def __init__(self) -> None:
        import onnxruntime

        self.module = onnxruntime
        self.version = str(onnxruntime.__version__)

    def load(self, task: Json) -> None:
        options = self.module.SessionOptions()
        options.intra_op_num_threads = task["threads"]
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = self.module.InferenceSession(
            task["path"], options, providers=["CPUExecutionProvider"]
        )
        self.names = [value.name for value in self.session.get_inputs()]

    def provider(self, chatter: str) -> Optional[str]:
        return str(self.session.get_providers()[0])

    def bind(self, arrays: Sequence[Any]) -> None:
        self.feed = dict(zip(self.names, arrays))  # noqa: B905 - Python 3.10

    def invoke(self) -> None:
        self.results = self.session.run(None, self.feed)

    def fetch(self) -> List[Any]:
        return list(self.results)


class TfliteInterpreter:
    """A TFLite interpreter with its default delegate (XNNPACK, where the runtime has it)."""

    def __init__(self, module: str) -> None:
        self.interpreter_type = importlib.import_module(module + ".interpreter").Interpreter
        self.version = distribution_version(*RUNTIMES[module]) or "unknown"

    def load(self, task: Json) -> None:
        self.interpreter = self.interpreter_type(
            model_path=task["path"], num_threads=task["threads"]
        )
        self.interpreter.allocate_tensors()
        self.inputs = self.interpreter.get_input_details()

    def provider(self, chatter: str) -> Optional[str]:
        return "XNNPACK" if "XNNPACK delegate" in chatter else None

    def bind(self, arrays: Sequence[Any]) -> None:
        pairs = [(self.inputs[i], array) for i, array in enumerate(arrays)]
        misfits = [(d["index"], a.shape) for d, a in pairs if tuple(d["shape"]) != a.shape]
        if misfits:
            for index, shape in misfits:
                self.interpreter.resize_tensor_input(index, shape)
            self.interpreter.allocate_tensors()
            self.inputs = self.interpreter.get_input_details()
        for detail, array in pairs:
            self.interpreter.set_tensor(detail["index"], array)

    def invoke(self) -> None:
        self.interpreter.invoke()

    def fetch(self) -> List[Any]:
        return [
            self.interpreter.get_tensor(detail["index"])
            for detail in self.interpreter.get_output_details()
        ]


def peak_rss() -> Json:
    """The most memory this process ever had in RAM, the reference inputs and Python included."""
    try:
        found = re.search(r"^VmHWM:\s+(\d+) kB", read_text(PROC + "/self/status"), re.MULTILINE)
        if found is not None:
            return {"peak_rss_bytes": int(found.group(1)) * 1024}
        reason = "/proc/self/status has no VmHWM"
    except OSError as error:
        reason = why(error)
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if kilobytes > 0:
        return {"peak_rss_bytes": kilobytes * 1024}
    return {"peak_rss_bytes": None, "missing": {"peak_rss_bytes": reason + ", and no getrusage"}}


class Worker:
    """Answers the conductor's commands, each a method that takes and returns a JSON object."""

    def __init__(self) -> None:
        self.engine = None  # type: Any
        self.samples = []  # type: List[List[Any]]
        self.position = 0
        clock = time.get_clock_info("perf_counter")
        self.resolution_ns = max(1, math.ceil(1e9 * clock.resolution))

    def load(self, task: Json) -> Json:
        import numpy

        with numpy.load(task["inputs_path"], allow_pickle=False) as archive:
            inputs = range(task["input_count"])
            samples = range(len(archive.files) // len(inputs))
            self.samples = [[archive["i%d_%d" % (s, i)] for i in inputs] for s in samples]
        began = time.perf_counter()
        name = task["runtime"]
        self.engine = OnnxRuntime() if name == "onnxruntime" else TfliteInterpreter(name)
        imported = time.perf_counter()
        self.engine.load(task)
        loaded = time.perf_counter()
        gc.collect()
        gc.disable()
        return {
            "import_ms": 1000 * (imported - began),
            "load_ms": 1000 * (loaded - imported),
            "version": self.engine.version,
            "provider": self.engine.provider(read_text(task["stderr_path"])),
        }

    def infer(self) -> int:
        """One inference on the next reference input; nanoseconds."""
        self.engine.bind(self.samples[self.position % len(self.samples)])
        self.position += 1
        began = time.perf_counter_ns()
        self.engine.invoke()
        spent = time.perf_counter_ns() - began
        # No inference takes no time: what the clock did not see was shorter than its tick.
        return spent or self.resolution_ns

    def first(self, task: Json) -> Json:
        return {"first_inference_ms": self.infer() / 1e6}

    def reference(self, task: Json) -> Json:
        """Runs every reference input and keeps the outputs for the host."""
        import numpy

        arrays = {}  # type: Dict[str, Any]
        for s, sample in enumerate(self.samples):
            self.engine.bind(sample)
            self.engine.invoke()
            for o, output in enumerate(self.engine.fetch()):
                arrays["o%d_%d" % (s, o)] = numpy.array(output)
        numpy.savez(task["outputs_path"], **arrays)
        return {}

    def warm_up(self, task: Json) -> Json:
        spent = []  # type: List[int]
        began = time.monotonic()
        while time.monotonic() - began < task["warm_up_max_s"]:
            warm = time.monotonic() - began >= task["warm_up_s"]
            if warm and len(spent) >= task["warm_up_queries"]:
                break
            spent.append(self.infer())
        return {"spent_ns": spent}

    def block(self, task: Json) -> Json:
        settling = [self.infer() for _ in range(task["settling"])]
        return dict(
            peak_rss(),
            settling_ns=settling,
            spent_ns=[self.infer() for _ in range(task["queries"])],
        )


def worker() -> int:
    """Serves commands from standard input until it ends."""
    # The runtimes print what they like to standard output: the answers get a pipe of their own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    faulthandler.enable()
    # A crash is told by its signal; a dump of its memory would fill a small disk.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, AttributeError):
        # PR_SET_PDEATHSIG = 1: no worker survives its conductor.
        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
    commands = Worker()
    for line in sys.stdin:
        task = json.loads(line)
        try:
            answer = getattr(commands, task["command"])(task)
        except Exception as error:
            kind = "crashed"
            if isinstance(error, MemoryError) or is_out_of_memory(str(error)):
                kind = "out-of-memory"
            elif isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                kind = "no-space"
            answer = {"error": {"kind": kind, "message": "%s: %s" % (type(error).__name__, error)}}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
        if "error" in answer:
            return 1
    return 0


def is_out_of_memory(text: str) -> bool:
    return any(
        s in text for s in ("bad_alloc", "Failed to allocate memory", "Cannot allocate memory")
    )


# --- The conductor: blocks of every model in turn -------------------------------------------------


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
        self.process = None  # type: Optional[subprocess.Popen[bytes]]
        self.buffer = b""
        self.phase = "load"
        self.block_queries = 1
        self.planned = 0
        self.blocks = []  # type: List[List[int]]
        self.warm_up_ns = []  # type: List[int]
        self.result = {
            "name": model["name"],
            "status": "finished",
            "missing": {},
            "conditions": [],
        }  # type: Json

    @property
    def alive(self) -> bool:
        return self.process is not None

    @property
    def taken(self) -> int:
        return sum(map(len, self.blocks))

    @property
    def done(self) -> bool:
        """Enough queries, time (that of the inferences alone) and rounds."""
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
        return sum(map(sum, self.blocks)) / 1e9

    def start(self) -> None:
        self.oom_kills = oom_kills()
        with open(self.stderr_path, "wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, os.path.abspath(__file__), "worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
            )

    def ask(self, command: str, **task: Any) -> Json:
        """Sends one command and waits for its answer.

        Raises:
            ModelFailed: the worker failed or died.
            DeadlinePassed: no answer in the job's time.
        """
        assert self.process is not None and self.process.stdin and self.process.stdout
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(dict(task, command=command)).encode() + b"\n")
            self.process.stdin.flush()
        pipe = self.process.stdout.fileno()
        while b"\n" not in self.buffer:
            left = self.deadline - time.monotonic()
            if left <= 0 or not select.select([pipe], [], [], left)[0]:
                raise DeadlinePassed
            chunk = os.read(pipe, 1 << 16)
            if not chunk:
                raise ModelFailed(self.obituary())
            self.buffer += chunk
        line, _, self.buffer = self.buffer.partition(b"\n")
        answer = json.loads(line)  # type: Json
        if "error" in answer:
            raise ModelFailed(dict(self.obituary(), **answer["error"]))
        self.result["missing"].update(answer.pop("missing", {}))
        return answer

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
            name = signal.Signals(-code).name
            message = "the process was ended by %s" % name
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
        self.start()
        task = dict(self.model, threads=self.job["threads"], stderr_path=self.stderr_path)
        self.result.update(self.ask("load", **task))

    def first(self) -> None:
        self.result.update(self.ask("first"))

    def reference(self) -> None:
        self.ask("reference", outputs_path=self.outputs_path)

    def warm_up(self) -> None:
        """Warms up, and plans blocks so that there are rounds enough, of about a second at most."""
        sampling = self.job["sampling"]
        self.warm_up_ns = self.ask("warm_up", **sampling)["spent_ns"]
        each_s = max(statistics.median(self.warm_up_ns) / 1e9, 1e-6)
        choose = max if sampling["both"] else min
        planned = choose(sampling["queries"], sampling["seconds"] / each_s)
        planned = max(planned, sampling["min_queries"], sampling["min_seconds"] / each_s)
        planned = min(planned, sampling["max_queries"])
        in_rounds = math.ceil(planned / sampling["min_rounds"])
        self.block_queries = max(1, min(in_rounds, math.ceil(BLOCK_S / each_s)))
        self.planned = max(math.ceil(planned), self.block_queries * sampling["min_rounds"])

    def measure_block(self, settling: int) -> None:
        answer = self.ask("block", queries=self.block_queries, settling=settling)
        self.warm_up_ns += answer.pop("settling_ns")
        self.blocks.append(answer.pop("spent_ns"))
        self.result.update(answer)

    def document(self) -> Json:
        return dict(
            self.result,
            blocks_ns=self.blocks,
            warm_up_ns=self.warm_up_ns,
            has_outputs=os.path.exists(self.outputs_path),
        )


class Conductor:
    """Measures every model of a job under the same conditions: a block of each in turn."""

    def __init__(self, directory: str) -> None:
        with open(directory + "/job.json", encoding="utf-8") as handle:
            self.job = json.load(handle)  # type: Json
        self.directory = directory
        self.began = time.monotonic()
        deadline = self.began + self.job["deadline_s"]
        self.models = [
            Measured(index, model, self.job, directory, deadline)
            for index, model in enumerate(self.job["models"])
        ]
        self.in_turn = True
        self.notes = []  # type: List[str]
        self.conditions = []  # type: List[Json]
        self.last_told = 0.0

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
                    "about %d MiB and %d MiB are free" % (needed >> 20, free >> 20)
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
                self.look("during")
                self.tell(model, always=model.done)
            forwards = not forwards
        self.look("after")
        for model in group:
            model.end()

    def take(self, model: Measured, phases: Sequence[str]) -> None:
        """Takes a model through phases of its preparation, until one fails."""
        steps = {
            "load": model.load,
            "first inference": model.first,
            "reference inputs": model.reference,
            "warm-up": model.warm_up,
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

    def look(self, taken: str) -> None:
        if taken == "during" and self.conditions[-1]["taken"] == "during":
            due = self.conditions[-1]["at_s"] + CONDITIONS_EVERY_S
            if time.monotonic() - self.began < due:
                return
        self.conditions.append(conditions(taken, self.began))

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
        lock = take_lock(directory)
    reserve = directory + "/reserve"
    try:
        write_pid(directory)
        write_whole(reserve, "x" * RESERVE_BYTES)
        document = Conductor(directory).run()
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


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="agent")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.required = True
    commands.add_parser("facts")
    commands.add_parser("worker")
    commands.add_parser("hash").add_argument("paths", nargs="+")
    commands.add_parser("adopt").add_argument("words", nargs="+")
    for name in ("start", "poll", "stop", "run"):
        commands.add_parser(name).add_argument("directory", type=os.path.abspath)
    commands.choices["poll"].add_argument("--since", type=int, default=0)
    commands.choices["run"].add_argument("--lock-fd", type=int)
    given = parser.parse_args(arguments)
    if given.command == "worker":
        return worker()
    answers = {
        "facts": facts,
        "hash": lambda: {path: sha256(path) for path in given.paths},
        "adopt": lambda: adopt(given.words),
        "start": lambda: start(given.directory),
        "poll": lambda: poll(given.directory, given.since),
        "stop": lambda: stop(given.directory),
        "run": lambda: run(given.directory, given.lock_fd),
    }  # type: Dict[str, Callable[[], Json]]
    code = 0
    try:
        document = answers[given.command]()
    except Refusal as refusal:
        code = 3
        document = {"error": {"kind": refusal.kind, "message": refusal.message}}
    except OSError as error:
        code = 3
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        document = {"error": {"kind": "no-space" if full else "system", "message": why(error)}}
    print(json.dumps(document))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
