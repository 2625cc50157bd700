"""trust.toml: what is wanted of which images, which file wins, and what is refused."""

import re
from pathlib import Path

import pytest
from docutils import nodes
from docutils.core import publish_doctree

from rktsd.config.trust import BUILT_IN, KEYS, Policy, Require, read_policy
from rktsd.errors import BadInput

PAGE = Path(__file__).parents[3] / "man" / "rktsd-trust.toml.5.rst"
HUGE = "a" * 64


def write(directory: Path, text: str) -> Path:
    directory.mkdir(exist_ok=True)
    path = directory / "trust.toml"
    path.write_text(text)
    return path


def scopes(policy: Policy) -> set[tuple[str, str]]:
    return set(policy.rules)


def test_without_files_a_digest_is_wanted(tmp_path: Path) -> None:
    assert read_policy([str(tmp_path)]) == Policy(BUILT_IN, {})
    assert BUILT_IN.require is Require.DIGEST


def test_a_later_file_overrides_table_by_table(tmp_path: Path) -> None:
    write(
        tmp_path / "usr",
        '[default]\nrequire = "reject"\n[docker."docker.io"]\nrequire = "sigstore"\n'
        'keys = ["/k"]\nany-tag = true\n[docker."example.com"]\nrequire = "digest"\n',
    )
    write(tmp_path / "etc", '[docker."index.docker.io"]\nrequire = "insecure-accept"\n')
    found = read_policy([str(tmp_path / "usr"), str(tmp_path / "etc")])
    assert found.default.require is Require.REJECT
    assert scopes(found) == {("docker", "docker.io"), ("docker", "example.com")}
    hub = found.rules["docker", "docker.io"]
    assert (hub.require, hub.keys, hub.any_tag) == (Require.NOTHING, (), False)
    assert hub.where == f'{tmp_path}/etc/trust.toml: docker["index.docker.io"]'


def test_everything_that_can_be_said(tmp_path: Path) -> None:
    write(
        tmp_path,
        '[docker."Example.COM:443/a/b"]\nrequire = "gpg"\nkeys = ["/a", "/b"]\n'
        'lookaside = "https://example.com:8443/x/"\nsigned-as = "vendor.example/c"\n'
        'any-tag = true\n[oci."/srv/a"]\nrequire = "digest"\n',
    )
    found = read_policy([str(tmp_path)])
    rule = found.rules["docker", "example.com/a/b"]
    assert (rule.keys, rule.lookaside) == (("/a", "/b"), "https://example.com:8443/x")
    assert (rule.scope, rule.signed_as, rule.any_tag) == (
        "example.com/a/b",
        "vendor.example/c",
        True,
    )
    assert found.rules["oci", "/srv/a"].require is Require.DIGEST


@pytest.mark.parametrize(
    "scope",
    [
        "example.com", "example.com:5000", "localhost/a", "[::1]:5000/a", "*.example.com",
        "docker.io/library/debian:12", f"example.com/a__b/c-d@sha256:{HUGE}",
    ],
)  # fmt: skip
def test_prefixes_of_registries(tmp_path: Path, scope: str) -> None:
    write(tmp_path, f'[docker."{scope}"]\nrequire = "digest"\n')
    assert scopes(read_policy([str(tmp_path)])) == {("docker", scope)}


def docker(settings: str, scope: str = "example.com") -> str:
    return f'[docker."{scope}"]\n{settings}\n'


