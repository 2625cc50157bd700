"""Apps with our terminal, or with our standard input: rkt run --interactive."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

from rktsd.appc.types import NameValue, RuntimeApp
from rktsd.errors import BadInput, StoreError
from rktsd.host.files import read_limited, write_atomic
from rktsd.paths import Paths
from rktsd.pods import attach
from rktsd.pods import run as running
from rktsd.pods.spec import PodSpec

_CHUNK = 1 << 16
_TERMINAL, _PIPE = "terminal", "pipe"
_END_OF_INPUT = b"\x04"


def run(
    uuid: str, paths: Paths, *, pod: str, app: str, keys: bytes, write: Callable[[bytes], bool]
) -> int | None:
    """The same as ``pods.run.run``, with what we read from for ``app``, the only one of the pod.

    Where our standard input and output are terminals it gets one of its own, that we attach to
    (``pods.attach``); otherwise what we are given, to its end. None when ``keys`` detached us.
    """
    if os.isatty(0) and os.isatty(1):
        return _with_terminal(uuid, paths, pod, app=app, keys=keys, write=write)
    return _with_pipe(uuid, paths, pod, write)


def _with_terminal(
    uuid: str, paths: Paths, pod: str, *, app: str, keys: bytes, write: Callable[[bytes], bool]
) -> int | None:
    over, end = os.pipe2(os.O_CLOEXEC)
    interrupts = running.Interrupts()
    outcome: list[int | BaseException] = []

    def work() -> None:
        try:
            outcome.append(running.run(uuid, paths, pod=pod, write=write, interrupts=interrupts))
        except BaseException as error:
            outcome.append(error)
        finally:
            os.close(end)

    kind = os.environ.get("TERM", "linux")
    detached = False
    with (
        _offered(paths, pod, _TERMINAL, "", kind),
        running.caught(interrupts),
    ):
        # Signals, the size of the window among them, come to this thread alone.
        thread = threading.Thread(target=work)
        thread.start()
        try:
            detached = _attached(paths, pod, app=app, keys=keys, over=over)
            if detached:
                interrupts.leave()
        finally:
            thread.join()
    os.close(over)
    (found,) = outcome
    if isinstance(found, BaseException):
        raise found
    return None if detached else found


def _attached(paths: Paths, pod: str, *, app: str, keys: bytes, over: int) -> bool:
    """Work in the terminal of the app. Whether ``keys`` ended that."""
    channel = attach.connect_when_there(paths, pod, app, over)
    if channel is None:
        return False
    with channel:
        wanted = ("tty-in", "tty-out")
        return attach.attach(channel, wanted, keys=keys, over=over, end=_END_OF_INPUT).detached


def _with_pipe(uuid: str, paths: Paths, pod: str, write: Callable[[bytes], bool]) -> int:
    path = f"{_directory(paths)}/{pod}.input"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    os.mkfifo(path, 0o600)
    try:
        with _offered(paths, pod, _PIPE, path, ""):
            # It waits for the app, and for whoever gives us something: neither need ever come.
            threading.Thread(target=_pour, args=(path,), daemon=True).start()
            return running.run(uuid, paths, pod=pod, write=write)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _pour(path: str) -> None:
    with contextlib.suppress(OSError):
        target = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            while data := os.read(0, _CHUNK):
                view = memoryview(data)
                while view:
                    view = view[os.write(target, view) :]
        finally:
            os.close(target)


def _directory(paths: Paths) -> str:
    directory = f"{paths.run}/input"
    try:
        os.makedirs(directory, 0o700, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make {directory}: {error.strerror}") from error
    return directory


@contextlib.contextmanager
def _offered(paths: Paths, pod: str, kind: str, path: str, name: str) -> Iterator[None]:
    """Leave word for the unit that starts the pod."""
    word = f"{_directory(paths)}/{pod}"
    write_atomic(word, f"{kind}\n{path}\n{name}\n", mode=0o600, durable=False)
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(word)


def offered(paths: Paths, pod: str, spec: PodSpec) -> tuple[str | None, bool, PodSpec]:
    """The FIFO that a pod which is being started reads from, if any; whether somebody waits to be
    at its terminal; and the pod, with the kind of that terminal in its environment.

    Raises BadInput, StoreError.
    """
    word = f"{paths.run}/input/{pod}"
    if not os.path.exists(word):
        return None, False, spec
    lines = read_limited(word, 1 << 12).decode(errors="replace").splitlines()
    if len(lines) != 3:
        raise BadInput(f"{word}: not three lines")
    kind, path, name = lines
    if kind == _TERMINAL:
        apps = tuple(_on_terminal(each, name) for each in spec.manifest.apps)
        spec = replace(spec, manifest=replace(spec.manifest, apps=apps))
        return None, True, spec
    return path, False, spec


def _on_terminal(runtime: RuntimeApp, name: str) -> RuntimeApp:
    app = runtime.app
    if app is None or any(each.name == "TERM" for each in app.environment):
        return runtime
    environment = (*app.environment, NameValue("TERM", name))
    return replace(runtime, app=replace(app, environment=environment))
