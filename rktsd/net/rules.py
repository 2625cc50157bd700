"""Remove what CNI plugins left in the host's nat table.

ptp and bridge find their masquerading rules by the addresses of the pod's interface. When that is
gone already, or the pod changed its addresses, their DEL succeeds and leaves the rules, and a
plugin killed between two rules leaves a chain. Rules carry the container's id in their comment and
chains a name made from network and id, so that the leftovers can be told for certain.
"""

from collections.abc import Sequence

from rktsd.errors import CommandFailed, NetworkError
from rktsd.net.cni import find_program


def sweep(container_id: str, *, networks: Sequence[str], ipv6: bool = False) -> None:
    """Remove the nat rules and chains of ``container_id``; none is fine. Raises NetworkError."""
    from rktsd.host.process import run

    for program in ("iptables", "ip6tables") if ipv6 else ("iptables",):
        # Without the program no plugin can have made rules.
        if not find_program(program):
            continue
        try:
            saved = run([f"{program}-save", "-t", "nat"]).stdout.decode(errors="replace")
            script = removal(saved, container_id, networks=networks)
            if script:
                run([f"{program}-restore", "--noflush", "-w"], input=script.encode())
        except CommandFailed as error:
            raise NetworkError(
                f"cannot remove firewall rules of {container_id}: {error}"
            ) from error


def removal(saved: str, container_id: str, *, networks: Sequence[str]) -> str:
    """What iptables-restore(8) needs to remove the container's rules from ``saved``; may be empty.

    ``saved`` is the output of iptables-save(8) for the nat table.
    """
    marker = f'id: \\"{container_id}\\"'
    candidates = {name for network in networks for name in chain_names(network, container_id)}
    lines = saved.splitlines()
    chains = [
        line[1:].split()[0]
        for line in lines
        if line.startswith(":") and line[1:].split()[0] in candidates
    ]
    commands = [f"-F {chain}" for chain in chains]
    for line in lines:
        words = line.split()
        if words[:1] != ["-A"] or words[1] in chains:
            continue
        if marker in line or (words[-2:-1] == ["-j"] and words[-1] in chains):
            commands.append("-D" + line[2:])
    commands += [f"-X {chain}" for chain in chains]
    return "\n".join(["*nat", *commands, "COMMIT", ""]) if commands else ""


def chain_names(network: str, container_id: str) -> list[str]:
    """The chains that the plugins make per container: masquerading, and portmap's two.

    28 characters of CNI-, a kind, and the SHA-512 of network name and container id in hex.
    """
    import hashlib

    digest = hashlib.sha512(f"{network}{container_id}".encode()).hexdigest()
    return [f"CNI-{kind}{digest}"[:28] for kind in ("", "DN-", "SN-")]
