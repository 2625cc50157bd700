"""Everything that one start of a pod needs, worked out from its spec.

The result is JSON data. Whoever starts a named pod keeps it for the next start (``pods.cache``):
with nothing changed, a start only puts another UUID in.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Sequence
from dataclasses import replace
from typing import TypedDict

from rktsd.appc.isolators import CAPABILITIES_BY_NUMBER, without_seccomp
from rktsd.appc.names import host_labels
from rktsd.appc.types import Port, RuntimeApp, value_of
from rktsd.config.flavors import FLY, NSPAWN
from rktsd.errors import BadInput, NotFound, UsageError
from rktsd.net import files as net_files
from rktsd.net.ports import PortMapping, check_conflicts, shortest, spread
from rktsd.paths import Paths
from rktsd.pods.flavors import freedoms, settled
from rktsd.pods.health import find_health
from rktsd.pods.launchers import default_calls, find_launcher
from rktsd.pods.machine import this_machine, with_shaping
from rktsd.pods.options import expand_insecure
from rktsd.pods.placeholders import placeholders, with_mtab
from rktsd.pods.process import handlers, logs_to_streams, stop_signal
from rktsd.pods.rootchecks import (
    HIDDEN,
    check_mounts,
    inaccessible_paths,
    missing_directory,
)
from rktsd.pods.sockets import listeners
from rktsd.pods.spec import AppImage, PodSpec
from rktsd.pods.streams import streams_of
from rktsd.pods.volumekinds import NAMED
from rktsd.stage1 import carriedout
from rktsd.stage1.joining import joined
from rktsd.stage1.mounts import app_mounts
from rktsd.stage1.plan import plan
from rktsd.stage1.types import (
    AppFacts,
    Machine,
    Placeholder,
    PodFacts,
    PodPlan,
    Streams,
    VolumeFacts,
)
from rktsd.store.executables import find_executable
from rktsd.store.rootview import RootView
from rktsd.store.users import lookup_user

NETWORK_NAMESPACES = "/run/netns"
RUN_INSECURE = frozenset({"capabilities", "paths", "seccomp"})
_JOURNAL_ONLY = "stdout: nobody can open /dev/stdout by name, as this image does"
_NO_STREAMS = "output: with stage1 fly nobody can open /dev/stdout by name, as this image does"

# Which other architecture a machine's kernel runs as well.
_ALSO_RUNS = {"amd64": "i386", "aarch64": "armv7l"}


class Compiled(TypedDict):
    """``files`` are those of the pod's directory. ``host_volumes`` must exist when the pod starts,
    and without ``follow_links`` at that very path.

    ``ports`` are [host address or None, host port, pod port, protocol], and so are ``sockets``,
    where systemd listens.
    """

    plan: PodPlan
    files: dict[str, str]
    layers: list[str]
    host_volumes: list[tuple[str, str]]
    follow_links: bool
    networks: list[str]
    ports: list[tuple[str | None, int, int, str]]
    sockets: list[tuple[str | None, int, int, str]]
    namespace: str | None


def compile_pod(
    spec: PodSpec,
    *,
    pod: str,
    uuid: str,
    directory: str,
    paths: Paths,
    dry: bool = False,
    input: str | None = None,
    terminal: bool = False,
    joining: str | None = None,
) -> Compiled:
    """Look up what the plan has to be told, and plan. With ``dry`` nothing is recorded.

    ``pod`` is the pod's name, or its UUID; ``directory`` is where it lies when it runs. The apps
    read from the FIFO ``input``, or have a ``terminal`` and wait for whoever is at it. The plan is
    that of the app called ``joining`` alone where the pod runs already.
    Raises BadInput, NotFound or Unsupported naming the app, field and value at fault.
    """
    named = pod != uuid
    files = spec.files()
    spec = replace(spec, options=settled(spec.options))
    networks = list(spec.options.networks or ["none"])
    ports, sockets = _port_mappings(spec, networks)
    namespace = None if networks == ["host"] else f"{NETWORK_NAMESPACES}/rkt-{uuid}"
    hostname = spec.options.hostname or (pod.replace("@", "-") if named else f"rkt-{uuid}")
    flavor = spec.options.stage1 or NSPAWN
    if flavor == FLY:
        hostname = os.uname().nodename
    hosts, forced = _hosts(spec, hostname, peers=networks[0] not in ("host", "none"))
    machine = this_machine()
    run_directory = paths.pod_run(pod)
    facts = PodFacts(
        name=pod,
        uuid=uuid,
        manifest=spec.manifest,
        directory=directory,
        run_directory=run_directory,
        hostname=hostname,
        namespace=namespace,
        hosts=hosts,
        hosts_forced=forced,
        resolv_conf=_resolv_conf(spec) or (_told_by_networks(run_directory) if joining else None),
        machine=machine,
        on_app_failure=spec.options.on_app_failure,
        description=spec.options.description,
        documentation=spec.options.documentation,
        systemd=spec.options.systemd,
        register=spec.options.register,
        metadata=spec.options.metadata,
        volumes=_volume_facts(spec, paths, run_directory),
        devices=_devices(spec),
        ipc=spec.options.ipc,
        strict=spec.options.strict,
        shm_size=spec.options.shm_size,
        flavor=flavor,
        pid=spec.options.pid,
        users=_users(spec, pod, paths, dry=dry),
        mutable=spec.options.mutable,
    )
    chosen = [each for each in spec.manifest.apps if joining in (None, each.name)]
    apps = [_app_facts(spec, runtime, paths, machine) for runtime in chosen]
    apps = [_with_placeholders(spec, app, directory) for app in apps]
    asking = [spec.manifest.isolators, *(app.app.isolators for app in apps)]
    facts = replace(facts, machine=with_shaping(machine, asking))
    if input is not None or terminal:
        apps = [_begun_by_hand(app, input) for app in apps]
    if named:
        files["name"] = f"{pod}\n"
    planned = plan(facts, apps, whole=joining is None)
    if joining is not None:
        planned = joined(planned)
    if planned["unapplied"]:
        files["unapplied"] = "".join(f"{line}\n" for line in planned["unapplied"])
    return {
        "plan": planned,
        "files": files,
        "layers": sorted(spec.layers()),
        "host_volumes": _host_volumes(spec),
        "follow_links": spec.options.follow_links,
        "networks": networks,
        "ports": [(p.host_ip, p.host_port, p.pod_port, p.protocol) for p in ports],
        "sockets": [(p.host_ip, p.host_port, p.pod_port, p.protocol) for p in sockets],
        "namespace": namespace,
    }


def _begun_by_hand(facts: AppFacts, input: str | None) -> AppFacts:
    """The app with what ``rkt run --interactive`` gives it. Raises BadInput."""
    if facts.streams is not None:
        raise BadInput(
            f"app {facts.runtime.name}: its stdin, stdout or stderr is for rkt attach",
            hint="start it without --interactive",
        )
    if input is not None:
        return replace(facts, input=input)
    return replace(facts, terminal=False, streams=Streams("tty", "tty", "tty", awaited=True))


def _users(spec: PodSpec, pod: str, paths: Paths, *, dry: bool) -> int | None:
    if not spec.options.private_users:
        return None
    from rktsd.pods import userranges

    if not dry:
        return userranges.allocate(paths, pod)
    # Which one it gets is known when it is started.
    return userranges.recorded(paths, pod) or userranges.FIRST


def _volume_facts(spec: PodSpec, paths: Paths, run_directory: str) -> dict[str, VolumeFacts]:
    facts = {}
    for name, volume in spec.options.volumes.items():
        if volume.kind == NAMED and volume.source is not None:
            path = f"{paths.volumes}/{volume.source}/data"
            facts[name] = VolumeFacts(volume.kind, path, name=volume.source)
        else:
            path = f"{run_directory}/memory/{name}"
            facts[name] = VolumeFacts(volume.kind, path, size=volume.size)
    return facts


def _host_volumes(spec: PodSpec) -> list[tuple[str, str]]:
    """Names and sources of the pod's, and of those that stand at a mount of an app."""
    inline = (mount.app_volume for app in spec.manifest.apps for mount in app.mounts)
    volumes = [*spec.manifest.volumes, *(volume for volume in inline if volume is not None)]
    return [(volume.name, volume.source) for volume in volumes if volume.source is not None]


