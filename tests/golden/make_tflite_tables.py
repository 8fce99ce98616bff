"""Writes tflite-cpu, xnnpack and tflite-micro.toml of targets/support from what runtimes say.

    python tests/golden/make_tflite_tables.py FOLDER MICRO_PYTHON

FOLDER/NAME, for each NAME of `PACKAGES`, holds that package and a numpy it takes, made by
`pip install --no-deps --target`; MICRO_PYTHON is the Python of an environment with tflite-micro.
The newest ai-edge-litert is the one installed here.

Versions of operators: every package is asked for every operator in versions 1 to 20. Those of
TensorFlow before 2.14, which has the oldest package for this Python, come from
tflite/tools/versioning/runtime_version.cc of LiteRT (`SINCE`). Element types: a model of one
operator (tests/one_operator.py) is run in each type by the newest package.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from ai_edge_litert import schema_py_generated as schema

sys.path.insert(0, str(Path(__file__).parents[1]))

from one_operator import OPERATORS, code_only, typed_models
from tflite_trials import said

SUPPORT = Path(__file__).parents[2] / "targets" / "support"

#: The version of TensorFlow whose operators a package has -> the folder of the package.
PACKAGES = {
    "2.14": "tflite_runtime-2.14.0",
    "2.18": "ai_edge_litert-1.0.1",
    "2.19": "ai_edge_litert-1.2.0",
    "2.20": "ai_edge_litert-2.0.3",
    "2.21": "ai_edge_litert-2.1.2",
    "2.23": "ai_edge_litert-2.2.0",
}

#: TensorFlow version -> the operators that got a new version in it, and which.
SINCE: dict[str, dict[str, int]] = {
    "2.6": {
        "ADD": 4, "MUL": 5, "PAD": 4, "PADV2": 4, "REDUCE_PROD": 2, "STRIDED_SLICE": 6, "ABS": 4,
        "REDUCE_ALL": 1, "CONV_3D_TRANSPOSE": 1, "VAR_HANDLE": 1, "READ_VARIABLE": 1,
        "ASSIGN_VARIABLE": 1, "BROADCAST_ARGS": 1,
    },
    "2.7": {"CAST": 2, "DEQUANTIZE": 5, "QUANTIZE": 3},
    "2.8": {
        "CAST": 3, "TILE": 3, "RANDOM_STANDARD_NORMAL": 1, "BUCKETIZE": 1, "WHERE": 2,
        "RANDOM_UNIFORM": 1, "MULTINOMIAL": 1,
    },
    "2.9": {
        "CONV_2D": 6, "CAST": 4, "ARG_MAX": 3, "ARG_MIN": 3, "GELU": 2, "DYNAMIC_UPDATE_SLICE": 1,
    },
    "2.10": {
        "RELU_0_TO_1": 1, "UNSORTED_SEGMENT_PROD": 1, "UNSORTED_SEGMENT_MAX": 1,
        "UNSORTED_SEGMENT_SUM": 1, "ATAN2": 1,
    },
    "2.11": {
        "CONV_2D": 7, "DEPTHWISE_CONV_2D": 7, "FULLY_CONNECTED": 10, "MUL": 6,
        "UNSORTED_SEGMENT_MIN": 1, "SIGN": 1,
    },
    "2.12": {
        "SPACE_TO_BATCH_ND": 4, "BATCH_TO_SPACE_ND": 4, "CAST": 5, "TRANSPOSE": 6,
        "UNIDIRECTIONAL_SEQUENCE_LSTM": 4, "MIRROR_PAD": 3, "SELECT": 4, "SELECT_V2": 2, "EXP": 2,
        "FILL": 4, "ABS": 5, "SIGN": 2,
    },
    "2.13": {
        "ADD": 5, "GATHER": 6, "GATHER_ND": 4, "TOPK_V2": 3, "TRANSPOSE_CONV": 4, "PACK": 4,
        "EQUAL": 4, "GREATER_EQUAL": 3, "LESS": 3, "FLOOR_DIV": 3, "FLOOR_MOD": 2, "BITCAST": 1,
        "BITWISE_XOR": 1, "RIGHT_SHIFT": 1, "MUL": 7,
    },
    "2.14": {"CONCATENATION": 4, "STRIDED_SLICE": 8, "SLICE": 6, "RANGE": 2},
}  # fmt: skip

#: Custom operators that the default resolver has (register.cc).
CUSTOM = ("NumericVerify", "Mfcc", "AudioSpectrogram", "TFLite_Detection_PostProcess")

#: Operators in TFLite Micro that OPERATORS has not (python_ops_resolver.cc).
MICRO_ONLY = (
    "ADD_N",
    "ASSIGN_VARIABLE",
    "BROADCAST_ARGS",
    "CALL_ONCE",
    "IF",
    "READ_VARIABLE",
    "SVDF",
    "UNIDIRECTIONAL_SEQUENCE_LSTM",
    "VAR_HANDLE",
    "WHILE",
)

#: Custom operators in it, by the names that files give them (the same file, and the kernels').
#: Each was tried: a name that the resolver lacks is refused as such, these get further. It lacks
#: 'ethos-u' unless it is built with the driver, which the tables of Ethos-U are about.
MICRO_CUSTOM = (
    "TFLite_Detection_PostProcess",
    "CIRCULAR_BUFFER",
    "SignalDelay",
    "SignalEnergy",
    "SignalFftAutoScale",
    "SignalFilterBank",
    "SignalFilterBankLog",
    "SignalFilterBankSpectralSubtraction",
    "SignalFilterBankSquareRoot",
    "SignalFramer",
    "SignalIrfft",
    "SignalOverlapAdd",
    "SignalPCAN",
    "SignalRfft",
    "SignalStacker",
    "SignalWindow",
)

#: LiteRT version -> the folder of the package whose delegate is asked; the newest is installed.
DELEGATES = {
    "1.0": "ai_edge_litert-1.0.1",
    "1.2": "ai_edge_litert-1.2.0",
    "2.0": "ai_edge_litert-2.0.3",
    "2.1": "ai_edge_litert-2.1.2",
    "2.2": "ai_edge_litert-2.2.0",
}

LITERT = ".".join(version("ai_edge_litert").split(".")[:2])

_ACTIVATIONS = 'fused_activation_function = {one_of = ["NONE", "RELU", "RELU_N1_TO_1", "RELU6"]}'
_FUSED = f"attributes = {{{_ACTIVATIONS}}}"
#: A window of one element is taken with a stride of one only.
_WINDOWS = tuple(
    f"min_rank = 4, max_rank = 4, attributes = {{{_ACTIVATIONS}, {each}}}"
    for each in (
        "filter_width = {minimum = 2}",
        "filter_height = {minimum = 2}",
        "stride_w = {one_of = [1]}, stride_h = {one_of = [1]}",
    )
)
_BLOCKS = ("min_rank = 4, max_rank = 4, attributes = {block_size = {minimum = 2}}",)
_REDUCED = ("constant_inputs = [1]",)
_UNARY = ("max_rank = 6",)
_PRODUCT = (f"min_rank = 4, max_rank = 4, min_inputs = 3, constant_inputs = [1, 2], {_FUSED}",)

#: What the delegate asks of an operator beside its types, as alternatives
#: (xnnpack_delegate.cc of LiteRT, `Visit…Node`; README.md beside it).
DELEGATED_IF: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("ADD", "SUB", "MUL", "DIV"), (f"max_rank = 6, {_FUSED}",)),
    **dict.fromkeys(("MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE"), _UNARY),
    **dict.fromkeys(
        (
            "ABS", "NEG", "CEIL", "FLOOR", "ROUND", "EXP", "LOG", "SIN", "COS", "SQRT", "RSQRT",
            "SQUARE", "RELU", "RELU6", "RELU_N1_TO_1", "LEAKY_RELU", "ELU", "GELU", "HARD_SWISH",
            "LOGISTIC", "TANH", "DEQUANTIZE",
        ),
        _UNARY,
    ),
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D"), _WINDOWS),
    **dict.fromkeys(("DEPTH_TO_SPACE", "SPACE_TO_DEPTH"), _BLOCKS),
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"), _REDUCED),
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D"), _PRODUCT),
    "QUANTIZE": (
        'max_rank = 6, inputs = {0 = ["float32", "float16"]}, outputs = {0 = ["int8", "uint8"]}',
        'max_rank = 6, inputs = {0 = ["int8"]}, outputs = {0 = ["int8"]}',
    ),
    "TRANSPOSE_CONV": (f"min_rank = 4, max_rank = 4, constant_inputs = [0, 1, 3], {_FUSED}",),
    "FULLY_CONNECTED": (f"constant_inputs = [1, 2], {_FUSED}",),
    "BATCH_MATMUL": ("min_rank = 2",),
    "CONCATENATION": ("max_inputs = 5",),
    "PRELU": ("max_rank = 6, constant_inputs = [1]",),
    "SOFTMAX": ("attributes = {beta = {one_of = [1]}}",),
    "RESHAPE": ("max_rank = 6, constant_inputs = [1]",),
    "TRANSPOSE": ("max_rank = 6, constant_inputs = [1]",),
    "PAD": ("min_rank = 1, max_rank = 6, constant_inputs = [1]",),
    "SLICE": ("max_rank = 6, constant_inputs = [1, 2]",),
    "STRIDED_SLICE": (
        "max_rank = 6, constant_inputs = [1, 2, 3], attributes = {ellipsis_mask = {one_of = [0]}, "
        "new_axis_mask = {one_of = [0]}, shrink_axis_mask = {one_of = [0]}}",
    ),
    "SPLIT": ("constant_inputs = [0], attributes = {num_splits = {minimum = 2, maximum = 4}}",),
    "RESIZE_BILINEAR": ("min_rank = 4, max_rank = 4, constant_inputs = [1]",),
}  # fmt: skip

#: The trial's model of QUANTIZE ends in int8, and unsigned integers stay unsigned.
UNSIGNED = 'max_rank = 6, outputs = {0 = ["uint8"]}'

Answers = dict[str, bool]


def main() -> None:
    folder, micro = Path(sys.argv[1]), sys.argv[2]
    models = typed_models()
    versions = operator_versions(folder)
    kernels = forms(said(models, "kernels"))
    lines = [
        row(name, *form, versions=known)
        for name, known in versions.items()
        for form in kernels.get(name, [((), None)])
    ]
    lines += [row(f"custom::{name}", (), None) for name in CUSTOM]
    write("tflite-cpu", CPU.format(litert=version("ai_edge_litert")), lines)

    delegated = delegates_since(folder, models)
    lines = [
        row(name, types, channels, since=since, condition=condition)
        for name in OPERATORS
        for since, types, channels in delegated.get(name, [])
        for condition in DELEGATED_IF[name]
    ]
    lines.append(row("QUANTIZE", ["uint8"], None, condition=UNSIGNED))
    write("xnnpack", XNNPACK.format(litert=LITERT, full=version("ai_edge_litert")), lines)

    small = forms(said(models, "micro", python=micro))
    lines = [row(name, *form) for name in OPERATORS for form in small.get(name, [])]
    lines += [row(name, (), None) for name in MICRO_ONLY]
    lines += [row(f"custom::{name}", (), None) for name in MICRO_CUSTOM]
    write("tflite-micro", MICRO, lines)


def forms(answers: Answers) -> dict[str, list[tuple[tuple[str, ...], bool | None]]]:
    """Per operator, the types with what their weights' scales may be: either, one, or more."""
    yes: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for key, answer in answers.items():
        name, types, channels = key.split("/")
        if answer:
            yes[name][types].add(channels)
    found = {}
    for name, by_type in yes.items():
        wanted: dict[bool | None, list[str]] = defaultdict(list)
        for types, channels in by_type.items():
            either = channels == {"one", "each"} or f"{name}/{types}/each" not in answers
            wanted[None if either else channels == {"each"}].append(types)
        found[name] = [(tuple(types), channels) for channels, types in wanted.items()]
    return found


