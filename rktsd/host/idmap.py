"""Id-mapped mounts: a tree of the host as one of another range of users and groups sees it."""

from __future__ import annotations

import contextlib
import errno
import os

from rktsd.host import kernel
from rktsd.paths import USER_RANGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def mapping(first: int) -> Iterator[int]:
    """A descriptor of a user namespace where 0 to 65535 are ``first`` and what follows it.

    Raises OSError when the kernel gives none.
    """
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        _be_namespace(ready, go)
    try:
        os.close(ready[1])
        os.close(go[0])
        failure = os.read(ready[0], 8)
        if failure != b"0":
            number = int(failure or b"5")
            raise OSError(number, os.strerror(number))
        for kind in ("uid_map", "gid_map"):
            with open(f"/proc/{child}/{kind}", "w") as file:
                file.write(f"0 {first} {USER_RANGE}\n")
        descriptor = os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(ready[0])
        os.close(go[1])
        os.waitpid(child, 0)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _be_namespace(ready: tuple[int, int], go: tuple[int, int]) -> None:
    """In the child: be in a new user namespace until the parent has seen to it."""
    try:
        os.close(go[1])
        failure = 0
        try:
            kernel.unshare(kernel.CLONE_NEWUSER)
        except OSError as error:
            failure = error.errno or errno.EIO
        os.write(ready[1], str(failure).encode())
        os.read(go[0], 1)
    finally:
        os._exit(0)


@contextlib.contextmanager
def mapped(source: str, users: int, *, recursive: bool) -> Iterator[int]:
    """A descriptor of ``source``, mapped by the user namespace ``users``, mounted nowhere.

    ``recursive``: with what is mounted below it. Raises OSError: EINVAL says that a file system in
    it cannot be mapped, EPERM that it is mapped already.
    """
    tree = kernel.clone_mount(source, recursive=recursive)
    try:
        kernel.change_mount(
            tree, attributes=kernel.MOUNT_ATTR_IDMAP, users=users, recursive=recursive
        )
        yield tree
    finally:
        os.close(tree)


def become_root(users: int) -> None:
    """Be user 0 of the user namespace, with all its capabilities and none outside. Raises OSError.

    Only a process with a single thread can.
    """
    kernel.setns(users, kernel.CLONE_NEWUSER)
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
