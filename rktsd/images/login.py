"""Whether a registry takes a user name and a password."""

from rktsd.errors import UsageError
from rktsd.images.authenticate import Access
from rktsd.images.credentials import Credentials
from rktsd.images.http import Client
from rktsd.images.references import DOCKER_HUB, HUB_NAMES, is_registry
from rktsd.paths import Paths

_TOLD = frozenset({200, 401, 403})


def verify_login(
    registry: str, credentials: Credentials, *, paths: Paths, insecure: frozenset[str]
) -> bool:
    """Show ``credentials`` to ``registry``; False when it wants none. Raises FetchError.

    ``GET /v2/`` is what the distribution specification has for this ("Determining support").
    """
    host = DOCKER_HUB if registry in HUB_NAMES else registry
    url = f"https://{host}/v2/"
    access = Access(host, "", find=lambda: credentials)
    # Credentials never go over http.
    with Client(paths, insecure=insecure - {"http"}) as client:
        with client.get(url, accept=_TOLD) as answer:
            if answer.status == 200:
                return False
            if answer.status == 403:
                raise access.refusal(answer)
            header = access.answer(client, answer, sent=None)
        with client.get(url, authorization=header, accept=_TOLD) as answer:
            if answer.status != 200:
                raise access.refusal(answer)
    return True


def check_registry(text: str) -> str:
    """``text`` as the key of a registry in auth files: HOST or HOST:PORT. Raises UsageError."""
    scheme, separator, rest = text.partition("://")
    bare = (rest if separator else text).rstrip("/")
    if separator and scheme.lower() != "https":
        hint = f"write {bare}" if is_registry(bare) else None
        raise UsageError(f"{text!r}: credentials go over https only, not {scheme}", hint=hint)
    if not is_registry(bare):
        raise UsageError(f"{text!r} is not the name of a registry (HOST or HOST:PORT)")
    return "docker.io" if bare in HUB_NAMES else bare
