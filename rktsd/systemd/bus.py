"""The system bus, through pystemd's D-Bus extension. Hot path: imports nearly nothing.

pystemd drops a string that is not UTF-8 and cuts one at NUL without a word, and keeps no reference
to signal callbacks; both are guarded here, and nowhere else in the project is pystemd imported.
"""

from __future__ import annotations

import errno
import select
import sys
import time

from rktsd.errors import SystemdError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from types import TracebackType
    from typing import Any, Self

    # (name, D-Bus signature, value)
    Property = tuple[str, str, Any]
    # (unit name, its properties)
    Unit = tuple[str, Sequence[Property]]
    # (unit name, those of its properties that systemd tells of; strings come as bytes)
    Change = tuple[str, Mapping[str, Any]]

DESTINATION = b"org.freedesktop.systemd1"
MANAGER_PATH = b"/org/freedesktop/systemd1"
MANAGER = b"org.freedesktop.systemd1.Manager"


class UnitExists(SystemdError):
    """A transient unit of that name is loaded still."""


_ARRAY, _VARIANT, _STRUCT, _STRING = ord("a"), ord("v"), ord("r"), ord("s")
_END = (-1, None)


def load() -> None:
    """Load what the first ``Bus`` would wait for. Raises SystemdError."""
    _extension()


def _extension() -> Any:
    """pystemd.dbuslib alone: its package and helpers import lxml, dataclasses and pathlib.

    The extension needs one function of each helper; supplying those takes 6 ms where importing
    everything takes 20 (``python3 -X importtime``), on a path that is to take 80 in all.
    """
    loaded = sys.modules.get("pystemd.dbuslib")
    if loaded is not None:
        return loaded
    from importlib.machinery import PathFinder

    module = type(sys)
    spec = PathFinder.find_spec("pystemd")
    if spec is None or spec.submodule_search_locations is None:
        raise SystemdError("the Python module pystemd is not installed")
    package: Any = module("pystemd")
    package.__path__ = list(spec.submodule_search_locations)
    helpers: Any = module("pystemd.utils")
    helpers.x2char_star = lambda text, convert_all=False: (
        text.encode() if isinstance(text, str) else text
    )
    printer: Any = module("pprint")
    printer.pformat = repr
    stand_ins = {"pystemd": package, "pystemd.utils": helpers}
    if "pprint" not in sys.modules:
        stand_ins["pprint"] = printer
    sys.modules.update(stand_ins)
    try:
        import pystemd.dbuslib
    except ImportError as error:
        raise SystemdError(f"cannot load pystemd: {error}") from error
    finally:
        if sys.modules.get("pprint") is printer:
            del sys.modules["pprint"]
    return pystemd.dbuslib


def _checked(value: Any, where: str) -> Any:
    """``value`` with every string as bytes. Raises SystemdError on what D-Bus cannot carry.

    Nor may there be control characters: systemd writes a transient unit's properties to a file as
    they are, and reads the lines of that file back at every daemon-reload.
    """
    if isinstance(value, str):
        try:
            data = value.encode()
        except UnicodeEncodeError as error:
            raise SystemdError(f"{where}: {value!r} is not valid UTF-8") from error
        if any(byte < 0x20 or byte == 0x7F for byte in data):
            raise SystemdError(f"{where}: {value!r} holds a control character")
        return data
    if isinstance(value, (list, tuple)):
        return [_checked(item, where) for item in value]
    return value


def _encoded_properties(library: Any, unit: str, properties: Sequence[Property]) -> list[Any]:
    arguments: list[Any] = [(_ARRAY, b"(sv)")]
    for name, signature, value in properties:
        checked = _checked(value, f"{unit}: {name}")
        arguments += [
            (_STRUCT, b"sv"),
            (_STRING, name.encode()),
            (_VARIANT, signature.encode()),
            *library.apply_signature(signature.encode(), [checked]),
            _END,
            _END,
        ]
    arguments.append(_END)
    return arguments


