"""Runs the command line in this process."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from edgewright.cli import main


@dataclass(frozen=True)
class Outcome:
    """What a command ended with."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on standard output."""
        return json.loads(self.out)


class Cli:
    """The command line with its output captured."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *arguments: object) -> Outcome:
        """Runs `edgewright ARGUMENTS`."""
        self._capsys.readouterr()
        self._monkeypatch.setattr(sys, "argv", ["edgewright", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = self._capsys.readouterr()
        code = end.value.code
        return Outcome(code if isinstance(code, int) else 1, out, err)

    def refuses(self, *arguments: object, code: int = 2, saying: str = "") -> Outcome:
        """Runs a command that has to fail with one clear message and no traceback."""
        outcome = self(*arguments)
        assert outcome.code == code, outcome
        assert "Traceback" not in outcome.err + outcome.out
        assert "defect" not in outcome.err, outcome.err
        assert saying in outcome.err, outcome.err
        return outcome
