"""``rkt image build`` and ``rkt image import``: a first image from a plain root."""

import os
import sys
from collections.abc import Mapping, Sequence

from rktsd.appc import names, read
from rktsd.appc.cursor import Cursor, decode_json
from rktsd.appc.write import dumps
from rktsd.cli import values as read_value
from rktsd.cli.context import Context
from rktsd.cli.parse import Parsed, Values, truth
from rktsd.errors import BadInput, UsageError
from rktsd.host.files import read_limited
from rktsd.store.pack import Packing, is_image_directory

_ROOT = "a directory or tar archive (- for standard input)"
_MANIFEST_LIMIT = 4 << 20
_PLAIN = (("user", "user"), ("group", "group"), ("working-directory", "workingDirectory"))
_OF_APP = ("exec", "user", "group", "supplementary-gids", "working-directory", "env", "port",
           "mount", "user-annotation", "user-label", "memory", "cpu", "cpu-shares", "caps-retain",
           "caps-remove", "oom-score-adj")  # fmt: skip


def build(context: Context, parsed: Parsed) -> int:
    """Write the ACI of a root to a file."""
    from rktsd.images.build import build as build_image
    from rktsd.images.fetch import limits_of

    if len(parsed.arguments) < 2:
        raise UsageError(
            "must provide a directory or tar archive (- for standard input) and a file"
        )
    source, target, *arguments = parsed.arguments
    if target in ("", "-"):
        raise UsageError("an image is written to a file, not to standard output")
    values = parsed.values
    key = values.last("sign-by")
    source, manifest = _image(source, values, arguments)
    build_image(
        source,
        manifest,
        os.path.abspath(target),
        packing=_packing(values),
        limits=limits_of(context.paths),
        compression=values.last("compression") or "gzip",
        sign=key is not None or values.on("sign"),
        key=key,
        replace=values.on("overwrite"),
    )
    return 0


def import_(context: Context, parsed: Parsed) -> int:
    """Store the image of a root, and print its ID."""
    from rktsd.cli.fetching import fetch_options, pull_policy, report
    from rktsd.cli.refetching import shown_id
    from rktsd.images.build import import_root
    from rktsd.images.fetch import Job
    from rktsd.store.store import Store

    if not parsed.arguments:
        raise UsageError(f"must provide {_ROOT}")
    source, *arguments = parsed.arguments
    values = parsed.values
    source, manifest = _image(source, values, arguments)
    options = fetch_options(context, pull_policy(values, default="new"), all_apps=values)
    with Store.open(context.paths.store, create=True) as store:
        job = Job(store, context.paths, options, report)
        record = import_root(source, manifest, job, packing=_packing(values))
    sys.stdout.write(f"{shown_id(record.id, values)}\n")
    return 0


def _packing(values: Values) -> Packing:
    """Times by SOURCE_DATE_EPOCH (reproducible-builds.org), owners by --owner."""
    latest = None
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    if epoch:
        if not (epoch.isascii() and epoch.isdigit()) or len(epoch) > 11:
            raise UsageError(f'SOURCE_DATE_EPOCH: "{epoch}" is not a number of seconds')
        latest = int(epoch)
    owner = None
    given = values.last("owner")
    if given is not None:
        user, colon, group = given.partition(":")
        numbers = [read_value.number(each, "owner") for each in (user, group if colon else user)]
        if any(not 0 <= number <= read.MAX_ID for number in numbers):
            raise UsageError(f'--owner: "{given}" is not UID:GID')
        owner = (numbers[0], numbers[1])
    return Packing(latest, owner)


def _image(source: str, values: Values, arguments: list[str]) -> tuple[str, bytes]:
    """The root, and the manifest by --manifest and the flags, checked as any manifest is.

    A directory that holds ``manifest`` and ``rootfs`` and nothing else brings its own.
    """
    path = values.last("manifest")
    if path is None and source != "-" and is_image_directory(source):
        path, source = f"{source}/manifest", f"{source}/rootfs"
    if path is None and "name" not in values:
        raise UsageError("an image needs a name: give --name or --manifest")
    if path is None:
        labels = [{"name": key, "value": value} for key, value in names.host_labels().items()]
        made: dict[str, object] = {
            "acKind": "ImageManifest",
            "acVersion": names.SPEC_VERSION,
            "labels": labels,
        }
        where = "command line"
    else:
        if path == "-":
            raise UsageError("--manifest: standard input is for the root")
        data = read_limited(path, _MANIFEST_LIMIT, pipes=True)
        if "name" not in values:
            read.image_manifest(data, path)
        found = decode_json(data, path).value
        if not isinstance(found, dict):
            raise BadInput(f"{path}: not an object")
        made, where = dict(found), path
    _change(made, values, arguments)
    read.image_manifest_at(Cursor(where, "", made))
    # Members that appc does not know stay.
    return source, dumps(made).encode()


