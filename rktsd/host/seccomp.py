"""System call filters: compiled by libseccomp, which systemd brings along."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Sequence
from typing import Any

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
    library = load_library()
    context = library.seccomp_init(_number(default))
    if not context:
        raise RktError("libseccomp cannot make a filter")
    try:
        token = _choose_architecture(library, context, architecture)
        library.seccomp_attr_set(context, *_TREE)
        for action, names in rules:
            for name in names:
                _add(library, context, token, action=action, name=name)
        return exported(library, context)
    finally:
        library.seccomp_release(context)


def known(name: str) -> bool:
    """Whether libseccomp has heard of a system call on any architecture. Raises Unsupported."""
    return bool(load_library().seccomp_syscall_resolve_name(name.encode()) != _UNKNOWN)


def load_library() -> Any:
    """libseccomp, its functions with their types. Raises Unsupported."""
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise Unsupported(f"a system call filter needs {_LIBRARY}: {error}") from error
    context, number, name = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_char_p
    for function, result, arguments in (
        ("seccomp_init", context, (number,)),
        ("seccomp_release", None, (context,)),
        ("seccomp_arch_native", number, ()),
        ("seccomp_arch_resolve_name", number, (name,)),
        ("seccomp_arch_add", ctypes.c_int, (context, number)),
        ("seccomp_arch_remove", ctypes.c_int, (context, number)),
        ("seccomp_attr_set", ctypes.c_int, (context, ctypes.c_int, number)),
        ("seccomp_syscall_resolve_name", ctypes.c_int, (name,)),
        ("seccomp_syscall_resolve_name_arch", ctypes.c_int, (number, name)),
        (
            "seccomp_rule_add_array",
            ctypes.c_int,
            (context, number, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p),
        ),
        ("seccomp_export_bpf", ctypes.c_int, (context, ctypes.c_int)),
    ):
        getattr(library, function).restype = result
        getattr(library, function).argtypes = arguments
    return library


def exported(library: Any, context: int) -> bytes:
    """The BPF program of a filter that was put together."""
    descriptor = os.memfd_create("filter", os.MFD_CLOEXEC)
    try:
        _checked(library.seccomp_export_bpf(context, descriptor))
        size = os.fstat(descriptor).st_size
        return os.pread(descriptor, size, 0)
    finally:
        os.close(descriptor)


def _number(action: Action) -> int:
    if isinstance(action, int):
        return _ERRNO | action
    return _ALLOW if action == "allow" else _KILL_PROCESS


def _choose_architecture(library: Any, context: int, name: str) -> int:
    token = int(library.seccomp_arch_resolve_name(_ARCHITECTURES.get(name, b"?")))
    native = int(library.seccomp_arch_native())
    if not token:
        raise Unsupported(f"there are no system call filters for {name}")
    if token != native:
        _checked(library.seccomp_arch_add(context, token))
        _checked(library.seccomp_arch_remove(context, native))
    return token


def _add(library: Any, context: int, token: int, *, action: Action, name: str) -> None:
    number = library.seccomp_syscall_resolve_name_arch(token, name.encode())
    if number < 0:
        return
    _checked(library.seccomp_rule_add_array(context, _number(action), number, 0, None))


def _checked(result: int) -> None:
    if result < 0:
        raise RktError(f"libseccomp: {os.strerror(-result)}")
