"""The OCI bundle of an app, and the script that starts systemd-nspawn on it. Pure.

nspawn executes its own reading of the OCI runtime specification (systemd-nspawn(1), --oci-bundle=):
mounts given on the command line replace those of config.json, so all of them are given there.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from rktsd.appc import isolators, limits
from rktsd.appc.cursor import shown
from rktsd.errors import BadInput
from rktsd.stage1 import attachment, launcher, processes, syscalls, users
from rktsd.stage1.mounts import BindMount, hidden
from rktsd.stage1.overlay import overlay
from rktsd.stage1.readiness import MANAGER_SOCKET, readiness
from rktsd.stage1.sockets import socket_environment
from rktsd.stage1.types import SIGTERM, AppFacts, PodFacts
from rktsd.systemd import properties, values

# appc spec, ace.md "Execution Environment"; rkt sets the user's ones whatever the user.
BASE_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "SHELL": "/bin/sh",
    "USER": "root",
    "LOGNAME": "root",
    "HOME": "/root",
}

# What nspawn hides files of /proc behind; it looks for it in the root of the app.
INACCESSIBLE = "/run/systemd/inaccessible/reg"

# Where an app finds its credentials.
CREDENTIALS = "/run/credentials"

# Of what kind a terminal is that many may attach to, where the app is not told (Docker).
_ANY_TERMINAL = "xterm"

_CREDENTIAL_SETTINGS = (
    "LoadCredential", "LoadCredentialEncrypted", "SetCredential", "SetCredentialEncrypted",
    "ImportCredential",
)  # fmt: skip

_SECCOMP_ARCHITECTURES = {
    "amd64": "SCMP_ARCH_X86_64",
    "i386": "SCMP_ARCH_X86",
    "aarch64": "SCMP_ARCH_AARCH64",
    "armv7l": "SCMP_ARCH_ARM",
    "armv6l": "SCMP_ARCH_ARM",
    "ppc64le": "SCMP_ARCH_PPC64LE",
    "s390x": "SCMP_ARCH_S390X",
}


def environment(facts: AppFacts) -> list[str]:
    """``NAME=value``: the defaults, what image and pod say, and what nobody may change."""
    found = dict(BASE_ENVIRONMENT)
    found.update({variable.name: variable.value for variable in facts.app.environment})
    found["AC_APP_NAME"] = facts.runtime.name
    found.update(readiness(facts).environment())
    found.update(socket_environment(facts))
    if has_credentials(facts):
        found["CREDENTIALS_DIRECTORY"] = CREDENTIALS
    if facts.streams is not None and facts.streams.terminal:
        found.setdefault("TERM", _ANY_TERMINAL)
    found["container"] = "rkt"
    return [f"{name}={value}" for name, value in found.items()]


def config(pod: PodFacts, facts: AppFacts) -> dict[str, Any]:
    """config.json. Raises BadInput for what no process can be given."""
    arguments = [facts.executable, *facts.app.exec[1:]]
    if facts.launcher is not None:
        arguments = [launcher.PATH, facts.executable, *arguments]
    variables = environment(facts)
    for text in (*arguments, *variables):
        if "\0" in text:
            raise BadInput(f"app {facts.runtime.name}: {text!r} holds a NUL character")
    namespaces: list[dict[str, str]] = [
        {"type": kind} for kind in ("pid", "mount", "uts", "cgroup")
    ]
    if pod.shared_memory is None and not pod.ipc_settings:
        namespaces.insert(2, {"type": "ipc"})
    if pod.pid == processes.SHARED:
        namespaces.pop(0)
    # Who has private users may not join it: systemd-nspawn is started inside.
    if pod.namespace is not None and pod.users is None:
        namespaces.append({"type": "network", "path": pod.namespace})
    capabilities = kept_capabilities(facts)
    processes.check(pod, facts, capabilities)
    process: dict[str, Any] = {
        "terminal": False,
        "user": {
            "uid": facts.uid,
            "gid": facts.gid,
            "additionalGids": list(facts.app.supplementary_gids),
        },
        "args": arguments,
        "env": variables,
        "cwd": facts.app.working_directory or "/",
        "capabilities": _capability_sets(capabilities, facts),
        "noNewPrivileges": _no_new_privileges(facts),
        "rlimits": _rlimits(facts),
    }
    score = isolators.oom_score_adj(facts.app.isolators)
    # Without the users of the host systemd-nspawn fails over it.
    if score is not None and pod.users is None:
        process["oomScoreAdj"] = score
    label = selinux_label(pod, facts)
    if label is not None:
        process["selinuxLabel"] = label
    linux: dict[str, Any] = {"namespaces": namespaces}
    if _own_filter(facts) and not _launcher_filters(facts):
        linux["seccomp"] = _seccomp(facts, capabilities)
    return {
        "ociVersion": "1.0.0",
        "process": process,
        "root": {"path": "rootfs"},
        "hostname": pod.hostname,
        "linux": linux,
    }


def _no_new_privileges(facts: AppFacts) -> bool:
    """On, unless the app says otherwise: nspawn loads a bundle's filter only with it."""
    said = any(each.name == isolators.NO_NEW_PRIVILEGES for each in facts.app.isolators)
    return isolators.no_new_privileges(facts.app.isolators) or (_own_filter(facts) and not said)


