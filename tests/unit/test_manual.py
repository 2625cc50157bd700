"""The manual pages and the README say what the code says, and lead where they point."""

import functools
import glob
import json
import os
import re
from collections.abc import Iterator

import pytest
from docutils import nodes
from docutils.core import publish_doctree, publish_string

from rktsd.cli import flags, rkt130
from rktsd.cli.commands import COMMANDS
from rktsd.pods import options, podfile
from rktsd.systemd import properties, refused, settings

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PAGES = sorted(os.path.basename(path) for path in glob.glob(f"{TOP}/man/*.rst"))
UNITS = sorted(
    os.path.basename(path)
    for kind in ("path", "service", "slice", "timer", "socket", "target")
    for path in glob.glob(f"{TOP}/units/*.{kind}")
)
SETTINGS = {
    # Level 2 are warnings: the package is not built with one.
    "halt_level": 2,
    "report_level": 2,
    "traceback": True,
    "input_encoding": "utf-8",
    "_disable_config": True,
}
REFERENCE = re.compile(r"\b(rkt[a-z@.-]*)\(([0-9])\)")


def path_of(page: str) -> str:
    return f"{TOP}/man/{page}"


@functools.cache
def tree(path: str) -> nodes.document:
    with open(path, encoding="utf-8") as file:
        return publish_doctree(file.read(), source_path=path, settings_overrides=SETTINGS)


def text(page: str) -> str:
    return tree(path_of(page)).astext()


def section(page: str, title: str) -> nodes.section:
    for found in tree(path_of(page)).findall(nodes.section):
        heading = found.next_node(nodes.title)
        if heading is not None and heading.astext() == title:
            return found
    raise AssertionError(f"{page} has no section {title}")


def terms(node: nodes.Node) -> Iterator[str]:
    """The literals that a definition list explains."""
    for term in node.findall(nodes.term):
        for literal in term.findall(nodes.literal):
            yield literal.astext()


def blocks(page: str, title: str) -> list[str]:
    return [each.astext() for each in section(page, title).findall(nodes.literal_block)]


def page_of(command: str) -> str:
    """Where a command is explained: those for images share a page."""
    same = {
        "image fetch": "fetch",
        "exec": "enter",
        "pause": "kill",
        "unpause": "kill",
        "top": "stats",
        "restart": "start",
    }
    name = same.get(command, command.partition(" ")[0])
    return f"rkt-{name}.1.rst"


def mentions(page: str, flag: str) -> bool:
    return re.search(rf"--{re.escape(flag)}(?![a-z-])", text(page)) is not None


@pytest.mark.parametrize("page", PAGES)
def test_page_renders_without_a_warning(page: str) -> None:
    path = path_of(page)
    with open(path, encoding="utf-8") as file:
        rendered = publish_string(
            file.read(), source_path=path, writer_name="manpage", settings_overrides=SETTINGS
        ).decode()
    name, number = page.removesuffix(".rst").rsplit(".", 1)
    assert tree(path)["title"] == name
    assert f'.TH "{name.upper()}" {number} ' in rendered.replace("\\-", "-").upper()


@pytest.mark.parametrize("page", PAGES)
def test_page_has_the_usual_sections(page: str) -> None:
    titles = [each.astext() for each in tree(path_of(page)).findall(nodes.title)]
    assert titles[-1] == "SEE ALSO" or page.startswith("rktsd-hacking")
    if not page.startswith("rktsd-"):
        assert "SYNOPSIS" in titles
        assert any(title.startswith("EXAMPLE") for title in titles)


@pytest.mark.parametrize("command", COMMANDS)
def test_command_has_a_page_that_explains_its_flags(command: str) -> None:
    page = page_of(command)
    assert page in PAGES
    assert f"rkt {command}" in text(page)
    assert [flag.name for flag in COMMANDS[command].flags if not mentions(page, flag.name)] == []


def test_overview_names_every_command_and_global_flag() -> None:
    assert [each.name for each in flags.GLOBAL if not mentions("rkt.1.rst", each.name)] == []
    bold = {each.astext() for each in section("rkt.1.rst", "COMMANDS").findall(nodes.strong)}
    assert {name for name in COMMANDS if COMMANDS[name].function} <= bold


@pytest.mark.parametrize("page", [page for page in PAGES if page.endswith(".1.rst")])
def test_page_explains_no_flag_that_does_not_exist(page: str) -> None:
    known = {flag.name for flag in flags.GLOBAL} if page == "rkt.1.rst" else set()
    for name, command in COMMANDS.items():
        if page_of(name) == page:
            known |= {flag.name for flag in command.flags}
    explained = {
        found[1]
        for term in terms(tree(path_of(page)))
        if (found := re.match(r"--([a-z0-9-]+)", term))
    }
    assert explained <= known


def test_page_of_pod_files_has_every_field() -> None:
    for title, keys in (
        ("FIELDS OF THE POD", podfile.POD_KEYS),
        ("FIELDS OF AN APP", podfile.APP_KEYS),
        ("VOLUMES", podfile.VOLUME_KEYS),
        ("PUBLISHED PORTS", podfile.PUBLISHED_KEYS),
    ):
        words = terms(section("rkt-pod.5.rst", title))
        explained = {word.strip("[]") for word in words if not word.startswith('"')}
        assert explained == set(keys)
    app = section("rkt-pod.5.rst", "FIELDS OF AN APP").astext()
    for key in (*podfile.MOUNT_KEYS, *podfile.PORT_KEYS):
        assert re.search(rf"\b{key}\b", app), key


