"""The metadata service of appc (spec, ace.md, "App Container Metadata Service"), as rkt had it.

Whoever runs this reads registrations and writes nothing. Its unit starts it with the first request,
and it ends when nobody asks any more.
"""

from __future__ import annotations

import json
import os
import time
from typing import NamedTuple

from rktsd.errors import RktError
from rktsd.pods.locate import looks_like_uuid
from rktsd.pods.metadata import parse_keys
from rktsd.services import failed
from rktsd.services.http import Answer, passed, problem, serve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable, Sequence
    from typing import Any

    from rktsd.services.http import Head, Respond

IDLE = 5.0
_JSON = "application/json"
_BASE = "acMetadata/v1/"
_FORM_FIELDS = 8
# Within so many seconds a directory may change twice and have one time of change.
_GRAIN = 0.1


class Registration(NamedTuple):
    """``pod`` is the pod manifest as text, ``manifest`` as read; ``images`` those of the apps."""

    uuid: str
    token: str
    pod: str
    manifest: dict[str, Any]
    images: dict[str, Any]


class Registrations:
    """The registrations in the open directory ``descriptor``, read again when it changed."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._changed = -1
        self._read: dict[str, tuple[int, Registration]] = {}
        # How Python finds a string in here depends on a secret: its time tells a guesser nothing.
        self._by_token: dict[str, Registration] = {}

    def find(self, token: str) -> Registration | None:
        """What is registered now under ``token``."""
        changed = os.fstat(self._descriptor).st_mtime_ns
        if changed != self._changed:
            self._read = dict(self._look())
            self._by_token = {each.token: each for _, each in self._read.values()}
            settled = time.time_ns() - changed > _GRAIN * 10**9
            self._changed = changed if settled else -1
        return self._by_token.get(token)

    def _look(self) -> Sequence[tuple[str, tuple[int, Registration]]]:
        found = []
        try:
            names = os.listdir(self._descriptor)
        except FileNotFoundError:
            # The pod ended, and took the directory along.
            return []
        for name in names:
            if name.startswith("."):
                continue
            try:
                descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._descriptor)
            except FileNotFoundError:
                continue
            with open(descriptor, encoding="utf-8") as file:
                # Of the same inode number there may have been one before.
                key = os.fstat(descriptor).st_mtime_ns
                known = self._read.get(name)
                if known is None or known[0] != key:
                    known = (key, _registration(json.load(file)))
            found.append((name, known))
        return found


def _registration(tree: dict[str, Any]) -> Registration:
    pod = tree["pod"]
    return Registration(tree["uuid"], tree["token"], pod, json.loads(pod), tree["images"])


def responder(registrations: Registrations, keys: Sequence[bytes]) -> Respond:
    """What answers requests; the first of ``keys`` signs, all of them verify."""

    def respond(head: Head, body: bytes | None) -> Answer | None:
        token, _, rest = head.path[1:].partition("/")
        registration = registrations.find(token)
        if registration is None:
            return problem(401, "unknown token")
        if not rest.startswith(_BASE):
            return problem(404, "not found")
        rest = rest.removeprefix(_BASE)
        act = {"pod/hmac/sign": _sign, "pod/hmac/verify": _verify}.get(rest)
        if act is None:
            answer = _shown(registration, rest)
            if answer.status == 200 and head.method != "GET":
                return problem(405, "use GET")._replace(allow="GET")
            return answer
        if head.method != "POST":
            return problem(405, "use POST")._replace(allow="POST")
        if not head.form:
            return problem(400, "not a form (application/x-www-form-urlencoded)")
        if not keys:
            return problem(503, "there is no key")
        if body is None:
            return None
        return _with_form(act, body, registration, keys)

    return respond


def _shown(registration: Registration, rest: str) -> Answer:
    area, _, what = rest.partition("/")
    if area == "pod":
        if what == "uuid":
            return _text(registration.uuid)
        if what == "manifest":
            return Answer(200, registration.pod.encode(), _JSON)
        return _annotations(registration.manifest.get("annotations"), what)
    app, _, what = what.partition("/")
    found = [each for each in registration.manifest["apps"] if each["name"] == app]
    if area != "apps" or not found:
        return problem(404, "not found")
    image = registration.images[app]
    if what == "image/id":
        return _text(found[0]["image"]["id"])
    if what == "image/manifest":
        return _json(image)
    # Those of the app in the pod override those of its image (appc spec).
    merged = {
        each["name"]: each
        for source in (image, found[0])
        for each in source.get("annotations") or ()
    }
    return _annotations(list(merged.values()) or None, what)


def _annotations(annotations: list[dict[str, str]] | None, what: str) -> Answer:
    """All of them, or the value of one. None is ``null``, as in the manifest (rkt)."""
    if what == "annotations":
        return _json(annotations)
    start, slash, name = _unquoted(what).partition("/")
    if start == "annotations" and slash:
        for each in annotations or ():
            if each["name"] == name:
                return Answer(200, each["value"].encode())
    return problem(404, "not found")


def _text(text: str) -> Answer:
    return Answer(200, text.encode())


def _json(value: object) -> Answer:
    return Answer(200, json.dumps(value).encode(), _JSON)


def _unquoted(path: str) -> str:
    if "%" not in path:
        return path
    from urllib.parse import unquote

    return unquote(path)


def _with_form(
    act: Callable[[dict[str, bytes], str, Sequence[bytes]], Answer],
    body: bytes,
    registration: Registration,
    keys: Sequence[bytes],
) -> Answer:
    from urllib.parse import parse_qsl

    try:
        # With Latin-1 every byte stays what it is: content may be anything.
        fields = parse_qsl(
            body.decode("latin-1"),
            keep_blank_values=True,
            encoding="latin-1",
            max_num_fields=_FORM_FIELDS,
        )
        form = {name: value.encode("latin-1") for name, value in reversed(fields)}
        return act(form, registration.uuid, keys)
    except KeyError as error:
        return problem(400, f"the form has no field {error.args[0]}")
    except ValueError:
        return problem(400, "malformed form")


def _digest(key: bytes, uuid: str, content: bytes) -> bytes:
    """HMAC-SHA512 over the 16 bytes of the UUID and the content (rkt)."""
    import hmac

    return hmac.digest(key, bytes.fromhex(uuid.replace("-", "")) + content, "sha512")


def _sign(form: dict[str, bytes], uuid: str, keys: Sequence[bytes]) -> Answer:
    from binascii import b2a_base64

    return Answer(200, b2a_base64(_digest(keys[0], uuid, form["content"]), newline=False))


def _verify(form: dict[str, bytes], uuid: str, keys: Sequence[bytes]) -> Answer:
    """Whether a pod, also another one and one that ended, signed the content. Raises ValueError."""
    from binascii import a2b_base64
    from hmac import compare_digest

    content, signer = form["content"], form["uuid"].decode("ascii").lower()
    signature = a2b_base64(form["signature"], strict_mode=True)
    if not looks_like_uuid(signer):
        raise ValueError(signer)
    # Every key, however soon it is clear.
    found = [compare_digest(_digest(key, signer, content), signature) for key in keys]
    if any(found):
        return Answer(200)
    return problem(403, "another content, another pod, or another key")


def run(
    listeners: Sequence[socket],
    directory: int,
    keys: Sequence[bytes],
    *,
    idle: float | None = None,
) -> None:
    """Serve the registrations in the open ``directory`` until SIGTERM or SIGINT."""
    import signal

    wake, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def stop(*_: object) -> None:
        os.write(write, b"x")

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    serve(listeners, responder(Registrations(directory), keys), stop=wake, idle=idle)


def main(arguments: Sequence[str]) -> int:
    """ExecStart= of rkt-metadata.service and its template: the only argument is the directory."""
    (directory,) = arguments
    try:
        with open(f"{os.environ['CREDENTIALS_DIRECTORY']}/key", "rb") as file:
            keys = parse_keys(file.read())
        run(passed(), os.open(directory, os.O_RDONLY | os.O_DIRECTORY), keys, idle=IDLE)
    except (RktError, OSError) as error:
        return failed(error)
    return 0
