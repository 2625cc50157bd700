"""OCI and Docker images as appc image manifests (OCI image specification 1.1, docker2aci). Pure.

Everything above the store sees the one model. What appc has no field for becomes annotations
``appc.io/docker/*``, so nothing of an image's configuration is lost.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from rktsd.appc.cursor import Cursor, decode_json
from rktsd.appc.names import sanitise_ac_identifier, sanitise_ac_name
from rktsd.appc.types import App, ImageManifest, MountPoint, NameValue, Port
from rktsd.appc.write import dumps
from rktsd.errors import BadInput, Unsupported
from rktsd.images.digests import Descriptor, read_descriptor
from rktsd.images.platforms import Platform, platform, rank

AC_VERSION = "0.8.11"
MAX_LAYERS = 500
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
INDEXES = (OCI_INDEX, DOCKER_LIST)
MANIFESTS = (OCI_MANIFEST, DOCKER_MANIFEST)
_CONFIGS = (
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
)
_LAYER = re.compile(
    r"application/vnd\.(?:"
    r"oci\.image\.layer\.(?:nondistributable\.)?v1\.tar(?:\+(?P<oci>gzip|zstd))?"
    r"|docker\.image\.rootfs\.(?:foreign\.)?diff\.tar(?:\.(?P<docker>gzip|zstd))?)\Z"
)
_ENVIRONMENT = re.compile(r"[A-Za-z_][A-Za-z_0-9.-]*\Z")


class Image(NamedTuple):
    """An image manifest: where its configuration and layers are, lowest layer first."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str]


class Config(NamedTuple):
    """An image configuration, checked as far as conversion goes; ``diff_ids`` lowest first."""

    place: Cursor
    diff_ids: tuple[str, ...]
    platform: Platform


def image_id(manifest: bytes) -> str:
    """The image ID of an OCI image: half the sha512 of its manifest's bytes, as rkt shortens it."""
    return f"sha512-{hashlib.sha512(manifest).hexdigest()[:64]}"


def media_type_of(data: bytes, source: str, *, said: str | None = None) -> str:
    """The media type of a manifest or index: its own word, or what the server ``said``.

    Raises Unsupported for Docker's schema 1, BadInput for a document that is no manifest.
    """
    place = decode_json(data, source)
    own = place.get("mediaType")
    if place.get("schemaVersion").value == 1:
        raise Unsupported(f"{source}: Docker image manifests of schema 1 are not supported")
    if own.given and own.text() not in INDEXES + MANIFESTS:
        raise own.wrong("the media type of an image")
    if not any(place.get(key).given for key in ("manifests", "config", "layers")):
        raise place.problem("is neither the manifest of an image nor an index")
    guess = OCI_INDEX if place.get("manifests").given else OCI_MANIFEST
    found = own.text() if own.given else said if said in INDEXES + MANIFESTS else guess
    if place.get("manifests").given != (found in INDEXES):
        raise place.problem(f"is not what its media type {found} says")
    return found


class Choice(NamedTuple):
    """What an index has: ``fitting`` descriptors, best first; ``nested`` indexes for nobody in
    particular; ``offered`` are the platforms there are. ``sure`` unless a lone manifest without a
    platform is taken at its configuration's word."""

    fitting: tuple[Descriptor, ...]
    nested: tuple[Descriptor, ...]
    offered: tuple[str, ...]
    sure: bool = True


