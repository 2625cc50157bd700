"""Fetch images for a member of group rkt: started by systemd for each connection, gone with it.

A member may have verified images added to the store by the system's own configuration and trust,
and nothing else: what he says is a few plain words, checked here, and never a path that we open.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
import sys
import threading
import time
from typing import NamedTuple

from rktsd.appc.cursor import decode_json
from rktsd.errors import BadInput, RktError, StoreError, Unsupported
from rktsd.images.fetch import POLICIES, FetchOptions, Job, fetch_as, taking_back
from rktsd.images.platforms import parse_platform
from rktsd.images.references import Kind, for_platform, parse_reference
from rktsd.paths import Paths
from rktsd.pods.locate import configured
from rktsd.services import wire
from rktsd.store.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from rktsd.images.progress import Moved
    from rktsd.store.records import ImageRecord

ASK_TIME = 10.0
LISTEN_TIME = 60.0
IMAGES_LIMIT = 16
AT_ONCE = 4
_TEXT_LIMIT = 4096
_UNHEARD = "nothing that a member may say"
_INTERVAL = 0.1
_CREDENTIALS = struct.Struct("3i")
_REMOTE = (Kind.NAME, Kind.URL, Kind.DOCKER, Kind.ID)
# What an administrator may set for this service, and nothing that leads to anybody's own files.
_ENVIRONMENT = ("PATH", "LANG", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY",
                "HTTPS_PROXY", "NO_PROXY", "all_proxy", "ALL_PROXY")  # fmt: skip


class _Gone(RktError):
    """Nobody listens any more."""


class _Wish(NamedTuple):
    """An image that is asked for; ``files`` are the ACI and its signature, handed over."""

    image: str
    platform: str | None
    files: tuple[int, ...]


class _Listener:
    """The member at the other end of the connection; threads may speak to him."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._begun = 0

    def tell(self, **members: object) -> None:
        """Raises _Gone."""
        with self._lock:
            try:
                self._connection.sendall(wire.line(**members))
            except OSError as error:
                raise _Gone("the member who asked is gone") from error

    def report(self, message: str) -> None:
        """A line for the user."""
        self.tell(say=message)

    @contextlib.contextmanager
    def watch(self, what: str, total: int | None) -> Iterator[Moved]:
        """How far a download is, told now and then."""
        with self._lock:
            self._begun += 1
            number = self._begun
        self.tell(begin=[number, what, total])
        waiting, told = 0, time.monotonic()

        def moved(count: int) -> None:
            nonlocal waiting, told
            waiting += count
            now = time.monotonic()
            if now - told >= _INTERVAL:
                self.tell(moved=[number, waiting])
                waiting, told = 0, now

        yield moved
        self.tell(end=number)


def main() -> int:
    """Serve the connection in standard input. Returns an exit status."""
    for name in os.environ.keys() - set(_ENVIRONMENT):
        del os.environ[name]
    # Nor is root's home anybody else's.
    os.environ["HOME"] = "/nonexistent"
    with socket.socket(fileno=os.dup(0)) as connection:
        data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        _, uid, _ = _CREDENTIALS.unpack(data)
        listener = _Listener(connection)
        try:
            _serve(connection, listener, uid)
        except _Gone as error:
            sys.stderr.write(f"<6>uid {uid}: {error}\n")
            return 0
        except (RktError, OSError, RecursionError) as error:
            problem = error if isinstance(error, RktError) else StoreError(f"cannot go on: {error}")
            sys.stderr.write(f"<5>uid {uid}: {_printable(str(problem))}\n")
            with contextlib.suppress(_Gone):
                listener.tell(done=problem.exit_code, error=str(problem))
            # It is the member's failure, and no fault of the unit.
            return 0
        with contextlib.suppress(_Gone):
            listener.tell(done=0)
    return 0


