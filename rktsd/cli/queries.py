"""``rkt list``, ``status`` and ``cat-manifest``."""

import sys
import time
from collections.abc import Callable

from rktsd.cli import table
from rktsd.cli.arguments import none, one_pod, output_format, span
from rktsd.cli.context import Context
from rktsd.cli.parse import Parsed
from rktsd.errors import BadInput, NotFound, StoreError
from rktsd.net.ports import PortMapping, listed
from rktsd.paths import USER_RANGE
from rktsd.pods import query
from rktsd.pods.asjson import pod_json
from rktsd.pods.query import EXITED, RUNNING, PodStatus

_LEGEND = ("UUID", "APP", "IMAGE NAME", "IMAGE ID", "STATE", "CREATED", "STARTED", "NETWORKS")
_NAME = "NAME"
_SHORT_UUID, _SHORT_ID = 8, len("sha512-") + 12
_POLL = 0.1
_PLAIN_RESULTS = ("success", "exit-code", "signal")


def list_pods(context: Context, parsed: Parsed) -> int:
    """A row for every app of every pod, or JSON."""
    none(parsed)
    values = parsed.values
    style = output_format(values)
    statuses = query.all_statuses(context.paths, warn=context.note)
    if style is not None:
        sys.stdout.write(table.as_json([pod_json(each) for each in statuses], style))
        return 0
    # Scripts written for rkt count the columns; people look for the name that they gave.
    shown = [*_LEGEND[:1], _NAME, *_LEGEND[1:]] if sys.stdout.isatty() else list(_LEGEND)
    if not values.on("full"):
        shown.remove("IMAGE ID")
    rows = [] if values.on("no-legend") else [shown]
    for each in statuses:
        rows += [[row.get(name, "") for name in shown] for row in _rows(each, values.on("full"))]
    sys.stdout.write(table.columns(rows))
    return 0


def _rows(status: PodStatus, whole: bool) -> list[dict[str, str]]:
    """Cells by their column, a row for every app; the pod's own are in the first only (rkt)."""
    show = table.exactly if whole else table.ago
    of_apps = [(app.name, app.image_name or "--", app.image_id[:_SHORT_ID]) for app in status.apps]
    columns = ("APP", "IMAGE NAME", "IMAGE ID")
    rows = [dict(zip(columns, app, strict=True)) for app in of_apps or [("-", "-", "-")]]
    rows[0] |= {
        "UUID": status.place.uuid if whole else status.place.uuid[:_SHORT_UUID],
        _NAME: status.place.name or "",
        "STATE": status.state,
        "CREATED": show(status.created),
        "STARTED": show(status.started) if status.started else "",
        "NETWORKS": networks(status),
    }
    return rows


def networks(status: PodStatus) -> str:
    """``default:ip4=172.16.28.2, …``"""
    if status.state not in (RUNNING, EXITED):
        return ""
    return ", ".join(
        f"{each['netName']}:{'ip6' if ':' in address else 'ip4'}={address}"
        for each in status.networks
        for address in dict.fromkeys((each.get("ip"), each.get("ip6")))
        if address
    )


def ports(status: PodStatus) -> str:
    """``8080/tcp -> 80, 127.0.0.1:5353/udp -> 53``"""
    return listed(
        PortMapping(each["hostIP"], each["hostPort"], each["podPort"], each["protocol"])
        for network in status.networks
        for each in network.get("ports") or ()
    )


def status(context: Context, parsed: Parsed) -> int:
    """The state of a pod, now or when it has come to where one waits for."""
    try:
        pod = one_pod(parsed)
    except (BadInput, NotFound, StoreError) as error:
        # rkt's own exit status for this one.
        context.fail(error)
        return 1
    from rktsd.pods import stale

    style = output_format(parsed.values)
    place = query.find(context.paths, pod)
    found = _status(context, place.uuid)
    for flag, reached in (("wait-ready", _is_ready), ("wait", _has_ended)):
        given = parsed.values.last(flag)
        if given is not None:
            found = _await(context, found, reached, patience=_patience(given, flag))
    file = stale.pod_file(context.paths, found.place)
    if style is not None:
        told = {} if file is None else {"pod_file": file}
        sys.stdout.write(table.as_json(pod_json(found) | told, style))
    else:
        told_lines = [] if file is None else [f"pod-file={file}"]
        sys.stdout.writelines(f"{line}\n" for line in (*_lines(context, found), *told_lines))
    return 0


def _status(context: Context, uuid: str) -> PodStatus:
    place = query.find(context.paths, uuid)
    return query.status(place, query.running(context.paths, [place]))


def _is_ready(status: PodStatus) -> bool:
    return status.started is not None or _has_ended(status)


def _has_ended(status: PodStatus) -> bool:
    return status.state not in (RUNNING, "prepared", "preparing", "embryo")


def _patience(text: str, flag: str) -> float | None:
    """Seconds to wait; None is for ever, as are negative times (rkt)."""
    if text in ("true", "false"):
        return None if text == "true" else 0.0
    seconds = span(text, flag)
    return None if seconds < 0 else seconds


def _await(
    context: Context,
    status: PodStatus,
    reached: Callable[[PodStatus], bool],
    *,
    patience: float | None,
) -> PodStatus:
    deadline = None if patience is None else time.monotonic() + patience
    while not reached(status) and (deadline is None or time.monotonic() < deadline):
        time.sleep(_POLL)
        status = _status(context, status.place.uuid)
    return status


def _lines(context: Context, status: PodStatus) -> list[str]:
    lines = [f"state={status.state}"]
    if status.place.name is not None:
        lines.append(f"name={status.place.name}")
    lines.append(f"created={table.exactly(status.created)}")
    if status.started:
        lines.append(f"started={table.exactly(status.started)}")
    if status.state in (RUNNING, EXITED):
        lines.append(f"networks={networks(status)}")
        if ports(status):
            lines.append(f"ports={ports(status)}")
    if status.state == RUNNING:
        from rktsd.pods.processes import main_process

        pid = main_process(status)
        if pid:
            lines.append(f"pid={pid}")
    if status.users is not None:
        lines.append(f"private-users={status.users}:{USER_RANGE}")
    if status.metadata:
        lines.append(f"metadata={status.metadata}")
    lines += [f"unapplied={line}" for line in status.unapplied]
    if status.state in (RUNNING, EXITED) or status.started:
        lines.append(f"exited={'false' if status.state == RUNNING else 'true'}")
    if status.state != RUNNING:
        lines += [
            f"app-{app.name}={app.exit_code}" for app in status.apps if app.exit_code is not None
        ]
    lines += [f"app-{app.name}-health={app.health}" for app in status.apps if app.health]
    # What the exit status does not tell, also while others run.
    lines += [
        f"app-{app.name}-result={app.result}"
        for app in status.apps
        if app.result not in (None, *_PLAIN_RESULTS)
    ]
    return lines


def cat_manifest(context: Context, parsed: Parsed) -> int:
    """Print the manifest of a pod."""
    from rktsd.cli.images import print_manifest
    from rktsd.host.files import read_limited

    place = query.find(context.paths, one_pod(parsed))
    path = f"{place.directory}/pod"
    print_manifest(read_limited(path, 16 << 20), parsed.values, source=path)
    return 0
