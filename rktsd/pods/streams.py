"""What the streams of an app are: annotations of its manifest, as with rkt."""

from __future__ import annotations

from collections.abc import Mapping

from rktsd.appc.types import NameValue, RuntimeApp
from rktsd.errors import BadInput
from rktsd.stage1.types import Streams

ANNOTATION = "coreos.com/rkt/stage2/"
KINDS = {
    "stdin": ("null", "stream", "tty"),
    "stdout": ("log", "null", "stream", "tty"),
    "stderr": ("log", "null", "stream", "tty"),
}


def as_annotations(given: Mapping[str, str | None]) -> tuple[NameValue, ...]:
    """The annotations that say it, of those of ``given`` that are more than None."""
    return tuple(
        NameValue(f"{ANNOTATION}{name}", given[name] or "")
        for name in KINDS
        if given.get(name) is not None
    )


def streams_of(runtime: RuntimeApp) -> Streams | None:
    """What the annotations of an app say, None where that is the usual. Raises BadInput.

    A terminal is one for all three, so of what is not said standard output and error are it too.
    """
    said = {each.name: each.value for each in runtime.annotations}
    given = {name: said[ANNOTATION + name] for name in KINDS if ANNOTATION + name in said}
    for name, value in given.items():
        if value not in KINDS[name]:
            raise BadInput(
                f'app {runtime.name}: {name}: "{value}" is not one of {", ".join(KINDS[name])}'
            )
    if "tty" in given.values():
        given = {"stdout": "tty", "stderr": "tty"} | given
        _check_terminal(runtime.name, given)
    found = Streams(
        given.get("stdin", "null"), given.get("stdout", "log"), given.get("stderr", "log")
    )
    return None if found == Streams() else found


def _check_terminal(app: str, given: Mapping[str, str]) -> None:
    for name, value in given.items():
        if value != "tty" and (name, value) != ("stdin", "null"):
            raise BadInput(
                f'app {app}: {name}: "{value}" beside "tty": a terminal is one for all streams',
                hint="leave it out, or write tty" if value != "stream" else None,
            )