def delegates_since(
    folder: Path, models: dict[str, bytes]
) -> dict[str, list[tuple[str, tuple[str, ...], bool | None]]]:
    """Per operator, the first version of the delegate, types, and what scales weights have.

    A type that a later version gave up would be refused here.
    """
    answers = [said(models, "xnnpack", folder / each) for each in DELEGATES.values()]
    answers.append(said(models, "xnnpack"))
    found: dict[str, list[tuple[str, tuple[str, ...], bool | None]]] = defaultdict(list)
    known: dict[str, set[tuple[str, bool | None]]] = defaultdict(set)
    for since, answer in zip([*DELEGATES, LITERT], answers, strict=True):
        if not any(answer.values()):
            raise RuntimeError(f"the delegate of {since} takes nothing: does its numpy fit?")
        for name, parts in forms(answer).items():
            for types, channels in parts:
                new = tuple(t for t in types if not {(t, channels), (t, None)} & known[name])
                if new:
                    found[name].append((since, new, channels))
                    known[name] |= {(t, channels) for t in new}
    for key, last in answers[-1].items():
        if not last and any(answer[key] for answer in answers):
            raise RuntimeError(f"an older delegate takes {key}, the newest does not")
    return found


def operator_versions(folder: Path) -> dict[str, dict[str, int]]:
    """Per operator, the newest version by TensorFlow version, where that changed."""
    models = {
        f"{name}/{number}": code_only(code, number)
        for name, code in vars(schema.BuiltinOperator).items()
        if isinstance(code, int) and name not in ("CUSTOM", "DELEGATE", "CALL")
        for number in range(1, 21)
    }
    newest: dict[str, dict[str, int]] = defaultdict(dict)
    for tensorflow, package in PACKAGES.items():
        answers = said(models, "codes", folder / package)
        if not any(answers.values()):
            raise RuntimeError(f"{package} loads nothing: does its numpy fit?")
        for key, answer in answers.items():
            name, number = key.split("/")
            if answer:
                newest[name][tensorflow] = max(int(number), newest[name].get(tensorflow, 0))
    return {name: history(name, known) for name, known in newest.items()}


