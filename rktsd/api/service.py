"""org.rktsd: takes calls, asks who may, has them carried out in threads, tells what changes.

It ends when for a while nobody has called, nobody has subscribed and nothing is under way.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from rktsd import __version__
from rktsd.api import errors, images, info, logs, options, pods, state
from rktsd.api import interfaces as on_bus
from rktsd.api.access import Access
from rktsd.api.connection import Connection
from rktsd.api.errors import Refused
from rktsd.api.signals import Teller
from rktsd.api.values import Typed
from rktsd.api.watch import Watch
from rktsd.errors import RktError
from rktsd.paths import Paths
from rktsd.pods import query
from rktsd.pods.locate import configured

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from rktsd.api.access import Caller
    from rktsd.api.connection import Call
    from rktsd.api.interfaces import Interface, Method

_Found = TypeVar("_Found")

IDLE = 60.0
"""Seconds after which the service ends when nobody wants anything of it."""

_THREADS = 64
# Of one user at a time: calls under way, and logs that are being read.
_CALLS, _STREAMS = 16, 8

# What Manager1 does for a pod or image by its name, and their own objects for themselves.
_VERBS: dict[str, Callable[..., tuple[Any, ...]]] = {
    "ListPods": pods.list_pods,
    "GetPod": pods.get,
    "GetPodByPID": pods.get_by_pid,
    "GetPodByControlGroup": pods.get_by_group,
    "StartPod": pods.start,
    "RestartPod": pods.restart,
    "StopPod": pods.stop,
    "KillPod": pods.kill,
    "PausePod": pods.pause,
    "ResumePod": pods.resume,
    "RemovePod": pods.remove,
    "GetLogs": logs.get,
    "ListImages": images.list_images,
    "GetImage": images.get,
    "RemoveImage": images.remove,
    "CollectGarbage": pods.collect_garbage,
    "GetInfo": info.info,
}


class Service:
    """One connection's worth of state: what is under way, and for whom."""

    def __init__(self, paths: Paths, idle: float) -> None:
        self._paths = paths
        self._idle = idle
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="call")
        self._connection = Connection(self._take, self._left)
        self._access = Access(self._connection)
        self._slots = images.Slots()
        self._calls: dict[int, int] = {}
        self._streams: dict[int, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._subscribers: set[str] = set()
        self._quiet_since = self._loop.time()
        self._over = asyncio.Event()
        self._warned: set[str] = set()
        self._status = 0

    async def run(self) -> int:
        """Serve until it is over. Returns an exit status. Raises SystemdError."""
        await self._connection.connect()
        teller = Teller(self._connection)
        watch = Watch(
            self._paths,
            on_event=teller.event,
            on_change=teller.change,
            on_end=self._fail,
            warn=self._warn,
        )
        await watch.begin()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._over.set)
        await self._connection.own(on_bus.NAME)
        ended = asyncio.create_task(self._until_gone())
        idle = asyncio.create_task(self._until_idle())
        await self._over.wait()
        idle.cancel()
        if not self._status:
            # Who calls from now on has us started again, and what came before is answered.
            await self._connection.disown(on_bus.NAME)
            while self._tasks:
                await asyncio.wait(self._tasks)
            await self._connection.sent()
        ended.cancel()
        return self._status

    async def _until_gone(self) -> None:
        self._fail(await self._connection.ended())

    async def _until_idle(self) -> None:
        while True:
            now = self._loop.time()
            if self._tasks or self._subscribers or self._streams:
                self._quiet_since = now
            left = self._quiet_since + self._idle - now
            if left <= 0:
                self._over.set()
                return
            await asyncio.sleep(left)

    def _fail(self, reason: str) -> None:
        if not self._over.is_set():
            sys.stderr.write(f"<3>{errors.printable(reason)}\n")
            self._status = RktError.exit_code
            self._over.set()

    def _warn(self, line: str) -> None:
        if line not in self._warned and len(self._warned) < 1000:
            self._warned.add(line)
            sys.stderr.write(f"<4>{errors.printable(line)}\n")
            sys.stderr.flush()

    def _left(self, name: str) -> None:
        self._access.forget(name)
        self._subscribers.discard(name)

    def _take(self, call: Call) -> None:
        task = self._loop.create_task(self._answer(call))
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._quiet_since = self._loop.time()

    async def _answer(self, call: Call) -> None:
        try:
            interface, method = _find(call)
            options.check_size(call.body)
            caller = await self._access.caller(call.sender)
            if self._calls.get(caller.uid, 0) >= _CALLS:
                message = f"{_CALLS} calls of yours are under way already"
                raise Refused(errors.LIMITS_EXCEEDED, message)
            self._calls[caller.uid] = self._calls.get(caller.uid, 0) + 1
            try:
                if method.action is not None:
                    await self._check(caller, method.action, call)
                answer = await self._carry_out(call, interface, method, caller)
            finally:
                self._calls[caller.uid] -= 1
                if not self._calls[caller.uid]:
                    del self._calls[caller.uid]
            self._connection.reply(call, method.result, *answer)
        except RktError as error:
            self._connection.refuse(call, *errors.named(error))
        except Exception as error:
            # Whoever called gets a word, and the journal has what it takes to mend it.
            what = f"{type(error).__name__}: {error}"
            sys.stderr.write(f"<3>{call.member}: {errors.printable(what)}\n")
            sys.stderr.flush()
            self._connection.refuse(call, errors.FAILED, f"{call.member} failed, see the journal")

    async def _check(self, caller: Caller, action: str, call: Call) -> None:
        named = [each for each in call.body[:1] if isinstance(each, str)]
        if call.path.startswith((on_bus.POD_ROOT, on_bus.IMAGE_ROOT)):
            named = [on_bus.name_of(call.path)]
        details = {"object": named[0]} if named and named[0] else {}
        await self._access.check(caller, action, call, details)

    async def _carry_out(
        self, call: Call, interface: Interface, method: Method, caller: Caller
    ) -> Sequence[Any]:
        if interface.name == on_bus.PROPERTIES:
            return await self._properties(call, method, caller)
        if interface.name == on_bus.OBJECT_MANAGER:
            return (await self._in_thread(self._everything),)
        if interface.name == on_bus.INTROSPECTABLE:
            return (on_bus.xml(on_bus.interfaces_of(call.path), await self._nodes(call, caller)),)
        if interface.name == on_bus.PEER:
            return () if method.name == "Ping" else (_machine(),)
        verb, body = method.name, list(call.body)
        if interface.name in (on_bus.POD, on_bus.IMAGE):
            body.insert(0, on_bus.name_of(call.path))
            if verb not in ("GetLogs", "OpenLogs"):
                verb += "Pod" if interface.name == on_bus.POD else "Image"
        if verb in ("Subscribe", "Unsubscribe"):
            change = self._subscribers.add if verb == "Subscribe" else self._subscribers.discard
            change(call.sender)
            return ()
        if verb == "OpenLogs":
            return (await self._open_logs(caller, body),)
        if verb == "FetchImage":
            return await self._in_thread(images.fetch, self._slots, caller.uid, *body)
        return await self._in_thread(_VERBS[verb], self._paths, *body)

    async def _in_thread(self, function: Callable[..., _Found], *arguments: Any) -> _Found:
        return await self._loop.run_in_executor(self._threads, partial(function, *arguments))

    async def _properties(self, call: Call, method: Method, caller: Caller) -> Sequence[Any]:
        wanted = call.body[0]
        own = on_bus.interfaces_of(call.path)
        interface = next((each for each in own if each.name == wanted), None)
        if interface is None and wanted:
            raise Refused(errors.UNKNOWN_INTERFACE, f'{call.path} has no interface "{wanted}"')
        interface = interface or own[0]
        if method.name == "Set":
            raise Refused(errors.READ_ONLY, "no property of org.rktsd can be set")
        if interface.action is not None:
            await self._check(caller, interface.action, call)
        found = await self._in_thread(self._described, call.path, interface)
        if method.name == "GetAll":
            return (found,)
        if call.body[1] not in found:
            message = f'{interface.name} has no property "{call.body[1]}"'
            raise Refused(errors.UNKNOWN_PROPERTY, message)
        return (found[call.body[1]],)

    def _described(self, path: str, interface: Interface) -> dict[str, Typed]:
        """All properties of an object in an interface; those of systemd's are none."""
        if interface.name == on_bus.POD:
            return pods.properties(self._paths, on_bus.name_of(path))
        if interface.name == on_bus.IMAGE:
            return images.properties(self._paths, on_bus.name_of(path))
        if interface.name == on_bus.MANAGER:
            return {
                "Version": Typed("s", __version__),
                "ApiVersion": Typed("s", info.API_VERSION),
            }
        return {}

    def _everything(self) -> dict[str, dict[str, dict[str, Typed]]]:
        found = {on_bus.ROOT: {on_bus.MANAGER: self._described(on_bus.ROOT, on_bus.OF_ROOT[0])}}
        for uuid, shown in pods.every(self._paths, warn=self._warn).items():
            found[on_bus.pod_path(uuid)] = {on_bus.POD: shown}
        for image_id, shown in images.every(self._paths).items():
            found[on_bus.image_path(image_id)] = {on_bus.IMAGE: shown}
        return found

    async def _nodes(self, call: Call, caller: Caller) -> tuple[str, ...]:
        """What is below a path, of pods and images what the caller may see."""
        plain = {"/": ("org",), "/org": ("rktsd",), on_bus.ROOT: ("image", "pod")}
        if call.path not in (on_bus.POD_ROOT, on_bus.IMAGE_ROOT):
            return plain.get(call.path, ())
        try:
            # Nobody is asked for a password for that.
            await self._check(caller, on_bus.READ, call._replace(interactive=False))
        except Refused:
            return ()
        found = await self._in_thread(self._names, call.path)
        return tuple(sorted(each.rpartition("/")[2] for each in found))

    def _names(self, path: str) -> list[str]:
        """The objects below that of all pods or images."""
        if path == on_bus.IMAGE_ROOT:
            return [on_bus.image_path(each.id) for each in state.records(self._paths)]
        return [on_bus.pod_path(each.uuid) for each in query.listed(self._paths)]

    async def _open_logs(self, caller: Caller, body: Sequence[Any]) -> int:
        if self._streams.get(caller.uid, 0) >= _STREAMS:
            raise Refused(errors.LIMITS_EXCEEDED, f"{_STREAMS} streams of yours are open already")
        self._streams[caller.uid] = self._streams.get(caller.uid, 0) + 1
        try:
            stream = await self._in_thread(logs.open_stream, self._paths, *body)
            process = stream.process
            ended = os.pidfd_open(process.pid)
        except BaseException:
            self._closed(caller.uid)
            raise

        def reap() -> None:
            self._loop.remove_reader(ended)
            os.close(ended)
            process.wait()
            self._closed(caller.uid)

        self._loop.add_reader(ended, reap)
        assert process.stdout is not None
        with process.stdout:
            return os.dup(process.stdout.fileno())

    def _closed(self, uid: int) -> None:
        self._streams[uid] -= 1
        if not self._streams[uid]:
            del self._streams[uid]
        self._quiet_since = self._loop.time()


