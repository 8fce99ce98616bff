"""Which scheme each node of a TFLite model gets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

import numpy as np

from ...errors import UsageError
from .recipe import OPERATOR_CLASSES, Recipe, Rule, Scheme
from .tflite_lookups import as_lookup
from .tflite_model import (
    WEIGHTS,
    constant,
    input_tensor,
    is_float,
    name_of,
    node_name,
    operator_of,
)
from .tflite_schemes import (
    WEIGHTED,
    configuration,
    known_operators,
    library_name,
    refusal,
    stored,
    unsupported,
)


@dataclass(frozen=True)
class Assigned:
    """A node that is to be quantized.

    Attributes:
        node, graph: objects of the schema.
        operator: the schema's name.
    """

    node: Any
    graph: Any
    operator: str
    scheme: Scheme

    @property
    def stores_weights(self) -> bool:
        """Whether constant weights of it become integers or halves."""
        return self.operator in WEIGHTED

    def holding(self, scheme: Scheme) -> Assigned:
        """The same with another scheme."""
        return replace(self, scheme=scheme)


def assign(model: Any, recipe: Recipe) -> list[Assigned]:
    """The nodes that a recipe quantizes, in the file's order.

    A rule for '*' or a class of operators passes over those that can't hold its scheme; nodes of
    control flow's branches have no ranges, so that static schemes leave them float.

    Raises:
        UsageError: a rule names an operator that litert-quantizer does not know, TFLite can't hold
            a scheme, or none of the operators that a rule decides on can.
    """
    for rule in recipe.rules:
        _refuse_unknown(rule, recipe)
    found: list[Assigned] = []
    held: set[int] = set()
    refused: dict[int, str] = {}
    for graph in model.subgraphs:
        for node in list(graph.operators):
            operator, name = operator_of(model, node), node_name(graph, node)
            number = _deciding(recipe, name, operator)
            scheme = None if number is None else recipe.rules[number].scheme
            if number is None or scheme is None:
                continue
            if operator == "GATHER" and refusal("EMBEDDING_LOOKUP", stored(scheme)) is None:
                operator = as_lookup(model, graph, node)
            if operator == "EMBEDDING_LOOKUP":
                # Rows of a table are read, not computed: its activations are float.
                scheme = stored(scheme)
            if not _applies(model, graph, node, operator, scheme):
                continue
            why = _refusal(model, graph, node, operator, scheme)
            if why is None:
                held.add(number)
                found.append(Assigned(node, graph, operator, scheme))
            else:
                refused.setdefault(number, f"{why} ({name})")
    for number, why in refused.items():
        named = recipe.rules[number].operator not in ("*", *OPERATOR_CLASSES)
        if named or number not in held:
            raise UsageError(
                f"recipe {recipe.name}: {why}",
                hint="choose another scheme for it, or none, which keeps it float",
            )
    return found


class Choices:
    """What litert-quantizer asks for each node; in place of its own recipes."""

    def __init__(self, model: Any, recipe: Recipe, assigned: Iterable[Assigned]) -> None:
        """Looks up the scheme of the virtual nodes INPUT and OUTPUT too.

        They become integers where every node that reads the inputs (computes the outputs) works on
        those integers under one and the same scheme.
        """
        from litert_quantizer.utils.tfl_flatbuffer_utils import (
            get_op_scope,
            get_subgraph_input_output_operators,
        )

        graph = model.subgraphs[0]
        by_node = {id(each.node): each for each in assigned}
        self._chosen: dict[tuple[Any, str], tuple[str, Any]] = {
            (library_name(each.operator), get_op_scope(each.node, each.graph.tensors)): (
                configuration(each.operator, each.scheme)
            )
            for each in by_node.values()
        }
        self._is_static = any(each.scheme.is_static for each in by_node.values())
        for virtual in get_subgraph_input_output_operators(graph):
            is_input = len(virtual.outputs) > 0
            touched = list(virtual.outputs if is_input else virtual.inputs)
            scheme = _common_scheme(graph, touched, by_node, reads=is_input)
            rule = _deciding(recipe, name_of(graph.tensors[touched[0]]), virtual.op_key.value)
            if scheme is not None and rule is not None and recipe.rules[rule].scheme is not None:
                scope = get_op_scope(virtual, graph.tensors)
                self._chosen[virtual.op_key, scope] = configuration(virtual.op_key.value, scheme)

    def need_calibration(self) -> bool:
        """As litert-quantizer's RecipeManager."""
        return self._is_static

    def get_quantization_configs(self, operator: Any, scope: str) -> tuple[str, Any]:
        """As litert-quantizer's RecipeManager."""
        from litert_quantizer.algorithm_manager import AlgorithmName
        from litert_quantizer.qtyping import OpQuantizationConfig

        unquantized = (AlgorithmName.NO_QUANTIZE, OpQuantizationConfig())
        return self._chosen.get((operator, scope), unquantized)


