"""What the user may write to mean an image (rkt 1.30's grammar, and OCI layouts). Pure."""

import enum
import re
import urllib.parse
from collections.abc import Callable
from typing import NamedTuple

from rktsd.appc.names import ImageName, parse_image_name
from rktsd.appc.types import NameValue
from rktsd.errors import BadInput, Unsupported
from rktsd.images.platforms import Platform, host_platform, platform


class Kind(enum.StrEnum):
    """Where a reference leads."""

    ID = "id"
    FILE = "file"
    URL = "url"
    NAME = "name"
    DOCKER = "docker"
    LAYOUT = "oci"
    OCI_ARCHIVE = "oci-archive"
    DOCKER_ARCHIVE = "docker-archive"


class Reference(NamedTuple):
    """``target`` is the id, path, URL, appc name with labels, docker name, layout or archive.

    ``selector`` chooses within a layout or archive: a tag (of docker-archive a name with it), a
    digest, or None when there is nothing to choose.
    ``text`` is what was written, ``platform`` what the image is to be for, None for this machine.
    """

    kind: Kind
    target: str
    text: str
    selector: str | None = None
    platform: Platform | None = None


class DockerName(NamedTuple):
    """An image in a registry; ``digest`` (``sha256:…``), when given, decides over ``tag``."""

    registry: str
    repository: str
    tag: str | None
    digest: str | None

    @property
    def version(self) -> str:
        """What the registry is asked for."""
        return self.digest or self.tag or DEFAULT_TAG

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.registry}/{self.repository}{tag}{digest}"


DEFAULT_TAG = "latest"
DOCKER_HUB = "registry-1.docker.io"
HUB_NAMES = frozenset({"docker.io", "index.docker.io", DOCKER_HUB})

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", re.DOTALL)
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*\Z")
_REGISTRY = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::\d+)?\Z"
)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z")
_DIGEST = re.compile(r"(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})\Z")
_OTHER_TRANSPORTS = ("docker-daemon", "containers-storage")
_CIMD = re.compile(r"(appc|aci-archive|docker):v=0:(.+)", re.DOTALL)


def parse_reference(text: str, *, is_file: Callable[[str], bool]) -> Reference:
    """Tell what ``text`` means, in rkt's order of tests.

    ``is_file`` says whether a path names an existing regular file. Raises BadInput for what can
    mean nothing, Unsupported for transports that are known and not done.
    """
    if not text or any(ord(char) <= 0x20 or char == "\x7f" for char in text):
        raise BadInput(f"image reference {text!r}: empty, or holds spaces or control characters")
    if text.startswith("sha512-"):
        return _store_id(text)
    if text.startswith("/"):
        return Reference(Kind.FILE, text, text)
    match = _SCHEME.match(text)
    scheme, rest = (match[1].lower(), match[2]) if match else ("", "")
    if scheme in _OTHER_TRANSPORTS:
        raise Unsupported(f"image reference {text!r}: {scheme}: is not supported by this version")
    if scheme in ("file", "http", "https"):
        return _url(text, scheme)
    if scheme == "docker":
        return _docker(text, rest.removeprefix("//"))
    if scheme == "oci":
        return _layout(text, rest)
    if scheme in (Kind.OCI_ARCHIVE, Kind.DOCKER_ARCHIVE):
        return _archive(text, Kind(scheme), rest)
    if scheme == "cimd":
        return _canonical(text, rest)
    if rest.startswith("//"):
        raise _unknown_scheme(text, scheme)
    if is_file(text):
        return Reference(Kind.FILE, text, text)
    if ":" not in text and ("./" in text or text.endswith(".aci")):
        return Reference(Kind.FILE, text, text)
    return Reference(Kind.NAME, text, text)


def check_signature(reference: Reference, signature: str | None) -> None:
    """Raises BadInput for a file with a signature that is given for anything but a local ACI."""
    if signature and reference.kind is not Kind.FILE:
        raise BadInput(f"{reference.text}: --signature is for local files only")


