"""Stand-ins for benchmark tools that no registry carries.

`write_replay` makes a shell script that takes the real tool's arguments and prints what the real
tool printed when it was recorded (`tests/golden/runners`): it tests how a tool is found, sent, run
and read, and no figure of it means anything. `write_litert` makes one that really measures, with
the benchmark of LiteRT's Python package, whose table is that of LiteRT's `benchmark_model`.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

GOLDEN = Path(__file__).parent / "golden" / "runners"
RECORDED = {
    "benchmark_model": "benchmark_model-2.14.1",
    "onnxruntime_perf_test": "onnxruntime_perf_test-1.21.0",
}

_BENCHMARK_MODEL = """#!/bin/sh
here=${0%/*}
case "$*" in *--enable_op_profiling=true*) case=operators;; *) case=measure;; esac
for word; do case $word in --graph=*) [ -s "${word#--graph=}" ] || exit 66;; esac; done
cat "$here/$case.stdout"
"""
_PERF_TEST = """#!/bin/sh
here=${0%/*} case=measure profile=
for word; do
    [ "$last" = -p ] && profile=$word && case=operators
    model=$last last=$word
done
[ -s "$model" ] && [ -s "${model%/*}/test_data_set_0/input_0.pb" ] || exit 66
[ -z "$profile" ] || cat "$here/$case.profile.json" >"${profile}_2026-11-26.json"
cat "$here/$case.result.csv" >"$last"
cat "$here/$case.stdout"
"""
_LITERT = """#!/bin/sh
runs=50 threads=1 warm=5
for word; do
    case $word in
        --graph=*) model=${{word#--graph=}};;
        --num_runs=*) runs=${{word#--num_runs=}};;
        --num_threads=*) threads=${{word#--num_threads=}};;
        --warmup_runs=*) warm=${{word#--warmup_runs=}};;
    esac
done
exec '{python}' -m ai_edge_litert.tools.benchmark_litert_model --model="$model" \\
    --num_runs="$runs" --num_threads="$threads" --warmup_runs="$warm"
"""


def write_script(path: Path, text: str) -> Path:
    """A program of the text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def write_replay(directory: Path, tool: str) -> Path:
    """The tool's stand-in, with what it prints beside it."""
    shutil.copytree(GOLDEN / RECORDED[tool], directory)
    text = _BENCHMARK_MODEL if tool == "benchmark_model" else _PERF_TEST
    return write_script(directory / tool, text)


def write_litert(directory: Path) -> Path:
    """`benchmark_model` in front of LiteRT's own benchmark."""
    return write_script(directory / "benchmark_model", _LITERT.format(python=sys.executable))
