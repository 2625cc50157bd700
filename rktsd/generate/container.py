"""The keys of a Quadlet [Container] section as fields of an app (podman-systemd.unit(5))."""

from __future__ import annotations

import json
import re
from functools import partial

from rktsd.appc.cursor import Cursor
from rktsd.generate import podman
from rktsd.generate.draft import (
    append,
    by_shell,
    doubt,
    member,
    put,
    put_capabilities,
    put_command,
    put_health,
    put_variables,
    tell,
)
from rktsd.generate.keys import Handler, To, each_word, is_on, number, parsed, quantity, text, truth
from rktsd.generate.unitfile import Given

# What of a command line systemd replaces (systemd.service(5)).
_EXPANDED = re.compile(r"\$\{|(?:^|\s)\$\w")
_OF_HOST = "no value: Podman takes that of the host"


def _user(to: To, key: str) -> None:
    for name, field in (("User", "user"), ("Group", "group")):
        given = to.last(name)
        if given is None:
            continue
        user, colon, group = given.text.partition(":")
        put(to.draft, to.app, field, user, given.at)
        if colon:
            put(to.draft, to.app, "group", group, given.at)


def _groups(to: To, key: str) -> None:
    for found, at in parsed(to, key, lambda word: int(word) if word.isdecimal() else word):
        if isinstance(found, int):
            append(to.draft, to.app, "supplementary-gids", found, at)
        else:
            tell(to.draft, at, "only numbers can be further groups")


def _environment(to: To, key: str) -> None:
    found = []
    for word, at in each_word(to, key):
        name, equals, value = word.partition("=")
        if equals:
            found.append((name, value, at))
        else:
            tell(to.draft, at._replace(value=word), _OF_HOST)
    put_variables(to.draft, to.app, found)


def _annotations(to: To, key: str) -> None:
    for word, at in each_word(to, key):
        name, _, value = word.partition("=")
        member(to.draft, to.app, "annotations", name, value, at)


def _sysctl(to: To, key: str) -> None:
    for word, at in each_word(to, key):
        name, _, value = word.partition("=")
        member(to.draft, to.app, "sysctl", name, value, at)


def _command(to: To, key: str) -> None:
    entry = to.last("Entrypoint")
    program = None
    if entry is not None:
        program = [entry.text]
        if entry.text.startswith("["):
            try:
                program = [word for word in json.loads(entry.text) if isinstance(word, str)]
            except (ValueError, RecursionError):
                tell(to.draft, entry.at, "not a list in JSON")
    arguments = [word for word, _ in each_word(to, "Exec")]
    for given in to.given("Exec"):
        if _EXPANDED.search(str(given.at.value).replace("$$", "")):
            doubt(to.draft, given.at, "systemd would put its environment for what begins with a $")
    at = (to.last("Exec") or entry or Given("", Cursor("", "", None))).at
    put_command(to.draft, to.app, program, arguments, at)


def _capabilities(to: To, key: str) -> None:
    added, dropped = to.texts("AddCapability"), to.texts("DropCapability")
    given = to.last("AddCapability") or to.last("DropCapability")
    if given is not None:
        put_capabilities(to.draft, to.app, added, dropped, given.at)


def _health(to: To, key: str) -> None:
    command = to.last("HealthCmd")
    if command is None:
        for each in to.given(key):
            tell(to.draft, each.at, "without HealthCmd: the check of the image cannot be altered")
        return
    if command.text == "none":
        put(to.draft, to.app, "health", False, command.at)
        return
    test = ["/bin/sh", "-c", command.text]
    if command.text.startswith("["):
        try:
            listed = [str(word) for word in json.loads(command.text)]
            kind = listed[0] if listed and listed[0] in ("CMD", "CMD-SHELL") else ""
            listed = listed[1:] if kind else listed
            test = ["/bin/sh", "-c", *listed] if kind == "CMD-SHELL" else by_shell(listed)
        except (ValueError, RecursionError, IndexError):
            tell(to.draft, command.at, "not a list in JSON")
            return
    action = to.last("HealthOnFailure")
    actions = {"none": "none", "kill": "restart", "restart": "restart", "stop": "stop"}
    fields: dict[str, object] = {"command": test}
    for name, field in (
        ("HealthInterval", "interval"),
        ("HealthTimeout", "timeout"),
        ("HealthStartPeriod", "start-period"),
    ):
        for found, _ in parsed(to, name, podman.seconds):
            fields[field] = found or None
    for found, _ in parsed(to, "HealthRetries", podman.whole):
        fields["retries"] = found
    fields["action"] = actions.get(action.text if action else "none", action and action.text)
    put_health(to.draft, to.app, fields, command.at)


