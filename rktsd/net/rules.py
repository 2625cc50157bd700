"""Find and remove the rules of containers in what iptables-save(8) prints.

ptp and bridge find their masquerading rules by the addresses of the pod's interface. When that is
gone already, or the pod changed its addresses, their DEL succeeds and leaves the rules, and a
plugin killed between two rules leaves a chain. Rules carry the container's id in their comment and
chains a name made from network and id, so that the leftovers can be told for certain. So it is with
the rules of ``net.firewall``, of which somebody else may have removed a part.
"""

from collections.abc import Collection, Iterator, Sequence

from rktsd.errors import CommandFailed, NetworkError
from rktsd.net import firewall
from rktsd.net.cni import find_program


def restore(program: str, script: str, *, lock: int | None = None) -> None:
    """Give ``script`` to iptables-restore(8) or ip6tables-restore: all of it, or nothing.

    ``lock`` is a descriptor that it inherits. Raises CommandFailed.
    """
    from rktsd.host.process import run

    done = run(
        [f"{program}-restore", "--noflush", "-w"],
        input=script.encode(),
        pass_fds=() if lock is None else (lock,),
        check=False,
    )
    if done.returncode:
        # Its last line refers to the manual.
        reason = next(iter(done.stderr.decode(errors="replace").strip().splitlines()), "")
        reason = reason or f"exit status {done.returncode}"
        raise CommandFailed(f"{program}-restore: {reason}", status=done.returncode)


def save(program: str) -> str:
    """All rules of a family. Raises CommandFailed."""
    from rktsd.host.process import run

    return run([f"{program}-save"]).stdout.decode(errors="replace")


def sweep(container_id: str, *, networks: Sequence[str], ipv6: bool = False) -> None:
    """Remove all rules and chains of ``container_id``; none is fine. Raises NetworkError."""
    for program in ("iptables", "ip6tables") if ipv6 else ("iptables",):
        # Without the program nobody can have made rules.
        if not find_program(program):
            continue
        try:
            script = removal(save(program), container_id, networks=networks)
            if script:
                restore(program, script)
        except CommandFailed as error:
            raise NetworkError(
                f"cannot remove firewall rules of {container_id}: {error}"
            ) from error


def removal(saved: str, container_id: str, *, networks: Sequence[str]) -> str:
    """What iptables-restore(8) needs to remove the container's rules from ``saved``; may be empty.

    ``saved`` is the output of iptables-save(8).
    """
    markers = _markers(container_id)
    candidates = {name for network in networks for name in chain_names(network, container_id)}
    candidates |= set(firewall.chains(container_id))
    script = ""
    for table, lines in _tables(saved):
        declared = [line[1:].split()[0] for line in lines if line.startswith(":")]
        chains = [name for name in declared if name in candidates]
        commands = [f"-F {chain}" for chain in chains]
        for line in lines:
            words = line.split()
            if words[0] != "-A" or words[1] in chains:
                continue
            if _marked(line, markers) or (words[-2:-1] == ["-j"] and words[-1] in chains):
                commands.append("-D" + line[2:])
        commands += [f"-X {chain}" for chain in chains]
        if commands:
            script += "\n".join([f"*{table}", *commands, "COMMIT", ""])
    return script


def count(saved: str, container_id: str) -> int:
    """How many rules of ``net.firewall`` the container has in ``saved``."""
    own = firewall.chains(container_id)
    markers = _markers(container_id)[1:]
    return sum(
        line.split()[1] in own or _marked(line, markers)
        for _, lines in _tables(saved)
        for line in lines
        if line.startswith("-A")
    )


def _tables(saved: str) -> Iterator[tuple[str, list[str]]]:
    name, lines = "", list[str]()
    for line in saved.splitlines():
        if line.startswith("*"):
            name, lines = line[1:].strip(), []
        elif line.startswith("COMMIT"):
            yield name, lines
        elif line.startswith((":", "-")):
            lines.append(line)


def _markers(container_id: str) -> tuple[str, ...]:
    own = firewall.comment(container_id)
    return f'id: \\"{container_id}\\"', f"--comment {own} ", f'--comment "{own}" '


def _marked(line: str, markers: Collection[str]) -> bool:
    return any(marker in f"{line} " for marker in markers)


def chain_names(network: str, container_id: str) -> list[str]:
    """The chains that the plugins make per container: masquerading, and portmap's two.

    28 characters of CNI-, a kind, and the SHA-512 of network name and container id in hex.
    """
    import hashlib

    digest = hashlib.sha512(f"{network}{container_id}".encode()).hexdigest()
    return [f"CNI-{kind}{digest}"[:28] for kind in ("", "DN-", "SN-")]
