"""System call filters through libseccomp: what OCI calls seccomp, as a program for the kernel."""

import ctypes
import errno
import os
from collections.abc import Mapping, Sequence
from typing import Any

from rktsd.errors import BadInput
from rktsd.host.seccomp import exported, load_library

# seccomp.h of libseccomp.
_ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
_COMPARISONS = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}
_NO_SYSCALL = -1


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("datum_a", ctypes.c_uint64),
        ("datum_b", ctypes.c_uint64),
    )


def program(filter: Mapping[str, Any], where: str) -> bytes:
    """The BPF program of ``filter``, an object as "linux.seccomp" of an OCI config.json.

    System calls that libseccomp does not know are passed over, as systemd-nspawn does. Raises
    BadInput beginning with ``where``, Unsupported where the library is missing.
    """
    library = load_library()
    default = _action(filter.get("defaultAction"), filter.get("defaultErrnoRet"), where)
    context = library.seccomp_init(default)
    if not context:
        raise BadInput(f"{where}: libseccomp refuses the default action")
    try:
        for name in filter.get("architectures") or ():
            _add_architecture(library, context, str(name), where)
        for rule in filter.get("syscalls") or ():
            _add_rule(library, context, rule, default, where)
        return exported(library, context)
    finally:
        library.seccomp_release(context)


def _action(name: object, number: object, where: str) -> int:
    if name not in _ACTIONS:
        raise BadInput(f"{where}: unknown action {name!r}")
    action = _ACTIONS[str(name)]
    if name == "SCMP_ACT_ERRNO":
        action |= (number if isinstance(number, int) else errno.EPERM) & 0xFFFF
    elif name == "SCMP_ACT_TRACE" and isinstance(number, int):
        action |= number & 0xFFFF
    return action


def _add_architecture(library: Any, context: int, name: str, where: str) -> None:
    short = name.removeprefix("SCMP_ARCH_").lower()
    token = library.seccomp_arch_resolve_name(short.encode())
    if not token:
        raise BadInput(f"{where}: unknown architecture {name!r}")
    result = library.seccomp_arch_add(context, token)
    if result not in (0, -errno.EEXIST):
        raise BadInput(f"{where}: {name}: {os.strerror(-result)}")


def _add_rule(
    library: Any, context: int, rule: Mapping[str, Any], default: int, where: str
) -> None:
    action = _action(rule.get("action"), rule.get("errnoRet"), where)
    if action == default:
        # libseccomp refuses a rule that changes nothing.
        return
    comparisons = _comparisons(rule.get("args") or (), where)
    for name in rule.get("names") or ():
        number = library.seccomp_syscall_resolve_name(str(name).encode())
        if number == _NO_SYSCALL:
            continue
        array = (_Comparison * len(comparisons))(*comparisons)
        result = library.seccomp_rule_add_array(context, action, number, len(comparisons), array)
        # A call of another architecture has a number of libseccomp's own.
        if result not in (0, -errno.EEXIST, -errno.EDOM):
            raise BadInput(f"{where}: {name}: {os.strerror(-result)}")


def _comparisons(arguments: Sequence[Mapping[str, Any]], where: str) -> list[_Comparison]:
    found = []
    for argument in arguments:
        operation = _COMPARISONS.get(str(argument.get("op")))
        if operation is None:
            raise BadInput(f"{where}: unknown comparison {argument.get('op')!r}")
        value, second = int(argument.get("value", 0)), int(argument.get("valueTwo", 0))
        found.append(_Comparison(int(argument.get("index", 0)), operation, value, second))
    return found
