"""rktsd.toml: settings, which file wins, and what is refused."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from rktsd.config.settings import FETCH, Settings, read_settings
from rktsd.errors import BadInput


def write(directory: Path, text: str) -> Path:
    directory.mkdir(exist_ok=True)
    path = directory / "rktsd.toml"
    path.write_text(text)
    return path


def test_without_files_the_defaults_hold(tmp_path: Path) -> None:
    assert read_settings([str(tmp_path)]) == Settings()


def test_every_setting_has_a_field() -> None:
    assert {key.replace("-", "_") for key in FETCH} == {each.name for each in fields(Settings)}


def test_a_later_file_overrides_key_by_key(tmp_path: Path) -> None:
    write(tmp_path / "usr", "[fetch]\nsimple-discovery = true\nretries = 7\nretry-delay = 0.25\n")
    write(tmp_path / "etc", "[fetch]\nretries = 0\nlongest-wait = 5\n")
    found = read_settings([str(tmp_path / "usr"), str(tmp_path / "etc")])
    assert found == Settings(simple_discovery=True, retries=0, retry_delay=0.25, longest_wait=5.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[fetch", "not TOML: "),
        ("retries = 3", "retries: unknown table (there is [fetch])"),
        ("[fetch]\nretires = 3", "fetch.retires: unknown setting"),
        ("[fetch]\nretries = -1", "fetch.retries: -1 is not a number (0 to 100)"),
        ('[fetch]\nretries = "3"', 'fetch.retries: "3" is not a number (0 to 100)'),
        ("[fetch]\nsimple-discovery = 1", "fetch.simple-discovery: 1 is not true or false"),
        ("[fetch]\nretry-delay = nan", "not a finite number"),
        ("[fetch]\nretry-delay = true", "true is not a number of seconds (0 to 86400)"),
        ("[fetch]\nanswer-timeout = 0", "0 is not a number of seconds above 0"),
        ("[fetch]\nmaximum-archive = 0", "0 is not a number of bytes (1 to "),
        ("fetch = 3", "fetch: 3 is not an object"),
    ],
)
def test_wrong_settings_are_refused(text: str, expected: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    with pytest.raises(BadInput, match=re.escape(expected)) as caught:
        read_settings([str(tmp_path)])
    assert str(caught.value).startswith(f"{path}: ")
