"""What is known of pods: the state on disk, and from systemd whether they run.

``list`` reads every pod through this, so files are taken as they are and not checked field by
field as for a start.
"""

from __future__ import annotations

import json
import os
from types import MappingProxyType
from typing import NamedTuple

from rktsd.errors import BadInput, NotFound, RktError, StoreError
from rktsd.paths import RUN as RUN_DIRECTORY
from rktsd.pods import directories
from rktsd.pods.directories import EMBRYO, EXITED_GARBAGE, GARBAGE, PREPARE, PREPARED, RUN
from rktsd.pods.endings import code_of, read_word, recorded
from rktsd.pods.locate import find_pod_file
from rktsd.pods.moments import APPS, modified, moments
from rktsd.systemd.names import app_unit, pod_unit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from rktsd.paths import Paths

RUNNING, EXITED = "running", "exited"

# What is in a stage when nobody works on it, and when somebody does (rkt 1.30).
_STATES = {
    EMBRYO: ("embryo", "embryo"),
    PREPARE: ("aborted prepare", "preparing"),
    PREPARED: ("prepared", "prepared"),
    EXITED_GARBAGE: ("exited garbage", "exited deleting"),
    GARBAGE: ("garbage", "deleting"),
}
# Of a unit: its pod exists in one way or other.
LIVE = frozenset({"active", "activating", "deactivating", "reloading"})
"""States of units that have not ended."""


class Live(NamedTuple):
    """What systemd says is there: the UUIDs of ``pods``, and the app ``units`` that run."""

    pods: frozenset[str] = frozenset()
    units: frozenset[str] = frozenset()


class Place(NamedTuple):
    """A pod's directory. ``name`` is None for a pod without one."""

    uuid: str
    stage: str
    directory: str
    name: str | None

    @property
    def pod(self) -> str:
        """What systemd knows it by."""
        return self.name or self.uuid


class AppStatus(NamedTuple):
    """One app; times are nanoseconds since the epoch, ``exit_code`` is as of a shell.

    ``result`` is Result= of its unit (systemd.exec(5)), such as exit-code, watchdog or oom-kill;
    ``health`` is healthy, unhealthy or starting, None for an app without checks.
    """

    name: str
    state: str
    image_id: str
    image_name: str | None
    created: int
    started: int | None
    finished: int | None
    exit_code: int | None
    manifest: Mapping[str, Any]
    result: str | None = None
    health: str | None = None


class PodStatus(NamedTuple):
    """One pod; ``networks`` as in net-info.json, ``manifest`` the pod manifest as read.

    ``unapplied`` says in a line each what this machine could not do of what the pod asks for;
    ``users`` is the first of its private users, ``metadata`` the socket at which the
    metadata service answers it. ``volumes`` are the paths of named volumes and of those in memory.
    """

    place: Place
    state: str
    created: int
    started: int | None
    networks: list[dict[str, Any]]
    apps: tuple[AppStatus, ...]
    manifest: Mapping[str, Any]
    unapplied: tuple[str, ...] = ()
    users: int | None = None
    metadata: str | None = None
    volumes: Mapping[str, str] = MappingProxyType({})


def places(paths: Paths) -> list[Place]:
    """Every pod on disk. Raises StoreError."""
    return [place_at(paths, stage, uuid) for stage, uuid in directories.all_pods(paths)]


def place_at(paths: Paths, stage: str, uuid: str) -> Place:
    """The pod with that UUID in that stage."""
    directory = directories.stage_directory(paths, stage, uuid)
    return Place(uuid, stage, directory, read_word(f"{directory}/name"))


