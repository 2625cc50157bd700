"""What is left of networks whose state is gone as well: found by the marks that all of it carries.

Whatever has a state is released by it. A crash, or somebody who emptied /run, leaves namespaces,
addresses, rules and cables that no state speaks of. Candidates are always listed before the states:
a state is saved before anything is made, so that what a start makes meanwhile is never taken.
"""

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Sequence, Set
from typing import NamedTuple

from rktsd.errors import CommandFailed, NetworkError, RktError
from rktsd.host.files import locked
from rktsd.net import forwarding, rules
from rktsd.net import namespace as netns
from rktsd.net.cni import find_program
from rktsd.net.links import remove_cables
from rktsd.net.state import FILE, State, load

_ID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_NAMESPACE = re.compile(f"rkt-({_ID})")
_MARK = re.compile(f"rkt:({_ID})")
_PLUGINS_MARK = re.compile(rf'name: \\"([^"\\]*)\\" id: \\"({_ID})\\"')
_CHAIN = re.compile(r"RKT-PFWD-[DS]NAT-([0-9a-f]{8})\b")
# Of the built-in networks: a route to a single pod by the host's end of its cable.
_CABLE = re.compile(r"^(?:172\.16\.28|172\.31\.\d+|fd72:6b74:7364:[12]:\S*)\S* dev (veth\S+)")


class Known(NamedTuple):
    """Of all networks with a state: whose they are, and the host's ends of their cables.

    ``cables`` is None while one of them is being set up.
    """

    ids: frozenset[str]
    cables: frozenset[str] | None


def remove_orphans(
    run: str, *, ids: Callable[[], Set[str]], networks: Sequence[str]
) -> list[RktError]:
    """Remove what nobody has, and return what went wrong.

    ``run`` is /run/rkt; ``ids`` gives the containers there are besides those with a state;
    ``networks`` are the names of those whose plugins' rules may be ours.
    """

    def known() -> Known:
        found = _known(f"{run}/pods")
        return found._replace(ids=found.ids | ids())

    problems: list[RktError] = []
    steps: tuple[Callable[[], None], ...] = (
        lambda: _namespaces(known),
        lambda: _cables(known),
        lambda: _rules(known, networks),
        lambda: _chains_of_others(known),
        lambda: _reservations(f"{run}/networks", known),
        lambda: _claims(f"{run}/ports"),
    )
    for step in steps:
        try:
            step()
        except RktError as error:
            problems.append(error)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            problems.append(NetworkError(f"{where}{error.strerror}"))
    return problems


def _known(pods: str) -> Known:
    states = list(_states(pods))
    joined = [each for state in states for each in state.joined]
    cables = frozenset(
        each["name"] for one in joined for each in (one.result or {}).get("interfaces") or ()
    )
    settled = all(one.result is not None for one in joined)
    return Known(frozenset(state.container_id for state in states), cables if settled else None)


def _states(pods: str) -> Iterator[State]:
    with contextlib.suppress(FileNotFoundError):
        for pod in os.listdir(pods):
            state = load(f"{pods}/{pod}/network") if os.path.isdir(f"{pods}/{pod}") else None
            if state is not None:
                yield state


def _namespaces(known: Callable[[], Known]) -> None:
    with contextlib.suppress(FileNotFoundError):
        names = os.listdir("/run/netns")
        ids = known().ids
        for name in names:
            found = _NAMESPACE.fullmatch(name)
            if found and found[1] not in ids:
                netns.remove(f"/run/netns/{name}")


def _cables(known: Callable[[], Known]) -> None:
    from rktsd.host.process import run

    found = set()
    for family in ("-4", "-6"):
        lines = run(["ip", family, "-o", "route"], check=False).stdout.decode().splitlines()
        found |= {match[1] for match in map(_CABLE.match, lines) if match}
    cables = known().cables
    if found and cables is not None:
        remove_cables(sorted(found - cables))


def _rules(known: Callable[[], Known], networks: Sequence[str]) -> None:
    for program in ("iptables", "ip6tables"):
        if not find_program(program):
            continue
        try:
            saved = rules.save(program)
        except CommandFailed as error:
            raise NetworkError(f"cannot look for firewall rules: {error}") from error
        ids = known().ids
        found = {match[1] for match in _MARK.finditer(saved)}
        found |= {match[2] for match in _PLUGINS_MARK.finditer(saved) if match[1] in networks}
        # Their beginning is all that chains tell.
        short = {match[1] for match in _CHAIN.finditer(saved)} - {each[:8] for each in ids}
        short -= {each[:8] for each in found}
        for each in sorted((found - ids) | short):
            rules.sweep(each, networks=networks, ipv6=program == "ip6tables")


def _chains_of_others(known: Callable[[], Known]) -> None:
    from rktsd.host.process import run

    host = forwarding.look()
    if not host.chains or not find_program("nft"):
        return
    listed = "".join(
        run(["nft", "list", "chain", *chain], check=False).stdout.decode(errors="replace")
        for chain in host.chains
    )
    found = {match[1] for match in _MARK.finditer(listed)}
    for each in sorted(found - known().ids):
        try:
            forwarding.dismiss(each, host, ())
        except CommandFailed as error:
            raise NetworkError(f"cannot remove rules of {each}: {error}") from error


def _reservations(directory: str, known: Callable[[], Known]) -> None:
    """host-local's files: by network a file for each address, with the container's id in it."""
    with contextlib.suppress(FileNotFoundError):
        for network in os.listdir(directory):
            _reservations_of(f"{directory}/{network}", known)


def _reservations_of(directory: str, known: Callable[[], Known]) -> None:
    # The lock of the plugin itself.
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), locked(f"{directory}/lock"):
        holders = {
            name: _first_line(f"{directory}/{name}")
            for name in os.listdir(directory)
            if name != "lock" and not name.startswith("last_reserved_ip.")
        }
        ids = known().ids
        for name, holder in holders.items():
            if holder not in ids:
                os.unlink(f"{directory}/{name}")


def _first_line(path: str) -> str:
    with open(path) as file:
        return file.readline().strip()


def _claims(directory: str) -> None:
    with contextlib.suppress(FileNotFoundError), locked(directory):
        for name in os.listdir(directory):
            if not os.path.exists(f"{directory}/{name}/{FILE}"):
                os.unlink(f"{directory}/{name}")
