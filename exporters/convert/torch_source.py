"""A PyTorch model with example inputs, from a factory function or an exported program."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from ...errors import UsageError
from ..artifact import Array
from ..runtime import first_line
from ..source import Source
from ..user_code import blaming_user, load_function
from .extras import need
from .names import distinct
from .quiet import quiet

_FACTORY = "a factory returns (module.eval(), example_inputs)"
_DTYPES = frozenset(
    "float16 float32 float64 bool uint8 int8 int16 int32 int64".split()  # what NumPy has too
)


@dataclass(frozen=True)
class TorchSource:
    """A module that is called with tensors by position and gives tensors back in order.

    Attributes:
        module: a torch.nn.Module in evaluation mode, on the CPU.
        args, kwargs: what to call it with. Their tensors, nested or not, are the inputs; other
            values stay as they are.
        input_names: for each tensor in (args, kwargs), in order.
        output_names: for each tensor that the module returns, nested or not, in order.
        example_inputs: the tensors in (args, kwargs) as arrays.
    """

    module: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    input_names: tuple[str, ...]
    output_names: tuple[str, ...] = ()
    example_inputs: tuple[Array, ...] = field(default=(), repr=False)

    def call(self, tensors: Sequence[Any]) -> list[Any]:
        """The module's output tensors for input tensors in the order of `input_names`."""
        pytree = need("torch.utils._pytree", "torch")
        leaves, structure = pytree.tree_flatten((self.args, self.kwargs))
        given = iter(tensors)
        filled = [next(given) if _is_tensor(leaf) else leaf for leaf in leaves]
        args, kwargs = pytree.tree_unflatten(filled, structure)
        return [
            leaf for leaf in pytree.tree_leaves(self.module(*args, **kwargs)) if leaf is not None
        ]

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """Runs the module itself, arrays in and out; inputs are cast to the examples' types."""
        torch = need("torch", "torch")
        tensors = [
            torch.tensor(np.asarray(array, example.dtype))
            for array, example in zip(arrays, self.example_inputs, strict=True)
        ]
        with torch.no_grad():
            return [np.array(output.detach().numpy()) for output in self.call(tensors)]


def load_torch(source: Source) -> TorchSource:
    """Loads a source of kind 'torch' or 'exported-program' and runs it once on its examples.

    An exported program is read with torch.export.load, which unpickles parts of the file: a .pt2
    file can run code and is to be trusted as code is, just as the file that holds a factory.

    Raises:
        UsageError: PyTorch is missing; the user's file, its factory or the module's forward raises;
            the factory returns something else than a module and its example inputs; the module is
            in training mode, not on the CPU, or gives no tensors.
    """
    need("torch", "torch")
    loaded = _from_program(source) if source.kind == "exported-program" else _from_factory(source)
    return _with_outputs(source, loaded)


def _from_factory(source: Source) -> TorchSource:
    torch = need("torch", "torch")
    place = source.module if source.path is None else source.path
    factory = load_function(f"{place}:{source.factory}", "model")
    with blaming_user(f"{source.spec}: the factory"):
        result = factory()
    if (
        not isinstance(result, tuple)
        or len(result) != 2
        or not isinstance(result[0], torch.nn.Module)
    ):
        raise UsageError(f"{source.spec} returned {_described(result)}", hint=_FACTORY)
    module, examples = result
    training = [
        name or "the module itself" for name, part in module.named_modules() if part.training
    ]
    if training:
        raise UsageError(
            f"{source.spec} returned a module in training mode ({training[0]})",
            hint="call .eval() on the module before returning it",
        )
    args, kwargs = _arguments(source, examples)
    _check_tensors(source, module, [*args, *kwargs.values()])
    names, kwargs = _parameter_names(source, module, args, kwargs)
    return TorchSource(module, args, kwargs, names)


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
    if not values or not all(_is_tensor(value) for value in values):
        raise UsageError(
            f"{source.spec}: the example inputs are {_described(examples)}",
            hint="example inputs are a tensor, a tuple of tensors or a dict of name -> tensor",
        )
    return args, kwargs


