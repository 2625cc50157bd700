"""The members of an archive that is no file system, laid down under numbers: the child's side.

No name in such an archive becomes a path. What the names are is reported, and whoever asked makes
of them what it likes.
"""

import os
from collections.abc import Iterable

from rktsd.errors import BadInput
from rktsd.store.contents import write_contents
from rktsd.store.tar import FILE, LINK, SYMLINK, Member, TarReader, show

Found = tuple[str, str, str]
"""A name; "file" and the number, "symlink" or "link" and the target."""

NAMES_LIMIT = 16 << 20
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_EACH = 64
_KINDS = {SYMLINK: "symlink", LINK: "link"}


def lay_down(reader: TarReader, members: Iterable[Member], directory: str) -> list[Found]:
    """Write the files of ``members`` to the empty ``directory``. Raises BadInput, OSError."""
    found: list[Found] = []
    room = NAMES_LIMIT
    for member in members:
        if member.kind != FILE and member.kind not in _KINDS:
            continue
        room -= len(member.name) + len(member.target) + _EACH
        if room < 0:
            raise BadInput(f"{reader.label}: too many members with too long names")
        name = _text(member.name, reader)
        if member.kind == FILE:
            number = str(len(found))
            descriptor = os.open(f"{directory}/{number}", _CREATE, 0o644)
            try:
                write_contents(reader, descriptor, member)
            finally:
                os.close(descriptor)
            found.append((name, "file", number))
        else:
            found.append((name, _KINDS[member.kind], _text(member.target, reader)))
    return found


def _text(name: bytes, reader: TarReader) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise BadInput(f"{reader.label}: {show(name)}: a name that is not UTF-8") from error
