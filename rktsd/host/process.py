"""The one door to other programs: an environment made from nothing, no inherited standard input."""

import contextlib
import os
import shlex
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from rktsd.errors import CommandFailed

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
}
_TICK = 0.1
_PIPE = 65536


def run(
    command: Sequence[str],
    *,
    input: bytes | None = None,
    environment: Mapping[str, str] | None = None,
    timeout: float | None = None,
    check: bool = True,
    pass_fds: Sequence[int] = (),
    tick: Callable[[], None] | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run ``command`` to its end, capturing both outputs.

    ``pass_fds`` are descriptors it inherits: a lock among them is held as long as it lives, even
    when we do not. ``environment`` is added to a minimal one. ``tick`` is called every now and then
    and at the end; what it raises ends the program. ``meanwhile`` is called once, while the program
    runs; what it raises is raised when that has ended. Raises CommandFailed when the program is
    missing, does not end within ``timeout`` seconds, or (with ``check``) exits with an error.
    """
    failure = None
    try:
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**ENVIRONMENT, **(environment or {})},
            pass_fds=pass_fds,
        ) as child:
            try:
                if meanwhile is not None:
                    input = _fed(child, input)
                    failure = _failure(meanwhile)
                output, complaints = _communicate(child, input, timeout, tick)
            except BaseException:
                child.kill()
                raise
        if failure is not None:
            raise failure
        done = subprocess.CompletedProcess(command, child.returncode, output, complaints)
    except OSError as error:
        raise CommandFailed(f"cannot run {command[0]}: {error.strerror}", status=127) from error
    except subprocess.TimeoutExpired as error:
        message = f"{os.path.basename(command[0])} did not end within {timeout:g} s"
        raise CommandFailed(message, status=124) from error
    if check and done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        reason = lines[-1] if lines else f"exit status {done.returncode}"
        raise CommandFailed(f"{shlex.join(command)}: {reason}", status=done.returncode)
    return done


def _fed(child: subprocess.Popen[bytes], input: bytes | None) -> bytes | None:
    """Give the program its input, so that it need not wait; what is left of it to be given."""
    # More would wait for a reader.
    if child.stdin is None or input is None or len(input) > _PIPE:
        return input
    with contextlib.suppress(BrokenPipeError), child.stdin:
        child.stdin.write(input)
    child.stdin = None
    return None


def _failure(call: Callable[[], None]) -> BaseException | None:
    try:
        call()
    except BaseException as error:
        return error
    return None


def _communicate(
    child: subprocess.Popen[bytes],
    input: bytes | None,
    timeout: float | None,
    tick: Callable[[], None] | None,
) -> tuple[bytes, bytes]:
    if tick is None:
        return child.communicate(input, timeout=timeout)
    left = timeout
    while True:
        wait = _TICK if left is None else min(_TICK, left)
        try:
            found = child.communicate(input, timeout=wait)
        except subprocess.TimeoutExpired:
            input = None
            if left is not None and left <= wait:
                raise
            left = None if left is None else left - wait
        else:
            tick()
            return found
        tick()


def start(command: Sequence[str], *, fed: bool = False) -> subprocess.Popen[bytes]:
    """Start ``command`` with its standard output in a pipe; what it complains of is dropped.

    With ``fed`` its standard input is a pipe as well. The caller waits for it. Raises CommandFailed
    when the program is missing.
    """
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE if fed else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=ENVIRONMENT,
            # ^C is for us: the program goes on until we end it.
            process_group=0,
        )
    except OSError as error:
        raise CommandFailed(f"cannot run {command[0]}: {error.strerror}", status=127) from error


def start_attached(
    command: Sequence[str], *, executable: str, pass_fds: Sequence[int]
) -> subprocess.Popen[bytes]:
    """Start ``command`` with our own three streams, from the file ``executable``.

    The caller waits for it. Raises CommandFailed when it cannot be started.
    """
    try:
        return subprocess.Popen(
            command, executable=executable, env=ENVIRONMENT, pass_fds=pass_fds, process_group=0
        )
    except OSError as error:
        raise CommandFailed(f"cannot run {command[0]}: {error.strerror}", status=127) from error


def replace(command: Sequence[str]) -> NoReturn:
    """Become ``command``, with the environment as it is. Raises CommandFailed."""
    try:
        os.execvp(command[0], list(command))
    except OSError as error:
        raise CommandFailed(f"cannot run {command[0]}: {error.strerror}", status=127) from error
