"""What TFLite Micro says of models: the arena it takes, and the operators it lacks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from converting import need_extra
from models import GOLDEN, TINY_TFLITE
from third_party import third_party

from edgewright.targets.inspect import inspect_model
from edgewright.targets.oracles import ORACLES, CannotSay
from edgewright.targets.oracles.tflite_micro import arena
from edgewright.targets.placement import Placement

INT8 = GOLDEN / "tiny_int8.tflite"

#: Runs an inference on zeros in an arena of a size.
RUN = """
import sys
import numpy as np
from tflite_micro.python.tflite_micro import runtime

interpreter = runtime.Interpreter.from_file(sys.argv[1], arena_size=int(sys.argv[2]))
detail = interpreter.get_input_details(0)
interpreter.set_input(np.zeros(detail["shape"], detail["dtype"]), 0)
interpreter.invoke()
print(interpreter.get_output(0).size)
"""


@pytest.fixture(autouse=True)
def _tflite_micro() -> None:
    need_extra("tflite-micro", ["tflite_micro"])


def asked(path: Path) -> Placement:
    return ORACLES["tflite-micro"](path, inspect_model(path), None)


def runs(path: Path, arena_bytes: int) -> bool:
    command = [sys.executable, "-c", RUN, str(path), str(arena_bytes)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("name", ["tiny_int8", "wakeword"])
def test_the_arena_is_enough_and_little_less_is_not(name: str) -> None:
    path = INT8 if name == "tiny_int8" else third_party(name)
    needed = arena(path)
    assert needed.head_bytes + needed.tail_bytes <= needed.total_bytes
    assert min(needed.head_bytes, needed.tail_bytes) > 0
    assert needed.said_by.startswith("TFLite Micro ")
    assert runs(path, needed.total_bytes)
    assert not runs(path, needed.total_bytes * 31 // 32 - 32)


def test_every_node_has_a_kernel() -> None:
    placement = asked(third_party("wakeword"))
    assert {node.place for node in placement.nodes} == {"cpu"}
    assert "pointers have 64 bits" in placement.notes[0]


def test_what_it_lacks_runs_nowhere_and_the_rest_is_unknown() -> None:
    reshape, custom = asked(GOLDEN / "targets_flex.tflite").nodes
    assert (reshape.place, custom.place) == ("unknown", "nowhere")
    assert custom.reason == "TFLite Micro has no kernel for it"

    placement = asked(GOLDEN / "targets_conv_float16.tflite")
    (lacking,) = [node for node in placement.nodes if node.place == "nowhere"]
    assert (lacking.operator, lacking.index) == ("DEQUANTIZE", 0)
    assert "input->type == kTfLiteInt8" in str(lacking.reason)
    assert placement.count("cpu") == 0


def test_a_hybrid_layer_is_refused_in_its_own_words() -> None:
    path = GOLDEN / "targets_dense_dynamic.tflite"
    (node,) = asked(path).nodes
    assert node.place == "nowhere"
    assert node.reason == "Input type: FLOAT32 with filter type: INT8 not supported."
    with pytest.raises(CannotSay, match="FLOAT32 with filter type: INT8"):
        arena(path)


def test_a_damaged_file_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(TINY_TFLITE.read_bytes()[:700])
    with pytest.raises(CannotSay, match="TFLite Micro"):
        arena(path)
