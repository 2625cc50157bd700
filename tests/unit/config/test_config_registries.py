"""registries.toml: what is meant by it, which table wins, and what is refused."""

import re
from pathlib import Path

import pytest
from docutils import nodes
from docutils.core import publish_doctree

from rktsd.config.registries import (
    MIRROR_KEYS,
    REGISTRY_KEYS,
    Mirror,
    RegistryEntry,
    find,
    read_registries,
)
from rktsd.errors import BadInput

HUB = "registry-1.docker.io"


def write(directory: Path, text: str) -> Path:
    directory.mkdir(exist_ok=True)
    path = directory / "registries.toml"
    path.write_text(text)
    return path


def entry_for(directory: Path, image: str) -> RegistryEntry | None:
    return find(read_registries([str(directory)]), image)


def test_without_files_there_is_nothing(tmp_path: Path) -> None:
    assert read_registries([str(tmp_path)]) == {}
    assert entry_for(tmp_path, "a.example/b") is None


def test_all_that_a_table_says(tmp_path: Path) -> None:
    text = """
    [[registry]]
    prefix = "a.example/team"
    location = "b.example:5000/copies"
    insecure = true
    blocked = true
    [[registry.mirror]]
    location = "c.example"
    [[registry.mirror]]
    location = "d.example/"
    insecure = true
    pull-from-mirror = "tag-only"
    """
    path = write(tmp_path, text)
    mirrors = (Mirror("c.example"), Mirror("d.example", insecure=True, pull="tag-only"))
    place = "b.example:5000/copies"
    expected = RegistryEntry("a.example/team", place, True, True, mirrors, str(path))
    found = entry_for(tmp_path, "a.example/team/web")
    assert found == expected
    assert found.at(found.location, "a.example/team/web") == f"{place}/web"
    assert found.at("c.example", "a.example/team/web") == "c.example/web"


@pytest.mark.parametrize(
    ("image", "prefix"),
    [
        ("a.example/web", "a.example"),
        ("a.example/team", "a.example/team"),
        ("a.example/team/web/x", "a.example/team"),
        ("a.example/teams", "a.example"),
        ("a.example:5000/team/web", "a.example:5000"),
        ("x.b.example/web", "*.b.example"),
        ("x.y.b.example/web", "*.y.b.example"),
        ("b.example/web", None),
        (f"{HUB}/library/redis", HUB),
        ("docker.example/web", None),
    ],
)
def test_the_longest_prefix_is_taken(tmp_path: Path, image: str, prefix: str | None) -> None:
    given = (
        "a.example", "a.example/team", "a.example:5000", "*.b.example", "*.y.b.example", "docker.io"
    )  # fmt: skip
    write(tmp_path, "".join(f'[[registry]]\nprefix = "{each}"\n' for each in given))
    found = entry_for(tmp_path, image)
    assert (found.prefix if found else None) == prefix


def test_a_domain_stays_where_it_is_or_moves_as_a_whole(tmp_path: Path) -> None:
    write(tmp_path, '[[registry]]\nprefix = "*.b.example"\n')
    found = entry_for(tmp_path, "x.b.example/team/web")
    assert found
    assert found.at(found.location, "x.b.example/team/web") == "x.b.example/team/web"
    assert found.at("m.example/copies", "x.b.example/team/web") == "m.example/copies/team/web"


def test_a_later_file_replaces_a_table(tmp_path: Path) -> None:
    write(tmp_path / "usr", '[[registry]]\nprefix = "a.example"\nblocked = true\n')
    write(tmp_path / "etc", '[[registry]]\nlocation = "a.example"\ninsecure = true\n')
    found = read_registries([str(tmp_path / "usr"), str(tmp_path / "etc")])["a.example"]
    assert (found.blocked, found.insecure) == (False, True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[[registry]", "not TOML: "),
        ("[registries]", "registries: unknown setting (there are registry)"),
        ("[registry]\n", "registry: {} is not a list"),
        ("[[registry]]", "registry[0].location: missing"),
        ('[[registry]]\nprefix = ""', "registry[0].prefix: empty"),
        ('[[registry]]\nprefix = "https://a"', '"https://a" is not HOST[:PORT][/PATH]'),
        ('[[registry]]\nprefix = "a.*.b"', '"a.*.b" is not HOST[:PORT][/PATH]'),
        ('[[registry]]\nprefix = "*.a/b"', '"*.a/b" is not *.HOST or HOST[:PORT][/PATH]'),
        ('[[registry]]\nlocation = "me:secret@a"', "is not HOST[:PORT][/PATH]"),
        ('[[registry]]\nlocation = "a"\ninsecure = "yes"', '"yes" is not true or false'),
        ('[[registry]]\nlocation = "a"\nmirrors = []', "registry[0].mirrors: unknown setting"),
        ('[[registry]]\nlocation = "a"\n[[registry.mirror]]', "mirror[0].location: missing"),
        (
            '[[registry]]\nlocation = "a"\nmirror = [{ location = "b", pull-from-mirror = "no" }]',
            '"no" is not all or digest-only or tag-only',
        ),
        (
            '[[registry]]\nlocation = "docker.io"\n[[registry]]\nprefix = "index.docker.io"',
            f'registry[1]: the prefix "{HUB}" is given twice',
        ),
    ],
)
def test_what_is_wrong_is_refused(text: str, expected: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    with pytest.raises(BadInput, match=re.escape(expected)) as caught:
        read_registries([str(tmp_path)])
    assert str(caught.value).startswith(f"{path}: ")


def page(section: str) -> nodes.section:
    path = Path(__file__).parents[3] / "man" / "rktsd-registries.toml.5.rst"
    document = publish_doctree(path.read_text(), settings_overrides={"halt_level": 2})
    for found in document.findall(nodes.section):
        if found[0].astext() == section:
            return found
    raise AssertionError(section)


def test_the_page_has_every_key() -> None:
    for section, keys in (("KEYS OF A REGISTRY", REGISTRY_KEYS), ("KEYS OF A MIRROR", MIRROR_KEYS)):
        told = {term.astext() for term in page(section).findall(nodes.term)}
        assert {each.strip("[]").removeprefix("registry.") for each in told} == set(keys)


def test_the_example_of_the_page_is_read(tmp_path: Path) -> None:
    (example,) = page("EXAMPLE").findall(nodes.literal_block)
    write(tmp_path, example.astext())
    found = read_registries([str(tmp_path)])
    assert set(found) == {HUB, "lab.example.com:5000", "*.example.net"}
    assert [each.location for each in found[HUB].mirrors] == [
        "mirror.example.com:5000/hub",
        "mirror.example.org",
    ]
