"""Graphs and tables made by hand, for the tests of rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgewright.targets.facts import (
    GraphFacts,
    ModelFacts,
    Node,
    OperatorFacts,
    TensorFacts,
    TensorQuantization,
    TensorSpec,
)
from edgewright.targets.profile import Format
from edgewright.targets.support_table import SupportTable


class Making:
    """Builds one graph: tensors and nodes by name."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.tensors: list[TensorFacts] = []
        self.nodes: list[Node] = []
        self.positions: dict[str, int] = {}

    def tensor(
        self,
        name: str,
        dtype: str = "float32",
        shape: tuple[int | None, ...] | None = (1, 8, 8, 4),
        *,
        constant: bool = False,
        per_channel: bool | None = None,
        values: tuple[int, ...] | tuple[float, ...] | None = None,
        quantization: TensorQuantization | None = None,
    ) -> str:
        """Adds a tensor; `per_channel` None leaves it unquantized, `values` make it constant."""
        if per_channel is not None:
            quantization = TensorQuantization(per_channel, 0 if per_channel else None, True)
        self.positions[name] = len(self.tensors)
        stored = name if constant or values is not None else None
        self.tensors.append(TensorFacts(name, dtype, shape, stored, 8, quantization, values=values))
        return name

    def node(
        self,
        operator: str,
        inputs: list[str],
        outputs: list[str],
        *,
        version: int | None = 1,
        macs: int | None = 0,
        graphs: tuple[str, ...] = (),
        **attributes: Any,
    ) -> Node:
        """Adds a node; an input '' is left out, tensors that are missing are float32."""
        for name in (*inputs, *outputs):
            if name and name not in self.positions:
                self.tensor(name)
        where = {"": -1, **self.positions}
        made = Node(
            index=len(self.nodes),
            operator=operator,
            name=f"{operator.lower()}_{len(self.nodes)}",
            version=version,
            inputs=tuple(where[name] for name in inputs),
            outputs=tuple(where[name] for name in outputs),
            attributes=attributes,
            macs=macs,
            graphs=graphs,
        )
        self.nodes.append(made)
        return made

    def graph(self, inputs: tuple[str, ...] = (), outputs: tuple[str, ...] = ()) -> GraphFacts:
        return GraphFacts(
            self.name,
            tuple(self.tensors),
            tuple(self.nodes),
            tuple(self.positions[name] for name in inputs),
            tuple(self.positions[name] for name in outputs),
        )


def model(*graphs: GraphFacts, model_format: Format = "tflite", **rest: Any) -> ModelFacts:
    """A model of these graphs."""
    nodes = [node for graph in graphs for node in graph.nodes]
    main = graphs[0]
    names = dict.fromkeys(node.operator for node in nodes)

    def specs(positions: tuple[int, ...]) -> tuple[TensorSpec, ...]:
        tensors = [main.tensors[at] for at in positions]
        return tuple(TensorSpec(t.name, t.shape or (), t.dtype) for t in tensors)

    given: dict[str, Any] = {
        "path": Path("model.tflite"),
        "format": model_format,
        "size_bytes": 1000,
        "sha256": "0" * 64,
        "inputs": specs(main.inputs),
        "outputs": specs(main.outputs),
        "operators": tuple(
            OperatorFacts(name, sum(n.operator == name for n in nodes), ("float32",), 0, 0)
            for name in names
        ),
        "weight_bytes": 500,
        "peak_activation_bytes": 500,
        "graphs": graphs,
    }
    return ModelFacts(**{**given, **rest})


def table(**rest: Any) -> SupportTable:
    """A complete accelerator's table for TFLite, changed by `rest`."""
    given: dict[str, Any] = {
        "schema_version": 1,
        "id": "test-table",
        "title": "Test accelerator",
        "role": "accelerator",
        "format": "tflite",
        "versioned_by": "TestRT",
        "tables_version": "2.0",
        "complete": True,
        "dynamic_shapes": False,
        "source": "the test",
    }
    return SupportTable.model_validate({**given, **rest})
