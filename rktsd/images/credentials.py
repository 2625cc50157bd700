"""Who we are for a registry: from rkt's configuration, and from the files of podman and Docker.

The first of these that knows the registry, or the longest beginning of the repository, is taken:

- ``$REGISTRY_AUTH_FILE``, which then stands for all files of containers and Docker below
- ``auth.json`` in the configuration directories, highest precedence first (``rkt login``)
- rkt's ``dockerAuth`` in ``auth.d``
- ``$XDG_RUNTIME_DIR/containers/auth.json`` (root: ``/run/containers/0/auth.json``),
  ``~/.config/containers/auth.json``, ``~/.docker/config.json``

Formats: containers-auth.json(5) and Docker's config.json, of which auths, credHelpers and
credsStore are read.
"""

import base64
import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from rktsd.appc.cursor import Cursor, decode_json
from rktsd.config.auth import read_auth
from rktsd.errors import CommandFailed, FetchError, NotFound
from rktsd.host.files import read_limited
from rktsd.host.process import run
from rktsd.images.references import HUB_NAMES
from rktsd.paths import Paths

FILE_LIMIT = 1 << 20
HELPER_TIME = 30.0
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_HUB_ADDRESS = "https://index.docker.io/v1/"
# What a helper says as user name when its secret is an identity token (docker-credential-helpers).
_TOKEN_USER = "<token>"


class Credentials(NamedTuple):
    """``source`` says where they are from. With ``identity_token`` there is no password; a
    ``bearer`` is shown to the registry as it is."""

    source: str
    user: str = ""
    password: str = ""
    identity_token: str | None = None
    bearer: str | None = None

    @property
    def basic(self) -> str:
        """The header ``Authorization`` of RFC 7617."""
        pair = f"{self.user}:{self.password}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"


def find_credentials(
    registry: str,
    repository: str,
    *,
    paths: Paths,
    environment: Mapping[str, str],
    personal: bool = True,
) -> Credentials | None:
    """The credentials for ``repository`` of ``registry``, None when there are none.

    Unless ``personal``, only rkt's own configuration is looked at, which is everybody's.

    Raises BadInput for a file that cannot be understood, FetchError when a helper fails.
    """
    scopes = _scopes(registry, repository)
    chosen = environment.get("REGISTRY_AUTH_FILE")
    if chosen and personal:
        return from_file(chosen, scopes, environment=environment)
    for directory in reversed(paths.config_dirs()):
        found = from_file(f"{directory}/auth.json", scopes, environment=environment)
        if found:
            return found
    found = _from_rkt(registry, paths)
    if found:
        return found
    for path in _files_of_others(environment) if personal else ():
        found = from_file(path, scopes, environment=environment)
        if found:
            return found
    return None


def login_file(paths: Paths, environment: Mapping[str, str]) -> str:
    """Where ``rkt login`` writes: it survives a reboot, and the units of pods find it."""
    chosen = environment.get("REGISTRY_AUTH_FILE")
    return chosen or f"{paths.user_config or paths.local_config}/auth.json"


def from_file(
    path: str, scopes: tuple[str, ...], *, environment: Mapping[str, str]
) -> Credentials | None:
    """What ``path`` (auth.json or config.json) has for the first of ``scopes`` that it knows."""
    document = read_file(path)
    if document is None:
        return None
    host = scopes[-1]
    names = [host, *(HUB_NAMES if host == "docker.io" else ())]
    helpers = document.get("credHelpers") if document.get("credHelpers").given else None
    stores = [helpers.get(name) for name in names] if helpers else []
    stores = [*(each for each in stores if each.given), document.get("credsStore")]
    for store in stores:
        if store.given:
            found = _from_helper(store, host, environment=environment)
            if found:
                return found
    auths = {_scope_of(name): place for name, place in document.get("auths").members()}
    for scope in scopes:
        found = _from_auth(auths[scope]) if scope in auths else None
        if found:
            return found
    return None


def read_file(path: str) -> Cursor | None:
    """The document in ``path``, None when there is no such file. Raises BadInput, StoreError."""
    try:
        data = read_limited(path, FILE_LIMIT)
    except NotFound:
        return None
    document = decode_json(data, path)
    if not isinstance(document.value, dict):
        raise document.wrong("an object")
    return document


def remember(path: str, registry: str, *, user: str, password: str) -> None:
    """Write credentials for ``registry`` into ``path`` (mode 0600). Raises BadInput, StoreError."""
    pair = base64.b64encode(f"{user}:{password}".encode()).decode()
    _rewrite(path, registry, {"auth": pair})


def forget(path: str, registry: str) -> bool:
    """Remove what ``path`` has for ``registry``; whether there was something."""
    return _rewrite(path, registry, None)


