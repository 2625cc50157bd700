"""The file tree that a box boots from: what is kept across its reboots, and what each boot makes.

Host packages enable services that have no place in a box, so only links that pull in systemd's own
units survive in *.wants. Units that would reach through to the kernel the host runs on (devices,
sysctl, modules, clock, audit) are masked in /run; they stay untouched on disk.
"""

import contextlib
import glob
import os
import re
import secrets
import stat
import uuid
from collections.abc import Iterable

from tests.box import cgroups, syscalls

# overlayfs takes no other overlay as its upper directory: what stores roots lies on a real one
DATA = ("/var/lib/rkt", "/var/lib/containers", "/var/lib/machines", "/var/tmp")

_UNIT_DIRECTORIES = ("/etc/systemd/system", "/usr/local/lib/systemd/system")
_VENDOR_DIRECTORIES = ("/usr/lib/systemd/system", "/lib/systemd/system")
_WELCOME = re.compile(r"(systemd-|dbus\.).*|.*\.target")
_UNWELCOME = {"getty.target", "remote-fs.target", "systemd-timesyncd.service"}

_MASKED = (
    "dev-hugepages.mount",
    "getty.target",
    "kmod-static-nodes.service",
    "modprobe@.service",
    "proc-sys-fs-binfmt_misc.automount",
    "proc-sys-fs-binfmt_misc.mount",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-binfmt.service",
    "systemd-firstboot.service",
    "systemd-journald-audit.socket",
    "systemd-modules-load.service",
    "systemd-networkd.service",
    "systemd-networkd.socket",
    "systemd-pcrphase.service",
    "systemd-pcrphase-sysinit.service",
    "systemd-pstore.service",
    "systemd-random-seed.service",
    "systemd-remount-fs.service",
    "systemd-repart.service",
    "systemd-resolved.service",
    "systemd-sysctl.service",
    "systemd-timesyncd.service",
    "systemd-udev-settle.service",
    "systemd-udev-trigger.service",
    "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket",
    "systemd-udevd-varlink.socket",
    "systemd-udevd.service",
)
_GENERATORS = ("systemd-debug-generator", "systemd-run-generator", "podman-system-generator")

_JOURNALD = "[Journal]\nStorage=persistent\nAudit=no\nReadKMsg=no\nForwardToWall=no\n"
_DEVICES = {
    "null": (1, 3, 0o666),
    "zero": (1, 5, 0o666),
    "full": (1, 7, 0o666),
    "random": (1, 8, 0o666),
    "urandom": (1, 9, 0o666),
    "tty": (5, 0, 0o666),
    "fuse": (10, 229, 0o666),
    "net/tun": (10, 200, 0o666),
    "loop-control": (10, 237, 0o660),
}
_LOOPS = 8


def systemd_version(root: str) -> int:
    """The major version of the systemd in ``root``; 0 when its library tells none."""
    for directory in ("usr/lib/*/systemd", "usr/lib/systemd", "lib/systemd"):
        for path in glob.glob(os.path.join(root, directory, "libsystemd-shared-*.so")):
            if found := re.search(r"shared-(\d+)", path):
                return int(found[1])
    return 0


