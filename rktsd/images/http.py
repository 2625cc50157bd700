"""Getting things over https: the only module that knows requests.

Limits on size and redirects, certificates by host, credentials for one origin only, and errors of
one line that name the URL and the reason.
"""

import contextlib
import glob
import http.cookiejar
import os
import re
import ssl
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import requests
import requests.adapters
import urllib3

from rktsd import __version__
from rktsd.errors import BadInput, FetchError, StoreError
from rktsd.images.digests import Check
from rktsd.paths import Paths

MAX_REDIRECTS = 10
CONNECT_TIMEOUT = 20.0
READ_TIMEOUT = 60.0
PAGE_TIME = 60.0
CHUNK = 1 << 20
SYSTEM_CAS = "/etc/ssl/certs/ca-certificates.crt"
_REDIRECTS = (301, 302, 303, 307, 308)
_HOST = re.compile(r"[A-Za-z0-9._:\[\]-]+\Z")
_PRINTABLE = re.compile(r"[!-~]+\Z")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said; the body is still to be read, with ``read`` or ``save``."""

    url: str
    status: int
    headers: Mapping[str, str]
    _response: requests.Response = field(repr=False)

    def read(self, limit: int) -> bytes:
        """The whole body. Raises FetchError when it is larger than ``limit`` bytes or too slow."""
        deadline = time.monotonic() + PAGE_TIME
        parts = []
        for part in self._parts(limit, min(limit + 1, CHUNK)):
            parts.append(part)
            if time.monotonic() > deadline:
                raise FetchError(f"{self.url}: not received within {PAGE_TIME:g} s")
        return b"".join(parts)

    def save(self, path: str, *, limit: int, check: Check | None = None) -> int:
        """Write the body to the new file ``path``; returns its size.

        ``check`` sees every byte and has the last word (TrustError). Raises FetchError when the
        body is larger than ``limit`` bytes or ends early; removes the file unless all went well.
        """
        size = 0
        try:
            with open(path, "xb", buffering=0) as file:
                try:
                    for part in self._parts(limit, CHUNK):
                        size += file.write(part)
                        if check:
                            check.update(part)
                    if check:
                        check.finish()
                except BaseException:
                    os.unlink(path)
                    raise
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror}") from error
        return size

    def _parts(self, limit: int, chunk: int) -> Iterator[bytes]:
        """The raw body: what was signed and hashed are the bytes as they were sent."""
        length = self.headers.get("Content-Length", "")
        promised = int(length) if length.isdecimal() else None
        if promised is not None and promised > limit:
            raise FetchError(f"{self.url}: {promised} bytes are more than the limit of {limit}")
        size = 0
        with _network_errors(self.url):
            while part := self._response.raw.read(chunk, decode_content=False):
                size += len(part)
                if size > limit:
                    raise FetchError(f"{self.url}: more than the limit of {limit} bytes")
                yield part
        if promised is not None and size != promised:
            raise FetchError(f"{self.url}: ended after {size} of {promised} bytes")


class Client:
    """Connections kept open for one command; use it as a context manager.

    ``insecure`` are words of --insecure-options: ``tls`` takes any certificate, ``http`` takes
    http:// URLs. Certificates of private authorities are ``certs.d/HOST[:PORT]/*.crt`` in the
    configuration directories, trusted for that host beside the system's.
    """

    def __init__(self, paths: Paths, *, insecure: frozenset[str] = frozenset()) -> None:
        self.insecure = insecure
        self._config_dirs = paths.config_dirs()
        self._hosts: set[str] = set()
        self._session = _Session()
        # Nothing from ~/.netrc, no certificates by environment variable; proxies are asked for.
        self._session.trust_env = False
        self._session.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
        self._session.headers.clear()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._session.close()

    @contextlib.contextmanager
    def get(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        authorization: str | None = None,
        accept: frozenset[int] = frozenset({200}),
    ) -> Iterator[Answer]:
        """Ask for ``url`` and follow redirects.

        ``authorization`` goes to the origin of ``url`` alone and never over http. Raises FetchError
        for every status that is not in ``accept`` and for URLs that are not to be asked for.
        """
        current = url
        for _ in range(MAX_REDIRECTS + 1):
            with self._ask(current, headers or {}, authorization) as response:
                target = response.headers.get("Location")
                if response.status_code not in _REDIRECTS or target is None:
                    if response.status_code not in accept:
                        raise FetchError(f"{current}: {_status(response)}")
                    yield Answer(current, response.status_code, response.headers, response)
                    return
            following = _follow(current, target)
            if _origin(following) != _origin(current):
                authorization = None
            current = following
        raise FetchError(f"{url}: more than {MAX_REDIRECTS} redirects")

    @contextlib.contextmanager
    def _ask(
        self, url: str, headers: Mapping[str, str], authorization: str | None
    ) -> Iterator[requests.Response]:
        parts = self._check(url)
        if parts.scheme == "https":
            self._prepare_host(parts.netloc, parts.port)
        sent = {
            "User-Agent": f"rkt/{__version__}",
            "Accept": "*/*",
            # A server's compression would be undone, or not, before the digest is taken.
            "Accept-Encoding": "identity",
            **headers,
        }
        if authorization and parts.scheme == "https":
            sent["Authorization"] = authorization
        with _network_errors(url):
            response = self._session.get(
                url,
                headers=sent,
                stream=True,
                allow_redirects=False,
                timeout=(CONNECT_TIMEOUT, READ_TIMEOUT),
                verify=self._verify(),
                proxies=requests.utils.get_environ_proxies(url),
            )
        with response:
            yield response

    def _check(self, url: str) -> urllib.parse.SplitResult:
        try:
            parts = urllib.parse.urlsplit(url)
            _ = parts.port
        except ValueError as error:
            raise FetchError(f"URL {url!r}: {error}") from error
        if parts.scheme not in ("https", "http") or not _HOST.match(parts.netloc):
            raise FetchError(f"URL {url!r}: not an https URL without user name and password")
        if not _PRINTABLE.match(url):
            raise FetchError(f"URL {url!r}: holds spaces or characters outside ASCII")
        if parts.scheme == "http" and "http" not in self.insecure:
            raise FetchError(f"{url}: http is refused", hint="--insecure-options=http allows it")
        return parts

    def _verify(self) -> bool | str:
        if "tls" in self.insecure:
            # What the user asked for needs no warning at every request.
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
            return False
        return SYSTEM_CAS if os.path.exists(SYSTEM_CAS) else True

    def _prepare_host(self, netloc: str, port: int | None) -> None:
        """Give connections to a host the certificates that the administrator set for it."""
        if netloc in self._hosts or "tls" in self.insecure:
            return
        self._hosts.add(netloc)
        names = {netloc, f"{netloc}:443"} if port is None else {netloc}
        if port == 443:
            names.add(netloc.removesuffix(":443"))
        found = sorted(
            path
            for directory in self._config_dirs
            for name in names
            for path in glob.glob(f"{glob.escape(directory)}/certs.d/{glob.escape(name)}/*.crt")
        )
        if found:
            self._session.mount(f"https://{netloc.lower()}/", _PrivateAuthorities(found))


class _Session(requests.Session):
    """Redirects are ours: requests reads their bodies to the end even when told to leave them."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """No redirect is requests' to follow."""


