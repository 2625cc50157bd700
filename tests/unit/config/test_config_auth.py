"""Credentials in auth.d: what is read, what overrides what, and what is refused."""

import base64
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from rktsd.config.auth import Auth, Aws, Basic, OAuth, read_auth
from rktsd.errors import BadInput

BASIC = {"user": "me", "password": "söcret"}


def write(directory: Path, name: str, **fields: Any) -> Path:
    """A file of auth.d; fields that are None are left out."""
    found = {"rktKind": "auth", "rktVersion": "v1", **fields}
    path = directory / "auth.d" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({key: value for key, value in found.items() if value is not None}))
    return path


def basic(directory: Path, name: str, domain: str, user: str = "me") -> Path:
    credentials = {"user": user, "password": "pw"}
    return write(directory, name, domains=[domain], type="basic", credentials=credentials)


def read(*directories: Path) -> Auth:
    return read_auth([str(each) for each in directories])


def test_the_three_types_and_registries(tmp_path: Path) -> None:
    write(tmp_path, "a.json", domains=["a.example", "b.example"], type="basic", credentials=BASIC)
    write(tmp_path, "o.json", domains=["o.example"], type="oauth", credentials={"token": "sesame"})
    aws = {"accessKeyID": "ID", "secretAccessKey": "KEY"}
    write(tmp_path, "s.json", domains=["s3.amazonaws.com"], type="aws", credentials=aws)
    region = {**aws, "awsRegion": "eu-west-1"}
    write(tmp_path, "t.json", domains=["t.example:9000"], type="aws", credentials=region)
    docker = {"registries": ["index.docker.io"], "credentials": BASIC}
    write(tmp_path, "d.json", rktKind="dockerAuth", **docker)
    auth = read(tmp_path)
    assert auth.hosts == {
        "a.example": Basic("me", "söcret"),
        "b.example": Basic("me", "söcret"),
        "o.example": OAuth("sesame"),
        "s3.amazonaws.com": Aws("ID", "KEY", None),
        "t.example:9000": Aws("ID", "KEY", "eu-west-1"),
    }
    assert auth.registries == {"index.docker.io": Basic("me", "söcret")}


def test_headers() -> None:
    scheme, _, encoded = Basic("me", "sö:cret").header().partition(" ")
    assert (scheme, base64.b64decode(encoded).decode()) == ("Basic", "me:sö:cret")
    assert OAuth("sesame").header() == "Bearer sesame"


def test_hosts_match_as_a_whole_and_with_their_port(tmp_path: Path) -> None:
    basic(tmp_path, "a.json", "Example.com")
    basic(tmp_path, "b.json", "other.example:443")
    basic(tmp_path, "c.json", "third.example:8443")
    auth = read(tmp_path)
    for known in ("example.com", "EXAMPLE.com:443", "other.example", "third.example:8443"):
        assert auth.for_host(known), known
    for stranger in (
        "www.example.com", "example.com:8443", "com", "example.com.evil.example",
        "third.example", "notexample.com",
    ):  # fmt: skip
        assert auth.for_host(stranger) is None, stranger


def test_docker_hub_has_several_names(tmp_path: Path) -> None:
    write(
        tmp_path, "d.json", rktKind="dockerAuth", registries=["index.docker.io"], credentials=BASIC
    )
    auth = read(tmp_path)
    assert auth.for_registry("registry-1.docker.io") == auth.for_registry("docker.io") is not None
    assert auth.for_registry("quay.io") is None
    assert auth.for_host("index.docker.io") is None


def test_a_later_directory_overrides_by_domain(tmp_path: Path) -> None:
    system, local = tmp_path / "usr", tmp_path / "etc"
    basic(system, "a.json", "a.example", "system")
    basic(system, "b.json", "b.example", "system")
    basic(local, "z.json", "A.example", "local")
    hosts = read(system, local, tmp_path / "absent").hosts
    assert {name: getattr(value, "user", "") for name, value in hosts.items()} == {
        "a.example": "local",
        "b.example": "system",
    }


