"""Discovery pages over the network."""

from rktsd.errors import FetchError
from rktsd.images.discovery import PAGE_LIMIT
from rktsd.images.http import Client


def get_page(client: Client, prefix: str) -> bytes:
    """The discovery page of ``prefix``, https first, then http when the client may.

    A page larger than a discovery page may be is refused. Raises FetchError with each attempt.
    """
    try:
        return _get(client, f"https://{prefix}?ac-discovery=1")
    except FetchError as error:
        if "http" not in client.insecure:
            raise
        secure = error
    try:
        return _get(client, f"http://{prefix}?ac-discovery=1")
    except FetchError as error:
        raise FetchError(f"{secure}; {error}") from error


def _get(client: Client, url: str) -> bytes:
    with client.get(url, login=True) as answer:
        return answer.read(PAGE_LIMIT)
