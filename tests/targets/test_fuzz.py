"""Damaged files of ten models: each ends in facts or in one error, and costs nothing else.

EDGEWRIGHT_FUZZ=10000 pytest -s tests/targets/test_fuzz.py tries so many; a failure names the
number of its mutation, which makes it again.
"""

from __future__ import annotations

import json
import os
import random
import re
import time
import traceback
from collections import Counter
from pathlib import Path

import pytest
from mutations import mutate
from targets_models import GOLDEN
from third_party import third_party

from edgewright.errors import UsageError
from edgewright.profiler.report_inspect import facts_document
from edgewright.targets.asked import Asked
from edgewright.targets.check import CheckOptions, check
from edgewright.targets.facts import ModelFacts
from edgewright.targets.inspect import inspect_in
from edgewright.targets.load import load_target
from edgewright.targets.profile import TargetProfile
from edgewright.targets.sandbox import Sandbox

COUNT = int(os.environ.get("EDGEWRIGHT_FUZZ", "200"))
#: Beside the golden files; small, so that the damage meets structure and not weights only.
PACKAGED = (
    "wakeword", "emotion", "pitch", "face-short", "pitch-onnx", "fashion-mnist", "vad-half",
)  # fmt: skip
GOLDENS = ("targets_conv_int8", "targets_branch", "targets_dense_dynamic")
TIMEOUT_S = 10.0
#: How an error of the parser itself begins, after the file's name; nothing else is one of ours.
UNEXPECTED = re.compile(r" failed \(| ended without an answer")
CHECKED = ("raspberry-pi-5", "coral-dev-board", "x86-64-vnni")


@pytest.fixture(scope="module")
def originals() -> dict[str, bytes]:
    paths = [third_party(name) for name in PACKAGED]
    paths += [GOLDEN / f"{name}.tflite" for name in GOLDENS]
    return {f"{number}{path.suffix}": path.read_bytes() for number, path in enumerate(paths)}


@pytest.mark.timeout(300 + COUNT)
def test_damage_is_facts_or_one_error(originals: dict[str, bytes], tmp_path: Path) -> None:
    profiles = [load_target(name) for name in CHECKED]
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    wrong: list[str] = []
    with Sandbox() as sandbox:
        for number in range(COUNT):
            name, data = damaged(originals, number)
            path = tmp_path / name
            path.write_bytes(data)
            started = time.perf_counter()
            try:
                facts = inspect_in(sandbox, path, TIMEOUT_S)
                outcome = "facts"
                _examine(facts, profiles)
            except UsageError as error:
                outcome = _kind(error, path)
            except Exception as error:
                outcome = "defect: " + "".join(traceback.format_exception(error, limit=-3))
            slowest = max(slowest, time.perf_counter() - started)
            outcomes[outcome.partition(":")[0]] += 1
            if outcome.startswith("defect"):
                wrong.append(f"mutation {number} of {name}: {outcome}")
    print(f"\n{COUNT} mutations: {dict(outcomes)}, slowest {slowest:.2f} s")
    assert not wrong, "\n".join(wrong)
    assert outcomes["facts"] > COUNT / 20
    assert outcomes["error"] > COUNT / 20
    assert not outcomes["time-out"]


def damaged(originals: dict[str, bytes], number: int) -> tuple[str, bytes]:
    """The name and the content of a mutation, always the same by its number."""
    source = random.Random(number)
    name, other = source.choice(sorted(originals)), source.choice(sorted(originals))
    return name, mutate(source, originals[name], originals[other])


def _kind(error: UsageError, path: Path) -> str:
    message = error.message.replace(str(path), "FILE")
    if UNEXPECTED.search(message) or "\n" in message or "FILE" not in message:
        return f"defect: {message} {getattr(error, '__notes__', '')}"
    for kind, words in (
        ("crash", " crashed ("),
        ("time-out", " took longer"),
        ("memory", " more memory"),
    ):
        if message.startswith(f"reading FILE{words}") or (kind == "memory" and words in message):
            return kind
    return "error"


def _examine(facts: ModelFacts, profiles: list[TargetProfile]) -> None:
    """That facts are sound, and that nobody stumbles over them."""
    assert min(facts.weight_bytes, facts.macs or 0, facts.peak_activation_bytes or 0) >= 0
    assert all(min(w.size_bytes, w.parameters or 0, w.tensors) >= 0 for w in facts.weights)
    for graph in facts.graphs:
        for tensor in graph.tensors:
            assert tensor.constant_bytes >= 0
            assert all(size is None or size >= 0 for size in tensor.shape or ())
        for node in graph.nodes:
            assert node.macs is None or node.macs >= 0
            assert all(-1 <= index < len(graph.tensors) for index in node.inputs + node.outputs)
    json.dumps(facts_document(Asked(facts)), allow_nan=False).encode()
    for profile in profiles:
        try:
            check(facts, profile, CheckOptions(ask=False))
        except UsageError:
            # The device doesn't read the format.
            continue