def _find(call: Call) -> tuple[Interface, Method]:
    """What a call is about. Raises Refused."""
    known = on_bus.interfaces_of(call.path)
    if not known:
        raise Refused(errors.UNKNOWN_OBJECT, f"there is no {call.path}")
    for interface in known:
        method = interface.method(call.member)
        if method is None or call.interface not in ("", interface.name):
            continue
        if method.signature != call.signature:
            message = f'{call.member} takes "{method.signature}", not "{call.signature}"'
            raise Refused(errors.INVALID_ARGUMENTS, message)
        return interface, method
    if call.interface and call.interface not in [each.name for each in known]:
        raise Refused(errors.UNKNOWN_INTERFACE, f"{call.path} has no interface {call.interface}")
    raise Refused(errors.UNKNOWN_METHOD, f"{call.path} has no method {call.member}")


def _machine() -> str:
    with open("/etc/machine-id", encoding="ascii") as file:
        return file.read().strip()


def main(arguments: Sequence[str]) -> int:
    """Serve; the only argument is after how many seconds to end when nobody calls."""
    try:
        # Loaded before there are threads, for loading it is not for several at once.
        from rktsd.systemd.bus import Bus

        with Bus():
            pass
        status = asyncio.run(_run(configured(Paths()), float(arguments[0]) if arguments else IDLE))
    except RktError as error:
        sys.stderr.write(f"<3>{error}\n")
        status = error.exit_code
    sys.stderr.flush()
    # A thread waits for systemd for ever, and none has anything that it must end.
    os._exit(status)


async def _run(paths: Paths, idle: float) -> int:
    return await Service(paths, idle).run()
