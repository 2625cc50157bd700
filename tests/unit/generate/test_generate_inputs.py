"""What is wrong with a description of a pod is said in one line; values mean what they meant."""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path
from typing import cast

import pytest

from rktsd.cli.main import main
from rktsd.generate import podman
from rktsd.generate.unitfile import words

Capture = pytest.CaptureFixture[str]

IMAGE = "[Container]\nImage=a.example/b\n"
POD = "kind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: a, image: b%s}]%s}\n"


def generate(top: Path, kind: str, name: str, text: str | bytes, *flags: str) -> int:
    """Write the text to the file and generate from it."""
    (top / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return main([f"--dir={top}/data", "generate", kind, name, *flags])


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "name", "text", "message"),
    [
        ("quadlet", "a.container", "", "a.container: Container.Image: missing"),
        ("quadlet", "a.container", "Image=b", 'a.container: line 1: "Image=b" is before any'
         " [SECTION]"),
        ("quadlet", "a.container", "[Container]\nImage", 'a.container: line 2: "Image" is not'
         " KEY=VALUE"),
        ("quadlet", "a.container", b"[Container]\n\n\xff", "a.container: line 3: not UTF-8"),
        ("quadlet", "a.container", "[Container]\nImage=a\0", "a.container: line 2: a NUL"),
        ("quadlet", "a.container", "[Container]\nImage=UP/x", 'a.container: line 2: Image: docker'
         " image name 'UP/x': 'UP/x' is not the name of a repository"),
        ("quadlet", "a.container", f"[Container]\nImage={'0' * 64}", "a.container: line 2: Image:"
         f' "{"0" * 55}..." is an ID of an image in another store'),
        ("quadlet", "a.container", "[Container]\nImage=b.build", "a.container: line 2: Image: rkt"
         " does not build images (build it, and write its name)"),
        ("quadlet", "a.container", "[Container]\nImage=b.image", "cannot read b.image: No such file"
         " or directory"),
        ("quadlet", "a.container", f"{IMAGE}Pod=b", 'a.container: line 3: Pod: "b" is not the name'
         " of a .pod file"),
        ("quadlet", "a.container", f"{IMAGE}Pod=../b.pod", 'a.container: line 3: Pod: "../b.pod" is'
         " not the name of a .pod file"),
        ("quadlet", "a.container", f"{IMAGE}Pod=b.pod", "cannot read b.pod: No such file or"
         " directory"),
        ("quadlet", "a.pod", "[Pod]", "a.pod: no .container beside it says Pod=a.pod"),
        ("quadlet", "a.pod", "[Container]", "a.pod: no section [Pod]"),
        ("quadlet", "a.kube", "", "a.kube: neither a .container nor a .pod (rkt generate kube reads"
         " the YAML that it names)"),
        ("quadlet", "_.container", IMAGE, '_.container: "_" holds nothing that an AC Name may'
         " consist of"),
        ("kube", "a.yaml", "", "a.yaml: there is no pod in it"),
        ("kube", "a.yaml", "a: [", "a.yaml: line 2: "),
        ("kube", "a.yaml", b"\xff", "a.yaml: line 1: not UTF-8"),
        ("kube", "a.yaml", "- a", 'a.yaml: ["a"] is not an object'),
        ("kube", "a.yaml", "&a [*a]", "a.yaml: nested more than 64 levels deep"),
        ("kube", "a.yaml", "1: 2", "a.yaml: the key 1 is not a string"),
        ("kube", "a.yaml", "kind: Pod\na: &a [*a]", "a.yaml: nested more than 64 levels deep"),
        ("kube", "a.yaml", "a: &a [x,x,x,x,x,x,x,x]\n" + "".join(
            f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 8)}]\n"
            for n in range(8)), "a.yaml: more than 200000 values"),
        ("kube", "a.yaml", "kind: !!python/name:os.system x", "a.yaml: line 1: could not determine"
         " a constructor for the tag 'tag:yaml.org,2002:python/name:os.system'"),
        ("kube", "a.yaml", "a: b", "a.yaml: kind: missing"),
        ("kube", "a.yaml", "kind: Service\nmetadata: {name: a}", "a.yaml: there is no pod in it"),
        ("kube", "a.yaml", "kind: Pod\nmetadata: {name: a}", "a.yaml: spec: missing"),
        ("kube", "a.yaml", POD % ("", ", volumes: 1"), "a.yaml: spec.volumes: 1 is not a list"),
        ("kube", "a.yaml", POD % (", volumeMounts: [{name: x, mountPath: /x}]", ""),
         "a.yaml: spec.containers[0].volumeMounts[0].name: the pod has no volume x"),
        ("kube", "a.yaml", POD % (", ports: [{containerPort: http}]", ""), "a.yaml:"
         ' spec.containers[0].ports[0].containerPort: "http" is not a number (1 to 65535)'),
        ("kube", "a.yaml", POD % ("}, {name: a, image: c", ""), "a.yaml: spec.containers[1].image:"
         " a second app would be called a"),
    ],
)  # fmt: skip
def test_broken_descriptions(
    capsys: Capture, top: Path, kind: str, name: str, text: str | bytes, message: str
) -> None:
    assert generate(top, kind, name, text) == 254
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"{kind}: {message}")
    assert captured.err.count("\n") == 1