def _serve(connection: socket.socket, listener: _Listener, uid: int) -> None:
    paths = configured(Paths())
    with contextlib.ExitStack() as stack:
        request, files = _receive(connection, stack)
        connection.settimeout(LISTEN_TIME)
        policy, wishes = _read(request, files)
        stack.enter_context(_slot(paths, uid))
        store = stack.enter_context(Store.open(paths.store, create=True, additive=True))
        for wish in wishes:
            sys.stderr.write(f"<6>uid {uid}: fetching {_printable(wish.image)}\n")
            sys.stderr.flush()
            options = FetchOptions(
                pull_policy=policy,
                platform=wish.platform,
                watch=listener.watch,
                # Credentials of root's own are not the system's.
                personal=False,
            )
            with taking_back(store):
                record = _fetch(wish, Job(store, paths, options, listener.report), uid)
            listener.tell(id=record.id)


def _receive(connection: socket.socket, stack: contextlib.ExitStack) -> tuple[bytes, list[int]]:
    """The request, and the files beside it, which ``stack`` closes."""
    deadline = time.monotonic() + ASK_TIME
    data, files = b"", list[int]()
    room = socket.CMSG_SPACE(4 * wire.FILES_LIMIT)
    while not data.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or len(data) > wire.REQUEST_LIMIT:
            raise BadInput("what is asked for is too long, or comes too slowly")
        connection.settimeout(left)
        part, ancillary, flags, _ = connection.recvmsg(
            wire.REQUEST_LIMIT, room, socket.MSG_CMSG_CLOEXEC
        )
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                count = len(content) // 4
                passed = struct.unpack(f"{count}i", content[: 4 * count])
                for descriptor in passed:
                    stack.callback(os.close, descriptor)
                files += passed
        if flags & socket.MSG_CTRUNC or len(files) > wire.FILES_LIMIT:
            raise BadInput(f"more than {wire.FILES_LIMIT} files are handed over")
        if not part:
            raise _Gone("nothing was asked for")
        data += part
    return data, files


def _read(request: bytes, files: list[int]) -> tuple[str, list[_Wish]]:
    """The policy and the wishes. Raises BadInput for anything that is not a plain wish."""
    place = decode_json(request, "request")
    place.only(("policy", "images"), _UNHEARD)
    policy = place.get("policy").one_of(*POLICIES)
    found, rest = list[_Wish](), list(files)
    for each in place.get("images").elements():
        each.only(("image", "platform", "files"), _UNHEARD)
        image = each.get("image").line()
        count = each.get("files").integer(0, 2) if each.get("files").given else 0
        if len(image) > _TEXT_LIMIT or len(found) == IMAGES_LIMIT:
            raise BadInput("too much is asked for at once")
        platform = each.get("platform")
        name = platform.line() if platform.given else None
        if count > len(rest):
            raise BadInput(f"{image}: a file is missing")
        found.append(_Wish(image, name, tuple(rest[:count])))
        del rest[:count]
    if rest or not found:
        raise BadInput(
            "files are handed over that nobody asks for" if rest else "no image is named"
        )
    return policy, found


def _fetch(wish: _Wish, job: Job, uid: int) -> ImageRecord:
    if wish.files:
        from rktsd.images.passed import import_passed

        archive, *signature = wish.files
        return import_passed(
            archive,
            signature[0] if signature else None,
            job,
            label=_printable(wish.image),
            source=f"uid {uid}: {_printable(wish.image)}",
        )
    # Whether there is such a file is nothing that we look for.
    reference = parse_reference(wish.image, is_file=lambda path: False)
    if reference.kind not in _REMOTE:
        raise Unsupported(
            f"{wish.image}: only root fetches from layouts, archives and paths",
            hint="a member may fetch by name, from https and docker://, and ACIs that he can read",
        )
    if wish.platform:
        reference = for_platform(reference, parse_platform(wish.platform))
    return fetch_as(reference, job)


@contextlib.contextmanager
def _slot(paths: Paths, uid: int) -> Iterator[None]:
    """One of a few fetches of a member at the same time. Raises Unsupported when all are taken."""
    directory = f"{paths.run}/fetches"
    os.makedirs(directory, 0o700, exist_ok=True)
    for number in range(AT_ONCE):
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(f"{directory}/{uid}.{number}", flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        try:
            yield
        finally:
            os.close(descriptor)
        return
    raise Unsupported(f"{AT_ONCE} fetches of yours are under way already")


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:_TEXT_LIMIT]
