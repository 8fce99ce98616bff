"""Where nodes run: pieces of graphs, the share that stays on the CPU, and what is said of it."""

from __future__ import annotations

import dataclasses
import graphlib
from typing import Any

import pytest
from graph_making import Making, model, table
from hypothesis import given
from hypothesis import strategies as st

from edgewright.errors import UsageError
from edgewright.targets import survey as surveying
from edgewright.targets.answers import Answers, settled
from edgewright.targets.check import CheckOptions, check
from edgewright.targets.facts import GraphFacts, ModelFacts, QuantizedProducts
from edgewright.targets.finding import MOST_NODES, CheckResult, Finding
from edgewright.targets.load import load_target
from edgewright.targets.oracles import ORACLES, CannotSay
from edgewright.targets.partition import limited, partitions
from edgewright.targets.place import place
from edgewright.targets.placement import NodePlacement, Placement
from edgewright.targets.profile import Accelerator
from edgewright.targets.support_table import SupportTable

CORAL = load_target("coral-dev-board")


@st.composite
def graphs(draw: st.DrawFn) -> tuple[GraphFacts, list[int]]:
    """Any graph in a possible order, and which of its nodes are supported."""
    making = Making()
    for at in range(draw(st.integers(0, 12))):
        earlier = draw(st.lists(st.integers(0, at - 1), max_size=3)) if at else []
        making.node("ANY", [f"t{e}" for e in earlier] or ["in"], [f"t{at}"])
    kinds = draw(st.lists(st.booleans(), min_size=len(making.nodes), max_size=len(making.nodes)))
    return making.graph(), [at for at, kind in enumerate(kinds) if kind]


@given(graphs())
def test_every_supported_node_is_in_exactly_one_piece(drawn: tuple[GraphFacts, list[int]]) -> None:
    graph, supported = drawn
    pieces = partitions(graph, supported)
    assert sorted(at for piece in pieces for at in piece) == supported
    assert all(list(piece) == sorted(piece) for piece in pieces)


@given(graphs())
def test_pieces_make_no_cycle(drawn: tuple[GraphFacts, list[int]]) -> None:
    graph, supported = drawn
    pieces = partitions(graph, supported)
    piece_of = {at: f"piece {number}" for number, piece in enumerate(pieces) for at in piece}
    makers = {tensor: at for at, node in enumerate(graph.nodes) for tensor in node.outputs}
    needs: dict[Any, set[Any]] = {}
    for at, node in enumerate(graph.nodes):
        own = piece_of.get(at, at)
        from_others = {piece_of.get(m, m) for t in node.inputs if (m := makers.get(t)) is not None}
        needs.setdefault(own, set()).update(from_others - {own})
    order = list(graphlib.TopologicalSorter(needs).static_order())
    numbers = [each for each in order if isinstance(each, str)]
    assert len(numbers) == len(pieces)


@given(graphs())
def test_pieces_are_those_of_tflite(drawn: tuple[GraphFacts, list[int]]) -> None:
    """Against the loop that its source describes: node by node, until nothing more is ready."""
    graph, supported = drawn
    made = set(range(len(graph.tensors))) - {t for node in graph.nodes for t in node.outputs}
    left = list(range(len(graph.nodes)))
    expected = []
    while left:
        kind: bool | None = None
        piece: list[int] = []
        moved = True
        while moved:
            moved = False
            for at in list(left):
                node = graph.nodes[at]
                if not made.issuperset(node.inputs):
                    continue
                kind = at in supported if kind is None else kind
                if (at in supported) == kind:
                    piece.append(at)
                    left.remove(at)
                    made.update(node.outputs)
                    moved = True
        if kind:
            expected.append(tuple(sorted(piece)))
    assert list(partitions(graph, supported)) == expected


def test_a_graph_that_is_supported_whole_is_one_piece() -> None:
    assert partitions(chain("A", "A", "A"), [0, 1, 2]) == ((0, 1, 2),)
    assert partitions(chain("A", "A", "A"), []) == ()
    assert partitions(GraphFacts("", (), (), (), ()), []) == ()