def test_without_a_reader_of_yaml(
    capsys: Capture, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(cast("dict[str, object]", sys.modules), "yaml", None)
    assert generate(top, "kube", "a.yaml", POD % ("", "")) == 254
    message = "kube: cannot read a.yaml: YAML needs the package python3-yaml"
    assert capsys.readouterr().err == f"{message} (apt install python3-yaml)\n"


def test_what_others_may_not_read_stays_so(top: Path, capsys: Capture) -> None:
    secret = top / "secret.env"
    secret.write_text("PASSWORD=x\n")
    for mode in (0o600, 0o644):
        secret.chmod(mode)
        text = f"{IMAGE}EnvironmentFile=secret.env\n"
        assert generate(top, "quadlet", "a.container", text, "-o", "a.toml", "--force") == 0
        assert os.stat("a.toml").st_mode & 0o777 == mode
        line = ["generate", "run", "--set-env-file=secret.env", "-o", "a.toml", "--force"]
        assert main([*line, "a.example/b"]) == 0
        assert os.stat("a.toml").st_mode & 0o777 == mode
    capsys.readouterr()


def test_several_pods_need_a_directory(capsys: Capture, top: Path) -> None:
    text = "---\n".join(POD.replace("web", name) % ("", "") for name in ("one", "two"))
    assert generate(top, "kube", "a.yaml", text) == 254
    message = "kube: more than one pod: one, two (give a directory: --output=DIR)\n"
    assert capsys.readouterr().err == message
    (top / "two.toml").write_text("mine")
    assert generate(top, "kube", "a.yaml", text, "-o.") == 254
    # All of them or none.
    assert sorted(os.listdir(top)) == ["a.yaml", "two.toml"]
    assert generate(top, "kube", "a.yaml", text, "-o.", "--overwrite") == 0
    assert sorted(os.listdir(top)) == ["a.yaml", "one.toml", "two.toml"]
    assert generate(top, "kube", "a.yaml", f"{text}---\n{text}", "-o.", "--force") == 254
    assert "two of the pods would have the same file" in capsys.readouterr().err


def test_a_bad_variable_among_many(capsys: Capture, top: Path) -> None:
    (top / "env").write_text("\n".join(f"V{number}=x" for number in range(300)) + "\n9=y\nW\n")
    assert generate(top, "quadlet", "a.container", f"{IMAGE}EnvironmentFile=env\n") == 0
    captured = capsys.readouterr()
    assert len(tomllib.loads(captured.out)["app"][0]["environment"]) == 300
    assert [line.split(": ")[4:6] for line in captured.err.splitlines()] == [
        ["EnvironmentFile", '"W"'],
        ["EnvironmentFile", '"9"'],
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a  b\tc", ["a", "b", "c"]),
        ("'a b' \"c d\" e", ["a b", "c d", "e"]),
        ("a'b'\"c\" ''", ["abc", ""]),
        (r"a\x41\101\u00e9\s\n\q", ["aAAé \n\\q"]),
        (r"'it\'s' \\", ["it's", "\\"]),
        (r"\ud800 \000", [r"\ud800", r"\000"]),
        ("", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@pytest.mark.parametrize("text", ["'a", 'b "c', "\"a'"])
def test_open_quotes(text: str) -> None:
    with pytest.raises(ValueError, match="a quote that is not closed"):
        words(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8080:80", ["8080:80"]),
        ("127.0.0.1:8080:80/udp", ["127.0.0.1:8080:80/udp"]),
        ("[::1]:80:80/tcp", ["[::1]:80:80"]),
        ("80-82:90-92", ["80:90", "81:91", "82:92"]),
    ],
)
def test_ports(text: str, expected: list[str]) -> None:
    assert [podman.port_word(each) for each in podman.ports(text)] == expected


@pytest.mark.parametrize(
    "text",
    ["80", "127.0.0.1::80", "a:80", "80:80/sctp", "0:80", "70000:1", "1-3:1-2", "1-999:1-999", ""],
)
def test_ports_that_cannot_be(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        list(podman.ports(text))


@pytest.mark.parametrize(
    ("text", "expected"), [("30s", 30), ("1m30s", 90), ("500ms", 0.5), ("2h", 7200), ("5", 5)]
)
def test_times(text: str, expected: float) -> None:
    assert podman.seconds(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("20g", "20Gi"), ("512M", "512Mi"), ("64kb", "64Ki"), ("100", "100"), ("1.5GiB", "1.5Gi")],
)
def test_sizes(text: str, expected: str) -> None:
    assert podman.size(text) == expected


def test_options() -> None:
    arguments = ["-p", "80:80", "--env=A=b c", "--init", "--gpus", "all", "--privileged", "--rm=x"]
    assert list(podman.options(arguments)) == [
        ("PublishPort", "80:80"),
        ("Environment", '"A=b c"'),
        ("RunInit", "true"),
        ("", "--gpus all"),
        ("", "--privileged"),
        ("", "--rm=x"),
    ]
