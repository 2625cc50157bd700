"""Kubernetes manifests as pod files: pods, and the templates of what makes pods."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rktsd.appc.cursor import Cursor, shown
from rktsd.appc.unread import mark, unread, watched
from rktsd.errors import BadInput
from rktsd.generate.documents import read_documents
from rktsd.generate.draft import Draft, add_app, app_name, append, member, pod_name, put, tell
from rktsd.generate.kubecontainer import Container, container, ignore_usual
from rktsd.generate.kubevolumes import volumes_of
from rktsd.paths import Paths

_MAKERS = frozenset({"DaemonSet", "Deployment", "Job", "ReplicaSet", "StatefulSet"})
# What is said of the object and not of what runs.
_USUAL = {
    "enableServiceLinks": True,
    "preemptionPolicy": "PreemptLowerPriority",
    "priority": 0,
    "schedulerName": "default-scheduler",
    "securityContext": {},
}
_OF_OBJECTS = ("creationTimestamp", "labels", "name", "namespace", "resourceVersion", "uid")
_SILENT = ("apiVersion", "kind", "status")

_CLUSTER = "there is one machine"
WHY = {
    "activeDeadlineSeconds": "systemd = { RuntimeMaxSec = … } of an app ends it so",
    "affinity": _CLUSTER,
    "annotations": "nothing reads annotations of pods",
    "automountServiceAccountToken": "there are no service accounts",
    "ephemeralContainers": "rkt enter runs programs in an app",
    "hostPID": "an app sees the processes of its pod at most",
    "imagePullSecrets": "rkt login keeps credentials",
    "nodeName": _CLUSTER,
    "nodeSelector": _CLUSTER,
    "parallelism": "a pod file is one pod",
    "podManagementPolicy": "a pod file is one pod",
    "preemptionPolicy": _CLUSTER,
    "priority": _CLUSTER,
    "priorityClassName": _CLUSTER,
    "replicas": "a pod file is one pod; a template POD@.toml is for several",
    "runtimeClassName": "the field stage1 chooses among those that are here",
    "schedulerName": _CLUSTER,
    "serviceAccount": "there are no service accounts",
    "serviceAccountName": "there are no service accounts",
    "serviceName": "there are no services",
    "strategy": "a pod is restarted as a whole",
    "tolerations": _CLUSTER,
    "topologySpreadConstraints": _CLUSTER,
    "updateStrategy": "a pod is restarted as a whole",
    "volumeClaimTemplates": 'a volume with kind = "named" outlives the pod',
}


def read_manifests(files: Sequence[str], paths: Paths) -> list[Draft]:
    """A draft of a pod for each pod in the files. Raises RktError."""
    documents = [place for path in files for place in read_documents(path)]
    if not documents:
        raise BadInput(f"{', '.join(files)}: there is no pod in it")
    return drafts_of(documents, paths)


def drafts_of(documents: Sequence[Cursor], paths: Paths) -> list[Draft]:
    """A draft of a pod for each pod in the documents. Raises RktError."""
    drafts: list[Draft] = []
    others: list[str] = []
    for place in documents:
        for each in _objects(place):
            kind = each.get("kind").line()
            if kind == "Pod" or kind in _MAKERS:
                drafts.append(pod(each, paths))
            else:
                name = each.get("metadata").get("name").value
                others.append(f"not carried over: {each.where}: {kind} {shown(name)}: not a pod")
    if not drafts:
        where = f"{documents[0].source}: " if documents else ""
        raise BadInput(f"{where}there is no pod in it")
    drafts[0].remarks[:0] = others
    return drafts


def _objects(place: Cursor) -> Iterator[Cursor]:
    if place.get("kind").value == "List":
        for each in place.get("items").elements():
            yield from _objects(each)
    else:
        yield place


def pod(place: Cursor, paths: Paths) -> Draft:
    """The draft of a Pod, or of the pods that something makes. Raises BadInput."""
    place = watched(place)
    _ignore(place, *_SILENT)
    kind = place.get("kind").text()
    metadata = place.get("metadata")
    named = metadata.get("name")
    draft = Draft(pod_name(named.filled(), named), paths)
    _ignore(metadata, *_OF_OBJECTS)
    body = place
    if kind != "Pod":
        made = place.get("spec")
        _ignore(made, "selector")
        if made.get("replicas").value == 1:
            _ignore(made, "replicas")
        elif made.get("replicas").given:
            tell(draft, made.get("replicas"), WHY["replicas"])
        body = made.get("template")
        _ignore(body.get("metadata"), *_OF_OBJECTS)
    _spec(draft, body.get("spec"), once=kind == "Job")
    for each in unread(place):
        field = each.path.rpartition(".")[2]
        shown = each if not isinstance(each.value, (dict, list)) else each._replace(value=None)
        tell(draft, shown, WHY.get(field, "no counterpart in a pod file"))
    return draft


def _ignore(place: Cursor, *keys: str) -> None:
    if place.given:
        for key in keys:
            mark(place.get(key))


def _spec(draft: Draft, spec: Cursor, *, once: bool) -> None:
    containers = spec.get("containers").elements()
    if not containers:
        raise spec.get("containers").problem("no container")
    begun = []
    for each, first in [(x, True) for x in spec.get("initContainers").elements()] + [
        (x, False) for x in containers
    ]:
        name = app_name(each.get("name").filled(), each.get("name"))
        add_app(draft, name, each.get("image"))
        sidecar = first and each.get("restartPolicy").value == "Always"
        begun.append(Container(each, name, first and not sidecar, sidecar))
    if len(begun) > 1:
        draft.fields["on-app-failure"] = "continue"
    _network(draft, spec)
    _shared(draft, spec)
    security = spec.get("securityContext")
    for setting in security.get("sysctls").elements() if security.given else ():
        name = setting.get("name").text()
        member(draft, None, "sysctl", name, setting.get("value").value, setting)
    mounts = volumes_of(draft, spec)
    restart = _restart(spec, once=once)
    before: list[str] = []
    for one in begun:
        for earlier in before:
            append(draft, one.app, "requires", earlier, one.place)
        container(draft, one, pod=spec, volumes=mounts)
        if one.init:
            member(draft, one.app, "systemd", "Type", "oneshot", one.place)
        elif restart or one.sidecar:
            policy = "always" if one.sidecar else restart
            systemd = draft.apps[one.app].get("systemd")
            old = systemd if isinstance(systemd, dict) else {}
            added = {"Restart": policy, "RestartSec": "10s"}
            put(draft, one.app, "systemd", {**old, **added}, spec.get("restartPolicy"))
        if one.init or one.sidecar:
            before.append(one.app)


def _restart(spec: Cursor, *, once: bool) -> str | None:
    """Restart= of the apps; with a delay, as that of Kubernetes grows from 10 seconds on."""
    policy = spec.get("restartPolicy")
    given = policy.one_of("Always", "OnFailure", "Never") if policy.given else ""
    return {"OnFailure": "on-failure", "Never": None}.get(given, None if once else "always")


def _flag(draft: Draft, place: Cursor, field: str, value: object, *, when: bool = True) -> None:
    if place.given and place.boolean() is when:
        put(draft, None, field, value, place)


def _network(draft: Draft, spec: Cursor) -> None:
    _flag(draft, spec.get("hostNetwork"), "network", ["host"])
    hostname = spec.get("hostname")
    if hostname.given:
        put(draft, None, "hostname", hostname.value, hostname)
    for each in spec.get("hostAliases").elements():
        for name in each.get("hostnames").elements():
            member(draft, None, "hosts", name.text(), each.get("ip").value, name)
    policy, config = spec.get("dnsPolicy"), spec.get("dnsConfig")
    if config.given:
        lists: tuple[tuple[str, str], ...] = (("nameservers", "dns"), ("searches", "dns-search"))
        for key, field in lists:
            for each in config.get(key).elements():
                append(draft, None, field, each.value, each)
        for each in config.get("options").elements():
            value = each.get("value")
            text = each.get("name").text() + (f":{value.text()}" if value.given else "")
            append(draft, None, "dns-options", text, each)
    if policy.given:
        policy.one_of("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
    if not {"dns", "dns-search", "dns-options"} & draft.fields.keys():
        put(draft, None, "dns", ["host"], policy)


def _ends_first(spec: Cursor) -> bool:
    begun = spec.get("initContainers").elements()
    return any(each.get("restartPolicy").value != "Always" for each in begun)


def _shared(draft: Draft, spec: Cursor) -> None:
    _flag(draft, spec.get("hostIPC"), "ipc", "parent")
    together = spec.get("shareProcessNamespace")
    if together.given and together.boolean() and _ends_first(spec):
        tell(draft, together, "not with init containers: systemd knows one process of such an app")
    else:
        _flag(draft, together, "pid", "shared")
    _flag(draft, spec.get("hostUsers"), "private-users", True, when=False)
    host_pid = spec.get("hostPID")
    if host_pid.given and host_pid.boolean():
        tell(draft, host_pid, WHY["hostPID"])
    ignore_usual(spec, _USUAL)
    system = spec.get("os")
    if system.given and system.get("name").value != "linux":
        raise system.get("name").wrong("linux")