def test_limits_keep_the_largest_or_the_first() -> None:
    pieces = ((0,), (2, 3), (5, 6))
    assert limited(pieces, None, True) == pieces
    assert limited(pieces, 1, True) == ((2, 3),)
    assert limited(pieces, 2, True) == ((2, 3), (5, 6))
    assert limited(pieces, 1, False) == ((0,),)


def chain(*operators: str, macs: int = 10, **rest: Any) -> GraphFacts:
    """Operators one after another; a float tensor after DEQUANTIZE, int8 after QUANTIZE."""
    making = Making()
    dtype = rest.get("dtype", "float32")
    making.tensor("t0", "float32" if operators[0] == "QUANTIZE" else dtype)
    for at, operator in enumerate(operators):
        making.tensor(f"t{at + 1}", "float32" if operator == "DEQUANTIZE" else dtype)
        conversion = operator in ("QUANTIZE", "DEQUANTIZE")
        making.node(operator, [f"t{at}"], [f"t{at + 1}"], macs=0 if conversion else macs)
    return making.graph(("t0",), (f"t{len(operators)}",))


AB = table(operators=[{"name": "A"}, {"name": "B"}], oracle="vela")


def test_nodes_of_an_accelerator() -> None:
    placement = place(model(chain("A", "X", "B", "A")), AB, None)
    assert [node.place for node in placement.nodes] == ["accelerator", "cpu"] + ["accelerator"] * 2
    assert placement.nodes[1].reason == "there is no such operator in the Test accelerator"
    assert placement.partitions == 2
    assert (placement.macs("accelerator"), placement.macs("cpu")) == (30, 10)
    assert placement.said_by == "the test (TestRT 2.0)"
    assert Placement.model_validate_json(placement.model_dump_json()) == placement


def test_the_version_of_the_device_is_told_beside_that_of_the_table() -> None:
    assert place(model(chain("A")), AB, "1.5").said_by == "the test (TestRT 2.0; assumed here: 1.5)"


def test_what_is_unknown_cuts_the_graph() -> None:
    unsure = AB.model_copy(update={"complete": False})
    placement = place(model(chain("A", "X", "B")), unsure, "1.0")
    assert [node.place for node in placement.nodes] == ["accelerator", "unknown", "accelerator"]
    assert placement.partitions == 2


def test_after_the_first_piece_the_edge_tpu_takes_nothing() -> None:
    first = AB.model_copy(update={"max_partitions": 1, "keeps": "first"})
    placement = place(model(chain("A", "X", "B", "B")), first, None)
    assert [node.place for node in placement.nodes] == ["accelerator", "cpu", "cpu", "cpu"]
    assert placement.nodes[2].reason == "the Test accelerator takes the first piece of a model only"
    assert placement.partitions == 1


def test_nodes_of_a_runtime() -> None:
    runtime = table(operators=[{"name": "A"}], role="runtime")
    placement = place(model(chain("A", "X")), runtime, None)
    assert [node.place for node in placement.nodes] == ["cpu", "nowhere"]
    assert placement.partitions is None


def test_inner_graphs_are_cut_for_themselves() -> None:
    body = dataclasses.replace(chain("A", "X", "A"), name="body")
    placement = place(model(chain("A"), body), AB, None)
    assert placement.partitions == 3


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> dict[str, SupportTable]:
    """Tables of the test in place of the files, by id."""
    known: dict[str, SupportTable] = {}
    monkeypatch.setattr("edgewright.targets.support_files.support_table", known.get)
    monkeypatch.setattr(surveying, "support_table", known.get)
    return known


def checked(
    facts: ModelFacts, answers: Answers | None = None, **options: Any
) -> tuple[CheckResult, list[Finding]]:
    result = check(facts, CORAL, CheckOptions(**options), answers)
    about = [f for f in result.findings if f.code.startswith("accelerator-")]
    return result, about


