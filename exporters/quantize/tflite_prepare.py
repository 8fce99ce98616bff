"""The float graph, brought into the form in which each node can have its own integers."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

from .tflite_assign import Assigned
from .tflite_model import (
    BIAS,
    WEIGHTS,
    constant,
    give_own_constant,
    input_tensor,
)
from .tflite_schemes import stored


def separate_constants(model: Any, assigned: Iterable[Assigned]) -> list[Assigned]:
    """Copies constants that several nodes read but are to be stored differently.

    A table that an embedding shares with a matrix product stays one where the schemes differ only
    in rounding; it is then rounded for the product.

    Returns:
        The nodes with their schemes, of which those of such tables are changed.
    """
    nodes = {id(each.node): each for each in assigned}
    for uses in _uses(model).values():
        places = [(nodes.get(id(node)), place) for _, node, place in uses]
        products = [each for each, place in places if each is not None and _product(each, place)]
        for table, place in places:
            if table is None or table.operator != "EMBEDDING_LOOKUP" or place != WEIGHTS:
                continue
            like = next((p for p in products if _alike(p, table)), None)
            if like is not None:
                update = {"rounding": like.scheme.rounding, "seed": like.scheme.seed}
                changed = table.scheme.model_copy(update=update)
                nodes[id(table.node)] = table.holding(changed)
    for uses in _uses(model).values():
        _separate(model, uses, nodes)
    return list(nodes.values())


Use = tuple[Any, Any, int]


def _uses(model: Any) -> dict[int, list[Use]]:
    """(graph, node, place among its inputs) for each use of a constant, by buffer."""
    uses: dict[int, list[Use]] = {}
    for graph in model.subgraphs:
        for node in graph.operators:
            for place, index in enumerate(node.inputs):
                if index >= 0 and constant(model, graph.tensors[index]) is not None:
                    uses.setdefault(graph.tensors[index].buffer, []).append((graph, node, place))
    return uses


def _separate(model: Any, uses: list[Use], nodes: dict[int, Assigned]) -> None:
    """Leaves the constant to the first group of alike uses; the others get copies."""
    groups: dict[Hashable, list[Use]] = {}
    for graph, node, place in uses:
        groups.setdefault(_form(nodes.get(id(node)), node, place), []).append((graph, node, place))
    for group in list(groups.values())[1:]:
        made: dict[int, int] = {}
        for graph, node, place in group:
            if id(graph) in made:
                node.inputs[place] = made[id(graph)]
                continue
            values = constant(model, input_tensor(graph, node, place))
            assert values is not None
            made[id(graph)] = give_own_constant(model, graph, node, place, values)


def _form(assigned: Assigned | None, node: Any, place: int) -> Hashable:
    """Equal for uses that can share a constant; None for those that need it as it is."""
    if assigned is None or not assigned.stores_weights:
        return None
    if _bias_place(assigned) == place:
        # In steps of the node's own scales.
        return id(node) if assigned.scheme.is_static else None
    return stored(assigned.scheme)


def _product(assigned: Assigned, place: int) -> bool:
    return place == WEIGHTS and assigned.operator == "FULLY_CONNECTED"


def _alike(product: Assigned, table: Assigned) -> bool:
    same = {"rounding": "nearest", "seed": 0}
    first, second = (stored(each.scheme).model_copy(update=same) for each in (product, table))
    return first == second


def _bias_place(assigned: Assigned) -> int:
    return BIAS + 1 if assigned.operator == "TRANSPOSE_CONV" else BIAS
