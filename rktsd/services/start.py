"""ExecStart= of rkt@POD: everything between a pod's name and its running apps.

The hot path. With nothing changed since the last start of a named pod the compiled form is read
back, and what would compile it is never imported.
"""

from __future__ import annotations

import contextlib
import os
import sys

from rktsd.errors import NotFound, RktError, StoreError
from rktsd.host.files import locked, read_limited, write, write_atomic
from rktsd.paths import LIBEXEC, Paths
from rktsd.pods import cache, directories, runs
from rktsd.pods.locate import (
    MAX_POD_FILE,
    check_characters,
    configured,
    find_pod_file,
    looks_like_uuid,
)
from rktsd.services import failed
from rktsd.stage1 import apply
from rktsd.systemd.bus import Bus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from rktsd.net.setup import Attachment
    from rktsd.pods.compile import Compiled

# sd-daemon(3): the journal reads the priority off the line.
_WARNING, _INFO = "<4>", "<6>"


def main(arguments: Sequence[str]) -> int:
    """Start the pod named by the only argument. Returns the exit status for the unit."""
    (pod,) = arguments
    try:
        start(pod, Paths())
    except RktError as error:
        return failed(error)
    except OSError as error:
        return failed(error, f"pod {pod}: ")
    return 0


def start(pod: str, paths: Paths) -> None:
    """Start ``pod``, a name or the UUID of a prepared pod; returns when all its apps are started.

    Whatever it leaves behind on failure is the reaper's (ExecStopPost=), which knows it from the
    directory under /run that is made first.
    """
    check_characters(pod)
    with runs.lock(paths, pod):
        run_directory = paths.pod_run(pod)
        if os.path.isdir(run_directory):
            _reap_leftovers(pod, run_directory)
        paths = _paths(pod, paths)
        if looks_like_uuid(pod):
            from rktsd.pods.prepared import compile_prepared

            compiled = compile_prepared(pod, paths)
        else:
            compiled = _named(pod, paths)
    plan = compiled["plan"]
    for line in plan["unapplied"]:
        sys.stderr.write(f"{_WARNING}pod {pod}: not applied: {line}\n")
    attachments = _set_up_network(compiled, run_directory, paths)
    if plan["sysctl"] and compiled["namespace"] is not None:
        from rktsd.net.namespace import set_kernel

        set_kernel(compiled["namespace"], plan["sysctl"])
    if plan["metadata"] is not None:
        from rktsd.pods.metadata import register

        register(compiled, paths)
    apply.write_bundles(plan)
    apply.write_unit_list(plan)
    if attachments:
        from rktsd.pods.names import announce

        announce(plan, attachments)
    with Bus() as bus:
        apply.launch(plan, bus)
    write(f"{plan['directory']}/started", "")


def _named(pod: str, paths: Paths) -> Compiled:
    """A new run of a named pod, from the last compiled form or compiled anew; or the same pod
    again, where one was given the name on a command line."""
    try:
        file = find_pod_file(paths, pod)
    except NotFound:
        from rktsd.pods.prepared import compile_kept

        kept = compile_kept(pod, paths)
        if kept is None:
            raise
        return kept
    text = read_limited(file, MAX_POD_FILE)
    with contextlib.suppress(FileNotFoundError), locked(paths.store, shared=True):
        uuid = directories.new_uuid()
        compiled = cache.load(paths, pod, file=file, text=text, uuid=uuid)
        if compiled is not None and _has_its_users(compiled, pod, paths):
            return runs.begin(paths, compiled)
    from rktsd.pods.named import compile_named

    return compile_named(pod, paths, report=_report)


def _has_its_users(compiled: Compiled, pod: str, paths: Paths) -> bool:
    """Whether the range of users that it was compiled for is still the pod's."""
    users = compiled["plan"]["users"]
    if users is None:
        return True
    from rktsd.pods.userranges import recorded

    return recorded(paths, pod) == users["first"]


def _reap_leftovers(pod: str, run_directory: str) -> None:
    from rktsd.host.process import run

    run([f"{LIBEXEC}/pod-reap", pod], check=False)
    if os.path.isdir(run_directory):
        raise StoreError(f"pod {pod}: what is left of an earlier run cannot be removed")


def _paths(pod: str, paths: Paths) -> Paths:
    """The directories with which ``rkt`` started a pod, where they are not the usual ones."""
    try:
        with open(f"{paths.run}/data/{pod}") as file:
            data, local_config, system_config, user_config = file.read().splitlines()
    except FileNotFoundError:
        return configured(paths)
    return Paths(data, system_config, local_config, user_config or None)


def _set_up_network(compiled: Compiled, run_directory: str, paths: Paths) -> list[Attachment]:
    namespace = compiled["namespace"]
    if compiled["sockets"]:
        from rktsd.pods.networks import check_sockets

        check_sockets(compiled["sockets"])
    if namespace is None:
        return []
    if compiled["networks"] == ["none"]:
        from rktsd.net.namespace import create

        # Without networks there is nothing to release that the reaper's shell could not.
        write_atomic(f"{run_directory}/namespace", f"{namespace}\n", durable=False)
        create(namespace)
        return []
    from rktsd.net.config import networks, outlasts, settings
    from rktsd.net.ports import PortMapping
    from rktsd.net.setup import set_up
    from rktsd.pods.networks import holder, record

    directory = compiled["plan"]["directory"]
    joining = networks(paths, compiled["networks"])
    if any(map(outlasts, joining)):
        from rktsd.pods.tending import release_earlier

        for error in release_earlier(paths, directory):
            sys.stderr.write(f"{_WARNING}{error}\n")
    attachments = set_up(
        f"{run_directory}/network",
        container_id=compiled["plan"]["uuid"],
        namespace=namespace,
        networks=joining,
        ports=[PortMapping(*port) for port in compiled["ports"]],
        bandwidth=compiled["plan"]["bandwidth"],
        forward=settings(paths).forward,
        lasting=f"{directory}/network.json",
        called=holder,
        meanwhile=_load_ahead,
    )
    record(directory, attachments)
    if any(each.nameservers or each.search or each.options for each in attachments):
        from rktsd.pods.networks import use_name_servers

        use_name_servers(compiled, attachments)
    return attachments


def _load_ahead() -> None:
    """Load what a pod with networks needs next: it takes less time than the work of a plugin."""
    import rktsd.net.openings
    import rktsd.pods.names  # noqa: F401  # as the line above
    from rktsd.systemd.bus import load

    load()


def _report(message: str) -> None:
    sys.stderr.write(f"{_INFO}{message}\n")
