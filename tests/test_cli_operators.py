"""`profile --operators`, as a user runs it."""

from __future__ import annotations

from pathlib import Path

import pytest
from clirunner import Cli
from small_models import GOLDEN

MODEL = Path(__file__).parent.parent / "examples" / "fashion-mnist" / "model.onnx"


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


def test_where_the_time_goes(cli: Cli) -> None:
    shown = cli("profile", MODEL, GOLDEN / "tiny_float.tflite", "--operators")
    assert shown.code == 0, shown
    text = " ".join(shown.out.split())
    assert "12 of 12 operators, 100% of the time, on CPUExecutionProvider" in text
    assert "XNNPACK took 3 of 3 operators in 1 part, 100% of the time" in text
    assert "Conv" in text and "FULLY_CONNECTED" in text


def test_in_json_operator_by_operator(cli: Cli) -> None:
    document = cli("profile", MODEL, "--operators", "--json").json
    operators = document["operators"]["operators"]
    assert len(operators) == 12
    assert sum(operator["share"] for operator in operators) > 0.999
    [provider] = document["operators"]["providers"]
    assert provider["provider"] == "CPUExecutionProvider" and provider["nodes"] == 12
    memory = document["memory"]
    assert memory["baseline_rss_bytes"] + memory["model_added_bytes"] == memory["peak_rss_bytes"]