def _parameter_names(
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


def _from_program(source: Source) -> TorchSource:
    torch = need("torch", "torch")
    pytree = need("torch.utils._pytree", "torch")
    try:
        with quiet():
            program = torch.export.load(str(source.file))
    except Exception as error:
        raise UsageError(
            f"{source.file} can't be loaded as an exported program: {first_line(error)}",
            hint="write it with torch.export.save(torch.export.export(module, example_inputs), FILE)",
        ) from error
    if program.example_inputs is None:
        raise UsageError(
            f"{source.file} holds no example inputs",
            hint="save the program as torch.export.export returned it: it keeps the inputs",
        )
    _check_evaluation_mode(source, torch, program)
    args, kwargs = program.example_inputs
    leaves = pytree.tree_leaves((args, kwargs))
    module = program.module()
    _check_tensors(source, module, [leaf for leaf in leaves if _is_tensor(leaf)])
    names = [
        str(name)
        for name, leaf in zip(program.graph_signature.user_inputs, leaves, strict=True)
        if _is_tensor(leaf)
    ]
    if not names:
        raise UsageError(f"{source.file} takes no tensors")
    return TorchSource(module, tuple(args), dict(kwargs), tuple(names))


def _check_evaluation_mode(source: Source, torch: ModuleType, program: Any) -> None:
    for node in program.graph.nodes:
        if not isinstance(node.target, torch._ops.OpOverload):
            continue
        arguments = [argument.name for argument in node.target._schema.arguments]
        given = dict(zip(arguments, node.args, strict=False)) | node.kwargs
        if given.get("train") is True or given.get("training") is True:
            raise UsageError(
                f"{source.file} was exported in training mode (its {node.target} trains)",
                hint="call .eval() on the module before torch.export.export",
            )


def _check_tensors(source: Source, module: Any, examples: Sequence[Any]) -> None:
    for tensor in examples:
        if _dtype_name(tensor) not in _DTYPES:
            raise UsageError(
                f"{source.spec}: an example input is {_described(tensor)}",
                hint=f"inputs have one of the types {', '.join(sorted(_DTYPES))}",
            )
    places = {str(tensor.device) for tensor in [*examples, *module.parameters(), *module.buffers()]}
    if places - {"cpu"}:
        raise UsageError(
            f"{source.spec} is not on the CPU but on {', '.join(sorted(places - {'cpu'}))}",
            hint="load the weights with map_location='cpu' and give the example inputs on the CPU",
        )


def _with_outputs(source: Source, loaded: TorchSource) -> TorchSource:
    """The same with output names and example arrays, after two runs that agree."""
    torch = need("torch", "torch")
    pytree = need("torch.utils._pytree", "torch")
    with blaming_user(f"{source.spec}: running the module on its example inputs"), torch.no_grad():
        first = loaded.module(*loaded.args, **loaded.kwargs)
        second = loaded.module(*loaded.args, **loaded.kwargs)
    names: list[str] = []
    for (path, leaf), again in zip(
        pytree.tree_flatten_with_path(first)[0], pytree.tree_leaves(second), strict=True
    ):
        if leaf is None:
            continue
        name = _output_name(path)
        if not _is_tensor(leaf) or _dtype_name(leaf) not in _DTYPES:
            raise UsageError(
                f"{source.spec}: {name} is {_described(leaf)}",
                hint="forward returns a tensor, or a tuple, list or dict of tensors, of the types "
                + ", ".join(sorted(_DTYPES)),
            )
        if leaf.shape != again.shape or not torch.allclose(
            leaf.double(), again.double(), rtol=1e-3, atol=1e-5, equal_nan=True
        ):
            raise UsageError(
                f"{source.spec}: {name} differs between two runs on the same inputs",
                hint="randomness or state is left in the model; give the state as an input",
            )
        names.append(name)
    if not names:
        raise UsageError(f"{source.spec}: forward returned no tensor")
    examples = tuple(
        np.array(leaf.detach().numpy())
        for leaf in pytree.tree_leaves((loaded.args, loaded.kwargs))
        if _is_tensor(leaf)
    )
    return TorchSource(
        loaded.module,
        loaded.args,
        loaded.kwargs,
        loaded.input_names,
        distinct(names, taken=loaded.input_names),
        examples,
    )


def _output_name(path: Sequence[Any]) -> str:
    """'output' for a bare tensor, a dict's keys, 'output_0' and on for a tuple; nested with '_'."""
    parts = [
        str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path
    ]
    if not parts or parts[0].isdigit():
        parts.insert(0, "output")
    return "_".join(parts)


def _is_tensor(value: Any) -> bool:
    return bool(need("torch", "torch").is_tensor(value))


def _dtype_name(tensor: Any) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _described(value: Any) -> str:
    if _is_tensor(value):
        return f"a {_dtype_name(value)} tensor"
    if isinstance(value, tuple | list):
        inside = ", ".join(type(item).__name__ for item in value)
        return f"a {type(value).__name__} of ({inside})"
    if isinstance(value, dict):
        inside = ", ".join(f"{key}: {type(item).__name__}" for key, item in value.items())
        return f"a dict of ({inside})"
    return f"a {type(value).__name__}"
