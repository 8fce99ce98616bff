"""Functions that the user names as FILE.py:FUNCTION or package.module:FUNCTION."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import importlib
import importlib.util
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import EdgewrightError, UsageError


def load_function(spec: str, what: str, base: Path | None = None) -> Callable[..., Any]:
    """Imports the function that `spec` names.

    Args:
        spec: 'FILE.py:FUNCTION' or 'package.module:FUNCTION'.
        what: what it is for, used in messages ('the metric').
        base: directory that relative files start from; the current one by default.

    Raises:
        UsageError: the file, module or function is missing, or the import raised.
    """
    head, colon, name = spec.rpartition(":")
    if not colon or not name.isidentifier():
        raise UsageError(f"{what} {spec!r} names no function", hint="write FILE.py:FUNCTION")
    if head.endswith(".py"):
        path = Path(head) if base is None else base / head
        if not path.is_file():
            raise UsageError(f"{path}: no such file (in {what} {spec})")
        with blaming_user(f"importing {path}"):
            module = _import_file(path.resolve())
    else:
        with blaming_user(f"importing {head}"):
            module = importlib.import_module(head)
    function = getattr(module, name, None)
    if not callable(function):
        names = [key for key, value in vars(module).items() if callable(value)]
        near = difflib.get_close_matches(name, names, n=1)
        raise UsageError(
            f"{head} has no function {name}", hint=f"did you mean {near[0]}?" if near else None
        )
    return function  # type: ignore[no-any-return]


@contextlib.contextmanager
def blaming_user(doing: str) -> Iterator[None]:
    """Turns whatever the user's code raises into a UsageError that names its file and line."""
    try:
        yield
    except EdgewrightError:
        raise
    except (Exception, SystemExit) as error:
        # A script that ends with sys.exit(0) must not end Edgewright as if all had passed.
        raise UsageError(
            f"{doing} raised {type(error).__name__}: {_first_line(error)}{_where(error)}"
        ) from error


def _import_file(path: Path) -> ModuleType:
    # The name is unique to the path, so that two files called model.py do not meet.
    name = f"edgewright_user_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        sys.path.remove(str(path.parent))
    return module


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else "(no message)"


def _where(error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}, line {error.lineno})"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if is_users_file(f.filename)]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def is_users_file(filename: str) -> bool:
    """Whether a frame's file is the user's: neither ours, a library's nor Python's own."""
    ours = f"{Path(__file__).parent}/"
    python = f"{sysconfig.get_path('stdlib')}/"
    return "site-packages" not in filename and not filename.startswith((ours, python, "<"))
