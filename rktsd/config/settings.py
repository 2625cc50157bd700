"""``rktsd.toml``: how this machine fetches and runs images (rktsd.toml(5))."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rktsd.appc.cursor import Cursor
from rktsd.config.kinds import toml_files

NAME = "rktsd.toml"
_HUGE = 1 << 50


@dataclass(frozen=True, slots=True)
class Settings:
    """Times are in seconds, sizes in bytes, ``minimum_rate`` in bytes a second."""

    simple_discovery: bool = False
    retries: int = 3
    retry_delay: float = 0.5
    longest_wait: float = 60.0
    connect_timeout: float = 20.0
    answer_timeout: float = 60.0
    minimum_rate: int = 1024
    maximum_archive: int = 32 << 30
    maximum_unpacked: int = 64 << 30
    maximum_entries: int = 4_000_000
    maximum_expansion: int = 2_000


@dataclass(frozen=True, slots=True)
class RunSettings:
    """``image_privileges``: whether an image gets capabilities, system calls and an OOM score
    beyond the usual because it asks for them."""

    image_privileges: bool = False


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """``forward``: whether pods get through hosts that drop what they forward;
    ``plugin_directories`` hold CNI plugins beside the usual ones."""

    forward: bool = True
    plugin_directories: tuple[str, ...] = ()


def _time(place: Cursor) -> float:
    value = place.value
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 86400:
        raise place.wrong("a number of seconds (0 to 86400)")
    return float(value)


def _positive_time(place: Cursor) -> float:
    if not _time(place):
        raise place.wrong("a number of seconds above 0")
    return _time(place)


def _size(place: Cursor) -> int:
    return place.integer(1, _HUGE, what="a number of bytes")


def _directory(place: Cursor) -> str:
    # It becomes a part of a list that colons separate.
    if not place.filled().startswith("/") or ":" in place.filled():
        raise place.wrong("an absolute path without colons")
    return place.filled()


FETCH: Mapping[str, Callable[[Cursor], object]] = {
    "simple-discovery": Cursor.boolean,
    "retries": lambda place: place.integer(0, 100),
    "retry-delay": _time,
    "longest-wait": _time,
    "connect-timeout": _positive_time,
    "answer-timeout": _positive_time,
    "minimum-rate": lambda place: place.integer(0, _HUGE, what="a number of bytes a second"),
    "maximum-archive": _size,
    "maximum-unpacked": _size,
    "maximum-entries": lambda place: place.integer(1, _HUGE),
    "maximum-expansion": lambda place: place.integer(1, _HUGE),
}

RUN: Mapping[str, Callable[[Cursor], object]] = {"image-privileges": Cursor.boolean}
NETWORK: Mapping[str, Callable[[Cursor], object]] = {
    "forward": Cursor.boolean,
    "plugin-directories": lambda place: tuple(_directory(each) for each in place.elements()),
}
_TABLES = {"fetch": FETCH, "run": RUN, "network": NETWORK}


def read_settings(directories: Sequence[str]) -> Settings:
    """The settings of rktsd.toml in ``directories``; a later one overrides key by key.

    Raises BadInput that names file, key and value; StoreError for a file that cannot be read.
    """
    return Settings(**_read(directories, "fetch"))  # type: ignore[arg-type]  # as _TABLES has them


def read_run_settings(directories: Sequence[str]) -> RunSettings:
    """As ``read_settings``, of the table ``[run]``."""
    return RunSettings(**_read(directories, "run"))  # type: ignore[arg-type]  # as _TABLES has them


def read_network_settings(directories: Sequence[str]) -> NetworkSettings:
    """As ``read_settings``, of the table ``[network]``."""
    return NetworkSettings(**_read(directories, "network"))  # type: ignore[arg-type]  # as above


def _read(directories: Sequence[str], wanted: str) -> dict[str, object]:
    """The settings of one table by the names of their fields; every file is checked wholly."""
    found: dict[str, object] = {}
    for document in toml_files(directories, NAME):
        for name, table in document.members():
            if name not in _TABLES:
                raise table.problem("unknown table", hint="there are [fetch], [network] and [run]")
            for key, place in table.members():
                if key not in _TABLES[name]:
                    raise place.problem("unknown setting")
                value = _TABLES[name][key](place)
                if name == wanted:
                    found[key.replace("-", "_")] = value
    return found
