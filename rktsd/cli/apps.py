"""``rkt app``: the apps of a pod that runs, one by one. ``app sandbox`` is in ``running``."""

import sys

from rktsd.cli import table
from rktsd.cli.arguments import one_pod, output_format, read_uuid_file
from rktsd.cli.context import Context, require_systemd
from rktsd.cli.parse import AppArguments, Parsed
from rktsd.errors import UsageError
from rktsd.pods import query
from rktsd.pods.asjson import app_json, mounts
from rktsd.pods.processes import choose_app, running_place
from rktsd.pods.query import AppStatus, PodStatus


def add(context: Context, parsed: Parsed) -> int:
    """Add an app; its image is fetched, if need be, and verified."""
    from rktsd.cli.sandboxes import added
    from rktsd.pods import apps
    from rktsd.pods import spec as specs
    from rktsd.store.store import Store

    require_systemd()
    pod, arguments = _pod_and_image(parsed)
    place = running_place(context.paths, pod)
    spec = specs.load(place.directory)
    # Before anything is fetched.
    apps.check_mutable(place, spec)
    with Store.open(context.paths.store, create=True) as store:
        one = added(context, arguments, spec, values=parsed.values, store=store)
        unapplied = apps.add(context.paths, place, one)
    for line in unapplied:
        context.note(f"not applied: {line}")
    return 0


def _pod_and_image(parsed: Parsed) -> tuple[str, AppArguments]:
    words, file = list(parsed.apps), parsed.values.last("uuid-file")
    if file is not None:
        pod = read_uuid_file(file)
    elif words:
        first = words.pop(0)
        if first.values:
            raise UsageError(f"--{next(iter(first.values))} must follow an image")
        if first.arguments:
            raise UsageError("an image is required before any app arguments")
        pod = first.image
    else:
        raise UsageError("exactly one pod has to be given")
    if len(words) != 1:
        raise UsageError("exactly one image has to be given")
    return pod, words[0]


def start(context: Context, parsed: Parsed) -> int:
    """Start an app; one that runs is no error."""
    from rktsd.pods import apps

    require_systemd()
    place = running_place(context.paths, one_pod(parsed))
    app = choose_app(place, parsed.values.last("app"))
    if not apps.start(context.paths, place, app):
        context.note(f'app "{app}" is already running')
    return 0


def stop(context: Context, parsed: Parsed) -> int:
    """Stop an app; one that does not run is no error."""
    from rktsd.pods import apps

    require_systemd()
    place = running_place(context.paths, one_pod(parsed))
    app = choose_app(place, parsed.values.last("app"))
    if not apps.stop(place, app):
        context.note(f'app "{app}" is already stopped')
    return 0


def rm(context: Context, parsed: Parsed) -> int:
    """Remove an app."""
    from rktsd.pods import apps

    require_systemd()
    place = running_place(context.paths, one_pod(parsed))
    apps.remove(context.paths, place, choose_app(place, parsed.values.last("app")))
    return 0


def list_apps(context: Context, parsed: Parsed) -> int:
    """A row for every app, or JSON."""
    style = output_format(parsed.values)
    pod = _status(context, parsed)
    if style is not None:
        sys.stdout.write(table.as_json([app_json(each, pod) for each in pod.apps], style))
        return 0
    rows = [] if parsed.values.on("no-legend") else [["NAME", "STATE"]]
    sys.stdout.write(table.columns([*rows, *([each.name, each.state] for each in pod.apps)]))
    return 0


def status(context: Context, parsed: Parsed) -> int:
    """The state of an app."""
    style = output_format(parsed.values)
    pod = _status(context, parsed)
    name = choose_app(pod.place, parsed.values.last("app"))
    app = next(each for each in pod.apps if each.name == name)
    if style is not None:
        sys.stdout.write(table.as_json(app_json(app, pod), style))
    else:
        sys.stdout.writelines(f"{line}\n" for line in _lines(app, pod))
    return 0


def _status(context: Context, parsed: Parsed) -> PodStatus:
    place = query.find(context.paths, one_pod(parsed))
    return query.status(place, query.running(context.paths, [place]))


def _lines(app: AppStatus, pod: PodStatus) -> list[str]:
    """What is known of an app, as rkt prints it."""
    lines = [f"name={app.name}", f"state={app.state}", f"image_id={app.image_id}"]
    for name, moment in (
        ("created_at", app.created),
        ("started_at", app.started),
        ("finished_at", app.finished),
    ):
        if moment is not None:
            lines.append(f"{name}={table.exactly(moment)}")
    if app.exit_code is not None:
        lines.append(f"exit_code={app.exit_code}")
    mounted = [
        f"{each['host_path']}:{each['container_path']}"
        f":(readonly:{'true' if each['read_only'] else 'false'})"
        for each in mounts(app, pod)
    ]
    section = app.manifest.get("app") or {}
    for name, words in (
        ("mounts", mounted),
        ("user_annotations", [f"{k}={v}" for k, v in section.get("userAnnotations", {}).items()]),
        ("user_labels", [f"{k}={v}" for k, v in section.get("userLabels", {}).items()]),
    ):
        if words:
            lines.append(f"{name}={','.join(words)}")
    return lines
