"""Functions that the user names, and what becomes of their exceptions."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgewright.errors import ConversionError, UsageError
from edgewright.exporters.user_code import blaming_user, load_function


def script(directory: Path, text: str, name: str = "mine.py") -> str:
    (directory / name).write_text(text)
    return name


def test_a_function_of_a_file(tmp_path: Path) -> None:
    name = script(tmp_path, "def twice(x):\n    return 2 * x\n")
    assert load_function(f"{name}:twice", "the metric", tmp_path)(4) == 8
    assert load_function(f"{tmp_path / name}:twice", "the metric")(4) == 8


def test_a_function_of_a_module() -> None:
    assert load_function("os.path:basename", "the metric")("a/b") == "b"


def test_files_of_one_name_do_not_meet(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        script(tmp_path / folder, f"def who():\n    return {folder!r}\n")
    found = [load_function("mine.py:who", "the data", tmp_path / folder)() for folder in "ab"]
    assert found == ["a", "b"]


def test_neighbours_can_be_imported_and_the_path_is_left_as_it_was(tmp_path: Path) -> None:
    script(tmp_path, "VALUE = 7\n", "edgewright_test_neighbour.py")
    script(tmp_path, "from edgewright_test_neighbour import VALUE\ndef get():\n    return VALUE\n")
    before = list(sys.path)
    assert load_function("mine.py:get", "the data", tmp_path)() == 7
    assert sys.path == before
    script(tmp_path, "raise OSError\n", "bad.py")
    with pytest.raises(UsageError, match=r"OSError: \(no message\)"):
        load_function("bad.py:get", "the data", tmp_path)
    assert sys.path == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / 0\n", r"importing .*mine\.py raised ZeroDivisionError: .* \(.*mine\.py, line 1\)"),
        ("x = 1\ndef f(:\n", r"raised SyntaxError: .* \(.*mine\.py, line 2\)"),
        ("import no_such_module_at_all\n", r"raised ModuleNotFoundError: No module named"),
        ("import sys\nsys.exit(0)\n", r"raised SystemExit: 0"),
    ],
)
def test_an_import_that_fails_names_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    script(tmp_path, text)
    with pytest.raises(UsageError, match=message):
        load_function("mine.py:f", "the data", tmp_path)


def test_a_failed_import_can_be_tried_again(tmp_path: Path) -> None:
    script(tmp_path, "1 / 0\n")
    with pytest.raises(UsageError):
        load_function("mine.py:f", "the data", tmp_path)
    script(tmp_path, "def f():\n    return 'mended'\n")
    assert load_function("mine.py:f", "the data", tmp_path)() == "mended"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("mine.py", "the metric 'mine.py' names no function"),
        ("mine.py:", "names no function"),
        ("mine.py:not a name", "names no function"),
        ("gone.py:f", r"gone\.py: no such file \(in the metric gone\.py:f\)"),
        ("no_such_module_at_all:f", "importing no_such_module_at_all raised ModuleNotFoundError"),
        ("mine.py:VALUE", "mine.py has no function VALUE"),
        ("mine.py:gone", "mine.py has no function gone"),
    ],
)
def test_what_names_no_function(tmp_path: Path, spec: str, message: str) -> None:
    script(tmp_path, "VALUE = 3\ndef f():\n    pass\n")
    with pytest.raises(UsageError, match=message):
        load_function(spec, "the metric", tmp_path)


def test_a_near_miss_is_suggested(tmp_path: Path) -> None:
    script(tmp_path, "def accuracy(outputs, label):\n    return 1\n")
    with pytest.raises(UsageError) as caught:
        load_function("mine.py:acuracy", "the metric", tmp_path)
    assert caught.value.hint == "did you mean accuracy?"


def test_our_own_errors_pass_and_others_are_blamed() -> None:
    with pytest.raises(ConversionError, match="ours"), blaming_user("it"):
        raise ConversionError("ours")
    told = r"^it raised ValueError: first \(.*, line \d+\)$"
    with pytest.raises(UsageError, match=told), blaming_user("it"):
        raise ValueError("first\nsecond")
    with pytest.raises(KeyboardInterrupt), blaming_user("it"):
        raise KeyboardInterrupt
