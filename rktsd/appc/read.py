"""Image and pod manifests from JSON, every field checked (appc spec 0.8.11, "Image Manifest
Schema" and "Pod Manifest Schema").

Errors are BadInput ``SOURCE: apps[0].app.ports[1].port: 70000 is not a port (1 to 65535)``.
Unknown fields are ignored, as the specification says; ``null``, ``[]`` and no list are the same.
The parts that other readers need, pod files among them, take a Cursor.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

from rktsd.appc import isolators, names
from rktsd.appc.cursor import Cursor, decode_json, shown, unique
from rktsd.appc.types import (
    App,
    Dependency,
    EventHandler,
    ImageManifest,
    Isolator,
    Mount,
    MountPoint,
    NameValue,
    PodManifest,
    Port,
    PublishedPort,
    RuntimeApp,
    RuntimeImage,
    Volume,
)

Part = TypeVar("Part")

MAX_ID = (1 << 32) - 2
"""The largest user or group ID; 2**32-1 means "unchanged" to the kernel."""


def image_manifest(data: bytes, source: str) -> ImageManifest:
    """The image manifest in ``data``; ``source`` begins every error. Raises BadInput."""
    return image_manifest_at(decode_json(data, source))


def pod_manifest(data: bytes, source: str, *, need_ids: bool = True) -> PodManifest:
    """The pod manifest in ``data``; ``source`` begins every error. Raises BadInput.

    ``need_ids=False`` takes an app whose image has a name and no ID: that is how a pod file asks
    for an image which is yet to be found.
    """
    return pod_manifest_at(decode_json(data, source), need_ids=need_ids)


def image_manifest_at(place: Cursor) -> ImageManifest:
    """As ``image_manifest``, from a decoded document."""
    return ImageManifest(
        ac_version=_head(place, "ImageManifest"),
        name=place.get("name").checked(names.check_ac_identifier),
        labels=labels(place.get("labels")),
        app=app(place.get("app")) if place.get("app").given else None,
        dependencies=_each(place.get("dependencies"), _dependency),
        path_whitelist=_each(place.get("pathWhitelist"), Cursor.absolute),
        annotations=annotations(place.get("annotations")),
    )


def pod_manifest_at(place: Cursor, *, need_ids: bool = True) -> PodManifest:
    """As ``pod_manifest``, from a decoded document."""
    version = _head(place, "PodManifest")
    volumes = _each(place.get("volumes"), volume)
    unique_names(place.get("volumes"), (each.name for each in volumes))
    apps = tuple(_runtime_app(each, need_ids=need_ids) for each in place.get("apps").elements())
    unique_names(place.get("apps"), (each.name for each in apps))
    known = {each.name for each in volumes}
    for app_place, each in zip(place.get("apps").elements(), apps, strict=True):
        check_mounts(app_place.get("mounts"), each.mounts, known)
    ports = _each(place.get("ports"), _published_port)
    _check_published(place.get("ports"), ports, apps)
    return PodManifest(
        ac_version=version,
        apps=apps,
        volumes=volumes,
        isolators=_each(place.get("isolators"), _pod_isolator),
        annotations=annotations(place.get("annotations")),
        ports=ports,
        user_annotations=strings(place.get("userAnnotations")),
        user_labels=strings(place.get("userLabels")),
    )


def _head(place: Cursor, kind: str) -> str:
    """acKind checked, acVersion returned."""
    found = place.get("acKind")
    if found.value != kind:
        raise found.wrong(kind)
    return place.get("acVersion").checked(names.check_version)


def _each(place: Cursor, read: Callable[[Cursor], Part]) -> tuple[Part, ...]:
    return tuple(read(element) for element in place.elements())


def unique_names(place: Cursor, found: Iterable[str]) -> None:
    """Refuse two elements of the list at ``place`` that have the same name."""
    unique([(place.elements()[i].get("name"), name) for i, name in enumerate(found)])


def strings(place: Cursor) -> dict[str, str]:
    """An object whose values are strings; empty when absent."""
    return {name: member.text() for name, member in place.members()}


def _text_or_none(place: Cursor, check: Callable[[Cursor], str]) -> str | None:
    """Optional strings: the reference implementation writes some absent ones as ``""``."""
    return check(place) if place.value not in (None, "") else None


def labels(place: Cursor) -> tuple[NameValue, ...]:
    """Labels of an image or of a wish for one. They become parts of lines: in lists, in units."""
    return names.check_labels(_each(place, _label), place.where)


def _label(place: Cursor) -> NameValue:
    value = place.get("value")
    if value.text():
        value.line()
    return _name_value(place)


def _name_value(place: Cursor) -> NameValue:
    name = place.get("name").checked(names.check_ac_identifier)
    return NameValue(name, place.get("value").text())


def annotations(place: Cursor) -> tuple[NameValue, ...]:
    """Annotations: unique, and those that appc gives a meaning have a fitting value."""
    found = _each(place, _name_value)
    unique_names(place, (each.name for each in found))
    for element, each in zip(place.elements(), found, strict=True):
        check_annotation(each.name, element.get("value"))
    return found


def check_annotation(name: str, value: Cursor) -> None:
    """Refuse a value that does not fit the meaning appc gives to the annotation ``name``."""
    if name == "created":
        value.checked(names.check_date)
    elif name in ("homepage", "documentation"):
        value.checked(names.check_url)


def _image_id(place: Cursor) -> str:
    return place.checked(names.check_image_id)


def _dependency(place: Cursor) -> Dependency:
    size = place.get("size")
    return Dependency(
        image_name=place.get("imageName").checked(names.check_ac_identifier),
        image_id=_text_or_none(place.get("imageID"), _image_id),
        labels=labels(place.get("labels")),
        size=size.integer(0, (1 << 63) - 1, what="a size") if size.given else None,
    )


def app(place: Cursor) -> App:
    """The object ``app`` of an image manifest or of an app in a pod."""
    # The specification's own example spells the key differently from its table.
    gids = place.get("supplementaryGIDs")
    gids = gids if gids.given else place.get("supplementaryGids")
    handlers = _each(place.get("eventHandlers"), _event_handler)
    unique_names(place.get("eventHandlers"), (each.name for each in handlers))
    return App(
        exec=command(place.get("exec")),
        user=place.get("user").filled(),
        group=place.get("group").filled(),
        supplementary_gids=tuple(each.integer(0, MAX_ID, what="a GID") for each in gids.elements()),
        event_handlers=handlers,
        working_directory=_text_or_none(place.get("workingDirectory"), Cursor.absolute),
        environment=environment(place.get("environment")),
        isolators=app_isolators(place.get("isolators")),
        mount_points=_each(place.get("mountPoints"), mount_point),
        ports=_each(place.get("ports"), port),
        user_annotations=strings(place.get("userAnnotations")),
        user_labels=strings(place.get("userLabels")),
    )


def command(place: Cursor) -> tuple[str, ...]:
    """A program and its arguments; empty when absent."""
    words = _each(place, Cursor.text)
    if words and not words[0]:
        raise place.elements()[0].problem("empty")
    return words


def _event_handler(place: Cursor) -> EventHandler:
    name = place.get("name").one_of("pre-start", "post-stop")
    words = command(place.get("exec"))
    if not words:
        raise place.get("exec").problem("missing")
    return EventHandler(name, words)


def environment(place: Cursor) -> tuple[NameValue, ...]:
    """Environment variables, unique by name."""
    found = tuple(
        NameValue(each.get("name").checked(names.check_environment_name), each.get("value").text())
        for each in place.elements()
    )
    unique_names(place, (each.name for each in found))
    return found


def _isolator(place: Cursor) -> Isolator:
    name = place.get("name").checked(names.check_ac_identifier)
    if not isolators.known(name):
        raise place.get("name").problem(f"unknown isolator {shown(name)}")
    return isolators.checked(name, place.get("value"))


def app_isolators(place: Cursor) -> tuple[Isolator, ...]:
    """Isolators of an app; an unknown one is refused, as the reference implementation does."""
    found = _each(place, _isolator)
    isolators.check_alternatives(found, place.where)
    return found


def _pod_isolator(place: Cursor) -> Isolator:
    """Unknown ones are kept: whoever applies them finds them with ``isolators.unsupported``."""
    name = place.get("name").checked(names.check_ac_identifier)
    return _isolator(place) if isolators.known(name) else Isolator(name, place.get("value").value)


def mount_point(place: Cursor) -> MountPoint:
    """A mount point of an app."""
    return MountPoint(
        name=place.get("name").checked(names.check_ac_name),
        path=place.get("path").absolute(),
        read_only=place.get("readOnly").boolean(),
    )


def port_number(place: Cursor) -> int:
    """A port of 1 to 65535."""
    return place.integer(1, 65535, what="a port")


def port(place: Cursor) -> Port:
    """A port of an app; ``count`` 0 and absent mean 1, as in the reference implementation."""
    number, count = port_number(place.get("port")), 1
    if place.get("count").value not in (None, 0):
        count = place.get("count").integer(1, 65535, what="a number of ports")
    if number + count > 65536:
        raise place.get("count").problem(f"{count} ports from {number} end beyond 65535")
    return Port(
        name=place.get("name").checked(names.check_ac_name),
        protocol=place.get("protocol").filled(),
        port=number,
        count=count,
        socket_activated=place.get("socketActivated").boolean(),
    )


def volume(place: Cursor, *, read_only_key: str = "readOnly") -> Volume:
    """A volume of a pod. What is absent stays None: for ``empty`` that means mode 0755, uid and
    gid 0."""
    kind = place.get("kind").one_of("host", "empty")
    for name in ("mode", "uid", "gid") if kind == "host" else ("source",):
        if place.get(name).value not in (None, ""):
            raise place.get(name).problem(f"not for a volume of kind {kind}")
    read_only, recursive = place.get(read_only_key), place.get("recursive")
    mode, uid, gid = place.get("mode"), place.get("uid"), place.get("gid")
    return Volume(
        name=place.get("name").checked(names.check_ac_name),
        kind=kind,
        source=place.get("source").absolute() if kind == "host" else None,
        read_only=read_only.boolean() if read_only.given else None,
        recursive=recursive.boolean() if recursive.given else None,
        mode=_mode(mode) if mode.value not in (None, "") else None,
        uid=uid.integer(0, MAX_ID, what="a UID") if uid.given else None,
        gid=gid.integer(0, MAX_ID, what="a GID") if gid.given else None,
    )


def _mode(place: Cursor) -> int:
    text = place.text()
    if len(text) > 5 or not text or text.strip("01234567"):
        raise place.wrong("an octal mode")
    mode = int(text, 8)
    if mode > 0o7777:
        raise place.wrong("an octal mode")
    return mode


def mount(place: Cursor) -> Mount:
    """An explicit mount of an app."""
    inline = place.get("appVolume")
    return Mount(
        volume=place.get("volume").checked(names.check_ac_name),
        path=place.get("path").absolute(),
        app_volume=volume(inline) if inline.given else None,
    )


def check_mounts(place: Cursor, mounts: Iterable[Mount], volumes: Iterable[str]) -> None:
    """Refuse a mount of the list at ``place`` whose volume is neither in ``volumes`` nor inline."""
    for element, each in zip(place.elements(), mounts, strict=True):
        if each.app_volume is None and each.volume not in volumes:
            raise element.get("volume").problem(f"the pod has no volume {shown(each.volume)}")


def _runtime_app(place: Cursor, *, need_ids: bool) -> RuntimeApp:
    return RuntimeApp(
        name=place.get("name").checked(names.check_ac_name),
        image=_runtime_image(place.get("image"), need_ids=need_ids),
        app=app(place.get("app")) if place.get("app").given else None,
        read_only_root_fs=place.get("readOnlyRootFS").boolean(),
        mounts=_each(place.get("mounts"), mount),
        annotations=annotations(place.get("annotations")),
    )


def _runtime_image(place: Cursor, *, need_ids: bool) -> RuntimeImage:
    def identifier(found: Cursor) -> str:
        return found.checked(names.check_ac_identifier)

    name = _text_or_none(place.get("name"), identifier)
    image_id = _text_or_none(place.get("id"), _image_id)
    if image_id is None and need_ids:
        raise place.get("id").problem("missing")
    if image_id is None and name is None:
        raise place.problem("neither id nor name is given")
    return RuntimeImage(image_id or "", name, labels(place.get("labels")))


def address(place: Cursor) -> str:
    """An IPv4 or IPv6 address."""
    import ipaddress

    text = place.text()
    try:
        if "%" in text:
            raise ValueError
        ipaddress.ip_address(text)
    except ValueError as error:
        raise place.wrong("an IP address") from error
    return text


def _published_port(place: Cursor) -> PublishedPort:
    target = place.get("podPort")
    return PublishedPort(
        name=place.get("name").checked(names.check_ac_name),
        host_port=port_number(place.get("hostPort")),
        host_ip=_text_or_none(place.get("hostIP"), address),
        pod_port=port(target) if target.given else None,
    )


def _check_published(
    place: Cursor, ports: Iterable[PublishedPort], apps: Iterable[RuntimeApp]
) -> None:
    """A published port names exactly one port of an app, as far as the apps are known here."""
    known = [each.app for each in apps]
    offered = [found.name for each in known if each for found in each.ports]
    for element, each in zip(place.elements(), ports, strict=True):
        if each.pod_port:
            continue
        if offered.count(each.name) > 1:
            raise element.get("name").problem(f"{shown(each.name)} is a port of more than one app")
        if None not in known and each.name not in offered:
            raise element.get("name").problem(f"no app has a port {shown(each.name)}")