def find(paths: Paths, pod: str) -> Place:
    """The pod that a name, a UUID or the beginning of one means.

    A name means the run that is going on, else the last one. Raises NotFound, BadInput.
    """
    runs = [place for place in places(paths) if place.name == pod]
    if runs:
        current = current_run(paths, pod)
        runs.sort(key=lambda place: (place.uuid == current, modified(f"{place.directory}/pod")))
        return runs[-1]
    try:
        uuid = directories.match(paths, pod.lower())
    except NotFound as error:
        try:
            find_pod_file(paths, pod)
        except RktError:
            raise error from None
        raise NotFound(f"pod {pod} was never started, or its runs are removed") from error
    found = directories.find(paths, uuid)
    if found is None:
        raise NotFound(f'no matches found for "{pod}"')
    return place_at(paths, found[0], uuid)


def current_run(paths: Paths, pod: str) -> str | None:
    """The UUID of the run that goes on, of the pod that systemd knows by that name."""
    return read_word(f"{paths.pod_run(pod)}/uuid")


def current_directory(paths: Paths, pod: str) -> str | None:
    """The directory of that run."""
    return read_word(f"{paths.pod_run(pod)}/directory")


def running(paths: Paths, pods: Iterable[Place]) -> Live:
    """Those that run, are being started, or are being stopped, as systemd says.

    To be called with places that were looked up before. Raises SystemdError.
    """
    candidates = [
        place
        for place in pods
        if place.stage == RUN
        and not os.path.exists(f"{place.directory}/ended")
        # Moved on since it was looked up, it has ended.
        and os.path.isdir(place.directory)
    ]
    if not candidates:
        return Live()
    from rktsd.systemd.bus import Bus

    with Bus() as bus:
        states = bus.active_states([pod_unit("*"), app_unit("*", "*")])
    return Live(
        frozenset(
            place.uuid
            for place in candidates
            if _is_run(paths, place, states.get(pod_unit(place.pod), "inactive"))
        ),
        frozenset(unit for unit, state in states.items() if state in LIVE),
    )


def _is_run(paths: Paths, place: Place, state: str) -> bool:
    if state not in LIVE:
        return False
    current = current_run(paths, place.pod)
    if current == place.uuid:
        return True
    # A start begins with the directory; the word that it is the current run comes a little later.
    return state == "activating" and not os.path.exists(f"{place.directory}/started")


def state(place: Place, live: Live) -> str:
    """The state of a pod in rkt's words; ``live`` is what ``running`` said."""
    if place.stage == RUN:
        return RUNNING if place.uuid in live.pods else EXITED
    idle, busy = _STATES[place.stage]
    return busy if _is_locked(place.directory) else idle


def _is_locked(directory: str) -> bool:
    from rktsd.host.files import locked

    try:
        with locked(directory, shared=True, blocking=False):
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False


