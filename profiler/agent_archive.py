"""The agent as the one file that is pushed: an archive that Python runs as it is.

The same sources give the same bytes, so that the archive is found on a device by its hash.
"""

from __future__ import annotations

import importlib.resources
import io
import zipfile

_PACKAGE = "edgewright_agent"
_MAIN = f"from {_PACKAGE} import __main__\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that the format knows


def agent_archive() -> bytes:
    """The package `agent` as a zip archive with a `__main__.py` (PEP 441)."""
    sources = {
        f"{_PACKAGE}/{file.name}": file.read_bytes()
        for file in importlib.resources.files(f"{__package__}.agent").iterdir()
        if file.name.endswith(".py")
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:  # stored: a device's Python may lack zlib
        for name, content in sorted({"__main__.py": _MAIN.encode(), **sources}.items()):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content)
    return buffer.getvalue()
