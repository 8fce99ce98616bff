"""What a device's runtime is made of, as data."""

from __future__ import annotations

import hashlib
from typing import Literal

from pydantic import Field

from ...errors import UsageError
from ...targets.profile import Architecture, Model, RuntimeName

#: Raised when the way of building changes in a manner that no other field shows.
RECIPE_VERSION: Literal[1] = 1


class Platform(Model):
    """What Debian, wheels and the C library call an architecture.

    Attributes:
        lowest_glibc: the oldest `manylinux_2_N` that wheels for it are made for.
    """

    debian: str
    triplet: str
    loader: str
    lowest_glibc: int


PLATFORMS: dict[Architecture, Platform] = {
    "aarch64": Platform(
        debian="arm64",
        triplet="aarch64-linux-gnu",
        loader="ld-linux-aarch64.so.1",
        lowest_glibc=17,
    ),
    "armv7l": Platform(
        debian="armhf",
        triplet="arm-linux-gnueabihf",
        loader="ld-linux-armhf.so.3",
        lowest_glibc=17,
    ),
    "x86_64": Platform(
        debian="amd64",
        triplet="x86_64-linux-gnu",
        loader="ld-linux-x86-64.so.2",
        lowest_glibc=5,
    ),
}

#: The exact wheels, and where they exist.
WHEELS: dict[RuntimeName, tuple[str, tuple[Architecture, ...]]] = {
    "onnxruntime": ("onnxruntime==1.31.1", ("aarch64", "x86_64")),
    "ai_edge_litert": ("ai-edge-litert==2.3.0", ("aarch64", "x86_64")),
    "tflite_runtime": ("tflite-runtime==2.14.0", ("aarch64", "armv7l", "x86_64")),
}

#: Debian's NumPy rather than the wheel, which brings 30 MB of linear algebra.
PACKAGES = (
    "libblas3",
    "libc6",
    "libexpat1",
    "libffi8",
    "libgcc-s1",
    "libstdc++6",
    "python3-numpy",
    "zlib1g",
)

#: Of each version of Python: X.Y in their names.
PYTHON_PACKAGES = ("libpythonX.Y-minimal", "libpythonX.Y-stdlib", "pythonX.Y-minimal")

