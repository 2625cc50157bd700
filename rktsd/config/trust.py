"""``trust.toml``: what OCI images have to show before they are believed (rktsd-trust.toml(5))."""

import enum
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rktsd.appc.cursor import Cursor, shown
from rktsd.config.auth import DOCKER_HUB
from rktsd.config.kinds import only, toml_files

NAME = "trust.toml"
HUB = "docker.io"
DOCKER = "docker"
FILES = ("oci", "oci-archive", "docker-archive")
KEYS = ("require", "keys", "lookaside", "signed-as", "any-tag", "nameless")
_HOST = re.compile(r"(?:\[[0-9a-f:.]+\]|[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)(?::[0-9]+)?\Z")
_WILDCARD = re.compile(r"\*\.[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?\Z")
_BELOW = re.compile(
    r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"
    r"(?P<version>:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}|@sha(?:256|512):[0-9a-f]{64,128})?\Z"
)
_LOOKASIDE = re.compile(r"(?:https?://[^/?#@\s]+(?:/[^?#\s]*)?|file:///[^?#\s]*)\Z")


class Require(enum.StrEnum):
    """What an image has to show."""

    NOTHING = "insecure-accept"
    DIGEST = "digest"
    GPG = "gpg"
    SIGSTORE = "sigstore"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Rule:
    """One table: ``where`` names it in messages, ``scope`` is the prefix that it is for.

    ``keys`` are paths of key files; none with GPG means the keys of ``rkt trust``. ``lookaside`` is
    where GPG signatures are. ``signed_as`` stands in signatures in place of ``scope``; with
    ``any_tag`` a signature of another tag of the repository will do, with ``nameless`` one without
    any name.
    """

    require: Require
    where: str
    scope: str = ""
    keys: tuple[str, ...] = ()
    lookaside: str | None = None
    signed_as: str | None = None
    any_tag: bool = False
    nameless: bool = False


# What holds where no file says otherwise.
BUILT_IN = Rule(Require.DIGEST, "the built-in policy")


@dataclass(frozen=True, slots=True)
class Policy:
    """``rules`` by transport (``docker``, or one of FILES) and scope."""

    default: Rule
    rules: Mapping[tuple[str, str], Rule]


def read_policy(directories: Sequence[str]) -> Policy:
    """What trust.toml in ``directories`` says; a later one overrides table by table.

    Raises BadInput that names file, table and value; StoreError for a file that cannot be read.
    """
    default, rules = BUILT_IN, dict[tuple[str, str], Rule]()
    for document in toml_files(directories, NAME):
        for name, table in document.members():
            if name == "default":
                default = _rule(table, "")
            elif name == DOCKER:
                for scope, place in _scopes(table, docker_scope):
                    rules[name, scope] = _rule(place, scope)
            elif name in FILES:
                for scope, place in _scopes(table, _path):
                    rules[name, scope] = _file_rule(place, scope)
            else:
                known = ", ".join(("default", DOCKER, *FILES))
                raise table.problem("unknown table", hint=f"there are {known}")
    return Policy(default, rules)


def canonical_registry(text: str) -> str:
    """One name for one registry: the hub's many names, the port that https has anyway, case."""
    name = text.lower().removesuffix(":443")
    return HUB if name in DOCKER_HUB else name


def docker_scope(text: str, place: Cursor) -> str:
    """A registry, what is below it, or ``*.DOMAIN``, as it is compared. Raises BadInput."""
    if text.startswith("*"):
        if not _WILDCARD.match(text.lower()):
            raise place.problem(f"{shown(text)} is not *.DOMAIN")
        return text.lower()
    registry, slash, below = text.partition("/")
    if not _HOST.match(registry.lower()) or not _is_registry(registry):
        hint = f"of Docker Hub's images write {HUB}/library/NAME"
        raise place.problem(f"{shown(text)} does not begin with a registry", hint=hint)
    if slash and not _BELOW.match(below):
        raise place.problem(f"{shown(text)} is not REGISTRY, or REGISTRY/REPOSITORY[:TAG|@DIGEST]")
    return f"{canonical_registry(registry)}{slash}{below}"


def _is_registry(name: str) -> bool:
    """What Docker takes for one: other first components are names on its hub."""
    return "." in name or ":" in name or name == "localhost"


def _path(text: str, place: Cursor) -> str:
    parts = text.split("/")[1:]
    if not text.startswith("/") or (text != "/" and ("" in parts or {".", ".."} & set(parts))):
        raise place.problem(f"{shown(text)} is not an absolute path, without .. and / at its end")
    return text


def _scopes(table: Cursor, read: Callable[[str, Cursor], str]) -> list[tuple[str, Cursor]]:
    found: dict[str, Cursor] = {}
    for text, place in table.members():
        scope = read(text, place)
        if scope in found:
            raise place.problem(f"means the same as {found[scope].path}")
        found[scope] = place
    return list(found.items())


def _rule(table: Cursor, scope: str) -> Rule:
    only(table, KEYS)
    require = Require(table.get("require").one_of(*Require))
    narrow = {"lookaside": (Require.GPG,), "nameless": (Require.SIGSTORE,)}
    for key in KEYS[1:]:
        if table.get(key).given and require not in narrow.get(key, (Require.GPG, Require.SIGSTORE)):
            raise table.get(key).problem(f'has no meaning with require = "{require}"')
    return Rule(
        require,
        table.where,
        scope,
        _keys(table.get("keys"), require),
        _lookaside(table.get("lookaside")) if require is Require.GPG else None,
        _signed_as(table.get("signed-as"), scope),
        table.get("any-tag").boolean(),
        table.get("nameless").boolean(),
    )


def _file_rule(table: Cursor, scope: str) -> Rule:
    rule = _rule(table, scope)
    if rule.require in (Require.GPG, Require.SIGSTORE):
        raise table.get("require").problem(
            f'"{rule.require}" is for images in registries: '
            f"signatures are not looked for in layouts and archives"
        )
    return rule


def _keys(place: Cursor, require: Require) -> tuple[str, ...]:
    paths = tuple(element.absolute() for element in place.elements())
    if not paths and (place.given or require is Require.SIGSTORE):
        raise place.problem("names no file")
    return paths


def _lookaside(place: Cursor) -> str:
    text = place.line()
    if not _LOOKASIDE.match(text):
        raise place.wrong("an address like https://HOST/PATH or file:///PATH")
    return text.rstrip("/")


def _signed_as(place: Cursor, scope: str) -> str | None:
    if not place.given:
        return None
    if not scope or scope.startswith("*"):
        raise place.problem("there is no prefix here that it could take the place of")
    found = docker_scope(place.line(), place)
    version = _BELOW.match(found.partition("/")[2])
    if (version and version["version"]) or "@" in scope or ":" in scope.partition("/")[2]:
        raise place.problem("is for prefixes without tag and digest")
    return found