def _refuse_unknown(rule: Rule, recipe: Recipe) -> None:
    known = known_operators()
    if rule.operator not in known and rule.operator not in ("*", *OPERATOR_CLASSES):
        near = get_close_matches(rule.operator, sorted(known), n=3, cutoff=0.4)
        raise UsageError(
            f"recipe {recipe.name}: litert-quantizer has no operator {rule.operator}",
            hint=f"the nearest are {', '.join(near)}"
            if near
            else f"classes of operators are {', '.join(OPERATOR_CLASSES)}",
        )
    why = None if rule.scheme is None else unsupported(rule.scheme)
    if why is not None:
        raise UsageError(f"recipe {recipe.name}: {why}")


def _deciding(recipe: Recipe, name: str, operator: str) -> int | None:
    """The number of the last rule that matches."""
    matching = [i for i, rule in enumerate(recipe.rules) if rule.matches(name, operator)]
    return matching[-1] if matching else None


def _applies(model: Any, graph: Any, node: Any, operator: str, scheme: Scheme) -> bool:
    """Whether there is anything in the node that the scheme is about."""
    if operator not in known_operators():
        return False
    weights = input_tensor(graph, node, WEIGHTS) if operator in WEIGHTED else None
    if weights is not None and constant(model, weights) is not None:
        return True
    return scheme.is_static and graph is model.subgraphs[0]


def _refusal(model: Any, graph: Any, node: Any, operator: str, scheme: Scheme) -> str | None:
    """Why this node can't hold the scheme."""
    weights = None
    if operator in WEIGHTED:
        weights = constant(model, input_tensor(graph, node, WEIGHTS))
    if operator == "BATCH_MATMUL" and weights is None:
        scheme = scheme.model_copy(update={"granularity": "per-tensor"})
    why = refusal(operator, scheme)
    if why is not None or weights is None:
        return why
    if scheme.block_size is not None and weights.shape[-1] % scheme.block_size:
        return (
            f"{weights.shape[-1]} inputs of {operator} are not divisible by blocks "
            f"of {scheme.block_size}"
        )
    if scheme.weights == "float16" and np.abs(weights).max(initial=0.0) > np.finfo(np.float16).max:
        return f"weights of {operator} are too large for float16"
    return None


def _common_scheme(
    graph: Any, tensors: list[int], by_node: Mapping[int, Assigned], *, reads: bool
) -> Scheme | None:
    """The one static scheme of all nodes that read, or compute, the float ones of the tensors."""
    floats = {int(index) for index in tensors if is_float(graph.tensors[index])}
    schemes = set()
    touched = set()
    for node in graph.operators:
        common = floats & {int(index) for index in (node.inputs if reads else node.outputs)}
        if common:
            touched |= common
            assigned = by_node.get(id(node))
            schemes.add(None if assigned is None else assigned.scheme)
    if touched != floats or len(schemes) != 1:
        return None
    (scheme,) = schemes
    return scheme if scheme is not None and scheme.is_static else None
