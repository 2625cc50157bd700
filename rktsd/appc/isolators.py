"""Isolators: what each value must be (appc spec 0.8.11, "Isolators"), and what it means.

``isolator`` makes a checked one; the other public functions read lists of checked ones. When an
isolator is repeated the last one counts, as in rkt.
"""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from rktsd.appc.cursor import Cursor, shown
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

_QUANTITY = re.compile(r"\+?([0-9]*)(?:\.([0-9]*))?(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?[0-9]+))?")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
# Digits and exponents beyond these say nothing about a machine, but cost time and memory.
_MAX_DIGITS = 40
_MAX_EXPONENT = 60
_MAX_BYTES = (1 << 63) - 1
_MAX_MILLI = 10**9

_SYSCALL = re.compile(r"[a-z][a-z0-9_]*|@[a-z0-9.]+/[a-z0-9-]+")
_ERRNO = re.compile(r"E[A-Z0-9]+")


def _scaled(text: str, where: str, *, factor: int, limit: int) -> int:
    """``text`` times ``factor``, rounded up as Kubernetes' Quantity does."""
    found = _QUANTITY.fullmatch(text)
    whole, fraction = (found[1] or "", found[2] or "") if found else ("", "")
    if not found or not whole + fraction:
        raise BadInput(f"{where}: {shown(text)} is not a quantity (like 512M, 1Gi, 500m or 2e3)")
    if len(whole + fraction) > _MAX_DIGITS or len(found[4] or "") > 4:
        raise BadInput(f"{where}: {shown(text)} is out of bounds")
    exponent = int(found[4]) if found[4] else _DECIMAL.get(found[3] or "", 0)
    if abs(exponent) > _MAX_EXPONENT:
        raise BadInput(f"{where}: {shown(text)} is out of bounds")
    exponent -= len(fraction)
    number = int(whole + fraction) * factor << _BINARY.get(found[3] or "", 0)
    power: int = 10 ** abs(exponent)
    number = number * power if exponent >= 0 else -(-number // power)
    if number > limit:
        raise BadInput(f"{where}: {shown(text)} is too large")
    return number


def parse_bytes(text: str, where: str) -> int:
    """A quantity (``1Gi``, ``512M``, ``2e3``, ``0.5k``) as whole units, a broken one rounded up."""
    return _scaled(text, where, factor=1, limit=_MAX_BYTES)


def parse_milli(text: str, where: str) -> int:
    """A quantity (``500m``, ``0.5``, ``2``) as whole thousandths, a broken one rounded up."""
    return _scaled(text, where, factor=1000, limit=_MAX_MILLI)


def _quantity(place: Cursor) -> str:
    # Some writers leave the quotes out of whole numbers, and the reference reader takes that.
    if type(place.value) is int:
        return str(place.value)
    if place.given and not isinstance(place.value, str):
        raise place.wrong("a whole number, or a string")
    return place.filled()


def _memory(limit: Cursor) -> str:
    text = _quantity(limit)
    if parse_bytes(text, limit.where) < MIN_MEMORY:
        raise limit.problem(f"{shown(limit.value)} is less than {MIN_MEMORY} bytes")
    return text


def _cpu(limit: Cursor) -> str:
    text = _quantity(limit)
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
        parse(_quantity(request), request.where)
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
    parse_bytes(_quantity(value.get("limit")), value.get("limit").where)


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
        if not _SYSCALL.fullmatch(element.text()):
            raise element.wrong("a system call or a set of them (like @appc.io/all)")
    errno = value.get("errno")
    if errno.value not in (None, "") and not _ERRNO.fullmatch(errno.text()):
        raise errno.wrong("an error name (like EPERM)")


def _check_selinux(value: Cursor) -> None:
    for name in ("user", "role", "type", "level"):
        if value.get(name).given:
            value.get(name).text()


def _check_apparmor(value: Cursor) -> None:
    value.get("profile").filled()


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
    "os/linux/selinux-context": _check_selinux,
    "os/linux/apparmor-profile": _check_apparmor,
    "os/unix/sysctl": _check_sysctl,
    "resource/block-bandwidth": _check_bandwidth,
    "resource/block-iops": _check_bandwidth,
    "resource/network-bandwidth": _check_bandwidth,
}

