"""Isolators: what each value must be (appc spec 0.8.11, "Isolators"), and what it means.

``isolator`` makes a checked one; the other public functions read lists of checked ones. When an
isolator is repeated the last one counts, as in rkt.
"""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from rktsd.appc.cursor import Cursor, shown
from rktsd.appc.quantities import (
    RLIMIT_NAMES,
    parse_bytes,
    parse_milli,
    quantity_at,
    rlimit_at,
)
from rktsd.appc.types import Isolator
from rktsd.errors import BadInput

MEMORY = "resource/memory"
CPU = "resource/cpu"
CPU_SHARES = "os/linux/cpu-shares"
OOM_SCORE_ADJ = "os/linux/oom-score-adj"
NO_NEW_PRIVILEGES = "os/linux/no-new-privileges"
CAPABILITIES_RETAIN = "os/linux/capabilities-retain-set"
CAPABILITIES_REMOVE = "os/linux/capabilities-remove-set"
SECCOMP_RETAIN = "os/linux/seccomp-retain-set"
SECCOMP_REMOVE = "os/linux/seccomp-remove-set"
SELINUX = "os/linux/selinux-context"
APPARMOR = "os/linux/apparmor-profile"
SYSCTL = "os/unix/sysctl"
BLOCK_BANDWIDTH = "resource/block-bandwidth"
BLOCK_IOPS = "resource/block-iops"
NETWORK_BANDWIDTH = "resource/network-bandwidth"
# Not appc's: what rkt's users missed.
PIDS = "resource/pids"
RLIMITS = "os/unix/rlimits"

# Isolators of which at most one may apply: one of a group takes the place of the others.
ALTERNATIVES = (
    frozenset({CAPABILITIES_RETAIN, CAPABILITIES_REMOVE}),
    frozenset({SECCOMP_RETAIN, SECCOMP_REMOVE}),
)

# Below a page nothing can run; rkt refuses it on the command line.
MIN_MEMORY = 4096

# capabilities(7), all that the kernel knows up to 6.x, by their numbers.
CAPABILITIES_BY_NUMBER = tuple(
    f"CAP_{name}"
    for name in (
        "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID",
        "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW",
        "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE",
        "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME",
        "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
        "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ",
        "PERFMON", "BPF", "CHECKPOINT_RESTORE",
    )
)  # fmt: skip
CAPABILITIES = frozenset(CAPABILITIES_BY_NUMBER)

# appc spec, "os/linux/capabilities-remove-set": what an app has when nothing is said.
DEFAULT_CAPABILITIES = frozenset(
    f"CAP_{name}"
    for name in (
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "KILL", "MKNOD", "NET_RAW",
        "NET_BIND_SERVICE", "SETUID", "SETGID", "SETPCAP", "SETFCAP", "SYS_CHROOT",
    )
)  # fmt: skip

_SYSCALL = re.compile(r"[a-z_][a-z0-9_]*|@[a-z0-9.]+/[a-z0-9-]+")
_ERRNO = re.compile(r"E[A-Z0-9]+")


def _memory(limit: Cursor) -> str:
    text = quantity_at(limit)
    if parse_bytes(text, limit.where) < MIN_MEMORY:
        raise limit.problem(f"{shown(limit.value)} is less than {MIN_MEMORY} bytes")
    return text


def _cpu(limit: Cursor) -> str:
    text = quantity_at(limit)
    if parse_milli(text, limit.where) == 0:
        raise limit.problem("no app can run without processor time")
    return text


def _check_resource(
    value: Cursor, check_limit: Callable[[Cursor], str], parse: Callable[[str, str], int]
) -> None:
    if value.get("default").boolean():
        raise value.get("default").problem("must be false")
    request, limit = value.get("request"), value.get("limit")
    if request.given:
        parse(quantity_at(request), request.where)
    if limit.given:
        check_limit(limit)


def _check_memory(value: Cursor) -> None:
    _check_resource(value, _memory, parse_bytes)


def _check_cpu(value: Cursor) -> None:
    _check_resource(value, _cpu, parse_milli)


def _check_bandwidth(value: Cursor) -> None:
    if not value.get("default").boolean():
        raise value.get("default").problem("must be true")
    if value.get("request").given:
        raise value.get("request").problem("this resource has no requests")
    parse_bytes(quantity_at(value.get("limit")), value.get("limit").where)


def _check_cpu_shares(value: Cursor) -> None:
    value.integer(2, 262144, what="a number of shares")


def _check_oom_score_adj(value: Cursor) -> None:
    value.integer(-1000, 1000, what="an OOM score adjustment")


def _check_no_new_privileges(value: Cursor) -> None:
    if not isinstance(value.value, bool):
        raise value.wrong("true or false")


def _set(value: Cursor) -> list[Cursor]:
    elements = value.get("set").elements()
    if not elements:
        raise value.get("set").problem("empty")
    return elements


def _check_capabilities(value: Cursor) -> None:
    for element in _set(value):
        if element.text() not in CAPABILITIES:
            raise element.wrong("a capability (like CAP_NET_ADMIN)")