def _devices(spec: PodSpec) -> dict[str, str]:
    """The sources of host volumes that are device nodes, as DeviceAllow= names them."""
    devices = {}
    for _, source in _host_volumes(spec):
        try:
            status = os.stat(source)
        except OSError:
            continue
        if not (stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)):
            continue
        kind = "char" if stat.S_ISCHR(status.st_mode) else "block"
        number = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
        devices[source] = f"/dev/{kind}/{number}"
    return devices


def _app_facts(spec: PodSpec, runtime: RuntimeApp, paths: Paths, machine: Machine) -> AppFacts:
    image = spec.images[runtime.name]
    app = runtime.app
    if app is None:
        raise BadInput(
            f"app {runtime.name}: image {image.shown} has no app section", hint="give exec"
        )
    # Of an image for another machine nothing else is worth saying.
    foreign = _foreign_architecture(runtime.name, image)
    options = spec.options.apps.get(runtime.name)
    layers = tuple(f"{paths.store}/layers/{layer}" for layer in image.layers)
    view = RootView(layers)
    docker = image.kind == "oci"
    identity = lookup_user(
        view,
        app.user,
        group=app.group,
        supplementary=app.supplementary_gids,
        docker=docker,
        app=runtime.name,
    )
    mounted = [mount.path for mount in runtime.mounts]
    mounted += [point.path for point in app.mount_points if not docker]
    executable = find_executable(
        view,
        app.exec[0],
        working_directory=app.working_directory or "/",
        path=value_of("PATH", app.environment),
        mounted=mounted,
        app=runtime.name,
    )
    insecure = expand_insecure((*spec.options.insecure, *(options.insecure if options else ())))
    table = options.systemd if options else {}
    fly = spec.options.stage1 == FLY
    launcher, unfiltered, unapplied = find_launcher(
        # Without a filter nothing is to be known of what would have been in it.
        without_seccomp(app.isolators) if "seccomp" in insecure else app.isolators,
        spec.manifest.isolators,
        architecture=foreign or host_labels()["arch"],
        apparmor="apparmor" in machine.security_modules,
        umask=carriedout.umask(table, f"app {runtime.name}: systemd"),
        default=() if fly else default_calls(app.isolators, insecure, paths),
        app=runtime.name,
    )
    if unfiltered:
        insecure |= {"seccomp"}
    streams = streams_of(runtime)
    terminal = _terminal(view, options.output if options else None, streams, name=runtime.name)
    if terminal and streams is not None:
        terminal, unapplied = False, (*unapplied, _JOURNAL_ONLY)
    if fly:
        insecure |= freedoms(app, launcher)
        if terminal:
            terminal, unapplied = False, (*unapplied, _NO_STREAMS)
    annotations = {each.name: each.value for each in image.manifest.annotations}
    health, unchecked = find_health(
        options.health if options else None,
        annotations if docker and not (options and options.unchecked) else {},
        view,
        app=app,
        mounted=mounted,
        name=runtime.name,
    )
    return AppFacts(
        runtime=runtime,
        app=replace(app, supplementary_gids=identity.supplementary),
        image=image.shown,
        layers=layers,
        executable=posixpath.normpath(executable),
        uid=identity.uid,
        gid=identity.gid,
        own_files=frozenset(p for p in ("/etc/hosts",) if _has_content(view, p)),
        docker=docker,
        foreign_architecture=foreign,
        insecure=RUN_INSECURE & insecure,
        systemd=table or None,
        inaccessible=inaccessible_paths(view, table, mounted=mounted, app=runtime.name),
        stop_timeout=options.stop_timeout if options else None,
        listeners=listeners(spec, runtime),
        health=health,
        after=options.after if options else (),
        requires=options.requires if options else (),
        host_capabilities=_host_capabilities(),
        launcher=launcher,
        unapplied=(*unapplied, *unchecked),
        handlers=handlers(view, app, mounted=mounted, name=runtime.name),
        stop_signal=stop_signal(options.stop_signal if options else None, annotations),
        terminal=terminal,
        streams=streams,
    )


