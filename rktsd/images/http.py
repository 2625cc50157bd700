"""Getting things over https: the only module that asks servers.

Limits on size, time and redirects, certificates by host, credentials for one origin only, patience
with servers that are busy, and errors of one line that name the URL and the reason.
"""

import contextlib
import email.utils
import glob
import http.cookiejar
import random
import re
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import NamedTuple

import requests
import urllib3

from rktsd import __version__
from rktsd.config.auth import Auth, Aws, read_auth
from rktsd.config.settings import read_settings
from rktsd.errors import Absent, FetchError
from rktsd.images.answer import Answer
from rktsd.images.connections import Adapter, Session, system_authorities
from rktsd.images.reasons import network_errors
from rktsd.paths import Paths

__all__ = ["Answer", "Client"]

MAX_REDIRECTS = 10
_REDIRECTS = (301, 302, 303, 307, 308)
_REDIRECTS_OF_BODIES = (307, 308)
_BUSY = (429, 500, 502, 503, 504)
_ABSENT = (404, 410)
_HOST = re.compile(r"[A-Za-z0-9._:\[\]-]+\Z")
_PRINTABLE = re.compile(r"[!-~]+\Z")


class Client:
    """Connections kept open for one command; use it as a context manager.

    ``insecure`` are words of --insecure-options: ``tls`` takes any certificate, ``http`` takes
    http:// URLs, refused with ``http_hint`` otherwise. Certificates of private authorities are
    ``certs.d/HOST[:PORT]/*.crt`` in the configuration directories, trusted for that host beside
    the system's. ``report`` gets a line when a server makes us wait. Threads may share a client.
    """

    def __init__(
        self,
        paths: Paths,
        *,
        insecure: frozenset[str] = frozenset(),
        report: Callable[[str], None] = lambda line: None,
        http_hint: str = "--insecure-options=http allows it",
    ) -> None:
        self.insecure = insecure
        self._http_hint = http_hint
        self.settings = read_settings(paths.config_dirs())
        self._report = report
        self._config_dirs = paths.config_dirs()
        self._auth: Auth | None = None
        self._lock = threading.Lock()
        self._hosts: set[str] = set()
        self._session = Session()
        # Nothing from ~/.netrc, no certificates by environment variable; proxies are asked for.
        self._session.trust_env = False
        self._session.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
        self._session.headers.clear()
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, Adapter(self.settings.answer_timeout))

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._session.close()

    @property
    def auth(self) -> Auth:
        """The credentials of auth.d. Raises BadInput."""
        if self._auth is None:
            self._auth = read_auth(self._config_dirs)
        return self._auth

    @contextlib.contextmanager
    def get(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        authorization: str | None = None,
        accept: frozenset[int] = frozenset({200}),
        login: bool = False,
        method: str = "GET",
        form: Mapping[str, str] | None = None,
        body: Callable[[], Iterable[bytes]] | None = None,
    ) -> Iterator[Answer]:
        """Ask for ``url`` and follow redirects; a server that is busy is asked again, later.

        ``authorization``, or with ``login`` what auth.d has for the host, goes to the origin of
        ``url`` alone and never over http; so does ``form``, which is posted. ``body`` makes what is
        sent, anew for every attempt, and has a length (``len``). Raises FetchError for every status
        that is not in ``accept`` and for URLs that are not to be asked for.
        """
        question = _Question("POST" if form is not None else method, headers or {}, form, body)
        attempt = 0
        while True:
            with self._walk(url, question, authorization, login) as answer:
                if answer.status in accept:
                    yield answer
                    return
                wait = self._patience(answer, attempt)
                if wait is None:
                    raise self._refused(answer, login)
            self._report(f"{answer.url}: {answer.said}, asking again in {wait:.0f} s")
            time.sleep(wait)
            attempt += 1

    @contextlib.contextmanager
    def _walk(
        self, url: str, question: "_Question", authorization: str | None, login: bool
    ) -> Iterator[Answer]:
        current = url
        for _ in range(MAX_REDIRECTS + 1):
            secrets = self._secrets(current, question.method, authorization, login)
            headers = {**question.headers, **secrets}
            with self._ask(current, question._replace(headers=headers)) as response:
                target = response.headers.get("Location")
                # After the others a browser would ask with GET.
                redirects = _REDIRECTS if question.body is None else _REDIRECTS_OF_BODIES
                if response.status_code not in redirects or target is None:
                    status, found = response.status_code, response.headers
                    yield Answer(current, status, found, response, self.settings)
                    return
            following = _follow(current, target)
            if _origin(following) != _origin(current):
                authorization, login = None, False
                if question.form is not None:
                    raise FetchError(f"{current}: redirects what is for itself to {following}")
            current = following
        raise FetchError(f"{url}: more than {MAX_REDIRECTS} redirects")

    def _secrets(
        self, url: str, method: str, authorization: str | None, login: bool
    ) -> dict[str, str]:
        """The headers that say who we are; nothing says so over http."""
        parts = urllib.parse.urlsplit(url)
        if parts.scheme != "https":
            return {}
        if authorization:
            return {"Authorization": authorization}
        known = self.auth.for_host(parts.netloc) if login else None
        if known is None:
            return {}
        if isinstance(known, Aws):
            from rktsd.images.sigv4 import sign

            return sign(url, known, method=method, now=time.time())
        return {"Authorization": known.header()}

    @contextlib.contextmanager
    def _ask(self, url: str, question: "_Question") -> Iterator[requests.Response]:
        parts = self._check(url)
        if question.form is not None and parts.scheme != "https":
            raise FetchError(f"{url}: credentials are not sent over http")
        if parts.scheme == "https":
            self._prepare_host(parts.netloc, parts.port)
        sent = {
            "User-Agent": f"rkt/{__version__}",
            "Accept": "*/*",
            # A server's compression would be undone, or not, before the digest is taken.
            "Accept-Encoding": "identity",
            **question.headers,
        }
        with network_errors(url):
            response = self._session.request(
                question.method,
                url,
                data=question.body() if question.body else question.form,
                headers=sent,
                stream=True,
                allow_redirects=False,
                timeout=(self.settings.connect_timeout, self.settings.answer_timeout),
                verify=self._verify(),
                proxies=requests.utils.get_environ_proxies(url),
            )
        with response:
            yield response

    def _patience(self, answer: Answer, attempt: int) -> float | None:
        """How long to wait before asking again, None when that is of no use."""
        if answer.status not in _BUSY or attempt >= self.settings.retries:
            return None
        # Not all at the same moment, when a server comes back that many wait for.
        wait = self.settings.retry_delay * 2**attempt * random.uniform(1, 1.25)
        wait = max(min(wait, self.settings.longest_wait), _retry_after(answer.headers))
        return wait if wait <= self.settings.longest_wait else None

    def _refused(self, answer: Answer, login: bool) -> FetchError:
        hint = None
        host = urllib.parse.urlsplit(answer.url).netloc
        if answer.status == 401 and login:
            known = self.auth.for_host(host)
            hint = f"auth.d has {'other' if known else 'no'} credentials for {host}"
        wait = _retry_after(answer.headers) if answer.status in _BUSY else 0
        if wait > self.settings.longest_wait:
            hint = f"it asks for {wait:.0f} s of patience"
        kind = Absent if answer.status in _ABSENT else FetchError
        return kind(f"{answer.url}: {answer.said}", hint=hint)

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
            raise FetchError(f"{url}: http is refused", hint=self._http_hint)
        return parts

    def _verify(self) -> bool | str:
        if "tls" in self.insecure:
            # What the user asked for needs no warning at every request.
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
            return False
        return system_authorities() or True

    def _prepare_host(self, netloc: str, port: int | None) -> None:
        """Give connections to a host the certificates that the administrator set for it."""
        with self._lock:
            if netloc in self._hosts or "tls" in self.insecure:
                return
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
                adapter = Adapter(self.settings.answer_timeout, found)
                self._session.mount(f"https://{netloc.lower()}/", adapter)
            self._hosts.add(netloc)


class _Question(NamedTuple):
    method: str
    headers: Mapping[str, str]
    form: Mapping[str, str] | None
    body: Callable[[], Iterable[bytes]] | None


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


def _retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that the server asks us to wait (RFC 9110, 10.2.3): a number or a date."""
    text = headers.get("Retry-After", "").strip()
    if re.fullmatch("[0-9]{1,9}", text):
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0
