"""Run a prepared pod in the foreground: start its unit, follow its log, end as its app does."""

from __future__ import annotations

import contextlib
import os
import time

from rktsd.errors import RktError, StoreError, SystemdError
from rktsd.host.files import write_atomic
from rktsd.pods import directories, endings, query
from rktsd.systemd.bus import Bus
from rktsd.systemd.journal import Follower, complaints
from rktsd.systemd.names import pod_and_app, pod_unit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rktsd.paths import Paths

_LOOK_AGAIN = 10.0
# SIGHUP, SIGINT, SIGTERM: the signal module would be loaded for their names alone.
_SIGNALS = (1, 2, 15)
_ONE_WISH = 0.1


class Interrupts:
    """Counts the signals that ask us to stop; ``descriptor`` is readable when there are new ones.

    The handlers raise nothing: an exception in the middle of a D-Bus callback would be lost.
    ``first`` is the number of the first signal, 0 when there was none. ``left``: we are to go, and
    the pod is to stay.
    """

    def __init__(self) -> None:
        self.count = 0
        self.first = 0
        self.left = False
        self._last = -_ONE_WISH
        self.descriptor, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def interrupt(self, signal: int = 0, *_: object) -> None:
        """Ask for the stop; also from another thread."""
        # timeout(1) sends its signal to the process and to its group: that is one wish.
        before, self._last = self._last, time.monotonic()
        if self._last - before < _ONE_WISH:
            return
        self.first = self.first or signal
        self.count += 1
        with contextlib.suppress(OSError):
            os.write(self._write, b"x")

    def leave(self) -> None:
        """Ask for the end of the wait alone; from another thread."""
        self.left = True
        with contextlib.suppress(OSError):
            os.write(self._write, b"x")

    def close(self) -> None:
        """Give up the descriptor."""
        os.close(self.descriptor)
        os.close(self._write)

    def clear(self) -> None:
        """Not readable until the next one."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self.descriptor, 64):
                pass


@contextlib.contextmanager
def caught(interrupts: Interrupts) -> Iterator[None]:
    import signal

    before = [signal.signal(number, interrupts.interrupt) for number in _SIGNALS]
    try:
        yield
    finally:
        for number, handler in zip(_SIGNALS, before, strict=True):
            signal.signal(number, handler)
        interrupts.close()


def keep_directories(paths: Paths, pod: str) -> None:
    """Leave word where a pod lies for the unit that starts it. Raises StoreError."""
    from rktsd.paths import Paths as Default
    from rktsd.pods.locate import configured

    directory = f"{paths.run}/data"
    if paths == configured(Default()):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{directory}/{pod}")
        return
    try:
        os.makedirs(directory, 0o755, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make {directory}: {error.strerror}") from error
    places = [paths.data, paths.local_config, paths.system_config, paths.user_config or ""]
    write_atomic(f"{directory}/{pod}", "".join(f"{each}\n" for each in places), durable=False)


def start(pod: str, paths: Paths, *, again: bool = False) -> None:
    """Start ``pod``, with ``again`` also when it runs, and return when its apps are started.

    Raises SystemdError with the reason when it did not start.
    """
    unit = pod_unit(pod)
    since = time.time()
    keep_directories(paths, pod)
    with Bus() as bus:
        try:
            result = bus.wait(bus.restart(unit) if again else bus.start(unit))
        except SystemdError as error:
            hint = "only root may start pods" if os.geteuid() else None
            raise SystemdError(f"{unit}: {error}", hint=hint) from error
    if result != "done":
        raise SystemdError(_reason(unit, since))


def run(
    uuid: str,
    paths: Paths,
    *,
    pod: str,
    write: Callable[[bytes], bool],
    interrupts: Interrupts | None = None,
) -> int:
    """Start the prepared pod ``uuid`` and wait for its end. Returns the exit status of its app.

    ``pod`` is what systemd knows it by. With several apps it is that of the one that failed first
    (rkt). ``write`` gets what the apps print; when it says False, nobody reads any more and the pod
    is stopped, as at SIGINT, SIGTERM and SIGHUP; the second such signal kills. A pod that a signal
    stopped before it was started has the status of that signal. Raises SystemdError with the reason
    when the pod did not start, and StoreError when nobody can tell how an app ended. With
    ``interrupts`` of its own the caller catches signals, as it must where this is another thread.
    """
    unit = pod_unit(pod)
    since = time.time()
    keep_directories(paths, pod)
    catching = contextlib.nullcontext() if interrupts else None
    interrupts = interrupts or Interrupts()

    def show(data: bytes) -> None:
        if not write(data):
            interrupts.interrupt()

    matches = [f"RKT_POD_UUID={uuid}", "_TRANSPORT=stdout"]
    with (
        catching or caught(interrupts),
        Follower(matches, show) as follower,
        Bus(hold_back=_SIGNALS) as bus,
    ):
        result = _wait(bus, pod, bus.start(unit), paths=paths, interrupts=interrupts)
        if interrupts.left:
            return 0
        follower.finish()
        if pod == uuid:
            reset_failed(bus, unit)
    status = _exit_status(paths, uuid)
    if result != "done" and not status:
        if interrupts.first:
            return 128 + interrupts.first
        raise SystemdError(_reason(unit, since))
    return status or 0


def _wait(bus: Bus, pod: str, job: bytes, *, paths: Paths, interrupts: Interrupts) -> str:
    """Until the start is over and the unit is at rest, or we leave. Returns how the start ended."""
    unit, result, seen = pod_unit(pod), "", 0
    while True:
        result = result or bus.wait(job, 0)
        if result and bus.active_states([unit]).get(unit) not in query.LIVE:
            return result
        if interrupts.left:
            return result
        if interrupts.count > seen:
            interrupts.clear()
            if seen:
                kill(bus, paths, pod)
            else:
                bus.stop(unit)
            seen += 1
            continue
        bus.wait_change(unit, wake=interrupts.descriptor, timeout=_LOOK_AGAIN)


def reset_failed(bus: Bus, unit: str) -> None:
    """For a pod without a name, whose unit is of no use any more once its end was told."""
    with contextlib.suppress(SystemdError):
        bus.reset_failed(unit)


def kill(bus: Bus, paths: Paths, pod: str) -> None:
    """SIGKILL to every app of a pod; one that is gone already is no error.

    Only to the main processes: systemd then kills what else the apps have (``KillMode=mixed``),
    and what records how they ended is spared.
    """
    import signal

    try:
        with open(f"{paths.pod_run(pod)}/units") as file:
            units = file.read().split()
    except OSError:
        return
    for unit in units:
        if pod_and_app(unit) is not None:
            with contextlib.suppress(SystemdError):
                bus.kill(unit, "main", signal.SIGKILL)


def _exit_status(paths: Paths, uuid: str) -> int | None:
    """How the pod ended; None when none of its apps did so."""
    found = directories.find(paths, uuid)
    if found is None:
        return None
    directory = found[1]
    try:
        ended = sorted(os.scandir(f"{directory}/status"), key=lambda each: each.stat().st_mtime_ns)
    except OSError:
        return None
    codes = []
    for each in ended:
        code = endings.exit_code(directory, each.name)
        if code is None:
            raise StoreError(
                f"how app {each.name} ended could not be recorded in {each.path}",
                hint="is the disk full?",
            )
        codes.append((endings.failed(directory, each.name), code))
    if not codes:
        return None
    bad = [code for failed, code in codes if failed and code] + [code for _, code in codes if code]
    return bad[0] if bad else 0


def _reason(unit: str, since: float) -> str:
    try:
        said = complaints(unit, since=since)
    except RktError:
        said = []
    return said[-1] if said else f"{unit} did not start: see journalctl -u {unit}"
