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
