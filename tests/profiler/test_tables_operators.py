"""What people read about where the time goes."""

from __future__ import annotations

from rich.console import Console, RenderableType
from small_models import fake_run

from edgewright.profiler.operators import OperatorProfile, OperatorTime, ProviderShare
from edgewright.profiler.tables_operators import operators_table, operators_tables, sentences


def share(provider: str, nodes: int, part: float, delegate: bool = False) -> ProviderShare:
    return ProviderShare(
        provider=provider, delegate=delegate, nodes=nodes, time_ms=10 * part, share=part
    )


def operator(kind: str, provider: str, part: float) -> OperatorTime:
    return OperatorTime(
        name=kind.lower(), type=kind, count=1, mean_ms=10 * part, share=part, provider=provider
    )


def text(shown: RenderableType) -> str:
    console = Console(width=160, no_color=True)
    with console.capture() as capture:
        console.print(shown)
    return capture.get()


def test_one_provider() -> None:
    profile = OperatorProfile(
        inferences=20,
        operators=(operator("Conv", "CPUExecutionProvider", 1.0),),
        providers=(share("CPUExecutionProvider", 57, 0.998),),
        total_nodes=57,
        method="by hand",
    )
    assert sentences(profile) == ["57 of 57 operators, 99.8% of the time, on CPUExecutionProvider"]


def test_a_delegate_that_left_some() -> None:
    profile = OperatorProfile(
        inferences=20,
        operators=(
            operator("CONV_2D", "XNNPACK", 0.9),
            operator("SOFTMAX", "LiteRT", 0.06),
            operator("QUANTIZE", "LiteRT", 0.02),
            operator("QUANTIZE", "LiteRT", 0.02),
        ),
        providers=(share("XNNPACK", 60, 0.9, delegate=True), share("LiteRT", 3, 0.1)),
        delegated_nodes=60,
        total_nodes=63,
        partitions=1,
        method="by hand",
    )
    assert sentences(profile) == [
        "XNNPACK took 60 of 63 operators in 1 part, 90.0% of the time; 3 ran in LiteRT's own "
        "kernels, 10.0% of the time: QUANTIZE x 2, SOFTMAX"
    ]


def test_a_delegate_that_took_all_or_nothing() -> None:
    everything = OperatorProfile(
        inferences=1,
        operators=(),
        providers=(share("XNNPACK", 3, 1.0, delegate=True),),
        delegated_nodes=3,
        total_nodes=3,
        partitions=2,
        method="by hand",
    )
    assert sentences(everything) == ["XNNPACK took 3 of 3 operators in 2 parts, 100% of the time"]
    nothing = OperatorProfile(
        inferences=1,
        operators=(operator("CONV_2D", "TFLite", 1.0),),
        providers=(share("TFLite", 1, 1.0),),
        delegated_nodes=0,
        total_nodes=1,
        partitions=0,
        method="by hand",
    )
    assert sentences(nothing) == [
        "no delegate took any of the 1 operators; 1 ran in TFLite's own kernels, 100% of the time: "
        "CONV_2D"
    ]


def test_times_that_are_not_known() -> None:
    profile = OperatorProfile(
        inferences=1,
        operators=(
            OperatorTime(
                name="g", type="DELEGATE", count=1, mean_ms=None, share=None, provider="GPU"
            ),
        ),
        providers=(
            ProviderShare(provider="GPU", delegate=True, nodes=5, time_ms=None, share=None),
        ),
        delegated_nodes=5,
        total_nodes=5,
        partitions=1,
        method="by hand",
    )
    assert sentences(profile) == ["GPU took 5 of 5 operators in 1 part"]
    assert "?" in text(operators_table(profile))


def test_the_table_sums_up_what_takes_least() -> None:
    parts = [0.3, *[0.05] * 14]
    profile = OperatorProfile(
        inferences=20,
        operators=tuple(operator(f"OP_{i}", "LiteRT", part) for i, part in enumerate(parts)),
        providers=(share("LiteRT", 15, 1.0),),
        method="by hand",
    )
    shown = text(operators_table(profile))
    assert shown.index("OP_0") < shown.index("OP_1")
    assert "3 more types" in shown and "15.0%" in shown
    assert "20 inferences; by hand" in shown


def test_runs_of_which_some_were_asked_for_operators() -> None:
    profile = OperatorProfile(
        inferences=20,
        operators=(operator("CONV_2D", "LiteRT", 1.0),),
        providers=(share("LiteRT", 1, 1.0),),
        method="by hand",
    )
    plain = fake_run([[1.0]])
    without = fake_run([[1.0]], model_name="a", missing={"operators": "the model is gone"})
    with_some = fake_run([[1.0]], model_name="b", operators=profile)
    assert operators_tables([plain]) == []
    [reason] = operators_tables([without])
    assert text(reason) == "operator times: none (the model is gone)\n"
    name, _, second, table = operators_tables([plain, without, with_some])
    assert (text(name), text(second)) == ("\na\n", "\nb\n")
    assert "CONV_2D" in text(table)
