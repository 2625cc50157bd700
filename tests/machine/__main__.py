"""Limits of apps and pods on cgroup v2, in a machine of their own.

::

    /usr/bin/python3 -m tests.machine                     # all checks, or those that are named:
    /usr/bin/python3 -m tests.machine memory processes
    /usr/bin/python3 -m tests.machine --deb dist/rktsd_0.1.0_all.deb --console

Boots Debian 13 with its cloud kernel under qemu, without hardware support unless ``--accel=kvm``
asks for it, installs the package there and has pods exceed their limits. What a box shares with the
kernel below it, this machine has for itself: every controller of cgroup v2, and a disk. Prints a
table, ends with 0 when all limits held and with 1 otherwise. The tree, its disk and the kernel are
made once and kept in tests/.cache ($RKTSD_CACHE): some 1.5 GB. No part of the suite, for it takes
minutes.
"""

import argparse
import glob
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from tests.box.machine import REPOSITORY
from tests.machine.guest import CHECKS
from tests.material import images

_HERE = os.path.dirname(os.path.abspath(__file__))
_NEEDS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "debootstrap": "debootstrap",
    "mkfs.ext4": "e2fsprogs",
}
_KERNEL = "linux-image-cloud-amd64"
_DISK = "3G"
_WIDTHS = (5, 17, 46)


class _Failed(Exception):
    """One line about what cannot be done."""


def _cache() -> str:
    return os.environ.get("RKTSD_CACHE") or os.path.join(REPOSITORY, "tests", ".cache")


def _check_needs() -> None:
    if os.geteuid() != 0:
        raise _Failed("only root can make the tree of the machine")
    missing = [package for program, package in _NEEDS.items() if not shutil.which(program)]
    if missing:
        raise _Failed(f"this needs Debian's packages {', '.join(missing)}")


def _tree() -> str:
    """A Debian 13 with a kernel, made on the first call."""
    tree = os.path.join(_cache(), "machine")
    script = os.path.join(REPOSITORY, "tests", "box", "debian-root")
    if not os.path.isdir(tree):
        sys.stderr.write(f"machine: making a Debian 13 in {tree}, which takes minutes\n")
    done = subprocess.run(["sh", script, "trixie", tree, _KERNEL], capture_output=True, text=True)
    if done.returncode != 0:
        last = f"{done.stdout}{done.stderr}".strip().splitlines()[-1:]
        raise _Failed(f"cannot make {tree} with {_KERNEL}: {''.join(last)}")
    return tree


def _disk(tree: str) -> str:
    """A disk with what is in the tree, made on the first call."""
    disk = f"{tree}.ext4"
    if not os.path.exists(disk):
        partial = f"{disk}.{os.getpid()}"
        try:
            command = ["mkfs.ext4", "-q", "-E", "lazy_itable_init=0", "-d", tree, partial, _DISK]
            subprocess.run(command, check=True)
            os.rename(partial, disk)
        finally:
            if os.path.exists(partial):
                os.unlink(partial)
    return disk


def _only(pattern: str) -> str:
    found = sorted(glob.glob(pattern))
    if not found:
        raise _Failed(f"there is no {pattern}")
    return found[-1]


def _material(work: str, deb: str) -> str:
    """An archive with all that the guest needs; it becomes a disk."""
    root = images.busybox_root(f"{work}/root")
    manifest = images.busybox_manifest("example.com/busybox")
    image = images.write_aci(root, manifest, f"{work}/busybox.aci")
    archive = f"{work}/material.tar"
    with tarfile.open(archive, "w") as file:
        file.add(deb, "rktsd.deb")
        file.add(image, "busybox.aci")
        file.add(f"{_HERE}/guest.py", "guest.py")
    return archive


