"""The inputs and outputs of a freshly converted TFLite file, matched with its source's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ...errors import ConversionError
from ..artifact import Array
from .base import Converted

Permutation = tuple[int, ...]


class NamedModel(Protocol):
    """A loaded source whose inputs and outputs have the names in the file's signature."""

    @property
    def input_names(self) -> tuple[str, ...]: ...

    @property
    def output_names(self) -> tuple[str, ...]: ...

    @property
    def example_inputs(self) -> tuple[Array, ...]: ...

    def run(self, arrays: Sequence[Array]) -> list[Array]: ...


def converted(
    content: bytes, model: NamedModel, permutations: Mapping[str, Permutation]
) -> Converted:
    """What a converter says of a file that it wrote with one signature.

    The file's order is that of its main subgraph, which is what
    `Interpreter.get_input_details()` gives; converters reorder, and signatures list their names
    alphabetically.

    Args:
        content: the file.
        model: its source.
        permutations: for inputs and outputs whose layout the file changes.

    Raises:
        ConversionError: the file's inputs or outputs are not the source's.
    """
    inputs, outputs = file_order(content)
    for kind, names, given in (
        ("inputs", model.input_names, inputs),
        ("outputs", model.output_names, outputs),
    ):
        if sorted(names) != sorted(given):
            raise ConversionError(
                f"the converted file has the {kind} {', '.join(given)} where the source has "
                f"{', '.join(names)}",
                hint=f"let the model use all its {kind}",
            )
    examples = dict(zip(model.input_names, model.example_inputs, strict=True))

    def run(arrays: Sequence[Array]) -> list[Array]:
        given = dict(zip(inputs, arrays, strict=True))
        results = model.run([given[name] for name in model.input_names])
        named = dict(zip(model.output_names, results, strict=True))
        return [named[name] for name in outputs]

    return Converted(
        inputs,
        outputs,
        tuple(examples[name] for name in inputs),
        run,
        tuple(permutations.get(name) for name in inputs),
        tuple(permutations.get(name) for name in outputs),
    )


def file_order(content: bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names that a TFLite file's only signature gives its inputs and outputs, in file order.

    Raises:
        ConversionError: it has no signature.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(content, 0)
    if model.SignatureDefsLength() == 0:
        # TensorFlow's converter leaves it out, without a word, where a name has a space.
        raise ConversionError(
            "the converted file does not name its inputs and outputs",
            hint="name the model's inputs and outputs with letters, digits and '_' only",
        )
    signature = model.SignatureDefs(0)
    graph = model.Subgraphs(signature.SubgraphIndex())
    inputs = [signature.Inputs(index) for index in range(signature.InputsLength())]
    outputs = [signature.Outputs(index) for index in range(signature.OutputsLength())]
    return (
        _ordered([graph.Inputs(index) for index in range(graph.InputsLength())], inputs),
        _ordered([graph.Outputs(index) for index in range(graph.OutputsLength())], outputs),
    )


def _ordered(tensors: list[int], entries: list[Any]) -> tuple[str, ...]:
    # Two outputs may be one tensor: each name is used once.
    left = list(entries)
    names: list[str] = []
    for tensor in tensors:
        entry = next(entry for entry in left if entry.TensorIndex() == tensor)
        left.remove(entry)
        names.append(entry.Name().decode())
    return tuple(names)
