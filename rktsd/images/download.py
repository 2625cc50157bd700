"""Large files: gone on with where they were cut off, and only when they are still the same."""

import email.utils
import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import NamedTuple

from rktsd.config.settings import Settings
from rktsd.errors import StoreError, TrustError
from rktsd.images.answer import Answer, CutOff, TooLarge
from rktsd.images.digests import Witness
from rktsd.images.progress import Watch, unwatched
from rktsd.store.partial import Partial, partial

Ask = Callable[[Mapping[str, str], frozenset[int]], AbstractContextManager[Answer]]
_WHOLE, _PART, _NO_SUCH_PART = 200, 206, 416
_BLOCK = 1 << 20
_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/(?:([0-9]{1,18})|\*)\Z")


def download(
    url: str,
    target: str,
    *,
    ask: Ask,
    root: str,
    limit: int,
    settings: Settings,
    check: Callable[[], Witness] | None = None,
    watch: Watch = unwatched,
    report: Callable[[str], None] = lambda line: None,
) -> Mapping[str, str]:
    """Get ``url`` into the new file ``target`` on the disk of the store in ``root``.

    ``ask`` takes further headers and the statuses to accept, and opens the answer. What came before
    a connection broke is kept in the store when the server names versions of the file, and asked
    for the rest of that version, now and by the next download (RFC 9110, 14.2). ``check`` makes,
    for every attempt, what sees every byte and has the last word (TrustError). Returns the headers
    of the last answer. Raises FetchError, StoreError.
    """
    way = _Way(ask, limit, watch, check)
    attempt = 0
    with partial(root, url) as place:
        while True:
            before = place.size()
            try:
                headers = _attempt(url, place, way)
                break
            except CutOff as error:
                place.kept = True
                going_on = place.validator() is not None and place.size() > before
                if attempt >= settings.retries or not going_on:
                    raise
                report(f"{error}, going on after {place.size()} bytes")
            except (TooLarge, StoreError, TrustError):
                place.kept = False
                raise
            except BaseException:
                place.kept = True
                raise
            time.sleep(min(settings.retry_delay * 2**attempt, settings.longest_wait))
            attempt += 1
        try:
            os.rename(place.body, target)
        except OSError as error:
            raise StoreError(f"cannot write {target}: {error.strerror}") from error
        place.kept = False
        return headers


class _Way(NamedTuple):
    ask: Ask
    limit: int
    watch: Watch
    check: Callable[[], Witness] | None


def _attempt(url: str, place: Partial, way: _Way) -> Mapping[str, str]:
    """Ask for what is missing, or for everything."""
    size, validator = place.size(), place.validator()
    if size and validator:
        wanted = {"Range": f"bytes={size}-", "If-Range": validator}
        with way.ask(wanted, frozenset({_WHOLE, _PART, _NO_SUCH_PART})) as answer:
            if answer.status == _WHOLE:
                return _whole(url, place, answer, way)
            if answer.status == _PART and _continues(answer, size, validator):
                return _append(url, place, answer, way)
    with way.ask({}, frozenset({_WHOLE})) as answer:
        return _whole(url, place, answer, way)


def _whole(url: str, place: Partial, answer: Answer, way: _Way) -> Mapping[str, str]:
    place.begin(validator_of(answer.headers))
    return _append(url, place, answer, way)


def _append(url: str, place: Partial, answer: Answer, way: _Way) -> Mapping[str, str]:
    size = place.size()
    total = None if answer.length is None else size + answer.length
    check = way.check() if way.check else None
    try:
        with open(place.body, "ab+", buffering=0) as file, way.watch(url, total) as moved:
            file.seek(0)
            while check and (part := file.read(_BLOCK)):
                check.update(part)
            moved(size)
            for part in answer.parts(way.limit - size):
                file.write(part)
                moved(len(part))
                if check:
                    check.update(part)
    except OSError as error:
        raise StoreError(f"cannot write {place.body}: {error.strerror}") from error
    if check:
        check.finish()
    return answer.headers


def _continues(answer: Answer, size: int, validator: str) -> bool:
    """Whether a part is the rest of the file that was asked for, by all that the server says."""
    found = _RANGE.match(answer.headers.get("Content-Range", ""))
    if found is None or int(found[1]) != size:
        return False
    if found[3] is not None and int(found[2]) + 1 != int(found[3]):
        return False
    if answer.length is not None and answer.length != int(found[2]) + 1 - size:
        return False
    etag = answer.headers.get("ETag")
    return etag is None or not validator.startswith('"') or etag == validator


def validator_of(headers: Mapping[str, str]) -> str | None:
    """What names a version byte by byte: a strong ETag, or else the time of the last change."""
    if headers.get("Accept-Ranges", "").strip().lower() == "none":
        return None
    etag = headers.get("ETag", "")
    if re.fullmatch(r'"[!#-~]{1,1000}"', etag):
        return etag
    modified = headers.get("Last-Modified", "")
    return modified if _settled(modified, headers.get("Date", "")) else None


def _settled(modified: str, date: str) -> bool:
    """Whether no second version can have the same time of change (RFC 9110, 8.8.2.2)."""
    try:
        changed = email.utils.parsedate_to_datetime(modified)
        return (email.utils.parsedate_to_datetime(date) - changed).total_seconds() >= 1
    except (ValueError, TypeError, OverflowError):
        return False