def test_a_promised_accelerator_makes_fallback_an_error(tables: dict[str, SupportTable]) -> None:
    tables["edge-tpu"] = AB
    facts = model(chain("A", "X", "B", "X"))
    result, (finding,) = checked(facts, ask=False)
    assert not result.compatible
    assert (finding.severity, finding.code) == ("error", "accelerator-fallback")
    assert (finding.operator, finding.count, finding.nodes) == ("X", 2, ("x_1", "x_3"))
    assert finding.reason == (
        "runs on the CPU and not on the Google Edge TPU (4 TOPS): there is no such operator in the "
        "Test accelerator"
    )
    assert finding.answer == "tabled"
    assert finding.remedy.endswith("; or admit it: --allow-fallback 0.5")
    assert not checked(facts, ask=False, allow_fallback=0.49)[0].compatible
    result, (finding,) = checked(facts, ask=False, allow_fallback=0.5)
    assert result.compatible
    assert finding.severity == "info" and "--allow-fallback" not in finding.remedy
    mostly = checked(model(chain("A", "X", "X")), ask=False)[1]
    assert mostly[0].remedy.endswith("; or check for the CPU alone: --accelerator none")
    result, about = checked(facts, ask=False, accelerator="none")
    assert result.compatible
    assert about == []
    assert result.placements == ()


def test_conversions_at_the_border_are_remarks(tables: dict[str, SupportTable]) -> None:
    tables["edge-tpu"] = AB.model_copy(update={"full_integer": True})
    result, about = checked(model(chain("QUANTIZE", "A", "B", "DEQUANTIZE", dtype="int8")))
    assert result.compatible
    assert [(f.code, f.operator) for f in about if f.code != "accelerator-not-asked"] == [
        ("accelerator-border", "QUANTIZE"),
        ("accelerator-border", "DEQUANTIZE"),
    ]
    inside = chain("A", "DEQUANTIZE", "X", "QUANTIZE", "B", dtype="int8")
    result, about = checked(model(inside), ask=False)
    assert not result.compatible
    assert [f.operator for f in about] == ["X", "DEQUANTIZE", "QUANTIZE"], "the cause comes first"


def test_unpacking_stored_values_is_no_fallback(tables: dict[str, SupportTable]) -> None:
    tables["edge-tpu"] = table(operators=[{"name": "CONV_2D"}])
    making = Making()
    making.tensor("stored", "float16", constant=True)
    making.tensor("x", "int8")
    making.node("DEQUANTIZE", ["stored"], ["w"])
    making.node("CONV_2D", ["x", "w"], ["y"], macs=10)
    result, about = checked(model(making.graph(("x",), ("y",))), ask=False)
    assert result.compatible
    assert about == []
    assert [node.place for node in result.placements[-1].nodes] == ["cpu", "accelerator"]


def test_a_node_without_results_is_a_fallback_too(tables: dict[str, SupportTable]) -> None:
    tables["edge-tpu"] = AB
    making = Making()
    making.node("A", ["x"], ["y"])
    making.node("ASSIGN_VARIABLE", ["y"], [])
    result, (finding,) = checked(model(making.graph(("x",), ("y",))), ask=False)
    assert not result.compatible
    assert (finding.code, finding.operator) == ("accelerator-fallback", "ASSIGN_VARIABLE")


def test_conditions_that_nobody_checked_are_told(tables: dict[str, SupportTable]) -> None:
    tables["edge-tpu"] = table(operators=[{"name": "A", "note": "by 2 or 4"}, {"name": "B"}])
    result, (finding,) = checked(model(chain("A", "B", "A")), ask=False)
    assert result.compatible
    assert (finding.severity, finding.code) == ("info", "accelerator-condition")
    assert (finding.answer, result.unknown) == ("unknown", 0)
    assert (finding.operator, finding.count) == ("A", 2)
    assert finding.reason.endswith("on a condition that nobody checked: by 2 or 4")


