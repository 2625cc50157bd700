"""Podman Quadlet files as pod files: a .container, or a .pod with its .containers beside it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches

from rktsd.appc.cursor import Cursor
from rktsd.errors import BadInput, UsageError
from rktsd.generate import podman
from rktsd.generate.container import HANDLERS, TOLD
from rktsd.generate.draft import Draft, add_app, app_name, pod_name, put, tell
from rktsd.generate.keys import Handler, To, each_word
from rktsd.generate.sharing import OF_PODS, SHARED
from rktsd.generate.unitfile import Given, Unit, read_unit
from rktsd.generate.unitsections import (
    install_section,
    quadlet_section,
    service_section,
    unit_section,
)
from rktsd.paths import Paths

_HINTS = {
    ".kube": "rkt generate kube reads the YAML that it names",
    ".volume": "give the .container that mounts it",
    ".network": "networks are files in /etc/rkt/net.d",
    ".image": "give the .container that runs it",
    ".build": "give the .container that runs it",
}
_OF_CONTAINERS = {**HANDLERS, **SHARED}


def read_quadlets(files: Sequence[str], paths: Paths) -> list[Draft]:
    """A draft of a pod for each pod that the files describe. Raises RktError."""
    found: dict[str, Draft] = {}
    for path in files:
        kind = os.path.splitext(path)[1]
        if kind not in (".container", ".pod"):
            raise UsageError(f"{path}: neither a .container nor a .pod", hint=_HINTS.get(kind))
        unit = read_unit(path)
        if kind == ".container":
            pod = unit.last("Container", "Pod")
            if pod is not None:
                path = unit.beside(pod.text)
                if not pod.text.endswith(".pod") or "/" in pod.text:
                    raise pod.at.wrong("the name of a .pod file")
                unit = read_unit(path)
        key = os.path.abspath(path)
        if key not in found:
            found[key] = (
                _of_container(unit, paths)
                if path == unit.path and path.endswith(".container")
                else _of_pod(unit, paths)
            )
    return list(found.values())


def _of_container(unit: Unit, paths: Paths) -> Draft:
    draft = Draft(pod_name(unit.name, _nowhere(unit)), paths)
    file = os.path.basename(unit.path)
    app = _begin(draft, unit)
    _container(draft, unit, app, apps={file: app})
    _usual(draft)
    return draft


def _of_pod(unit: Unit, paths: Paths) -> Draft:
    if "Pod" not in unit.sections:
        raise BadInput(f"{unit.path}: no section [Pod]")
    named = unit.last("Pod", "PodName")
    draft = Draft(pod_name(named.text if named else unit.name, _nowhere(unit)), paths)
    file = os.path.basename(unit.path)
    members = []
    for name in sorted(os.listdir(unit.directory)):
        if name.endswith(".container"):
            each = read_unit(unit.beside(name))
            pod = each.last("Container", "Pod")
            if pod is not None and pod.text == file:
                members.append(each)
    if not members:
        raise BadInput(f"{unit.path}: no .container beside it says Pod={file}")
    apps = {os.path.basename(each.path): _begin(draft, each) for each in members}
    first = next(iter(apps.values()))
    if len(apps) > 1:
        # Quadlet's containers are services of their own.
        draft.fields["on-app-failure"] = "continue"
    section = _with_arguments(To(draft, first, unit, unit.sections["Pod"]))
    _keys(To(draft, first, unit, section), OF_PODS)
    for app in apps.values():
        _keys(To(draft, app, unit, {"Volume": section.get("Volume", [])}), SHARED)
    unit_section(_section(draft, unit, first, "Unit"), apps={}, of_pod=True)
    for key, given in unit.sections.get("Service", {}).items():
        for last in given[-1:]:
            tell(draft, last.at, f"say it of an app, or: systemctl edit rkt@{draft.name} ({key})")
    install_section(_section(draft, unit, first, "Install"))
    for each in members:
        _container(draft, each, apps[os.path.basename(each.path)], apps=apps)
    _usual(draft)
    return draft


def _begin(draft: Draft, unit: Unit) -> str:
    """The app of a .container, with its image. Raises BadInput."""
    image = unit.last("Container", "Image")
    if image is None:
        raise BadInput(f"{unit.path}: Container.Image: missing")
    if image.unknown:
        raise image.at.problem(f"the specifier {image.unknown} is known to a unit alone")
    named = unit.last("Container", "ContainerName")
    stem = unit.name.partition("@")[0]
    text = named.text if named and "\0" not in named.text else stem
    name = app_name(text, named.at if named else _nowhere(unit))
    text = image.text
    if text.endswith((".image", ".build")) and "/" not in text:
        text = _image_of(unit, image)
    add_app(draft, name, image.at._replace(value=text))
    return name


def _image_of(unit: Unit, image: Given) -> str:
    path = unit.beside(image.text)
    if image.text.endswith(".build"):
        raise image.at.problem("rkt does not build images", hint="build it, and write its name")
    found = read_unit(path).last("Image", "Image")
    if found is None:
        raise BadInput(f"{path}: Image.Image: missing")
    return found.text


def _container(draft: Draft, unit: Unit, app: str, *, apps: Mapping[str, str]) -> None:
    to = _section(draft, unit, app, "Container")
    _keys(to._replace(section=_with_arguments(to)), _OF_CONTAINERS)
    unit_section(_section(draft, unit, app, "Unit"), apps=apps, of_pod=False)
    service_section(_section(draft, unit, app, "Service"))
    install_section(_section(draft, unit, app, "Install"))
    quadlet_section(_section(draft, unit, app, "Quadlet"))
    known = {"Container", "Unit", "Service", "Install", "Quadlet"}
    for name in unit.sections:
        if name not in known and not name.startswith("X-"):
            tell(draft, Cursor(unit.path, f"[{name}]", None), "unknown section")


def _section(draft: Draft, unit: Unit, app: str, name: str) -> To:
    return To(draft, app, unit, unit.sections.get(name, {}))


def _with_arguments(to: To) -> dict[str, list[Given]]:
    """The section with what PodmanArgs says as the keys that say it as well."""
    section = {key: list(given) for key, given in to.section.items()}
    for given in to.given("PodmanArgs"):
        one = to._replace(section={"PodmanArgs": [given]})
        arguments = [word for word, _ in each_word(one, "PodmanArgs")]
        for key, value in podman.options(arguments):
            if key:
                section.setdefault(key, []).append(Given(value, given.at._replace(value=value)))
            else:
                tell(to.draft, given.at._replace(value=value), "no counterpart in a pod file")
    return section


def _keys(to: To, handlers: Mapping[str, Handler]) -> None:
    """Hand each key to what carries it over, once, and tell the others."""
    done: list[Callable[[To, str], None]] = []
    # The network decides whether there are ports to publish.
    for key in sorted(to.section, key=lambda name: name != "Network"):
        given = to.section[key]
        for each in given:
            if each.unknown:
                why = f"the specifier {each.unknown} is known to a unit alone"
                tell(to.draft, each.at, why)
        handler = handlers.get(key)
        known = to.given(key)
        if handler is not None and known and handler not in done:
            handler(to, key)
            # Handlers of one key may be called for the next: volumes are such.
            done += [handler] if handler not in SHARED.values() else []
        elif handler is None and known:
            tell(to.draft, known[-1].at, TOLD.get(key) or _unknown(key, handlers))


def _unknown(key: str, handlers: Mapping[str, Handler]) -> str:
    close = get_close_matches(key, [*handlers, *TOLD], n=1)
    return f"unknown key (did you mean {close[0]}?)" if close else "unknown key"


def _usual(draft: Draft) -> None:
    """What Podman does unasked: containers see the name servers of the host."""
    asked = {"dns", "dns-search", "dns-options"} & draft.fields.keys()
    if not asked and draft.fields.get("network") != ["none"]:
        put(draft, None, "dns", ["host"], Cursor("", "", None))


def _nowhere(unit: Unit) -> Cursor:
    return Cursor(unit.path, "", None)
