"""What is on the bus: the interfaces with their methods, properties and signals. Values only."""

from __future__ import annotations

from typing import NamedTuple

NAME = "org.rktsd"
ROOT = "/org/rktsd"
POD_ROOT, IMAGE_ROOT = f"{ROOT}/pod", f"{ROOT}/image"
MANAGER, POD, IMAGE = f"{NAME}.Manager1", f"{NAME}.Pod1", f"{NAME}.Image1"
PROPERTIES = "org.freedesktop.DBus.Properties"
OBJECT_MANAGER = "org.freedesktop.DBus.ObjectManager"
INTROSPECTABLE = "org.freedesktop.DBus.Introspectable"
PEER = "org.freedesktop.DBus.Peer"

# Actions of polkit; what is anybody's needs none.
READ = f"{NAME}.read"
LOGS = f"{NAME}.read-logs"
FETCH = f"{NAME}.fetch-images"
PODS = f"{NAME}.manage-pods"
IMAGES = f"{NAME}.manage-images"

# How the change of a property is told (the D-Bus specification, "Introspection Data Format").
_CHANGE = "org.freedesktop.DBus.Property.EmitsChangedSignal"
TOLD, UNTOLD, INVALIDATED, CONSTANT = "true", "false", "invalidates", "const"


class Method(NamedTuple):
    """``inputs`` and ``outputs`` are pairs of words, "NAME SIGNATURE"; ``action`` who may."""

    name: str
    inputs: str = ""
    outputs: str = ""
    action: str | None = None

    @property
    def signature(self) -> str:
        """Of what it is called with."""
        return "".join(self.inputs.split()[1::2])

    @property
    def result(self) -> str:
        """The signature of what it returns."""
        return "".join(self.outputs.split()[1::2])


class Property(NamedTuple):
    """A property that is read and never set; ``change`` says how its change is told."""

    name: str
    signature: str
    change: str = TOLD


class Signal(NamedTuple):
    """``arguments`` are pairs of words, "NAME SIGNATURE"."""

    name: str
    arguments: str


class Interface(NamedTuple):
    """An interface; who may read its ``properties`` is ``action``."""

    name: str
    methods: tuple[Method, ...] = ()
    properties: tuple[Property, ...] = ()
    signals: tuple[Signal, ...] = ()
    action: str | None = None

    def method(self, name: str) -> Method | None:
        """The method of that name."""
        return next((each for each in self.methods if each.name == name), None)


# What is done to a pod; Manager1 has it with the pod's name first.
_OF_POD = (
    Method("Start", "", "run o", PODS),
    Method("Restart", "", "run o", PODS),
    Method("Stop", "options a{sv}", "", PODS),
    Method("Kill", "signal s apps as", "", PODS),
    Method("Pause", "apps as", "", PODS),
    Method("Resume", "apps as", "", PODS),
    Method("Remove", "", "", PODS),
    Method("GetLogs", "options a{sv}", "lines as", LOGS),
    Method("OpenLogs", "options a{sv}", "stream h", LOGS),
)


def _with_name(method: Method) -> Method:
    logs = method.name in ("GetLogs", "OpenLogs")
    name = method.name if logs else f"{method.name}Pod"
    return method._replace(name=name, inputs=f"pod s {method.inputs}".strip())


