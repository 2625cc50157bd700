"""Volumes of a Kubernetes pod, and the mounts of its containers."""

from __future__ import annotations

from typing import NamedTuple

from rktsd.appc.cursor import Cursor
from rktsd.appc.unread import mark
from rktsd.generate.draft import Draft, Table, app_name, append, doubt, put_mount, tell

_OTHERS = {
    "configMap": "put its files on this machine, and give them as a volume of kind host",
    "secret": "give it as a credential: systemd = { LoadCredential = ['NAME:/PATH'] }",
    "downwardAPI": "the metadata service tells an app of its pod",
    "projected": "put its files on this machine, and give them as a volume of kind host",
    "nfs": "mount it on this machine, and give it as a volume of kind host",
    "iscsi": "mount it on this machine, and give it as a volume of kind host",
    "csi": "mount it on this machine, and give it as a volume of kind host",
    "ephemeral": "a volume of kind empty lives as long as the run of a pod",
    "image": "rkt image render writes an image to a directory",
}


class Source(NamedTuple):
    """``host`` is a path of the machine, else ``table`` a volume of the pod; neither: told."""

    host: str | None = None
    table: Table | None = None
    read_only: bool = False


def volumes_of(draft: Draft, spec: Cursor) -> dict[str, Source]:
    """The volumes of a pod by name; those that have no counterpart are told."""
    group = None
    security = spec.get("securityContext")
    if security.given and security.get("fsGroup").given:
        group = security.get("fsGroup").integer(0, 2**32 - 2)
    found: dict[str, Source] = {}
    for each in spec.get("volumes").elements():
        name = each.get("name").filled()
        found[name] = _source(draft, each, app_name(name, each.get("name")), group)
    return found


def _source(draft: Draft, place: Cursor, name: str, group: int | None) -> Source:
    empty, host = place.get("emptyDir"), place.get("hostPath")
    claim = place.get("persistentVolumeClaim")
    owner: Table = {} if group is None else {"gid": group}
    if host.given:
        kind = host.get("type")
        if kind.value in ("DirectoryOrCreate", "FileOrCreate"):
            doubt(draft, kind, "the source of a volume is never made: it has to be there")
        elif kind.value not in (None, "", "Directory", "File", "Socket", "CharDevice",
                                "BlockDevice"):  # fmt: skip
            tell(draft, kind, "unknown")
        return Source(host=host.get("path").absolute())
    if claim.given:
        source = app_name(claim.get("claimName").filled(), claim.get("claimName"))
        mode: Table = {"mode": "2775"} if owner else {}
        table: Table = {"name": name, "kind": "named", "source": source, **mode, **owner}
        return Source(table=table, read_only=claim.get("readOnly").boolean())
    if empty.given:
        # As the kubelet makes them.
        shared: Table = {"mode": "2777" if owner else "0777", **owner}
        size = empty.get("sizeLimit")
        if empty.get("medium").value == "Memory":
            limit: Table = {"size": size.value} if size.given else {}
            return Source(table={"name": name, "kind": "tmpfs", **limit, **shared})
        if size.given:
            tell(draft, size, "only volumes in memory have a limit")
        if empty.get("medium").value not in (None, ""):
            tell(draft, empty.get("medium"), "only memory is another medium")
        return Source(table={"name": name, "kind": "empty", **shared})
    for kind_name, member in place.members():
        if kind_name != "name":
            shown = member._replace(value=None)
            tell(draft, shown, _OTHERS.get(kind_name, "no counterpart in a pod file"))
            mark(member)
    return Source()


def mount(draft: Draft, app: str, place: Cursor, volumes: dict[str, Source]) -> None:
    """One of the volumeMounts of a container."""
    name = place.get("name")
    source = volumes.get(name.filled())
    path = place.get("mountPath")
    if source is None:
        raise name.problem(f"the pod has no volume {name.value}")
    below = place.get("subPath")
    propagation = place.get("mountPropagation")
    if propagation.given and propagation.value != "None":
        tell(draft, propagation, "what is mounted later on one side is not seen on the other")
    target = f"/{path.filled().lstrip('/')}"
    if place.get("readOnly").boolean() or source.read_only:
        target = f"{target}:ro"
    if source.host is not None:
        inside = f"/{below.filled().strip('/')}" if below.given else ""
        if "/../" in f"{inside}/":
            raise below.wrong("a path below the volume")
        append(draft, app, "mounts", f"{source.host.rstrip('/') or ''}{inside}:{target}", place)
    elif below.given:
        tell(draft, below, "the volume is mounted as a whole or not at all: it is not mounted")
    elif source.table is not None:
        put_mount(draft, app, source.table, target, place.get("mountPath"))
    else:
        tell(draft, path, f"nothing is mounted there: {name.value} is not carried over")
