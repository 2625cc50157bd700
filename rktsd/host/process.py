"""The one door to other programs: an environment made from nothing, no inherited standard input."""

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from typing import NoReturn

from rktsd.errors import CommandFailed

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
}


def run(
    command: Sequence[str],
    *,
    input: bytes | None = None,
    environment: Mapping[str, str] | None = None,
    timeout: float | None = None,
    check: bool = True,
    pass_fds: Sequence[int] = (),
) -> subprocess.CompletedProcess[bytes]:
    """Run ``command`` to its end, capturing both outputs.

    ``pass_fds`` are descriptors it inherits: a lock among them is held as long as it lives, even
    when we do not. ``environment`` is added to a minimal one. Raises CommandFailed when the program
    is missing, does not end within ``timeout`` seconds, or (with ``check``) exits with an error.
    """
    try:
        done = subprocess.run(
            command,
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            env={**ENVIRONMENT, **(environment or {})},
            timeout=timeout,
            check=False,
            pass_fds=pass_fds,
        )
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


def start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start ``command`` with its standard output in a pipe; what it complains of is dropped.

    The caller waits for it. Raises CommandFailed when the program is missing.
    """
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=ENVIRONMENT,
            # ^C is for us: the program goes on until we end it.
            process_group=0,
        )
    except OSError as error:
        raise CommandFailed(f"cannot run {command[0]}: {error.strerror}", status=127) from error


def replace(command: Sequence[str]) -> NoReturn:
    """Become ``command``, with the environment as it is. Raises CommandFailed."""
    try:
        os.execvp(command[0], list(command))
    except OSError as error:
        raise CommandFailed(f"cannot run {command[0]}: {error.strerror}", status=127) from error
