from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field, model_validator

from edgewright.errors import UsageError
from edgewright.targets.profile import Model, TargetProfile
from edgewright.targets.toml_file import read_toml

BOARD = (Path(__file__).parents[2] / "device_configs" / "raspberry-pi-5.toml").read_text()


class Inner(Model):
    size: int = Field(gt=0)
    kind: Literal["small", "large"] = "small"


class Round(Model):
    shape: Literal["round"]
    radius: float


class Square(Model):
    shape: Literal["square"]
    side: float


class Outer(Model):
    name: str
    inner: Inner | None = None
    many: tuple[Inner, ...] = ()
    table: dict[str, Inner] = {}
    form: Round | Square | None = Field(default=None, discriminator="shape")

    @model_validator(mode="after")
    def _name_is_short(self) -> Outer:
        if len(self.name) > 9:
            raise ValueError("the name is too long")
        return self


def problem(tmp_path: Path, text: str, model: type[Model] = Outer) -> UsageError:
    path = tmp_path / "file.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_toml(path, model)
    assert str(path) in caught.value.message
    return caught.value


def test_reads(tmp_path: Path) -> None:
    path = tmp_path / "file.toml"
    path.write_text('name = "x"\ninner.size = 1\n[[many]]\nsize = 2\nkind = "large"\n')
    read = read_toml(path, Outer)
    assert read == Outer(name="x", inner=Inner(size=1), many=(Inner(size=2, kind="large"),))
    path.write_text('name = "x"\nform = { shape = "round", radius = 1 }\n')
    assert read_toml(path, Outer).form == Round(shape="round", radius=1.0)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('name = "x"\n\n[inner]\nsise = 1\nsize = 1\n', 4, "unknown key 'inner.sise'"),
        ('name = "x"\nextra = 1\n', 2, "unknown key 'extra'"),
        ('name = "x"\n[[many]]\nsize=1\n[[many]]\nsize=1\nbig=2\n', 6, "unknown key 'many[1].big'"),
        ('name = "x"\n[table.a]\nsize=1\nbig=2\n', 4, "unknown key 'table.a.big'"),
        ('name = "x"\n[inner]\nkind = "small"\n', 2, "the key 'inner.size' is missing"),
        ('name = "x"\n[inner]\nsize = "1"\n', 3, "'inner.size': input should be a valid integer"),
        ('name = "x"\n[inner]\nsize = 0\n', 3, "greater than 0, not 0"),
        ('name = "x"\nmany = [ { size = 1 },\n { size = -1 } ]\n', 2, "'many[1].size'"),
        ('name = "x"\n[[many]]\nsize=1\n[[many]]\nsize=1\nkind="big"\n', 6, "'many[1].kind'"),
        ('name = "x"\ninner = 3\n', 2, "'inner'"),
        ('name = "x"\n[form]\nshape = "round"\nradus = 1\nradius = 1\n', 4, "'form.radus'"),
        ('name = "x"\n[form]\nshape = "oval"\n', 2, "'form'"),
        ('name = "x"\nname = "y"\n', 2, "not valid TOML"),
        ('name = "x\n', 1, "not valid TOML"),
        ('name = "x"\nmany = [1,\n', 2, "not valid TOML"),
        ('name = "x"\n[inner\n', 2, "not valid TOML"),
    ],
)
def test_the_line_and_key_are_named(tmp_path: Path, text: str, line: int, words: str) -> None:
    message = problem(tmp_path, text).message
    assert f"file.toml, line {line}: " in message
    assert words in message
    assert "\n" not in message


def test_without_a_line_the_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "file.toml"
    assert problem(tmp_path, "").message == f"{path}: the key 'name' is missing"
    assert problem(tmp_path, 'name = "0123456789"').message == f"{path}: the name is too long"


def test_the_nearest_key_is_suggested(tmp_path: Path) -> None:
    error = problem(tmp_path, 'name = "x"\n[inner]\nsize = 1\nkid = 1\n')
    assert error.hint == "did you mean 'kind'?"
    error = problem(tmp_path, 'name = "x"\n[inner]\nsize = 1\nzzzzzz = 1\n')
    assert error.hint == "the keys here are kind, size"


def test_all_problems_are_one_error(tmp_path: Path) -> None:
    message = problem(tmp_path, 'name = 1\n[inner]\nsize = "x"\nkid = 1\n').message
    assert [line.split(": ")[0][-6:] for line in message.splitlines()] == [
        "line 1",
        "line 3",
        "line 4",
    ]
    many = "".join(f"extra{i} = 1\n" for i in range(20))
    assert problem(tmp_path, 'name = "x"\n' + many).message.endswith("... and 12 more")


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_toml(tmp_path / "none.toml", Outer)
    with pytest.raises(UsageError, match="directory"):
        read_toml(tmp_path, Outer)
    (tmp_path / "binary.toml").write_bytes(b"name = '\xff\xfe'")
    with pytest.raises(UsageError, match="UTF-8"):
        read_toml(tmp_path / "binary.toml", Outer)
    (tmp_path / "deep.toml").write_text("a = " + "[" * 5000 + "]" * 5000)
    with pytest.raises(UsageError, match="nested too deeply"):
        read_toml(tmp_path / "deep.toml", Outer)


def test_device_profiles(tmp_path: Path) -> None:
    line = BOARD[: BOARD.index("ram_bytes")].count("\n") + 1
    error = problem(tmp_path, BOARD.replace("ram_bytes", "ram_byte"), TargetProfile)
    assert f"line {line}: unknown key 'memory.ram_byte'" in error.message
    assert error.hint == "did you mean 'ram_bytes'?"
    text = BOARD.replace('name = "ai_edge_litert"', 'name = "onnxruntime"')
    assert "a runtime is listed twice" in problem(tmp_path, text, TargetProfile).message


def test_a_wrong_item_of_a_list_is_one_problem(tmp_path: Path) -> None:
    error = problem(tmp_path, BOARD.replace("count = 4", "count = -4"), TargetProfile)
    assert error.message.count("\n") == 0 and "clusters[0].count" in error.message
    error = problem(
        tmp_path, re.sub(r"(?s)clusters = \[.*?\n\]", "clusters = []", BOARD), TargetProfile
    )
    assert "at least 1 item" in error.message
