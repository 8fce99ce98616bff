"""What LiteRT sets aside for tensors, against what its process grows by."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from models import GOLDEN
from targets_tflite import loop, svdf
from third_party import TFLITE, third_party

from edgewright.targets.inspect import inspect_model
from edgewright.targets.oracles import CannotSay
from edgewright.targets.oracles.arena import arena_of
from edgewright.targets.oracles.inside.arena import measure, stretches

#: Of models whose tensors need this much, little else that kernels allocate is of weight.
LARGE_BYTES = 500_000


class _Mallinfo2(ctypes.Structure):
    """struct mallinfo2 of glibc, see mallinfo(3)."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd",
            "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    ]  # fmt: skip


def _allocated_bytes() -> int:
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = _Mallinfo2
    info = mallinfo2()
    return int(info.uordblks + info.hblkhd)


@cache
def _measured(name: str) -> dict[str, Any]:
    return measure(str(third_party(name)))


def _growth(path: Path) -> int:
    """Bytes that this process allocates with the tensors."""
    interpreter = Interpreter(
        model_path=str(path),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    before = _allocated_bytes()
    interpreter.allocate_tensors()
    return _allocated_bytes() - before


@pytest.mark.skipif(sys.platform != "linux", reason="glibc tells what is allocated")
@pytest.mark.parametrize("name", TFLITE)
def test_the_arena_is_what_the_process_grows_by(name: str) -> None:
    path = third_party(name)
    found = _measured(name)
    total = found["arena_bytes"] + found["kept_bytes"]
    growth = _growth(path)
    assert total <= growth
    if growth > LARGE_BYTES:
        assert total > 0.85 * growth


@pytest.mark.parametrize("name", TFLITE)
def test_the_arena_is_near_the_peak_of_the_lifetime_analysis(name: str) -> None:
    """It reuses memory in place, which the analysis does not; and it has scratch memory, and gaps
    between tensors that don't fit one another, which the analysis has not."""
    peak = inspect_model(third_party(name)).peak_activation_bytes
    assert peak is not None
    found = _measured(name)
    if name == "wakeword":
        # Variables get their memory later.
        peak -= 3408
    if name == "pitch":
        # Behind its SHAPE and STRIDED_SLICE nodes, sizes are known only when it runs.
        assert not found["whole"]
        return
    assert found["whole"]
    # im2col of the emotion model's first convolution takes 2.5 times its activations.
    assert 0.85 * peak <= found["arena_bytes"] <= (2.6 if name == "emotion" else 1.6) * peak


def test_through_the_sandbox(tmp_path: Path) -> None:
    small = arena_of(svdf(tmp_path / "svdf.tflite"))
    # Scratch of 8 filters, 6 inputs and 8 outputs; state of 40: in stretches of 64 bytes.
    assert (small.arena_bytes, small.kept_bytes, small.whole) == (192, 192, True)
    assert small.said_by.startswith("LiteRT ")


def test_the_arenas_of_inner_graphs_count(tmp_path: Path) -> None:
    found = measure(str(loop(tmp_path / "loop.tflite")))
    # Main: x and the result. Condition: its inputs. Body: the product's input and output.
    assert found["arena_bytes"] >= (16 + 16) + (4 + 16) + (16 + 16)


def test_a_model_that_the_runtime_refuses() -> None:
    with pytest.raises(CannotSay, match=r"LiteRT refuses it .*Betainc"):
        arena_of(GOLDEN / "targets_custom.tflite")


def test_adjoining_spans_are_one_stretch() -> None:
    assert stretches([(128, 192), (0, 64), (64, 100), (320, 384), (330, 340)]) == [
        (0, 100),
        (128, 192),
        (320, 384),
    ]
