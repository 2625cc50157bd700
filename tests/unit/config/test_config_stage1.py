"""Names of stage1: which flavor they mean, on the command line and in stage1.d."""

import json
from pathlib import Path

import pytest

from rktsd.config.stage1 import located, named, read_stage1
from rktsd.errors import RktError


@pytest.mark.parametrize(
    ("name", "flavor"),
    [
        ("fly", "fly"),
        ("nspawn", "nspawn"),
        ("coreos.com/rkt/stage1-fly", "fly"),
        ("coreos.com/rkt/stage1-fly:1.30.0", "fly"),
        ("coreos.com/rkt/stage1-coreos:1.30.0", "nspawn"),
        ("coreos.com/rkt/stage1-coreos,version=1.30.0", "nspawn"),
        ("coreos.com/rkt/stage1-host", "nspawn"),
        ("coreos.com/rkt/stage1-src", "nspawn"),
        ("rktsd/stage1-nspawn", "nspawn"),
    ],
)
def test_names(name: str, flavor: str) -> None:
    assert named(name, "--stage1-name") == flavor


@pytest.mark.parametrize(
    ("location", "flavor"),
    [
        ("/usr/lib/rkt/stage1-images/stage1-fly.aci", "fly"),
        ("stage1-coreos.aci", "nspawn"),
        ("https://example.com/a/stage1-fly-1.30.0-linux-amd64.aci", "fly"),
        ("file:///x/stage1-host.aci", "nspawn"),
        ("docker://example.com/stage1-fly:1.30.0", "fly"),
    ],
)
def test_places(location: str, flavor: str) -> None:
    assert located(location, "--stage1-path") == flavor


@pytest.mark.parametrize("name", ["", "x", "coreos.com/rkt/stage1-", "stage1-fly", "flying", "FLY"])
def test_names_of_nothing(name: str) -> None:
    with pytest.raises(RktError, match=r"^--stage1-name: .*: stage1 is no image here, but one of"):
        named(name, "--stage1-name")


@pytest.mark.parametrize("location", ["", "/", "/x/my.aci", "/x/stage1-mine.aci", "fly.aci"])
def test_places_of_nothing(location: str) -> None:
    with pytest.raises(RktError, match=r"^--stage1-path: .*: stage1 is no image here, but one of"):
        located(location, "--stage1-path")


def test_no_virtual_machines() -> None:
    for read, name in ((named, "coreos.com/rkt/stage1-kvm"), (located, "/x/stage1-kvm.aci")):
        with pytest.raises(RktError, match="no pod runs in a virtual machine here"):
            read(name, "x")


def _write(directory: Path, file: str, **fields: str) -> str:
    path = directory / "stage1.d" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"rktKind": "stage1", "rktVersion": "v1", **fields}))
    return str(path)


def test_files(tmp_path: Path) -> None:
    system, local = tmp_path / "system", tmp_path / "local"
    both = [str(system), str(local)]
    assert read_stage1(both) == "nspawn"
    _write(system, "a.json", location="/usr/lib/rkt/stage1-images/stage1-fly.aci")
    assert read_stage1(both) == "fly"
    _write(local, "b.json", name="coreos.com/rkt/stage1-coreos", version="1.30.0")
    assert read_stage1(both) == "nspawn"
    _write(local, "b.json", location="/x/stage1-fly.aci")
    assert read_stage1([str(local)]) == "fly"
    _write(local, "c.txt", name="nonsense")
    assert read_stage1(both) == "fly"


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"name": "coreos.com/rkt/stage1-fly"}, "name and version go together"),
        ({"version": "1"}, "name and version go together"),
        (
            {"name": "example.com/mine", "version": "1"},
            "name: example.com/mine: stage1 is no image",
        ),
        ({"location": "stage1-fly.aci"}, "location: stage1-fly.aci: neither an absolute path nor"),
        ({"location": "/x/mine.aci"}, "location: /x/mine.aci: stage1 is no image"),
        ({"rktKind": "auth"}, "is no kind of configuration for stage1.d"),
        ({"rktVersion": "v2"}, "the only version"),
    ],
)
def test_files_that_are_wrong(tmp_path: Path, fields: dict[str, str], complaint: str) -> None:
    path = _write(tmp_path, "a.json", **fields)
    with pytest.raises(RktError) as caught:
        read_stage1([str(tmp_path)])
    assert str(caught.value).startswith(path)
    assert complaint in str(caught.value)


def test_what_one_directory_says_twice(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        _write(tmp_path, name, location="/x/stage1-fly.aci")
    with pytest.raises(RktError, match=r"b.json: .* is set by .*a.json already"):
        read_stage1([str(tmp_path)])
