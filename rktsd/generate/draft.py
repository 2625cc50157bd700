"""A pod file in the making: every field is tried as it is put in, so what comes out is valid.

What the pod file refuses is left out and told, with the place it came from and the reason.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rktsd.appc import names
from rktsd.appc.cursor import Cursor, shown
from rktsd.appc.isolators import CAPABILITIES, DEFAULT_CAPABILITIES, capability_set
from rktsd.appc.types import ImageManifest, Isolator
from rktsd.config.flavors import NSPAWN
from rktsd.errors import BadInput, RktError, Unsupported
from rktsd.generate.images import stored_manifest
from rktsd.generate.write import render
from rktsd.paths import Paths
from rktsd.pods import podfile
from rktsd.pods.checks import check_pod_file
from rktsd.stage1 import sysctl
from rktsd.stage1.mounts import refuse_place

Table = dict[str, object]

_PLACE = re.compile(r'(?:app [a-z0-9-]+: )?(?:[a-zA-Z0-9_.-]+|\[\d+\]|\["[^"]*"\])+: ')
_TRANSPORTS = ("docker://", "oci:", "oci-archive:", "docker-archive:")
_BY_TAG = (
    "An image named by a tag and no digest is fetched where trust.toml lets it, or with"
    ' insecure = ["image"]: rktsd-images(7).'
)
_IMAGE_ID = re.compile(r"(sha256:)?[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Draft:
    """``name`` is the pod's, with an @ behind it for a template; ``apps`` are fields by name.

    ``remarks`` are lines about what could not be carried over, ``hints`` further ones for the head
    of the file; ``secrets`` files that others may
    not read and whose content is in the fields. ``paths`` lead to the images that are stored.
    """

    name: str
    paths: Paths
    fields: Table = field(default_factory=dict)
    apps: dict[str, Table] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)

    @property
    def template(self) -> bool:
        """Whether it is for several pods."""
        return self.name.endswith("@")

    def text(self) -> str:
        """The pod file."""
        apps = [{"name": name, **fields} for name, fields in self.apps.items()]
        return render({**self.fields, "app": apps}, template=self.template)


def tell(draft: Draft, at: Cursor, why: str) -> None:
    """Say that what is at ``at`` is not carried over."""
    value = "" if at.value is None else f"{shown(at.value)}: "
    draft.remarks.append(f"not carried over: {at.where}: {value}{why}")


def doubt(draft: Draft, at: Cursor, why: str) -> None:
    """Say that what is at ``at`` is carried over, and may come to something else here."""
    draft.remarks.append(f"not quite the same: {at.where}: {shown(at.value)}: {why}")


def add_app(draft: Draft, name: str, image: Cursor) -> None:
    """Begin an app. Raises BadInput for an image that no reference can mean."""
    text = image.line()
    if _IMAGE_ID.fullmatch(text):
        raise image.problem(f"{shown(text)} is an ID of an image in another store")
    if not text.startswith(_TRANSPORTS):
        text = f"docker://{text}"
    if name in draft.apps:
        raise image.problem(f"a second app would be called {name}")
    draft.apps[name] = {"image": text}
    why = fault(draft)
    if why is not None:
        raise image.problem(why)
    if "@" not in text and _BY_TAG not in draft.hints:
        draft.hints.append(_BY_TAG)
    if text.startswith("docker://localhost/"):
        doubt(draft, image, "no registry has it: podman save it, and write docker-archive:/FILE")


def put(draft: Draft, app: str | None, key: str, value: object, at: Cursor) -> bool:
    """Set a field of the pod (None) or an app. Returns whether it is in; tells it otherwise."""
    table = draft.fields if app is None else draft.apps[app]
    before = table.get(key)
    table[key] = value
    why = fault(draft)
    if why is None:
        return True
    if before is None:
        del table[key]
    else:
        table[key] = before
    tell(draft, at, why)
    return False


def append(draft: Draft, app: str | None, key: str, value: object, at: Cursor) -> bool:
    """As ``put``, one more element of a list."""
    table = draft.fields if app is None else draft.apps[app]
    before = table.get(key)
    old = before if isinstance(before, list) else []
    return value in old or put(draft, app, key, [*old, value], at)


def member(draft: Draft, app: str | None, key: str, name: str, value: object, at: Cursor) -> bool:
    """As ``put``, one more member of a table, like a variable of the environment."""
    table = draft.fields if app is None else draft.apps[app]
    before = table.get(key)
    old = before if isinstance(before, dict) else {}
    return put(draft, app, key, {**old, name: value}, at)


def put_variables(draft: Draft, app: str, variables: Sequence[tuple[str, object, Cursor]]) -> None:
    """Add (name, value, place) to the environment of an app; those that are refused are told.

    All are tried at once, for there may be hundreds.
    """
    if not variables:
        return
    table = draft.apps[app]
    before = table.get("environment")
    old = before if isinstance(before, dict) else {}
    table["environment"] = old | {name: value for name, value, _ in variables}
    why = fault(draft)
    if why is None:
        return
    if before is None:
        del table["environment"]
    else:
        table["environment"] = before
    if len(variables) == 1:
        tell(draft, variables[0][2], why)
        return
    half = len(variables) // 2
    put_variables(draft, app, variables[:half])
    put_variables(draft, app, variables[half:])


def fault(draft: Draft) -> str | None:
    """What is wrong with the draft as far as it is made, None for nothing."""
    path = "a@.toml" if draft.template else "a.toml"
    pod = "a@instance" if draft.template else "a"
    try:
        file = podfile.parse(draft.text().encode(), path, pod=pod)
        check_pod_file(file)
        network = file.options.networks or ()
        for values in (file.manifest.isolators, *_isolators(file)):
            own_ipc = file.options.ipc != "parent"
            sysctl.checked(values, path, own_network=network[:1] != ("host",), own_ipc=own_ipc)
        _check_start(file)
    except RktError as error:
        text = str(error).removeprefix(f"{path}: ")
        return _PLACE.sub("", text, count=1) if _PLACE.match(text) else text
    except UnicodeEncodeError:
        return "not valid Unicode"
    return None


def _check_start(file: podfile.PodFile) -> None:
    """Refuse what only a start would. Raises Unsupported."""
    volumes = {each.name: each for each in file.manifest.volumes}
    for app in file.manifest.apps:
        for mount in app.mounts:
            volume = mount.app_volume or volumes[mount.volume]
            refuse_place(app.name, volume, posixpath.normpath(mount.path), NSPAWN)
        own = file.options.apps[app.name]
        if file.options.pid == "shared" and (
            own.systemd.get("Type") == "oneshot"
            or file.options.private_users
            or "CAP_SYS_PTRACE" in capability_set(own.overrides.isolators)
        ):
            raise Unsupported(f"app {app.name} cannot share processes (rkt-pod(5), pid)")


def _isolators(file: podfile.PodFile) -> list[Sequence[Isolator]]:
    return [each.overrides.isolators for each in file.options.apps.values()]


def app_name(text: str, at: Cursor) -> str:
    """The name of an app or volume that is called ``text`` elsewhere. Raises BadInput."""
    try:
        return names.sanitise_ac_name(text)
    except BadInput as error:
        raise at.problem(str(error)) from error


def pod_name(text: str, at: Cursor) -> str:
    """As ``app_name`` of a pod; of a template with an @ behind it."""
    stem, sign, instance = text.partition("@")
    name = app_name(stem, at)
    if instance:
        name = f"{name}-{app_name(instance, at)}"
    try:
        names.check_pod_name(name, at.where)
    except BadInput:
        return f"pod-{name}"[: names.MAX_POD_NAME].rstrip("-") + (
            "@" if sign and not instance else ""
        )
    return f"{name}@" if sign and not instance else name


def put_command(
    draft: Draft, app: str, entry: Sequence[str] | None, args: Sequence[str] | None, at: Cursor
) -> None:
    """The command of an app: ``entry`` in place of the image's entrypoint, ``args`` of its CMD.

    An app of an image has one command. What of that is the entrypoint, a stored image tells.
    """
    if entry:
        put(draft, app, "exec", [*entry, *(args or ())], at)
        return
    if not args:
        return
    stored = stored_manifest(draft.paths, str(draft.apps[app]["image"]))
    if stored is not None:
        put(draft, app, "exec", [*_entrypoint(stored), *args], at)
        return
    option = args[0].startswith("-")
    if put(draft, app, "args" if option else "exec", list(args), at):
        what = "arguments" if option else "the whole command"
        why = f"taken for {what}, for the image is not stored: after rkt fetch it is no guess"
        doubt(draft, at, why)


def _entrypoint(manifest: ImageManifest) -> list[str]:
    kept = {each.name: each.value for each in manifest.annotations}
    try:
        words = json.loads(kept.get("appc.io/docker/entrypoint", "[]"))
    except (ValueError, RecursionError):
        return []
    return [str(word) for word in words] if isinstance(words, list) else []


def put_capabilities(
    draft: Draft, app: str, added: Sequence[str], dropped: Sequence[str], at: Cursor
) -> None:
    """The capabilities of an app from those added to and dropped from the usual ones."""

    def named(words: Sequence[str]) -> list[str]:
        upper = [word.upper() for word in words]
        return [
            word if word == "ALL" or word.startswith("CAP_") else f"CAP_{word}" for word in upper
        ]

    plus, minus = named(added), named(dropped)
    if not plus and "ALL" not in minus:
        key, chosen = "capabilities-remove", list(dict.fromkeys(minus))
    elif not plus:
        key, chosen = "capabilities-remove", sorted(DEFAULT_CAPABILITIES)
    else:
        usual = [] if "ALL" in minus else sorted(DEFAULT_CAPABILITIES)
        more = sorted(CAPABILITIES) if "ALL" in plus else plus
        key = "capabilities-retain"
        chosen = [word for word in dict.fromkeys([*usual, *more]) if word not in minus]
    if chosen:
        put(draft, app, key, chosen, at)


def put_health(draft: Draft, app: str, fields: Mapping[str, object], at: Cursor) -> None:
    """The health check of an app."""
    given = {name: value for name, value in fields.items() if value is not None}
    put(draft, app, "health", given, at)


def put_mount(draft: Draft, app: str, volume: Table, target: str, at: Cursor) -> None:
    """Mount a volume of the pod, which is added unless there is one just like it.

    ``target`` has the options behind it.
    """
    before = draft.fields.get("volume")
    if not append(draft, None, "volume", volume, at):
        return
    if not append(draft, app, "mounts", f"{volume['name']}:{target}", at):
        draft.fields["volume"] = before


def by_shell(words: Sequence[str]) -> list[str]:
    """A command whose program has a whole path: through a shell of the image where it has none."""
    import shlex

    return list(words) if words[0].startswith("/") else ["/bin/sh", "-c", shlex.join(words)]
