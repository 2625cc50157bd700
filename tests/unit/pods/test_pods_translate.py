"""Settings that become fields, and mounts and ports in one string."""

from __future__ import annotations

import pytest

from rktsd.appc.types import Isolator, Mount, NameValue, Port, PublishedPort, Volume
from rktsd.errors import BadInput
from rktsd.pods import podfile
from rktsd.pods.podfile import PodFile

HEAD = '[[volume]]\nname = "data"\n[[app]]\nname = "one"\nimage = "example.com/one"\n'


def parsed(text: str) -> PodFile:
    return podfile.parse(f"{HEAD}{text}".encode(), "p.toml", pod="p")


def test_settings_become_fields() -> None:
    found = parsed(
        'environment = { B = "own" }\n'
        "[app.systemd]\nUser = 33\nSupplementaryGroups = '4 5'\nEnvironment = \"A='b c' B=d\"\n"
        "CapabilityBoundingSet = '~CAP_CHOWN kill'\nNoNewPrivileges = 'yes'\nNice = 5\n"
        "SystemCallFilter = '~@mount ptrace'\nSystemCallErrorNumber = 'EPERM'\n"
        "BindReadOnlyPaths = ['/srv:/data', '/etc/x']\n"
    )
    options = found.options.apps["one"]
    overrides = options.overrides
    assert options.systemd == {"Nice": 5}
    assert (overrides.user, overrides.supplementary_gids) == ("33", (4, 5))
    assert overrides.environment == (NameValue("A", "b c"), NameValue("B", "own"))
    assert overrides.isolators == (
        Isolator("os/linux/capabilities-remove-set", {"set": ["CAP_CHOWN", "CAP_KILL"]}),
        Isolator(
            "os/linux/seccomp-remove-set", {"set": ["@systemd/mount", "ptrace"], "errno": "EPERM"}
        ),
        Isolator("os/linux/no-new-privileges", True),
    )
    assert found.manifest.apps[0].mounts == (
        Mount("one-0", "/data", Volume("one-0", "host", "/srv", read_only=True, recursive=True)),
        Mount("one-1", "/etc/x", Volume("one-1", "host", "/etc/x", True, True)),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'memory = "1G"\nsystemd = { MemoryMax = "1G" }',
            "p.toml: app[0].systemd.MemoryMax: the field memory says it as well (write one of"
            " them)",
        ),
        (
            'capabilities-remove = ["chown"]\nsystemd = { CapabilityBoundingSet = "kill" }',
            "p.toml: app[0].systemd.CapabilityBoundingSet: the field capabilities-remove says it"
            " as well (write one of them)",
        ),
        (
            'stop-timeout = 5\nsystemd = { TimeoutSec = "1min" }',
            "p.toml: app[0].systemd.TimeoutSec: the field stop-timeout says it as well (write one"
            " of them)",
        ),
        (
            'systemd = { SupplementaryGroups = "wheel" }',
            'p.toml: app[0].systemd.SupplementaryGroups: "wheel" is not a whole number',
        ),
        (
            'systemd = { Environment = "A" }',
            "p.toml: app[0].systemd.Environment: not a list of NAME=VALUE",
        ),
        (
            'systemd = { SystemCallErrorNumber = "EPERM" }',
            "p.toml: app[0].seccomp-errno: without seccomp-retain or seccomp-remove",
        ),
        ('mounts = ["x:/x"]', 'p.toml: app[0].mounts[0]: the pod has no volume x (add a [[volume]]'
         ' with name = "x", or write a whole path)'),
        ('mounts = ["./x:/x"]', 'p.toml: app[0].mounts[0]: "./x" is not an AC Name'),
        ('mounts = ["/x:x"]', 'p.toml: app[0].mounts[0]: "/x:x" is not like /SOURCE:/PATH:ro,'
         " VOLUME:/PATH or /PATH"),
        ('mounts = ["/x:/x:z"]', "p.toml: app[0].mounts[0]: unknown option z (ro, rw, rbind,"
         " norbind)"),
        ('mounts = ["/x:/x:ro,rw"]',
         "p.toml: app[0].mounts[0]: two options that exclude each other"),
        ('ports = ["http"]', 'p.toml: app[0].ports[0]: "http" is not like 8080:80,'
         " 127.0.0.1:8080:80/tcp or 80/udp"),
        ('ports = ["8080:0"]', "p.toml: app[0].ports[0]: 0 is not a port (1 to 65535)"),
        ('ports = ["300.0.0.1:1:1"]', 'p.toml: app[0].ports[0]: "300.0.0.1" is not an IP address'),
    ],
)  # fmt: skip
def test_refused(text: str, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        parsed(text)
    assert str(caught.value).startswith(message)


def test_a_field_of_the_pod_beside_the_setting_of_its_slice() -> None:
    with pytest.raises(BadInput, match=r"systemd\.MemoryMax: the field memory says it as well"):
        podfile.parse(
            b'memory = "1G"\nsystemd = { MemoryMax = "1G" }\n' + HEAD.encode(), "p.toml", pod="p"
        )


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("/srv:/data", Mount("one-0", "/data", Volume("one-0", "host", "/srv"))),
        ("/srv:/data:ro", Mount("one-0", "/data", Volume("one-0", "host", "/srv", True))),
        (
            "/srv:/data:rw,norbind",
            Mount("one-0", "/data", Volume("one-0", "host", "/srv", False, False)),
        ),
        ("/scratch", Mount("one-0", "/scratch", Volume("one-0", "empty"))),
        ("data:/data", Mount("data", "/data")),
        ("data:/data:ro", Mount("data", "/data", Volume("data", "empty", None, True))),
    ],
)
def test_mounts_in_one_string(text: str, mount: Mount) -> None:
    assert parsed(f'mounts = ["{text}"]').manifest.apps[0].mounts == (mount,)


@pytest.mark.parametrize(
    ("text", "port", "published"),
    [
        ("80", Port("80-tcp", "tcp", 80), None),
        ("53/udp", Port("53-udp", "udp", 53), None),
        ("8080:80", Port("80-tcp", "tcp", 80), (8080, None)),
        ("127.0.0.1:5353:53/udp", Port("53-udp", "udp", 53), (5353, "127.0.0.1")),
        ("[::1]:8080:80", Port("80-tcp", "tcp", 80), (8080, "::1")),
    ],
)
def test_ports_in_one_string(text: str, port: Port, published: tuple[int, str | None]) -> None:
    found = parsed(f'ports = ["{text}", {{ name = "other", port = 1 }}]')
    own = found.options.apps["one"].overrides.ports
    assert own == (port, Port("other", "tcp", 1))
    expected = () if published is None else (PublishedPort(port.name, *published, pod_port=port),)
    assert found.manifest.ports == expected
