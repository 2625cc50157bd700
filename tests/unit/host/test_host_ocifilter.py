"""System call filters: the program does in the kernel what the object says."""

import os
import signal
import struct
import subprocess
import sys

import pytest

from rktsd.errors import BadInput
from rktsd.host.ocifilter import program

ALLOW_ALL = {"defaultAction": "SCMP_ACT_ALLOW"}
LOAD = """
import ctypes, os, sys
data = bytes.fromhex(sys.argv[1])
class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(38, 1, 0, 0, 0)
made = Program(len(data) // 8, data)
assert libc.prctl(22, 2, ctypes.byref(made), 0, 0) == 0, ctypes.get_errno()
for word in sys.argv[2:]:
    try:
        eval(word)
        print("fine")
    except OSError as error:
        print(error.errno)
"""


def _under(filter: dict[str, object], *expressions: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LOAD, program(filter, "test").hex(), *expressions],
        capture_output=True,
        text=True,
    )


def test_rules_actions_and_arguments() -> None:
    rules: list[dict[str, object]] = [
        {"names": ["mkdir", "mkdirat", "no_such_call"], "action": "SCMP_ACT_ERRNO"},
        {"names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
        {
            "names": ["dup2", "dup3"],
            "action": "SCMP_ACT_ERRNO",
            "args": [{"index": 1, "value": 77, "op": "SCMP_CMP_EQ"}],
        },
        # The default's own action says nothing new.
        {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
    ]
    done = _under(
        {**ALLOW_ALL, "syscalls": rules},
        "os.mkdir('/')", "os.getpriority(0, 0)", "os.dup2(1, 77)", "os.dup2(1, 78)",
    )  # fmt: skip
    assert done.stdout.split() == ["1", "38", "1", "fine"], done.stderr


def test_a_call_may_kill() -> None:
    rules = [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL_PROCESS"}]
    assert _under({**ALLOW_ALL, "syscalls": rules}, "os.mkdir('/')").returncode == -signal.SIGSYS


def test_a_program_is_whole_instructions() -> None:
    data = program({**ALLOW_ALL, "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X86"]}, "test")
    assert len(data) % struct.calcsize("HBBI") == 0
    assert data


@pytest.mark.parametrize(
    ("filter", "message"),
    [
        ({}, "test: unknown action None"),
        ({"defaultAction": "ALLOW"}, "test: unknown action 'ALLOW'"),
        ({**ALLOW_ALL, "architectures": ["SCMP_ARCH_PDP11"]}, "unknown architecture"),
        ({**ALLOW_ALL, "syscalls": [{"names": ["read"], "action": "x"}]}, "unknown action 'x'"),
        (
            {**ALLOW_ALL, "syscalls": [
                {"names": ["read"], "action": "SCMP_ACT_TRAP", "args": [{"op": "<"}]}
            ]},
            "unknown comparison '<'",
        ),
    ],
)  # fmt: skip
def test_what_is_no_filter(filter: dict[str, object], message: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(BadInput, match=message):
        program(filter, "test")
    assert len(os.listdir("/proc/self/fd")) == before