def _change(made: dict[str, object], values: Values, arguments: list[str]) -> None:
    """Have the flags say their part; what they name replaces what the manifest has of that name."""
    if "name" in values:
        name = names.parse_image_name(values.last("name") or "", where="--name")
        made["name"] = name.name
        _merge(made, "labels", {each.name: each.value for each in name.labels})
    _merge(made, "labels", read_value.pairs(values.get("label", []), "label"))
    _merge(
        made,
        "annotations",
        {each.name: each.value for each in read_value.name_values(values, "annotation")},
    )
    if "dependency" in values:
        made["dependencies"] = [
            *_list(made, "dependencies"), *map(_dependency, values["dependency"])
        ]  # fmt: skip
    if not arguments and not any(flag in values for flag in _OF_APP):
        return
    given = made.get("app")
    app: dict[str, object] = dict(given) if isinstance(given, dict) else {}
    if not app and "exec" not in values:
        raise UsageError("an app needs a command: give --exec")
    _change_app(app, values, arguments)
    made["app"] = app


def _change_app(app: dict[str, object], values: Values, arguments: list[str]) -> None:
    command = values.last("exec")
    if command is not None:
        app["exec"] = [command, *arguments]
    elif arguments:
        app["exec"] = [*_list(app, "exec"), *arguments]
    app.setdefault("user", "0")
    app.setdefault("group", "0")
    for flag, member in _PLAIN:
        if flag in values:
            app[member] = values.last(flag)
    if "supplementary-gids" in values:
        words = filter(None, values.words("supplementary-gids"))
        app["supplementaryGIDs"] = [read_value.number(word, "supplementary-gids") for word in words]
    _merge(app, "environment", read_value.environment(values, "env"))
    _add(app, "ports", [_port(text) for text in values.get("port", [])])
    _add(app, "mountPoints", [_mount(text) for text in values.get("mount", [])])
    for flag, member in (("user-annotation", "userAnnotations"), ("user-label", "userLabels")):
        pairs = read_value.pairs(values.get(flag, []), flag)
        if pairs:
            kept = app.get(member)
            app[member] = {**(kept if isinstance(kept, dict) else {}), **pairs}
    isolators = read_value.app_isolators(values)
    _add(app, "isolators", [{"name": each.name, "value": each.value} for each in isolators])


def _list(place: dict[str, object], member: str) -> list[object]:
    found = place.get(member)
    return list(found) if isinstance(found, list) else []


def _merge(place: dict[str, object], member: str, pairs: Mapping[str, str]) -> None:
    """Name-value pairs, those given in place of those of the same name."""
    _add(place, member, [{"name": name, "value": value} for name, value in pairs.items()])


def _add(place: dict[str, object], member: str, given: Sequence[Mapping[str, object]]) -> None:
    if not given:
        return
    new = {each["name"]: each for each in given}
    if len(new) < len(given):
        raise UsageError(f"{member}: a name is given more than once")
    kept: list[object] = []
    for each in _list(place, member):
        name = each.get("name") if isinstance(each, dict) else None
        kept.append(new.pop(name, each) if isinstance(name, str) else each)
    place[member] = [*kept, *new.values()]


def _dependency(text: str) -> dict[str, object]:
    name = names.parse_image_name(text, where="--dependency")
    labels = [{"name": each.name, "value": each.value} for each in name.labels]
    return {"imageName": name.name, **({"labels": labels} if labels else {})}


def _port(text: str) -> dict[str, object]:
    """``NAME:PORT[/PROTOCOL]``, or appc's ``NAME,port=80,protocol=tcp,count=2``."""
    name, comma, rest = text.partition(",")
    if not comma:
        name, colon, rest = text.partition(":")
        number, slash, protocol = rest.partition("/")
        if not colon:
            raise UsageError(f'--port: "{text}" is not of the form NAME:PORT[/PROTOCOL]')
        given = {"port": number, "protocol": protocol if slash else "tcp"}
    else:
        given = {"protocol": "tcp", **_members(text, rest, "port")}
    made: dict[str, object] = {"name": name}
    for key, value in given.items():
        if key in ("port", "count"):
            made[key] = read_value.number(value, f"port {text}: {key}")
        elif key == "socketActivated":
            made[key] = truth(value, f"port {text}: socketActivated")
        elif key == "protocol":
            made[key] = value
        else:
            raise UsageError(f'--port {text}: unknown parameter "{key}"')
    return made


def _mount(text: str) -> dict[str, object]:
    """``NAME:PATH[:ro]``, or appc's ``NAME,path=/srv,readOnly=true``."""
    name, comma, rest = text.partition(",")
    if not comma:
        name, colon, path = text.partition(":")
        if not colon:
            raise UsageError(f'--mount: "{text}" is not of the form NAME:PATH[:ro]')
        read_only = path.endswith(":ro")
        path = path.removesuffix(":ro")
        return {"name": name, "path": path, **({"readOnly": True} if read_only else {})}
    given = _members(text, rest, "mount")
    made: dict[str, object] = {"name": name}
    for key, value in given.items():
        if key not in ("path", "readOnly"):
            raise UsageError(f'--mount {text}: unknown parameter "{key}"')
        made[key] = value if key == "path" else truth(value, f"mount {text}: readOnly")
    return made


def _members(text: str, rest: str, flag: str) -> dict[str, str]:
    found = {}
    for part in rest.split(","):
        key, equals, value = part.partition("=")
        if not equals or key in found:
            raise UsageError(f'--{flag}: "{text}" is not of the form NAME,KEY=VALUE,…')
        found[key] = value
    return found
