"""What went wrong on the network, in words: requests and urllib3 wrap a cause several deep."""

import contextlib
import http.client
import ssl
from collections.abc import Iterator

import requests
import urllib3

from rktsd.errors import FetchError


class TooLate(TimeoutError):
    """We hung up, whatever else the connection then says of its end."""


@contextlib.contextmanager
def network_errors(url: str, kind: type[FetchError] = FetchError) -> Iterator[None]:
    """Turn what requests and urllib3 raise into an error of ``kind`` naming ``url``."""
    try:
        yield
    except requests.exceptions.InvalidURL as error:
        raise FetchError(f"URL {url!r}: {error}") from error
    except (
        requests.RequestException,
        urllib3.exceptions.HTTPError,
        http.client.HTTPException,
        OSError,
    ) as error:
        raise kind(f"{url}: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """The innermost cause, on one line."""
    seen: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting and len(seen) < 20:
        current = waiting.pop()
        if isinstance(current, BaseException) and current not in seen:
            seen.append(current)
            waiting += [current.__cause__, current.__context__, getattr(current, "reason", None)]
            waiting += current.args
    for found in seen:
        if isinstance(found, ssl.SSLCertVerificationError):
            return f"certificate not accepted: {found.verify_message}"
        if isinstance(found, TooLate):
            return "timed out"
    for found in seen:
        if isinstance(found, OSError) and isinstance(found.strerror, str) and found.strerror:
            return found.strerror
    # Last, since urllib3 takes every failed connection for a kind of time-out.
    for found in seen:
        if isinstance(found, (TimeoutError, urllib3.exceptions.TimeoutError, requests.Timeout)):
            return "timed out"
    return " ".join(str(seen[-1] if seen else error).split())[:200] or type(error).__name__
