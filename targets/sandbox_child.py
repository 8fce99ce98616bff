"""The child's side of `sandbox`: runs functions by name, one request a line, JSON both ways.

A request is {"function", "arguments", "memory_bytes", "folder"}; the answer is one of
{"result"}, {"raised": class names, most special first, "message", "hint"}, {"memory": true} and
{"failed": the exception in words, "trace"}.
"""

from __future__ import annotations

import importlib
import json
import os
import queue
import sys
import threading
import traceback
from typing import Any

from ..errors import EdgewrightError

if sys.platform != "win32":
    import resource


def main() -> None:
    """Serves requests until the parent closes its end of the pipe, or is gone."""
    requests, answers = os.dup(0), os.dup(1)
    # Whatever the functions and their libraries print must not get between the answers.
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if sys.platform != "win32":
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(requests, lines), daemon=True).start()
    with os.fdopen(answers, "wb") as out:
        while True:
            out.write(_answer(json.loads(lines.get())) + b"\n")
            out.flush()


def _read(requests: int, lines: queue.SimpleQueue[bytes]) -> None:
    """Puts requests by; the end of the pipe ends the process, whatever it is about."""
    with os.fdopen(requests, "rb") as pipe:
        for line in pipe:
            lines.put(line)
    os._exit(0)


def _answer(request: dict[str, Any]) -> bytes:
    if request["folder"] is not None:
        os.chdir(request["folder"])
    _limit_memory(request["memory_bytes"])
    out_of_memory = False
    try:
        module, _, name = request["function"].partition(":")
        result = getattr(importlib.import_module(module), name)(*request["arguments"])
        return json.dumps({"result": result}, allow_nan=False).encode()
    except EdgewrightError as error:
        kinds = [kind.__name__ for kind in type(error).__mro__]
        return json.dumps({"raised": kinds, "message": error.message, "hint": error.hint}).encode()
    except MemoryError:
        # Answered outside, where the frames that hold the memory are gone.
        out_of_memory = True
    except BaseException as error:
        said = " ".join(str(error).split())
        words = f"{type(error).__name__}: {said}" if said else type(error).__name__
        return json.dumps({"failed": words, "trace": traceback.format_exc(limit=-20)}).encode()
    finally:
        _limit_memory(None)
    return json.dumps({"memory": out_of_memory}).encode()


def _limit_memory(size: int | None) -> None:
    """Limits memory of the process's own; files that are only mapped and read don't count.

    See setrlimit(2), RLIMIT_DATA. Windows and macOS don't keep it.
    """
    if sys.platform != "win32":
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        soft = most if size is None else size if most < 0 else min(size, most)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, most))


if __name__ == "__main__":
    main()
