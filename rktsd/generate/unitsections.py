"""[Unit], [Service] and [Install] of Quadlet files: what of them a pod file can hand to systemd."""

from __future__ import annotations

import os
from collections.abc import Mapping

from rktsd.appc.cursor import Cursor
from rktsd.generate.draft import append, member, pod_name, put, tell
from rktsd.generate.keys import To, is_on
from rktsd.generate.unitfile import Given
from rktsd.systemd import properties
from rktsd.systemd.refused import REFUSED
from rktsd.systemd.settings import TRANSLATED

_DEPENDENCIES = frozenset(
    "After Before Requires Requisite Wants BindsTo PartOf Upholds Conflicts OnFailure OnSuccess"
    " PropagatesStopTo StopPropagatedFrom".split()
)
_NEEDED = frozenset({"Requires", "Requisite", "BindsTo"})
# Quadlet's own kinds whose units a pod does not need: it makes volumes and fetches images itself.
_MADE = (".volume", ".network", ".image", ".build")
_AT_BOOT = frozenset({"default.target", "multi-user.target"})
# What Quadlet's own service says, for Podman.
_USUAL = {"Type": ("notify", "forking", "simple", "exec"), "RemainAfterExit": ("no", "false")}


def unit_section(to: To, *, apps: Mapping[str, str], of_pod: bool) -> None:
    """[Unit]. ``apps`` are those of the pod, by the names of their files."""
    for key, given in to.section.items():
        known = [each for each in given if not each.unknown]
        if not known:
            continue
        last = known[-1]
        if key == "Description" and (of_pod or len(apps) == 1):
            put(to.draft, None, "description", last.text, last.at)
        elif key == "Documentation" and (of_pod or len(apps) == 1):
            for word in last.text.split():
                append(to.draft, None, "documentation", word, last.at)
        elif key in _DEPENDENCIES:
            for each in known:
                _dependency(to, key, each, apps=apps, of_pod=of_pod)
        else:
            _setting(to, key, known, of_pod=of_pod)


def _dependency(to: To, key: str, given: Given, *, apps: Mapping[str, str], of_pod: bool) -> None:
    for word in given.text.split():
        if word.endswith(_MADE):
            continue
        unit, app = _meant(to, word, apps)
        if app is not None:
            if key in _NEEDED or key == "After":
                field = "requires" if key in _NEEDED else "after"
                append(to.draft, to.app, field, app, given.at)
            elif key not in ("Wants", "PartOf", "Upholds"):
                tell(to.draft, given.at, "of apps of one pod only after and requires can be said")
            continue
        table = (to.draft.fields if of_pod else to.draft.apps[to.app]).get("systemd")
        old = table.get(key) if isinstance(table, dict) else None
        found = [*(old if isinstance(old, list) else []), unit]
        member(to.draft, None if of_pod else to.app, "systemd", key, found, given.at)


def _meant(to: To, word: str, apps: Mapping[str, str]) -> tuple[str, str | None]:
    """The unit that a word means here, and the app of this pod if it is one."""
    stem, _, kind = word.rpartition(".")
    files = [word] if kind in ("container", "pod") else []
    if kind == "service":
        files = [f"{stem}.container", f"{stem.removesuffix('-pod')}.pod"]
    for file in files:
        if file in apps:
            return word, apps[file]
        if kind != "service" or os.path.isfile(f"{to.unit.directory}/{file}"):
            name = pod_name(file.rpartition(".")[0], given_at(to))
            return f"rkt@{name}.service", None
    return word, None


def given_at(to: To) -> Cursor:
    """A place in the file for what has none of its own."""
    return Cursor(to.unit.path, "", None)


def service_section(to: To) -> None:
    """[Service]: how systemd treats Podman, which is how it is to treat the app."""
    for key, given in to.section.items():
        known = [each for each in given if not each.unknown]
        if not known or known[-1].text in _USUAL.get(key, ()):
            continue
        if key == "Type" and known[-1].text == "oneshot":
            member(to.draft, to.app, "systemd", "Type", "oneshot", known[-1].at)
        elif key in TRANSLATED and key not in REFUSED:
            tell(to.draft, known[-1].at, "it is about Podman here, and not about the container")
        else:
            _setting(to, key, known, of_pod=False)


def _setting(to: To, key: str, given: list[Given], *, of_pod: bool) -> None:
    at = given[-1].at
    if not properties.known(key):
        what = REFUSED.get(key, "no setting of a unit that this version knows")
        tell(to.draft, at, f"{what}; or: systemctl edit rkt@{to.draft.name}")
        return
    value: object = given[-1].text
    if len(given) > 1 and properties.FORMS[key] not in _SINGLE:
        value = [each.text for each in given]
    member(to.draft, None if of_pod else to.app, "systemd", key, value, at)


# Forms of settings of which the last counts.
_SINGLE = frozenset(
    "bytes tasks weight cpu-weight quota timespan nanoseconds timeouts boolean string integer"
    " unsigned signal cpu-policy io-class numa-policy log-level log-facility pressure"
    " coredump".split()
)


def install_section(to: To) -> None:
    """[Install]: pods are enabled by systemctl."""
    for key, given in to.section.items():
        for each in given:
            targets = set(each.text.split())
            if key in ("WantedBy", "RequiredBy") and targets <= _AT_BOOT:
                pod = f"{to.draft.name}{'INSTANCE' if to.draft.template else ''}"
                hint = f"systemctl enable rkt@{pod} starts it at boot."
                if hint not in to.draft.hints:
                    to.draft.hints.append(hint)
            else:
                why = f"systemctl edit rkt@{to.draft.name} takes it, systemctl enable is for boot"
                tell(to.draft, each.at, why)


def quadlet_section(to: To) -> None:
    """[Quadlet]."""
    given = to.last("DefaultDependencies")
    if given is not None and is_on(to, given) is False:
        return
    for key, assigned in to.section.items():
        if key != "DefaultDependencies":
            for each in assigned:
                tell(to.draft, each.at, "unknown key")
