"""What every command is told: the directories, and the global flags."""

import os
import sys
from typing import NamedTuple

from rktsd import paths
from rktsd.cli.parse import Values
from rktsd.errors import RktError, UsageError
from rktsd.paths import Paths

_INSECURE = (
    "none", "image", "tls", "http", "pubkey", "ondisk", "capabilities", "paths", "seccomp",
    "all-fetch", "all-run", "all",
)  # fmt: skip


class Context(NamedTuple):
    """``insecure`` are words of --insecure-options as given, groups among them."""

    command: str
    paths: Paths
    debug: bool = False
    insecure: tuple[str, ...] = ()
    trust_keys_from_https: bool = False

    def note(self, message: str) -> None:
        """A line for the user on standard error."""
        note(self.command, message)

    def fail(self, error: RktError) -> None:
        """An error on standard error, with its causes below when they are asked for."""
        note(self.command, str(error))
        if self.debug:
            explain(error)


def note(command: str, message: str) -> None:
    """``COMMAND: message`` on standard error, in one line; of ``image rm`` the last word (rkt)."""
    try:
        sys.stderr.write(f"{command.rpartition(' ')[2]}: {one_line(message)}\n")
        sys.stderr.flush()
    except OSError:
        # The terminal is gone, and with it whoever would read this.
        silence(2)


def silence(descriptor: int) -> None:
    """Write to nowhere from now on, where the interpreter tries once more to write at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)


def one_line(message: str) -> str:
    """``message`` without what would end the line or steer a terminal."""
    return "".join(c if c.isprintable() else " " for c in message)


def explain(error: BaseException) -> None:
    """The causes of ``error``, each deeper than the one before (rkt --debug)."""
    depth, cause = 1, error.__cause__
    while cause is not None:
        text = one_line(f"{type(cause).__name__}: {cause}")
        sys.stderr.write(f"{'  ' * depth}└─{text}\n")
        depth, cause = depth + 1, cause.__cause__


def context(command: str, values: Values) -> Context:
    """Read the global flags, and where paths.d puts the data directory when no flag does.

    Raises UsageError, and what ``pods.locate.configured`` does.
    """
    found = Paths(
        data=_directory(values, "dir", paths.DATA),
        system_config=_directory(values, "system-config", paths.SYSTEM_CONFIG),
        local_config=_directory(values, "local-config", paths.LOCAL_CONFIG),
        user_config=_directory(values, "user-config", "") or None,
    )
    if values.last("dir") is None and found.has_paths_files():
        from rktsd.pods.locate import configured

        found = configured(found)
    return Context(
        command=command,
        paths=found,
        debug=values.on("debug"),
        insecure=_insecure(values),
        trust_keys_from_https=values.on("trust-keys-from-https"),
    )


def _directory(values: Values, flag: str, default: str) -> str:
    given = values.last(flag)
    if given is None:
        return default
    if not given:
        raise UsageError(f"--{flag}: empty")
    # rkt resolves links: the layers' paths are mount options and are compared later.
    return os.path.realpath(given)


def _insecure(values: Values) -> tuple[str, ...]:
    words = [word.strip().lower() for word in values.words("insecure-options")]
    for word in words:
        if word not in _INSECURE:
            known = ", ".join(_INSECURE)
            raise UsageError(f'--insecure-options: unknown option "{word}", not one of {known}')
        if words.count(word) > 1:
            raise UsageError(f'--insecure-options: "{word}" is given more than once')
    return tuple(word for word in words if word != "none")


def require_root() -> None:
    """Raises UsageError for others, in the words of rkt."""
    if os.geteuid() != 0:
        raise UsageError("cannot run as unprivileged user")


def require_systemd() -> None:
    """Raises UsageError where systemd is not what runs the machine (sd_booted(3))."""
    if not os.path.isdir("/run/systemd/system"):
        raise UsageError("systemd does not run this machine, and pods are units of systemd")
