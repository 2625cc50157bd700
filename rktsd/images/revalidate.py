"""Asking a server whether what is stored is still what it has (RFC 9110, 13; RFC 9111, 5.2)."""

import math
import re
import time
from collections.abc import Mapping

from rktsd.appc.read import image_manifest
from rktsd.images.fetch import Job
from rktsd.images.http import Client
from rktsd.images.references import Reference
from rktsd.store import remotes, seen
from rktsd.store.records import ImageRecord
from rktsd.store.remotes import Remote

_CHANGED, _UNCHANGED = 200, 304
_LONGEST = 365 * 86400
_MAX_AGE = re.compile(r'max-age="?([0-9]{1,18})"?\Z')


def revalidate(job: Job, client: Client, url: str) -> ImageRecord | None:
    """The stored image that came from ``url``, when that still has it: one round trip or none.

    Only what the pull policy says is to be asked for. None when it has to be downloaded. Raises
    FetchError.
    """
    if job.options.pull_policy != "update":
        return None
    record = job.store.find_source(url)
    remote = remotes.recall(job.store.root, record.id, url) if record else None
    if record is None or remote is None:
        return None
    if remote.fresh(time.time()):
        job.report(f"image from {url} is fresh still, not asking for it")
        return record
    conditions = {"If-None-Match": remote.etag, "If-Modified-Since": remote.modified}
    headers = {name: value for name, value in conditions.items() if value}
    if not headers:
        return None
    accept = frozenset({_CHANGED, _UNCHANGED})
    with client.get(url, headers=headers, login=True, accept=accept) as answer:
        if answer.status != _UNCHANGED:
            return None
        told = remote_of(answer.headers)
    job.report(f"image from {url} has not changed")
    # A 304 need not repeat what names the version.
    told = told._replace(etag=told.etag or remote.etag, modified=told.modified or remote.modified)
    remotes.remember(job.store.root, record.id, url, told)
    return record


def remember(job: Job, record: ImageRecord, url: str, headers: Mapping[str, str]) -> None:
    """Note what the server said of the image that it just gave.

    Not where an additive store kept the image as one of another source.
    """
    known = job.store.find_source(url)
    if known is None or known.id != record.id:
        return
    remotes.remember(job.store.root, record.id, url, remote_of(headers))


def note(
    job: Job, reference: Reference, record: ImageRecord, *, until: int | None, state: str
) -> None:
    """Let the next fetch of a URL be one question, where there is nothing else to ask for.

    ``until`` and ``state`` are as in ``seen.Seen``; None leaves it to what was noted before.
    """
    if until is None:
        before = seen.recall(job.store.root, reference.text)
        if before is None or (before.image, before.verified_by) != (record.id, record.verified_by):
            return
        until = before.until
    manifest = image_manifest(job.store.manifest_bytes(record.id), reference.text)
    remote = remotes.recall(job.store.root, record.id, reference.target)
    if remote is None or not (remote.etag or remote.modified or remote.max_age):
        return
    if manifest.dependencies or manifest.path_whitelist or job.options.platform:
        return
    found = seen.Seen(
        image=record.id,
        digest="",
        etag=remote.etag or "",
        modified=remote.modified or "",
        url=reference.target,
        insecure="",
        verified_by=record.verified_by,
        until=until,
        checked=math.ceil(remote.checked),
        fresh=int(remote.checked) + remote.max_age,
        state=state,
    )
    seen.note(job.store.root, reference.text, found)


def remote_of(headers: Mapping[str, str]) -> Remote:
    """What to keep of an answer's headers."""
    return Remote(
        etag=_line(headers, "ETag"),
        modified=_line(headers, "Last-Modified"),
        max_age=_max_age(headers),
        checked=time.time(),
    )


def _max_age(headers: Mapping[str, str]) -> int:
    words = [word.strip().lower() for word in headers.get("Cache-Control", "").split(",")]
    if "no-store" in words or "no-cache" in words:
        return 0
    found = next((match for match in map(_MAX_AGE.match, words) if match), None)
    age = headers.get("Age", "")
    spent = int(age) if re.fullmatch("[0-9]{1,18}", age) else 0
    return max(0, min(int(found[1]), _LONGEST) - spent) if found else 0


def _line(headers: Mapping[str, str], name: str) -> str | None:
    value = headers.get(name, "")
    return value if re.fullmatch(r"[ -~]{1,1000}", value) else None
