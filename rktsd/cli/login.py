"""``rkt login`` and ``rkt logout``."""

import os
import sys

from rktsd.cli.context import Context
from rktsd.cli.parse import Parsed, Values
from rktsd.errors import NotFound, UsageError
from rktsd.images.credentials import Credentials, forget, login_file, remember
from rktsd.images.login import check_registry, verify_login
from rktsd.pods.options import expand_insecure

_PASSWORD_LIMIT = 64 << 10


def login(context: Context, parsed: Parsed) -> int:
    """Ask the registry whether it takes the credentials, then write them down."""
    registry = _registry(parsed)
    user = parsed.values.last("username") or _ask_user(registry)
    if ":" in user or not user.isprintable():
        raise UsageError(f"the user name {user!r} holds a colon or control characters")
    password = _password(parsed.values, registry, user)
    path = _file(context, parsed.values)
    wanted = verify_login(
        registry,
        Credentials("this login", user, password),
        paths=context.paths,
        insecure=expand_insecure(context.insecure),
    )
    remember(path, registry, user=user, password=password)
    if not wanted:
        context.note(f"{registry} wants no password to begin with; whether it is right is unknown")
    context.note(f"logged in to {registry} as {user}, written to {path}")
    return 0


def logout(context: Context, parsed: Parsed) -> int:
    """Forget the credentials for a registry."""
    registry = _registry(parsed)
    path = _file(context, parsed.values)
    if not forget(path, registry):
        raise NotFound(f"{path}: nothing about {registry}")
    context.note(f"removed {registry} from {path}")
    return 0


def _registry(parsed: Parsed) -> str:
    if len(parsed.arguments) != 1:
        raise UsageError("must provide one registry")
    return check_registry(parsed.arguments[0])


def _file(context: Context, values: Values) -> str:
    given = values.last("authfile")
    if given == "":
        raise UsageError("--authfile: empty")
    return given or login_file(context.paths, os.environ)


def _ask_user(registry: str) -> str:
    if not sys.stdin.isatty():
        raise UsageError("--username is needed: standard input is not a terminal")
    sys.stderr.write(f"User name for {registry}: ")
    sys.stderr.flush()
    user = sys.stdin.readline().strip()
    if not user:
        raise UsageError("no user name given")
    return user


def _password(values: Values, registry: str, user: str) -> str:
    if values.on("password-stdin"):
        password = sys.stdin.read(_PASSWORD_LIMIT).rstrip("\r\n")
    elif sys.stdin.isatty():
        from getpass import getpass

        password = getpass(f"Password of {user} for {registry}: ", sys.stderr)
    else:
        raise UsageError(
            "unable to ask for a password: standard input is not a terminal",
            hint="--password-stdin reads it from there",
        )
    if not password:
        raise UsageError("no password given")
    if "\n" in password or "\0" in password:
        raise UsageError("the password holds a line break or a NUL")
    return password