def history(name: str, known: dict[str, int]) -> dict[str, int]:
    gained = {at: each[name] for at, each in SINCE.items() if name in each}
    first = known.get("2.14", 0)
    found: dict[str, int] = {}
    if first:
        # Before the first gain it had the version below; version 1 (GELU: 1 and 2) is its start.
        start = min(gained.values(), default=first + 1)
        begins = 2 if name == "GELU" else 1
        if not gained:
            found["2.5"] = first
        elif start > begins:
            found["2.5"] = PREVIOUS.get(name, start - 1)
        found |= gained
        if first > max(found.values()):
            found["2.14"] = first
    for tensorflow, number in known.items():
        if number > max(found.values(), default=0):
            found[tensorflow] = number
    return found


#: The version at 2.5 where the next one skipped some.
PREVIOUS = {"SELECT": 2, "STRIDED_SLICE": 5}


def row(name: str, types: Iterable[str], per_channel: bool | None,
        versions: dict[str, int] | None = None, since: str | None = None,
        condition: str | None = None) -> str:  # fmt: skip
    parts = [f'name = "{name}"']
    if since is not None and since != next(iter(DELEGATES)):
        parts.append(f'since = "{since}"')
    if versions:
        told = ", ".join(f'"{at}" = {number}' for at, number in versions.items())
        parts.append(f"versions = {{{told}}}")
    if types:
        parts.append(f"types = {json.dumps(list(types))}")
    if per_channel is not None:
        parts.append(f"per_channel = {json.dumps(per_channel)}")
    if condition is not None:
        parts.append(condition)
    return f"  {{{', '.join(parts)}}},"


