"""Work in the root of an app, running or not, as if it were our own: nothing leads out of it.

A child process does it, because there is no way back. Links of a hostile app are followed inside
its root only; the child can do nothing but read and write files, and imports nothing any more.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple, NoReturn

from rktsd.errors import NotFound, RktError, StoreError, Unsupported, UsageError
from rktsd.host import kernel
from rktsd.host.files import locked
from rktsd.host.idmap import become_root, mapped, mapping
from rktsd.host.mounts import mount_overlay, private_mounts
from rktsd.paths import Paths
from rktsd.pods import processes, query, runs
from rktsd.pods.query import Place
from rktsd.pods.spec import PodSpec
from rktsd.store.confine import drop_capabilities
from rktsd.store.tree import remove_tree
from rktsd.systemd.bus import Bus

# statfs(2): what is no file in these but the kernel.
_PSEUDO = frozenset(
    (0x9FA0, 0x62656572, 0x27E0EB, 0x63677270, 0x1CD1, 0x19800202, 0x64626720, 0x74726163,
     0x6165676C, 0x73636673, 0xCAFE4A11, 0xDE5E81E4)
)  # fmt: skip


_ENDING = (signal.SIGTERM, signal.SIGHUP)
_SCRATCH = ".cp-"


class Root(NamedTuple):
    """``process`` is a descriptor of the root of a running app; None for one that does not run,
    whose root is made from ``layers``, topmost first, and ``upper``. ``users`` is the first of the
    users that the app has instead of the host's. ``called`` begins what is said of files there."""

    called: str
    process: int | None
    layers: tuple[str, ...] = ()
    upper: str = ""
    users: int | None = None


@contextlib.contextmanager
def located(paths: Paths, place: Place, app: str, *, spec: PodSpec) -> Iterator[Root]:
    """The root of an app. Raises UsageError, NotFound, StoreError.

    One that does not run is not started while this is used.
    """
    with contextlib.ExitStack() as stack:
        called = f"app {app} of pod {place.pod}"
        users = _users(paths, place, spec)
        if place.uuid not in query.running(paths, [place]).pods:
            stack.enter_context(runs.lock(paths, place.pod))
            if place.uuid in query.running(paths, [place]).pods:
                raise UsageError(f'pod "{place.uuid}" is being started')
            layers = spec.images[app].layers
            runs.check_layers(paths, list(layers), pod=place.pod)
            upper = f"{place.directory}/overlay/{app}"
            below = tuple(f"{paths.store}/layers/{layer}" for layer in layers)
            yield Root(called, None, below, upper, users)
            return
        with Bus() as bus:
            pid = processes.first_process(bus, place.pod, app)
        try:
            descriptor = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise NotFound(f"app {app} has just ended: {error.strerror}") from error
        stack.callback(os.close, descriptor)
        yield Root(called, descriptor, users=users)


def _users(paths: Paths, place: Place, spec: PodSpec) -> int | None:
    """The first of the private users of a pod, which has them from now on if not before."""
    if not spec.options.private_users:
        return None
    from rktsd.pods.userranges import allocate

    with locked(paths.store, shared=True):
        return allocate(paths, place.pod)


@contextlib.contextmanager
def inside(
    root: Root, work: Callable[[], None], *, ours: int, theirs: int, follows: bool
) -> Iterator[None]:
    """Have ``work`` done in the root by a child while the caller goes on.

    Everything that it imports has to be imported. ``ours`` and ``theirs`` are the ends of the pipe
    between the two. Raises what the child raises in preference to what the caller runs into by
    that, or the other way round for a child that ``follows`` what the caller writes.
    """
    problems, channel = os.pipe2(os.O_CLOEXEC)
    with _scratch(root) as scratch, _mapping(root) as users:
        pid = _fork()
        if pid == 0:
            os.close(problems)
            # Nobody is to wait for an end that his own copy of it keeps away.
            os.close(ours)
            _work(root, scratch, work, problems=channel, users=users)
        os.close(channel)
        os.close(theirs)
        failure: BaseException | None = None
        try:
            yield
        except BaseException as error:
            failure = error
            # If it was the child that failed, it has said so before its end of the pipe was closed.
            os.kill(pid, signal.SIGKILL)
        try:
            with open(problems, "rb") as file:
                said = file.read().decode(errors="replace")
        except BaseException:
            os.kill(pid, signal.SIGKILL)
            raise
        finally:
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if said and not (follows and isinstance(failure, RktError)):
        raise StoreError(f"{root.called}: {said}") from failure
    if failure is not None:
        raise failure
    if status:
        raise StoreError(f"the copy ended with {status}")


