"""rktsd.toml: settings, which file wins, and what is refused."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
from docutils import nodes
from docutils.core import publish_doctree

from rktsd.config.settings import (
    FETCH,
    RUN,
    RunSettings,
    Settings,
    read_run_settings,
    read_settings,
)
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


def page(section: str) -> nodes.section:
    path = Path(__file__).parents[3] / "man" / "rktsd.toml.5.rst"
    document = publish_doctree(path.read_text(), settings_overrides={"halt_level": 2})
    for found in document.findall(nodes.section):
        if found[0].astext() == section:
            return found
    raise AssertionError(section)


def test_the_page_has_every_setting_with_its_default() -> None:
    told = {}
    for item in page("SETTINGS").findall(nodes.definition_list_item):
        default = re.search(r"The\s+default\s+is\s+([a-z0-9.]+?)\.?(\s|$)", item[1].astext())
        assert default, item.astext()
        told[item[0].astext()] = default[1]
    settings = Settings()
    assert told == {
        key: str(getattr(settings, key.replace("-", "_"))).lower().removesuffix(".0")
        for key in FETCH
    }


def test_the_example_of_the_page_is_read(tmp_path: Path) -> None:
    (example,) = page("EXAMPLE").findall(nodes.literal_block)
    write(tmp_path, example.astext())
    assert read_settings([str(tmp_path)]) == Settings(
        simple_discovery=True, retries=20, longest_wait=300.0, minimum_rate=100
    )


def test_how_images_run(tmp_path: Path) -> None:
    assert read_run_settings([str(tmp_path)]) == RunSettings(image_privileges=False)
    write(tmp_path, "[fetch]\nretries = 1\n[run]\nimage-privileges = true\n")
    assert read_run_settings([str(tmp_path)]) == RunSettings(image_privileges=True)
    assert read_settings([str(tmp_path)]) == Settings(retries=1)
    explained = {item[0].astext() for item in page("RUNNING").findall(nodes.definition_list_item)}
    assert explained == set(RUN)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[run]\nimage-privileges = 1", "run.image-privileges: 1 is not true or false"),
        ("[fetch", "not TOML: "),
        ("retries = 3", "retries: unknown table (there are [fetch], [network] and [run])"),
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