def _rewrite(path: str, registry: str, entry: dict[str, str] | None) -> bool:
    from rktsd.host.files import locked, write_atomic

    directory = os.path.dirname(os.path.abspath(path))
    if entry is not None:
        os.makedirs(directory, mode=0o755, exist_ok=True)
    elif not os.path.exists(path):
        return False
    with locked(directory):
        document = read_file(path)
        content = dict(document.value) if document and isinstance(document.value, dict) else {}
        auths = dict(document.get("auths").members()) if document else {}
        kept = {name: at.value for name, at in auths.items() if _scope_of(name) != registry}
        known = len(kept) != len(auths)
        if entry is None and not known:
            return False
        if entry is not None:
            kept[registry] = entry
        content["auths"] = kept
        write_atomic(path, json.dumps(content, indent=2) + "\n", mode=0o600)
        return known


def _scopes(registry: str, repository: str) -> tuple[str, ...]:
    """Keys to look for, most specific first: the repository, what is above it, the registry."""
    host = "docker.io" if registry in HUB_NAMES else registry
    parts = repository.split("/") if repository else []
    return tuple("/".join([host, *parts[:count]]) for count in range(len(parts), -1, -1))


def _scope_of(name: str) -> str:
    """A key of ``auths`` as one of ``_scopes``: Docker once wrote addresses."""
    bare = re.sub(r"https?://", "", name, count=1)
    if bare != name:
        # Of an address only the host counts: "https://index.docker.io/v1/".
        bare = bare.partition("/")[0]
    host, slash, rest = bare.rstrip("/").partition("/")
    return f"{'docker.io' if host in HUB_NAMES else host}{slash}{rest}"


def _from_auth(place: Cursor) -> Credentials | None:
    token, bearer = _word(place, "identitytoken"), _word(place, "registrytoken")
    user, password = _word(place, "username"), _word(place, "password")
    encoded = place.get("auth")
    if encoded.given and encoded.text():
        try:
            pair = base64.b64decode(encoded.text(), validate=True).decode()
        except ValueError:
            # Not encoded.wrong(): a secret must not get into messages.
            raise encoded.problem("not base64 of USER:PASSWORD") from None
        user, colon, password = pair.partition(":")
        if not colon:
            raise encoded.problem("not base64 of USER:PASSWORD")
        password = password.rstrip("\0")
    if not (user or token or bearer):
        return None
    return Credentials(place.source, user, password, token or None, bearer or None)


def _word(place: Cursor, name: str) -> str:
    found = place.get(name)
    if found.given and not isinstance(found.value, str):
        raise found.problem("not a string")
    return found.text() if found.given else ""


def _from_helper(place: Cursor, host: str, *, environment: Mapping[str, str]) -> Credentials | None:
    """Ask ``docker-credential-NAME get``, as its users do: the address comes on standard input."""
    name = place.text()
    if not _HELPER.match(name):
        raise place.wrong("the name of a credential helper")
    program = f"docker-credential-{name}"
    addresses = [_HUB_ADDRESS, host] if host == "docker.io" else [host, f"https://{host}"]
    for address in addresses:
        try:
            done = run(
                [program, "get"],
                input=address.encode(),
                environment=environment,
                timeout=HELPER_TIME,
                check=False,
            )
        except CommandFailed as error:
            raise FetchError(f"{place.where}: {error}") from error
        if done.returncode == 0:
            answer = decode_json(done.stdout, program)
            user, secret = answer.get("Username"), answer.get("Secret")
            if not isinstance(user.value, str) or not isinstance(secret.value, str):
                raise FetchError(f"{program}: does not answer with a user name and a secret")
            if not secret.value:
                continue
            if user.value == _TOKEN_USER:
                return Credentials(program, identity_token=secret.value)
            return Credentials(program, user.value, secret.value)
        said = (done.stdout or done.stderr).decode(errors="replace").strip()
        if "credentials not found" not in said:
            reason = " ".join(said.split())[:200] or f"exit status {done.returncode}"
            raise FetchError(f"{program}: {reason}")
    return None


def _from_rkt(registry: str, paths: Paths) -> Credentials | None:
    found = read_auth(paths.config_dirs()).for_registry(registry)
    return Credentials("auth.d", found.user, found.password) if found else None


def _files_of_others(environment: Mapping[str, str]) -> Iterator[str]:
    runtime = environment.get("XDG_RUNTIME_DIR")
    yield f"/run/containers/{os.geteuid()}/auth.json"
    if runtime:
        yield f"{runtime}/containers/auth.json"
    # A unit has no $HOME; what root logged in to is meant all the same.
    home = environment.get("HOME") or ("/root" if os.geteuid() == 0 else "")
    config = environment.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else "")
    if config:
        yield f"{config}/containers/auth.json"
    docker = environment.get("DOCKER_CONFIG") or (f"{home}/.docker" if home else "")
    if docker:
        yield f"{docker}/config.json"