def prepare(root: str, hostname: str) -> None:
    """Turn the merged tree ``root`` into a machine of its own; done once, kept across reboots."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            # absolute links of the tree must lead into the tree
            os.chroot(root)
            os.chdir("/")
            _disable_units()
            _personalize(hostname)
            status = 0
        finally:
            os._exit(status)
    if os.waitpid(child, 0)[1] != 0:
        raise RuntimeError(f"cannot prepare {root}")


def _disable_units() -> None:
    for directory in (*_UNIT_DIRECTORIES, *_VENDOR_DIRECTORIES):
        pattern = f"{directory}/*.*"
        for pulls in glob.glob(f"{pattern}.wants") + glob.glob(f"{pattern}.requires"):
            for name in os.listdir(pulls):
                if name in _UNWELCOME or not _WELCOME.fullmatch(name):
                    os.unlink(os.path.join(pulls, name))
    for alias in glob.glob("/etc/systemd/system/dbus-org.*"):
        os.unlink(alias)
    for path in (
        # images made for containers forbid dpkg to start services
        "/usr/sbin/policy-rc.d",
        # with it dpkg indexes all manual pages again, which takes longer than the rest
        "/var/lib/man-db/auto-update",
    ):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _personalize(hostname: str) -> None:
    _replace("/etc/machine-id", secrets.token_hex(16) + "\n")
    _replace("/etc/hostname", hostname + "\n")
    _replace("/etc/hosts", f"127.0.0.1 localhost\n127.0.1.1 {hostname}\n::1 localhost\n")
    _replace("/etc/fstab", "")
    if not os.path.exists("/etc/resolv.conf"):
        _replace("/etc/resolv.conf", "")
    os.makedirs("/var/log/journal", exist_ok=True)
    for directory in ("/etc", "/var"):
        # newer than /usr: nothing for ldconfig, hwdb, catalog and sysusers to update
        _replace(f"{directory}/.updated", "")


def _replace(path: str, text: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def mount_boot(
    root: str, *, hierarchies: Iterable[cgroups.Hierarchy], console: str, notify: str
) -> None:
    """Mount over ``root`` what a boot starts with. In the namespaces of the box, before its PID 1.

    ``console`` is a terminal for /dev/console, ``notify`` a socket for /run/host/notify.
    """
    strict = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
    for directory in ("proc", "sys", "dev", "run", "tmp"):
        os.makedirs(f"{root}/{directory}", exist_ok=True)
    syscalls.mount("sysfs", f"{root}/sys", kind="sysfs", flags=strict)
    cgroups.mount_for_systemd(hierarchies, f"{root}/sys/fs/cgroup")
    _mount_dev(f"{root}/dev", console)
    clean = syscalls.MS_NOSUID | syscalls.MS_NODEV
    syscalls.mount("tmpfs", f"{root}/run", kind="tmpfs", flags=clean, data="mode=755")
    syscalls.mount("tmpfs", f"{root}/tmp", kind="tmpfs", flags=clean, data="mode=1777")
    _fill_run(root, notify)
    _mount_proc(root, strict)


def _mount_proc(root: str, flags: int) -> None:
    """A /proc in which nothing reaches the host's kernel, and with a boot ID for this boot."""
    proc, boot_id = f"{root}/proc", f"{root}/run/host/boot_id"
    syscalls.mount("proc", proc, kind="proc", flags=flags)
    with open(boot_id, "w", encoding="ascii") as file:
        file.write(f"{uuid.uuid4()}\n")
    syscalls.bind(f"{proc}/sys", f"{proc}/sys")
    syscalls.bind(f"{proc}/sys/net", f"{proc}/sys/net")
    syscalls.bind(boot_id, f"{proc}/sys/kernel/random/boot_id")
    read_only = ["sys", "sys/kernel/random/boot_id"]
    if os.path.exists(f"{proc}/sysrq-trigger"):
        syscalls.bind(f"{proc}/sysrq-trigger", f"{proc}/sysrq-trigger")
        read_only.append("sysrq-trigger")
    again = syscalls.MS_BIND | syscalls.MS_REMOUNT | syscalls.MS_RDONLY | flags
    for path in read_only:
        syscalls.mount(None, f"{proc}/{path}", flags=again)
    # user namespaces may mount a /proc only while they see one that nothing covers
    os.makedirs(f"{root}/run/host/proc")
    syscalls.mount("proc", f"{root}/run/host/proc", kind="proc", flags=flags)


def _mount_dev(dev: str, console: str) -> None:
    syscalls.mount("tmpfs", dev, kind="tmpfs", flags=syscalls.MS_NOSUID, data="mode=755,size=4m")
    for directory in ("pts", "shm", "net", "mqueue"):
        os.mkdir(f"{dev}/{directory}")
    for name, (major, minor, mode) in _DEVICES.items():
        _make_node(f"{dev}/{name}", stat.S_IFCHR | mode, os.makedev(major, minor))
    for number in range(_LOOPS):
        _make_node(f"{dev}/loop{number}", stat.S_IFBLK | 0o660, os.makedev(7, number))
    options = "newinstance,gid=5,mode=620,ptmxmode=666"
    quiet = syscalls.MS_NOSUID | syscalls.MS_NOEXEC
    syscalls.mount("devpts", f"{dev}/pts", kind="devpts", flags=quiet, data=options)
    shared = syscalls.MS_NOSUID | syscalls.MS_NODEV
    syscalls.mount("tmpfs", f"{dev}/shm", kind="tmpfs", flags=shared, data="mode=1777")
    os.symlink("pts/ptmx", f"{dev}/ptmx")
    for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        os.symlink(f"/proc/self/fd{target}", f"{dev}/{name}")
    with open(f"{dev}/console", "wb"):
        pass
    syscalls.bind(console, f"{dev}/console")


def _make_node(path: str, mode: int, device: int) -> None:
    # where device nodes are not to be had the box boots all the same, without fuse, tun or loop
    with contextlib.suppress(PermissionError):
        os.mknod(path, mode, device)
        os.chmod(path, stat.S_IMODE(mode))


def _fill_run(root: str, notify: str) -> None:
    units = f"{root}/run/systemd/system"
    os.makedirs(units)
    for unit in _MASKED:
        os.symlink("/dev/null", f"{units}/{unit}")
    generators = f"{root}/run/systemd/system-generators"
    os.makedirs(generators)
    for vendor in ("usr/lib", "etc", "usr/local/lib"):
        for path in glob.glob(f"{root}/{vendor}/systemd/system-generators/*"):
            name = os.path.basename(path)
            if name not in _GENERATORS and not os.path.lexists(f"{generators}/{name}"):
                os.symlink("/dev/null", f"{generators}/{name}")
    os.makedirs(f"{root}/run/systemd/journald.conf.d")
    with open(f"{root}/run/systemd/journald.conf.d/box.conf", "w", encoding="utf-8") as file:
        file.write(_JOURNALD)
    os.makedirs(f"{root}/run/host")
    with open(f"{root}/run/host/notify", "wb"):
        pass
    syscalls.bind(notify, f"{root}/run/host/notify")
