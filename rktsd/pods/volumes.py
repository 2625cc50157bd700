"""Named volumes: which there are, who uses them, and their end. They are made in ``store.fill``.

Nothing but ``remove`` and ``prune`` takes one away: neither gc nor the end of any pod.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from typing import NamedTuple

from rktsd.errors import BadInput, NotFound, RktError, StoreError
from rktsd.host.files import locked, read_limited
from rktsd.pods import query
from rktsd.pods.directories import EMBRYO, GARBAGE, PREPARED
from rktsd.pods.volumekinds import NAMED
from rktsd.store.fill import METADATA
from rktsd.store.tree import remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rktsd.paths import Paths

_LIMIT = 4 << 20
# What a template's instance is called to see where the name of one stands in its volumes.
_INSTANCE = "0any0instance0"


class User(NamedTuple):
    """A pod on disk, with its ``uuid`` and ``state``; or a pod file, with neither."""

    pod: str
    uuid: str | None = None
    state: str | None = None

    @property
    def holds(self) -> bool:
        """Whether the volume cannot be removed for its sake."""
        return self.state in (query.RUNNING, PREPARED)


class NamedVolume(NamedTuple):
    """``path`` is where its content lies; ``made_by`` the pod that used it first, and ``created``
    when that was, in nanoseconds since the epoch."""

    name: str
    path: str
    created: int
    made_by: str
    users: tuple[User, ...]


def all_volumes(paths: Paths, *, warn: Callable[[str], None]) -> list[NamedVolume]:
    """Every named volume, by name; ``warn`` hears of pod files that do not say what they use.

    Raises StoreError, and BadInput for a pod that does not say which volumes it uses.
    """
    users = list(_users_on_disk(paths))
    users += list(_users_in_files(paths, warn=warn))
    return [
        _volume(paths, name, tuple(user for (start, end), user in users if _fits(name, start, end)))
        for name in _names(paths)
    ]


def find(paths: Paths, name: str, *, warn: Callable[[str], None]) -> NamedVolume:
    """One volume. Raises NotFound, and as ``all_volumes``."""
    for volume in all_volumes(paths, warn=warn):
        if volume.name == name:
            return volume
    raise NotFound(f'volume "{name}": there is no such volume')


def size(volume: NamedVolume) -> int:
    """The bytes of disk that its content takes."""
    total = 0
    seen: set[tuple[int, int]] = set()
    for directory, _, files in os.walk(volume.path):
        for path in (directory, *(f"{directory}/{name}" for name in files)):
            with contextlib.suppress(OSError):
                status = os.lstat(path)
                if (status.st_dev, status.st_ino) not in seen:
                    total += status.st_blocks * 512
                if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
                    seen.add((status.st_dev, status.st_ino))
    return total


def remove(paths: Paths, name: str) -> None:
    """Remove a volume with all that is in it.

    Raises NotFound, BadInput while a pod that runs or is prepared uses it, StoreError.
    """
    if name not in _names(paths):
        raise NotFound(f'volume "{name}": there is no such volume')
    with _removing(paths):
        for (start, end), user in _users_on_disk(paths):
            if user.holds and _fits(name, start, end):
                raise BadInput(
                    f'volume "{name}" is used by pod {user.pod}, which is {user.state}',
                    hint="stop or remove the pod first",
                )
        _set_aside(paths, name)
    _sweep(paths)


def prune(paths: Paths, *, warn: Callable[[str], None]) -> list[str]:
    """Remove the volumes that no pod on disk and no pod file uses. Returns their names.

    Raises BadInput, with nothing removed, when a pod or a pod file does not say what it uses;
    StoreError.
    """
    unclear: list[str] = []
    with _removing(paths):
        unused = [v.name for v in all_volumes(paths, warn=unclear.append) if not v.users]
        if unclear and unused:
            for text in unclear:
                warn(text)
            raise BadInput("nothing is removed while a pod file cannot be read")
        for name in unused:
            _set_aside(paths, name)
    _sweep(paths)
    return unused


@contextlib.contextmanager
def _removing(paths: Paths) -> Iterator[None]:
    # Whoever makes one that is missing has begun his run before, and waits for this lock.
    try:
        with locked(paths.volumes):
            yield
    except FileNotFoundError:
        yield


def _set_aside(paths: Paths, name: str) -> None:
    try:
        os.rename(f"{paths.volumes}/{name}", f"{paths.volumes}/.removed-{os.urandom(6).hex()}")
    except OSError as error:
        raise StoreError(f'cannot remove volume "{name}": {error.strerror}') from error


def _sweep(paths: Paths) -> None:
    """Remove what was set aside, also by one who was killed over it."""
    try:
        entries = os.listdir(paths.volumes)
    except OSError:
        return
    for entry in entries:
        if entry.startswith(".removed-"):
            remove_tree(f"{paths.volumes}/{entry}")


def _names(paths: Paths) -> list[str]:
    try:
        return sorted(name for name in os.listdir(paths.volumes) if not name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"cannot read {paths.volumes}: {error.strerror}") from error


def _volume(paths: Paths, name: str, users: tuple[User, ...]) -> NamedVolume:
    directory = f"{paths.volumes}/{name}"
    try:
        known = json.loads(read_limited(f"{directory}/{METADATA}", _LIMIT))
        created, made_by = int(known["created_at"]), str(known["pod"])
    except (RktError, ValueError, KeyError, TypeError):
        # Damaged or put there by hand, it is a volume all the same.
        created, made_by = os.stat(directory).st_mtime_ns, ""
    return NamedVolume(name, f"{directory}/data", created, made_by, users)


def _fits(name: str, start: str, end: str) -> bool:
    return name == start if end == "" else name.startswith(start) and name.endswith(end[1:])


def _users_on_disk(paths: Paths) -> Iterator[tuple[tuple[str, str], User]]:
    found = [place for place in query.places(paths) if place.stage not in (EMBRYO, GARBAGE)]
    live = query.running(paths, found)
    for place in found:
        path = f"{place.directory}/options"
        try:
            volumes = json.loads(read_limited(path, _LIMIT)).get("volumes", {}).values()
            sources = [each["source"] for each in volumes if each["kind"] == NAMED]
        except (RktError, ValueError, KeyError, TypeError, AttributeError) as error:
            if not os.path.isdir(place.directory):
                continue
            raise BadInput(f"{path}: cannot tell which volumes the pod uses") from error
        for source in sources:
            yield (source, ""), User(place.pod, place.uuid, query.state(place, live))


def _users_in_files(
    paths: Paths, *, warn: Callable[[str], None]
) -> Iterator[tuple[tuple[str, str], User]]:
    from rktsd.pods import podfile

    try:
        entries = sorted(os.listdir(paths.pod_files))
    except OSError:
        return
    for entry in entries:
        pod, dot, form = entry.rpartition(".")
        if not dot or form not in ("toml", "json"):
            continue
        try:
            file = podfile.load(paths, f"{pod}{_INSTANCE}" if pod.endswith("@") else pod)
        except RktError as error:
            warn(f"{error}; which volumes it uses cannot be told")
            continue
        for volume in file.options.volumes.values():
            if volume.kind == NAMED and volume.source is not None:
                start, instance, end = volume.source.partition(_INSTANCE)
                yield (start, f"*{end}" if instance else ""), User(pod)
