"""Pod directories: ``<data>/pods/STAGE/UUID``, moved from stage to stage by rename(2), as in rkt.

Hot path: imports nearly nothing.
"""

from __future__ import annotations

import os

from rktsd.errors import BadInput, NotFound, StoreError
from rktsd.host.files import write
from rktsd.pods.locate import looks_like_uuid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rktsd.paths import Paths

EMBRYO = "embryo"
PREPARE = "prepare"
PREPARED = "prepared"
RUN = "run"
EXITED_GARBAGE = "exited-garbage"
GARBAGE = "garbage"
STAGES = (EMBRYO, PREPARE, PREPARED, RUN, EXITED_GARBAGE, GARBAGE)


def new_uuid() -> str:
    """A random UUID (RFC 4122, version 4); the uuid module would cost 10 ms."""
    digits = f"{int.from_bytes(os.urandom(16)) & ~(0xF << 76 | 0x3 << 62) | 4 << 76 | 2 << 62:032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def stage_directory(paths: Paths, stage: str, uuid: str) -> str:
    """Where a pod of that stage lies."""
    return f"{paths.pods}/{stage}/{uuid}"


def create(paths: Paths, stage: str, uuid: str, files: Mapping[str, str]) -> str:
    """Make the directory of a pod with these files in it, all at once. Returns its path.

    Not synced: what a crash of the machine cuts short never ran. Raises StoreError.
    """
    embryo = stage_directory(paths, EMBRYO, uuid)
    target = stage_directory(paths, stage, uuid)
    try:
        os.makedirs(f"{embryo}/status", 0o750)
        for name, text in files.items():
            write(f"{embryo}/{name}", text, mode=0o640)
        os.makedirs(os.path.dirname(target), 0o750, exist_ok=True)
        os.rename(embryo, target)
    except (OSError, StoreError) as error:
        import shutil

        shutil.rmtree(embryo, ignore_errors=True)
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"cannot make {target}: {error.strerror}") from error
    return target


def move(paths: Paths, uuid: str, source: str, target: str) -> str:
    """Rename a pod from one stage to another. Returns the new path; raises OSError."""
    destination = stage_directory(paths, target, uuid)
    os.makedirs(os.path.dirname(destination), 0o750, exist_ok=True)
    os.rename(stage_directory(paths, source, uuid), destination)
    return destination


def find(paths: Paths, uuid: str) -> tuple[str, str] | None:
    """(stage, directory) of a pod, or None."""
    for stage in STAGES:
        directory = stage_directory(paths, stage, uuid)
        if os.path.isdir(directory):
            return stage, directory
    return None


def all_pods(paths: Paths) -> Iterator[tuple[str, str]]:
    """(stage, UUID) of every pod on disk, by UUID within a stage; what else is there is no pod.

    Raises StoreError.
    """
    for stage in STAGES:
        try:
            with os.scandir(f"{paths.pods}/{stage}") as entries:
                found = sorted(
                    entry.name
                    for entry in entries
                    if looks_like_uuid(entry.name) and entry.is_dir(follow_symlinks=False)
                )
        except FileNotFoundError:
            continue
        except PermissionError as error:
            text = f"cannot run as unprivileged user: cannot read {error.filename}"
            hint = "only root and members of the group rkt may look at pods"
            raise StoreError(f"{text}: {error.strerror}", hint=hint) from error
        except OSError as error:
            raise StoreError(f"cannot read {error.filename}: {error.strerror}") from error
        for uuid in found:
            yield stage, uuid


def match(paths: Paths, prefix: str) -> str:
    """The only UUID that starts with ``prefix``, as rkt. Raises BadInput, NotFound."""
    if not prefix:
        raise BadInput("UUID cannot be empty")
    found = {uuid for stage, uuid in all_pods(paths) if stage != EMBRYO and uuid.startswith(prefix)}
    if not found:
        raise NotFound(f'no matches found for "{prefix}"')
    if len(found) > 1:
        raise BadInput(f"ambiguous uuid, {len(found)} matches")
    return found.pop()