def test_a_fallback_of_unknown_work_is_not_admitted(tables: dict[str, SupportTable]) -> None:
    tables["edge-tpu"] = AB
    making = Making()
    for at, (operator, macs) in enumerate([("A", 1000), ("X", None), ("A", 1000)]):
        making.node(operator, [f"t{at}"], [f"t{at + 1}"], macs=macs)
    graph = making.graph(("t0",), ("t3",))
    assert not checked(model(graph), ask=False, allow_fallback=0.9)[0].compatible
    placement = checked(model(graph), ask=False)[0].placements[-1]
    assert placement.share(placement.nodes[1:2]) is None
    assert placement.share(placement.nodes[:1]) == 0.5


def test_what_nobody_knows_is_said(tables: dict[str, SupportTable]) -> None:
    tables["edge-tpu"] = AB.model_copy(update={"complete": False})
    result, (finding,) = checked(model(chain("A", "X")), ask=False)
    assert result.compatible
    assert (finding.severity, finding.code) == ("warning", "accelerator-unknown")
    assert finding.answer == "unknown"
    tables.clear()
    result, (finding,) = checked(model(chain("A")))
    assert (finding.severity, finding.code) == ("warning", "accelerator-unknown")
    tables["edge-tpu"] = AB.model_copy(update={"format": "onnx"})
    result, (finding,) = checked(model(chain("A")))
    assert (finding.severity, finding.code) == ("error", "accelerator-unreachable")
    assert finding.remedy.startswith("export with --format onnx")
    tables["edge-tpu"] = AB.model_copy(update={"runtimes": ("ai_edge_litert",)})
    result, (finding,) = checked(model(chain("A")))
    assert finding.remedy.startswith("use ai_edge_litert")


def test_what_the_compiler_says_wins(
    tables: dict[str, SupportTable], monkeypatch: pytest.MonkeyPatch
) -> None:
    tables["edge-tpu"] = AB
    facts = model(chain("A", "X", "B"))
    tabled = place(facts, AB, None)
    said = tabled.model_copy(
        update={
            "answer": "asked",
            "said_by": "vela 4",
            "nodes": tuple(
                node.model_copy(update={"place": place_, "reason": None})
                for node, place_ in zip(tabled.nodes, ["cpu", "cpu", "accelerator"], strict=True)
            ),
        }
    )
    questions = []

    def answer(path: Any, facts: ModelFacts, accelerator: Accelerator | None) -> Placement:
        questions.append(accelerator)
        return said

    monkeypatch.setitem(ORACLES, "vela", answer)
    answers = Answers()
    for _ in range(2):
        result, about = checked(facts, answers)
        assert {f.operator: f.answer for f in about} == {"A": "asked", "X": "asked"}
    assert len(questions) == 1, "asked once"
    reasons = {f.operator: f.reason for f in about}
    assert reasons["X"].endswith("there is no such operator in the Test accelerator"), (
        "the table's reason"
    )
    assert reasons["A"].endswith("vela 4 leaves it there and gives no reason")
    assert result.placements[-1].said_by == "vela 4"
    assert [f.answer for f in checked(facts, answers, ask=False)[1]] == ["tabled"]

    def refuse(path: Any, facts: ModelFacts, accelerator: Accelerator | None) -> Placement:
        raise CannotSay("ethos-u-vela is not installed", hint="pip install ethos-u-vela")

    monkeypatch.setitem(ORACLES, "vela", refuse)
    result, about = checked(facts)
    assert [f.code for f in about] == ["accelerator-fallback", "accelerator-not-asked"]
    assert about[1].remedy == "pip install ethos-u-vela"


def test_what_is_asked_keeps_its_own_reasons_where_the_table_has_none() -> None:
    tabled = place(model(chain("A", "X")), AB, None)
    own = [
        node.model_copy(update={"place": "cpu", "reason": f"{node.name} is too wide"})
        for node in tabled.nodes
    ]
    reasons = [
        n.reason for n in settled(tabled.model_copy(update={"nodes": tuple(own)}), tabled).nodes
    ]
    assert reasons == ["a_0 is too wide", "there is no such operator in the Test accelerator"]
    unsure = place(model(chain("X")), AB.model_copy(update={"complete": False}), None)
    said = unsure.model_copy(update={"nodes": (own[0],)})
    assert settled(said, unsure).nodes[0].reason == "a_0 is too wide", "nobody says, the asked does"


