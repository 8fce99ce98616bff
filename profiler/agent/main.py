"""The agent's commands."""

from __future__ import annotations

import argparse
import errno
import json
import os
from typing import Callable, Dict, Sequence

from .common import Json, Refusal, why


def main(arguments: Sequence[str]) -> int:
    given = _parser().parse_args(arguments)
    if given.command == "worker":
        from .worker import worker

        return worker()
    code = 0
    try:
        document = _ANSWERS[given.command](given)
    except Refusal as refusal:
        code = 3
        document = {"error": refusal.error}
    except OSError as error:
        code = 3
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        document = {"error": {"kind": "no-space" if full else "system", "message": why(error)}}
    print(json.dumps(document))
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="agent")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.required = True
    commands.add_parser("facts")
    commands.add_parser("accelerators")
    commands.add_parser("conditions")
    commands.add_parser("worker")
    commands.add_parser("stored").add_argument("directory", type=os.path.abspath)
    commands.add_parser("look").add_argument("words", nargs="+")
    commands.add_parser("adopt").add_argument("words", nargs="+")
    for name in ("start", "poll", "stop", "run"):
        commands.add_parser(name).add_argument("directory", type=os.path.abspath)
    commands.choices["poll"].add_argument("--since", type=int, default=0)
    commands.choices["start"].add_argument("--owner", type=json.loads, default={})
    commands.choices["start"].add_argument("--new", action="store_true")
    commands.choices["run"].add_argument("--lock-fd", type=int)
    return parser


# Each imports what it needs: from an archive, every module that is imported is compiled anew.


def _facts(given: argparse.Namespace) -> Json:
    from .device import facts

    return facts()


def _accelerators(given: argparse.Namespace) -> Json:
    from .accelerators import traces

    return traces()


def _conditions(given: argparse.Namespace) -> Json:
    from .conditions import Observer

    return Observer().look("before")


def _stored(given: argparse.Namespace) -> Json:
    from .stored import stored

    return stored(given.directory)


def _look(given: argparse.Namespace) -> Json:
    from .blobs import look
    from .jobs import sweep

    # Files lie in BASE/blobs, measurements in BASE/runs.
    sweep(os.path.dirname(os.path.dirname(os.path.abspath(given.words[0]))) + "/runs")
    return look(given.words)


def _adopt(given: argparse.Namespace) -> Json:
    from .blobs import adopt

    return adopt(given.words)


def _start(given: argparse.Namespace) -> Json:
    from .jobs import start

    return start(given.directory, given.owner, given.new)


def _poll(given: argparse.Namespace) -> Json:
    from .jobs import poll

    return poll(given.directory, given.since)


def _stop(given: argparse.Namespace) -> Json:
    from .jobs import stop

    return stop(given.directory)


def _run(given: argparse.Namespace) -> Json:
    from .conductor import run

    return run(given.directory, given.lock_fd)


_ANSWERS: Dict[str, Callable[[argparse.Namespace], Json]] = {
    "facts": _facts,
    "accelerators": _accelerators,
    "conditions": _conditions,
    "stored": _stored,
    "look": _look,
    "adopt": _adopt,
    "start": _start,
    "poll": _poll,
    "stop": _stop,
    "run": _run,
}
