"""Gives the bare loop the runtime that is within onnxruntime's Python module, and starts it.

    python onnxruntime_host.py LOOP.so MODEL THREADS INPUT-NAME ...

What follows the library is the loop's (onnxruntime.c).
"""

from __future__ import annotations

import ctypes
import sys

import onnxruntime


def main() -> int:
    path, *words = sys.argv[1:]
    # They close the library when they go.
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(path)
    given = [word.encode() for word in words]
    return int(ctypes.CDLL(path).loop(len(given), (ctypes.c_char_p * (len(given) + 1))(*given)))


if __name__ == "__main__":
    sys.exit(main())
