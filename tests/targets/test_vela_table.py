"""What the table of Ethos-U55 judges, against Vela itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from converting import need_extra
from small_tflite import PADDINGS, Graph

from edgewright.targets.facts import GraphFacts
from edgewright.targets.inspect import inspect_model
from edgewright.targets.judge import judge
from edgewright.targets.oracles import ORACLES
from edgewright.targets.profile import Accelerator
from edgewright.targets.support_files import support_table

ETHOS = Accelerator(
    id="npu",
    name="Ethos-U",
    kind="npu",
    precisions=("int8",),
    compiler_options={"accelerator_config": "ethos-u55-128"},
    source="test",
)


class Layers:
    """Layers of uint8 side by side; each is called what it is about."""

    def __init__(self) -> None:
        self.graph = Graph()
        self.outputs: list[int] = []
        self._inputs: dict[tuple[int, ...], int] = {}

    def data(self, *shape: int) -> int:
        if shape not in self._inputs:
            made = self.graph.input(f"x{len(self._inputs)}", shape, np.uint8)
            self._inputs[shape] = self.graph.quantize(made, 0.5, 3)
        return self._inputs[shape]

    def whole(self, *values: int) -> int:
        """A constant of int32."""
        at = len(self.graph.graph.tensors)
        return self.graph.constant(f"c{at}", np.array(values, np.int32))

    def add(
        self, name: str, operator: str, inputs: Sequence[int], shape: Sequence[int],
        options: str | None = None, *, scale: float = 0.5, **values: Any,
    ) -> None:  # fmt: skip
        made = self.graph.node(operator, inputs, name, shape, options, np.uint8, **values)
        self.outputs.append(self.graph.quantize(made, scale, 3))


def layers() -> Layers:
    made = Layers()
    image = made.data(1, 8, 8, 16)
    reduced = ("ReducerOptions",)
    resized = ("ResizeBilinearOptions",)
    made.add("reduces the plane", "MEAN", [image, made.whole(1, 2)], [1, 16], *reduced)
    made.add("reduces the width", "MEAN", [image, made.whole(-2)], [1, 8, 16], *reduced)
    batched = made.data(2, 8, 8, 16)
    made.add("has a batch", "MEAN", [batched, made.whole(1, 2)], [2, 16], *reduced)
    other = made.graph.input("other", [1, 8, 8, 16], np.uint8)
    made.graph.quantize(other, 0.25, 3)
    pair = "MaximumMinimumOptions"
    made.add("shares scales", "MAXIMUM", [image, made.data(1, 8, 8, 16)], [1, 8, 8, 16], pair)
    made.add("has other scales", "MINIMUM", [image, other], [1, 8, 8, 16], pair)
    for factor in (2, 3, 4):
        size = [1, 8 * factor, 8 * factor, 16]
        where = [image, made.whole(8 * factor, 8 * factor)]
        made.add(f"enlarges by {factor}", "RESIZE_BILINEAR", where, size, *resized)
    wide = [image, made.whole(16, 32)]
    made.add("enlarges by 2 and 4", "RESIZE_BILINEAR", wide, [1, 16, 32, 16], *resized)
    for size in (256, 257):
        deep = made.data(1, size, 256, 1)
        made.add(f"has a plane of {size} rows", "SOFTMAX", [deep], [1, size, 256, 1],
                 "SoftmaxOptions", beta=1.0)  # fmt: skip
    values = np.full((4, 3, 3, 16), 5, np.uint8)
    weights = made.graph.quantize(made.graph.constant("weights", values), 0.1, 3)
    bias = made.graph.quantize(made.whole(0, 0, 0, 0), 0.05, 0)
    made.add("has few weights", "CONV_2D", [image, weights, bias], [1, 8, 8, 4], "Conv2DOptions",
             padding=PADDINGS.SAME, strideW=1, strideH=1)  # fmt: skip
    # With 8x8 pixels, SAME adds nothing to a window of 2 in steps of 4, and to one of 5 it does.
    pool = "Pool2DOptions"
    for size, padded in ((2, "no padding"), (5, "padding")):
        values = np.full((4, size, size, 16), 5, np.uint8)
        kernel = made.graph.quantize(made.graph.constant(f"weights{size}", values), 0.1, 3)
        steps = {"padding": PADDINGS.SAME, "strideW": 4, "strideH": 4}
        window = {**steps, "filterWidth": size, "filterHeight": size}
        made.add(f"steps with {padded}", "CONV_2D", [image, kernel, bias], [1, 2, 2, 4],
                 "Conv2DOptions", **steps)  # fmt: skip
        for operator in ("MAX_POOL_2D", "AVERAGE_POOL_2D"):
            name = f"{operator} with {padded}"
            made.add(name, operator, [image], [1, 2, 2, 16], pool, **window)
    return made


def test_the_table_and_vela_agree_on_layers_at_their_limits(tmp_path: Path) -> None:
    need_extra("ethos-u", ["ethosu"])
    made = layers()
    path = made.graph.write(tmp_path / "m.tflite", *made.outputs)
    facts, table = inspect_model(path), support_table("ethos-u55")
    assert table is not None
    graph: GraphFacts = facts.graphs[0]
    asked = {node.index: node.place for node in ORACLES["vela"](path, facts, ETHOS).nodes}
    said = {node.name: judge(node, graph, table, None) for node in graph.nodes}
    vela = {node.name: asked[node.index] for node in graph.nodes}
    for name, verdict in said.items():
        if verdict.note is None:
            place = {"yes": "accelerator", "no": "cpu"}[verdict.answer]
            assert vela[name] == place, (name, verdict)
    assert {name for name, verdict in said.items() if verdict.note} == {
        "enlarges by 3", "enlarges by 2 and 4",
    }  # fmt: skip
    assert [name for name, verdict in said.items() if verdict.answer == "no"] == [
        "has a batch", "has other scales", "has a plane of 257 rows",
        "steps with padding", "MAX_POOL_2D with padding", "AVERAGE_POOL_2D with padding",
    ]  # fmt: skip
