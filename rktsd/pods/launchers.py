"""The launcher of an app that needs one: its filter compiled, its AppArmor profile named."""

from __future__ import annotations

import os
from collections.abc import Sequence
from errno import EPERM

from rktsd.appc import isolators, limits
from rktsd.appc.types import Isolator
from rktsd.errors import Unsupported
from rktsd.paths import Paths
from rktsd.stage1 import launcher, seccomp, syscalls
from rktsd.stage1.types import Launcher


def find_launcher(
    own: Sequence[Isolator],
    inherited: Sequence[Isolator],
    *,
    architecture: str,
    apparmor: bool,
    umask: int | None,
    default: Sequence[str],
    app: str,
) -> tuple[Launcher | None, bool, tuple[str, ...]]:
    """(launcher, whether the app is to have no filter at all, what stays unapplied).

    ``own`` are the isolators of the app, ``inherited`` those of the pod; ``apparmor`` tells whether
    the kernel has it; ``umask`` is None for the usual one. ``default`` are the calls that an app
    may make whose isolators say nothing; empty where systemd-nspawn is to see to that: it can, but
    compiles its filter at each start, and keeps the memory that it took. Raises BadInput and
    Unsupported naming the app.
    """
    rules = seccomp.own_rules(own, app=app)
    profile = limits.apparmor_profile([*inherited, *own]) if apparmor else None
    unknown: tuple[str, ...] = ()
    filter: bytes | None = None
    if isinstance(rules, seccomp.Rules):
        from rktsd.host.seccomp import compile_filter

        filter = compile_filter(
            architecture, default=rules.default, rules=[(rules.action, rules.names)]
        )
        unknown = tuple(unknown_calls(own))
    elif rules is None and default and launcher.known(architecture):
        from rktsd.host.seccomp import compile_filter

        filter = compile_filter(architecture, default=EPERM, rules=[("allow", default)])
    if filter is None and profile is None and umask is None:
        return None, rules is False, ()
    if not launcher.known(architecture):
        what = "a seccomp set" if filter else "an AppArmor profile" if profile else "UMask"
        raise Unsupported(f"app {app}: {what} on the architecture {architecture}")
    program = launcher.program(architecture, filter=filter, profile=profile, umask=umask)
    return Launcher(program, filters=filter is not None), rules is False, unknown


def default_calls(own: Sequence[Isolator], insecure: frozenset[str], paths: Paths) -> Sequence[str]:
    """The system calls of an app that says nothing of them; none where nspawn has to filter.

    That is for an app that wants new privileges, and where nothing of ours could be executed.
    """
    said = any(each.name == isolators.NO_NEW_PRIVILEGES for each in own)
    if "seccomp" in insecure or (said and not isolators.no_new_privileges(own)):
        return ()
    if os.path.isdir(paths.pods) and os.statvfs(paths.pods).f_flag & os.ST_NOEXEC:
        return ()
    every = "capabilities" in insecure
    return syscalls.allowed(isolators.CAPABILITIES if every else isolators.capability_set(own))


def unknown_calls(own: Sequence[Isolator]) -> list[str]:
    """Calls that libseccomp has not heard of, of those that the isolators themselves name."""
    asked = isolators.seccomp(own)
    if asked is None:
        return []
    from rktsd.host.seccomp import known

    names = asked.names
    return [
        f"seccomp: {name}: libseccomp knows no such system call"
        for name in names
        if not name.startswith("@") and not known(name)
    ]
