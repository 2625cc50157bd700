"""A container of a Kubernetes pod as an app."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import NoneType
from typing import NamedTuple

from rktsd.appc.cursor import Cursor
from rktsd.appc.quantities import parse_milli, quantity_at
from rktsd.appc.unread import mark
from rktsd.generate import podman
from rktsd.generate.draft import (
    Draft,
    append,
    by_shell,
    member,
    put,
    put_capabilities,
    put_command,
    put_health,
    put_variables,
    tell,
)
from rktsd.generate.kubevolumes import Source, mount
from rktsd.generate.sharing import publish_port

_REFERENCE = re.compile(r"\$(\$|\(([A-Za-z_.-][A-Za-z0-9_.-]*)\))")
_POLICIES = {"Always": "update", "IfNotPresent": "new", "Never": "never"}
_MILLI_SHARES = 1024 / 1000
_GIVEN_LATER = "only known when the pod runs: the metadata service tells some of it"


_USUAL = {"terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}


def ignore_usual(place: Cursor, usual: Mapping[str, object]) -> None:
    """Pass over what an API server adds to every object where nothing is said."""
    for key, value in usual.items():
        # What is asked for counts as read.
        if isinstance(place.value, dict) and dict(place.value).get(key) == value:
            place.get(key)


class Container(NamedTuple):
    """``init``: it ends before the next begins; ``sidecar``: it began before them and goes on."""

    place: Cursor
    app: str
    init: bool
    sidecar: bool


def container(draft: Draft, one: Container, *, pod: Cursor, volumes: dict[str, Source]) -> None:
    """Put all that is said of a container into its app. ``pod`` is the spec of the pod."""
    place, app = one.place, one.app
    policy = place.get("imagePullPolicy")
    if policy.given:
        put(draft, app, "pull-policy", _POLICIES.get(policy.text(), policy.value), policy)
    environment = _environment(draft, place, app)
    _command(draft, place, app, environment)
    directory = place.get("workingDir")
    if directory.given:
        put(draft, app, "working-directory", directory.value, directory)
    for each in place.get("ports").elements():
        _port(draft, app, each, host=draft.fields.get("network") == ["host"])
    for each in place.get("volumeMounts").elements():
        mount(draft, app, each, volumes)
    _resources(draft, app, place.get("resources"))
    _security(draft, app, place.get("securityContext"), pod.get("securityContext"))
    grace = pod.get("terminationGracePeriodSeconds")
    if grace.given:
        put(draft, app, "stop-timeout", grace.value, grace)
    deadline = pod.get("activeDeadlineSeconds")
    if deadline.given:
        member(draft, app, "systemd", "RuntimeMaxSec", deadline.value, deadline)
    _probes(draft, app, place)
    _lifecycle(draft, app, place.get("lifecycle"))
    if place.get("tty").boolean():
        put(draft, app, "output", "tty", place.get("tty"))
    ignore_usual(place, _USUAL)
    for key, why in (
        ("stdin", "the input of an app is empty; rkt run --interactive has one"),
        ("stdinOnce", "the input of an app is empty; rkt run --interactive has one"),
    ):
        if place.get(key).given and place.get(key).value is not False:
            tell(draft, place.get(key), why)


def _environment(draft: Draft, place: Cursor, app: str) -> dict[str, str]:
    known: dict[str, str] = {}
    found: dict[str, tuple[str, object, Cursor]] = {}
    for each in place.get("envFrom").elements():
        tell(draft, _named(each), "write the variables into environment")
    for each in place.get("env").elements():
        name, value, source = each.get("name").filled(), each.get("value"), each.get("valueFrom")
        if source.given:
            field = source.get("fieldRef").value
            if not isinstance(field, dict) or field.get("fieldPath") != "metadata.name":
                kind = next((key for key, _ in source.members()), "")
                late = kind in ("fieldRef", "resourceFieldRef")
                why = _GIVEN_LATER if late else "write the value, or give it as a credential"
                tell(draft, _named(source), f"{name}: {why}")
                continue
            text = draft.name
        elif isinstance(value.value, (str, int, NoneType)) and not isinstance(value.value, bool):
            text = _expanded("" if value.value is None else str(value.value), known)
        else:
            tell(draft, value, "not a string")
            continue
        known[name] = text
        found[name] = name, text, each
    put_variables(draft, app, list(found.values()))
    return known


def _named(place: Cursor) -> Cursor:
    """What a reference leads to, by its name; all below it is told with it."""
    mark(place)
    for _, found in place.members():
        if isinstance(found.value, dict):
            return found._replace(value=found.value.get("name", found.value.get("fieldPath")))
    return place._replace(value=None)


def _expanded(text: str, known: Mapping[str, str]) -> str:
    """``$(NAME)`` replaced where it is known, and ``$$`` by a dollar sign (Kubernetes)."""

    def one(found: re.Match[str]) -> str:
        return "$" if found[1] == "$" else known.get(found[2], found[0])

    return _REFERENCE.sub(one, text)


def _command(draft: Draft, place: Cursor, app: str, known: Mapping[str, str]) -> None:
    command, args = place.get("command"), place.get("args")
    entry = [_expanded(each.text(), known) for each in command.elements()]
    words = [_expanded(each.text(), known) for each in args.elements()]
    put_command(draft, app, entry, words, command if entry else args)


def _port(draft: Draft, app: str, place: Cursor, *, host: bool) -> None:
    number = place.get("containerPort").integer(1, 65535)
    protocol = place.get("protocol")
    kind = protocol.text().lower() if protocol.given else "tcp"
    outside, address = place.get("hostPort"), place.get("hostIP")
    name = place.get("name")
    if kind not in ("tcp", "udp"):
        tell(draft, protocol, "only tcp and udp can be published")
        return
    published = 0 if host or not outside.given else outside.integer(0, 65535)
    at = address.text() if address.given else ""
    at = f"[{at}]" if ":" in at else at
    if name.given and not published:
        table: dict[str, object] = {"name": name.value, "port": number}
        append(draft, app, "ports", table | ({} if kind == "tcp" else {"protocol": kind}), place)
        return
    publish_port(draft, app, podman.Published(number, kind, published, at), place)


def _resources(draft: Draft, app: str, place: Cursor) -> None:
    if not place.given:
        return
    limits, requests = place.get("limits"), place.get("requests")
    for name, each in limits.members():
        if name in ("memory", "cpu"):
            put(draft, app, name, each.value, each)
        else:
            tell(draft, each, "only memory and cpu can be limited so")
    for name, each in requests.members():
        if name == "cpu":
            value = each._replace(value=str(each.value)) if type(each.value) is float else each
            milli = parse_milli(quantity_at(value), each.where)
            # As the kubelet does.
            put(draft, app, "cpu-shares", max(2, int(milli * _MILLI_SHARES)), each)
        else:
            tell(draft, each, "it says where to run, and there is one machine")


def _security(draft: Draft, app: str, own: Cursor, pod: Cursor) -> None:
    def said(key: str) -> Cursor:
        found = own.get(key) if own.given else own
        inherited = pod.get(key) if pod.given else pod
        return found if found.given else inherited

    if not own.given and not pod.given:
        return
    for key, field in (("runAsUser", "user"), ("runAsGroup", "group")):
        if said(key).given:
            put(draft, app, field, said(key).value, said(key))
    not_root = said("runAsNonRoot")
    if not_root.given and not_root.boolean() and said("runAsUser").value in (None, 0):
        tell(draft, not_root, "the user of the image is not looked at: give one")
    _groups(draft, app, pod)
    selinux, seccomp = said("seLinuxOptions"), said("seccompProfile")
    if selinux.given:
        words = [(selinux.get(x).value or y) for x, y in
                 (("user", "system_u"), ("role", "system_r"), ("type", "container_t"),
                  ("level", "s0"))]  # fmt: skip
        put(draft, app, "selinux-context", ":".join(map(str, words)), selinux)
    if seccomp.given and seccomp.get("type").value == "Unconfined":
        put(draft, app, "seccomp-retain", ["@appc.io/all"], seccomp)
    elif seccomp.given and seccomp.get("type").value == "Localhost":
        place = seccomp.get("localhostProfile")
        tell(draft, place, "write its calls into seccomp-retain or seccomp-remove")
    armour = said("appArmorProfile")
    if armour.given and armour.get("type").value == "Localhost":
        profile = armour.get("localhostProfile")
        put(draft, app, "apparmor-profile", profile.value, profile)
    if own.given:
        _rights(draft, app, own)


def _groups(draft: Draft, app: str, pod: Cursor) -> None:
    if not pod.given:
        return
    for each in [*pod.get("supplementalGroups").elements(), pod.get("fsGroup")]:
        if each.given:
            append(draft, app, "supplementary-gids", each.value, each)


def _rights(draft: Draft, app: str, own: Cursor) -> None:
    privileged = own.get("privileged")
    if privileged.given and privileged.boolean():
        why = "no app has all rights: give capabilities-retain, and devices as volumes"
        tell(draft, privileged, why)
    escalation = own.get("allowPrivilegeEscalation")
    if escalation.given:
        put(draft, app, "no-new-privileges", not escalation.boolean(), escalation)
    root = own.get("readOnlyRootFilesystem")
    if root.given:
        put(draft, app, "read-only-root", root.value, root)
    capabilities = own.get("capabilities")
    if capabilities.given:
        added, dropped = (
            [each.text() for each in capabilities.get(key).elements()] for key in ("add", "drop")
        )
        put_capabilities(draft, app, added, dropped, capabilities)


def _probes(draft: Draft, app: str, place: Cursor) -> None:
    live, ready = place.get("livenessProbe"), place.get("readinessProbe")
    chosen = live if live.given and live.get("exec").given else ready
    for each in (live, ready, place.get("startupProbe")):
        if not each.given:
            continue
        if each is chosen and each.get("exec").given:
            _check(draft, app, each, action="restart" if each is live else "none")
            continue
        mark(each)
        why = "a check is a command in the app: health = { command = ['/bin/wget', '-q', URL] }"
        told = each._replace(value=None)
        tell(draft, told, "an app has one check" if each.get("exec").given else why)


def _check(draft: Draft, app: str, probe: Cursor, *, action: str) -> None:
    words = [each.text() for each in probe.get("exec").get("command").elements()]
    if not words:
        raise probe.get("exec").get("command").problem("names no program")
    period, timeout = probe.get("periodSeconds"), probe.get("timeoutSeconds")
    fields = {
        "command": by_shell(words),
        "interval": period.value if period.given else 10,
        "timeout": timeout.value if timeout.given else 1,
        "retries": probe.get("failureThreshold").value,
        "start-period": probe.get("initialDelaySeconds").value or None,
        "action": action,
    }
    put_health(draft, app, fields, probe.get("exec")._replace(value=None))


def _lifecycle(draft: Draft, app: str, place: Cursor) -> None:
    if not place.given:
        return
    signal = place.get("stopSignal")
    if signal.given:
        put(draft, app, "stop-signal", signal.value, signal)
    for key, why in (
        ("preStop", "stop-signal is what an app gets; handlers are in pod manifests only"),
        ("postStart", "handlers are in pod manifests only, before the start"),
    ):
        if place.get(key).given:
            tell(draft, place.get(key)._replace(value=None), why)
            mark(place.get(key))