#: What no inference needs, as shell patterns of paths in the runtime; `*` crosses directories.
LEFT_OUT = (
    # Of every package.
    "*/__pycache__/*",
    "*/tests/*",
    "*/test/*",
    "*.a",
    "*.c",
    "*.h",
    "*.pxd",
    "*.pyi",
    "*.pyx",
    "*/RECORD",
    # The standard library: graphical, historical, for installing, for teaching, for the network.
    "stdlib/__phello__/*",
    "stdlib/_aix_support.py",
    "stdlib/_bootsubprocess.py",
    "stdlib/_osx_support.py",
    "stdlib/_pydecimal.py",
    "stdlib/_pyio.py",
    "stdlib/_pyrepl/*",
    "stdlib/_sysconfigdata_*",
    "stdlib/aifc.py",
    "stdlib/antigravity.py",
    "stdlib/asynchat.py",
    "stdlib/asyncio/*",
    "stdlib/asyncore.py",
    "stdlib/cProfile.py",
    "stdlib/cgi.py",
    "stdlib/cgitb.py",
    "stdlib/chunk.py",
    "stdlib/colorsys.py",
    "stdlib/config-*",
    "stdlib/crypt.py",
    "stdlib/curses/*",
    "stdlib/dbm/*",
    "stdlib/distutils/*",
    "stdlib/doctest.py",
    "stdlib/encodings/big5*",
    "stdlib/encodings/cp4[0-24-9]*",
    "stdlib/encodings/cp[0-35-9]*",
    "stdlib/encodings/cp[0-9][0-9][0-9][0-9].py",
    "stdlib/encodings/euc_*",
    "stdlib/encodings/gb*",
    "stdlib/encodings/h[pz]*",
    "stdlib/encodings/iso2022*",
    "stdlib/encodings/iso8859_1?.py",
    "stdlib/encodings/iso8859_[2-9]*",
    "stdlib/encodings/johab*",
    "stdlib/encodings/ko*",
    "stdlib/encodings/kz*",
    "stdlib/encodings/mac_*",
    "stdlib/encodings/ptcp*",
    "stdlib/encodings/shift*",
    "stdlib/encodings/tis*",
    "stdlib/ensurepip/*",
    "stdlib/ftplib.py",
    "stdlib/html/*",
    "stdlib/http/*",
    "stdlib/idlelib/*",
    "stdlib/imaplib.py",
    "stdlib/imghdr.py",
    "stdlib/lib-dynload/_asyncio*",
    "stdlib/lib-dynload/_codecs_*",
    "stdlib/lib-dynload/_ctypes_test*",
    "stdlib/lib-dynload/_lsprof*",
    "stdlib/lib-dynload/_multibytecodec*",
    "stdlib/lib-dynload/_test*",
    "stdlib/lib-dynload/_xx*",
    "stdlib/lib-dynload/audioop*",
    "stdlib/lib-dynload/nis*",
    "stdlib/lib-dynload/ossaudiodev*",
    "stdlib/lib-dynload/xx*",
    "stdlib/lib2to3/*",
    "stdlib/mailbox.py",
    "stdlib/mailcap.py",
    "stdlib/msilib/*",
    "stdlib/nntplib.py",
    "stdlib/pdb.py",
    "stdlib/pickletools.py",
    "stdlib/plistlib.py",
    "stdlib/poplib.py",
    "stdlib/profile.py",
    "stdlib/pstats.py",
    "stdlib/pyclbr.py",
    "stdlib/pydoc.py",
    "stdlib/pydoc_data/*",
    "stdlib/smtpd.py",
    "stdlib/smtplib.py",
    "stdlib/sndhdr.py",
    "stdlib/socketserver.py",
    "stdlib/sqlite3/*",
    "stdlib/ssl.py",
    "stdlib/sunau.py",
    "stdlib/tabnanny.py",
    "stdlib/telnetlib.py",
    "stdlib/test/*",
    "stdlib/this.py",
    "stdlib/tkinter/*",
    "stdlib/trace.py",
    "stdlib/turtle*",
    "stdlib/unittest/*",
    "stdlib/urllib/request.py",
    "stdlib/uu.py",
    "stdlib/venv/*",
    "stdlib/wave.py",
    "stdlib/webbrowser.py",
    "stdlib/wsgiref/*",
    "stdlib/xdrlib.py",
    "stdlib/xml/*",
    "stdlib/xmlrpc/*",
    "stdlib/zipapp.py",
    # NumPy.
    "site/numpy/*/_operand_flag_tests.*.so",
    "site/numpy/*/_rational_tests.*.so",
    "site/numpy/*/_struct_ufunc_tests.*.so",
    "site/numpy/*/_umath_tests.*.so",
    "site/numpy/*/_simd.*.so",
    "site/numpy/_pyinstaller/*",
    "site/numpy/array_api/*",
    "site/numpy/core/include/*",
    "site/numpy/_core/include/*",
    "site/numpy/core/lib/*",
    "site/numpy/_core/lib/*",
    "site/numpy/distutils/*",
    "site/numpy/doc/*",
    "site/numpy/f2py/*",
    "site/numpy/linalg/*.so",
    "site/numpy/random/*",
    "site/numpy/testing/*",
    "site/numpy/typing/*",
    # ONNX Runtime: the Python module has the whole library in itself.
    "site/onnxruntime/backend/*",
    "site/onnxruntime/capi/libonnxruntime.so*",
    "site/onnxruntime/datasets/*",
    "site/onnxruntime/quantization/*",
    "site/onnxruntime/ThirdPartyNotices.txt",
    "site/onnxruntime/tools/*",
    "site/onnxruntime/transformers/*",
    # LiteRT: its interpreter is in another library than its newer API.
    "site/ai_edge_litert/*_pb2.py",
    "site/ai_edge_litert/aot/*",
    "site/ai_edge_litert/libLiteRt*.so",
    "site/ai_edge_litert/schema_py_generated.py",
    "site/ai_edge_litert/tflite/*",
    "site/ai_edge_litert/tools/*",
    "site/ai_edge_litert/vendors/*",
)