_APPLIED_TO_APPS = frozenset(
    {MEMORY, CPU, CPU_SHARES, OOM_SCORE_ADJ, NO_NEW_PRIVILEGES}.union(*ALTERNATIVES)
)
_APPLIED_TO_PODS = frozenset({MEMORY, CPU})


def known(name: str) -> bool:
    """Whether appc 0.8.11 defines an isolator called ``name``."""
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


class SeccompFilter(NamedTuple):
    """``mode`` is retain or remove; ``names`` are system calls and ``@`` sets; ``errno`` is what a
    refused call returns, None for killing the process."""

    mode: str
    names: tuple[str, ...]
    errno: str | None


def _last(isolators: Iterable[Isolator], *names: str) -> tuple[str, Cursor] | None:
    found = [isolator for isolator in isolators if isolator.name in names]
    return (found[-1].name, Cursor(found[-1].name, "", found[-1].value)) if found else None


def _limit(
    isolators: Iterable[Isolator], name: str, parse: Callable[[str, str], int]
) -> int | None:
    found = _last(isolators, name)
    if found is None or not found[1].get("limit").given:
        return None
    limit = found[1].get("limit")
    return parse(_quantity(limit), limit.where)


def memory_limit(isolators: Iterable[Isolator]) -> int | None:
    """The limit of resource/memory in bytes."""
    return _limit(isolators, MEMORY, parse_bytes)


def cpu_limit_milli(isolators: Iterable[Isolator]) -> int | None:
    """The limit of resource/cpu in thousandths of a processor."""
    return _limit(isolators, CPU, parse_milli)


def _number(isolators: Iterable[Isolator], name: str) -> int | None:
    found = _last(isolators, name)
    return found[1].integer(-1000, 262144) if found else None


def cpu_shares(isolators: Iterable[Isolator]) -> int | None:
    """os/linux/cpu-shares, 2 to 262144."""
    return _number(isolators, CPU_SHARES)


def oom_score_adj(isolators: Iterable[Isolator]) -> int | None:
    """os/linux/oom-score-adj, -1000 to 1000."""
    return _number(isolators, OOM_SCORE_ADJ)


def no_new_privileges(isolators: Iterable[Isolator]) -> bool:
    """os/linux/no-new-privileges, false when nothing is said."""
    found = _last(isolators, NO_NEW_PRIVILEGES)
    return found is not None and found[1].boolean()


def capability_set(isolators: Iterable[Isolator]) -> frozenset[str]:
    """The bounding set of an app: retain-set replaces the default, remove-set subtracts from it."""
    found = _last(isolators, CAPABILITIES_RETAIN, CAPABILITIES_REMOVE)
    if found is None:
        return DEFAULT_CAPABILITIES
    name, value = found
    names = frozenset(element.text() for element in _set(value))
    return names if name == CAPABILITIES_RETAIN else DEFAULT_CAPABILITIES - names


def seccomp(isolators: Iterable[Isolator]) -> SeccompFilter | None:
    """The filter that the manifest asks for, None for the default one."""
    found = _last(isolators, SECCOMP_RETAIN, SECCOMP_REMOVE)
    if found is None:
        return None
    name, value = found
    errno = value.get("errno")
    return SeccompFilter(
        mode="retain" if name == SECCOMP_RETAIN else "remove",
        names=tuple(element.text() for element in _set(value)),
        errno=errno.text() if errno.value not in (None, "") else None,
    )


def unsupported(isolators: Iterable[Isolator], *, pod: bool = False) -> list[str]:
    """Names that nothing here applies to an app (or to a ``pod``), so that they can be refused."""
    applied = _APPLIED_TO_PODS if pod else _APPLIED_TO_APPS
    return sorted({isolator.name for isolator in isolators} - applied)