def _seccomp(to: To, key: str) -> None:
    given = to.last(key)
    if given is not None and given.text == "unconfined":
        put(to.draft, to.app, "seccomp-retain", ["@appc.io/all"], given.at)
    elif given is not None:
        tell(to.draft, given.at, "write its calls into seccomp-retain or seccomp-remove")


def _selinux(to: To, key: str) -> None:
    kind, level = to.last("SecurityLabelType"), to.last("SecurityLabelLevel")
    given = kind or level
    if given is not None:
        context = f"system_u:system_r:{kind.text if kind else 'container_t'}"
        context = f"{context}:{level.text if level else 's0'}"
        put(to.draft, to.app, "selinux-context", context, given.at)


def _masked(to: To, key: str) -> None:
    for given in to.given(key):
        paths = given.text.split(":")
        member(to.draft, to.app, "systemd", "InaccessiblePaths", paths, given.at)


def _limits(to: To, key: str) -> None:
    for found, at in parsed(to, key, podman.limit):
        assert isinstance(found, tuple)
        name, value = found
        member(to.draft, to.app, "rlimits", name, value, at)


def _stop_timeout(to: To, key: str) -> None:
    for found, at in parsed(to, key, podman.seconds):
        put(to.draft, to.app, "stop-timeout", found, at)


def _pull(to: To, key: str) -> None:
    policies = {"always": "update", "newer": "update", "missing": "new", "never": "never"}
    given = to.last(key)
    if given is not None:
        put(to.draft, to.app, "pull-policy", policies.get(given.text, given.text), given.at)


def _auto_update(to: To, key: str) -> None:
    given = to.last(key)
    if given is not None and given.text == "registry":
        put(to.draft, to.app, "pull-policy", "update", given.at)
        doubt(to.draft, given.at, "the registry is asked at each start; nothing restarts the pod")
    elif given is not None:
        tell(to.draft, given.at, "nothing restarts the pod for a new image")


def _time_zone(to: To, key: str) -> None:
    given = to.last(key)
    if given is not None and given.text == "local":
        tell(to.draft, given.at, "write the zone: the machine's may be another one later")
    elif given is not None:
        member(to.draft, to.app, "environment", "TZ", given.text, given.at)


def _notify(to: To, key: str) -> None:
    given = to.last(key)
    if given is not None and given.text == "healthy":
        tell(to.draft, given.at, "an app is started before it is healthy; rkt status tells")
    elif is_on(to, given) and given is not None:
        member(to.draft, to.app, "systemd", "Type", "notify", given.at)


def _told_when_on(to: To, key: str, *, why: str, on: bool = True) -> None:
    given = to.last(key)
    if given is not None and is_on(to, given) is on:
        tell(to.draft, given.at, why)


def _word(to: To, key: str, *, usual: tuple[str, ...], why: str) -> None:
    """A key with a value that means nothing here, and is told when it is another one."""
    given = to.last(key)
    if given is not None and given.text not in usual:
        tell(to.draft, given.at, why)


def _nothing(to: To, key: str) -> None:
    """What is dealt with elsewhere, or is so anyway."""


def _processors(to: To, key: str) -> None:
    given = to.last(key)
    if given is not None:
        put(to.draft, to.app, "cpu", given.text, given.at)


def _ipc(to: To, key: str) -> None:
    given = to.last(key)
    if given is not None and given.text == "host":
        put(to.draft, None, "ipc", "parent", given.at)
    elif given is not None and given.text not in ("private", "shareable"):
        tell(to.draft, given.at, "an app shares with its pod, or with the host")


