"""Which rungs of a ladder nothing else beats."""

from __future__ import annotations

import math
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from small_models import fake_run

from edgewright.exporters.artifact import Artifact
from edgewright.exporters.candidate import Candidate, Export
from edgewright.exporters.evaluate import Evaluation, Verdict
from edgewright.exporters.quantize.recipe import Recipe, Rule, Scheme
from edgewright.profiler.gate import Judged
from edgewright.profiler.quantization import Quantization, pareto
from edgewright.profiler.result import DeviceFacts, FailedRun, Run

DEVICE = DeviceFacts(address="local")
FAILED = FailedRun(
    measurement="one", model_name="m", model_sha256="0" * 64, mode="quick", device=DEVICE,
    runtime="onnxruntime", error="DeviceTimeout", message="too slow", phase="warm-up",
)  # fmt: skip


def timed(time_ms: float) -> Run:
    return fake_run([[time_ms] * 8])


def rung(
    name: str,
    drop: float | None,
    size_bytes: int,
    *runs: Run | FailedRun,
    verdict: Verdict = "proven",
    evaluated: bool = True,
) -> Judged:
    artifact = Artifact(
        path=Path(f"{name}.onnx"),
        format="onnx",
        precision="int8",
        inputs=(),
        outputs=(),
        size_bytes=size_bytes,
        sha256="0" * 64,
        made_from="test",
        recipe=Recipe(name=name, rules=(Rule(scheme=Scheme(weights="int8")),)),
    )
    evaluation = Evaluation(
        "cosine", 60, "rows", None, 1.0, drop, None, 0.01, verdict, "because", None, None
    )
    candidate = Candidate(
        artifact, "kept", "because", evaluation if evaluated else None, checks={}, preference=0
    )
    return Judged(candidate, {str(at): run for at, run in enumerate(runs)}, {}, (), ())


def names(*judged: Judged) -> set[str]:
    return {name.removeprefix("onnx/") for name in pareto(judged)}


def test_what_another_beats_in_everything_is_left_out() -> None:
    best = rung("best", 0.01, 100, timed(1))
    assert names(best, rung("beaten", 0.02, 200, timed(2))) == {"best"}
    # As good in the rest, and worse in one.
    assert names(best, rung("worse", 0.02, 100, timed(1))) == {"best"}
    assert names(best, rung("larger", 0.01, 101, timed(1))) == {"best"}
    assert names(best, rung("slower", 0.01, 100, timed(1.5))) == {"best"}


def test_what_is_better_in_anything_stays() -> None:
    assert names(
        rung("accurate", 0.00, 400, timed(4)),
        rung("small", 0.03, 100, timed(5)),
        rung("fast", 0.02, 200, timed(1)),
        rung("middling", 0.01, 300, timed(3)),
    ) == {"accurate", "small", "fast", "middling"}


def test_equals_do_not_beat_each_other() -> None:
    twins = [rung(name, 0.01, 100, timed(1)) for name in ("one", "other")]
    assert names(*twins) == {"one", "other"}


def test_a_broken_one_beats_nobody_and_is_no_choice() -> None:
    broken = rung("broken", None, 1, timed(0.1), verdict="broken")
    assert names(broken, rung("sound", 0.01, 100, timed(1))) == {"sound"}
    assert names(broken) == set()
    assert names() == set()


def test_what_was_not_measured_loses_to_what_was() -> None:
    measured = rung("measured", 0.01, 100, timed(1))
    for other in (
        rung("untimed", 0.01, 100),
        rung("failed", 0.01, 100, FAILED),
        # One device of two is no time on both.
        rung("half", 0.01, 100, timed(0.1), FAILED),
        rung("unjudged", None, 100, timed(1), evaluated=False),
        rung("undecided", None, 100, timed(1), verdict="undecided"),
    ):
        assert names(measured, other) == {"measured"}
    # Yet a smaller one is not beaten for want of a time.
    assert names(measured, rung("smaller", 0.01, 99)) == {"measured", "smaller"}
    # Where nothing was timed, drop and size decide.
    untimed = rung("a", 0.01, 100), rung("b", 0.02, 100), rung("c", 0.02, 50)
    assert names(*untimed) == {"a", "c"}


steps = st.integers(0, 3)


@given(st.lists(st.tuples(st.none() | steps, steps, st.none() | steps), max_size=8))
def test_the_front_is_that_of_the_definition(
    points: list[tuple[int | None, int, int | None]],
) -> None:
    judged = [
        rung(
            f"r{at}",
            None if drop is None else drop / 100,
            100 + size,
            *([] if time is None else [timed(1.0 + time)]),
        )
        for at, (drop, size, time) in enumerate(points)
    ]
    front = names(*judged)

    def beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
        pairs = list(zip(one, other, strict=True))
        return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)

    known = [
        (
            math.inf if drop is None else drop,
            size,
            math.inf if time is None else time,
        )
        for drop, size, time in points
    ]
    for at, point in enumerate(known):
        assert (f"r{at}" in front) == (not any(beats(other, point) for other in known))
    assert bool(front) == bool(points)


def test_runs_are_those_that_were_measured() -> None:
    export = Export((), None, (), (), {}, {}, ())
    runs = timed(1), timed(2), timed(3)
    judged = (
        rung("one", 0.01, 100, runs[0], runs[1]),
        rung("failed", 0.01, 100, FAILED, runs[2]),
        rung("none", 0.01, 100),
    )
    found = Quantization(export, judged, "onnx/one", (), "local", False, ())
    assert found.runs == list(runs)
