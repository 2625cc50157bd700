"""Files on their way into the store and things on their way out of it."""

import os

from rktsd.errors import BadInput, NotFound, StoreError
from rktsd.store.tree import remove_tree


def is_ours(root: str, path: str) -> bool:
    """Whether ``path`` is scratch of the store in ``root``, so that nobody else writes it."""
    return os.path.realpath(path).startswith(os.path.realpath(f"{root}/tmp") + "/")


def take(root: str, path: str, target: str) -> None:
    """``path`` as ``target``: another name of it if it is ours, a copy if it is someone else's.

    Raises NotFound, BadInput, StoreError for ``path``; OSError for ``target``.
    """
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        kind = NotFound if isinstance(error, FileNotFoundError) else StoreError
        raise kind(f"cannot read {path}: {error.strerror}") from error
    if not os.path.isfile(path):
        raise BadInput(f"{path}: not a regular file")
    if is_ours(root, path):
        os.link(path, target)
    else:
        import shutil

        shutil.copyfile(path, target)


def discard(root: str, path: str) -> int:
    """Remove ``path`` of the store, the bytes freed. Its name goes first: no half of it has one.

    Takes no room, so that a full disk can be freed. The caller holds the lock exclusively.
    """
    place = f"{root}/tmp/{os.getpid()}-{os.urandom(6).hex()}"
    try:
        os.rename(path, place)
    except FileNotFoundError:
        return 0
    return remove_tree(place)
