"""The beginning of a run: the pod's directories, with what it needs still there. Hot path."""

from __future__ import annotations

import contextlib
import fcntl
import os

from rktsd.errors import BadInput, NotFound, StoreError
from rktsd.host.files import write_atomic
from rktsd.pods import directories
from rktsd.pods.locate import may_be_pod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from rktsd.paths import Paths
    from rktsd.pods.compile import Compiled


@contextlib.contextmanager
def lock(paths: Paths, pod: str, *, blocking: bool = True) -> Iterator[None]:
    """Nobody else begins a run of ``pod``, or reaps what an earlier one left under /run.

    Raises BlockingIOError when somebody else has it and ``blocking`` is off.
    """
    directory = f"{paths.run}/locks"
    operation = fcntl.LOCK_EX if blocking else fcntl.LOCK_EX | fcntl.LOCK_NB
    while True:
        try:
            os.makedirs(directory, 0o755, exist_ok=True)
            flags = os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC
            descriptor = os.open(f"{directory}/{pod}", flags, 0o600)
        except OSError as error:
            raise StoreError(f"cannot lock {directory}/{pod}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, operation)
            # Whoever waited may have got one that nobody finds any more.
            if os.fstat(descriptor).st_nlink:
                yield
                return
        finally:
            os.close(descriptor)


def forget_locks(paths: Paths) -> None:
    """Remove the files of locks that nobody has."""
    directory = f"{paths.run}/locks"
    with contextlib.suppress(FileNotFoundError):
        for pod in os.listdir(directory):
            with contextlib.suppress(BlockingIOError), lock(paths, pod, blocking=False):
                os.unlink(f"{directory}/{pod}")


def begun(paths: Paths) -> list[str]:
    """The pods that have a directory under /run: they run, or something of theirs is left."""
    try:
        with os.scandir(f"{paths.run}/pods") as entries:
            return sorted(
                entry.name
                for entry in entries
                if may_be_pod(entry.name) and entry.is_dir(follow_symlinks=False)
            )
    except OSError:
        return []


def held(paths: Paths) -> set[str]:
    """The UUIDs of runs that are not reaped: they run, or something of theirs is not released."""
    held = set()
    for pod in begun(paths):
        with contextlib.suppress(OSError), open(f"{paths.run}/pods/{pod}/uuid") as file:
            held.add(file.read().strip())
    return held


def check_layers(paths: Paths, layers: list[str], *, pod: str) -> None:
    """Find out whether the pod's layers are all stored. Raises NotFound."""
    for layer in layers:
        if not os.path.isdir(f"{paths.store}/layers/{layer}"):
            raise NotFound(f"pod {pod}: layer {layer} is not in the store", hint="fetch the image")


def check(paths: Paths, compiled: Compiled) -> None:
    """Find out before anything is made what would fail later. Raises NotFound, BadInput.

    A host volume that does not exist is an error and is not made (appc spec, and rkt). One with a
    link anywhere in its path is one as well (appc spec, unlike rkt).
    """
    pod = compiled["plan"]["pod"]
    for name, source in compiled["host_volumes"]:
        if not os.path.exists(source):
            raise NotFound(f"pod {pod}: volume {name}: {source} does not exist")
        real = os.path.realpath(source)
        if not compiled["follow_links"] and real != "/" + os.path.normpath(source).lstrip("/"):
            raise BadInput(
                f"pod {pod}: volume {name}: {source} leads through a symbolic link to {real}",
                hint="write the real path, or allow links with follow-links",
            )
    check_layers(paths, compiled["layers"], pod=pod)


def begin(paths: Paths, compiled: Compiled) -> Compiled:
    """Check, and make the directories of a new run of a named pod. With the store locked shared."""
    check(paths, compiled)
    announce(compiled)
    directories.create(paths, directories.RUN, compiled["plan"]["uuid"], compiled["files"])
    return compiled


def announce(compiled: Compiled) -> None:
    """Leave word under /run of the run that begins: from now on the reaper knows of it.

    Before the pod's own directory is made or moved, so that no killed start leaves that behind.
    """
    plan = compiled["plan"]
    run_directory = plan["run_directory"]
    try:
        os.makedirs(run_directory)
    except OSError as error:
        raise StoreError(f"cannot make {run_directory}: {error.strerror}") from error
    for name, text in (("directory", plan["directory"]), ("uuid", plan["uuid"])):
        write_atomic(f"{run_directory}/{name}", f"{text}\n", durable=False)
