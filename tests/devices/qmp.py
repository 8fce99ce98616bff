"""Talking to a running qemu (QMP, its JSON protocol), as far as the tests need it."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

TIMEOUT_S = 20.0


def ask(path: Path, command: str, **arguments: object) -> Any:
    """Send one command to the qemu that listens on the socket at `path`; return its answer.

    Raises RuntimeError when qemu refuses, OSError when it is not there.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(TIMEOUT_S)
        connection.connect(str(path))
        with connection.makefile("rw") as lines:
            lines.readline()  # the greeting
            answer: dict[str, Any] = {}
            for document in (
                {"execute": "qmp_capabilities"},
                {"execute": command, "arguments": arguments},
            ):
                lines.write(json.dumps(document) + "\n")
                lines.flush()
                answer = {}
                while not {"return", "error"} & answer.keys():  # the rest are events
                    answer = json.loads(lines.readline())
    if "error" in answer:
        raise RuntimeError(f"{command}: {answer['error']['desc']}")
    return answer["return"]
