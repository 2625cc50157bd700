"""Users and groups of an image: names, numbers, or the owner of a file in it."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rktsd.errors import BadInput, NotFound
from rktsd.store.rootview import RootView

MAX_ID = 0xFFFF_FFFE
DATABASE_LIMIT = 16 << 20


class Identity(NamedTuple):
    """What an app runs as; ``supplementary`` are gids beside the primary one."""

    uid: int
    gid: int
    home: str
    supplementary: tuple[int, ...] = ()


class _User(NamedTuple):
    name: str
    uid: int
    gid: int
    home: str


def lookup_user(
    view: RootView,
    user: str,
    *,
    group: str,
    supplementary: Sequence[int] = (),
    docker: bool = False,
    app: str,
) -> Identity:
    """Resolve an appc app's ``user`` and ``group`` (appc spec, aci.md, "app").

    A name of the image's /etc/passwd or /etc/group, a number, or an absolute path whose owner is
    meant. "root" is 0 also without those files. With ``docker`` a group that is not found and is
    spelled as the user is that user's primary group, and a user given by name also gets its groups
    of /etc/group, as Docker has it. ``app`` names the app in messages. Raises NotFound, BadInput.
    """
    uid, entry = _find_user(view, user, app)
    gid = _find_group(view, group, app)
    if gid is None and docker and group == user:
        gid = entry.gid if entry is not None else 0
    if gid is None:
        raise NotFound(f'app {app}: group "{group}": no such group in the image')
    groups = list(supplementary)
    if docker and entry is not None and entry.name == user:
        groups += [g for g, members in _memberships(view) if user in members]
    for number in groups:
        if not 0 <= number <= MAX_ID:
            raise BadInput(f"app {app}: supplementary group {number}: out of range")
    home = entry.home if entry is not None else "/root" if uid == 0 else ""
    return Identity(uid, gid, home or "/", tuple(g for g in dict.fromkeys(groups) if g != gid))


def _find_user(view: RootView, user: str, app: str) -> tuple[int, _User | None]:
    """The uid, and the passwd entry if there is one."""
    if user.startswith("/"):
        found = view.resolve(user, follow=False)
        if found is None:
            raise NotFound(f'app {app}: user "{user}": no such file in the image')
        uid = found.status.st_uid
        return uid, next((entry for entry in _users(view) if entry.uid == uid), None)
    number = _number(user, app, "user")
    same_number: _User | None = None
    for entry in _users(view):
        if entry.name == user:
            return entry.uid, entry
        if entry.uid == number and same_number is None:
            same_number = entry
    if number is not None:
        return number, same_number
    if user == "root":
        return 0, None
    raise NotFound(f'app {app}: user "{user}": no such user in the image')


def _find_group(view: RootView, group: str, app: str) -> int | None:
    if group.startswith("/"):
        found = view.resolve(group, follow=False)
        if found is None:
            raise NotFound(f'app {app}: group "{group}": no such file in the image')
        return found.status.st_gid
    for fields in _lines(view, "/etc/group", 3):
        if fields[0] == group and (gid := _identifier(fields[2])) is not None:
            return gid
    number = _number(group, app, "group")
    return 0 if number is None and group == "root" else number


def _number(text: str, app: str, what: str) -> int | None:
    if not (text.isascii() and text.isdigit()):
        return None
    number = _identifier(text)
    if number is None:
        raise BadInput(f'app {app}: {what} "{text}": larger than {MAX_ID}')
    return number


def _identifier(text: str) -> int | None:
    if not (text.isascii() and text.isdigit()) or len(text) > 10 or int(text) > MAX_ID:
        return None
    return int(text)


def _users(view: RootView) -> Iterator[_User]:
    for fields in _lines(view, "/etc/passwd", 6):
        uid, gid = _identifier(fields[2]), _identifier(fields[3])
        if uid is not None and gid is not None:
            yield _User(fields[0], uid, gid, fields[5])


def _memberships(view: RootView) -> Iterator[tuple[int, list[str]]]:
    for fields in _lines(view, "/etc/group", 4):
        if (gid := _identifier(fields[2])) is not None:
            yield gid, fields[3].split(",")


def _lines(view: RootView, path: str, at_least: int) -> Iterator[list[str]]:
    """The colon-separated lines of a file; malformed ones are skipped, as libc does."""
    content = view.read(path, DATABASE_LIMIT)
    for line in (content or b"").decode("utf-8", "surrogateescape").split("\n"):
        fields = line.split(":")
        if len(fields) >= at_least and fields[0]:
            yield fields
