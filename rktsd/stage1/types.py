"""What the planner is told, and what it answers.

The answer is plain JSON data: it is what golden files hold, what the start path caches, and what
``apply`` carries out without importing anything else of the planner.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypedDict

from rktsd.appc.types import App, PodManifest, RuntimeApp
from rktsd.config.flavors import NSPAWN

if TYPE_CHECKING:
    from rktsd.systemd.bus import Property


SIGTERM = 15


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A mount point, or a directory above one, to be made in the app's own layer.

    ``link`` is what a symbolic link leads to, empty for what is none.
    """

    path: str
    mode: int
    uid: int
    gid: int
    is_file: bool = False
    link: str = ""


@dataclass(frozen=True, slots=True)
class Launcher:
    """``program`` is executed in the app's place (stage1.launcher); ``filters`` if it loads the
    system call filter, so that nothing else has to."""

    program: bytes
    filters: bool


@dataclass(frozen=True, slots=True)
class Health:
    """How an app is checked: times are in seconds, ``action`` is restart, stop or none.

    ``retries`` failures in a row make it unhealthy; within ``start_period`` none is counted.
    """

    command: tuple[str, ...]
    interval: float
    timeout: float
    retries: int
    start_period: float
    action: str


@dataclass(frozen=True, slots=True)
class Handler:
    """``name`` is pre-start or post-stop, ``executable`` where ``arguments[0]`` was found."""

    name: str
    executable: str
    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket that starts an app: ``name`` is its port's, ``kind`` Stream or Datagram.

    ``address`` is as ListenStream= has it. ``inside``: in the network of the pod.
    """

    name: str
    kind: str
    address: str
    inside: bool


@dataclass(frozen=True, slots=True)
class Streams:
    """What the streams of an app are, where they are not nothing and the journal.

    ``stdin`` is null, stream or tty, the others log, null, stream or tty. A terminal is that of
    both. ``awaited``: the app begins when somebody has attached.
    """

    stdin: str = "null"
    stdout: str = "log"
    stderr: str = "log"
    awaited: bool = False

    @property
    def terminal(self) -> bool:
        """Whether the app has a terminal to attach to."""
        return self.stdout == "tty"


@dataclass(frozen=True, slots=True)
class AppFacts:
    """One app with everything about its image that had to be looked up.

    ``app`` is what runs: the image's app section, or the pod's, with all overrides. ``layers`` are
    directories, topmost first. ``executable`` is the absolute path of the program in the root.
    ``after`` and ``requires`` are other apps, for which this one waits. ``terminal`` makes its
    standard output one, so that it can be opened by name. ``input`` is a FIFO of the host that it
    reads from. Nothing is seen at the paths ``inaccessible``. ``own_files`` are those of
    /etc/hosts, /etc/hostname and /etc/resolv.conf that the image brings.
    """

    runtime: RuntimeApp
    app: App
    image: str
    layers: tuple[str, ...]
    executable: str
    uid: int
    gid: int
    own_files: frozenset[str] = frozenset()
    docker: bool = False
    foreign_architecture: str | None = None
    insecure: frozenset[str] = frozenset()
    systemd: Mapping[str, object] | None = None
    stop_timeout: float | None = None
    placeholders: tuple[Placeholder, ...] = ()
    host_capabilities: frozenset[str] = frozenset()
    listeners: tuple[Listener, ...] = ()
    health: Health | None = None
    after: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    launcher: Launcher | None = None
    unapplied: tuple[str, ...] = ()
    handlers: tuple[Handler, ...] = ()
    stop_signal: int = SIGTERM
    terminal: bool = False
    input: str | None = None
    streams: Streams | None = None
    inaccessible: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Machine:
    """What the kernel offers: ``controllers`` are cpu, cpuset, memory, io and pids, as far as they
    are there; ``block_devices`` paths of whole disks; ``security_modules`` selinux, apparmor and
    bpf; ``shaping`` whether it bounds what network interfaces transfer. ``sensitive`` are
    directories of /sys that are no app's business."""

    unified_cgroups: bool = True
    controllers: frozenset[str] = frozenset({"cpu", "cpuset", "memory", "io", "pids"})
    block_devices: tuple[str, ...] = ()
    security_modules: frozenset[str] = frozenset()
    sensitive: tuple[str, ...] = ()
    shaping: bool = True