def _own_filter(facts: AppFacts) -> bool:
    """Whether the app gets our filter; one that wants new privileges gets nspawn's slower one."""
    said = any(each.name == isolators.NO_NEW_PRIVILEGES for each in facts.app.isolators)
    wants = said and not isolators.no_new_privileges(facts.app.isolators)
    return "seccomp" not in facts.insecure and not wants


def _launcher_filters(facts: AppFacts) -> bool:
    return facts.launcher is not None and facts.launcher.filters


def launcher_path(pod: PodFacts, facts: AppFacts) -> str:
    """Where the app's launcher lies: not below /run, from where hosts let nothing be executed."""
    return f"{pod.directory}/launchers/{facts.runtime.name}"


def _rlimits(facts: AppFacts) -> list[dict[str, Any]]:
    """The app's, with its systemd settings Limit…=: nspawn hands on those of the bundle only."""
    chosen = {
        f"RLIMIT_{name.upper()}": (soft, hard)
        for name, (soft, hard) in limits.rlimits(facts.app.isolators).items()
    }
    for setting, value in (facts.systemd or {}).items():
        if setting in properties.LIMIT_FORMS:
            where = f"app {facts.runtime.name}: systemd.{setting}"
            soft, hard = properties.limit(setting, value, where)
            chosen[f"RLIMIT_{setting.removeprefix('Limit')}"] = (soft, hard)
    return [{"type": kind, "soft": soft, "hard": hard} for kind, (soft, hard) in chosen.items()]


def selinux_label(pod: PodFacts, facts: AppFacts) -> str | None:
    """The label of an app, which overrides its pod's, where the kernel has SELinux."""
    if "selinux" not in pod.machine.security_modules:
        return None
    return limits.selinux_label([*pod.manifest.isolators, *facts.app.isolators])


def kept_capabilities(facts: AppFacts) -> list[str]:
    """The bounding set of an app."""
    if "capabilities" in facts.insecure:
        # nspawn gives up when it is to keep one that it does not have itself.
        return sorted(isolators.CAPABILITIES & facts.host_capabilities)
    return sorted(isolators.capability_set(facts.app.isolators))


def _capability_sets(capabilities: list[str], facts: AppFacts) -> dict[str, list[str]]:
    # rkt: an app of another user keeps the bounding set but has nothing in effect.
    ambient = ambient_capabilities(facts.systemd or {}, f"app {facts.runtime.name}: systemd")
    absent = [name for name in ambient if name not in capabilities]
    if absent:
        raise BadInput(
            f"app {facts.runtime.name}: systemd.AmbientCapabilities: {absent[0]} is not among the"
            " capabilities that the app keeps",
            hint="capabilities-retain",
        )
    effective = capabilities if facts.uid == 0 else ambient
    return {
        "bounding": capabilities,
        "effective": effective,
        "permitted": effective,
        "inheritable": ambient,
        "ambient": ambient,
    }


def ambient_capabilities(table: Mapping[str, object], where: str) -> list[str]:
    """AmbientCapabilities= of an app's systemd settings. Raises BadInput."""
    found = []
    for word in values.words(table.get("AmbientCapabilities", []), f"{where}.AmbientCapabilities"):
        name = word.upper() if word.upper().startswith("CAP_") else f"CAP_{word.upper()}"
        if name not in isolators.CAPABILITIES:
            raise BadInput(f"{where}.AmbientCapabilities: {shown(word)} is not a capability")
        found.append(name)
    return sorted(found)