def _terminal(view: RootView, said: str | None, streams: Streams | None, *, name: str) -> bool:
    """Whether what goes to the journal does so by way of a terminal. Raises BadInput."""
    if said is not None and streams is not None:
        raise BadInput(f"app {name}: output: stdin, stdout or stderr say it as well")
    if said is None:
        # FIFOs and terminals can be opened by name.
        return (streams or Streams()).stdout == "log" and logs_to_streams(view)
    return said == "tty"


def _host_capabilities() -> frozenset[str]:
    """What systemd's services may have at most: our own bounding set (proc(5))."""
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith("CapBnd:"))
    bits = int(line.split()[1], 16)
    return frozenset(
        name for number, name in enumerate(CAPABILITIES_BY_NUMBER) if bits >> number & 1
    )


def _with_placeholders(spec: PodSpec, facts: AppFacts, directory: str) -> AppFacts:
    """With what has to be in the app's own layer before systemd-nspawn looks at the root."""
    app, view = facts.runtime.name, RootView(facts.layers)
    flavor = spec.options.stage1 or NSPAWN
    binds = app_mounts(spec.manifest, facts, directory, flavor=flavor).binds
    check_mounts(view, binds, app=app)
    missing = missing_directory(
        view,
        facts.app.working_directory or "/",
        # Of what is hidden /tmp is, where it is a file system of systemd-nspawn's own.
        mounted=[
            *(bind.target for bind in binds),
            *(path for path in HIDDEN if path != "/tmp" or facts.runtime.read_only_root_fs),
        ],
        app=app,
        make=facts.docker,
    )
    targets = [] if missing is None else [(missing, False)]
    if facts.runtime.read_only_root_fs:
        # Nothing can be made there later: what systemd-nspawn mounts on in every root.
        targets += [(path, False) for path in HIDDEN]
        targets += [(bind.target, _is_file(bind.source)) for bind in binds]
        files = ("hostname", "hosts", "machine-id", "resolv.conf")
        targets += [(f"/etc/{name}", True) for name in files]
    found = placeholders(view, targets)
    if not facts.runtime.read_only_root_fs and view.resolve("/tmp") is None:
        others = (place for place in found if place.path != "/tmp")
        found = (Placeholder("/tmp", 0o1777, 0, 0), *others)
    found = with_mtab(view, found, mounted=[bind.target for bind in binds])
    return replace(facts, placeholders=found)


