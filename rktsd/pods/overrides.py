"""What a pod file or a command line changes about the app section of an image.

An ``app`` in a pod manifest replaces the image's wholly; overrides keep what they do not mention.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from rktsd.appc import isolators, read, write
from rktsd.appc.cursor import Cursor, shown
from rktsd.appc.names import check_environment_name
from rktsd.appc.types import App, Isolator, MountPoint, NameValue, Port
from rktsd.errors import BadInput


class _Named(Protocol):
    @property
    def name(self) -> str: ...


Named = TypeVar("Named", bound=_Named)


@dataclass(frozen=True, slots=True)
class AppOverrides:
    """Changes to an App; None and empty change nothing.

    ``exec`` replaces the command and ``args`` are appended to whichever command there is. The
    other tuples and mappings replace or add by name.
    """

    exec: tuple[str, ...] | None = None
    args: tuple[str, ...] | None = None
    user: str | None = None
    group: str | None = None
    supplementary_gids: tuple[int, ...] | None = None
    working_directory: str | None = None
    environment: tuple[NameValue, ...] = ()
    isolators: tuple[Isolator, ...] = ()
    mount_points: tuple[MountPoint, ...] = ()
    ports: tuple[Port, ...] = ()
    user_annotations: Mapping[str, str] = field(default_factory=dict)
    user_labels: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """A JSON object of what is set, for ``from_json``."""
        gids = self.supplementary_gids
        members: dict[str, object] = {
            "exec": None if self.exec is None else list(self.exec),
            "args": None if self.args is None else list(self.args),
            "user": self.user,
            "group": self.group,
            "supplementary-gids": None if gids is None else list(gids),
            "working-directory": self.working_directory,
        }
        several: dict[str, object] = {
            "environment": {each.name: each.value for each in self.environment},
            "isolators": [write.isolator_json(each) for each in self.isolators],
            "mount-points": [write.mount_point_json(each) for each in self.mount_points],
            "ports": [write.port_json(each) for each in self.ports],
            "user-annotations": dict(self.user_annotations),
            "user-labels": dict(self.user_labels),
        }
        return {name: value for name, value in members.items() if value is not None} | {
            name: value for name, value in several.items() if value
        }

    @classmethod
    def from_json(cls, value: object, source: str) -> "AppOverrides":
        """What ``to_json`` gave. Raises BadInput."""
        return overrides_at(Cursor(source, "", value))


def overrides_at(place: Cursor) -> AppOverrides:
    """Overrides from an object in a pod file's spelling. Raises BadInput."""
    gids, directory = place.get("supplementary-gids"), place.get("working-directory")
    points, ports = place.get("mount-points").elements(), place.get("ports").elements()
    return AppOverrides(
        exec=_command(place.get("exec")),
        args=_words(place.get("args")),
        user=_owner(place.get("user")),
        group=_owner(place.get("group")),
        supplementary_gids=tuple(
            each.integer(0, read.MAX_ID, what="a GID") for each in gids.elements()
        )
        if gids.given
        else None,
        working_directory=directory.absolute() if directory.given else None,
        environment=_environment(place.get("environment")),
        isolators=read.app_isolators(place.get("isolators")),
        mount_points=tuple(read.mount_point(each) for each in points),
        ports=_ports(place.get("ports"), ports),
        user_annotations=read.strings(place.get("user-annotations")),
        user_labels=read.strings(place.get("user-labels")),
    )


def _words(place: Cursor) -> tuple[str, ...] | None:
    """A list of words, or one string that is split as a shell would."""
    if not place.given:
        return None
    if not isinstance(place.value, str):
        return tuple(element.text() for element in place.elements())
    import shlex

    try:
        return tuple(shlex.split(place.text()))
    except ValueError as error:
        reason = str(error).lower()
        raise place.problem(f"{shown(place.value)} cannot be split into words: {reason}") from error


def _command(place: Cursor) -> tuple[str, ...] | None:
    words = _words(place)
    if words is not None and (not words or not words[0]):
        raise place.problem("names no program")
    return words


def _owner(place: Cursor) -> str | None:
    if not place.given:
        return None
    if isinstance(place.value, str):
        return place.line()
    return str(place.integer(0, read.MAX_ID, what="a name or a number"))


def _environment(place: Cursor) -> tuple[NameValue, ...]:
    return tuple(
        NameValue(
            check_environment_name(name, place.where),
            str(each.value) if type(each.value) is int else each.text(),
        )
        for name, each in place.members()
    )


def _ports(place: Cursor, ports: Iterable[Cursor]) -> tuple[Port, ...]:
    found = []
    for each in ports:
        protocol = each.get("protocol")
        if protocol.given:
            protocol.one_of("tcp", "udp")
        elif isinstance(each.value, dict):
            each = each._replace(value={**each.value, "protocol": "tcp"})
        found.append(read.port(each))
    read.unique_names(place, (each.name for each in found))
    return tuple(found)


def _by_name(old: Iterable[Named], new: Iterable[Named]) -> tuple[Named, ...]:
    """``old`` with namesakes replaced in their places and the others of ``new`` behind."""
    return tuple(({each.name: each for each in old} | {each.name: each for each in new}).values())


def apply_overrides(image_app: App | None, overrides: AppOverrides, *, app: str) -> App:
    """The App that runs as ``app``: the image's with ``overrides`` merged in.

    Environment, isolators, mount points, ports, annotations and labels are merged by name; a
    capability or seccomp set also takes the place of its counterpart. An image without an app
    section gives user and group 0. Raises BadInput when there is no command to run.
    """
    base = image_app or App(exec=(), user="0", group="0")
    command = base.exec if overrides.exec is None else overrides.exec
    gids, directory = overrides.supplementary_gids, overrides.working_directory
    if not command:
        raise BadInput(
            f"app {app}: neither its image nor the pod says what to execute", hint="give exec"
        )
    return App(
        exec=(*command, *(overrides.args or ())),
        user=base.user if overrides.user is None else overrides.user,
        group=base.group if overrides.group is None else overrides.group,
        supplementary_gids=base.supplementary_gids if gids is None else gids,
        event_handlers=base.event_handlers,
        working_directory=base.working_directory if directory is None else directory,
        environment=_by_name(base.environment, overrides.environment),
        isolators=isolators.replaced(base.isolators, overrides.isolators),
        mount_points=_by_name(base.mount_points, overrides.mount_points),
        ports=_by_name(base.ports, overrides.ports),
        user_annotations={**base.user_annotations, **overrides.user_annotations},
        user_labels={**base.user_labels, **overrides.user_labels},
    )
