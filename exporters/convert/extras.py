"""Libraries that are installed only for those who convert from them."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

from ...errors import UsageError
from ..runtime import first_line
from .quiet import quiet


def need(module: str, extra: str) -> ModuleType:
    """Imports an optional library.

    Args:
        module: the name to import.
        extra: the extra of Edgewright that installs it.

    Raises:
        UsageError: it is not installed, or can't be imported.
    """
    loaded = sys.modules.get(module)
    if loaded is not None:
        return loaded
    try:
        with quiet():
            return importlib.import_module(module)
    except Exception as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == module
        problem = "is not installed" if missing else f"can't be imported: {first_line(error)}"
        raise UsageError(
            f"this conversion needs {module}, which {problem}",
            hint=f"pip install 'edgewright[{extra}]'",
        ) from error
