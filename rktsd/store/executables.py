"""Find the program of an app in its image, and say beforehand why it could not be executed."""

import os
import stat
import struct
from collections.abc import Sequence

from rktsd.errors import BadInput, NotFound
from rktsd.store.rootview import RootView

_MAX_SCRIPTS = 5
_PT_INTERP = 3


def find_executable(
    view: RootView,
    command: str,
    *,
    working_directory: str = "/",
    path: str | None = None,
    mounted: Sequence[str] = (),
    app: str | None = None,
) -> str:
    """The absolute path inside the root that ``command`` means.

    An absolute command is taken as it is, one with a slash is relative to ``working_directory``, a
    bare name is searched in ``path`` (colon-separated) or, without one, in the working directory,
    /bin and /usr/bin (rkt's rule). What lies in ``mounted`` (paths of the app's volumes) is not
    looked at: the image cannot know it. Raises NotFound or BadInput naming the file that is
    missing or cannot be executed: the program, its ELF interpreter or that of its first line.
    """
    if not command:
        raise BadInput(_message(app, '"": no command'))
    if "/" in command:
        candidate = _join(working_directory, command)
        _check(view, candidate, working_directory, mounted, app, 0)
        return candidate
    directories = [working_directory, "/bin", "/usr/bin"] if path is None else path.split(":")
    present: str | None = None
    for directory in directories:
        candidate = f"{_join(working_directory, directory).rstrip('/')}/{command}"
        if _is_mounted(candidate, mounted):
            return candidate
        found = view.resolve(candidate)
        if found is None or not stat.S_ISREG(found.status.st_mode):
            continue
        if found.status.st_mode & 0o111:
            _check(view, candidate, working_directory, mounted, app, 0)
            return candidate
        present = present or candidate
    if present:
        _check(view, present, working_directory, mounted, app, 0)
    where = ":".join(directories)
    raise NotFound(_message(app, f'"{command}": no such program in the image (searched {where})'))


def _join(directory: str, path: str) -> str:
    return path if path.startswith("/") else f"{directory.rstrip('/')}/{path}"


def _message(app: str | None, text: str) -> str:
    return f"app {app}: {text}" if app else text


def _is_mounted(path: str, mounted: Sequence[str]) -> bool:
    return any(path == place or path.startswith(place.rstrip("/") + "/") for place in mounted)


def _check(
    view: RootView,
    path: str,
    directory: str,
    mounted: Sequence[str],
    app: str | None,
    depth: int,
    why: str = "",
) -> None:
    """Raise unless execve(2) of ``path`` would find all it needs. ``why`` says who asks for it."""
    if _is_mounted(path, mounted):
        return
    subject = f'"{path}"{why}'
    found = view.resolve(path)
    if found is None:
        raise NotFound(_message(app, f"{subject}: no such file in the image"))
    if _is_mounted(found.path, mounted):
        return
    mode = found.status.st_mode
    if not stat.S_ISREG(mode):
        what = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
        raise BadInput(_message(app, f"{subject}: is {what}"))
    if not mode & 0o111:
        raise BadInput(_message(app, f"{subject}: not executable (mode {mode & 0o7777:04o})"))
    descriptor = os.open(found.real, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        head = os.read(descriptor, 4096)
        if head[:4] == b"\x7fELF":
            interpreter, kind = _elf_interpreter(head, descriptor), "ELF interpreter"
        elif head[:2] == b"#!":
            interpreter, kind = _shebang(head), "interpreter"
        else:
            return
    finally:
        os.close(descriptor)
    if interpreter is None:
        return
    if depth >= _MAX_SCRIPTS:
        raise BadInput(_message(app, f"{subject}: interpreters refer to each other without end"))
    why = f', the {kind} of "{path}"'
    _check(view, _join(directory, interpreter), directory, mounted, app, depth + 1, why)


def _shebang(head: bytes) -> str | None:
    words = head[2:].split(b"\n", 1)[0].split(None, 1)
    return os.fsdecode(words[0]) if words else None


def _elf_interpreter(head: bytes, descriptor: int) -> str | None:
    """The PT_INTERP of an ELF file, or None when it has none or is not well formed."""
    try:
        wide, order = head[4] == 2, "<" if head[5] == 1 else ">"
        if wide:
            offset, size, count = struct.unpack_from(f"{order}Q14xHH", head, 32)
        else:
            offset, size, count = struct.unpack_from(f"{order}I10xHH", head, 28)
        end = offset + size * count
        table = head[offset:end] if end <= len(head) else os.pread(descriptor, size * count, offset)
        for index in range(count):
            base = index * size
            if struct.unpack_from(f"{order}I", table, base)[0] != _PT_INTERP:
                continue
            if wide:
                start, length = struct.unpack_from(f"{order}8xQ16xQ", table, base)
            else:
                start, length = struct.unpack_from(f"{order}4xI8xI", table, base)
            if length > 4096:
                return None
            text = head[start : start + length]
            if len(text) < length:
                text = os.pread(descriptor, length, start)
            return os.fsdecode(text.split(b"\0", 1)[0]) or None
    except (struct.error, IndexError, OverflowError, OSError):
        return None
    return None
