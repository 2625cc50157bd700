"""What is told of changes, to all who may hear it (org.rktsd.conf)."""

from __future__ import annotations

from rktsd.api import state
from rktsd.api.interfaces import (
    IMAGE,
    MANAGER,
    OBJECT_MANAGER,
    OF_ROOT,
    POD,
    PROPERTIES,
    ROOT,
    image_path,
    pod_path,
)
from rktsd.api.values import Typed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from rktsd.api.connection import Connection
    from rktsd.api.state import State
    from rktsd.pods.events import Event

_SIGNATURES = {
    signal.name: "".join(signal.arguments.split()[1::2])
    for interface in OF_ROOT
    for signal in interface.signals
}


class Teller:
    """Says what happens in the words of the interfaces."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def event(self, event: Event) -> None:
        """What systemd told of a pod or an app."""
        details = {}
        if event.exit_code is not None:
            details["exit_code"] = Typed("i", event.exit_code)
        if event.result is not None:
            details["result"] = Typed("s", event.result)
        if event.restarts is not None:
            details["restarts"] = Typed("u", event.restarts)
        self._tell(
            MANAGER, "Event", event.time // 1000, event.uuid or "", event.pod, event.app or "",
            event.kind, details,
        )  # fmt: skip

    def change(self, before: State, after: State) -> None:
        """What there is now and was not, or was otherwise."""
        for uuid in before.pods.keys() - after.pods.keys():
            self._tell(OBJECT_MANAGER, "InterfacesRemoved", pod_path(uuid), [POD])
            self._tell(MANAGER, "PodRemoved", uuid, pod_path(uuid))
        for image in before.images.keys() - after.images.keys():
            self._tell(OBJECT_MANAGER, "InterfacesRemoved", image_path(image), [IMAGE])
            self._tell(MANAGER, "ImageRemoved", image, image_path(image))
        for image in after.images.keys() - before.images.keys():
            shown = {IMAGE: after.images[image]}
            self._tell(OBJECT_MANAGER, "InterfacesAdded", image_path(image), shown)
            self._tell(MANAGER, "ImageAdded", image, image_path(image))
        for uuid, pod in after.pods.items():
            if uuid in before.pods:
                self._changed(uuid, before.pods[uuid], pod)
            else:
                self._tell(OBJECT_MANAGER, "InterfacesAdded", pod_path(uuid), {POD: pod})
                self._tell(MANAGER, "PodAdded", uuid, pod_path(uuid))

    def _changed(self, uuid: str, before: Mapping[str, Typed], after: Mapping[str, Typed]) -> None:
        changed = state.changed(before, after)
        if changed:
            self._connection.signal(
                pod_path(uuid), PROPERTIES, "PropertiesChanged", "sa{sv}as",
                POD, changed, state.INVALID_AT_CHANGE,
            )  # fmt: skip
            self._tell(MANAGER, "PodChanged", uuid, pod_path(uuid), after["State"].value)

    def _tell(self, interface: str, name: str, *body: Any) -> None:
        self._connection.signal(ROOT, interface, name, _SIGNATURES[name], *body)
