"""What a TFLite runtime says to models: each kind of runtime, asked in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

Kind = Literal["codes", "kernels", "xnnpack", "micro"]

#: Run in a process of its own, which a kernel may take down: answers are written one by one.
_ASK = """
import json, os, sys
given, answers, kind = json.load(open(sys.argv[1])), open(sys.argv[2], "a"), sys.argv[3]
done = int(sys.argv[4])
sys.path[:0] = sys.argv[5:]
os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
if kind == "micro":
    from tflite_micro.python.tflite_micro import runtime
elif any(os.path.isdir(os.path.join(path, "tflite_runtime")) for path in sys.argv[5:]):
    from tflite_runtime.interpreter import Interpreter, OpResolverType
else:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

import numpy as np

def fill(put, details):
    # With ones, since some kernels refuse to divide by zero; types that numpy has not stay zero.
    try:
        for at, detail in enumerate(details()):
            put(at, detail, np.ones(detail["shape"], detail["dtype"]))
    except (TypeError, ValueError):
        pass

def inputs_of(model):
    from tflite_micro.python.tflite_micro.runtime import schema_fb
    return schema_fb.Model.GetRootAs(model).Subgraphs(0).InputsLength()

def ask(model):
    if kind == "micro":
        interpreter = runtime.Interpreter.from_bytes(model, arena_size=200_000)
        fill(lambda at, _, ones: interpreter.set_input(ones, at),
             lambda: [interpreter.get_input_details(at) for at in range(inputs_of(model))])
        interpreter.invoke()
        return True
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    whole = OpResolverType.AUTO if kind == "xnnpack" else plain
    interpreter = Interpreter(
        model_content=model, experimental_op_resolver_type=whole, num_threads=1
    )
    if kind == "codes":
        return True
    interpreter.allocate_tensors()
    fill(lambda _, detail, ones: interpreter.set_tensor(detail["index"], ones),
         interpreter.get_input_details)
    interpreter.invoke()
    if kind == "xnnpack":
        return any(op["op_name"] == "DELEGATE" for op in interpreter._get_ops_details())
    return True

for name in list(given)[done:]:
    print(name, end="\\t", file=answers, flush=True)
    try:
        said = ask(bytes.fromhex(given[name]))
    except Exception:
        said = False
    print(int(said), file=answers, flush=True)
"""


def said(
    models: Mapping[str, bytes], kind: Kind, *paths: Path, python: str = sys.executable
) -> dict[str, bool]:
    """Which models a runtime takes.

    'codes': it has every operator in that version. 'kernels': its own kernels run the model.
    'xnnpack': the delegate takes some of it. 'micro': TFLite Micro runs it. One that takes the
    process down is not taken.

    Args:
        paths: folders that the runtime is imported from.
        python: of the environment that has it.
    """
    with tempfile.TemporaryDirectory() as folder:
        given, answers = Path(folder) / "given.json", Path(folder) / "answers"
        given.write_text(json.dumps({name: model.hex() for name, model in models.items()}))
        answers.touch()
        while (done := len(answers.read_text().splitlines())) < len(models):
            ended = subprocess.run(
                [python, "-c", _ASK, given, answers, kind, str(done), *paths], check=False
            )
            text = answers.read_text()
            if text and not text.endswith("\n"):
                answers.write_text(text + "0\n")
            elif ended.returncode and len(text.splitlines()) == done:
                raise RuntimeError(f"the runtime does not start ({kind}, {paths})")
        pairs = (line.split("\t") for line in answers.read_text().splitlines())
        return {name: answer == "1" for name, answer in pairs}