def _is_file(path: str) -> bool:
    """Whether it is mounted on a file: also devices and sockets are."""
    return os.path.exists(path) and not os.path.isdir(path)


def _has_content(view: RootView, path: str) -> bool:
    # Image builders leave an empty file where they had mounted something over it.
    found = view.resolve(path)
    return found is not None and found.status.st_size > 0


def _foreign_architecture(app: str, image: AppImage) -> str | None:
    """The image's architecture when it is another than the host's (rkt's messages)."""
    own = host_labels()
    labels = {label.name: label.value for label in image.manifest.labels}
    for name in ("os", "arch"):
        if name not in labels:
            raise BadInput(f"app {app}: missing {name} label in the image manifest")
    if labels["os"] != own["os"]:
        raise BadInput(f'app {app}: bad os "{labels["os"]}"')
    if labels["arch"] == own["arch"]:
        return None
    if _ALSO_RUNS.get(own["arch"]) != labels["arch"]:
        raise BadInput(f'app {app}: bad arch "{labels["arch"]}": this machine is {own["arch"]}')
    return labels["arch"]


def _resolv_conf(spec: PodSpec) -> str | None:
    options = spec.options
    if "host" in options.dns:
        with open("/etc/resolv.conf") as file:
            return file.read()
    if "none" in options.dns:
        return None
    text = net_files.resolv_conf(
        options.dns,
        search=options.dns_search,
        options=options.dns_options,
        domain=options.dns_domain,
    )
    return text or None


def _told_by_networks(run_directory: str) -> str | None:
    """What the networks of a pod that runs said of DNS, if they did (``pods.networks``)."""
    try:
        with open(f"{run_directory}/resolv.conf") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _hosts(spec: PodSpec, hostname: str, *, peers: bool) -> tuple[str, bool]:
    """The text of /etc/hosts, and whether it goes over a file of the image's own."""
    entries = net_files.hosts_entries(spec.options.hosts_entries)
    if entries is None:
        with open("/etc/hosts") as file:
            return file.read(), True
    return net_files.hosts(hostname, entries=entries, peers=peers), bool(entries)


def _port_mappings(
    spec: PodSpec, networks: Sequence[str]
) -> tuple[list[PortMapping], list[PortMapping]]:
    """Which port of the host leads where, and those where systemd listens.

    rkt: a name must be one port of exactly one app.
    """
    mappings: list[PortMapping] = []
    sockets: list[PortMapping] = []
    for published in spec.manifest.ports:
        port = published.pod_port or _port_named(spec, published.name)
        # Of a socket-activated port systemd is the one that listens on the host.
        activated = published.pod_port is None and port.socket_activated
        first = PortMapping(
            shortest(published.host_ip), published.host_port, port.port, port.protocol
        )
        found = sockets if activated else mappings
        found += spread(first, port.count)
    if mappings and tuple(networks) in (("host",), ("none",)):
        raise UsageError(f"cannot publish port {mappings[0]} with network {networks[0]}")
    check_conflicts([*mappings, *sockets])
    return mappings, sockets


def _port_named(spec: PodSpec, name: str) -> Port:
    found = [
        port
        for runtime in spec.manifest.apps
        for port in (runtime.app.ports if runtime.app else ())
        if port.name == name
    ]
    if not found:
        raise NotFound(f'port "{name}": no app of the pod has a port of that name')
    if len(found) > 1:
        raise BadInput(f'port "{name}": several apps of the pod have a port of that name')
    return found[0]