#: Modules that NumPy imports with itself and that nothing here calls; the libraries of the first
#: two would be a sixth of what a device is sent. What is asked of them is an error.
STUBS = (
    "site/numpy/linalg/_umath_linalg.py",
    "site/numpy/linalg/lapack_lite.py",
    "site/numpy/random/__init__.py",
)
STUB = """\
def __getattr__(name):
    raise AttributeError(f"this runtime of Edgewright's has no {__name__}.{name}")
"""

#: Started by a shell that is named, as phones have none at /bin/sh. The loader is named, too: the
#: one that the interpreter's file asks for is not on the device, or another. --argv0 makes
#: sys.executable a thing that can be started.
LAUNCHER_TEXT = """\
#!/bin/sh
# {title}
case $0 in /*) here=${{0%/*}} ;; *) here=$(cd "$(dirname "$0")" && pwd) ;; esac
unset LD_LIBRARY_PATH LD_PRELOAD PYTHONDONTWRITEBYTECODE PYTHONSTARTUP
EDGEWRIGHT_PYTHON=$here/{launcher}
PYTHONHOME=$here
PYTHONNOUSERSITE=1
PYTHONOPTIMIZE=2
PYTHONPATH=$here/site
PYTHONUTF8=1
TMPDIR=$here/tmp
export EDGEWRIGHT_PYTHON PYTHONHOME PYTHONNOUSERSITE PYTHONOPTIMIZE PYTHONPATH PYTHONUTF8 TMPDIR
exec "$here/lib/{loader}" --library-path "$here/lib" --argv0 "$here/{launcher}" \\
  "$here/bin/python" "$@"
"""


class Recipe(Model):
    """What goes into one runtime; two with one digest are built in the same way.

    Attributes:
        wheel: of the runtime, with its exact version.
        packages: of Debian; those of Python come on top, with the version that the suite has.
        left_out: shell patterns of what is not taken.
        stubs: modules in place of which there is one that says that it is missing: `stub`.
        launcher: the script that starts the runtime's Python.
    """

    version: Literal[1] = RECIPE_VERSION
    architecture: Architecture
    runtime: RuntimeName
    platform: Platform
    wheel: str
    packages: tuple[str, ...]
    left_out: tuple[str, ...] = Field(default=LEFT_OUT, repr=False)
    stubs: tuple[str, ...] = Field(default=STUBS, repr=False)
    stub: str = Field(default=STUB, repr=False)
    launcher: str = Field(default=LAUNCHER_TEXT, repr=False)

    @property
    def digest(self) -> str:
        """The recipe as 16 hexadecimal digits."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]


def recipe_for(architecture: Architecture, runtime: RuntimeName) -> Recipe:
    """The recipe of a runtime.

    Raises:
        UsageError: there is no wheel of it for the architecture.
    """
    wheel, architectures = WHEELS[runtime]
    if architecture not in architectures:
        fitting = [name for name, (_, known) in WHEELS.items() if architecture in known]
        raise UsageError(
            f"{runtime} has no wheel for {architecture}: it exists for {', '.join(architectures)}",
            hint=f"build {' or '.join(fitting)} for {architecture}",
        )
    return Recipe(
        architecture=architecture,
        runtime=runtime,
        platform=PLATFORMS[architecture],
        wheel=wheel,
        packages=PACKAGES,
    )