class _PrivateAuthorities(requests.adapters.HTTPAdapter):
    """Connections that trust the certificates in ``files`` beside the system's."""

    def __init__(self, files: list[str]) -> None:
        context = ssl.create_default_context()
        for path in files:
            try:
                context.load_verify_locations(path)
            except (OSError, ssl.SSLError) as error:
                raise BadInput(f"{path}: not a PEM certificate: {_reason(error)}") from error
        self._context = context
        super().__init__()

    def init_poolmanager(self, *args: Any, **keywords: Any) -> Any:
        return super().init_poolmanager(*args, **keywords, ssl_context=self._context)

    def proxy_manager_for(self, *args: Any, **keywords: Any) -> Any:
        return super().proxy_manager_for(*args, **keywords, ssl_context=self._context)


def _follow(url: str, target: str) -> str:
    try:
        return requests.utils.requote_uri(urllib.parse.urljoin(url, target))
    except (ValueError, requests.exceptions.InvalidURL) as error:
        raise FetchError(f"{url}: redirects to {target!r}: {error}") from error


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urllib.parse.urlsplit(url)
    try:
        port = parts.port
    except ValueError as error:
        raise FetchError(f"URL {url!r}: {error}") from error
    return parts.scheme, parts.hostname, port or {"https": 443, "http": 80}.get(parts.scheme)


def _status(response: requests.Response) -> str:
    reason = re.sub(r"[^ -~]", "?", response.reason or "")[:80]
    return f"the server answered {response.status_code} {reason}".rstrip()


@contextlib.contextmanager
def _network_errors(url: str) -> Iterator[None]:
    """Turn what requests and urllib3 raise into a FetchError naming ``url``."""
    try:
        yield
    except requests.exceptions.InvalidURL as error:
        raise FetchError(f"URL {url!r}: {error}") from error
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        raise FetchError(f"{url}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """The innermost cause in words: requests wraps them several deep."""
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
    for found in seen:
        if isinstance(found, OSError) and isinstance(found.strerror, str) and found.strerror:
            return found.strerror
    # Last, since urllib3 takes every failed connection for a kind of time-out.
    for found in seen:
        if isinstance(found, (TimeoutError, urllib3.exceptions.TimeoutError, requests.Timeout)):
            return "timed out"
    return " ".join(str(seen[-1] if seen else error).split())[:200] or type(error).__name__
