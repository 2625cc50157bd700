"""Command lines and a unit file as people wrote them for rkt 1.30, unchanged but for the image."""

from __future__ import annotations

import json

import pytest

from tests.box import Box
from tests.system.commands import IMAGE, good
from tests.waiting import eventually

B = IMAGE
FETCHED = "rkt run --net=none"
# What a shell is told, and what it prints.
LINES = {
    f"rkt run --net=host {B} --exec=/bin/echo -- hello world": "hello world\n",
    f"{FETCHED} {B} -- -c 'echo $0 $1' a b": "a b\n",
    f"{FETCHED} {B} --exec /bin/echo -- one --- {B} --name=two --exec /bin/true -- two": "one\n",
    f"{FETCHED} --hostname=myapp {B} --exec=/bin/hostname": "myapp\n",
    f"{FETCHED} --set-env=FOO=bar --set-env BAZ=qux {B} -- -c 'echo $FOO $BAZ'": "bar qux\n",
    f"FOO=bar {FETCHED} --inherit-env {B} -- -c 'echo $FOO'": "bar\n",
    f"echo 'FOO=file' >/tmp/env; {FETCHED} --set-env-file=/tmp/env {B} -- -c 'echo $FOO'": "file\n",
    f"{FETCHED} --set-env=A=pod {B} --environment=A=app -- -c 'echo $A'": "app\n",
    f"{FETCHED} --volume data,kind=host,source=/etc,readOnly=true --mount volume=data,target=/d {B}"
    " -- -c 'touch /d/x 2>/dev/null || echo read-only'": "read-only\n",
    f"{FETCHED} --volume=data,kind=empty,mode=0700,uid=7 {B} --mount volume=data,target=/d"
    " -- -c 'stat -c \"%u %a\" /d'": "7 700\n",
    f"{FETCHED} {B} --user=1000 --group=100 --exec=/usr/bin/id -- -u": "1000\n",
    f"{FETCHED} {B} --supplementary-gids=400,500 --working-dir=/etc -- -c 'pwd; id -G'": (
        "/etc\n0 400 500\n"
    ),
    f"{FETCHED} {B} --memory=512Mi --cpu=750m --cpu-shares=500 -- -c 'echo limited'": "limited\n",
    f"{FETCHED} {B} --caps-retain=CAP_CHOWN -- -c 'grep CapBnd /proc/self/status'": (
        "CapBnd:\t0000000000000001\n"
    ),
    f"{FETCHED} {B} --seccomp mode=remove,errno=EXDEV,mkdir,mkdirat -- -c 'mkdir /x 2>&1; true'": (
        "mkdir: can't create directory '/x': Invalid cross-device link\n"
    ),
    f"{FETCHED} --dns=8.8.8.8 --dns-search=example.com --dns-opt=debug {B}"
    " -- -c 'grep -v ^# /etc/resolv.conf'": (
        "search example.com\nnameserver 8.8.8.8\noptions debug\n"
    ),
    f"{FETCHED} --hosts-entry=10.0.0.1=db,10.0.0.2=cache {B} -- -c 'grep ^10 /etc/hosts'": (
        "10.0.0.1 db\n10.0.0.2 cache\n"
    ),
    f"{FETCHED} {B} --readonly-rootfs=true -- -c 'touch /x 2>/dev/null || echo no'": "no\n",
    f"rkt --insecure-options=image,ondisk run --net=none {B} -- -c 'echo ran'": "ran\n",
    f"rkt --debug --dir=/var/lib/rkt run --net=none --pull-policy=never {B} -- -c 'echo local'": (
        "local\n"
    ),
    f"{FETCHED} --uuid-file-save=/tmp/u {B} -- -c true; rkt status --uuid-file=/tmp/u"
    " | grep ^state; rkt rm --uuid-file=/tmp/u >/dev/null": "state=exited\n",
    f"u=$(rkt prepare --quiet {B} -- -c 'echo prepared'); rkt run-prepared --net=none $u": (
        "prepared\n"
    ),
    f"rkt li --no-legend; rkt image list --no-legend --fields=name | grep -c ^{B}": "1\n",
    f"{FETCHED} {B} -- -c true; rkt list --full --no-legend | awk '{{print $2, $3}}'": (
        f"busybox {B}:1.0.0\n"
    ),
    f"{FETCHED} {B} -- -c true; rkt gc --mark-only; rkt gc --grace-period=0s >/dev/null 2>&1;"
    " rkt list --no-legend": "",
}
UNIT = f"""[Unit]
Description=an app by rkt
[Service]
Slice=machine.slice
ExecStart=/usr/bin/rkt run --net=none --inherit-env --uuid-file-save=/run/unit.uuid {B} \\
    --memory=64Mi --exec=/bin/sh -- -c "trap 'exit 0' TERM; echo ready; sleep 1000 & wait"
ExecStopPost=/usr/bin/rkt gc --mark-only
KillMode=mixed
Restart=no
"""


@pytest.mark.parametrize("line", LINES)
def test_a_line_does_what_it_did(cli: Box, line: str) -> None:
    assert cli.shell(line) == LINES[line]


def test_there_are_enough() -> None:
    assert len(LINES) >= 20


def test_a_unit_file_of_rkt(cli: Box) -> None:
    cli.write("/run/systemd/system/old.service", UNIT)
    cli.shell("systemctl daemon-reload; systemctl start old")
    eventually(lambda: "ready" in cli.journal("-u", "old", "-o", "cat"), "the app is ready")
    (pod,) = json.loads(good(cli, "list", "--format=json"))
    assert (pod["name"], pod["state"]) == (cli.read("/run/unit.uuid"), "running")
    cli.shell("systemctl stop old")
    assert cli.shell("systemctl show --value --property=Result old") == "success\n"
    (pod,) = json.loads(good(cli, "list", "--format=json"))
    assert pod["state"] == "exited garbage"
    cli.shell("rm /run/systemd/system/old.service; systemctl daemon-reload")