def _check_seccomp(value: Cursor) -> None:
    for element in _set(value):
        _check_syscall(element)
    _check_errno(value.get("errno"))


def _check_syscall(element: Cursor) -> None:
    if not _SYSCALL.fullmatch(element.text()):
        raise element.wrong("a system call or a set of them (like @appc.io/all)")


def _check_errno(errno: Cursor) -> None:
    if errno.value not in (None, "") and not _ERRNO.fullmatch(errno.text()):
        raise errno.wrong("an error name (like EPERM)")


def _check_selinux(value: Cursor) -> None:
    for name in ("user", "role", "type", "level"):
        if value.get(name).given:
            value.get(name).text()


def _check_apparmor(value: Cursor) -> None:
    value.get("profile").filled()


def _check_pids(value: Cursor) -> None:
    if parse_bytes(quantity_at(value.get("limit")), value.get("limit").where) < 1:
        raise value.get("limit").problem("nothing can run without a process")


def _check_rlimits(value: Cursor) -> None:
    if not isinstance(value.value, dict):
        raise value.wrong("an object")
    for name, limit in value.members():
        if name not in RLIMIT_NAMES:
            raise limit.problem(f"not one of {', '.join(RLIMIT_NAMES)}")
        rlimit_at(limit)


def _check_sysctl(value: Cursor) -> None:
    if not isinstance(value.value, dict):
        raise value.wrong("an object")
    for _, setting in value.members():
        setting.text()


_CHECKS: dict[str, Callable[[Cursor], None]] = {
    MEMORY: _check_memory,
    CPU: _check_cpu,
    CPU_SHARES: _check_cpu_shares,
    OOM_SCORE_ADJ: _check_oom_score_adj,
    NO_NEW_PRIVILEGES: _check_no_new_privileges,
    CAPABILITIES_RETAIN: _check_capabilities,
    CAPABILITIES_REMOVE: _check_capabilities,
    SECCOMP_RETAIN: _check_seccomp,
    SECCOMP_REMOVE: _check_seccomp,
    SELINUX: _check_selinux,
    APPARMOR: _check_apparmor,
    SYSCTL: _check_sysctl,
    BLOCK_BANDWIDTH: _check_bandwidth,
    BLOCK_IOPS: _check_bandwidth,
    NETWORK_BANDWIDTH: _check_bandwidth,
    PIDS: _check_pids,
    RLIMITS: _check_rlimits,
}

# What says something of a pod; everything does of an app.
_FOR_PODS = frozenset(
    {
        MEMORY, CPU, CPU_SHARES, BLOCK_BANDWIDTH, BLOCK_IOPS, NETWORK_BANDWIDTH, PIDS, SYSCTL,
        SELINUX, APPARMOR,
    }
)  # fmt: skip


def known(name: str) -> bool:
    """Whether appc 0.8.11 defines an isolator called ``name``, or this program does."""
    return name in _CHECKS


def checked(name: str, value: Cursor) -> Isolator:
    """The isolator ``name`` with the JSON value at ``value``. Raises BadInput."""
    if not value.given:
        raise value.problem("missing")
    check = _CHECKS.get(name)
    if check is None:
        raise value.problem(f"unknown isolator {shown(name)}")
    check(value)
    return Isolator(name, value.value)


def isolator(name: str, value: object, where: str) -> Isolator:
    """A checked isolator from a JSON value, as the command line makes them. Raises BadInput."""
    return checked(name, Cursor(where, "", value))


def memory_at(limit: Cursor) -> Isolator:
    """resource/memory from a quantity of bytes. Raises BadInput."""
    return Isolator(MEMORY, {"limit": _memory(limit)})


def cpu_at(limit: Cursor) -> Isolator:
    """resource/cpu from a quantity of processors. Raises BadInput."""
    return Isolator(CPU, {"limit": _cpu(limit)})


def limit_at(limit: Cursor, name: str) -> Isolator:
    """One of the isolators that are a limit and nothing else, from a quantity. Raises BadInput."""
    parse_bytes(quantity_at(limit), limit.where)
    value: dict[str, object] = {"limit": quantity_at(limit)}
    return Isolator(name, value if name == PIDS else {"default": True, **value})


def selinux_at(context: Cursor) -> Isolator:
    """os/linux/selinux-context from ``USER:ROLE:TYPE[:LEVEL]``. Raises BadInput."""
    parts = context.line().split(":", 3)
    if len(parts) < 3 or not all(parts):
        raise context.wrong("a context of the form USER:ROLE:TYPE:LEVEL")
    names = ("user", "role", "type", "level")
    return Isolator(SELINUX, dict(zip(names, parts, strict=False)))


def capabilities_at(words: list[Cursor], *, retain: bool) -> Isolator:
    """A capability set from names as people write them (``chown``, ``CAP_CHOWN``).

    Raises BadInput.
    """
    found = []
    for word in words:
        text = word.text().upper()
        found.append(text if text.startswith("CAP_") else f"CAP_{text}")
        if found[-1] not in CAPABILITIES:
            raise word.wrong("a capability (like CAP_NET_ADMIN)")
    return Isolator(CAPABILITIES_RETAIN if retain else CAPABILITIES_REMOVE, {"set": found})


