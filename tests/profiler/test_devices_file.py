"""The devices file: what it holds, what may be wrong in it, and how it is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgewright.errors import UsageError
from edgewright.profiler.devices_file import (
    add_device,
    find_device,
    open_device,
    read_devices,
    remove_device,
)
from edgewright.profiler.devices_path import device_names, devices_path

WITH_COMMENTS = """\
# My lab.
schema_version = 1

[devices.pi]
address = "ssh://pi@pi.example"  # the one with the fan
target = "raspberry-pi-5"

# Somebody else's.
[devices.other]
address = "ssh://other.example:2222"
target = "boards/mine.toml"
"""


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "configuration" / "devices.toml"
    monkeypatch.setenv("EDGEWRIGHT_DEVICES", str(path))
    monkeypatch.setenv("HOME", str(tmp_path))
    return path


def written(file: Path, text: str) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)


def test_where_it_lies(monkeypatch: pytest.MonkeyPatch, file: Path, tmp_path: Path) -> None:
    assert devices_path() == file
    monkeypatch.delenv("EDGEWRIGHT_DEVICES")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert devices_path() == tmp_path / "xdg" / "edgewright" / "devices.toml"
    for none in ("", "relative"):
        monkeypatch.setenv("XDG_CONFIG_HOME", none)
        assert devices_path() == tmp_path / ".config" / "edgewright" / "devices.toml"


def test_no_file_is_no_devices() -> None:
    assert read_devices() == {} and device_names() == []
    with pytest.raises(UsageError, match="no device is called 'pi'") as raised:
        remove_device("pi")
    assert raised.value.hint == "there is none yet"


def test_what_is_added_is_found_and_removed(file: Path) -> None:
    add_device("pi", "ssh://pi@pi.example", target="raspberry-pi-5", note="fan")
    add_device("here", "local")
    assert device_names() == ["here", "pi"] and device_names("p") == ["pi"]
    found = find_device("pi")
    assert (found.address, found.target, found.note) == (
        "ssh://pi@pi.example",
        "raspberry-pi-5",
        "fan",
    )
    assert open_device("here").address == "local"
    remove_device("pi")
    assert list(read_devices()) == ["here"]
    add_device("pi", "ssh://pi")
    assert list(read_devices()) == ["here", "pi"]


def test_comments_stay(file: Path) -> None:
    written(file, WITH_COMMENTS)
    add_device("third", "local")
    add_device("pi", "ssh://pi@elsewhere.example", replace=True)
    text = file.read_text()
    assert text.startswith("# My lab.\nschema_version = 1\n")
    assert "# Somebody else's.\n[devices.other]" in text
    assert read_devices()["pi"].target is None
    remove_device("third")
    remove_device("other")
    assert list(read_devices()) == ["pi"] and "# My lab." in file.read_text()


def test_a_target_s_path_starts_at_the_file(file: Path) -> None:
    written(file, WITH_COMMENTS)
    assert read_devices()["other"].target == str(file.parent / "boards/mine.toml")


def test_the_file_stays_the_link_that_it_is(file: Path, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.toml"
    real.write_text(WITH_COMMENTS)
    file.parent.mkdir()
    file.symlink_to(real)
    remove_device("pi")
    assert file.is_symlink() and "[devices.pi]" not in real.read_text()


def test_addresses_are_taken_as_they_are(file: Path) -> None:
    written(file, "not even TOML")
    assert find_device("ssh://somebody@somewhere").address == "ssh://somebody@somewhere"
    assert find_device("local").address == "local"


@pytest.mark.parametrize("typo", ["p1", "Pi", "pie"])
def test_a_typo_names_the_nearest(file: Path, typo: str) -> None:
    written(file, WITH_COMMENTS)
    with pytest.raises(UsageError, match=f"no device is called '{typo}'") as raised:
        find_device(typo)
    assert "did you mean pi?" in str(raised.value.hint)


def test_what_is_like_no_name_is_told_as_an_address(file: Path) -> None:
    written(file, WITH_COMMENTS)
    with pytest.raises(UsageError, match="neither a device of yours nor an address") as raised:
        open_device("root@board.example")
    assert "ssh://root@board.example" in str(raised.value.hint)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("devices = 1\nschema_version = 1\n", "line 1: 'devices'"),
        ("[devices.pi]\naddress = 'local'\n", "'schema_version' is missing"),
        ("schema_version = 2\n", "line 1: 'schema_version'"),
        ("schema_version = 1\n[devices.pi]\nadress = 'x'\n", "line 3: unknown key 'devices.pi.adr"),
        ("schema_version = 1\n[devices.pi]\n", "line 2: the key 'devices.pi.address' is missing"),
        ("schema_version = 1\n[devices.pi]\naddress = ''\n", "line 3: 'devices.pi.address'"),
        ("schema_version = 1\n[devices.'a b']\naddress = 'local'\n", "'a b' can't be a device's"),
        ("schema_version = 1\n[devices.local]\naddress = 'local'\n", "'local' can't be a device's"),
        ("schema_version = \n", "line 1: not valid TOML"),
    ],
)
def test_what_is_wrong_in_the_file_is_told_with_its_place(file: Path, text: str, told: str) -> None:
    written(file, text)
    for action in (read_devices, lambda: add_device("new", "local"), lambda: find_device("pi")):
        with pytest.raises(UsageError) as raised:
            action()
        assert told in raised.value.message and str(file) in raised.value.message
    assert file.read_text() == text and device_names("x") == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"name": "a b"}, "'a b' can't be a device's name"),
        ({"name": "local"}, "'local' can't be"),
        ({"name": "-x"}, "'-x' can't be"),
        ({"address": "pi@host"}, "neither a device of yours nor an address"),
        ({"address": "ssh://u:secret@host"}, "must not contain a password"),
        ({"target": "raspberry"}, "no target is called"),
        ({"target": "./missing.toml"}, "missing.toml"),
    ],
)
def test_what_can_t_be_added(file: Path, arguments: dict[str, str], told: str) -> None:
    given = {"name": "pi", "address": "local", **arguments}
    with pytest.raises(UsageError, match=told) as raised:
        add_device(given["name"], given["address"], target=given.get("target"))
    assert "secret" not in str(raised.value)
    assert not file.exists()


def test_a_name_is_given_once(file: Path) -> None:
    add_device("pi", "ssh://first")
    with pytest.raises(UsageError, match="called 'pi' already: ssh://first") as raised:
        add_device("pi", "ssh://second")
    assert "--replace" in str(raised.value.hint)
    assert read_devices()["pi"].address == "ssh://first"


def test_a_file_that_can_t_be_read_or_written(file: Path) -> None:
    file.mkdir(parents=True)
    with pytest.raises(UsageError, match="Is a directory"):
        read_devices()
    with pytest.raises(UsageError, match="Is a directory"):
        add_device("pi", "local")


def test_a_password_in_the_file_is_never_shown(file: Path) -> None:
    written(file, 'schema_version = 1\n[devices.pi]\naddress = "ssh://u:secret@host"\n')
    assert read_devices()["pi"].address == "ssh://u:***@host"
    with pytest.raises(UsageError, match="must not contain a password"):
        open_device("pi")


def test_homes_of_nobody(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"^~no-such-user/a\.toml: nobody knows"):
        add_device("pi", "local", target="~no-such-user/a.toml")
    monkeypatch.setenv("EDGEWRIGHT_DEVICES", "~no-such-user/devices.toml")
    with pytest.raises(UsageError, match="nobody knows where that home is"):
        read_devices()
    assert device_names() == []
