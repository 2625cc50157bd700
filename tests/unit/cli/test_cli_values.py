"""Volumes, mounts, ports, environments and isolators as flags spell them."""

from __future__ import annotations

from pathlib import Path

import pytest

from rktsd.appc.types import Isolator, Mount, Port, PublishedPort, Volume
from rktsd.cli import values
from rktsd.cli.arguments import span
from rktsd.cli.parse import Values
from rktsd.errors import RktError
from rktsd.pods.volumekinds import VolumeKind


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data,kind=host,source=/srv", Volume("data", "host", source="/srv")),
        (
            "data,kind=host,source=/a%2Cb+c,readOnly=true,recursive=false",
            Volume("data", "host", source="/a,b c", read_only=True, recursive=False),
        ),
        (
            "tmp,kind=empty,mode=0700,uid=1,gid=2",
            Volume("tmp", "empty", mode=0o700, uid=1, gid=2),
        ),
    ],
)
def test_volume(text: str, expected: Volume) -> None:
    assert values.volume(text) == (expected, None)


@pytest.mark.parametrize(
    ("text", "volume", "kind"),
    [
        ("data,kind=named,source=pg", Volume("data", "empty"), VolumeKind("named", source="pg")),
        (
            "cache,kind=tmpfs,size=64Mi,mode=1777,uid=3",
            Volume("cache", "empty", mode=0o1777, uid=3),
            VolumeKind("tmpfs", size=64 << 20),
        ),
        ("cache,kind=tmpfs", Volume("cache", "empty"), VolumeKind("tmpfs")),
    ],
)
def test_volume_beyond_appc(text: str, volume: Volume, kind: VolumeKind) -> None:
    assert values.volume(text) == (volume, kind)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data", "--volume data: kind: missing"),
        ("data,kind=host", "--volume data: source: missing"),
        ("data,kind=host,source=srv", '--volume data: source: "srv" is not an absolute path'),
        (
            "data,kind=host,source=/a,mode=0700",
            "--volume data: mode: not for a volume of kind host",
        ),
        ("data,kind=empty,source=/a", "--volume data: source: not for a volume of kind empty"),
        ("data,kind=disk", '--volume data: kind: "disk" is not host'),
        ("data,kind=empty,color=1", '--volume data: unknown parameter "color"'),
        ("data,kind=empty,size=1", "--volume data: size: only for a volume of kind tmpfs"),
        ("data,kind=named", "--volume data: source: missing"),
        ("data,kind=named,source=/srv", '--volume data: source: "/srv" is not an AC Name'),
        ("data,kind=named,source=pg,size=1", "--volume data: size: not for a volume of kind named"),
        ("data,kind=tmpfs,source=pg", "--volume data: source: not for a volume of kind tmpfs"),
        ("data,kind=tmpfs,size=9", "--volume data: size: less than 4096 bytes"),
        ("data,kind=tmpfs,size=much", "--volume data: size: "),
        ("data,kind=empty,readOnly=yes", '--volume data: readOnly: "yes" is not true or false'),
        (
            "data,kind=empty,uid=root",
            'invalid argument "root" for --volume data: uid: not a number',
        ),
        ("data,kind", '--volume: "kind" is not of the form KEY=VALUE'),
        ("Data,kind=empty", '--volume Data: name: "Data" is not'),
    ],
)
def test_volume_refused(text: str, message: str) -> None:
    with pytest.raises(RktError) as caught:
        values.volume(text)
    assert str(caught.value).startswith(message)


def test_duplicate_volume() -> None:
    with pytest.raises(RktError, match=r'^duplicate volume name "a"$'):
        values.volumes(["a,kind=empty", "a,kind=empty"])


def test_mount() -> None:
    assert values.mount("volume=data,target=/var/lib") == Mount("data", "/var/lib")


@pytest.mark.parametrize("text", ["volume=a", "target=/a", "volume=a,target=b", "volume=a,path=/b"])
def test_mount_refused(text: str) -> None:
    with pytest.raises(RktError, match=r"^--mount: "):
        values.mount(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http:8080", PublishedPort("http", 8080)),
        ("http:127.0.0.1:80", PublishedPort("http", 80, "127.0.0.1")),
    ],
)
def test_port(text: str, expected: PublishedPort) -> None:
    assert values.published_port(text) == expected


@pytest.mark.parametrize(
    "text", ["http", "8080", ":80", "http:0", "http:65536", "http:x:80", "http:a"]
)
def test_port_refused(text: str) -> None:
    with pytest.raises(RktError, match=r"^--port"):
        values.published_port(text)


def test_environment_file(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("# a comment\n; another\n\nA=1\n  B = x=y \nC=\n")
    with pytest.raises(RktError, match='line 5: "B " is not'):
        values.environment_file(str(file))
    file.write_text("# a comment\n; another\n\nA=1\nB=x=y\nC=\n")
    assert values.environment_file(str(file)) == {"A": "1", "B": "x=y", "C": ""}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A=1\nA=2\n", 'line 2: "A" is already set'),
        ("A\n", 'line 1: "A" is not of the form NAME=VALUE'),
        ("1A=2\n", 'line 1: "1A" is not'),
    ],
)
def test_environment_file_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "env").write_text(text)
    with pytest.raises(RktError) as caught:
        values.environment_file(f"{tmp_path}/env")
    assert str(caught.value).startswith(f"{tmp_path}/env: {message}")


def test_environment_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RktError, match="No such file"):
        values.environment_file(f"{tmp_path}/env")


