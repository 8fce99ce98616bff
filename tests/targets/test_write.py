from __future__ import annotations

from pathlib import Path

import pytest

from edgewright.errors import UsageError
from edgewright.targets.load import list_targets, load_target, profile_of
from edgewright.targets.toml_file import parse_toml_text
from edgewright.targets.write import copy_text, profile_text, write_profile


@pytest.mark.parametrize("name", [profile.name for profile in list_targets()])
def test_what_is_written_is_read_back(name: str) -> None:
    profile = load_target(name).model_copy(update={"probed": False})
    assert profile_of(parse_toml_text(Path("x.toml"), profile_text(profile))) == profile


def test_a_copy_keeps_comments_and_sources_and_changes_its_name() -> None:
    text = copy_text("my-pi", "rpi4")
    profile = profile_of(parse_toml_text(Path("my-pi.toml"), text))
    original = load_target("raspberry-pi-4")
    assert (profile.name, profile.title) == ("my-pi", f"{original.title}, changed")
    assert profile.aliases == ()
    assert profile.cpu == original.cpu
    assert "1_800_000_000" in text


def test_a_copy_of_this_machine_is_what_it_is_now() -> None:
    profile = profile_of(parse_toml_text(Path("mine.toml"), copy_text("mine", "host")))
    assert not profile.probed
    assert profile.cpu == load_target("host").cpu


@pytest.mark.parametrize("name", ["", "My", "a b", "-a", "a/b", "ä"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="can't be a profile's name"):
        copy_text(name, "host")


def test_files_are_written_whole_and_only_over_others_if_said_so(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    text = copy_text("mine", "rpi4")
    write_profile(text, path, replace=False)
    with pytest.raises(UsageError, match="is there already"):
        write_profile(text, path, replace=False)
    write_profile(text, path, replace=True)
    with pytest.raises(UsageError, match="unknown key 'colour'"):
        write_profile('colour = "red"\n' + text, path, replace=True)
    assert path.read_text() == text
    assert [p.name for p in tmp_path.iterdir()] == ["mine.toml"]


def test_names_in_the_users_folder_are_those_of_one_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEWRIGHT_TARGETS", str(tmp_path))
    with pytest.raises(UsageError, match="'raspberry-pi-5' is the name of another profile"):
        write_profile(
            copy_text("raspberry-pi-5", "rpi4"), tmp_path / "raspberry-pi-5.toml", replace=False
        )
    with pytest.raises(UsageError, match="'rpi4' is the name of another profile"):
        write_profile(copy_text("rpi4", "rpi4"), tmp_path / "rpi4.toml", replace=False)
    with pytest.raises(UsageError, match="a file is called as its profile"):
        write_profile(copy_text("mine", "rpi4"), tmp_path / "yours.toml", replace=False)
    assert list(tmp_path.iterdir()) == []
    write_profile(copy_text("mine", "rpi4"), tmp_path / "mine.toml", replace=False)
    write_profile(copy_text("mine", "rpi5"), tmp_path / "mine.toml", replace=True)
    assert load_target("mine").title.startswith("Raspberry Pi 5")
    write_profile(copy_text("rpi4", "rpi4"), tmp_path / "elsewhere" / "rpi4.toml", replace=False)


def test_a_copy_of_a_file_is_one_of_that_file(tmp_path: Path) -> None:
    """Of the file that is named, and not of the built-in profile that is called alike."""
    path = tmp_path / "changed.toml"
    text = profile_text(load_target("rpi4").model_copy(update={"title": "A Pi of mine"}))
    path.write_text(text)
    assert "A Pi of mine" in copy_text("mine", str(path))
    path.write_text(text.replace('name = "raspberry-pi-4"', 'name = "other"', 1))
    assert "A Pi of mine" in copy_text("mine", str(path))