def _unknown_scheme(text: str, scheme: str) -> BadInput:
    from difflib import get_close_matches

    close = get_close_matches(scheme, ("docker", "https", "file"), n=1)
    hint = f"did you mean {close[0]}://?" if close else "known are docker, https, http and file"
    return BadInput(f"image reference {text!r}: unknown scheme {scheme}", hint=hint)


def for_platform(reference: Reference, wanted: Platform) -> Reference:
    """``reference`` to the image for another machine. Raises BadInput where that has no sense."""
    if reference.kind is Kind.NAME:
        name = parse_image_name(reference.target)
        labels = {"os": wanted.os, "arch": wanted.appc_arch}
        for key, value in labels.items():
            if name.label(key) not in (None, value):
                raise BadInput(f"image name {reference.text!r}: {key} is not that of {wanted}")
        own = tuple(label for label in name.labels if label.name not in labels)
        added = tuple(NameValue(key, value) for key, value in labels.items())
        return reference._replace(target=str(ImageName(name.name, (*own, *added))))
    if reference.kind in (Kind.ID, Kind.FILE, Kind.URL):
        raise BadInput(f"image reference {reference.text!r}: leads to one image for one platform")
    if reference.platform not in (None, wanted):
        raise BadInput(f"image reference {reference.text!r}: is not for {wanted}")
    return reference._replace(platform=None if wanted == host_platform() else wanted)


def platform_suffix(wanted: Platform | None) -> str:
    """What tells sources of images in the store apart by their platform."""
    return f",platform={wanted}" if wanted else ""


def _docker(text: str, rest: str) -> Reference:
    """A name, and after commas the labels ``os``, ``arch`` and ``variant``, as with appc names."""
    bare, *pairs = rest.split(",")
    name = parse_docker_name(bare)
    labels = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if key not in ("os", "arch", "variant") or not (equals and value) or key in labels:
            raise BadInput(f"image reference {text!r}: {pair!r} is not os=, arch= or variant=")
        labels[key] = value
    host = host_platform()
    wanted = platform(
        labels.get("os", host.os), labels.get("arch", host.arch), labels.get("variant", "")
    )
    chosen = wanted if labels and wanted != host else None
    return Reference(Kind.DOCKER, str(name), text, platform=chosen)


def _canonical(text: str, rest: str) -> Reference:
    """How rkt wrote down what an image is, in its index and its messages: ``cimd:KIND:v=0:…``."""
    match = _CIMD.fullmatch(rest)
    if match is None:
        kinds = "cimd:appc:v=0:NAME, cimd:aci-archive:v=0:URL or cimd:docker:v=0:NAME"
        raise BadInput(f"image reference {text!r}: not {kinds}")
    kind, what = match.groups()
    if kind == "docker":
        return _docker(text, what)
    if kind == "aci-archive":
        url = urllib.parse.unquote_plus(what)
        scheme = url.partition(":")[0]
        if scheme not in ("file", "http", "https"):
            raise BadInput(f"image reference {text!r}: {url!r} is not a URL of an ACI")
        return _url(url, scheme)._replace(text=text)
    name, question, query = what.partition("?")
    try:
        pairs = urllib.parse.parse_qsl(query, strict_parsing=True) if question else []
    except ValueError as error:
        raise BadInput(f"image reference {text!r}: {error}") from error
    labels = tuple(NameValue(*pair) for pair in pairs)
    return Reference(Kind.NAME, str(ImageName(name, labels)), text)


