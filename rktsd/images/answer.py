"""What a server said, and its body within limits of size and time."""

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import requests

from rktsd.config.settings import Settings
from rktsd.errors import FetchError, StoreError
from rktsd.images.digests import Check
from rktsd.images.reasons import network_errors

PAGE_TIME = 60.0
# What TLS gives at once; to ask for more costs the memory of it every time.
CHUNK = 16 << 10
_ENOUGH = 256 << 10
_SOON = 0.1


class CutOff(FetchError):
    """A body that did not come to its end, or not fast enough; the rest may be had later."""


class TooLarge(FetchError):
    """A body with more bytes than there may be."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said; the body is still to be read, with ``read``, ``save`` or ``parts``."""

    url: str
    status: int
    headers: Mapping[str, str]
    _response: requests.Response = field(repr=False)
    _settings: Settings = field(repr=False)

    @property
    def said(self) -> str:
        """The status in words, for messages."""
        reason = re.sub(r"[^ -~]", "?", self._response.reason or "")[:80]
        return f"the server answered {self.status} {reason}".rstrip()

    @property
    def length(self) -> int | None:
        """The bytes that the body has by the server's word, None when it gave none."""
        length = self.headers.get("Content-Length", "")
        return int(length) if re.fullmatch("[0-9]{1,100}", length) else None

    def read(self, limit: int) -> bytes:
        """The whole body. Raises FetchError when it is larger than ``limit`` bytes or too slow."""
        deadline = time.monotonic() + PAGE_TIME
        parts = []
        for part in self.parts(limit, chunk=min(limit + 1, CHUNK)):
            parts.append(part)
            if time.monotonic() > deadline:
                raise FetchError(f"{self.url}: not received within {PAGE_TIME:g} s")
        return b"".join(parts)

    def save(
        self,
        path: str,
        *,
        limit: int,
        check: Check | None = None,
        moved: Callable[[int], None] | None = None,
    ) -> int:
        """Write the body to the new file ``path``; returns its size.

        ``check`` sees every byte and has the last word (TrustError), ``moved`` is told of every
        number of bytes that came. Raises FetchError when the body is larger than ``limit`` bytes,
        too slow or ends early; removes the file unless all went well.
        """
        size = 0
        try:
            with open(path, "xb", buffering=0) as file:
                try:
                    for part in self.parts(limit):
                        size += file.write(part)
                        if check:
                            check.update(part)
                        if moved:
                            moved(len(part))
                    if check:
                        check.finish()
                except BaseException:
                    os.unlink(path)
                    raise
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror}") from error
        return size

    def parts(self, limit: int, *, chunk: int = CHUNK) -> Iterator[bytes]:
        """The raw body: what was signed and hashed are the bytes as they were sent.

        Raises TooLarge when it has more than ``limit`` bytes, CutOff when it ends early or comes
        more slowly than the settings say, whatever the server does to seem alive; not before all
        that came was handed out.
        """
        held: list[bytes] = []
        size, since = 0, time.monotonic()
        pieces = self._pieces(limit, chunk)
        while True:
            try:
                piece = next(pieces, b"")
            except CutOff:
                yield b"".join(held)
                raise
            held.append(piece)
            size += len(piece)
            # A piece is too little for a write, and a hash, of its own.
            if not piece or size >= _ENOUGH or time.monotonic() - since > _SOON:
                yield b"".join(held)
                held.clear()
                size, since = 0, time.monotonic()
            if not piece:
                return

    def _pieces(self, limit: int, chunk: int) -> Iterator[bytes]:
        promised = self.length
        if promised is not None and promised > limit:
            raise TooLarge(f"{self.url}: {promised} bytes are more than the limit of {limit}")
        size = recent = 0
        waited = 0.0
        # urllib3 waits until a whole chunk is there; read1 gives what has come.
        body: Any = self._response.raw._fp
        while True:
            before = time.monotonic()
            with network_errors(self.url, CutOff):
                part = body.read1(chunk)
            if not part:
                break
            waited, recent = waited + time.monotonic() - before, recent + len(part)
            size += len(part)
            if size > limit:
                raise TooLarge(f"{self.url}: more than the limit of {limit} bytes")
            if waited > self._settings.answer_timeout:
                if recent < waited * self._settings.minimum_rate:
                    rate = self._settings.minimum_rate
                    raise CutOff(f"{self.url}: slower than {rate} bytes a second")
                waited, recent = 0.0, 0
            yield part
        if promised is not None and size != promised:
            raise CutOff(f"{self.url}: ended after {size} of {promised} bytes")
        # Read to its end, the connection can be used again.
        body.close()
        self._response.raw.release_conn()
