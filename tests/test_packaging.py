"""What is installed is what is in the tree."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
NOT_PACKAGES = {"tests", "examples", "benchmarks", "docs"}


def _setuptools() -> dict[str, object]:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found: dict[str, object] = document["tool"]["setuptools"]
    return found


def _folders() -> set[str]:
    """Every folder of the product, as a package name."""
    return {
        ".".join(("edgewright", *path.parent.relative_to(ROOT).parts))
        for path in ROOT.rglob("__init__.py")
        if not set(path.relative_to(ROOT).parts[:1]) & NOT_PACKAGES
        and not any(part.startswith((".", "build")) for part in path.relative_to(ROOT).parts)
    }


def test_the_package_list_is_the_tree() -> None:
    listed = _setuptools()["packages"]
    assert isinstance(listed, list)
    assert set(listed) == _folders()
    assert len(listed) == len(set(listed))


def test_every_data_file_is_listed() -> None:
    data = _setuptools()["package-data"]
    assert isinstance(data, dict)
    for package in _folders():
        folder = ROOT.joinpath(*package.split(".")[1:])
        patterns = data.get(package, [])
        held = {p for pattern in patterns for p in folder.glob(pattern)}
        if package == "edgewright":
            assert held == {ROOT / "py.typed"}
            continue
        others = {p for p in folder.iterdir() if p.is_file() and p.suffix not in (".py", ".pyc")}
        assert held == others, package
        assert not patterns or held, f"{package}: patterns that match nothing"


def test_every_python_folder_is_a_package() -> None:
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).parts
        if parts[0] in NOT_PACKAGES or any(p.startswith((".", "build")) for p in parts):
            continue
        assert (path.parent / "__init__.py").is_file(), path