def _seccomp(facts: AppFacts, capabilities: list[str]) -> dict[str, Any]:
    names = syscalls.allowed(capabilities)
    filter: dict[str, Any] = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": list(names), "action": "SCMP_ACT_ALLOW"}],
    }
    if facts.foreign_architecture is not None:
        architecture = _SECCOMP_ARCHITECTURES.get(facts.foreign_architecture)
        filter["architectures"] = [architecture] if architecture else []
    return filter


def run_script(
    pod: PodFacts,
    facts: AppFacts,
    bundle: str,
    binds: Sequence[BindMount],
    *,
    handler: bool = False,
) -> str:
    """The script that becomes nspawn. Only its path is in the unit.

    systemd reads transient units back at every daemon-reload and does not get ``$``, ``;`` or odd
    bytes back as they were, so nothing of the app's stands in the unit itself.
    """
    identifier = pod.uuid.replace("-", "")
    position = [app.name for app in pod.manifest.apps].index(facts.runtime.name)
    upper = f"{pod.directory}/overlay/{facts.runtime.name}"
    # nspawn's --read-only leaves a root mounted by an option as it is.
    links, root = overlay(
        [*reversed(facts.layers), upper], bundle, read_only=facts.runtime.read_only_root_fs
    )
    command = [
        "/usr/bin/systemd-nspawn",
        "--quiet",
        "--keep-unit",
        f"--register={'yes' if pod.register else 'no'}",
        f"--console={_console(facts)}",
        f"--kill-signal={_signal(facts.stop_signal)}",
        "--link-journal=no",
        "--resolv-conf=off",
        "--timezone=off",
        f"--uuid={identifier}",
        # nspawn keeps a directory of that name while it runs: no two apps may share one.
        f"--machine={_machine(pod, facts, f'rkt-{identifier}-{position}')}",
        f"--oci-bundle={bundle}",
        *users.options(pod),
        root,
        f"--bind-ro={INACCESSIBLE}",
        *(f"--inaccessible={path}" for path in (*hidden(pod, facts, binds), *facts.inaccessible)),
        *_launcher_option(pod, facts),
        *(_bind_option(bind) for bind in binds),
        *_readiness_options(facts),
        *_credential_options(facts, bundle),
    ]
    variables = "SYSTEMD_LOG_LEVEL=notice"
    if facts.streams is not None and facts.streams.stderr != "log" and not facts.streams.awaited:
        # What it has to complain of is not the app's word.
        variables += " SYSTEMD_LOG_TARGET=journal"
    if "seccomp" in facts.insecure or _launcher_filters(facts):
        variables += " SYSTEMD_SECCOMP=0"
    if not facts.runtime.read_only_root_fs:
        # /tmp is what the image has there, on the disk and not in memory, as with rkt and Docker.
        variables += " SYSTEMD_NSPAWN_TMPFS_TMP=no"
    if "paths" in facts.insecure:
        variables += " SYSTEMD_NSPAWN_API_VFS_WRITABLE=yes"
    if readiness(facts).watchdog:
        # systemd-nspawn would answer in the app's place.
        variables = f"unset WATCHDOG_USEC WATCHDOG_PID\n{variables}"
    command = processes.joining(pod, command)
    return script(pod, facts, bundle, command, variables=f"{links}{variables} ", handler=handler)


def script(
    pod: PodFacts,
    facts: AppFacts,
    bundle: str,
    command: Sequence[str],
    *,
    variables: str = "",
    handler: bool = False,
) -> str:
    """A script that becomes ``command`` when all is done that has to be before."""
    # An app that is restarted has not ended any more.
    status = shlex.quote(f"{pod.directory}/status/{facts.runtime.name}")
    first = f"[ ! -e {status} ] || rm -f {status}\n"
    first += f"{_input_line(facts)}{attachment.script_line(pod, facts)}"
    if handler:
        first = "unset NOTIFY_SOCKET\n"
    return (
        f"#!/bin/sh\n{users.script_lines(pod, facts.runtime.name)}{_ipc_script(pod)}{first}"
        f"{_credential_lines(facts, bundle, pod.users or 0)}"
        f"{variables}exec {shlex.join(command)}\n"
    )