_MANAGER = Interface(
    MANAGER,
    methods=(
        Method("GetInfo", "", "info a{sv}"),
        Method("ListPods", "filters aa{sv} detail b", "pods a(oa{sv})", READ),
        Method("ListImages", "filters aa{sv} detail b", "images a(oa{sv})", READ),
        Method("GetPod", "pod s", "path o", READ),
        Method("GetPodByPID", "pid u", "path o", READ),
        Method("GetPodByControlGroup", "group s", "path o", READ),
        Method("GetImage", "image s", "path o", READ),
        *map(_with_name, _OF_POD),
        Method("FetchImage", "image s options a{sv}", "path o", FETCH),
        Method("RemoveImage", "image s", "", IMAGES),
        Method("CollectGarbage", "", "", PODS),
        Method("Subscribe", "", "", READ),
        Method("Unsubscribe"),
    ),
    properties=(Property("Version", "s", CONSTANT), Property("ApiVersion", "s", CONSTANT)),
    signals=(
        Signal("PodAdded", "uuid s path o"),
        Signal("PodChanged", "uuid s path o state s"),
        Signal("PodRemoved", "uuid s path o"),
        Signal("ImageAdded", "id s path o"),
        Signal("ImageRemoved", "id s path o"),
        Signal("Event", "time t uuid s pod s app s event s details a{sv}"),
    ),
)
_POD = Interface(
    POD,
    methods=_OF_POD,
    properties=(
        Property("Uuid", "s", CONSTANT),
        Property("Name", "s", CONSTANT),
        Property("State", "s"),
        Property("Created", "t"),
        Property("Started", "t"),
        Property("GarbageMarked", "t"),
        Property("Unit", "s", CONSTANT),
        Property("Slice", "s", CONSTANT),
        Property("AppNames", "as"),
        Property("Apps", "aa{sv}"),
        Property("ExitCodes", "a{si}"),
        Property("ImageIds", "as"),
        Property("Networks", "a(sss)"),
        Property("Annotations", "a{ss}", CONSTANT),
        Property("UserAnnotations", "a{ss}", CONSTANT),
        Property("UserLabels", "a{ss}", CONSTANT),
        Property("Unapplied", "as"),
        Property("Manifest", "s"),
        Property("Json", "s"),
        Property("Pid", "u", INVALIDATED),
        Property("ControlGroup", "s", INVALIDATED),
        Property("PodFile", "s", UNTOLD),
    ),
    action=READ,
)
_IMAGE = Interface(
    IMAGE,
    methods=(Method("Remove", "", "", IMAGES),),
    properties=(
        Property("Id", "s", CONSTANT),
        Property("Name", "s", CONSTANT),
        Property("Version", "s", CONSTANT),
        Property("Labels", "a{ss}", CONSTANT),
        Property("Kind", "s", CONSTANT),
        Property("Imported", "t", UNTOLD),
        Property("LastUsed", "t", UNTOLD),
        Property("Size", "t", UNTOLD),
        Property("Source", "s", UNTOLD),
        Property("VerifiedBy", "s", UNTOLD),
        Property("Layers", "as", UNTOLD),
        Property("Annotations", "a{ss}", CONSTANT),
        Property("Manifest", "s", CONSTANT),
    ),
    action=READ,
)
_PROPERTIES = Interface(
    PROPERTIES,
    methods=(
        Method("Get", "interface s property s", "value v"),
        Method("GetAll", "interface s", "properties a{sv}"),
        Method("Set", "interface s property s value v"),
    ),
    signals=(Signal("PropertiesChanged", "interface s changed a{sv} invalidated as"),),
)
_OBJECT_MANAGER = Interface(
    OBJECT_MANAGER,
    methods=(Method("GetManagedObjects", "", "objects a{oa{sa{sv}}}", READ),),
    signals=(
        Signal("InterfacesAdded", "path o interfaces a{sa{sv}}"),
        Signal("InterfacesRemoved", "path o interfaces as"),
    ),
)
_INTROSPECTABLE = Interface(INTROSPECTABLE, methods=(Method("Introspect", "", "data s"),))
_PEER = Interface(PEER, methods=(Method("Ping"), Method("GetMachineId", "", "machine_uuid s")))

_EVERYWHERE = (_INTROSPECTABLE, _PEER)
OF_ROOT = (_MANAGER, _PROPERTIES, _OBJECT_MANAGER, *_EVERYWHERE)
OF_POD = (_POD, _PROPERTIES, *_EVERYWHERE)
OF_IMAGE = (_IMAGE, _PROPERTIES, *_EVERYWHERE)
OF_NODE = _EVERYWHERE


def pod_path(uuid: str) -> str:
    """The object of a pod."""
    return f"{POD_ROOT}/{uuid.replace('-', '_')}"


def image_path(image_id: str) -> str:
    """The object of an image."""
    return f"{IMAGE_ROOT}/{image_id.replace('-', '_')}"


def name_of(path: str) -> str:
    """The UUID or ID whose object that is."""
    return path.rpartition("/")[2].replace("_", "-")


def interfaces_of(path: str) -> tuple[Interface, ...]:
    """The interfaces of an object, () for none; whether there is such a pod is not looked at."""
    if path == ROOT:
        return OF_ROOT
    if path in ("/", "/org", POD_ROOT, IMAGE_ROOT):
        return OF_NODE
    parent = path.rpartition("/")[0]
    return {POD_ROOT: OF_POD, IMAGE_ROOT: OF_IMAGE}.get(parent, ())


def xml(interfaces: tuple[Interface, ...], nodes: tuple[str, ...] = ()) -> str:
    """Introspection data of an object with ``nodes`` below it."""
    lines = [
        '<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"',
        ' "http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">',
        "<node>",
    ]
    for interface in interfaces:
        lines.append(f' <interface name="{interface.name}">')
        for method in interface.methods:
            lines.append(f'  <method name="{method.name}">')
            lines += _arguments(method.inputs, ' direction="in"')
            lines += _arguments(method.outputs, ' direction="out"')
            lines.append("  </method>")
        for prop in interface.properties:
            lines += [
                f'  <property name="{prop.name}" type="{prop.signature}" access="read">',
                f'   <annotation name="{_CHANGE}" value="{prop.change}"/>',
                "  </property>",
            ]
        for signal in interface.signals:
            lines.append(f'  <signal name="{signal.name}">')
            lines += _arguments(signal.arguments, "")
            lines.append("  </signal>")
        lines.append(" </interface>")
    lines += [f' <node name="{node}"/>' for node in nodes]
    return "\n".join([*lines, "</node>", ""])


def _arguments(words: str, direction: str) -> list[str]:
    parts = words.split()
    return [
        f'   <arg name="{name}" type="{signature}"{direction}/>'
        for name, signature in zip(parts[::2], parts[1::2], strict=True)
    ]