def choose_platform(data: bytes, source: str, *, wanted: Platform) -> Choice:
    """Which manifests of an index are for ``wanted``. Raises BadInput."""
    ranked: list[tuple[int, int, Descriptor]] = []
    nested: list[Descriptor] = []
    unnamed: list[Descriptor] = []
    offered: list[str] = []
    for number, place in enumerate(decode_json(data, source).get("manifests").elements()):
        kind, at = place.get("mediaType").text(), place.get("platform")
        if kind not in INDEXES + MANIFESTS:
            continue
        if not at.given:
            (nested if kind in INDEXES else unnamed).append(read_descriptor(place))
            continue
        parts = (_text(at.get(key)) for key in ("os", "architecture", "variant"))
        found = platform(*parts)
        offered.append(str(found))
        fits = rank(found, wanted)
        if fits is not None:
            ranked.append((fits, number, read_descriptor(place)))
    if not ranked and not nested and not offered and len(unnamed) == 1:
        return Choice(tuple(unnamed), (), (), sure=False)
    fitting = tuple(descriptor for _, _, descriptor in sorted(ranked))
    return Choice(fitting, tuple(nested), (*offered, *("unknown" for _ in unnamed)))


def read_manifest(data: bytes, source: str) -> Image:
    """An image manifest. Raises BadInput; Unsupported for artifacts that are not images."""
    document = decode_json(data, source)
    config = read_descriptor(document.get("config"))
    if config.media_type not in _CONFIGS:
        raise Unsupported(f"{source}: {config.media_type} is not the configuration of an image")
    places = document.get("layers").elements()
    if len(places) > MAX_LAYERS:
        raise BadInput(f"{source}: {len(places)} layers are more than {MAX_LAYERS}")
    for place in places:
        if not _LAYER.match(place.get("mediaType").text()):
            kind = place.get("mediaType").text()
            raise Unsupported(f"{place.where}: layers of type {kind} are not supported")
    layers = tuple(read_descriptor(place) for place in places)
    return Image(config, layers, _strings(document.get("annotations")))


def compression(layer: Descriptor) -> str:
    """``gzip``, ``zstd`` or nothing: what a layer's media type says."""
    found = _LAYER.match(layer.media_type)
    return (found["oci"] or found["docker"] or "") if found else ""


def read_config(data: bytes, source: str, *, layers: int) -> Config:
    """An image configuration of an image with so many layers. Raises BadInput."""
    place = decode_json(data, source)
    rootfs = place.get("rootfs")
    diff_ids = tuple(each.filled() for each in rootfs.get("diff_ids").elements())
    if rootfs.get("type").value != "layers" or len(diff_ids) != layers:
        raise rootfs.problem(f"{len(diff_ids)} diff_ids for {layers} layers")
    for index, diff_id in enumerate(diff_ids):
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", diff_id):
            raise rootfs.get("diff_ids").elements()[index].wrong("a sha256 digest")
    system = _text(place.get("os")) or "linux"
    arch, variant = _text(place.get("architecture")), _text(place.get("variant"))
    return Config(place, diff_ids, platform(system, arch, variant))


def to_appc(
    config: Config,
    *,
    name: str,
    version: str | None,
    annotations: Mapping[str, str],
    manifest_annotations: Mapping[str, str],
) -> ImageManifest:
    """The appc image manifest that says what ``config`` says.

    ``annotations`` are those about where the image came from (``appc.io/docker/…``), added as they
    are; ``manifest_annotations`` are the OCI manifest's. Raises BadInput for a bad field.
    """
    place = config.place
    settings = place.get("config")
    if not settings.given:
        # It is optional (OCI image configuration).
        settings = settings._replace(value={})
    labels = [
        NameValue(key, value)
        for key, value in (
            ("version", version),
            ("os", config.platform.os),
            ("arch", config.platform.appc_arch),
        )
        if value
    ]
    author, created = _text(place.get("author")), _text(place.get("created"))
    described = {
        "authors": author,
        "created": created if _is_date(created) else "",
        **annotations,
        **_kept(settings, manifest_annotations),
    }
    return ImageManifest(
        ac_version=AC_VERSION,
        name=sanitise_ac_identifier(name),
        labels=tuple(labels),
        app=_app(settings),
        annotations=tuple(NameValue(key, value) for key, value in described.items() if value),
    )