def seccomp_at(words: list[Cursor], errno: Cursor, *, retain: bool) -> Isolator:
    """A seccomp set from names of system calls and ``@`` sets. Raises BadInput."""
    value: dict[str, object] = {"set": [word.text() for word in words]}
    if errno.given:
        value["errno"] = errno.text()
    found = Cursor(errno.source, errno.path, value)
    for word in words:
        _check_syscall(word)
    _check_errno(errno)
    return checked(SECCOMP_RETAIN if retain else SECCOMP_REMOVE, found)


def check_alternatives(isolators: Iterable[Isolator], where: str) -> None:
    """Refuse retain-set beside remove-set, and more than one seccomp set. Raises BadInput."""
    names = [isolator.name for isolator in isolators]
    if CAPABILITIES_RETAIN in names and CAPABILITIES_REMOVE in names:
        raise BadInput(f"{where}: both {CAPABILITIES_RETAIN} and {CAPABILITIES_REMOVE}")
    if names.count(SECCOMP_RETAIN) + names.count(SECCOMP_REMOVE) > 1:
        raise BadInput(f"{where}: more than one seccomp set")


def replaced(old: Iterable[Isolator], new: Iterable[Isolator]) -> tuple[Isolator, ...]:
    """``old`` with those of ``new`` in place of their namesakes and alternatives."""
    added = tuple(new)
    names = {isolator.name for isolator in added}
    gone = names.union(*(group for group in ALTERNATIVES if group & names))
    return (*(isolator for isolator in old if isolator.name not in gone), *added)


def without_seccomp(isolators: Iterable[Isolator]) -> tuple[Isolator, ...]:
    """All but the seccomp sets."""
    return tuple(i for i in isolators if i.name not in (SECCOMP_RETAIN, SECCOMP_REMOVE))


class SeccompFilter(NamedTuple):
    """``mode`` is retain or remove; ``names`` are system calls and ``@`` sets; ``errno`` is what a
    refused call returns, None for killing the process."""

    mode: str
    names: tuple[str, ...]
    errno: str | None


def last(isolators: Iterable[Isolator], *names: str) -> tuple[str, Cursor] | None:
    """The name and value of the one that counts, of those called like one of ``names``."""
    found = [isolator for isolator in isolators if isolator.name in names]
    return (found[-1].name, Cursor(found[-1].name, "", found[-1].value)) if found else None


def limit_of(
    isolators: Iterable[Isolator], name: str, parse: Callable[[str, str], int]
) -> int | None:
    found = last(isolators, name)
    if found is None or not found[1].get("limit").given:
        return None
    limit = found[1].get("limit")
    return parse(quantity_at(limit), limit.where)


def memory_limit(isolators: Iterable[Isolator]) -> int | None:
    """The limit of resource/memory in bytes."""
    return limit_of(isolators, MEMORY, parse_bytes)


def cpu_limit_milli(isolators: Iterable[Isolator]) -> int | None:
    """The limit of resource/cpu in thousandths of a processor."""
    return limit_of(isolators, CPU, parse_milli)


def _number(isolators: Iterable[Isolator], name: str) -> int | None:
    found = last(isolators, name)
    return found[1].integer(-1000, 262144) if found else None


def cpu_shares(isolators: Iterable[Isolator]) -> int | None:
    """os/linux/cpu-shares, 2 to 262144."""
    return _number(isolators, CPU_SHARES)


def oom_score_adj(isolators: Iterable[Isolator]) -> int | None:
    """os/linux/oom-score-adj, -1000 to 1000."""
    return _number(isolators, OOM_SCORE_ADJ)


def no_new_privileges(isolators: Iterable[Isolator]) -> bool:
    """os/linux/no-new-privileges, false when nothing is said."""
    found = last(isolators, NO_NEW_PRIVILEGES)
    return found is not None and found[1].boolean()


def capability_set(isolators: Iterable[Isolator]) -> frozenset[str]:
    """The bounding set of an app: retain-set replaces the default, remove-set subtracts from it."""
    found = last(isolators, CAPABILITIES_RETAIN, CAPABILITIES_REMOVE)
    if found is None:
        return DEFAULT_CAPABILITIES
    name, value = found
    names = frozenset(element.text() for element in _set(value))
    return names if name == CAPABILITIES_RETAIN else DEFAULT_CAPABILITIES - names


def seccomp(isolators: Iterable[Isolator]) -> SeccompFilter | None:
    """The filter that the manifest asks for, None for the default one."""
    found = last(isolators, SECCOMP_RETAIN, SECCOMP_REMOVE)
    if found is None:
        return None
    name, value = found
    errno = value.get("errno")
    return SeccompFilter(
        mode="retain" if name == SECCOMP_RETAIN else "remove",
        names=tuple(element.text() for element in _set(value)),
        errno=errno.text() if errno.value not in (None, "") else None,
    )


def misplaced(values: Iterable[Isolator]) -> list[str]:
    """Names of those that say nothing of a pod as a whole, so that they can be refused."""
    return sorted({isolator.name for isolator in values} - _FOR_PODS)