def test_environment_given_twice() -> None:
    with pytest.raises(RktError, match=r'^--set-env: "A" is already set$'):
        values.environment(Values({"set-env": ["A=1", "A=2"]}), "set-env")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"memory": ["512Mi"]}, Isolator("resource/memory", {"limit": "512Mi"})),
        ({"cpu": ["500m"]}, Isolator("resource/cpu", {"limit": "500m"})),
        ({"cpu-shares": ["1024"]}, Isolator("os/linux/cpu-shares", 1024)),
        ({"oom-score-adj": ["-5"]}, Isolator("os/linux/oom-score-adj", -5)),
        (
            {"caps-retain": ["CAP_CHOWN,kill"]},
            Isolator("os/linux/capabilities-retain-set", {"set": ["CAP_CHOWN", "CAP_KILL"]}),
        ),
        (
            {"cap-remove": ["CAP_CHOWN"]},
            Isolator("os/linux/capabilities-remove-set", {"set": ["CAP_CHOWN"]}),
        ),
    ],
)
def test_isolators(given: dict[str, list[str]], expected: Isolator) -> None:
    assert values.app_isolators(Values(given)) == (expected,)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"memory": ["lots"]}, "--memory"),
        ({"memory": ["1"]}, "--memory"),
        ({"cpu-shares": ["1"]}, "--cpu-shares"),
        ({"cpu-shares": ["x"]}, 'invalid argument "x" for --cpu-shares: not a number'),
        ({"oom-score-adj": ["1001"]}, "--oom-score-adj"),
        ({"caps-retain": ["CAP_FLY"]}, '--caps-retain: "CAP_FLY" is not a capability'),
        ({"caps-retain": [""]}, "--caps-retain: empty"),
        (
            {"caps-retain": ["CAP_CHOWN"], "caps-remove": ["CAP_KILL"]},
            "--caps-retain and --caps-remove cannot be combined",
        ),
        (
            {"caps-retain": ["CAP_CHOWN"], "cap-retain": ["CAP_KILL"]},
            "--caps-retain and --cap-retain cannot be combined",
        ),
    ],
)
def test_isolators_refused(given: dict[str, list[str]], message: str) -> None:
    with pytest.raises(RktError) as caught:
        values.app_isolators(Values(given))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("30m", 1800),
        ("24h", 86400),
        ("1h30m", 5400),
        ("1.5s", 1.5),
        ("-1s", -1),
        ("100ms", 0.1),
    ],
)
def test_span(text: str, seconds: float) -> None:
    assert span(text, "wait") == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "5 m", "m", "1d", "1h-5m", "٣s"])
def test_span_refused(text: str) -> None:
    with pytest.raises(RktError, match="not a time like 30m or 1h30m"):
        span(text, "wait")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("web:tcp:80::8080", PublishedPort("web", 8080, None, Port("web", "tcp", 80))),
        (
            "dns:udp:53:127.0.0.1:5353",
            PublishedPort("dns", 5353, "127.0.0.1", Port("dns", "udp", 53)),
        ),
        ("web:tcp:80:[::1]:8080", PublishedPort("web", 8080, "::1", Port("web", "tcp", 80))),
    ],
)
def test_port_of_a_sandbox(text: str, expected: PublishedPort) -> None:
    assert values.forwarded_port(text) == expected


@pytest.mark.parametrize("text", ["web", "web:8080", "web:tcp:80:8080", "web:tcp:x::80", ""])
def test_port_of_a_sandbox_in_another_form(text: str) -> None:
    with pytest.raises(RktError) as caught:
        values.forwarded_port(text)
    assert str(caught.value) == (
        f'--port: "{text}" is not of the form NAME:PROTOCOL:PORT:[HOSTIP]:HOSTPORT'
    )


def test_port_of_a_sandbox_that_is_none() -> None:
    with pytest.raises(RktError, match=r'^--port web:sctp:1::2: "sctp" is not one of tcp, udp$'):
        values.forwarded_port("web:sctp:1::2")
    with pytest.raises(RktError, match=r"^--port web:tcp:0::2: 0 is not a port"):
        values.forwarded_port("web:tcp:0::2")


def test_volume_of_an_app_that_is_added() -> None:
    text = "name=data,kind=host,source=/srv,target=/data,readOnly=true"
    volume = Volume("data", "host", source="/srv", read_only=True)
    assert values.mounted_volume(text) == Mount("data", "/data", app_volume=volume)
    text = "name=data,kind=empty,target=/data,mode=0700"
    assert values.mounted_volume(text).app_volume == Volume("data", "empty", mode=0o700)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name=data,kind=empty", '--mnt-volume: "name=data,kind=empty" has no name or no target'),
        ("data", '--mnt-volume: "data" is not of the form KEY=VALUE'),
        ("name=data,target=/data", "--mnt-volume data: kind: missing"),
        (
            "name=data,kind=tmpfs,target=/data",
            "--mnt-volume data: kind tmpfs is for volumes of the pod"
            " (give it to rkt app sandbox with --volume)",
        ),
        (
            "name=data,kind=empty,target=data",
            '--mnt-volume: path: "data" is not an absolute path',
        ),
        (
            "name=data,kind=empty,target=/data,what=1",
            '--mnt-volume data: unknown parameter "what"',
        ),
    ],
)
def test_volume_of_an_app_that_is_refused(text: str, message: str) -> None:
    with pytest.raises(RktError) as caught:
        values.mounted_volume(text)
    assert str(caught.value) == message
