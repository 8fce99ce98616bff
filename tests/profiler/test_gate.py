"""What passes the gate, and what must not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from small_models import COLD_START

from edgewright.exporters.artifact import Artifact
from edgewright.exporters.candidate import Candidate, Status
from edgewright.profiler.gate import Judged, Limits, decide, judge, judge_slowdown
from edgewright.profiler.result import Correctness, DeviceFacts, Run, RuntimeFacts, Validity
from edgewright.profiler.stats import compare_runs
from edgewright.targets.finding import CheckResult, Finding
from edgewright.targets.load import load_target

PI = load_target("raspberry-pi-5")
QUICK = 1.0
SLOW = 2.0
WRONG = Correctness(status="failed", reason="off by one")
UNCHECKED = Correctness(status="not-checked")


def candidate(precision: str, status: Status = "kept", fits: bool = True) -> Candidate:
    artifact = Artifact(
        path=Path(f"{precision}.onnx"),
        format="onnx",
        precision=precision,  # type: ignore[arg-type]
        inputs=(),
        outputs=(),
        size_bytes=1000,
        sha256="0" * 64,
        made_from="test",
    )
    finding = Finding(severity="error", code="float64", count=1, reason="large", remedy="shrink")
    check = CheckResult(compatible=fits, findings=() if fits else (finding,))
    return Candidate(artifact, status, "because", None, {PI.name: check}, 0)


def run(time_ms: float, *, valid: bool = True, architecture: str = "aarch64") -> Run:
    wobble = (0.99, 1.0, 1.01, 1.0)
    return Run(
        measurement="one",
        model_name="model",
        model_sha256="0" * 64,
        model_size_bytes=1000,
        mode="quick",
        device=DeviceFacts(address="pi", architecture=architecture),
        runtime=RuntimeFacts(name="onnxruntime", version="1", threads=1, python="3"),
        started_at="2026-01-01T00:00:00Z",
        samples_ms=tuple(time_ms * w for w in wobble * 20),
        rounds=(4,) * 20,
        warm_up_ms=(),
        cold_starts=(COLD_START,),
        peak_rss_bytes=1000,
        conditions=(),
        correctness=Correctness(status="passed", against="float", inputs=1),
        validity=Validity(valid=valid, reasons=() if valid else ("spoilt",)),
    )


def judged(
    own: Run | None,
    reference: Run | None,
    limits: Limits | None = None,
    **about: object,
) -> tuple[Judged, Judged]:
    """The float model and an INT8 candidate before the gate."""
    limits = limits or Limits()
    floats = {"pi": reference} if reference else {}
    runs = {"pi": own} if own else {}
    return (
        judge(candidate("float32"), floats, floats, limits, [PI]),
        judge(candidate("int8", **about), runs, floats, limits, [PI]),  # type: ignore[arg-type]
    )


def test_the_faster_is_chosen() -> None:
    verdict = decide(judged(run(QUICK), run(SLOW)))
    assert verdict.passed and verdict.chosen == "onnx/int8"
    assert any("2.00x" in reason for reason in verdict.reasons)


def test_a_slower_one_is_not_chosen() -> None:
    verdict = decide(judged(run(SLOW), run(QUICK)))
    assert verdict.passed and verdict.chosen == "onnx/float32"


def test_nothing_is_proven_against_a_spoilt_float_run() -> None:
    for own in (QUICK, SLOW):
        verdict = decide(judged(run(own), run(1.5, valid=False)))
        if own == SLOW:
            assert not verdict.passed
            assert "does not count" in verdict.reasons[0]


def test_a_float_model_over_budget_needs_no_race() -> None:
    limits = Limits(max_p90_ms=1.2)
    verdict = decide(judged(run(QUICK), run(SLOW), limits))
    assert verdict.passed and verdict.chosen == "onnx/int8"
    assert not decide(judged(run(SLOW), run(SLOW), limits)).passed


@pytest.mark.parametrize(
    ("own", "about", "saying"),
    [
        (None, {"status": "rolled back"}, "rolled back"),
        (None, {"status": "unproven"}, "unproven"),
        (None, {"fits": False}, "does not fit"),
        (None, {}, "not measured"),
        (run(QUICK, valid=False), {}, "invalid"),
        (run(QUICK).model_copy(update={"correctness": WRONG}), {}, "wrong"),
        (
            run(QUICK).model_copy(update={"correctness": Correctness(status="not-checked")}),
            {},
            "wro",
        ),
        (run(QUICK, architecture="x86_64"), {}, "not measured on a device like raspberry-pi-5"),
    ],
)
def test_what_is_not_proven_does_not_pass(
    own: Run | None, about: dict[str, object], saying: str
) -> None:
    item = judged(own, run(SLOW), **about)[1]
    assert not item.passed
    assert saying in " ".join(item.reasons)


@pytest.mark.parametrize(
    "limits",
    [Limits(max_p90_ms=0.5), Limits(max_size_bytes=999), Limits(max_peak_rss_bytes=999)],
)
def test_budgets(limits: Limits) -> None:
    assert judged(run(QUICK), run(SLOW), limits)[1].breaches
    generous = Limits(max_p90_ms=1.5, max_size_bytes=1000, max_peak_rss_bytes=1000)
    assert judged(run(QUICK), run(SLOW), generous)[1].passed


def test_a_budget_is_held_by_the_interval() -> None:
    """p90 itself is within the budget, but not all of its interval."""
    few = run(QUICK).model_copy(update={"samples_ms": (1.0,) * 65 + (1.1,) * 8 + (9.0,) * 7})
    assert few.latency_ms.p90 < 5
    assert judged(few, run(SLOW), Limits(max_p90_ms=5))[1].breaches


def test_words_let_an_invalid_run_pass() -> None:
    limits = Limits(accept_invalid="no cooler yet")
    assert judged(run(QUICK, valid=False), run(SLOW), limits)[1].passed


def test_a_crash_on_one_of_two_devices_is_no_proof() -> None:
    item = judged(run(QUICK), run(SLOW))[1]
    assert item.is_faster
    assert not replace(item, runs={**item.runs, "other": run(QUICK)}).is_faster


def test_inferences_of_other_batches_are_not_compared() -> None:
    one, four = run(10), run(40).model_copy(update={"batch": 4})
    verdict = judge_slowdown(one, four, compare_runs(one, four), 10)
    assert not verdict.passed
    assert "takes 1 samples, one of the run 4" in verdict.reasons[0]
    assert judge_slowdown(one, one, compare_runs(one, one), 10).passed