@pytest.mark.row("auth/Ignore")
def test_only_regular_json_files_count(tmp_path: Path) -> None:
    path = basic(tmp_path, "a.json", "a.example")
    elsewhere = tmp_path / "elsewhere.json"
    elsewhere.write_text("nonsense")
    os.symlink(elsewhere, path.parent / "link.json")
    (path.parent / "notes.txt").write_text("nonsense")
    (path.parent / "a.json.bak").write_text("nonsense")
    (path.parent / "dir.json").mkdir()
    (path.parent / "dir.json" / "b.json").write_text("nonsense")
    os.mkfifo(path.parent / "fifo.json")
    assert list(read(tmp_path).hosts) == ["a.example"]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "kind": ({"rktKind": "paths"}, r'rktKind: "paths" is no kind of configuration for auth\.d'),
    "no kind": ({"rktKind": None}, "rktKind: missing"),
    "version": ({"rktVersion": "v2"}, r'rktVersion: "v2" is not "v1", the only version'),
    "no version": ({"rktVersion": None}, "rktVersion: missing"),
    "type": ({"type": "digest"}, 'type: "digest" is not basic or oauth or aws'),
    "no type": ({"type": None}, "type: missing"),
    "no domains": ({"domains": []}, "domains: names no host"),
    "absent domains": ({"domains": None}, "domains: names no host"),
    "empty domain": ({"domains": [""]}, r"domains\[0\]: empty"),
    "url": ({"domains": ["https://a.example/"]}, "is not a host, or host and port"),
    "domain type": ({"domains": [1]}, r"domains\[0\]: 1 is not a string"),
    "twice in one": ({"domains": ["a.example", "A.example"]}, '"a.example" is set by .* already'),
    "no credentials": ({"credentials": None}, "credentials: null is not an object|missing"),
    "no user": ({"credentials": {"password": "p"}}, "credentials.user: missing"),
    "no password": (
        {"credentials": {"user": "u", "password": ""}},
        "credentials.password: missing",
    ),
    "colon": ({"credentials": {"user": "u:v", "password": "p"}}, "credentials.user: holds a colon"),
    "newline": (
        {"credentials": {"user": "u", "password": "hidden\r\nX: y"}},
        "credentials.password: holds characters that cannot be sent",
    ),
    "token": ({"type": "oauth", "credentials": {"token": 12345}}, "token: not a string"),
    "aws": ({"type": "aws", "credentials": {"accessKeyID": "x"}}, "secretAccessKey: missing"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_files_are_refused_by_name(name: str, tmp_path: Path) -> None:
    fields, expected = WRONG[name]
    path = write(
        tmp_path,
        "a.json",
        **{"domains": ["a.example"], "type": "basic", "credentials": BASIC, **fields},
    )
    with pytest.raises(BadInput) as caught:
        read(tmp_path)
    assert str(caught.value).startswith(f"{path}: ")
    assert re.search(expected, str(caught.value))
    assert caught.value.exit_code == 254
    assert not re.search("söcret|hidden|12345", str(caught.value))


def test_broken_json_is_refused_by_name(tmp_path: Path) -> None:
    path = basic(tmp_path, "a.json", "a.example")
    path.write_text('{"rktKind": "auth",')
    with pytest.raises(BadInput, match=r"a\.json: line 1, column .*: not JSON"):
        read(tmp_path)


def test_a_domain_twice_in_one_directory_names_both_files(tmp_path: Path) -> None:
    first = basic(tmp_path, "a.json", "a.example")
    second = basic(tmp_path, "b.json", "a.example")
    with pytest.raises(BadInput) as caught:
        read(tmp_path)
    assert str(caught.value) == f'{second}: "a.example" is set by {first} already'


def test_a_domain_and_a_registry_may_have_one_name(tmp_path: Path) -> None:
    basic(tmp_path, "a.json", "a.example", "web")
    docker = {"registries": ["a.example"], "credentials": BASIC}
    write(tmp_path, "b.json", rktKind="dockerAuth", **docker)
    auth = read(tmp_path)
    assert auth.for_host("a.example") == Basic("web", "pw")
    assert auth.for_registry("a.example") == Basic("me", "söcret")


def test_the_example_of_the_manual_is_read(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "man" / "rktsd-images.7.rst").read_text()
    found = re.search(r'^    \{\n        "rktKind".*?^    \}', text, re.M | re.S)
    assert found
    path = write(tmp_path, "example.json")
    path.write_text(found[0])
    assert set(read(tmp_path).hosts) == {"example.com", "images.example.com:8443"}
