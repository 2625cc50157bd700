"""The appc schema as values: image and pod manifests and their parts (appc spec 0.8.11).

Pure data. Reading and writing JSON, with every check, is in ``rktsd.appc.read`` and ``write``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class NameValue:
    """A label, an annotation or an environment variable."""

    name: str
    value: str


def value_of(name: str, pairs: Iterable[NameValue]) -> str | None:
    """The value of the first of ``pairs`` with that name."""
    return next((pair.value for pair in pairs if pair.name == name), None)


@dataclass(frozen=True, slots=True)
class EventHandler:
    """``name`` is pre-start or post-stop."""

    name: str
    exec: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Isolator:
    """``value`` is the isolator's JSON value, already checked for known names."""

    name: str
    value: object


@dataclass(frozen=True, slots=True)
class MountPoint:
    """A place in the image where a volume of the same name is expected."""

    name: str
    path: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Port:
    """A port the app listens on; ``count`` consecutive ones from ``port``."""

    name: str
    protocol: str
    port: int
    count: int = 1
    socket_activated: bool = False


@dataclass(frozen=True, slots=True)
class App:
    """How to run an image (appc spec, aci.md, "app")."""

    exec: tuple[str, ...]
    user: str
    group: str
    supplementary_gids: tuple[int, ...] = ()
    event_handlers: tuple[EventHandler, ...] = ()
    working_directory: str | None = None
    environment: tuple[NameValue, ...] = ()
    isolators: tuple[Isolator, ...] = ()
    mount_points: tuple[MountPoint, ...] = ()
    ports: tuple[Port, ...] = ()
    user_annotations: Mapping[str, str] = field(default_factory=dict)
    user_labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Dependency:
    """An image whose root file system lies below this one's."""

    image_name: str
    image_id: str | None = None
    labels: tuple[NameValue, ...] = ()
    size: int | None = None


@dataclass(frozen=True, slots=True)
class ImageManifest:
    """acKind ImageManifest."""

    ac_version: str
    name: str
    labels: tuple[NameValue, ...] = ()
    app: App | None = None
    dependencies: tuple[Dependency, ...] = ()
    path_whitelist: tuple[str, ...] = ()
    annotations: tuple[NameValue, ...] = ()


@dataclass(frozen=True, slots=True)
class Volume:
    """``kind`` is host (with ``source``) or empty (with ``mode``, ``uid``, ``gid``)."""

    name: str
    kind: str
    source: str | None = None
    read_only: bool | None = None
    recursive: bool | None = None
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None


@dataclass(frozen=True, slots=True)
class Mount:
    """Mounts ``volume`` (a name of the pod's volumes, or ``app_volume`` inline) at ``path``."""

    volume: str
    path: str
    app_volume: Volume | None = None


@dataclass(frozen=True, slots=True)
class RuntimeImage:
    """The image of an app in a pod; ``id`` is empty only in a pod file that names its image."""

    id: str
    name: str | None = None
    labels: tuple[NameValue, ...] = ()


@dataclass(frozen=True, slots=True)
class RuntimeApp:
    """An app of a pod; ``app``, when given, replaces the image's app wholly."""

    name: str
    image: RuntimeImage
    app: App | None = None
    read_only_root_fs: bool = False
    mounts: tuple[Mount, ...] = ()
    annotations: tuple[NameValue, ...] = ()


@dataclass(frozen=True, slots=True)
class PublishedPort:
    """A port of the host that leads to the app port called ``name``."""

    name: str
    host_port: int
    host_ip: str | None = None
    pod_port: Port | None = None


@dataclass(frozen=True, slots=True)
class PodManifest:
    """acKind PodManifest."""

    ac_version: str
    apps: tuple[RuntimeApp, ...]
    volumes: tuple[Volume, ...] = ()
    isolators: tuple[Isolator, ...] = ()
    annotations: tuple[NameValue, ...] = ()
    ports: tuple[PublishedPort, ...] = ()
    user_annotations: Mapping[str, str] = field(default_factory=dict)
    user_labels: Mapping[str, str] = field(default_factory=dict)
