"""Copy files between this machine and the root of an app, as tar streams."""

from __future__ import annotations

import contextlib
import os
import stat

# For tarwriter, which imports it when there is no more importing.
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from rktsd.errors import BadInput, NotFound, RktError, StoreError, UsageError
from rktsd.pods.approot import Root, inside, is_pseudo, refuse_pseudo
from rktsd.store.compression import open_stream
from rktsd.store.merge import DIRECTORY, Entry
from rktsd.store.receive import Policy, receive
from rktsd.store.tar import TarReader
from rktsd.store.tarwriter import END, tar_tree

_CHUNK = 1 << 16


class Wish(NamedTuple):
    """What to copy where; ``-`` on our side is a stream. ``owner`` as in Policy."""

    root: Root
    inner: str
    outer: str
    owner: tuple[int, int] | None


def copy_out(wish: Wish, output: int) -> int:
    """From the app to ``outer``, or as a tar stream to the descriptor ``output``.

    Returns how many devices were left out. Raises StoreError, NotFound, BadInput.
    """
    source, target = os.pipe2(os.O_CLOEXEC)
    name, contents = _name(wish.inner)
    try:
        with inside(
            wish.root,
            lambda: _send(wish.inner, name, target),
            ours=source,
            theirs=target,
            follows=False,
        ):
            if wish.outer == "-":
                while data := os.read(source, _CHUNK):
                    _write(output, data)
                return 0
            reader = TarReader(lambda: os.read(source, _CHUNK), "the app's files")
            with _said_of_us(), _target(wish.outer, contents=contents) as (base, top):
                policy = Policy(wish.owner, follow=False)
                devices = receive(reader, base, policy, rename=_renaming(top, contents))
            # The end of the stream: the child is not to find nobody there.
            while os.read(source, _CHUNK):
                pass
        return devices
    finally:
        os.close(source)


def copy_in(wish: Wish, input: int) -> None:
    """From ``outer``, or the tar stream of the descriptor ``input``, to the app."""
    if wish.outer == "-":
        # Its beginning is read here: what unpacks it can still be imported.
        with _said_of_us():
            chunk = open_stream(input, "standard input")
        nothing, end = os.pipe2(os.O_CLOEXEC)
        inner = wish.inner if wish.inner.endswith("/") else f"{wish.inner}/"
        work = partial(_take, wish._replace(inner=inner), chunk, None)
        with inside(wish.root, work, ours=end, theirs=nothing, follows=True):
            os.close(end)
        return
    source, target = os.pipe2(os.O_CLOEXEC)
    name = _name(wish.outer)
    work = partial(_take, wish, lambda: os.read(source, _CHUNK), name)
    with inside(wish.root, work, ours=target, theirs=source, follows=True):
        try:
            with _said_of_us():
                _send(wish.outer, name[0], target)
        finally:
            os.close(target)


@contextlib.contextmanager
def _said_of_us() -> Iterator[None]:
    """Say of errors on our side that they are, as is said of those in the app."""
    try:
        yield
    except BrokenPipeError:
        # It is the other side that has failed.
        raise
    except OSError as error:
        where = f"{os.fsdecode(error.filename)}: " if error.filename else ""
        raise StoreError(f"on this machine: {where}{error.strerror}") from error
    except RktError as error:
        error.args = (f"on this machine: {error.args[0]}",)
        raise


def _take(wish: Wish, chunk: Callable[[], bytes], name: tuple[str, bool] | None) -> None:
    """Write the stream into the root that we are in."""
    contents = name is None or name[1]
    with _target(wish.inner, contents=contents) as (base, top):
        refuse_pseudo(base, wish.inner)
        reader = TarReader(chunk, "standard input" if name is None else wish.outer)
        receive(reader, base, Policy(wish.owner, follow=True), rename=_renaming(top, contents))


def _name(path: str) -> tuple[str, bool]:
    """What the copy of ``path`` is called, and whether only what is in it is meant (``DIR/.``)."""
    contents = path in (".", "/", "") or path.endswith(("/.", "/.."))
    name = os.path.basename(path.rstrip("/"))
    return ("." if contents else name), contents


def _renaming(top: str | None, contents: bool) -> Callable[[bytes], bytes]:
    """From names in the stream to those below the target directory."""

    def rename(name: bytes) -> bytes:
        if contents or top is None:
            return name
        _, slash, rest = name.partition(b"/")
        return os.fsencode(top) + slash + rest

    return rename


@contextlib.contextmanager
def _target(path: str, *, contents: bool) -> Iterator[tuple[int, str | None]]:
    """The directory to write to, and what the copy is to be called there; None: as it is."""
    top: str | None = None
    if not os.path.isdir(path or "."):
        if path.endswith("/"):
            raise NotFound(f"{path}: no such directory")
        if contents:
            os.mkdir(path, 0o755)
        else:
            path, _, top = path.rpartition("/") if "/" in path else (".", "", path)
            path = path or "/"
    try:
        base = os.open(path or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise NotFound(f"{path}: no such directory") from error
    try:
        yield base, top
    finally:
        os.close(base)


def _send(path: str, name: str, target: int) -> None:
    """Write the file or tree to ``target`` as a tar stream under ``name``."""
    real = os.path.realpath(path)
    try:
        status = os.lstat(real)
    except FileNotFoundError as error:
        raise NotFound(f"{path}: no such file or directory") from error
    if path.endswith(("/", "/.")) and not stat.S_ISDIR(status.st_mode):
        raise UsageError(f"{path}: not a directory")
    directory = real if stat.S_ISDIR(status.st_mode) else os.path.dirname(real)
    base = os.open(directory, DIRECTORY)
    refuse_pseudo(base, path)
    try:
        if stat.S_ISDIR(status.st_mode):
            pieces = tar_tree(_walk(base), "" if name == "." else name)
        elif stat.S_ISREG(status.st_mode):

            def call(member: tarfile.TarInfo) -> None:
                member.name = name

            pieces = tar_tree([Entry(os.path.basename(real), base, status)], "", change=call)
        else:
            raise BadInput(f"{path}: neither a file nor a directory")
        for piece in pieces:
            _write(target, piece)
        _write(target, END)
    finally:
        os.close(base)


def _walk(base: int) -> Iterator[Entry]:
    """Every file below a directory that others may change meanwhile, but those of the kernel."""
    pending = [Entry("", base, os.fstat(base))]
    while pending:
        entry = pending.pop()
        try:
            directory = os.open(entry.path or ".", DIRECTORY, dir_fd=base)
        except FileNotFoundError:
            continue
        try:
            yield entry
            if is_pseudo(directory):
                continue
            with os.scandir(directory) as found:
                names = sorted(each.name for each in found)
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
                    child = Entry(f"{entry.path}/{name}" if entry.path else name, base, status)
                    if stat.S_ISDIR(status.st_mode):
                        pending.append(child)
                    else:
                        yield child
        finally:
            os.close(directory)


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(descriptor, view) :]
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StoreError(f"cannot write: {error.strerror}") from error