def _fork() -> int:
    """A child that does not hear the keys that interrupt us: we end it, and say why.

    Other signals do to it what they do to anybody.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    try:
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            for number in _ENDING:
                signal.signal(number, signal.SIG_DFL)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pid


@contextlib.contextmanager
def _scratch(root: Root) -> Iterator[str]:
    """Where the root of an app that does not run is put together: beside its own layer."""
    if root.process is not None:
        yield ""
        return
    beside = os.path.dirname(root.upper)
    scratch = f"{beside}/{_SCRATCH}{os.getpid()}"
    with _ending_in_order():
        try:
            try:
                if not os.path.isdir(root.upper):
                    os.makedirs(root.upper, 0o755)
                    os.chown(root.upper, root.users or 0, root.users or 0)
                # Of one that was killed: whoever has the pod's lock is alone here.
                _remove_scratch(beside)
                for name in ("", "/work", "/root"):
                    os.mkdir(f"{scratch}{name}", 0o700)
            except OSError as error:
                raise StoreError(f"cannot make {error.filename}: {error.strerror}") from error
            yield scratch
        finally:
            _remove_scratch(beside)


def _remove_scratch(beside: str) -> None:
    # What ends us waits until nothing is left of us.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, *_ENDING))
    try:
        for name in os.listdir(beside):
            if name.startswith(_SCRATCH):
                with contextlib.suppress(StoreError):
                    remove_tree(f"{beside}/{name}")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _ending_in_order() -> Iterator[None]:
    """Have signals that would end us at once end us by way of our ``finally``."""

    def end(number: int, _: object) -> NoReturn:
        raise SystemExit(128 + number)

    before = [(number, signal.getsignal(number)) for number in _ENDING]
    for number, handler in before:
        # Who started us may want us to ignore it (nohup).
        if handler is signal.SIG_DFL:
            signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


@contextlib.contextmanager
def _mapping(root: Root) -> Iterator[int | None]:
    """A user namespace for the child. Raises Unsupported."""
    if root.users is None:
        yield None
        return
    with contextlib.ExitStack() as stack:
        try:
            users = stack.enter_context(mapping(root.users))
        except OSError as error:
            raise Unsupported(f"the kernel gives no private users: {error.strerror}") from error
        yield users


def _mount_root(root: Root, scratch: str, users: int | None) -> str:
    """Put the root together, seen by nobody else."""
    private_mounts()
    target, layers = f"{scratch}/root", root.layers
    if users is not None:
        layers = tuple(f"{scratch}/layers/{number}" for number in range(len(layers)))
        for layer, place in zip(root.layers, layers, strict=True):
            os.makedirs(place)
            with mapped(layer, users, recursive=False) as tree:
                kernel.move_mount(tree, place)
    mount_overlay(target, layers, upper=root.upper, work=f"{scratch}/work")
    return target


def _work(
    root: Root, scratch: str, work: Callable[[], None], *, problems: int, users: int | None
) -> NoReturn:
    status = 1
    try:
        if root.process is None:
            os.chdir(_mount_root(root, scratch, users))
        else:
            os.fchdir(root.process)
        os.chroot(".")
        if users is not None:
            # Owners are as the app sees them, and nothing can be made that is not the pod's.
            become_root(users)
        drop_capabilities()
        # What is imported from now on would be the app's.
        sys.meta_path.clear()
        sys.path.clear()
        os.umask(0)
        work()
        status = 0
    except BrokenPipeError:
        # Whoever reads has given up and says why.
        status = 0
    except RktError as error:
        os.write(problems, str(error).encode(errors="replace"))
    except OSError as error:
        where = f"{os.fsdecode(error.filename)}: " if error.filename else ""
        os.write(problems, f"{where}{error.strerror}".encode(errors="replace"))
    except BaseException as error:
        os.write(problems, f"{type(error).__name__}: {error}".encode(errors="replace"))
    finally:
        os._exit(status)


def refuse_pseudo(directory: int, path: str) -> None:
    """Raise UsageError where files are the kernel's own (/proc, /sys): a link may lead there."""
    if is_pseudo(directory):
        raise UsageError(f"{path}: not a place for files: it is the kernel's")


def is_pseudo(directory: int) -> bool:
    """Whether an open directory is in /proc, /sys or their like."""
    found = (ctypes.c_long * 32)()
    try:
        kernel.call("fstatfs", directory, found)
    except OSError:
        return False
    return found[0] & 0xFFFFFFFF in _PSEUDO
