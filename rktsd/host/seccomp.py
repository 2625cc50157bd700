"""System call filters: compiled by libseccomp, which systemd brings along."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Sequence

from rktsd.errors import RktError, Unsupported

_LIBRARY = "libseccomp.so.2"
_ALLOW = 0x7FFF0000
_KILL_PROCESS = 0x80000000
_ERRNO = 0x00050000
_TREE = (8, 2)  # SCMP_FLTATR_CTL_OPTIMIZE: a binary tree instead of a row of comparisons
_UNKNOWN = -1
# What libseccomp calls the architectures of appc.
_ARCHITECTURES = {
    "amd64": b"x86_64", "i386": b"x86", "aarch64": b"aarch64", "armv7l": b"arm", "armv6l": b"arm",
    "ppc64le": b"ppc64le", "s390x": b"s390x",
}  # fmt: skip

Action = str | int
"""``allow``, ``kill`` (the process, by SIGSYS), or the number of an error."""


def compile_filter(
    architecture: str, *, default: Action, rules: Iterable[tuple[Action, Sequence[str]]]
) -> bytes:
    """The BPF program of a filter, as seccomp(2) takes it.

    Names that libseccomp does not know for the architecture are left out: they are of other
    machines, or newer than the library, whose calls the default answers. What other architectures
    call is killed. Raises Unsupported.
    """
    try:
        library = ctypes.CDLL(_LIBRARY, use_errno=True)
    except OSError as error:
        raise Unsupported(f"a system call filter needs {_LIBRARY}: {error}") from error
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(_number(default))))
    if not context:
        raise RktError("libseccomp cannot make a filter")
    try:
        token = _choose_architecture(library, context, architecture)
        library.seccomp_attr_set(context, ctypes.c_int(_TREE[0]), ctypes.c_uint32(_TREE[1]))
        for action, names in rules:
            for name in names:
                _add(library, context, token, action=action, name=name)
        return _exported(library, context)
    finally:
        library.seccomp_release(context)


def known(name: str) -> bool:
    """Whether libseccomp has heard of a system call on any architecture. Raises Unsupported."""
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise Unsupported(f"a system call filter needs {_LIBRARY}: {error}") from error
    return bool(library.seccomp_syscall_resolve_name(name.encode()) != _UNKNOWN)


def _number(action: Action) -> int:
    if isinstance(action, int):
        return _ERRNO | action
    return _ALLOW if action == "allow" else _KILL_PROCESS


def _choose_architecture(library: ctypes.CDLL, context: ctypes.c_void_p, name: str) -> int:
    token = int(library.seccomp_arch_resolve_name(_ARCHITECTURES.get(name, b"?"))) & 0xFFFFFFFF
    native = int(library.seccomp_arch_native()) & 0xFFFFFFFF
    if not token:
        raise Unsupported(f"there are no system call filters for {name}")
    if token != native:
        _checked(library.seccomp_arch_add(context, ctypes.c_uint32(token)))
        _checked(library.seccomp_arch_remove(context, ctypes.c_uint32(native)))
    return token


def _add(
    library: ctypes.CDLL, context: ctypes.c_void_p, token: int, *, action: Action, name: str
) -> None:
    number = library.seccomp_syscall_resolve_name_arch(ctypes.c_uint32(token), name.encode())
    if number < 0:
        return
    value = ctypes.c_uint32(_number(action))
    _checked(library.seccomp_rule_add_array(context, value, ctypes.c_int(number), 0, None))


def _exported(library: ctypes.CDLL, context: ctypes.c_void_p) -> bytes:
    descriptor = os.memfd_create("filter", os.MFD_CLOEXEC)
    try:
        _checked(library.seccomp_export_bpf(context, ctypes.c_int(descriptor)))
        size = os.fstat(descriptor).st_size
        return os.pread(descriptor, size, 0)
    finally:
        os.close(descriptor)


def _checked(result: int) -> None:
    if result < 0:
        raise RktError(f"libseccomp: {os.strerror(-result)}")