def _command(
    tree: str, disk: str, archive: str, *, checks: Sequence[str], accel: str, console: str
) -> list[str]:
    guest = (
        "mkdir /run/material && tar -x -C /run/material -f /dev/vdb &&"
        f" python3 /run/material/guest.py /run/material /dev/ttyS1 {' '.join(checks)}"
    )
    off = "systemd.run_success_action=poweroff-force systemd.run_failure_action=poweroff-force"
    kernel = (
        f"root=/dev/vda rw console=ttyS0 panic=-1 systemd.show_status=0 {off}"
        f" systemd.run=\"/bin/sh -c '{guest}'\""
    )
    return [
        "qemu-system-x86_64", "-accel", accel, "-m", "1024", "-smp", "1", "-nographic",
        "-no-reboot", "-nodefaults", "-nic", "none", "-monitor", "none",
        "-kernel", _only(f"{tree}/boot/vmlinuz-*"), "-initrd", _only(f"{tree}/boot/initrd.img-*"),
        "-append", kernel,
        # What the guest writes is gone with it.
        "-drive", f"file={disk},format=raw,if=virtio,snapshot=on",
        "-drive", f"file={archive},format=raw,if=virtio,readonly=on",
        "-serial", console, "-serial", "stdio",
    ]  # fmt: skip


def _rows(command: list[str], timeout: float) -> Iterator[list[Any]]:
    """What the guest tells, until it is off; the machine is gone afterwards in any case."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace"
    )
    timer = threading.Timer(timeout, process.kill)
    timer.start()
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("["):
                yield json.loads(line)
    finally:
        timer.cancel()
        process.kill()
        process.wait()


def _show(row: list[Any]) -> bool:
    """Print a row; whether the limit held."""
    level, *cells, held = row
    words = [f"{cell:<{width}}" for cell, width in zip((level, *cells[:2]), _WIDTHS, strict=True)]
    sys.stdout.write(f"{'  '.join(words)}  {cells[2]}{'' if held else '  FAILED'}\n")
    sys.stdout.flush()
    return bool(held)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="machine", description="Limits on cgroup v2, under qemu.")
    parser.add_argument("check", nargs="*", metavar="CHECK", help=f"of {', '.join(CHECKS)}")
    parser.add_argument("--deb", metavar="FILE", help="package to install (newest of dist/)")
    parser.add_argument("--accel", default="tcg", choices=("tcg", "kvm"))
    parser.add_argument("--console", action="store_true", help="show what the guest prints")
    parser.add_argument("--timeout", type=float, default=1800, metavar="S", help="for all of it")
    return parser


def _run(options: argparse.Namespace, work: str) -> int:
    unknown = [name for name in options.check if name not in CHECKS]
    if unknown:
        raise _Failed(f"{unknown[0]}: there are the checks {', '.join(CHECKS)}")
    _check_needs()
    deb = options.deb or _only(f"{REPOSITORY}/dist/rktsd_*.deb")
    if not os.path.isfile(deb):
        raise _Failed(f"{deb}: no such package file")
    tree = _tree()
    log = f"{work}/console"
    console = "file:/dev/stderr" if options.console else f"file:{log}"
    command = _command(
        tree,
        _disk(tree),
        _material(work, deb),
        checks=options.check or list(CHECKS),
        accel=options.accel,
        console=console,
    )
    head = ("LEVEL", "LIMIT", "WANTED")
    words = [f"{cell:<{width}}" for cell, width in zip(head, _WIDTHS, strict=True)]
    sys.stdout.write(f"{'  '.join(words)}  FOUND\n")
    held = []
    for row in _rows(command, options.timeout):
        if not row:
            break
        if row[0] is None:
            raise _Failed(row[1])
        held.append(_show(row))
    else:
        if not options.console:
            with open(log, errors="replace") as file:
                sys.stderr.write("".join(file.readlines()[-30:]))
        raise _Failed("the guest ended before it was done")
    sys.stdout.write(f"{sum(held)} of {len(held)} held\n")
    return 0 if all(held) else 1


def main() -> int:
    """Returns the exit status: 0 when all limits held, 1 otherwise."""
    options = _parser().parse_args()
    with tempfile.TemporaryDirectory(prefix="machine-", dir="/var/tmp") as work:
        try:
            return _run(options, work)
        except (_Failed, OSError, subprocess.SubprocessError) as error:
            sys.stderr.write(f"machine: {error}\n")
            return 1
        except KeyboardInterrupt:
            return 130


if __name__ == "__main__":
    sys.exit(main())
