"""What stands between the script of an app with private users and systemd-nspawn.

Makes the app's mounts in a mount namespace that goes with the app, joins the pod's network, and
becomes the script again. Runs at every start of the app, also by Restart=.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource

from rktsd.errors import RktError, StoreError
from rktsd.host import kernel
from rktsd.host.idmap import mapped, mapping
from rktsd.host.mounts import mount_tmpfs, private_mounts
from rktsd.paths import USER_RANGE
from rktsd.services import failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_NOBODY = 65534


def main(arguments: Sequence[str]) -> int:
    """Become the script (second argument) of an app (settings: first). Returns only on failure."""
    settings, script = arguments
    try:
        with open(settings) as file:
            told = json.load(file)
        with open(f"{os.path.dirname(script)}/config.json") as file:
            _allow(json.load(file)["process"])
        _show(told)
        if told["oom_score_adj"] is not None:
            with open("/proc/self/oom_score_adj", "w") as file:
                file.write(str(told["oom_score_adj"]))
        if told["namespace"] is not None:
            _join(told["namespace"])
        os.execv("/bin/sh", ["/bin/sh", script, "inside"])
    except RktError as error:
        return failed(error)
    except OSError as error:
        return failed(error, "" if error.filename else f"{settings}: ")


def _show(told: dict[str, Any]) -> None:
    first, place = told["first"], told["place"]
    private_mounts(follow=True)
    os.makedirs(place, 0o700, exist_ok=True)
    mount_tmpfs(place, "mode=0700", devices=True)
    with mapping(first) as users:
        for source, target, recursive in told["maps"]:
            try:
                _make_place(target, directory=os.path.isdir(source))
                with mapped(source, users, recursive=recursive) as tree:
                    kernel.move_mount(tree, target)
            except OSError as error:
                raise StoreError(f"cannot map the users of {source}: {error.strerror}") from error
    for source, target in told["nodes"]:
        try:
            _make_node(source, target, first)
        except OSError as error:
            raise StoreError(f"cannot make a node like {source}: {error.strerror}") from error


def _make_node(source: str, target: str, first: int) -> None:
    status = os.stat(source)
    os.mknod(target, status.st_mode, status.st_rdev)
    owner, group = (
        first + (each if each < USER_RANGE else _NOBODY) for each in (status.st_uid, status.st_gid)
    )
    os.chown(target, owner, group)
    os.chmod(target, status.st_mode & 0o7777)


def _make_place(target: str, *, directory: bool) -> None:
    if directory:
        os.mkdir(target)
    else:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _allow(process: dict[str, Any]) -> None:
    """What systemd-nspawn may not do any more when it comes to it: more than we have ourselves.

    Where the machine does not let us either, it takes what is nearest.
    """
    for each in process.get("rlimits", ()):
        number = getattr(resource, each["type"])
        soft, hard = resource.getrlimit(number)
        wanted = each["hard"] if each["hard"] < 1 << 63 else resource.RLIM_INFINITY
        if hard != resource.RLIM_INFINITY and (wanted == resource.RLIM_INFINITY or wanted > hard):
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(number, (soft, wanted))


def _join(namespace: str) -> None:
    descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        kernel.setns(descriptor, kernel.CLONE_NEWNET)
    finally:
        os.close(descriptor)
