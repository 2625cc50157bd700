"""The connection to the system bus, and the only place that knows dbus-next.

Calls come as values, and answers and signals go out one after the other: dbus-next ends a
connection on which it has more to write than goes at once.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import NamedTuple

from dbus_next.aio.message_bus import MessageBus
from dbus_next.constants import BusType, MessageFlag, MessageType, NameFlag, RequestNameReply
from dbus_next.message import Message
from dbus_next.signature import Variant

from rktsd.api.values import Typed
from rktsd.errors import SystemdError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

BUS, BUS_PATH = "org.freedesktop.DBus", "/org/freedesktop/DBus"


class Call(NamedTuple):
    """A method call: ``interface`` may be empty, ``body`` has variants as ``Typed``."""

    sender: str
    path: str
    interface: str
    member: str
    signature: str
    body: tuple[Any, ...]
    interactive: bool
    message: Any


class Answer(NamedTuple):
    """What a call to somebody else came to: ``error`` is the name of an error, or empty."""

    error: str
    body: tuple[Any, ...]


class Connection:
    """``handle`` gets every method call, ``gone`` the unique name of everybody who leaves."""

    def __init__(self, handle: Callable[[Call], None], gone: Callable[[str], None]) -> None:
        self._handle = handle
        self._gone = gone
        self._bus: Any = MessageBus(bus_type=BusType.SYSTEM, negotiate_unix_fd=True)
        self._outgoing: asyncio.Queue[tuple[Message, tuple[int, ...]]] = asyncio.Queue()

    async def connect(self) -> None:
        """Raises SystemdError."""
        try:
            await self._bus.connect()
        except Exception as error:
            raise SystemdError(f"cannot connect to the system bus: {error}") from error
        self._bus.add_message_handler(self._receive)
        self._writer = asyncio.create_task(self._write())
        rule = (
            f"type='signal',sender='{BUS}',path='{BUS_PATH}',interface='{BUS}',"
            "member='NameOwnerChanged',arg2=''"
        )
        await self.call(BUS, BUS_PATH, BUS, "AddMatch", "s", rule)

    async def own(self, name: str) -> None:
        """Take a name. Raises SystemdError."""
        try:
            reply = await self._bus.request_name(name, NameFlag.DO_NOT_QUEUE)
        except Exception as error:
            raise SystemdError(f"cannot be {name}: {error}") from error
        if reply not in (RequestNameReply.PRIMARY_OWNER, RequestNameReply.ALREADY_OWNER):
            raise SystemdError(f"{name} is somebody else already")

    async def disown(self, name: str) -> None:
        """Give a name back. What was sent to us before has been handed to ``handle`` then."""
        await self._bus.release_name(name)

    async def ended(self) -> str:
        """Wait until the bus is gone. Returns why."""
        try:
            await self._bus.wait_for_disconnect()
        except Exception as error:
            return f"the system bus is gone: {type(error).__name__}: {error}"
        return "the system bus is gone"

    async def sent(self) -> None:
        """Wait until all that was to be sent is sent."""
        await self._outgoing.join()

    async def call(
        self, destination: str, path: str, interface: str, member: str, signature: str, *body: Any
    ) -> Answer:
        """Call a method of somebody else."""
        message = Message(
            destination=destination, path=path, interface=interface, member=member,
            signature=signature, body=[_outward(each) for each in body],
        )  # fmt: skip
        reply = await self._bus.call(message)
        found = tuple(_inward(each) for each in reply.body)
        if reply.message_type is MessageType.ERROR:
            return Answer(reply.error_name, found)
        return Answer("", found)

    def reply(self, call: Call, signature: str, *body: Any) -> None:
        """Answer a call; of type h are descriptors, which are closed when they are sent."""
        files = tuple(each for each, kind in zip(body, signature, strict=False) if kind == "h")
        if call.message.flags & MessageFlag.NO_REPLY_EXPECTED:
            _close(files)
            return
        shown = list(range(len(files))) if files else [_outward(each) for each in body]
        message = Message.new_method_return(call.message, signature, shown, list(files))
        self._outgoing.put_nowait((message, files))

    def refuse(self, call: Call, name: str, text: str) -> None:
        """Answer a call with an error."""
        if not call.message.flags & MessageFlag.NO_REPLY_EXPECTED:
            self._outgoing.put_nowait((Message.new_error(call.message, name, _text(text)), ()))

    def signal(self, path: str, interface: str, member: str, signature: str, *body: Any) -> None:
        """Send a signal to all who may hear it."""
        shown = [_outward(each) for each in body]
        message = Message.new_signal(path, interface, member, signature, shown)
        self._outgoing.put_nowait((message, ()))

    async def _write(self) -> None:
        while True:
            message, files = await self._outgoing.get()
            try:
                await self._bus.send(message)
            except Exception as error:
                # A message that dbus-next does not like, or the bus is gone: ``ended`` tells that.
                sys.stderr.write(f"<3>{message.member or 'answer'}: not sent: {error}\n")
            finally:
                _close(files)
                self._outgoing.task_done()

    def _receive(self, message: Any) -> bool:
        # Nothing here takes descriptors, and whoever sends some must not fill our table with them.
        _close(message.unix_fds)
        if message.message_type is MessageType.SIGNAL:
            if message.member == "NameOwnerChanged" and message.sender == BUS:
                name, _, owner = message.body
                if not owner:
                    self._gone(name)
            return False
        if message.message_type is not MessageType.METHOD_CALL:
            return False
        self._handle(
            Call(
                sender=message.sender or "",
                path=message.path,
                interface=message.interface or "",
                member=message.member,
                signature=message.signature,
                body=tuple(_inward(each) for each in message.body),
                interactive=bool(message.flags & MessageFlag.ALLOW_INTERACTIVE_AUTHORIZATION),
                message=message,
            )
        )
        return True


def _close(files: Sequence[int]) -> None:
    for each in files:
        os.close(each)


def _inward(value: Any) -> Any:
    if isinstance(value, Variant):
        return Typed(value.signature, _inward(value.value))
    if isinstance(value, dict):
        return {key: _inward(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_inward(each) for each in value]
    return value


def _outward(value: Any) -> Any:
    if isinstance(value, Typed):
        return Variant(value.signature, _outward(value.value))
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict):
        return {_outward(key): _outward(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_outward(each) for each in value]
    return value


def _text(text: str) -> str:
    """A text that D-Bus can carry: the daemon ends the connection on which another one comes."""
    return text.encode(errors="replace").decode().replace("\0", " ")
