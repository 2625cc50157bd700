"""Unit names of a pod (systemd.unit(5), "String Escaping for Inclusion in Unit Names")."""

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_.")


def escape(text: str) -> str:
    """As systemd-escape does, for the characters that a pod's name may have."""
    return "".join(c if c in _PLAIN else "".join(f"\\x{b:02x}" for b in c.encode()) for c in text)


def unit_of_path(path: str) -> str:
    """The unit whose object on the bus that is; "" for another object (sd_bus_path_encode(3))."""
    label = path.removeprefix("/org/freedesktop/systemd1/unit/")
    if label == path:
        return ""
    first, *rest = label.split("_")
    try:
        return first + "".join(chr(int(each[:2], 16)) + each[2:] for each in rest)
    except ValueError:
        return ""


def pod_and_app(unit: str) -> tuple[str, str | None] | None:
    """The pod whose ``pod_unit`` that is, or a pod and its app; None for any other unit."""
    name = unit.removesuffix(".service")
    if name == unit:
        return None
    pod = name.removeprefix("rkt@")
    if pod != name:
        return pod, None
    # No name of a pod has a dot, and none of an app begins with an underscore.
    pod, dot, app = name.removeprefix("rkt-").partition(".")
    if not name.startswith("rkt-") or not dot or "." in app or app[:1] in ("", "_") or "@" in pod:
        return None
    return pod.replace(":", "@"), app


def pod_unit(pod: str) -> str:
    """The unit that an administrator starts and stops."""
    return f"rkt@{pod}.service"


def pod_slice(pod: str) -> str:
    """The slice of all the pod's apps: a ``-`` in the name would nest slices, so it is escaped."""
    return f"rkt-{escape(pod)}.slice"


def app_unit(pod: str, app: str) -> str:
    """The transient unit of an app; an ``@`` in its name would make it a template's."""
    return f"rkt-{pod.replace('@', ':')}.{app}.service"


def app_socket(pod: str, app: str) -> str:
    """The unit that listens for an app which is started by the first connection."""
    return f"{app_unit(pod, app).removesuffix('.service')}.socket"


def health_service(pod: str, app: str) -> str:
    """The unit that checks an app once."""
    return f"{app_unit(pod, app).removesuffix('.service')}._health.service"


def health_timer(pod: str, app: str) -> str:
    """The timer that has an app checked."""
    return f"{health_service(pod, app).removesuffix('.service')}.timer"


def attach_unit(pod: str, app: str) -> str:
    """The unit that hands round the streams of an app that others attach to."""
    return f"{app_unit(pod, app).removesuffix('.service')}._attach.service"


def metadata_socket(pod: str, *, own_network: bool) -> str:
    """The socket of the metadata service: the pod's own, or that of all on the host's network."""
    return f"rkt-metadata@{pod}.socket" if own_network else "rkt-metadata.socket"


def holder_unit(pod: str) -> str:
    """The unit that holds the PID namespace that apps share. No app is called ``_pids``."""
    return f"rkt-{pod.replace('@', ':')}._pids.service"


def pin_unit(pod: str) -> str:
    """The unit that holds a pod whose apps come and go. No app is called ``_pin``."""
    return f"rkt-{pod.replace('@', ':')}._pin.service"


def ended_unit(pod: str) -> str:
    """The unit that looks, when an app has ended, whether the pod is over."""
    return f"rkt-ended@{pod}.service"


def barrier_unit(pod: str) -> str:
    """The unit whose start job ends when all apps are started. No app is called ``_up``."""
    return f"rkt-{pod.replace('@', ':')}._up.service"
