"""The last compiled form of a named pod, good as long as nothing that it was made from changed.

Kept under /run: an upgrade of the machine or a reboot starts afresh. Hot path.
"""

from __future__ import annotations

import contextlib
import json
import os

from rktsd import __version__
from rktsd.errors import NotFound, RktError
from rktsd.host.files import write_atomic
from rktsd.pods.locate import find_pod_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktsd.paths import Paths
    from rktsd.pods.compile import Compiled


def _path(paths: Paths, pod: str) -> str:
    return f"{paths.run}/plans/{pod}.json"


def store_generation(paths: Paths) -> str:
    """Changes whenever an image is added to or removed from the store."""
    try:
        with open(f"{paths.store}/generation") as file:
            return file.read()
    except OSError:
        return ""


def load(paths: Paths, pod: str, *, file: str, text: bytes, uuid: str) -> Compiled | None:
    """The compiled form for run ``uuid``, if it was made from that pod file and this store.

    The UUID of a run is in it as text only, with and without dashes.
    """
    try:
        with open(_path(paths, pod)) as cached:
            old = cached.readline().rstrip("\n")
            content = cached.read()
        fresh = content.replace(old, uuid).replace(old.replace("-", ""), uuid.replace("-", ""))
        entry = json.loads(fresh)
    except (OSError, ValueError):
        return None
    if entry["key"] != _key(paths, file, text):
        return None
    compiled: Compiled = entry["compiled"]
    return compiled


def save(paths: Paths, pod: str, compiled: Compiled, *, file: str, text: bytes) -> None:
    """Keep ``compiled`` for the next start. Raises StoreError."""
    os.makedirs(os.path.dirname(_path(paths, pod)), 0o700, exist_ok=True)
    entry = {"key": _key(paths, file, text), "compiled": compiled}
    content = f"{compiled['plan']['uuid']}\n{json.dumps(entry)}"
    write_atomic(_path(paths, pod), content, mode=0o600, durable=False)


def forget_orphans(paths: Paths) -> None:
    """Remove the compiled forms of pods whose pod file is gone."""
    directory = f"{paths.run}/plans"
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(directory):
            try:
                find_pod_file(paths, name.removesuffix(".json"))
            except NotFound:
                # Whoever begins a run of it right now writes it anew, if at all.
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(f"{directory}/{name}")
            except RktError:
                continue


def _key(paths: Paths, file: str, text: bytes) -> list[str]:
    content = text.decode("latin-1")
    return [__version__, paths.data, file, content, store_generation(paths), *_stage1(paths)]


def _stage1(paths: Paths) -> list[str]:
    """What tells that the flavor of the machine's pods may have changed."""
    found = []
    for directory in paths.config_dirs():
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            entries = os.scandir(f"{directory}/stage1.d")
            found += [f"{entry.path} {entry.stat().st_mtime_ns}" for entry in entries]
    return sorted(found)
