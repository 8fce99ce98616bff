"""One clear line out of the hundreds that an export library raises."""

from __future__ import annotations

import contextlib
import re
import traceback
from collections.abc import Iterator

from ...errors import ConversionError, EdgewrightError
from ..user_code import is_users_file

_LONGEST_CAUSE = 240
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")

_REPLACE = "replace that operation in the model, or try the other format"
_DATA_DEPENDENT = (
    "its control flow or a shape depends on the values of its inputs",
    "use torch.where or torch.cond in place of an `if` on tensor values, and avoid .item(), "
    ".tolist() and boolean indexing",
)

#: (what the library says, what we say of it, what to do), the first that matches wins.
_RULES: tuple[tuple[str, str, str], ...] = (
    (
        r"No ONNX function found for <OpOverload\(op='([^']+)'",
        r"ONNX has no operator for \1",
        _REPLACE,
    ),
    (r"Lowering not found: (\S+)", r"TFLite has no operator for \1", _REPLACE),
    (r"(?:TF Select|Flex|Custom) ops: (.+)", r"TFLite has no built-in operator for \1", _REPLACE),
    (r"data-dependent expression|Dynamic control flow is not supported", *_DATA_DEPENDENT),
    (r"Array boolean indices must be concrete", *_DATA_DEPENDENT),
    (
        r"Unsupported ir element type: complex",
        "TFLite has no complex numbers here",
        "write the operation with real numbers",
    ),
    (
        r"requires element_shape to be static|Lowering tensor list ops is failed",
        "a recurrent layer has a dimension that is known only at run time",
        "save the model with a fixed batch size and a fixed number of steps, "
        "e.g. keras.Input((steps, features), batch_size=1)",
    ),
)

_DEFAULT_HINT = "run again with --debug to see everything the library said"


@contextlib.contextmanager
def naming_the_cause(model: str, target: str) -> Iterator[None]:
    """Turns whatever an export library raises into a ConversionError of one line.

    Args:
        model: the user's words for the model.
        target: the format, as people write it ('ONNX').

    Raises:
        ConversionError: the block raised; the library's own exception is its cause.
    """
    try:
        yield
    except EdgewrightError:
        raise
    except Exception as error:
        cause, hint = explain(error)
        raise ConversionError(
            f"can't convert {model} to {target}: {cause}{_where(error)}", hint=hint
        ) from error


def explain(error: BaseException) -> tuple[str, str]:
    """What an export library's exception means in one line, and what to do about it."""
    chain = _chain(error)
    text = "\n".join(str(link) for link in chain)
    for pattern, message, hint in _RULES:
        found = re.search(pattern, text)
        if found:
            return found.expand(message), hint
    root = _meaningful_line(chain[-1])
    if type(chain[-1]).__name__ not in root:
        root = f"{type(chain[-1]).__name__}: {root}"
    node = re.search(r"translating node .*?\[target=torch\.ops\.([\w.]+)\]", text)
    if node:
        root = f"the exporter fails on {node[1]}: {root}"
    return _clipped(root), _DEFAULT_HINT


def _chain(error: BaseException) -> list[BaseException]:
    chain = [error]
    while (cause := chain[-1].__cause__) is not None and str(cause).strip():
        chain.append(cause)
    return chain


def _meaningful_line(error: BaseException) -> str:
    lines = [line.strip() for line in _COLOUR.sub("", str(error)).splitlines()]
    # Keras begins with where it was, and says what happened after that.
    told = [line for line in lines if line and not line.startswith("Exception encountered when")]
    return told[0] if told else type(error).__name__


def _clipped(text: str) -> str:
    return text if len(text) <= _LONGEST_CAUSE else text[: _LONGEST_CAUSE - 3] + "..."


def _where(error: BaseException) -> str:
    """The last line of the user's own code that took part, as ' (FILE, line N)'."""
    places: list[tuple[str, str]] = []
    for link in reversed(_chain(error)):
        frames = traceback.extract_tb(link.__traceback__)
        places = re.findall(r'File "([^"]+)", line (\d+)', str(link))
        places += [(frame.filename, str(frame.lineno)) for frame in frames]
        own = [place for place in places if is_users_file(place[0])]
        if own:
            return f" ({own[-1][0]}, line {own[-1][1]})"
    return ""
