"""resolv.conf, hosts and hostname of apps, as rkt run gives them."""

from __future__ import annotations

import pytest

from tests.box import Box

IMAGE = "example.com/busybox"


def said(box: Box, script: str, *flags: str, image_flags: tuple[str, ...] = ()) -> list[str]:
    """What a shell script in an app of its own pod prints."""
    command = ["rkt", "run", "--net=none", *flags, IMAGE, *image_flags, "--", "-c", script]
    return box.run(command, check=True).stdout.splitlines()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], ["no file"]),
        (["--dns=8.8.4.4"], ["nameserver 8.8.4.4"]),
        (["--dns=8.8.8.8", "--dns=8.8.4.4"], ["nameserver 8.8.8.8", "nameserver 8.8.4.4"]),
        (
            ["--dns=8.8.4.4", "--dns-search=search.com", "--dns-opt=debug"],
            ["search search.com", "nameserver 8.8.4.4", "options debug"],
        ),
        (["--dns-search=a.com", "--dns-search=b.com"], ["search a.com b.com"]),
        (
            ["--dns-opt=debug", "--dns-opt=use-vc", "--dns-opt=rotate"],
            ["options debug use-vc rotate"],
        ),
        (["--dns-domain=example.net"], ["domain example.net"]),
    ],
)
def test_resolv_conf_of_flags(pod_box: Box, flags: list[str], expected: list[str]) -> None:
    look = "grep -v ^# /etc/resolv.conf 2>/dev/null || echo no file"
    assert said(pod_box, look, *flags) == expected


def test_resolv_conf_of_the_host(pod_box: Box) -> None:
    pod_box.shell("[ -s /etc/resolv.conf ] || echo nameserver 192.0.2.53 >/etc/resolv.conf")
    found = said(pod_box, "cat /etc/resolv.conf", "--dns=host")
    assert found == pod_box.read("/etc/resolv.conf").splitlines()


def test_hosts_of_its_own_making(pod_box: Box) -> None:
    first, *more = said(pod_box, "cat /etc/hostname /etc/hosts; hostname")
    assert first.startswith("rkt-")
    assert len(first) == len("rkt-") + 36
    assert f"127.0.0.1 localhost localhost.localdomain {first}" in more
    assert more[-1] == first


def test_hosts_of_the_host_said_twice(pod_box: Box) -> None:
    found = said(pod_box, "cat /etc/hosts", "--hosts-entry=host", "--hosts-entry=host")
    assert found == pod_box.read("/etc/hosts").splitlines()


def test_hosts_with_entries(pod_box: Box) -> None:
    entries = ["--hosts-entry=128.66.0.1=host1", "--hosts-entry=128.66.0.1=host2,::9=host3"]
    found = said(pod_box, "cat /etc/hosts", *entries)
    assert "128.66.0.1 host1 host2" in found
    assert "::9 host3" in found
    assert found[1].startswith("127.0.0.1 localhost")


def test_hosts_of_a_volume(pod_box: Box) -> None:
    pod_box.write("/var/tmp/hosts", "192.0.2.8 mine\n")
    mount = ("--mount=volume=hosts,target=/etc/hosts",)
    volume = "--volume=hosts,kind=host,source=/var/tmp/hosts"
    found = said(pod_box, "cat /etc/hosts", volume, "--hosts-entry=1.2.3.4=x", image_flags=mount)
    assert found == ["192.0.2.8 mine"]


def test_host_name_of_the_flag(pod_box: Box) -> None:
    assert said(pod_box, "hostname; cat /etc/hostname", "--hostname=cats") == ["cats", "cats"]


def test_host_name_of_a_prepared_pod(pod_box: Box) -> None:
    uuid = pod_box.shell(f"rkt prepare --quiet {IMAGE} -- -c 'hostname; cat /etc/hostname'").strip()
    done = pod_box.run(["rkt", "run-prepared", "--net=none", uuid], check=True)
    assert done.stdout.split() == [f"rkt-{uuid}"] * 2
