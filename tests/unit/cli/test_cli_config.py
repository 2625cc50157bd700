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