class Bus:
    """A connection to the system bus; a context manager.

    ``hold_back`` are signals that the caller handles: a call that one of them interrupts would fail
    although systemd may have carried it out, so they are let through between calls only.
    """

    def __init__(self, *, hold_back: Collection[int] = ()) -> None:
        self._library = _extension()
        self._hold_back = hold_back
        self._results: dict[bytes, str] = {}
        self._jobs: set[bytes] = set()
        self._touched: set[str] = set()
        self._changes: list[Change] = []
        self._callbacks: list[Callable[..., None]] = []
        self._subscribed = False

    def __enter__(self) -> Self:
        self._connection = self._library.DBus()
        try:
            self._connection.__enter__()
        except Exception as error:
            raise SystemdError(
                "cannot connect to the system bus", hint="is D-Bus running?"
            ) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.__exit__(kind, error, trace)

    def _call(self, path: bytes, interface: bytes, method: bytes, arguments: Sequence[Any]) -> Any:
        from pystemd.dbusexc import DBusBaseError

        try:
            return self._undisturbed(
                self._connection.call_method,
                DESTINATION,
                path,
                interface,
                method,
                list(arguments),
            ).body
        except DBusBaseError as error:
            kind = UnitExists if error.errno == -errno.EEXIST else SystemdError
            raise kind(_message(error)) from error

    def _undisturbed(self, function: Callable[..., Any], *arguments: Any) -> Any:
        if not self._hold_back:
            return function(*arguments)
        from signal import SIG_BLOCK, SIG_SETMASK, pthread_sigmask

        before = pthread_sigmask(SIG_BLOCK, self._hold_back)
        try:
            return function(*arguments)
        finally:
            pthread_sigmask(SIG_SETMASK, before)

    def _manager(self, method: bytes, signature: bytes = b"", values: Sequence[Any] = ()) -> Any:
        checked = _checked(list(values), method.decode())
        return self._call(
            MANAGER_PATH,
            MANAGER,
            method,
            self._library.apply_signature(signature, checked) if signature else [],
        )

    def subscribe(self) -> None:
        """Hear of the end of jobs. To be called before the job is made."""
        if self._subscribed:
            return

        def job_removed(message: Any, error: Any = None, userdata: Any = None) -> None:
            # An exception here would surface far away as a SystemError.
            message.process_reply(False)
            body = message.body
            if body[1] in self._jobs:
                self._jobs.discard(body[1])
                self._results[body[1]] = body[3].decode()
            self._touched.add(body[2].decode())

        self._callbacks.append(job_removed)
        self._connection.match_signal(
            DESTINATION, MANAGER_PATH, MANAGER, b"JobRemoved", job_removed, None
        )
        self._manager(b"Subscribe")
        self._subscribed = True

    def watch_units(self, beginning: str) -> None:
        """Hear of changes of units whose names begin so, in plain letters."""
        from rktsd.systemd.names import unit_of_path

        def changed(message: Any, error: Any = None, userdata: Any = None) -> None:
            message.process_reply(True)
            unit = unit_of_path(message.headers["Path"].decode())
            if unit.startswith(beginning):
                found = {name.decode(): value for name, value in message.body[1].items()}
                self._changes.append((unit, found))

        self._callbacks.append(changed)
        interface = b"org.freedesktop.DBus.Properties"
        self._connection.match_signal(
            DESTINATION, None, interface, b"PropertiesChanged", changed, None
        )
        self.subscribe()

    def changes(self, timeout: float | None, *, wake: int) -> Sequence[Change]:
        """What has changed since the last call, after up to ``timeout`` s without anything.

        Nothing has when the descriptor ``wake`` becomes readable before.

        Needs ``watch_units``. Raises SystemdError when the bus is gone.
        """
        from pystemd.dbusexc import DBusBaseError

        try:
            self._drain()
            if not self._changes:
                self._pump(timeout, wake)
        except DBusBaseError as error:
            raise SystemdError(f"the system bus is gone: {_message(error)}") from error
        self._touched.clear()
        found, self._changes = self._changes, []
        return found

    def start_transient(self, main: Unit, auxiliaries: Sequence[Unit]) -> bytes:
        """All units in one atomic call; the main one is started. Returns its job's path."""
        self.subscribe()
        library = self._library
        arguments = library.apply_signature(b"ss", [main[0].encode(), b"fail"])
        arguments += _encoded_properties(library, *main)
        arguments.append((_ARRAY, b"(sa(sv))"))
        for name, properties in auxiliaries:
            arguments += [
                (_STRUCT, b"sa(sv)"),
                (_STRING, name.encode()),
                *_encoded_properties(library, name, properties),
                _END,
            ]
        arguments.append(_END)
        job: bytes = self._call(MANAGER_PATH, MANAGER, b"StartTransientUnit", arguments)
        self._jobs.add(job)
        return job

    def start(self, unit: str) -> bytes:
        """Queue a start job. Returns its path."""
        self.subscribe()
        return self._job(b"StartUnit", unit)

    def stop(self, unit: str) -> bytes:
        """Queue a stop job. Returns its path."""
        self.subscribe()
        return self._job(b"StopUnit", unit)

    def restart(self, unit: str) -> bytes:
        """Queue a restart job. Returns its path."""
        self.subscribe()
        return self._job(b"RestartUnit", unit)

    def _job(self, method: bytes, unit: str) -> bytes:
        # A reply is taken before any signal is, so that no end of a job of ours is overlooked.
        job: bytes = self._manager(method, b"ss", [unit, "replace"])
        self._jobs.add(job)
        return job

    def reset_failed(self, unit: str) -> None:
        """Forget that a unit failed. Raises SystemdError when it is not loaded."""
        self._manager(b"ResetFailedUnit", b"s", [unit])

    def kill(self, unit: str, who: str, signal: int) -> None:
        """Send ``signal`` to ``who`` (main, control or all) of a unit."""
        self._manager(b"KillUnit", b"ssi", [unit, who, signal])

    def attach(self, unit: str, group: str, pid: int) -> None:
        """Move a process into a control group below that of ``unit``, which is delegated."""
        self._manager(b"AttachProcessesToUnit", b"ssau", [unit, group, [pid]])

    def freeze(self, unit: str) -> None:
        """Stop all processes of a unit where they are; returns when they stand still."""
        self._manager(b"FreezeUnit", b"s", [unit])

    def thaw(self, unit: str) -> None:
        """Let the processes of a frozen unit go on."""
        self._manager(b"ThawUnit", b"s", [unit])

    def wait(self, job: bytes, timeout: float | None = None) -> str:
        """How a job ended: done, failed, dependency, canceled…; empty after ``timeout`` s."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while job not in self._results:
            remaining = None if deadline is None else deadline - time.monotonic()
            if remaining is not None and remaining <= 0:
                return ""
            self._pump(remaining)
        return self._results.pop(job)

    def wait_change(self, unit: str, *, wake: int, timeout: float) -> None:
        """Return when a job of ``unit`` has ended since the last call, when the descriptor ``wake``
        is readable, or after ``timeout`` s. Needs ``subscribe``."""
        self._drain()
        if unit not in self._touched:
            poll = select.poll()
            poll.register(self._connection.get_fd(), select.POLLIN)
            poll.register(wake, select.POLLIN)
            poll.poll(timeout * 1000)
            self._drain()
        self._touched.clear()

    def _pump(self, timeout: float | None, wake: int | None = None) -> None:
        # poll(2) instead of pystemd's wait(), which holds the interpreter lock and fails on EINTR.
        if self._drain():
            return
        poll = select.poll()
        poll.register(self._connection.get_fd(), select.POLLIN)
        if wake is not None:
            poll.register(wake, select.POLLIN)
        poll.poll(None if timeout is None else max(1, timeout * 1000))
        self._drain()

    def _drain(self) -> bool:
        before = len(self._results)
        while not self._undisturbed(self._connection.process).is_empty():
            pass
        return len(self._results) > before

    def unit_path(self, unit: str) -> bytes:
        """The object of a unit, loaded if need be."""
        path: bytes = self._manager(b"LoadUnit", b"s", [unit])
        return path

    def property(self, unit: str, interface: str, name: str, signature: str) -> Any:
        """One property of a unit; ``interface`` is Unit, Service, Slice…; strings come as bytes."""
        from pystemd.dbusexc import DBusBaseError

        try:
            return self._undisturbed(
                self._connection.get_property,
                DESTINATION,
                self.unit_path(unit),
                DESTINATION + b"." + interface.encode(),
                name.encode(),
                signature.encode(),
            )
        except DBusBaseError as error:
            raise SystemdError(f"{unit}: {_message(error)}") from error

    def active_states(self, patterns: Sequence[str]) -> Mapping[str, str]:
        """Unit name → ActiveState of the loaded units that match one of the glob patterns."""
        rows = self._manager(b"ListUnitsByPatterns", b"asas", [[], list(patterns)])
        return {row[0].decode(): row[3].decode() for row in rows}


def _message(error: Any) -> str:
    message = error.err_message
    text = message.decode(errors="replace") if isinstance(message, bytes) else str(message)
    return text.strip().rstrip(".")