def test_page_of_pod_files_has_every_word() -> None:
    content = text("rkt-pod.5.rst")
    words = (*options.INSECURE, *options.PULL_POLICIES, *options.ON_APP_FAILURE)
    assert [word for word in words if f'"{word}"' not in content] == []


def test_page_of_settings_has_every_setting_in_its_list() -> None:
    for title, names in (
        ("PASSED ON", set(properties.FORMS)),
        ("TRANSLATED", set(settings.TRANSLATED)),
        ("REFUSED", {*refused.REFUSED}),
    ):
        words = set(
            re.findall(r"\b[A-Z][A-Za-z0-9]+\b", section("rktsd-settings.7.rst", title).astext())
        )
        assert names - words == set()


@pytest.mark.parametrize(("title", "form"), [("EXAMPLE", "toml"), ("JSON", "json")])
def test_examples_of_pod_files_are_read(title: str, form: str) -> None:
    (example,) = blocks("rkt-pod.5.rst", title)
    found = podfile.parse(example.encode(), f"web.{form}", pod="web")
    assert found.manifest.apps[0].name == "nginx"


def test_example_of_settings_is_passed_on() -> None:
    (example,) = blocks("rkt-pod.5.rst", "SYSTEMD SETTINGS")
    head = '[[app]]\nname = "a"\nimage = "example.com/a"\n'
    found = podfile.parse(f"{head}{example}\n".encode(), "a.toml", pod="a")
    for setting, value in found.options.apps["a"].systemd.items():
        assert properties.known(setting)
        assert properties.convert(setting, value, setting)


def test_example_of_a_network_is_json() -> None:
    (example,) = blocks("rktsd-networking.7.rst", "NETWORKS OF YOUR OWN")
    assert json.loads(example)["name"] == "backend"


@pytest.mark.parametrize("unit", UNITS)
def test_unit_is_described(unit: str) -> None:
    explained = [
        term.astext() for term in section("rkt@.service.8.rst", "THE UNITS").findall(nodes.term)
    ]
    names = {unit, unit.replace("@.", "@POD.")}
    assert any(names & set(term.split(", ")) for term in explained)


def test_units_refer_to_pages_that_exist() -> None:
    places = [*glob.glob(f"{TOP}/units/*"), f"{TOP}/rktsd/stage1/plan.py"]
    found = []
    for path in filter(os.path.isfile, places):
        with open(path, encoding="utf-8") as file:
            found += re.findall(r"man:([A-Za-z0-9@.-]+)\(([0-9])\)", file.read())
    assert len(found) > len(UNITS)
    assert {f"{name}.{number}.rst" for name, number in found} <= set(PAGES)


@pytest.mark.parametrize("path", [*map(path_of, PAGES), f"{TOP}/README.rst"])
def test_references_lead_to_pages(path: str) -> None:
    found = REFERENCE.findall(tree(path).astext())
    assert found
    assert {f"{name}.{number}.rst" for name, number in found} <= set(PAGES)


def test_links_of_the_readme_lead_to_files() -> None:
    links = {
        each["refuri"]
        for each in tree(f"{TOP}/README.rst").findall(nodes.reference)
        if "refuri" in each
    }
    files = {link for link in links if not re.match(r"[a-z]+:", link)}
    assert files
    assert {link for link in files if not os.path.exists(f"{TOP}/{link}")} == set()


def test_commands_of_the_readme_exist() -> None:
    with open(f"{TOP}/README.rst", encoding="utf-8") as file:
        content = file.read()
    with open(f"{TOP}/Makefile", encoding="utf-8") as file:
        rules = set(re.findall(r"^([a-z-]+):", file.read(), re.M))
    scripts = set(re.findall(r"\bsh (packaging/[a-z-]+)", content))
    assert {"packaging/demo", "packaging/check"} <= scripts
    assert {each for each in scripts if not os.path.isfile(f"{TOP}/{each}")} == set()
    assert set(re.findall(r"``make ([a-z-]+)", content)) <= rules
    used = set(re.findall(r"# rkt (?:--\S+ )*(image [a-z-]+|[a-z-]+)", content))
    assert used
    assert used <= set(COMMANDS)


def test_pod_file_of_the_readme_is_read() -> None:
    found = [
        block.astext()
        for block in tree(f"{TOP}/README.rst").findall(nodes.literal_block)
        if "[[app]]" in block.astext()
    ]
    assert found
    for number, example in enumerate(found):
        podfile.parse(example.encode(), f"pod-{number}.toml", pod=f"pod-{number}")


def test_pod_file_of_the_package_is_that_of_the_page() -> None:
    """What people are told to begin with is what they find installed."""
    path = f"{TOP}/packaging/examples/web.toml"
    with open(path, "rb") as file:
        packaged = podfile.parse(file.read(), path, pod="web")
    (example,) = blocks("rkt-pod.5.rst", "EXAMPLE")
    assert packaged.manifest == podfile.parse(example.encode(), path, pod="web").manifest


def test_page_of_rkt_has_what_is_not_simply_done() -> None:
    page = "rktsd-rkt.7.rst"
    pairs = [("", flag) for flag in rkt130.GLOBAL.split()]
    pairs += [(name, flag) for name, words in rkt130.FLAGS.items() for flag in words.split()]
    fates = {pair: rkt130.fate(*pair)[0] for pair in pairs}
    words = terms(section(page, "FLAGS THAT ARE REFUSED"))
    refused = {flag for (_, flag), fate in fates.items() if fate == rkt130.REFUSED}
    assert {word.removeprefix("--") for word in words} == refused
    lacking = {
        each.astext() for each in section(page, "COMMANDS THAT ARE LACKING").findall(nodes.strong)
    }
    assert lacking == set(rkt130.FLAGS) - set(COMMANDS)
