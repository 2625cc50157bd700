"""What a box asks of the machine it runs on, and the directories that it keeps there."""

import fcntl
import glob
import os
import secrets
import shutil
import subprocess
import sys

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_PREFIX = "rktsd-box-"


def _base() -> str:
    return os.environ.get("RKTSD_BOX_DIR") or "/var/tmp"


def open_work() -> tuple[str, str, int]:
    """A new work directory, the box's name in it, and the lock that shows that the box is alive."""
    name = secrets.token_hex(4)
    work = os.path.join(_base(), _PREFIX + name)
    # sweep must not find it before it is locked
    hidden = os.path.join(_base(), f".{_PREFIX}{name}")
    os.mkdir(hidden, 0o700)
    lock = os.open(os.path.join(hidden, "lock"), os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.rename(hidden, work)
    return work, name, lock


def systemd_is_init() -> bool:
    try:
        with open("/proc/1/comm", encoding="utf-8") as file:
            init = file.read().strip()
    except OSError:
        return False
    return init == "systemd" and os.path.isdir("/run/systemd/system")


def available_memory() -> int:
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            found = dict(line.split(":", 1) for line in file)
        return int(found["MemAvailable"].split()[0]) * 1024
    except OSError:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def takes_overlays(directory: str) -> bool:
    """Whether overlayfs accepts a directory here as its upper one."""
    done = subprocess.run(["stat", "-f", "-c", "%T", directory], capture_output=True, text=True)
    return done.stdout.strip() in ("ext2/ext3", "xfs", "btrfs", "tmpfs", "f2fs")


def clean(work: str) -> None:
    command = [sys.executable, "-m", "tests.box.reaper", "clean", work]
    subprocess.run(command, cwd=REPOSITORY, check=False)
    shutil.rmtree(work, ignore_errors=True)


def sweep() -> None:
    """Clean up after boxes whose reaper was killed: no process holds their lock any more."""
    for work in glob.glob(os.path.join(_base(), _PREFIX + "*")):
        try:
            lock = os.open(os.path.join(work, "lock"), os.O_RDWR)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        else:
            clean(work)
        finally:
            os.close(lock)