@dataclass(frozen=True, slots=True)
class VolumeFacts:
    """Where a volume lies that is no host volume and not empty at first.

    ``kind`` is "named", a volume called ``name`` that outlives pods, or "tmpfs", of ``size`` bytes.
    """

    kind: str
    path: str
    name: str = ""
    size: int | None = None


@dataclass(frozen=True, slots=True)
class PodFacts:
    """A pod and where it is to run. ``namespace`` is None on the host's network.

    ``flavor`` is one of FLAVORS, ``pid`` "private" or "shared".
    ``volumes`` are those that are of more than an appc kind; ``devices`` are the sources of host
    volumes that are device nodes, with what systemd calls them; ``users`` is the first of the
    range of users that the apps have instead of the host's. ``metadata``: the metadata service
    is to know the pod. ``mutable``: its apps come and go while it lives.
    """

    name: str
    uuid: str
    manifest: PodManifest
    directory: str
    run_directory: str
    hostname: str
    namespace: str | None
    hosts: str
    hosts_forced: bool = False
    resolv_conf: str | None = None
    machine: Machine = Machine()
    on_app_failure: str = "stop"
    description: str | None = None
    documentation: tuple[str, ...] = ()
    systemd: Mapping[str, object] | None = None
    strict: bool = False
    volumes: Mapping[str, VolumeFacts] = field(default_factory=dict)
    devices: Mapping[str, str] = field(default_factory=dict)
    ipc: str = "auto"
    register: bool = False
    metadata: bool = False
    shm_size: int | None = None
    ipc_settings: Mapping[str, str] = field(default_factory=dict)
    flavor: str = NSPAWN
    pid: str = "private"
    users: int | None = None
    mutable: bool = False

    @property
    def shared_memory(self) -> str | None:
        """What is /dev/shm in every app; None where each has its own, as the only one of a pod."""
        if self.ipc == "parent":
            return "/dev/shm"
        alone = len(self.manifest.apps) == 1 and not self.mutable
        if self.flavor == NSPAWN and alone and self.shm_size is None:
            return None
        return f"{self.run_directory}/memory/.shm"


class UnitPlan(TypedDict):
    """A transient unit: its properties as (name, D-Bus signature, value)."""

    name: str
    properties: list[Property]


class BundlePlan(TypedDict):
    """An OCI bundle: ``config`` is its config.json, ``run`` the script that starts the app.

    With fly that is ``stage1.flight``, for which there is a member "fly" in it.
    """

    app: str
    directory: str
    config: dict[str, Any]
    run: str


class FillPlan(TypedDict):
    """A directory to be made once, with what the image of an app has at ``path``.

    ``layers`` are the image's, topmost first. ``mode``, ``uid`` and ``gid`` win over the image's.
    ``name`` is that of a named volume, made in ``directory``/data; empty for a volume of the pod.
    """

    directory: str
    name: str
    layers: list[str]
    path: str
    mode: int | None
    uid: int | None
    gid: int | None


class UsersPlan(TypedDict):
    """The range of users of a pod begins at ``first``; ``owned`` are files that it gets.

    ``sources`` are what is shown to it: (path, with what is mounted below).
    """

    first: int
    sources: list[tuple[str, bool]]
    owned: list[str]


class PodPlan(TypedDict):
    """Everything that is to be made so that a pod runs.

    ``barrier`` is the main unit of the call, ``units`` the others. ``directories`` are
    (path, mode, uid, gid) in the order to be made, ``files`` (path, text), ``links`` (path, where
    it leads), ``fills`` volumes with content, ``mounts`` file systems in memory: (path, mount
    options), for the reaper to unmount, ``programs`` (path, hexadecimal digits of the content).
    ``bandwidth`` in bytes a second and ``sysctl`` are for the pod's network namespace.
    ``unapplied`` says in a line each what this machine cannot do. ``users`` is None for a pod
    with the users of the host. ``metadata`` is the socket of the metadata service, for pods that
    ask for it.
    The run's UUID appears in it as text only, so that a plan can be used again for another run.
    """

    pod: str
    uuid: str
    directory: str
    run_directory: str
    apps: list[str]
    barrier: UnitPlan
    units: list[UnitPlan]
    bundles: list[BundlePlan]
    directories: list[tuple[str, int, int, int]]
    files: list[tuple[str, str]]
    links: list[tuple[str, str]]
    fills: list[FillPlan]
    mounts: list[tuple[str, str]]
    programs: list[tuple[str, str]]
    bandwidth: int | None
    sysctl: dict[str, str]
    metadata: str | None
    unapplied: list[str]
    users: UsersPlan | None
