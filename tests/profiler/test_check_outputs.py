"""Findings as SARIF and as JUnit XML."""

from __future__ import annotations

import json
import os
import xml.etree.ElementTree as ET
from pathlib import Path
from urllib.parse import unquote_to_bytes

from hypothesis import given
from hypothesis import strategies as st

from edgewright.profiler.check_junit import junit_document
from edgewright.profiler.check_sarif import sarif_document
from edgewright.targets.finding import CheckResult, Finding

GOLDEN = Path(__file__).parents[1] / "golden" / "check.sarif"
MODEL = Path("models/my net.tflite")

FALLBACK = Finding(
    severity="error",
    code="accelerator-fallback",
    operator="TRANSPOSE_CONV",
    nodes=("up/1", "up/2"),
    count=2,
    reason="it's not on the list",
    remedy="replace it",
    source="a page",
)
WIDE = Finding(severity="info", code="float64", reason="64 bits", remedy="use 32", answer="asked")
RESULT = CheckResult(compatible=False, findings=(FALLBACK, WIDE))


def test_sarif() -> None:
    # This file was validated against the schema of the standard (sarif-schema-2.1.0.json).
    expected = json.loads(GOLDEN.read_text())
    assert sarif_document(RESULT, MODEL, "coral-dev-board", "0.1.0") == expected


def test_sarif_without_findings_has_results_that_are_empty() -> None:
    [run] = sarif_document(CheckResult(compatible=True, findings=()), MODEL, "x", "0")["runs"]
    assert run["results"] == [] and run["properties"]["compatible"] is True


def test_junit() -> None:
    root = ET.fromstring(junit_document(RESULT, MODEL, "coral-dev-board"))
    [suite] = root
    assert suite.attrib["name"] == "models/my net.tflite on coral-dev-board"
    assert (suite.attrib["tests"], suite.attrib["failures"]) == ("2", "1")
    failed, passed = suite
    assert failed.attrib["name"].startswith("accelerator-fallback: ")
    assert failed[0].tag == "failure" and failed[0].attrib["type"] == "accelerator-fallback"
    assert "at up/1, up/2" in str(failed[0].text) and "replace it" in str(failed[0].text)
    assert passed[0].tag == "system-out" and "info: 64 bits" in str(passed[0].text)


def test_junit_without_findings_is_one_passed_test() -> None:
    root = ET.fromstring(junit_document(CheckResult(compatible=True, findings=()), MODEL, "x"))
    assert root[0].attrib["tests"] == "1" and len(root[0][0]) == 0


@given(st.text(), st.text())
def test_junit_holds_whatever_a_model_calls_its_nodes(name: str, operator: str) -> None:
    finding = FALLBACK.model_copy(
        update={"nodes": (name,), "operator": operator, "reason": f"why {name}"}
    )
    result = CheckResult(compatible=False, findings=(finding,))
    root = ET.fromstring(junit_document(result, MODEL, "x"))
    assert str(root[0][0][0].text).startswith("error: ")


def test_outputs_hold_whatever_a_file_is_called() -> None:
    model = Path(os.fsdecode(b"a\x01 b%41\xff.onnx"))
    root = ET.fromstring(junit_document(RESULT, model, "x"))
    assert root[0].attrib["name"] == "a\ufffd b%41\ufffd.onnx on x"
    document = sarif_document(RESULT, model, "x", "0")
    place = document["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert unquote_to_bytes(place["artifactLocation"]["uri"]) == os.fsencode(model)