GPG = 'require = "gpg"\nlookaside = "https://example.com"\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[docker", "not TOML: "),
        ("[dockre]", "dockre: unknown table (there are default, docker, oci, oci-archive, "),
        ("[default]", "default.require: missing"),
        ('[default]\nrequire = "yes"', '"yes" is not insecure-accept or digest or gpg or sigstore'),
        (docker("requires = 1"), 'docker["example.com"].requires: unknown setting (there are '),
        (docker('require = "digest"\nkeys = ["/a"]'), 'no meaning with require = "digest"'),
        (docker('require = "sigstore"\nlookaside = "x"'), 'no meaning with require = "sigstore"'),
        (docker('require = "sigstore"'), "keys: names no file"),
        (docker(f"{GPG}keys = []"), "keys: names no file"),
        (docker(f'{GPG}keys = ["a.asc"]'), 'keys[0]: "a.asc" is not an absolute path'),
        (docker('require = "gpg"'), "lookaside: "),
        (docker('require = "gpg"\nlookaside = "/srv"'), "is not an address like https://HOST"),
        (docker('require = "gpg"\nlookaside = "https://a@b/"'), "is not an address like"),
        (docker('require = "gpg"\nlookaside = "file://host/a"'), "is not an address like"),
        (docker('require = "gpg"\nlookaside = "https://a/?b"'), "is not an address like"),
        (docker(f"{GPG}any-tag = 1"), "any-tag: 1 is not true or false"),
        (docker(f"{GPG}nameless = true"), 'nameless: has no meaning with require = "gpg"'),
        (docker(f'{GPG}signed-as = "nginx"'), '"nginx" does not begin with a registry'),
        (docker(f'{GPG}signed-as = "a.b/c:1"'), "is for prefixes without tag and digest"),
        (docker(f'{GPG}signed-as = "a.b/c"', "example.com/a:1"), "is for prefixes without tag"),
        (docker(f'{GPG}signed-as = "a.b/c"', "*.example.com"), "there is no prefix here"),
        (f'[default]\n{GPG}signed-as = "a.b/c"', "there is no prefix here"),
        (docker("", "debian"), "does not begin with a registry (of Docker Hub's images write "),
        (docker("", "example.com/"), "is not REGISTRY, or REGISTRY/REPOSITORY[:TAG|@DIGEST]"),
        (docker("", "example.com/A"), "is not REGISTRY, or REGISTRY/REPOSITORY[:TAG|@DIGEST]"),
        (docker("", "*"), '"*" is not *.DOMAIN'),
        (docker("", "*.example.com/a"), "is not *.DOMAIN"),
        (docker("", "https://example.com"), "does not begin with a registry"),
        (
            docker('require = "digest"') + docker('require = "digest"', "EXAMPLE.com:443"),
            'means the same as docker["example.com"]',
        ),
        ('[oci."srv"]\nrequire = "digest"', "is not an absolute path"),
        ('[oci."/srv/"]\nrequire = "digest"', "is not an absolute path"),
        ('[oci."/srv/../a"]\nrequire = "digest"', "is not an absolute path"),
        (f'[oci."/srv"]\n{GPG}', '"gpg" is for images in registries'),
        ("docker = 3", "docker: 3 is not an object"),
        ("[docker]\na = 3", 'docker.a: "a" does not begin with a registry'),
        ('[docker]\n"a.b" = 3', 'docker["a.b"]: 3 is not an object'),
    ],
)
def test_wrong_policies_are_refused(tmp_path: Path, text: str, expected: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(BadInput, match=re.escape(expected)) as caught:
        read_policy([str(tmp_path)])
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def page(section: str) -> nodes.section:
    document = publish_doctree(PAGE.read_text(), settings_overrides={"halt_level": 2})
    for found in document.findall(nodes.section):
        if found[0].astext() == section:
            return found
    raise AssertionError(section)


def terms(section: str) -> list[str]:
    """The first word that each term of a section explains."""
    items = page(section).findall(nodes.definition_list_item)
    return [next(item.findall(nodes.literal)).astext() for item in items]


def test_the_page_has_every_setting_and_word() -> None:
    assert tuple(terms("SETTINGS")) == KEYS
    assert terms("WHAT MAY BE REQUIRED") == [word.value for word in Require]


def test_the_examples_of_the_page_are_read(tmp_path: Path) -> None:
    (example,) = page("EXAMPLE").findall(nodes.literal_block)
    write(tmp_path, example.astext())
    found = read_policy([str(tmp_path)])
    assert {rule.require for rule in found.rules.values()} >= set(Require) - {Require.DIGEST}
