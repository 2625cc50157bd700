"""Where fetches are measured: a registry and a web server on a loopback of our own, and scratch.

All in network and mounts of our own, from Debian's docker-registry, into new directories on the
disk and on a tmpfs. Processor time is that of all processes of a command.
"""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from rktsd.images.keystore import add_key
from rktsd.paths import Paths
from tests.bench import pullimage
from tests.box import syscalls
from tests.images.world import private_machine
from tests.material.registry import RegistryServer

SITE = 5080
_LAUNCHER = """\
#!/usr/bin/python3 -IS
import sys

sys.path.append("/usr/lib/python3/dist-packages")
sys.path.insert(0, {path!r})

from rktsd.cli.main import main

sys.exit(main())
"""
WALL, CPU = "wall", "processor"
DISK, TMPFS = "disk", "tmpfs"


class PullError(Exception):
    """A command that was to be timed failed, and what it said."""


class Scene(NamedTuple):
    """Where all is: the package unpacked, the registry, scratch by place."""

    rkt: str
    host: str
    scratch: Mapping[str, str]


def run(command: str, directory: str) -> tuple[float, float]:
    """Seconds on the clock, and of processors by all that it started."""
    start = time.monotonic()
    with started(command, directory) as process:
        _, status, used = os.wait4(process.pid, 0)
        wall = time.monotonic() - start
        process.returncode = os.waitstatus_to_exitcode(status)
    check(process, command, directory)
    return wall, used.ru_utime + used.ru_stime


def started(command: str, directory: str) -> "subprocess.Popen[bytes]":
    with open(f"{directory}/output", "wb") as output:
        return subprocess.Popen(["sh", "-ec", command], cwd=directory, stdout=output, stderr=output)


def check(process: "subprocess.Popen[bytes]", command: str, directory: str) -> None:
    if process.returncode != 0:
        with open(f"{directory}/output", encoding="utf-8", errors="replace") as file:
            raise PullError(f"{command}: {file.read()[-2000:]}")


@contextlib.contextmanager
def open_scene(deb: str, material: pullimage.Material) -> Iterator[Scene]:
    place = pullimage.PLACE
    shutil.rmtree(f"{place}/package", ignore_errors=True)
    subprocess.run(["dpkg-deb", "-x", deb, f"{place}/package"], check=True)
    modules = f"{place}/package/usr/lib/python3/dist-packages"
    subprocess.run(["/usr/bin/python3", "-m", "compileall", "-q", modules], check=True)
    with open(f"{place}/rkt", "w", encoding="utf-8") as file:
        file.write(_LAUNCHER.format(path=modules))
    os.chmod(f"{place}/rkt", 0o755)
    shutil.rmtree(f"{place}/etc", ignore_errors=True)
    paths = Paths(local_config=f"{place}/etc", system_config=f"{place}/usr")
    key = material.key
    add_key(paths, key.public, fingerprint=key.fingerprint, prefix="bench.example")
    with private_machine(), RegistryServer(f"{place}/registry") as registry:
        for tag in ("v1", "v2"):
            registry.push(f"oci:{material.layout}:{tag}", f"large:{tag}")
        site = ["/usr/bin/python3", "-m", "http.server", str(SITE), "--bind", "127.0.0.1"]
        with subprocess.Popen(
            [*site, "--directory", material.archives], stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        ) as server:  # fmt: skip
            try:
                scratch = {each: f"{place}/scratch-{each}" for each in (DISK, TMPFS)}
                for each in scratch.values():
                    os.makedirs(each, exist_ok=True)
                syscalls.mount("tmpfs", scratch[TMPFS], kind="tmpfs")
                yield Scene(f"{place}/rkt", registry.host, scratch)
            finally:
                server.terminate()


@contextlib.contextmanager
def work_in(parent: str) -> Iterator[str]:
    """An empty directory that is gone afterwards, with what is mounted in it."""
    made = f"{parent}/work"
    _remove(made)
    os.mkdir(made)
    try:
        yield made
    finally:
        _remove(made)


def _remove(directory: str) -> None:
    # podman mounts its storage onto itself.
    subprocess.run(["umount", "-R", f"{directory}/root/overlay"], check=False, capture_output=True)
    subprocess.run(["rm", "-rf", directory], check=True)
