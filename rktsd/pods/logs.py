"""Which entries of the journal are those of a pod, also of one that is no more."""

from collections.abc import Sequence

from rktsd.errors import NotFound, RktError, UsageError
from rktsd.paths import Paths
from rktsd.pods import query
from rktsd.systemd import journal

FORMATS = (
    "short", "short-iso", "short-iso-precise", "short-precise", "short-full", "short-monotonic",
    "short-unix", "with-unit", "verbose", "export", "json", "json-pretty", "json-sse", "json-seq",
    "cat",
)  # fmt: skip
"""What journalctl(1) can print entries as, but for what has more than text."""

_NAME, _RUN, _APP = "RKT_POD", "RKT_POD_UUID", "RKT_APP"


def matches(
    paths: Paths, pod: str, *, apps: Sequence[str] = (), run: int | None = None
) -> list[str]:
    """What journalctl(1) is told to show of a pod: all its apps, or ``apps``.

    By a name all runs are meant, or with ``run`` the last (0) or one so many before it. Raises
    NotFound, and UsageError for a ``run`` of a UUID.
    """
    field, value, known = _pod(paths, pod)
    if run is not None:
        field, value = _RUN, _earlier(field, value, run)
    for app in apps:
        if app not in known:
            raise NotFound(f'pod {pod} has no app "{app}", only {", ".join(known)}')
    return [f"{field}={value}", *(f"{_APP}={app}" for app in apps)]


def _pod(paths: Paths, pod: str) -> tuple[str, str, Sequence[str]]:
    """(field, value, apps) of a pod that is there, or that the journal still tells of."""
    try:
        place = query.find(paths, pod)
    except NotFound as error:
        return _removed(pod, error)
    apps = [each.name for each in query.status(place, query.Live()).apps]
    if place.name is not None and place.name == pod:
        return _NAME, pod, apps
    return _RUN, place.uuid, apps


def _removed(pod: str, error: RktError) -> tuple[str, str, Sequence[str]]:
    """The same of a pod that is no more. Raises ``error`` when the journal knows none."""
    if pod in journal.values(_NAME):
        field, value = _NAME, pod
    else:
        wanted = pod.lower()
        runs = [each for each in journal.values(_RUN) if wanted and each.startswith(wanted)]
        if len(wanted) < 2 or not runs:
            raise error
        if len(runs) > 1:
            raise UsageError(f'"{pod}" is the beginning of {len(runs)} pods in the journal')
        field, value = _RUN, runs[0]
    return field, value, sorted(set(journal.backwards(_APP, f"{field}={value}")))


def _earlier(field: str, value: str, run: int) -> str:
    """The UUID of the last run (0), or of one so many before it."""
    if field != _NAME:
        raise UsageError("--run: a UUID means one run, give the name of a pod")
    seen: list[str] = []
    for uuid in journal.backwards(_RUN, f"{field}={value}"):
        if uuid not in seen:
            seen.append(uuid)
        if len(seen) > run:
            return seen[-1]
    runs = "1 run" if len(seen) == 1 else f"{len(seen)} runs"
    raise NotFound(f"pod {value}: the journal knows of {runs} only")
