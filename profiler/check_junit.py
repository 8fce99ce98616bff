"""What `check` found as JUnit XML, which continuous integration shows as tests."""

from __future__ import annotations

import re
from pathlib import Path

from junitparser import Error, Failure, JUnitXml, TestCase, TestSuite

from ..targets.codes import CODES
from ..targets.finding import CheckResult, Finding

#: What XML 1.0 has no place for (section 2.2, Characters); names in a model can hold anything.
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_document(result: CheckResult, model: Path, target: str) -> str:
    """One suite with a test for every code: failed where a finding is an error.

    Warnings and remarks are passed tests with their words in the output: whoever wants them to
    fail reads the JSON. A model without findings is one passed test.

    Args:
        model: the file that was checked.
        target: the name of the device.
    """
    suite = TestSuite(_NO_XML.sub("�", f"{model} on {target}"))
    groups: dict[str, list[Finding]] = {}
    for finding in result.findings:
        groups.setdefault(finding.code, []).append(finding)
    for code, findings in groups.items():
        case = TestCase(
            f"{code}: {CODES[findings[0].code].title}", classname=f"edgewright.{target}"
        )
        told = "\n".join(_told(finding) for finding in findings)
        if any(finding.severity == "error" for finding in findings):
            failure = Failure(_NO_XML.sub("�", findings[0].reason), code)
            failure.text = told
            case.result = [failure]
        else:
            case.system_out = told
        suite.add_testcase(case)
    if not groups:
        suite.add_testcase(TestCase("no findings", classname=f"edgewright.{target}"))
    return _written(suite)


def junit_failure(kind: str, message: str, hint: str | None) -> str:
    """One suite with one test, in error: the check came to no result.

    Args:
        kind: the type of the error.
    """
    error = Error(_NO_XML.sub("�", message), kind)
    error.text = _NO_XML.sub("�", hint or "")
    case = TestCase("check", classname="edgewright")
    case.result = [error]
    suite = TestSuite("edgewright")
    suite.add_testcase(case)
    return _written(suite)


def _written(suite: TestSuite) -> str:
    document = JUnitXml("edgewright check")
    document.add_testsuite(suite)
    content: bytes = document.tostring()
    return content.decode()


def _told(finding: Finding) -> str:
    what = f"{finding.operator} ({finding.count}): " if finding.operator else ""
    where = f"\n  at {', '.join(finding.nodes)}" if finding.nodes else ""
    told = f"{finding.severity}: {what}{finding.reason}\n  {finding.remedy}{where}"
    return _NO_XML.sub("�", told)
