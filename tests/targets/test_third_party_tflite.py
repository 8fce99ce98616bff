"""What the inspector says of TFLite files that others made, against what LiteRT says of them."""

from __future__ import annotations

from collections import Counter

import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from models import operators
from third_party import TFLITE, third_party

from edgewright.targets.inspect import inspect_model


@pytest.mark.parametrize("name", TFLITE)
def test_operators_are_the_interpreters(name: str) -> None:
    path = third_party(name)
    facts = inspect_model(path)
    interpreter = Interpreter(
        model_path=str(path),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    found = Counter(detail["op_name"] for detail in interpreter._get_ops_details())
    # The interpreter lists the main graph alone.
    assert Counter(operators(facts)) >= found
    assert facts.subgraphs or operators(facts) == found
