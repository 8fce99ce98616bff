"""Imports run downhill, and none is heavy before it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

#: Each layer imports from itself and from those before it.
LAYERS = (
    "errors", "files", "targets", "exporters", "profiler", "project", "pipeline", "terminal",
    "cli_common", "cli_failure", "cli_devices", "cli_profile", "cli_runner", "cli_quantize",
    "cli_runtime", "cli_inspect", "cli_explain", "cli_check", "cli_targets", "cli",
)  # fmt: skip
HEAVY = ("numpy", "onnx", "onnxruntime", "ai_edge_litert", "litert_quantizer", "torch", "scipy")


def _layer(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    return parts[0] if len(parts) > 1 else path.stem


def _sources() -> list[Path]:
    found = [p for p in ROOT.glob("*.py") if p.stem in LAYERS]
    for folder in ("targets", "exporters", "profiler"):
        found += (ROOT / folder).rglob("*.py")
    return sorted(found)


def _imported_layers(path: Path) -> set[str]:
    depth = len(path.relative_to(ROOT).parts)
    layers = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == depth:
            names = [node.module.split(".")[0]] if node.module else [a.name for a in node.names]
            layers |= {name for name in names if name in LAYERS}
    return layers


@pytest.mark.parametrize("path", _sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_downhill(path: Path) -> None:
    own = LAYERS.index(_layer(path))
    uphill = {layer for layer in _imported_layers(path) if LAYERS.index(layer) > own}
    assert not uphill


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["export", "--help"],
        ["quantize", "--help"],
        ["analyze", "--help"],
        ["recipes", "--help"],
        ["recipes", "list", "--help"],
        ["runtime", "build", "--help"],
        ["devices", "list"],
    ],
)
def test_the_start_imports_nothing_heavy(arguments: list[str]) -> None:
    _assert_light(arguments, HEAVY)


def _assert_light(arguments: list[str], heavy: Sequence[str]) -> None:
    script = (
        "import sys\nsys.argv = ['edgewright', *sys.argv[1:]]\n"
        "from edgewright.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"heavy = [m for m in {heavy!r} if m in sys.modules]\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["recipes", "list"], ["recipes", "list", "--json"], ["recipes", "show", "int4"],
        ["recipes", "schema"],
    ],
)  # fmt: skip
def test_recipes_are_shown_without_a_runtime(arguments: list[str]) -> None:
    _assert_light(arguments, [name for name in HEAVY if name != "numpy"])


def test_public_names_are_there() -> None:
    import edgewright

    for name in edgewright.__all__:
        assert getattr(edgewright, name) is not None
