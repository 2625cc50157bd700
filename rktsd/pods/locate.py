"""Which file a pod's name means, and where pods are kept. Hot path: imports nearly nothing."""

from __future__ import annotations

import errno
import os

from rktsd.errors import BadInput, NotFound, StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktsd.paths import Paths

MAX_POD_FILE = 4 << 20

_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-@")


def configured(paths: Paths) -> Paths:
    """``paths`` with the data directory that paths.d sets in its configuration directories.

    Raises BadInput, StoreError, Unsupported.
    """
    if not paths.has_paths_files():
        return paths
    from rktsd.config.datadir import read_data_directory

    # As --dir: the layers' paths are mount options and are compared later.
    data = read_data_directory(paths.config_dirs()) or paths.data
    return paths._replace(data=os.path.realpath(data))


def looks_like_uuid(pod: str) -> bool:
    """Whether ``pod`` is written as rkt prints UUIDs; no name of a pod is."""
    return len(pod) == 36 and not set(pod) - set("0123456789abcdef-")


def may_be_pod(pod: str) -> bool:
    """Whether ``pod`` may be the name of a pod, or a UUID."""
    return bool(pod) and not set(pod) - _CHARACTERS


def check_characters(pod: str) -> None:
    """Refuse what cannot be the name of a pod, and would be another path. Raises BadInput."""
    if not may_be_pod(pod):
        raise BadInput(f'pod "{pod}": not the name of a pod (lower-case letters, digits, dashes)')


def find_pod_file(paths: Paths, pod: str) -> str:
    """The file of ``pod``: its own (.toml or .json), or for ``web@1`` the template ``web@``.

    Raises NotFound naming the candidates, BadInput for a bad name or when both forms exist. What
    else a name must be is checked when the file is read (``appc.names.check_pod_name``).
    """
    check_characters(pod)
    name, at, _ = pod.partition("@")
    stems = (pod, f"{name}@") if at else (pod,)
    for stem in stems:
        candidates = [f"{paths.pod_files}/{stem}.{form}" for form in ("toml", "json")]
        found = [path for path in candidates if _exists(path)]
        if len(found) > 1:
            raise BadInput(f"pod {pod}: both {found[0]} and {found[1]} exist", hint="remove one")
        if found:
            return found[0]
    tried = [f"{paths.pod_files}/{stem}.{form}" for stem in stems for form in ("toml", "json")]
    raise NotFound(f"pod {pod}: neither {' nor '.join(tried)} exists")


def _exists(path: str) -> bool:
    try:
        os.lstat(path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return False
        raise StoreError(f"cannot look for {path}: {error.strerror}") from error
    return True