def test_a_runtime_without_a_kernel(tables: dict[str, SupportTable]) -> None:
    tables["tflite-cpu"] = table(
        id="tflite-cpu",
        title="TFLite kernels",
        role="runtime",
        operators=[{"name": "A", "versions": {"2.4": 1, "2.6": 2}}],
        versioned_by="TensorFlow",
    )
    result, about = checked(model(chain("A", "X", "Y")), accelerator="none")
    assert about == []
    assert {f.operator: f.code for f in result.findings} == {
        "X": "operator-not-supported",
        "Y": "operator-not-supported",
    }
    assert [node.place for node in result.placements[0].nodes] == ["cpu", "nowhere", "nowhere"]
    making = Making()
    making.node("A", ["x"], ["y"], version=2)
    result, _ = checked(model(making.graph()), accelerator="none")
    assert [f.code for f in result.findings] == ["operator-version-too-new"], "Coral has 2.5"
    tables["edge-tpu"] = table(operators=[{"name": "X"}])
    result, about = checked(model(chain("X", "Y")))
    assert [f.operator for f in about] == ["Y"]
    assert [n.place for n in result.placements[-1].nodes] == ["accelerator", "nowhere"]
    lacking = [f for f in result.findings if f.code == "operator-not-supported"]
    assert [f.operator for f in lacking] == ["Y"], "what the accelerator runs needs no kernel"


def test_accelerators_that_nobody_promised_are_only_told_of(
    tables: dict[str, SupportTable],
) -> None:
    tables["litert-gpu"] = AB
    pixel = load_target("pixel-9")
    result = check(model(chain("A", "X")), pixel)
    assert result.findings == ()
    assert [placement.count("accelerator") for placement in result.placements] == [1]
    with pytest.raises(UsageError, match="no accelerator 'dsp'"):
        check(model(chain("A")), pixel, CheckOptions(accelerator="dsp"))


def test_nodes_without_a_name_are_counted_and_not_named(tables: dict[str, SupportTable]) -> None:
    tables["edge-tpu"] = AB
    graph = chain("X", "X")
    first, second = graph.nodes
    named = dataclasses.replace(graph, nodes=(dataclasses.replace(first, name=""), second))
    [finding] = checked(model(named), ask=False)[1]
    assert (finding.count, finding.nodes) == (2, ("x_1",))


def test_findings_name_twenty_nodes(tables: dict[str, SupportTable]) -> None:
    tables["edge-tpu"] = AB
    _, (finding,) = checked(model(chain(*["X"] * 50)), ask=False)
    assert finding.count == 50
    assert len(finding.nodes) == MOST_NODES


def test_what_runs_elsewhere_need_not_be_fast_on_the_cpu(tables: dict[str, SupportTable]) -> None:
    """int16 activations are slow on CPUs, and nothing to warn of where no product is left there."""
    wide = QuantizedProducts("A", 1, "int16", "int8", True, False, None)
    facts = dataclasses.replace(model(chain("A", "B")), quantized=(wide,))

    def codes(**options: Any) -> set[str]:
        return {finding.code for finding in checked(facts, ask=False, **options)[0].findings}

    tables["edge-tpu"] = AB
    assert "wide-activations" not in codes()
    assert "wide-activations" in codes(accelerator="none")
    tables["edge-tpu"] = table(operators=[{"name": "B"}])
    assert "wide-activations" in codes()


def test_the_share_is_of_nodes_where_no_work_is_known() -> None:
    placement = place(model(chain("A", "X", macs=0)), AB, None)
    assert placement.share([placement.nodes[1]]) == 0.5


def test_nodes_without_work_have_none_of_an_unknown_work() -> None:
    nodes = tuple(
        NodePlacement(graph="", index=i, operator="X", name="x", macs=macs, place="cpu")
        for i, macs in enumerate((0, 0, None))
    )
    placement = Placement(
        support="x", title="x", answer="tabled", said_by="x", nodes=nodes, partitions=0
    )
    assert placement.share(nodes[:2]) == 0.0
    assert placement.share(nodes) is None
