"""``rkt config``: rkt's schema, with what files and flags come to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rktsd.cli.main import main


def config(capsys: pytest.CaptureFixture[str], top: Path, *words: str) -> tuple[int, str, str]:
    places = [f"--dir={top}/data", f"--system-config={top}/usr", f"--local-config={top}/etc"]
    status = main([*places, "config", *words])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def write(top: Path, path: str, content: object) -> None:
    file = top / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content))


def auth(domain: str, **credentials: str) -> dict[str, object]:
    return {
        "rktVersion": "v1",
        "rktKind": "auth",
        "domains": [domain],
        "type": "basic",
        "credentials": credentials,
    }


def test_nothing_configured(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, out, err = config(capsys, tmp_path, "--pretty-print=false")
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert found["stage0"] == [
        {"rktVersion": "v1", "rktKind": "paths", "data": f"{tmp_path}/data"},
        {"rktVersion": "v1", "rktKind": "stage1", "name": "nspawn"},
    ]
    assert found["rktsd"]["fetch"]["retries"] == 3
    assert out.count("\n") == 1


def test_what_files_come_to(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    write(tmp_path, "usr/auth.d/a.json", auth("one.example", user="a", password="old"))
    write(tmp_path, "etc/auth.d/a.json", auth("one.example", user="a", password="new"))
    token = {**auth("two.example"), "type": "oauth", "credentials": {"token": "t"}}
    write(tmp_path, "etc/auth.d/b.json", token)
    key = {"accessKeyID": "k", "secretAccessKey": "s", "awsRegion": "here"}
    aws = {**auth("three.example"), "type": "aws", "credentials": key}
    write(tmp_path, "etc/auth.d/c.json", aws)
    pair = {"user": "u", "password": "p"}
    registry = {"rktVersion": "v1", "rktKind": "dockerAuth", "registries": ["quay.example"]}
    write(tmp_path, "etc/auth.d/d.json", {**registry, "credentials": pair})
    stage1 = {"rktVersion": "v1", "rktKind": "stage1", "name": "coreos.com/rkt/stage1-fly"}
    write(tmp_path, "etc/stage1.d/s.json", {**stage1, "version": "1.30.0"})
    write(tmp_path, "etc/rktsd.toml", "[fetch]\nretries = 7\n[network]\nforward = false\n")
    status, out, err = config(capsys, tmp_path)
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert found["stage0"] == [
        auth("one.example", user="a", password="new"),
        aws,
        token,
        {**registry, "credentials": pair},
        {"rktVersion": "v1", "rktKind": "paths", "data": f"{tmp_path}/data"},
        {"rktVersion": "v1", "rktKind": "stage1", "name": "fly"},
    ]
    assert found["rktsd"]["fetch"]["retries"] == 7
    assert found["rktsd"]["network"]["forward"] is False


def test_what_is_wrong_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    write(tmp_path, "etc/auth.d/a.json", {"rktVersion": "v1", "rktKind": "paths"})
    assert config(capsys, tmp_path) == (
        254,
        "",
        f'config: {tmp_path}/etc/auth.d/a.json: rktKind: "paths" is no kind of configuration for'
        " auth.d\n",
    )
    assert config(capsys, tmp_path, "x")[2] == 'config: unexpected argument "x"\n'


def entry(kind: str, **fields: object) -> dict[str, object]:
    return {"rktVersion": "v1", "rktKind": kind, **fields}


PAIR = {"user": "foo", "password": "bar"}
BASIC = entry("auth", domains=["one.example"], type="basic", credentials=PAIR)
OAUTH = entry("auth", domains=["one.example"], type="oauth", credentials={"token": "t"})
DOCKER = entry("dockerAuth", registries=["docker.example"], credentials=PAIR)
NEW_PAIR = {**PAIR, "password": "new"}


def stage1(name: str, **fields: str) -> dict[str, object]:
    return entry("stage1", name=f"coreos.com/rkt/stage1-{name}", version="1.30.0", **fields)


@pytest.mark.row("config/Config")
@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"etc/auth.d/a.json": BASIC}, [BASIC]),
        ({"etc/auth.d/a.json": OAUTH}, [OAUTH]),
        ({"etc/auth.d/a.json": DOCKER}, [DOCKER]),
        ({"etc/paths.d/p.json": entry("paths", data="/srv/rkt")}, {"data": "/srv/rkt"}),
        (
            {
                "usr/paths.d/p.json": entry("paths", data="/from/the/system"),
                "etc/paths.d/p.json": entry("paths", data="/srv/rkt"),
                "user/paths.d/p.json": entry("paths"),
                "user/auth.d/a.json": {**DOCKER, "credentials": NEW_PAIR},
                "etc/auth.d/a.json": DOCKER,
                "etc/auth.d/b.json": BASIC,
            },
            [BASIC, {**DOCKER, "credentials": NEW_PAIR}, entry("paths", data="/srv/rkt")],
        ),
        ({"etc/stage1.d/s.json": stage1("fly")}, {"name": "fly"}),
        ({"etc/stage1.d/s.json": entry("stage1", location="/x/stage1-fly.aci")}, {"name": "fly"}),
        (
            {
                "etc/stage1.d/s.json": stage1("fly", location="/x/stage1-fly.aci"),
                "user/stage1.d/s.json": stage1("coreos"),
            },
            {"name": "nspawn"},
        ),
    ],
)
def test_the_cases_of_rkt(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    files: dict[str, object],
    expected: list[dict[str, object]] | dict[str, str],
) -> None:
    for path, content in files.items():
        write(tmp_path, path, content)
    (tmp_path / "user").mkdir(exist_ok=True)
    places = ("system", "usr"), ("local", "etc"), ("user", "user")
    status = main([*(f"--{flag}-config={tmp_path}/{place}" for flag, place in places), "config"])
    found = json.loads(capsys.readouterr().out)["stage0"]
    assert status == 0
    if isinstance(expected, dict):
        told = {key: value for each in found for key, value in each.items()}
        assert expected.items() <= told.items()
    else:
        assert [each for each in found if each in expected] == expected


def test_a_flag_goes_before_paths(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    write(tmp_path, "etc/paths.d/p.json", entry("paths", data="/srv/rkt"))
    status, out, _ = config(capsys, tmp_path)
    assert status == 0
    assert entry("paths", data=f"{tmp_path}/data") in json.loads(out)["stage0"]


def test_links_of_the_data_directory_are_resolved(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    write(tmp_path, "etc/paths.d/p.json", entry("paths", data=f"{tmp_path}/link"))
    assert main([f"--local-config={tmp_path}/etc", "config"]) == 0
    assert f'"data": "{tmp_path}/real"' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (entry("paths", data="srv/rkt"), 'data: "srv/rkt" is not an absolute path'),
        (entry("paths", data=""), "data: empty"),
        (entry("paths", data=7), "data: 7 is not a string"),
        (entry("path"), 'rktKind: "path" is no kind of configuration for paths.d'),
        ({**entry("paths"), "rktVersion": "v2"}, 'rktVersion: "v2" is not "v1", the only version'),
        (
            entry("paths", **{"stage1-images": "/usr/lib/rkt/stage1-images"}),
            "stage1-images: stage1 is no image here, so no directory has images of it (take the"
            " field out; files in stage1.d choose what runs the apps)",
        ),
    ],
)
def test_wrong_paths(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: object, message: str
) -> None:
    write(tmp_path, "etc/paths.d/p.json", content)
    expected = f"{tmp_path}/etc/paths.d/p.json: {message}\n"
    assert config(capsys, tmp_path) == (254, "", f"config: {expected}")
    assert main([f"--local-config={tmp_path}/etc", "list"]) == 254
    assert capsys.readouterr().err == f"list: {expected}"


def test_paths_that_are_set_twice(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    write(tmp_path, "etc/paths.d/a.json", entry("paths", data="/a"))
    write(tmp_path, "etc/paths.d/b.json", entry("paths", data="/a"))
    place = f"{tmp_path}/etc/paths.d"
    expected = f'config: {place}/b.json: "data" is set by {place}/a.json already\n'
    assert config(capsys, tmp_path) == (254, "", expected)
