"""``rkt fetch`` without being root: rkt-fetch.socket does it for members of group rkt."""

import contextlib
import os
from collections.abc import Iterator
from typing import NamedTuple

from rktsd import paths
from rktsd.cli.context import Context
from rktsd.cli.parse import AppArguments, Parsed
from rktsd.cli.progress import Talk
from rktsd.errors import StoreError, UsageError
from rktsd.images.references import Kind, check_signature, parse_reference
from rktsd.pods.locate import configured
from rktsd.services import asking, wire

_ROOTS_OWN = "without being root the system's own configuration and trust apply"


class _Asked(NamedTuple):
    """One image as it is asked for, and the files that are handed over with it."""

    wish: dict[str, object]
    files: list[int]


def possible(context: Context) -> bool:
    """Whether somebody else is to be asked: we are not root, and it is about the system's store."""
    if os.geteuid() == 0 or not os.path.exists(wire.SOCKET):
        return False
    return context.paths.data == configured(paths.Paths()).data


def fetch(context: Context, parsed: Parsed, *, policy: str, told: Talk) -> Iterator[str]:
    """Have images fetched; their IDs as they come. Raises RktError."""
    _check(context)
    with contextlib.ExitStack() as stack:
        asked = [_asked(app, parsed, stack) for app in parsed.apps]
        yield from asking.ask(
            [each.wish for each in asked],
            [file for each in asked for file in each.files],
            policy=policy,
            report=told.report,
            watch=told.watch,
        )


def _check(context: Context) -> None:
    """Refuse what only root may say."""
    if set(context.insecure) - {"none"}:
        raise UsageError(f"--insecure-options: {_ROOTS_OWN}")
    if context.trust_keys_from_https:
        raise UsageError(f"--trust-keys-from-https: {_ROOTS_OWN}")
    usual = (paths.SYSTEM_CONFIG, paths.LOCAL_CONFIG)
    if context.paths.config_dirs() != usual:
        raise UsageError(f"--system-config, --local-config, --user-config: {_ROOTS_OWN}")


def _asked(app: AppArguments, parsed: Parsed, stack: contextlib.ExitStack) -> _Asked:
    reference = parse_reference(app.image, is_file=os.path.isfile)
    wish: dict[str, object] = {"image": app.image}
    platform = app.values.last("platform") or parsed.values.last("platform")
    if platform:
        wish["platform"] = platform
    signature = app.values.last("signature")
    check_signature(reference, signature)
    if reference.kind is not Kind.FILE:
        return _Asked(wish, [])
    path = os.path.abspath(reference.target)
    files = [_opened(path, stack)]
    if signature or os.path.exists(f"{path}.asc"):
        files.append(_opened(signature or f"{path}.asc", stack))
    return _Asked({**wish, "image": path, "files": len(files)}, files)


def _opened(path: str, stack: contextlib.ExitStack) -> int:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    stack.callback(os.close, descriptor)
    return descriptor
