"""A file on a web server as real servers have it: versions, ranges, and connections that break."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.material.servers import Answer, Request


@dataclass(slots=True)
class Version:
    """Content for HttpsSite with conditional requests and ranges (RFC 9110, 13 and 14).

    ``cuts`` are lengths after which the next connections break, one each. ``ranges`` says whether
    parts are given. ``asked`` is what Range came with, and None for the whole.
    """

    body: bytes
    etag: str | None = '"one"'
    modified: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)
    ranges: bool = True
    asked: list[str | None] = field(default_factory=list)

    def __call__(self, request: Request) -> Answer:
        names = {"ETag": self.etag, "Last-Modified": self.modified}
        headers = {**self.headers, **{name: value for name, value in names.items() if value}}
        if self._unchanged(request):
            return Answer(status=304, headers=headers)
        self.asked.append(request.headers.get("range"))
        start, status = 0, 200
        found = re.fullmatch(r"bytes=([0-9]+)-", request.headers.get("range", ""))
        wanted = request.headers.get("if-range")
        if self.ranges and found and wanted in (None, self.etag, self.modified):
            start, status = int(found[1]), 206
            if start >= len(self.body):
                return Answer(status=416, headers={"Content-Range": f"bytes */{len(self.body)}"})
            last = len(self.body) - 1
            headers["Content-Range"] = f"bytes {start}-{last}/{len(self.body)}"
        rest = self.body[start:]
        sent = rest[: self.cuts.pop(0)] if self.cuts else rest
        return Answer(sent, status=status, headers=headers, length=len(rest))

    def _unchanged(self, request: Request) -> bool:
        if "if-none-match" in request.headers:
            return request.headers["if-none-match"] == self.etag
        since = request.headers.get("if-modified-since")
        return since is not None and since == self.modified