def write(name: str, header: str, lines: Iterable[str]) -> None:
    text = "\n".join([header + "operators = [", *lines, "]"]) + "\n"
    (SUPPORT / f"{name}.toml").write_text(text, encoding="utf-8")
    print(name, len(text), "bytes")


CPU = """# Written by tests/golden/make_tflite_tables.py.
# versions: TensorFlow version -> newest version of the operator. What is older than 2.5 counts as 2.5.
# types: of the kernels of the newest package; older ones lack what newer versions of an operator add.
schema_version = 1
id = "tflite-cpu"
title = "kernels of LiteRT and TFLite"
role = "runtime"
format = "tflite"
runtimes = ["ai_edge_litert", "tflite_runtime"]
versioned_by = "TensorFlow"
tables_version = "2.23"
complete = true
dynamic_shapes = true
control_flow = true
notes = [
  "operators without types were not tried in each type",
]
source = "tried with ai-edge-litert {litert} (types and versions), ai-edge-litert 1.0.1 to 2.2.0 and tflite-runtime 2.14.0 (versions); before TensorFlow 2.14: LiteRT, tflite/tools/versioning/runtime_version.cc; custom operators: tensorflow/lite/core/kernels/register.cc"

"""  # noqa: E501

XNNPACK = """# Written by tests/golden/make_tflite_tables.py.
# A rule without `since` holds from 1.0 on, the oldest version that was asked.
schema_version = 1
id = "xnnpack"
title = "XNNPACK delegate of LiteRT"
role = "runtime"
format = "tflite"
runtimes = ["ai_edge_litert"]
versioned_by = "LiteRT"
tables_version = "{litert}"
complete = false
oracle = "xnnpack"
dynamic_shapes = false
control_flow = false
notes = [
  "float16 activations: only on processors that compute in float16",
  "quantized operators that move values need the scale of their input at their output, others a ratio in limits: the delegate itself says so",
]
source = "tried with ai-edge-litert 1.0.1 to {full}, one operator alone in each type; conditions: LiteRT, tflite/delegates/xnnpack/xnnpack_delegate.cc and README.md"

"""  # noqa: E501

MICRO = """# Written by tests/golden/make_tflite_tables.py.
schema_version = 1
id = "tflite-micro"
title = "kernels of TFLite Micro"
role = "runtime"
format = "tflite"
runtimes = ["tflite_micro"]
versioned_by = "TFLite Micro"
tables_version = "0.dev20261023182759"
complete = true
oracle = "tflite-micro"
dynamic_shapes = true
control_flow = true
notes = [
  "open dimensions have the size that the file writes, which is 1 from the usual converters",
  "reference kernels with every operator registered; firmware registers those that it needs",
  "operators without types were not tried in each type",
]
source = "tried with tflite-micro 0.dev20261023182759; operators without types: tflite-micro, python/tflite_micro/python_ops_resolver.cc"

"""  # noqa: E501

if __name__ == "__main__":
    main()
