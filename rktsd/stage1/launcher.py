"""The program that an app starts through, for what systemd-nspawn cannot do or is slow at. Pure.

systemd-nspawn's filters answer EPERM alone, and hold while it gives up its own privileges, for
which it needs calls that an app's filter may forbid. It compiles them at each start, and keeps the
memory. It knows nothing of AppArmor either. So what it executes is a static ELF program of a few
kilobytes, made here: it does the last steps and becomes the app. No compiler is needed for it: it
is a row of system calls with constant arguments, each of which ends the program with status 203
(EXIT_EXEC, systemd.exec(5)) when it fails.
"""

import struct
from collections.abc import Sequence
from typing import NamedTuple

PATH = "/run/rkt-launcher"
"""Where the program is in the root of an app. /run there is systemd-nspawn's own file system."""

APPARMOR = "/proc/thread-self/attr/apparmor/exec"

_BASE = 0x400000
_FAILED = 203
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_SET_MODE_FILTER = 1
_O_WRONLY_CLOEXEC = 0x80001
_AT_FDCWD = 0xFFFFFF9C
# In place of an argument: what the call before this one returned.
_RESULT = -1

_Call = tuple[str, Sequence[int]]


class _Machine(NamedTuple):
    elf_class: int
    elf_machine: int
    numbers: dict[str, int]


_MACHINES = {
    "amd64": _Machine(2, 62, {
        "prctl": 157, "seccomp": 317, "open": 2, "write": 1, "exit": 231, "execve": 59,
        "umask": 95,
    }),
    "i386": _Machine(1, 3, {
        "prctl": 172, "seccomp": 354, "open": 5, "write": 4, "exit": 252, "execve": 11,
        "umask": 60,
    }),
    "aarch64": _Machine(2, 183, {
        "prctl": 167, "seccomp": 277, "openat": 56, "write": 64, "exit": 94, "execve": 221,
        "umask": 166,
    }),
}  # fmt: skip


def known(architecture: str) -> bool:
    """Whether ``program`` can make one for that architecture (appc's names)."""
    return architecture in _MACHINES


def program(
    architecture: str,
    *,
    filter: bytes | None,
    profile: str | None = None,
    umask: int | None = None,
) -> bytes:
    """An ELF program that executes its first argument, the others being the argument vector.

    ``filter`` is a BPF program as seccomp(2) takes it, which sets no_new_privs as well. ``profile``
    is the AppArmor profile that the app gets (aa_change_onexec(2)), ``umask`` its umask(2).
    """
    machine = _MACHINES[architecture]
    wide = machine.elf_class == 2
    header = 64 + 56 if wide else 52 + 32
    text = f"exec {profile}".encode() if profile else b""
    # The addresses of the data depend on the length of the code, which does not depend on them.
    length = len(_code(architecture, 0, filter=filter, text=text, umask=umask))
    code = _code(architecture, _BASE + header + length, filter=filter, text=text, umask=umask)
    data = _data(_BASE + header + len(code), wide=wide, filter=filter, text=text)
    size = header + len(code) + len(data)
    return _headers(machine, size, entry=_BASE + header) + code + data


def _headers(machine: _Machine, size: int, *, entry: int) -> bytes:
    """The ELF header, and one segment that is the whole file: readable and executable."""
    identity = b"\x7fELF" + bytes([machine.elf_class, 1, 1]) + bytes(9)
    if machine.elf_class == 2:
        return struct.pack(
            "<16sHHIQQQIHHHHHH", identity, 2, machine.elf_machine, 1, entry, 64, 0, 0, 64, 56, 1,
            0, 0, 0,
        ) + struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)  # fmt: skip
    return struct.pack(
        "<16sHHIIIIIHHHHHH", identity, 2, machine.elf_machine, 1, entry, 52, 0, 0, 52, 32, 1,
        0, 0, 0,
    ) + struct.pack("<IIIIIIII", 1, 0, _BASE, _BASE, size, size, 5, 0x1000)  # fmt: skip


