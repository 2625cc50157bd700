"""org.rktsd as people and scripts ask it, with busctl(1) and dbus-send(1)."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from tests.box import Box

NAME, ROOT = "org.rktsd", "/org/rktsd"
MANAGER, POD, IMAGE = f"{NAME}.Manager1", f"{NAME}.Pod1", f"{NAME}.Image1"

Done = subprocess.CompletedProcess[str]


def busctl(box: Box, *arguments: str, user: str = "root") -> Done:
    """Run busctl, as a user."""
    return box.run(["runuser", "-u", user, "--", "busctl", "--json=short", *arguments])


def call(box: Box, member: str, *arguments: str, user: str = "root") -> Done:
    """Call a method of Manager1; ``arguments`` are a signature and words, as busctl takes them."""
    return busctl(box, "call", NAME, ROOT, MANAGER, member, *arguments, user=user)


def answer(box: Box, member: str, *arguments: str, user: str = "root") -> Any:
    """What a method answers that has to succeed, without types; None for nothing."""
    return _answer(call(box, member, *arguments, user=user))


def of_object(box: Box, path: str, interface: str, member: str, *arguments: str) -> Any:
    """The same of a method of another object."""
    return _answer(busctl(box, "call", NAME, path, interface, member, *arguments))


def _answer(done: Done) -> Any:
    assert done.returncode == 0, done.stderr
    data = _plain(json.loads(done.stdout)["data"]) if done.stdout.strip() else []
    return data[0] if data else None


def properties(box: Box, path: str, interface: str) -> dict[str, Any]:
    """All properties of an object."""
    getter = "org.freedesktop.DBus.Properties"
    return dict(of_object(box, path, getter, "GetAll", "s", interface))


def error(box: Box, user: str, member: str, *arguments: str, path: str = ROOT) -> str:
    """The name of the error of a call; ``member`` has its interface, ``arguments`` their types."""
    command = ["dbus-send", "--system", "--print-reply", f"--dest={NAME}", path, member]
    done = box.run(["runuser", "-u", user, "--", *command, *arguments])
    assert done.returncode != 0, done.stdout
    assert "Traceback" not in done.stderr
    return done.stderr.split()[1].rstrip(":")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"type", "data"}:
            return _plain(value["data"])
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value
