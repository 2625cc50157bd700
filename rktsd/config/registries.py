"""``registries.toml``: where images of registries are had (rktsd-registries.toml(5)).

Keys and meanings are those of containers-registries.conf(5), as far as they are here.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rktsd.appc.cursor import Cursor, shown
from rktsd.config.kinds import only, toml_files

NAME = "registries.toml"
ALL, DIGEST_ONLY, TAG_ONLY = "all", "digest-only", "tag-only"
REGISTRY_KEYS = ("prefix", "location", "insecure", "blocked", "mirror")
MIRROR_KEYS = ("location", "insecure", "pull-from-mirror")
_HUB = "registry-1.docker.io"
_HUB_NAMES = ("docker.io", "index.docker.io")


class Mirror(NamedTuple):
    """A place with copies; ``pull`` says what it is asked for: all, digest-only, tag-only."""

    location: str
    insecure: bool = False
    pull: str = ALL


class RegistryEntry(NamedTuple):
    """What holds for images below ``prefix``; ``source`` is the file that says so."""

    prefix: str
    location: str
    insecure: bool = False
    blocked: bool = False
    mirrors: tuple[Mirror, ...] = ()
    source: str = ""

    def at(self, location: str, image: str) -> str:
        """Where ``image`` (HOST/REPOSITORY) is at ``location``, which stands for the prefix."""
        if self.prefix.startswith("*."):
            host, slash, rest = image.partition("/")
            return f"{location or host}{slash}{rest}"
        return f"{location}{image[len(self.prefix) :]}"


Registries = Mapping[str, RegistryEntry]
"""Entries by prefix."""


def find(entries: Registries, image: str) -> RegistryEntry | None:
    """The entry with the longest prefix of ``image`` (HOST[:PORT]/REPOSITORY)."""
    parts = image.split("/")
    prefixes = ["/".join(parts[:count]) for count in range(len(parts), 0, -1)]
    labels = parts[0].split(".")
    prefixes += [f"*.{'.'.join(labels[count:])}" for count in range(1, len(labels))]
    return next((entries[each] for each in prefixes if each in entries), None)


def read_registries(directories: Sequence[str]) -> Registries:
    """What registries.toml says in ``directories``; an entry in a later one replaces an earlier one
    for the same prefix.

    Raises BadInput that names file, key and value; StoreError for a file that cannot be read.
    """
    found: dict[str, RegistryEntry] = {}
    for document in toml_files(directories, NAME):
        found.update(_read(document))
    return found


def _read(document: Cursor) -> dict[str, RegistryEntry]:
    only(document, ("registry",))
    found: dict[str, RegistryEntry] = {}
    for place in document.get("registry").elements():
        only(place, REGISTRY_KEYS)
        entry = _registry(place)
        if entry.prefix in found:
            raise place.problem(f"the prefix {shown(entry.prefix)} is given twice")
        found[entry.prefix] = entry
    return found


def _registry(place: Cursor) -> RegistryEntry:
    prefix, location = place.get("prefix"), place.get("location")
    if not prefix.given and not location.given:
        raise location.wrong("HOST[:PORT][/PATH]")
    pattern = prefix.given and prefix.line().startswith("*.")
    there = _place(location) if location.given else "" if pattern else _place(prefix)
    return RegistryEntry(
        _pattern(prefix) if pattern else _place(prefix) if prefix.given else there,
        there,
        place.get("insecure").boolean(),
        place.get("blocked").boolean(),
        tuple(map(_mirror, place.get("mirror").elements())),
        place.source,
    )


def _mirror(place: Cursor) -> Mirror:
    only(place, MIRROR_KEYS)
    pull = place.get("pull-from-mirror")
    return Mirror(
        _place(place.get("location")),
        place.get("insecure").boolean(),
        pull.one_of(ALL, DIGEST_ONLY, TAG_ONLY) if pull.given else ALL,
    )


def _pattern(place: Cursor) -> str:
    """``*.HOST``: all hosts below one."""
    text = place.line()
    if not text[2:] or any(c in "*/@" or c.isspace() for c in text[2:]):
        raise place.wrong("*.HOST or HOST[:PORT][/PATH]")
    return text


def _place(place: Cursor) -> str:
    """The hub has one name here, so that no other one gets around an entry."""
    text = place.line().rstrip("/")
    host, slash, rest = text.partition("/")
    if not host or "://" in text or any(c in "*@" or c.isspace() for c in text):
        raise place.wrong("HOST[:PORT][/PATH]")
    return f"{_HUB if host in _HUB_NAMES else host}{slash}{rest}"
