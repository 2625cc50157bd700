"""``rkt generate``: what comes out is a pod file that says the same, and what it lacks is told."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from rktsd.cli.main import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rkt(capsys: Capture, top: Path, *words: str) -> tuple[int, str, str]:
    status = main([f"--dir={top}/data", f"--local-config={top}/etc", *words])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


# A command line, and what the pod file says of it.
LINES = [
    ("example.com/web:1.2", {"app": [{"name": "web", "image": "example.com/web:1.2"}]}),
    (
        "-d --replace --port=http:127.0.0.1:8080 --net=backend docker://r.example:5000/team/my_app:v3"
        " --memory=256Mi --cpu=500m --user=33 --readonly-rootfs -- -v a",
        {
            "network": ["backend"],
            "port": [{"name": "http", "host-port": 8080, "host-ip": "127.0.0.1"}],
            "app": [
                {
                    "name": "my-app",
                    "image": "docker://r.example:5000/team/my_app:v3",
                    "args": ["-v", "a"],
                    "user": "33",
                    "memory": "256Mi",
                    "cpu": "500m",
                    "read-only-root": True,
                }
            ],
        },
    ),
    (
        "--volume=data,kind=named,source=pgdata --volume=t,kind=tmpfs,size=64Ki --mount"
        " volume=data,target=/d --set-env=A=1 --set-env=B=2 example.com/a --environment=B=3"
        " --mount=volume=t,target=/t --- example.com/b --exec=/b --caps-remove=chown"
        " --output=tty --stop-signal=INT --rlimit=nofile=10:20 --no-healthcheck",
        {
            "volume": [
                {"name": "data", "kind": "named", "source": "pgdata"},
                {"name": "t", "kind": "tmpfs", "size": 65536},
            ],
            "app": [
                {
                    "name": "a",
                    "image": "example.com/a",
                    "environment": {"A": "1", "B": "3"},
                    "mounts": ["t:/t", "data:/d"],
                },
                {
                    "name": "b",
                    "image": "example.com/b",
                    "exec": ["/b"],
                    "environment": {"A": "1", "B": "2"},
                    "capabilities-remove": ["CAP_CHOWN"],
                    "rlimits": {"nofile": "10:20"},
                    "stop-signal": "SIGINT",
                    "output": "tty",
                    "health": False,
                    "mounts": ["data:/d"],
                },
            ],
        },
    ),
    (
        "--strict --insecure-options=image --sysctl=net.core.somaxconn=9 --ipc=parent --hostname=h"
        " --pull-policy=update --hosts-entry=10.0.0.5=db --shm-size=64Ki --stage1-name=fly"
        " example.com/a --seccomp=mode=retain,errno=EPERM,@appc.io/all --name=other",
        {
            "strict": True,
            "insecure": ["image"],
            "sysctl": {"net.core.somaxconn": "9"},
            "ipc": "parent",
            "hostname": "h",
            "pull-policy": "update",
            "hosts": ["10.0.0.5=db"],
            "shm-size": 65536,
            "stage1": "fly",
            "app": [
                {
                    "name": "other",
                    "image": "example.com/a",
                    "seccomp-retain": ["@appc.io/all"],
                    "seccomp-errno": "EPERM",
                }
            ],
        },
    ),
]


@pytest.mark.parametrize(("line", "expected"), LINES)
def test_a_command_line(capsys: Capture, top: Path, line: str, expected: object) -> None:
    status, out, err = rkt(capsys, top, "generate", "run", *line.split())
    assert (status, err) == (0, "")
    assert tomllib.loads(out) == expected
    (top / "pod.toml").write_text(out)
    # What this machine lacks is another thing.
    assert rkt(capsys, top, "pod", "check", "./pod.toml")[:2] == (0, "")
    assert rkt(capsys, top, "generate", "run", *line.split())[1] == out


def test_what_a_run_alone_can_have(capsys: Capture, top: Path) -> None:
    words = ["--rm", "--name=web", "example.com/a", "--user-label=a=b"]
    status, out, err = rkt(capsys, top, "generate", "run", *words)
    assert status == 0
    assert err == (
        "run: not carried over: --rm: rkt gc removes ended pods\n"
        "run: not carried over: --user-label: a pod file has no such field\n"
    )
    assert out.startswith("# Pod web: a file for /etc/rkt/pods, see rkt-pod(5).\n# Not carried")
    words = ["--strict", f"--output={top}", *words]
    status, out, err = rkt(capsys, top, "generate", "run", *words)
    assert (status, out) == (254, "")
    assert err.endswith("run: not everything can be carried over, and --strict is given\n")
    assert os.listdir(top) == []


def test_a_file(capsys: Capture, top: Path) -> None:
    (top / "my.aci").write_text("")
    words = ["generate", "run", "--output=./web.toml"]
    assert rkt(capsys, top, *words, "my.aci") == (0, "./web.toml\n", "")
    first = (top / "web.toml").read_text()
    # The pod is started from elsewhere.
    assert f'image = "{top}/my.aci"' in first
    assert rkt(capsys, top, *words, "example.com/a") == (
        254,
        "",
        "run: ./web.toml: exists (--overwrite replaces it)\n",
    )
    assert (top / "web.toml").read_text() == first
    for flag in ("--force", "--overwrite"):
        assert rkt(capsys, top, *words, flag, "example.com/a")[0] == 0
        assert "example.com/a" in (top / "web.toml").read_text()
        (top / "web.toml").write_text(first)
    status, out, _ = rkt(
        capsys, top, "generate", "run", "-o", str(top), "--name=b", "example.com/b"
    )
    assert (status, out) == (0, f"{top}/b.toml\n")
    assert sorted(os.listdir(top)) == ["b.toml", "my.aci", "web.toml"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "must provide at least one image"),
        (["--pod-manifest=a.json"], "--pod-manifest: a pod manifest is a pod file already"
         " (copy it to /etc/rkt/pods/POD.json)"),
        (["-o", "/x/web", "a.example/b"], "--output: /x/web: the file is to be called POD.toml"),
        (["-o", "/x/web@.toml", "a.example/b"],
         "--output: /x/web@.toml: the pod is no template (templates are POD@.toml)"),
        (["-o", "/nowhere/web.toml", "a.example/b"],
         "cannot write /nowhere/web.toml: No such file or directory"),
        (["-o", "/", "a.example/b"], "--output: / is a directory (give the pod a --name)"),
        (["--name=Web", "a.example/b"], '--name: "Web" is not an AC Name (lower-case letters,'
         " digits, single inner dashes)"),
        (["a.example/b", "c.example/b"], 'app name "b" is used twice (give one of them --name)'),
        (["a.example/b", "--mount=volume=x,target=/x"],
         "dangling mount point /x: volume x not found"),
        (["docker://UP"], "docker image name 'UP': "),
    ],
)  # fmt: skip
def test_wrong_command_lines(capsys: Capture, top: Path, words: list[str], message: str) -> None:
    status, out, err = rkt(capsys, top, "generate", "run", *words)
    assert (status, out) == (254, "")
    assert err.startswith(f"run: {message}")
    assert err.count("\n") == 1
