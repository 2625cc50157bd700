"""Notices what changes: systemd tells of the units of pods, inotify of their directories and of the
store, whoever it was that changed something."""

from __future__ import annotations

import asyncio
import contextlib
import threading

from rktsd.api import state
from rktsd.errors import RktError
from rktsd.host import kernel
from rktsd.pods.watch import follow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rktsd.api.state import State
    from rktsd.paths import Paths
    from rktsd.pods.events import Event

_MASK = kernel.IN_MOVED_FROM | kernel.IN_MOVED_TO | kernel.IN_CREATE | kernel.IN_DELETE
# What happens together is looked at once.
_PAUSE = 0.05


class Watch:
    """``on_event`` hears of events of pods, ``on_change`` of the state before and after a change,
    ``on_end`` of an error after which nothing is heard any more."""

    def __init__(
        self,
        paths: Paths,
        *,
        on_event: Callable[[Event], None],
        on_change: Callable[[State, State], None],
        on_end: Callable[[str], None],
        warn: Callable[[str], None],
    ) -> None:
        self._paths = paths
        self._on_event, self._on_change, self._on_end = on_event, on_change, on_end
        self._warn = warn
        self._loop = asyncio.get_running_loop()
        self._dirty = asyncio.Event()
        self._began = asyncio.Event()
        self._descriptor = kernel.inotify()

    async def begin(self) -> None:
        """Listen, and look for the first time."""
        threading.Thread(target=self._follow, daemon=True).start()
        await self._began.wait()
        self._loop.add_reader(self._descriptor, self._noticed)
        # Once for what is there to be watched, once more for what came before it was.
        self._state = state.EMPTY
        for _ in range(2):
            try:
                self._state = await self._look()
            except RktError as error:
                # What can be told without it is told; the next change has us look again.
                self._warn(str(error))
        self._task = asyncio.create_task(self._go_on())

    def _follow(self) -> None:
        """In a thread of its own, which ends with the process: systemd is waited for here."""
        try:
            for event in follow(self._paths, None):
                if event is None:
                    self._loop.call_soon_threadsafe(self._began.set)
                else:
                    self._loop.call_soon_threadsafe(self._happened, event)
        except RktError as error:
            self._loop.call_soon_threadsafe(self._began.set)
            self._loop.call_soon_threadsafe(self._on_end, str(error))

    def _happened(self, event: Event) -> None:
        self._on_event(event)
        self._dirty.set()

    def _noticed(self) -> None:
        for _, _, name in kernel.noticed(self._descriptor):
            # The index is opened to look; what is written has another name first (host.files).
            if not name.startswith((b"index", b".")):
                self._dirty.set()

    async def _look(self) -> State:
        found = await asyncio.to_thread(state.look, self._paths, self._state, warn=self._warn)
        for place in found.places:
            with contextlib.suppress(OSError):
                kernel.watch(self._descriptor, place, _MASK)
        return found

    async def _go_on(self) -> None:
        while True:
            await self._dirty.wait()
            await asyncio.sleep(_PAUSE)
            self._dirty.clear()
            try:
                found = await self._look()
            except RktError as error:
                self._warn(str(error))
                continue
            before, self._state = self._state, found
            self._on_change(before, found)
            if set(found.places) - set(before.places):
                # Something may have come there before it was watched.
                self._dirty.set()
