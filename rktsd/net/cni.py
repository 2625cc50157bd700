"""CNI plugins, run as the CNI specification says: configuration in, result or error out, JSON."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from rktsd.errors import CommandFailed, NetworkError
from rktsd.net.config import VERSION, NetworkConfig, Plugin
from rktsd.net.ports import PortMapping
from rktsd.net.state import Result

TIMEOUT = 60.0
PORT_MAPPINGS = "portMappings"


# An error of the specification: the plugin does not speak the version of its configuration.
_INCOMPATIBLE = 1


class Incompatible(NetworkError):
    """A plugin does not know the version of CNI that it was addressed in."""


class Target(NamedTuple):
    """Whom a network is for; ``lock`` is a descriptor that every plugin inherits."""

    container_id: str
    namespace: str
    lock: int


def add(
    network: NetworkConfig,
    target: Target,
    *,
    interface: str,
    ports: Sequence[PortMapping] = (),
    meanwhile: Callable[[], None] | None = None,
) -> Result:
    """Run ADD along the chain; the result of its last plugin. Raises NetworkError.

    ``meanwhile`` is called while the first of them runs. On failure the caller must run ``delete``:
    some plugins of the chain may have succeeded.
    """
    result: Result = {}
    for plugin in network.plugins:
        conf = _conf(network, plugin, ports, result)
        result = _run("ADD", network, target, interface, conf, meanwhile)
        meanwhile = None
    return result


def delete(
    network: NetworkConfig,
    target: Target,
    *,
    interface: str,
    ports: Sequence[PortMapping] = (),
    result: Result | None = None,
) -> None:
    """Run DEL backwards along the whole chain, then raise NetworkError for the first failure.

    It may be called for a network whose ADD never began, failed, or was deleted before.
    """
    first: NetworkError | None = None
    for plugin in reversed(network.plugins):
        try:
            _run("DEL", network, target, interface, _conf(network, plugin, ports, result or {}))
        except NetworkError as error:
            first = first or error
    if first:
        raise first


def check(network: NetworkConfig, target: Target, *, interface: str, result: Result) -> None:
    """Ask the plugins whether all is as their ADD left it. Raises NetworkError when it is not.

    CHECK is of 0.4.0 and later, and a file can forbid it.
    """
    if not network.check or _order(network.cni_version) < _order("0.4.0"):
        return
    for plugin in network.plugins:
        _run("CHECK", network, target, interface, _conf(network, plugin, (), result))


def agree(network: NetworkConfig, target: Target, *, why: Incompatible) -> NetworkConfig:
    """``network`` in the best version that all its plugins know. Raises NetworkError for none."""
    common = set(network.versions)
    known = []
    for plugin in network.plugins:
        spoken = _versions(network, target, plugin)
        common &= set(spoken)
        known.append(f"{plugin['type']} speaks {', '.join(spoken) or 'none'}")
    common.discard(network.cni_version)
    if not common:
        wanted = ", ".join(network.versions)
        raise NetworkError(f"{why} (wanted: {wanted}; {'; '.join(known)})")
    return network._replace(cni_version=max(common, key=_order))


def _versions(network: NetworkConfig, target: Target, plugin: Plugin) -> list[str]:
    found = _run("VERSION", network, target, "", {"type": plugin["type"], "cniVersion": VERSION})
    versions = found.get("supportedVersions")
    return (
        [each for each in versions if isinstance(each, str)] if isinstance(versions, list) else []
    )


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())


def check_programs(network: NetworkConfig, *, rules: bool = False) -> None:
    """Check that all programs which ``network`` needs are there. Raises NetworkError.

    ``rules``: also what makes rules of ours.
    """
    for plugin in network.plugins:
        _find(network, str(plugin["type"]))
        ipam = plugin.get("ipam")
        if isinstance(ipam, Mapping) and ipam:
            _find(network, str(ipam["type"]))
        if plugin.get("ipMasq") or plugin["type"] == "portmap":
            _need_iptables(f"network {network.name!r}: plugin {plugin['type']}")
    if rules:
        _need_iptables(f"network {network.name!r}")


def _need_iptables(who: str) -> None:
    if not find_program("iptables"):
        message = f"{who} needs the program iptables, which is not installed"
        raise NetworkError(message, hint="apt install iptables")


def find_program(name: str) -> str | None:
    """The path of a system program, in the PATH that plugins get."""
    from rktsd.host.process import ENVIRONMENT

    return _executable(name, ENVIRONMENT["PATH"].split(":"))


def _executable(name: str, directories: Sequence[str]) -> str | None:
    for directory in directories:
        path = f"{directory}/{name}"
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def _find(network: NetworkConfig, program: str) -> str:
    path = _executable(program, network.plugin_path)
    if not path:
        raise NetworkError(
            f"network {network.name!r}: plugin {program!r} not found in"
            f" {', '.join(network.plugin_path)}",
            hint="apt install containernetworking-plugins",
        )
    return path


def _conf(
    network: NetworkConfig, plugin: Plugin, ports: Sequence[PortMapping], result: Result
) -> dict[str, object]:
    conf = {**plugin, "name": network.name, "cniVersion": network.cni_version}
    if result:
        conf["prevResult"] = result
    capabilities = conf.pop("capabilities", None)
    if isinstance(capabilities, Mapping):
        offered = _runtime_config(network.args, ports)
        chosen = {name: value for name, value in offered.items() if capabilities.get(name)}
        if chosen:
            told = conf.get("runtimeConfig")
            conf["runtimeConfig"] = {**(told if isinstance(told, Mapping) else {}), **chosen}
    return conf


def _runtime_config(args: str, ports: Sequence[PortMapping]) -> dict[str, object]:
    """What plugins that declare a capability are told (CNI's conventions): ports, IP=, MAC=."""
    given = dict(pair.split("=", 1) for pair in args.split(";") if pair)
    offered: dict[str, object] = {}
    if ports:
        offered[PORT_MAPPINGS] = [_port(mapping) for mapping in ports]
    if "IP" in given:
        offered["ips"] = given["IP"].split(",")
    if "MAC" in given:
        offered["mac"] = given["MAC"]
    return offered


def _port(mapping: PortMapping) -> dict[str, object]:
    entry: dict[str, object] = {
        "hostPort": mapping.host_port,
        "containerPort": mapping.pod_port,
        "protocol": mapping.protocol,
    }
    return entry if mapping.host_ip is None else entry | {"hostIP": mapping.host_ip}


def _run(
    command: str,
    network: NetworkConfig,
    target: Target,
    interface: str,
    conf: Mapping[str, object],
    meanwhile: Callable[[], None] | None = None,
) -> Result:
    import json

    from rktsd.host.process import run

    plugin = str(conf["type"])
    where = f"network {network.name!r}: plugin {plugin}: {command}"
    environment = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": target.container_id,
        "CNI_NETNS": target.namespace if _is_namespace(target.namespace) else "",
        "CNI_IFNAME": interface,
        "CNI_PATH": ":".join(network.plugin_path),
        "CNI_ARGS": network.args,
    }
    try:
        done = run(
            [_find(network, plugin)],
            input=json.dumps(conf).encode(),
            environment=environment,
            timeout=TIMEOUT,
            check=False,
            pass_fds=(target.lock,),
            meanwhile=meanwhile,
        )
    except CommandFailed as error:
        raise NetworkError(f"{where}: {error}") from error
    if done.returncode != 0:
        code, reason = _reason(done.stdout, done.stderr, done.returncode)
        kind = Incompatible if code == _INCOMPATIBLE else NetworkError
        raise kind(f"{where}: {reason}")
    if command in ("DEL", "CHECK"):
        return {}
    try:
        result = json.loads(done.stdout)
    except ValueError:
        result = None
    if not isinstance(result, dict):
        raise NetworkError(f"{where}: its result is not a JSON object")
    return result


def _is_namespace(path: str) -> bool:
    """Whether a namespace is mounted at ``path``: a half-made one is an empty file."""
    try:
        return os.stat(path).st_dev == os.stat("/proc/self/ns/net").st_dev
    except FileNotFoundError:
        return False


def _reason(output: bytes, errors: bytes, status: int) -> tuple[object, str]:
    """What a failed plugin says: the code of its error object, its msg and details as one line."""
    import json

    code = None
    try:
        error = json.loads(output)
        code = error.get("code")
        reason = ": ".join(str(error[key]) for key in ("msg", "details") if error.get(key))
    except (ValueError, AttributeError):
        reason = (errors or output).decode(errors="replace")
    return code, " ".join(reason.split()) or f"exit status {status}"