def _console(facts: AppFacts) -> str:
    if facts.streams is not None and facts.streams.terminal:
        return "interactive" if facts.streams.stdin == "tty" else "read-only"
    return "read-only" if facts.terminal and facts.input is None else "pipe"


def _input_line(facts: AppFacts) -> str:
    return "" if facts.input is None else f"exec <{shlex.quote(facts.input)}\n"


def _signal(number: int) -> str:
    return "SIGTERM" if number == SIGTERM else str(number)


def with_bind(script: str, bind: BindMount) -> str:
    """What ``run_script`` made, with one more mount, known only when the network is up."""
    if f":{bind.target}:" in script:
        return script
    return f"{script.rstrip()} {shlex.quote(_bind_option(bind))}\n"


def has_credentials(facts: AppFacts) -> bool:
    """Whether the unit of the app gets credentials (systemd.exec(5))."""
    return any(setting in (facts.systemd or {}) for setting in _CREDENTIAL_SETTINGS)


def _credential_options(facts: AppFacts, bundle: str) -> list[str]:
    if not has_credentials(facts):
        return []
    return [_bind_option(BindMount(f"{bundle}/credentials", CREDENTIALS, True, False))]


def _credential_lines(facts: AppFacts, bundle: str, first: int) -> str:
    """Copies of the unit's credentials that the app's user can read.

    systemd-nspawn would give them to user 0 alone. They are on a file system that is never written
    to swap, in a mount namespace that goes with the app.
    """
    if not has_credentials(facts):
        return ""
    place = shlex.quote(f"{bundle}/credentials")
    uid, gid = first + facts.uid, first + facts.gid
    return (
        '[ "$1" = inside ] || exec /usr/bin/unshare --mount /bin/sh "$0" inside\n'
        f"mkdir -p {place} && mount -t ramfs -o mode=0700 ramfs {place} || exit\n"
        # There is no file when nothing fits what ImportCredential= asks for.
        'set -- "${CREDENTIALS_DIRECTORY:-/nonexistent}"/*\n'
        f'[ ! -f "$1" ] || install -m 0400 -o {uid} -g {gid} "$@" {place}/ || exit\n'
        f"chown {uid}:{gid} {place} && chmod 0500 {place} || exit\n"
    )


def _machine(pod: PodFacts, facts: AppFacts, anonymous: str) -> str:
    """What machinectl shows of a registered app; a machine's name has 64 characters at most."""
    name = f"{pod.name.replace('@', '-')}.{facts.runtime.name}"
    return name if pod.register and pod.name != pod.uuid and len(name) <= 64 else anonymous


def _readiness_options(facts: AppFacts) -> list[str]:
    wanted = readiness(facts)
    ready = ["--notify-ready=yes"] if wanted.by_app else []
    return [*ready, f"--bind={MANAGER_SOCKET}"] if wanted.direct else ready


def _ipc_script(pod: PodFacts) -> str:
    """Write the kernel settings of the pod's IPC namespace, in which the script runs already.

    systemd-nspawn reads the "sysctl" of a bundle and does nothing about it (252). The settings are
    those of the namespace that looks at them first, so that needs a /proc that nobody looked at;
    and the machine's own may be read-only, where the machine is a container.
    """
    if not pod.ipc_settings:
        return ""
    steps = ["mount -t proc proc /proc"]
    for name, value in pod.ipc_settings.items():
        file = f"/proc/sys/{name.replace('.', '/')}"
        steps.append(f"printf %s {shlex.quote(value)} >{shlex.quote(file)}")
    return f"unshare --mount /bin/sh -c {shlex.quote(' && '.join(steps))} || exit\n"


def _launcher_option(pod: PodFacts, facts: AppFacts) -> list[str]:
    if facts.launcher is None:
        return []
    return [f"--bind-ro={_escape(launcher_path(pod, facts))}:{launcher.PATH}:norbind"]


def _bind_option(bind: BindMount) -> str:
    option = "--bind-ro" if bind.read_only else "--bind"
    recursion = "rbind" if bind.recursive else "norbind"
    return f"{option}={_escape(bind.source)}:{_escape(bind.target)}:{recursion}"


def _escape(path: str) -> str:
    return path.replace("\\", "\\\\").replace(":", "\\:")