def status(place: Place, live: Live) -> PodStatus:
    """All about a pod. Raises NotFound, StoreError, BadInput for a damaged directory."""
    directory = place.directory
    manifest = _read_json(f"{directory}/pod")
    try:
        # Most files are there for few pods: one look is less than trying to open each.
        there = os.listdir(directory)
        created = os.stat(f"{directory}/pod").st_mtime_ns
        started = modified(f"{directory}/started") or None
        pod_state = state(place, live)
        return PodStatus(
            place=place,
            state=pod_state,
            created=created,
            started=started,
            networks=_networks(directory) if "net-info.json" in there else [],
            apps=tuple(
                _app(
                    app,
                    place,
                    live,
                    created=created,
                    started=started,
                    pod_state=pod_state,
                    has_health="health" in there,
                    has_moments=APPS in there,
                )
                for app in manifest["apps"] or ()
            ),
            manifest=manifest,
            unapplied=unapplied(directory) if "unapplied" in there else (),
            users=(int(read_word(f"{directory}/users") or 0) if "users" in there else 0) or None,
            metadata=read_word(f"{directory}/metadata") if pod_state == RUNNING else None,
            volumes=_volumes(place, manifest) if "options" in there else {},
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BadInput(f"{directory}/pod: damaged: {type(error).__name__}: {error}") from error
    except OSError as error:
        raise StoreError(f"cannot read {error.filename}: {error.strerror}") from error


def _app(
    app: Mapping[str, Any],
    place: Place,
    live: Live,
    *,
    created: int,
    started: int | None,
    pod_state: str,
    has_health: bool,
    has_moments: bool,
) -> AppStatus:
    name, image, directory = app["name"], app["image"], place.directory
    finished = modified(f"{directory}/status/{name}") or None
    # Of an app that was added to the pod while that runs: it was not started with it.
    added, begun = moments(directory, name) if has_moments else (0, 0)
    is_live = pod_state == RUNNING and app_unit(place.pod, name) in live.units
    if is_live:
        # What may be recorded is how it ended before systemd restarted it.
        finished = None
    waits = added > (started or 0) and not begun
    started = begun or (None if waits and not is_live else started)
    end = None if finished is None else recorded(directory, name)
    health = (read_word(f"{directory}/health/{name}") if has_health else None) or ""
    if finished is not None:
        app_state = "exited"
    elif waits and not is_live:
        app_state = "created"
    elif pod_state == RUNNING:
        app_state = "running" if started else "created"
    else:
        app_state = "created" if pod_state == "prepared" else "exited"
    return AppStatus(
        name=name,
        state=app_state,
        image_id=image["id"],
        image_name=_image_name(image),
        created=added or created,
        # The pod counts as started when its last app is, by when this one may have ended.
        started=min(started or finished, finished) if finished else started,
        finished=finished,
        exit_code=code_of(end),
        manifest=app,
        result=end and end[0],
        health=health.partition(" ")[0] or None,
    )


def _volumes(place: Place, manifest: Mapping[str, Any]) -> dict[str, str]:
    """Volumes that appc takes for empty ones, while they lie elsewhere (``pods.volumekinds``)."""
    if not any(each.get("kind") == "empty" for each in manifest.get("volumes") or ()):
        return {}
    options = _read_json(f"{place.directory}/options")
    data = place.directory.removesuffix(f"/pods/{place.stage}/{place.uuid}")
    return {
        name: f"{data}/volumes/{each['source']}/data"
        if each["kind"] == "named"
        else f"{RUN_DIRECTORY}/pods/{place.pod}/memory/{name}"
        for name, each in (options.get("volumes") or {}).items()
    }


def _image_name(image: Mapping[str, Any]) -> str | None:
    name: str | None = image.get("name")
    labels = image.get("labels") or ()
    version = next((label["value"] for label in labels if label["name"] == "version"), None)
    return f"{name}:{version}" if name and version else name


def _networks(directory: str) -> list[dict[str, Any]]:
    from rktsd.pods.networks import load

    return load(directory)


def listed(paths: Paths) -> list[Place]:
    """Every pod that is more than an embryo or garbage, by UUID."""
    found = [place for place in places(paths) if place.stage not in (EMBRYO, GARBAGE)]
    return sorted(found, key=lambda each: each.uuid)


def all_statuses(paths: Paths, *, warn: Callable[[str], None]) -> list[PodStatus]:
    """All of ``listed``; ``warn`` hears of damaged ones."""
    found = listed(paths)
    live = running(paths, found)
    statuses = []
    for place in found:
        try:
            statuses.append(status(place, live))
        except RktError as error:
            # Moved on or removed since we looked: not worth a word.
            if os.path.isdir(place.directory):
                warn(f"pod {place.uuid}: {error}")
    return statuses


def _read_json(path: str) -> dict[str, Any]:
    from rktsd.host.files import read_limited

    try:
        value = json.loads(read_limited(path, 16 << 20).decode())
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadInput(f"{path}: not a JSON object")
    return value


def unapplied(directory: str) -> tuple[str, ...]:
    """What this machine cannot do of what a pod asks for, a line each."""
    try:
        with open(f"{directory}/unapplied", encoding="utf-8", errors="replace") as file:
            return tuple(file.read(1 << 16).splitlines())
    except OSError:
        return ()