HANDLERS: dict[str, Handler] = {
    "AddCapability": _capabilities,
    "DropCapability": _capabilities,
    "Annotation": _annotations,
    "AutoUpdate": _auto_update,
    "CgroupsMode": partial(
        _word, usual=("split", "enabled", "no-conmon"), why="each app has a cgroup of its own"
    ),
    "ContainerName": _nothing,
    "Entrypoint": _command,
    "Exec": _command,
    "Environment": _environment,
    "Group": _user,
    "User": _user,
    "GroupAdd": _groups,
    "HealthCmd": _health,
    "HealthInterval": _health,
    "HealthOnFailure": _health,
    "HealthRetries": _health,
    "HealthStartPeriod": _health,
    "HealthTimeout": _health,
    "Image": _nothing,
    "LogDriver": partial(
        _word, usual=("journald", "passthrough", "passthrough-tty"), why="the journal has the log"
    ),
    "Mask": _masked,
    "Memory": partial(quantity, field="memory"),
    "NoNewPrivileges": partial(truth, field="no-new-privileges"),
    "Notify": _notify,
    "PidsLimit": partial(number, field="pids"),
    "Pod": _nothing,
    "PodmanArgs": _nothing,
    "Pull": _pull,
    "ReadOnly": partial(truth, field="read-only-root"),
    "ReadOnlyTmpfs": partial(
        _told_when_on, why="/tmp of a read-only root is writable, in memory", on=False
    ),
    "RunInit": partial(
        _told_when_on,
        why="an app is process 1 itself; with pid = 'shared' there is one above all apps",
    ),
    "SeccompProfile": _seccomp,
    # Nothing is labelled without selinux-context.
    "SecurityLabelDisable": _nothing,
    "SecurityLabelLevel": _selinux,
    "SecurityLabelType": _selinux,
    "StartWithPod": partial(_told_when_on, why="all apps of a pod start with it", on=False),
    "StopSignal": partial(text, field="stop-signal"),
    "StopTimeout": _stop_timeout,
    "Sysctl": _sysctl,
    "Timezone": _time_zone,
    "Ulimit": _limits,
    "WorkingDir": partial(text, field="working-directory"),
    "-apparmor": partial(text, field="apparmor-profile"),
    "-cpu-shares": partial(number, field="cpu-shares"),
    "-cpus": _processors,
    "-ipc": _ipc,
    "-oom-score-adj": partial(number, field="oom-score-adj"),
}

_NO_USERS = "the users of a pod are the host's, or with private-users a range of its own"
TOLD = {
    "ContainersConfModule": "there is no Podman here",
    "DefaultDependencies": "rkt@POD waits for the network when it has to fetch an image only",
    "EnvironmentHost": "the environment of the host is another one at each start",
    "GIDMap": _NO_USERS,
    "GlobalArgs": "there is no Podman here",
    "HealthLogDestination": "what a check prints is not kept",
    "HealthMaxLogCount": "what a check prints is not kept",
    "HealthMaxLogSize": "what a check prints is not kept",
    "HealthStartupCmd": "there is one check; start-period says how long it may fail at first",
    "HealthStartupInterval": "there is one check",
    "HealthStartupRetries": "there is one check",
    "HealthStartupSuccess": "there is one check",
    "HealthStartupTimeout": "there is one check",
    "IP": "Podman's networks are not there; write network = ['NAME:IP=ADDRESS']",
    "IP6": "Podman's networks are not there; write network = ['NAME:IP=ADDRESS']",
    "Label": "nothing reads labels of apps",
    "LogOpt": "the journal has the log",
    "NetworkAlias": "apps of a pod share 127.0.0.1; other pods are known by their names",
    "ReloadCmd": "systemctl edit the unit of the app: ExecReload=",
    "ReloadSignal": "rkt kill --signal sends one",
    "Retry": "rktsd.toml says how often a fetch is tried",
    "RetryDelay": "rktsd.toml says how often a fetch is tried",
    "Rootfs": "make it an image: rkt image import",
    "Secret": "give the file as a credential: systemd = { LoadCredential = ['NAME:/PATH'] }",
    "SecurityLabelFileType": "files are not labelled",
    "SecurityLabelNested": "an app cannot label",
    "ServiceName": "the unit is rkt@POD.service",
    "SubGIDMap": _NO_USERS,
    "SubUIDMap": _NO_USERS,
    "UIDMap": _NO_USERS,
    "Unmask": "what is masked in /proc and /sys is so for every app",
}
