"""A PyTorch module from the user's factory function."""

from __future__ import annotations

import inspect
from typing import Any

from ...errors import UsageError
from ..source import Source
from ..user_code import blaming_user, load_function
from .extras import need
from .torch_values import TorchCall, described, is_tensor


def call_from_factory(source: Source) -> TorchCall:
    """Calls the factory of a source of kind 'torch'.

    Raises:
        UsageError: the file, module or function is missing or raises, or it returns something
            else than a module in evaluation mode and its example inputs.
    """
    torch = need("torch", "torch")
    place = source.module if source.path is None else source.path
    factory = load_function(f"{place}:{source.factory}", "model")
    with blaming_user(f"{source.spec}: the factory"):
        result = factory()
    pair = isinstance(result, tuple) and len(result) == 2
    if not pair or not isinstance(result[0], torch.nn.Module):
        raise UsageError(
            f"{source.spec} returned {described(result)}",
            hint="a factory returns (module.eval(), example_inputs)",
        )
    module, examples = result
    training = [name for name, part in module.named_modules() if part.training]
    if training:
        raise UsageError(
            f"{source.spec} returned a module in training mode"
            + (f" (its part {training[0]})" if training[0] else ""),
            hint="call .eval() on the module before returning it",
        )
    args, kwargs = _arguments(source, examples)
    names, kwargs = _parameters(source, module, args, kwargs)
    return TorchCall(module, args, kwargs, names)


def _arguments(source: Source, examples: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    if isinstance(examples, dict):
        kwargs = examples
    elif isinstance(examples, tuple | list):
        args = tuple(examples)
    else:
        args = (examples,)
    values = [*args, *kwargs.values()]
    if not values or not all(is_tensor(value) for value in values):
        raise UsageError(
            f"{source.spec}: the example inputs are {described(examples)}",
            hint="example inputs are a tensor, a tuple of tensors or a dict of name -> tensor",
        )
    return args, kwargs


def _parameters(
    source: Source, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The names of forward's parameters, and the keyword arguments in forward's order."""
    signature = inspect.signature(module.forward)
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise UsageError(
            f"{source.spec}: the example inputs do not fit forward{signature}: {error}",
            hint="example inputs are what forward is called with",
        ) from error
    names: list[str] = []
    ordered: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            names += [f"{name}_{index}" for index in range(len(value))]
        elif kind is inspect.Parameter.VAR_KEYWORD:
            names += value
            ordered |= value
        else:
            names.append(name)
            if name in kwargs:
                ordered[name] = value
    return tuple(names), ordered
