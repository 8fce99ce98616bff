"""The table of converters, and what stands between us and the export libraries."""

from __future__ import annotations

import importlib.util
import itertools
import logging
import os
import subprocess
import sys
import typing
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.errors import ConversionError, UsageError
from edgewright.exporters.convert import CONVERTERS, Conversion, convert_source, formats_for
from edgewright.exporters.convert.causes import explain, naming_the_cause
from edgewright.exporters.convert.names import distinct
from edgewright.exporters.convert.quiet import quiet
from edgewright.exporters.source import Source, SourceKind


def test_every_converter_of_the_table_is_there() -> None:
    for module in set(CONVERTERS.values()):
        assert importlib.util.find_spec(f"edgewright.exporters.convert.{module}") is not None


@pytest.mark.parametrize(
    ("kind", "model_format", "possible"),
    [
        (kind, model_format, formats_for(kind))
        for kind, model_format in itertools.product(typing.get_args(SourceKind), ("onnx", "tflite"))
        if (kind, model_format) not in CONVERTERS and kind != model_format
    ],
)
def test_what_is_not_possible_says_what_is(
    kind: SourceKind, model_format: str, possible: tuple[str, ...], tmp_path: Path
) -> None:
    source = Source("model", kind, tmp_path / "model")
    with pytest.raises(UsageError, match=r"-> .* is not possible yet") as raised:
        convert_source(source, model_format, Conversion(tmp_path / "out"))  # type: ignore[arg-type]
    assert possible
    assert raised.value.hint is not None
    assert f": {', '.join(possible)}" in raised.value.hint


def test_an_onnx_file_can_only_stay_one() -> None:
    assert formats_for("onnx") == ("onnx",)
    assert formats_for("tflite") == ("tflite",)
    assert formats_for("torch") == ("onnx", "tflite")


def test_nothing_heavy_is_imported_early() -> None:
    code = (
        "import sys, edgewright.exporters.convert as c, importlib\n"
        "for name in set(c.CONVERTERS.values()): importlib.import_module(f'{c.__name__}.{name}')\n"
        "print([m for m in ('torch', 'tensorflow', 'keras', 'litert_torch', 'onnxscript', "
        "'onnxruntime', 'ai_edge_litert') if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


@given(st.lists(st.sampled_from(["a", "b", "a_output"])), st.sets(st.sampled_from(["a", "b"])))
def test_distinct_names_are_distinct(names: list[str], taken: set[str]) -> None:
    chosen = distinct(names, taken)
    assert len(chosen) == len(names)
    assert len(set(chosen) | taken) == len(chosen) + len(taken)
    assert all(new.startswith(old) for new, old in zip(chosen, names, strict=True))


def test_quiet_swallows_everything(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet():
        print("Python's")
        os.write(1, b"native\n")
        os.write(2, b"native too\n")
        warnings.warn("a warning", stacklevel=1)
        logging.warning("a log line")
    assert capfd.readouterr() == ("", "")


def test_quiet_tells_an_exception_what_was_printed(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError) as raised, quiet():
        print("from Python")
        os.write(2, b"from native code\n")
        raise RuntimeError("boom")
    assert "from Python\nfrom native code" in raised.value.__notes__[0]
    assert capfd.readouterr() == ("", "")


def test_a_log_handler_made_while_quiet_works_afterwards(
    capfd: pytest.CaptureFixture[str],
) -> None:
    logger = logging.getLogger("a library")
    handlers = list(logging.root.handlers)
    with quiet():
        handler = logging.StreamHandler()
        logger.addHandler(handler)
        logging.basicConfig()
    try:
        logger.propagate = False
        logger.warning("after")
    finally:
        logger.removeHandler(handler)
    assert capfd.readouterr().err == "after\n"
    assert logging.root.handlers == handlers


def test_an_unknown_failure_is_one_line() -> None:
    with (
        pytest.raises(ConversionError) as raised,
        naming_the_cause("model.py:net", "ONNX"),
    ):
        try:
            raise KeyError("the root")
        except KeyError as root:
            raise RuntimeError("pages\nof\ntext") from root
    assert raised.value.message.startswith(
        "can't convert model.py:net to ONNX: KeyError: 'the root'"
    )
    assert f"{Path(__file__).name}, line" in raised.value.message


def test_a_failure_without_words_and_one_with_too_many() -> None:
    assert explain(MemoryError())[0] == "MemoryError"
    assert len(explain(ValueError("x" * 10_000))[0]) < 300


def test_our_own_errors_pass() -> None:
    with pytest.raises(UsageError, match="as it was"), naming_the_cause("model", "ONNX"):
        raise UsageError("as it was")
