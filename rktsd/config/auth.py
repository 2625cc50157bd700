"""``auth.d``: who we are to which host (rktKind auth and dockerAuth, version v1)."""

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from rktsd.appc.cursor import Cursor, shown
from rktsd.config.kinds import read_kinds

DOCKER_HUB = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_DOMAIN, _REGISTRY = "domain", "registry"


class Basic(NamedTuple):
    """A user name and a password (RFC 7617)."""

    user: str
    password: str

    def header(self) -> str:
        """The value of Authorization."""
        pair = f"{self.user}:{self.password}".encode()
        return f"Basic {base64.b64encode(pair).decode('ascii')}"


class OAuth(NamedTuple):
    """A bearer token (RFC 6750)."""

    token: str

    def header(self) -> str:
        """The value of Authorization."""
        return f"Bearer {self.token}"


class Aws(NamedTuple):
    """A key that signs requests to S3; without ``region`` it follows from the host."""

    access_key_id: str
    secret_access_key: str
    region: str | None


Credentials = Basic | OAuth | Aws


class Auth(NamedTuple):
    """``hosts`` by lower-case HOST or HOST:PORT as in a URL, ``registries`` likewise."""

    hosts: Mapping[str, Credentials]
    registries: Mapping[str, Basic]

    def for_host(self, netloc: str) -> Credentials | None:
        """The credentials for the host of an https URL; port 443 and no port are one thing."""
        name = netloc.lower()
        other = name.removesuffix(":443") if name.endswith(":443") else f"{name}:443"
        return self.hosts.get(name) or self.hosts.get(other)

    def for_registry(self, name: str) -> Basic | None:
        """The credentials for a registry; Docker Hub goes by several names."""
        names = DOCKER_HUB if name.lower() in DOCKER_HUB else {name.lower()}
        found = (self.registries.get(each) for each in sorted(names))
        return next((each for each in found if each), None)


def read_auth(directories: Sequence[str]) -> Auth:
    """The credentials in auth.d of ``directories``, lowest precedence first. Raises BadInput."""
    found = read_kinds(directories, "auth.d", kinds={"auth": _auth, "dockerAuth": _docker_auth})
    registries = {
        name: value
        for (kind, name), value in found.items()
        if kind == _REGISTRY and isinstance(value, Basic)
    }
    hosts = {name: value for (kind, name), value in found.items() if kind == _DOMAIN}
    return Auth(hosts, registries)


def _auth(document: Cursor) -> Iterator[tuple[tuple[str, str], Credentials]]:
    kind, credentials = document.get("type"), document.get("credentials")
    readers: dict[str, Callable[[Cursor], Credentials]]
    readers = {"basic": _basic, "oauth": _oauth, "aws": _aws}
    value = readers[kind.one_of(*readers)](credentials)
    for name in _names(document.get("domains")):
        yield (_DOMAIN, name), value


def _docker_auth(document: Cursor) -> Iterator[tuple[tuple[str, str], Credentials]]:
    value = _basic(document.get("credentials"))
    for name in _names(document.get("registries")):
        yield (_REGISTRY, name), value


def _names(place: Cursor) -> Iterator[str]:
    if not place.given or not place.elements():
        raise place.problem("names no host")
    for element in place.elements():
        name = element.line()
        if "/" in name or "@" in name or any(c.isspace() for c in name):
            raise element.problem(f"{shown(name)} is not a host, or host and port")
        yield name.lower()


def _basic(place: Cursor) -> Basic:
    user = _secret(place.get("user"))
    if ":" in user:
        raise place.get("user").problem("holds a colon")
    return Basic(user, _secret(place.get("password")))


def _oauth(place: Cursor) -> OAuth:
    return OAuth(_secret(place.get("token"), ascii_only=True))


def _aws(place: Cursor) -> Aws:
    region = place.get("awsRegion")
    return Aws(
        _secret(place.get("accessKeyID"), ascii_only=True),
        _secret(place.get("secretAccessKey")),
        region.line() if region.given and region.text() else None,
    )


def _secret(place: Cursor, *, ascii_only: bool = False) -> str:
    """Text for a header; what is wrong with it is told without showing it."""
    if not isinstance(place.value, str) or not place.value:
        raise place.problem("missing" if not place.value else "not a string")
    if not place.value.isprintable() or (ascii_only and not place.value.isascii()):
        raise place.problem("holds characters that cannot be sent")
    return place.value
