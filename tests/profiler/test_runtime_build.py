"""Building a runtime of packages and a wheel that are made here: nothing is downloaded."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from edgewright.errors import UsageError
from edgewright.profiler.device_runtime.build import build_runtime
from edgewright.profiler.device_runtime.packages import PackageSource
from edgewright.profiler.device_runtime.recipe import PACKAGES, PYTHON_PACKAGES, recipe_for

pytestmark = pytest.mark.skipif(
    shutil.which("dpkg-deb") is None or platform.machine() != "x86_64",
    reason="needs dpkg-deb, and programs of an x86-64",
)

RECIPE = recipe_for("x86_64", "onnxruntime")
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
TRIPLET = "usr/lib/x86_64-linux-gnu"
STDLIB = f"usr/lib/python{PYTHON}"
NUMPY = "usr/lib/python3/dist-packages/numpy"


def host_library(name: str) -> bytes:
    """A shared library of this machine."""
    said = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    [path, *_] = [line.split()[-1] for line in said.splitlines() if line.split()[:1] == [name]]
    return Path(path).read_bytes()


def make_package(directory: Path, name: str, version: str, files: dict[str, bytes]) -> None:
    root = directory / name
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: {version}\nArchitecture: amd64\n"
        "Maintainer: a <a@b>\nDescription: a\n"
    )
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    deb = directory / f"{name}_{version}_amd64.deb"
    subprocess.run(["dpkg-deb", "--build", root, deb], check=True, capture_output=True)
    shutil.rmtree(root)


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of packages; pip finds the wheel there, and nothing else."""
    import _ctypes

    directory = tmp_path / "parts"
    directory.mkdir()
    ctypes = Path(_ctypes.__file__).read_bytes()
    contents = {
        "libc6": {
            f"{TRIPLET}/libc.so.6": host_library("libc.so.6"),
            f"{TRIPLET}/ld-linux-x86-64.so.2": host_library("ld-linux-x86-64.so.2"),
        },
        "python3-numpy": {
            f"{NUMPY}/__init__.py": b'"""Documentation."""\nVALUE = 1\n',
            f"{NUMPY}/tests/test_a.py": b"",
            f"{NUMPY}/random/generator.so": ctypes,
        },
        f"libpython{PYTHON}-stdlib": {
            f"{STDLIB}/os.py": b"def path():\n    return 1\n",
            f"{STDLIB}/tkinter/__init__.py": b"",
            f"{STDLIB}/lib-dynload/_lonely.so": ctypes,  # needs libffi, which no package has
            f"{STDLIB}/encodings/cp437.py": b"",
            f"{STDLIB}/encodings/cp1250.py": b"",
            f"{STDLIB}/broken.py": b"this is no Python\n",
        },
        f"python{PYTHON}-minimal": {f"usr/bin/python{PYTHON}": Path("/bin/true").read_bytes()},
    }
    python_names = [name.replace("X.Y", PYTHON) for name in PYTHON_PACKAGES]
    for name in (*PACKAGES, *python_names):
        version = "2.36-9" if name == "libc6" else "1.2.3-4"
        make_package(directory, name, version, contents.get(name, {}))
    tag = f"cp{PYTHON.replace('.', '')}"
    wheel = directory / f"onnxruntime-1.31.1-{tag}-{tag}-manylinux_2_28_x86_64.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("onnxruntime/__init__.py", "VALUE = 2\n")
        archive.writestr("onnxruntime/tools/a.py", "")
        archive.writestr(
            "onnxruntime-1.31.1.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: onnxruntime\nVersion: 1.31.1\n",
        )
        archive.writestr(
            "onnxruntime-1.31.1.dist-info/WHEEL",
            f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}-{tag}-manylinux_2_28_x86_64\n",
        )
        archive.writestr("onnxruntime-1.31.1.dist-info/RECORD", "")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(directory))
    return directory


def test_what_is_in_it(parts: Path, tmp_path: Path) -> None:
    said: list[str] = []
    source = PackageSource(directory=parts)
    bundle, path = build_runtime(RECIPE, source, tmp_path, lambda what, *_: said.append(what))
    assert len(said) == 4
    with tarfile.open(path) as archive:
        names = {member.name for member in archive if member.isreg()}
        launcher = archive.extractfile("python")
        assert launcher is not None and b"ld-linux-x86-64.so.2" in launcher.read()
    stdlib = f"lib/python{PYTHON}"
    assert names == {
        "FILES",
        "python",
        "bin/python",
        "lib/ld-linux-x86-64.so.2",
        "lib/libc.so.6",
        f"{stdlib}/broken.py",
        f"{stdlib}/encodings/cp437.pyc",
        f"{stdlib}/os.pyc",
        "site/numpy/__init__.pyc",
        "site/numpy/linalg/_umath_linalg.pyc",
        "site/numpy/linalg/lapack_lite.pyc",
        "site/numpy/random/__init__.pyc",
        "site/onnxruntime/__init__.pyc",
        "site/onnxruntime-1.31.1.dist-info/METADATA",
        "site/onnxruntime-1.31.1.dist-info/WHEEL",
    }
    assert bundle.compiled and bundle.files == len(names)
    assert (bundle.python_version, bundle.numpy_version) == ("1.2.3", "1.2.3")
    assert len(bundle.ingredients) == 12


def test_it_is_the_same_twice(parts: Path, tmp_path: Path) -> None:
    source = PackageSource(directory=parts)
    first, path = build_runtime(RECIPE, source, tmp_path)
    path.unlink()
    # Another process, with another hash seed and other things in its memory.
    script = (
        "import sys; from pathlib import Path\n"
        "from edgewright.profiler.device_runtime.build import build_runtime\n"
        "from edgewright.profiler.device_runtime.packages import PackageSource\n"
        "from edgewright.profiler.device_runtime.recipe import recipe_for\n"
        "source = PackageSource(directory=Path(sys.argv[1]))\n"
        "recipe = recipe_for('x86_64', 'onnxruntime')\n"
        "print(build_runtime(recipe, source, Path(sys.argv[2]))[0].sha256)\n"
    )
    command = [sys.executable, "-c", script, str(parts), str(tmp_path)]
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == first.sha256, done.stderr


def test_a_module_of_the_runtime_that_can_not_be_loaded(parts: Path, tmp_path: Path) -> None:
    import _ctypes

    [wheel] = parts.glob("*.whl")
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("onnxruntime/capi/state.so", Path(_ctypes.__file__).read_bytes())
    with pytest.raises(UsageError, match=r"state\.so needs libffi.*none of the packages"):
        build_runtime(RECIPE, PackageSource(directory=parts), tmp_path)


def test_a_wheel_that_reaches_out_of_its_directory(parts: Path, tmp_path: Path) -> None:
    [wheel] = parts.glob("*.whl")
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("../../../outside.py", "VALUE = 1\n")
    with pytest.raises(UsageError, match=r"outside itself: site/\.\./"):
        build_runtime(RECIPE, PackageSource(directory=parts), tmp_path)


def test_packages_without_a_python(parts: Path, tmp_path: Path) -> None:
    name = f"python{PYTHON}-minimal"
    (parts / f"{name}_1.2.3-4_amd64.deb").unlink()
    make_package(parts, name, "1.2.3-4", {})
    with pytest.raises(UsageError, match=f"have no Python {PYTHON}"):
        build_runtime(RECIPE, PackageSource(directory=parts), tmp_path)


def test_a_disk_here_that_is_full(
    parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "not-there"))
    with pytest.raises(UsageError, match=r"can't build the runtime: .*not-there"):
        build_runtime(RECIPE, PackageSource(directory=parts), tmp_path)
