"""Ranges of users and groups: each pod with private users has one, and no two pods the same.

Recorded in files that are called after the first number and hold the pod and its data directory.
A pod has its range as long as anything of it is on disk, for files of its roots belong to it, and
all runs of a pod with a pod file have the same.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import zlib

from rktsd.errors import RktError, StoreError
from rktsd.host.files import locked, write_atomic
from rktsd.paths import USER_RANGE
from rktsd.pods import directories
from rktsd.pods.locate import find_pod_file, looks_like_uuid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from rktsd.paths import Paths
    from rktsd.pods.query import Place
    from rktsd.pods.spec import PodSpec

# What systemd has for containers (https://systemd.io/UIDS-GIDS), in ranges of USER_RANGE.
FIRST, LAST = 0x80000, 0x6FFF0000

# A lock for each range that a container of systemd-nspawn has at the moment, by its first number.
_NSPAWNS = "/run/systemd/nspawn-uid"
# Trees of containers, whose owner is the first number of the range that they have for good.
_MACHINES = "/var/lib/machines"
_SUBORDINATES = ("/etc/subuid", "/etc/subgid")
_NUMBERED = ("/etc/passwd", "/etc/group")


def allocate(paths: Paths, pod: str) -> int:
    """The first number of the pod's range, a new one for a pod that has none. Raises StoreError.

    To be called with the store locked (shared) until the pod's directory is there.
    """
    directory = paths.users
    try:
        os.makedirs(directory, 0o755, exist_ok=True)
        with locked(directory):
            records = dict(_records(directory))
            first = _own(records, paths, pod)
            if first is None:
                first = _choose(pod, set(records))
                write_atomic(f"{directory}/{first}", f"{pod}\n{paths.data}\n")
            return first
    except OSError as error:
        raise StoreError(f"cannot record users in {directory}: {error.strerror}") from error


def recorded(paths: Paths, pod: str) -> int | None:
    """The first number of the range that a pod has, if it has one. Raises StoreError."""
    try:
        return _own(dict(_records(paths.users)), paths, pod)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"cannot read {paths.users}: {error.strerror}") from error


def first_user(paths: Paths, place: Place, spec: PodSpec) -> int:
    """The number on this machine of the user 0 of a pod. Raises StoreError."""
    return (recorded(paths, place.pod) or 0) if spec.options.private_users else 0


def _own(records: dict[int, list[str]], paths: Paths, pod: str) -> int | None:
    wanted = [pod, paths.data]
    return min((first for first, record in records.items() if record == wanted), default=None)


def release_unused(paths: Paths, *, blocking: bool = True) -> None:
    """Give up the ranges of pods that are gone. Raises StoreError.

    Without ``blocking`` it is left to the next one when pods are just being started.
    """
    directory = paths.users
    try:
        # Whoever begins a run has the store locked until the pod's directory is there.
        with locked(paths.store, blocking=blocking), locked(directory):
            kept = {_name(paths, stage, uuid) for stage, uuid in directories.all_pods(paths)}
            for first, record in list(_records(directory)):
                if record[1:] != [paths.data] or record[0] in kept or _has_file(paths, record[0]):
                    continue
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(f"{directory}/{first}")
    except (FileNotFoundError, BlockingIOError):
        return
    except OSError as error:
        raise StoreError(f"cannot release users in {directory}: {error.strerror}") from error


def _name(paths: Paths, stage: str, uuid: str) -> str:
    """What a pod is recorded as."""
    try:
        with open(f"{directories.stage_directory(paths, stage, uuid)}/name") as file:
            return file.read().strip()
    except (OSError, ValueError):
        return uuid


def _has_file(paths: Paths, pod: str) -> bool:
    """Whether the pod has a file of its own: one that a template made comes and goes."""
    if looks_like_uuid(pod) or "@" in pod:
        return False
    try:
        find_pod_file(paths, pod)
    except RktError:
        return False
    return True


def _records(directory: str) -> Iterator[tuple[int, list[str]]]:
    """(first number, [pod, data directory]); other lines of a damaged record, which is in use."""
    for name in os.listdir(directory):
        if name.isascii() and name.isdigit():
            try:
                with open(f"{directory}/{name}", encoding="utf-8", errors="replace") as file:
                    lines = file.read(1 << 16).splitlines()
            except FileNotFoundError:
                continue
            yield int(name), lines


def _choose(pod: str, taken: set[int]) -> int:
    """A range that is free, for the same name the same one again if it can be.

    The rule of ``systemd-nspawn --private-users=pick``, and some more that others have by rights.
    """
    count = (LAST - FIRST) // USER_RANGE + 1
    start = zlib.crc32(pod.encode())
    foreign = [*_subordinates(), *_numbers(), *_trees()]
    for step in range(count):
        first = FIRST + (start + step) % count * USER_RANGE
        elsewhere = any(first < end and begin < first + USER_RANGE for begin, end in foreign)
        if first not in taken and not elsewhere and not _is_known(first):
            return first
    raise StoreError("no range of users is left for another pod", hint="rkt gc frees some")


def _is_known(first: int) -> bool:
    """Whether systemd-nspawn or a name service has the range."""
    if os.path.lexists(f"{_NSPAWNS}/{first}"):
        return True
    for look_up in (pwd.getpwuid, grp.getgrgid):
        try:
            look_up(first)
        except KeyError:
            continue
        return True
    return False


def _subordinates() -> Iterator[tuple[int, int]]:
    """The ranges of subuid(5) and subgid(5), as (first, end)."""
    for path in _SUBORDINATES:
        for words in _fields(path):
            if len(words) == 3 and words[1].isdigit() and words[2].isdigit():
                yield int(words[1]), int(words[1]) + int(words[2])


def _numbers() -> Iterator[tuple[int, int]]:
    """The users and groups of this machine's own files, as ranges of one."""
    for path in _NUMBERED:
        for words in _fields(path):
            if len(words) > 2 and words[2].isdigit():
                yield int(words[2]), int(words[2]) + 1


def _trees() -> Iterator[tuple[int, int]]:
    """The ranges of containers that are on this machine and do not run."""
    with contextlib.suppress(OSError), os.scandir(_MACHINES) as entries:
        for entry in entries:
            owner = entry.stat(follow_symlinks=False).st_uid
            if owner >= FIRST:
                yield owner, owner + USER_RANGE


def _fields(path: str) -> Iterator[list[str]]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                yield line.strip().split(":")
    except OSError:
        return