def _app(settings: Cursor) -> App:
    user, group = _user(_text(settings.get("User")))
    environment, _ = _environment(settings.get("Env"))
    directory = _text(settings.get("WorkingDir"))
    return App(
        exec=(*_words(settings.get("Entrypoint")), *_words(settings.get("Cmd"))),
        user=user,
        group=group,
        working_directory=f"/{directory.lstrip('/')}",
        environment=tuple(NameValue(key, value) for key, value in environment.items()),
        mount_points=_mount_points(settings.get("Volumes")),
        ports=_ports(settings.get("ExposedPorts")),
        user_labels=_strings(settings.get("Labels")),
    )


def _kept(settings: Cursor, manifest_annotations: Mapping[str, str]) -> dict[str, str]:
    """What appc has no field for, as JSON where it is more than a word."""
    _, unfit = _environment(settings.get("Env"))
    values: dict[str, object] = {
        "entrypoint": list(_words(settings.get("Entrypoint"))),
        "cmd": list(_words(settings.get("Cmd"))),
        "healthcheck": settings.get("Healthcheck").value,
        "onbuild": settings.get("OnBuild").value,
        "shell": settings.get("Shell").value,
        "env": unfit,
        "annotations": dict(manifest_annotations),
    }
    kept = {f"appc.io/docker/{key}": dumps(value) for key, value in values.items() if value}
    kept["appc.io/docker/stopsignal"] = _text(settings.get("StopSignal"))
    kept["appc.io/docker/user"] = _text(settings.get("User"))
    return kept


def _user(text: str) -> tuple[str, str]:
    """Docker's ``USER[:GROUP]``; without a group the user's name stands for it, as in rkt."""
    user, _, group = text.partition(":")
    user = user or "0"
    return user, group or user


def _environment(place: Cursor) -> tuple[dict[str, str], list[str]]:
    """Variables by name, the last of two wins; and the entries whose names appc does not allow."""
    fit: dict[str, str] = {}
    unfit: list[str] = []
    for entry in place.elements():
        key, _, value = entry.text().partition("=")
        if _ENVIRONMENT.match(key):
            fit[key] = value
        else:
            unfit.append(entry.text())
    return fit, unfit


def _mount_points(place: Cursor) -> tuple[MountPoint, ...]:
    taken: set[str] = set()
    points = []
    for path, _ in sorted(place.members()):
        where = f"/{path.strip('/')}"
        name = _unique(sanitise_ac_name(f"volume-{path}"), taken)
        points.append(MountPoint(name, where))
    return tuple(points)


def _ports(place: Cursor) -> tuple[Port, ...]:
    taken: set[str] = set()
    found = []
    for text, member in place.members():
        number, _, protocol = text.partition("/")
        first, dash, last = number.partition("-")
        if not (first.isdecimal() and (last.isdecimal() or not dash)):
            raise member.problem("is not PORT/PROTOCOL")
        count = int(last) - int(first) + 1 if dash else 1
        if not (0 < int(first) <= int(first) + count - 1 <= 65535 and count > 0):
            raise member.problem("is not a port (1 to 65535)")
        found.append((int(first), protocol.lower() or "tcp", count))
    return tuple(
        Port(_unique(f"{port}-{sanitise_ac_name(protocol)}", taken), protocol, port, count)
        for port, protocol, count in sorted(found)
    )


def _unique(name: str, taken: set[str]) -> str:
    candidate, number = name, 0
    while candidate in taken:
        number += 1
        candidate = f"{name}-{number}"
    taken.add(candidate)
    return candidate


def _text(place: Cursor) -> str:
    return place.text() if place.given else ""


def _words(place: Cursor) -> Sequence[str]:
    return [each.text() for each in place.elements()]


def _strings(place: Cursor) -> dict[str, str]:
    members: Iterable[tuple[str, Cursor]] = place.members()
    return {key: member.text() for key, member in members}


def _is_date(text: str) -> bool:
    from rktsd.appc.names import check_date

    try:
        return bool(check_date(text, "created"))
    except BadInput:
        return False