def parse_docker_name(text: str) -> DockerName:
    """Read ``[REGISTRY/]REPOSITORY[:TAG][@DIGEST]`` as Docker does.

    A first component with a dot, a colon, or that is ``localhost`` is a registry; without one the
    name is the hub's, below ``library/`` when it is a single word. Raises BadInput.
    """
    where = f"docker image name {text!r}"
    rest, at, digest = text.partition("@")
    if at and not _DIGEST.match(digest):
        raise BadInput(f"{where}: {digest!r} is not a digest like sha256:<64 hex digits>")
    first, slash, below = rest.partition("/")
    if slash and (first == "localhost" or "." in first or ":" in first):
        registry, rest = first, below
    else:
        registry = DOCKER_HUB
    repository, colon, tag = rest.partition(":")
    if colon and not _TAG.match(tag):
        raise BadInput(f"{where}: {tag!r} is not a tag")
    if not _REGISTRY.match(registry):
        raise BadInput(f"{where}: {registry!r} is not the name of a registry")
    if registry in HUB_NAMES:
        registry = DOCKER_HUB
        repository = repository if "/" in repository else f"library/{repository}"
    if not _REPOSITORY.match(repository) or len(repository) > 255:
        raise BadInput(f"{where}: {repository!r} is not the name of a repository")
    return DockerName(
        registry, repository, tag or (None if digest else DEFAULT_TAG), digest or None
    )


def is_digest(text: str) -> bool:
    """Whether ``text`` is a digest of the OCI image specification that we can compute."""
    return _DIGEST.match(text) is not None


def is_registry(text: str) -> bool:
    """Whether ``text`` is HOST or HOST:PORT."""
    return _REGISTRY.match(text) is not None


def _store_id(text: str) -> Reference:
    if not re.fullmatch(r"sha512-[0-9a-f]*", text):
        raise BadInput(f"image id {text!r}: not sha512- and lower-case hex digits")
    if len(text) < len("sha512-") + 2:
        raise BadInput(f"image id {text!r}: image ID too short")
    return Reference(Kind.ID, text, text)


def _url(text: str, scheme: str) -> Reference:
    try:
        parts = urllib.parse.urlsplit(text)
        valid = parts.port is None or parts.port > 0
    except ValueError as error:
        raise BadInput(f"image URL {text!r}: {error}") from error
    if not parts.path.endswith(".aci"):
        raise BadInput(f"image URL {text!r}: does not end in .aci")
    if scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise BadInput(f"image URL {text!r}: names a host; write file:///PATH")
        return Reference(Kind.FILE, urllib.parse.unquote(parts.path), text)
    if not parts.hostname or not valid:
        raise BadInput(f"image URL {text!r}: names no host")
    if "@" in parts.netloc:
        raise BadInput(f"image URL of {parts.hostname}: credentials in a URL are not accepted")
    return Reference(Kind.URL, text, text)


def _layout(text: str, rest: str) -> Reference:
    directory, at, digest = rest.partition("@")
    selector: str | None = None
    if at:
        if not is_digest(digest):
            raise BadInput(f"image reference {text!r}: {digest!r} is not a digest")
        selector = digest
    elif ":" in directory.rpartition("/")[2]:
        directory, _, selector = directory.rpartition(":")
    if not directory.strip("/") or selector == "":
        raise BadInput(f"image reference {text!r}: write oci:DIRECTORY[:TAG]")
    return Reference(Kind.LAYOUT, directory, text, selector)


def _archive(text: str, kind: Kind, rest: str) -> Reference:
    """``PATH[:SELECTOR]`` or ``PATH@DIGEST``; a name after the colon may have colons itself."""
    path, at, digest = rest.partition("@")
    selector: str | None = None
    if at:
        if not is_digest(digest):
            raise BadInput(f"image reference {text!r}: {digest!r} is not a digest")
        selector = digest
    else:
        path, colon, selector = path.partition(":")
        selector = selector if colon else None
    if not path.strip("/") or selector == "":
        what = "TAG" if kind is Kind.OCI_ARCHIVE else "NAME:TAG"
        raise BadInput(f"image reference {text!r}: write {kind.value}:PATH[:{what}]")
    if kind is Kind.DOCKER_ARCHIVE and selector and not at:
        selector = str(parse_docker_name(selector))
    return Reference(kind, path, text, selector)