def _data(address: int, *, wide: bool, filter: bytes | None, text: bytes) -> bytes:
    """A sock_fprog with its filter, then the path and the words for AppArmor."""
    found = b""
    if filter is not None:
        pointer = struct.pack("<HxxxxxxQ" if wide else "<HxxI", len(filter) // 8, 0)
        place = address + len(pointer)
        found = pointer[: -8 if wide else -4] + struct.pack("<Q" if wide else "<I", place) + filter
    return found + (APPARMOR.encode() + b"\0" + text if text else b"")


def _code(
    architecture: str, data: int, *, filter: bytes | None, text: bytes, umask: int | None
) -> bytes:
    """The calls, for a program whose data are at the address ``data``."""
    words = data
    calls: list[_Call] = [] if umask is None else [("umask", (umask,))]
    if filter is not None:
        words += (8 if architecture == "i386" else 16) + len(filter)
    if text:
        written = words + len(APPARMOR) + 1
        if architecture == "aarch64":
            calls.append(("openat", (_AT_FDCWD, words, _O_WRONLY_CLOEXEC, 0)))
        else:
            calls.append(("open", (words, _O_WRONLY_CLOEXEC, 0)))
        calls.append(("write", (_RESULT, written, len(text))))
    if filter is not None:
        calls.append(("prctl", (_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)))
        calls.append(("seccomp", (_SECCOMP_SET_MODE_FILTER, 0, data)))
    numbers = _MACHINES[architecture].numbers
    if architecture == "aarch64":
        return _arm(numbers, calls)
    return _x86(numbers, calls, wide=architecture == "amd64")


def _x86(numbers: dict[str, int], calls: Sequence[_Call], *, wide: bool) -> bytes:
    # mov REGISTER, IMMEDIATE: edi esi edx r10d r8d, or ebx ecx edx esi edi.
    loads = (
        (b"\xbf", b"\xbe", b"\xba", b"\x41\xba", b"\x41\xb8")
        if wide
        else (b"\xbb", b"\xb9", b"\xba", b"\xbe", b"\xbf")
    )
    enter = b"\x0f\x05" if wide else b"\xcd\x80"
    move_result = b"\x89\xc7" if wide else b"\x89\xc3"

    def call(name: str, arguments: Sequence[int]) -> bytes:
        code = b""
        for load, value in zip(loads, arguments, strict=False):
            code += move_result if value == _RESULT else load + struct.pack("<I", value)
        return code + b"\xb8" + struct.pack("<I", numbers[name]) + enter

    give_up = call("exit", (_FAILED,))
    # test eax, eax; jns over the end
    checked = b"\x85\xc0\x79" + bytes([len(give_up)]) + give_up
    code = b"".join(call(name, arguments) + checked for name, arguments in calls)
    if wide:
        # rcx = argc; rsi = argv + 2; rdi = argv[1]; rdx = envp
        code += bytes.fromhex("488b0c24 488d742418 488b7c2410 488d54cc10")
    else:
        # ecx = argc; edx = envp; ebx = argv[1]; ecx = argv + 2
        code += bytes.fromhex("8b0c24 8d548c08 8b5c2408 8d4c240c")
    return code + call("execve", ()) + give_up


def _arm(numbers: dict[str, int], calls: Sequence[_Call]) -> bytes:
    def load(register: int, value: int) -> list[int]:
        # movz wN, LOW; movk wN, HIGH, lsl 16
        low, high = value & 0xFFFF, value >> 16
        return [0x52800000 | low << 5 | register, 0x72A00000 | high << 5 | register]

    def call(name: str, arguments: Sequence[int]) -> list[int]:
        code = []
        for register, value in enumerate(arguments):
            if value != _RESULT:
                # The result is in x0 already, where the first argument belongs.
                code += load(register, value)
        return [*code, *load(8, numbers[name]), 0xD4000001]

    give_up = call("exit", (_FAILED,))
    # tbz w0, 31, over the end
    checked = [0x36F80000 | (len(give_up) + 1) << 5, *give_up]
    code = [word for name, arguments in calls for word in (*call(name, arguments), *checked)]
    # x9 = argc; x1 = argv + 1; x0 = argv[1]; x2 = envp; x1 = argv + 2
    code += [0xF94003E9, 0x910043E1, 0xF9400020, 0x8B090C22, 0x91002021]
    code += [*call("execve", ()), *give_up]
    return struct.pack(f"<{len(code)}I", *code)
