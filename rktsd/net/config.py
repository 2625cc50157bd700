"""Networks by name: rkt's built-in ones and the administrator's CNI configuration files."""

import contextlib
import os
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from rktsd.errors import BadInput, NotFound, UsageError
from rktsd.paths import Paths

NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
LIMIT = 1 << 20

# Results carry interfaces, and DEL gets the saved result, only from this version on.
VERSION = "0.4.0"
VERSIONS = ("1.0.0", "0.4.0", "0.3.1", "0.3.0")
"""What plugins may be spoken to in, the best first."""

# Of these nothing outlives the machine's run, given addresses that do not.
_PASSING = frozenset((
    "bandwidth", "bridge", "dummy", "firewall", "host-device", "ipvlan", "loopback", "macvlan",
    "portmap", "ptp", "sbr", "tuning", "vlan", "vrf",
))  # fmt: skip
_PASSING_ADDRESSES = frozenset(("dhcp", "static"))

_MASKING = frozenset(("bridge", "ptp"))

_OF_LISTS = ("name", "cniVersion", "cniVersions", "disableCheck")

Plugin = Mapping[str, object]
Mode = Literal["host", "none", "networks"]


class NetworkConfig(NamedTuple):
    """A network to join: a chain of CNI plugins, the first makes the interface.

    ``plugins`` are the objects of a conflist's "plugins", ``args`` is CNI_ARGS ("K=V;K=V"),
    ``plugin_path`` lists the directories to find plugin programs in. ``masquerade``: the host gives
    its own addresses to what leaves the network, by rules of ours. ``versions`` are those of CNI
    that will do, ``check`` is whether the file lets plugins be asked if all is well.
    """

    name: str
    cni_version: str
    plugins: tuple[Plugin, ...]
    args: str
    plugin_path: tuple[str, ...]
    masquerade: bool = False
    versions: tuple[str, ...] = VERSIONS
    check: bool = True


def networks(paths: Paths, wanted: Sequence[str]) -> list[NetworkConfig]:
    """The networks that ``wanted`` (the values of --net, split at commas) names, in load order.

    Load order is that of rkt: files of net.d by file name, then the built-in networks; a file's
    network replaces the built-in one of the same name, and that of a file in an earlier one of the
    configuration directories. Empty means ``default``; ``none`` and
    ``host`` need no network. Raises UsageError for values that contradict each other, BadInput
    for a bad file, NotFound for a name that nothing defines.
    """
    if mode(wanted) != "networks":
        return []
    args = dict(_split(value) for value in wanted or ("default",))
    found = _known(paths)
    if "all" in args:
        return list(found.values())
    missing = [name for name in args if name not in found]
    if missing:
        hint = f"there are default, default-restricted, and files in {paths.local_config}/net.d"
        raise NotFound(f"networks not found: {', '.join(missing)}", hint=hint)
    return [net._replace(args=args[name]) for name, net in found.items() if name in args]


def known(paths: Paths) -> list[NetworkConfig]:
    """All networks, in load order. Raises BadInput for a bad file."""
    return list(_known(paths).values())


def mode(wanted: Sequence[str]) -> Mode:
    """Whether the pod shares the host's network, has none, or joins networks.

    Raises UsageError when ``wanted`` is malformed, names a network twice, or puts another network
    beside host, none or all.
    """
    names = [_split(value) for value in wanted]
    for position, (name, args) in enumerate(names):
        if name in (other for other, _ in names[:position]):
            raise UsageError(f"network {name!r} is given twice")
        if name in ("host", "none", "all"):
            if len(names) > 1:
                raise UsageError(f"network {name!r} cannot be combined with others")
            if args:
                raise UsageError(f"network {name!r} takes no arguments, got {args!r}")
    if names and names[0][0] == "host":
        return "host"
    return "none" if names and names[0][0] == "none" else "networks"


def _split(value: str) -> tuple[str, str]:
    name, _, args = value.partition(":")
    if not valid_name(name):
        raise UsageError(f"not a network name: {name!r} in {value!r}")
    for pair in args.split(";") if args else ():
        key, equals, _ = pair.partition("=")
        if not key or not equals or "\0" in pair:
            raise UsageError(f"network {name!r}: argument {pair!r} is not KEY=VALUE")
    return name, args


def outlasts(network: NetworkConfig) -> bool:
    """Whether something of the network may still be there after a reboot, an address for one."""
    return any(
        plugin["type"] not in _PASSING or _addresses_outlast(plugin.get("ipam"))
        for plugin in network.plugins
    )


def _addresses_outlast(ipam: object) -> bool:
    if not isinstance(ipam, Mapping) or not ipam:
        return False
    if ipam["type"] == "host-local":
        return not str(ipam["dataDir"]).startswith("/run/")
    return ipam["type"] not in _PASSING_ADDRESSES


def valid_name(name: object) -> bool:
    """The CNI specification's rule for names of networks and containers."""
    return isinstance(name, str) and NAME_CHARACTERS.issuperset(name) and name[:1].isalnum()


def builtin(paths: Paths) -> list[NetworkConfig]:
    """The networks every host has.

    ``default`` is 172.16.28.0/24 behind the host's addresses with a default route;
    ``default-restricted`` is 172.31.0.0/16, from which only the host can be reached. Where the
    host uses IPv6 they have IPv6 addresses as well.
    """
    from rktsd.net import ipv6

    subnets = {"default": ["172.16.28.0/24"], "default-restricted": ["172.31.0.0/16"]}
    routes = ["0.0.0.0/0"]
    if ipv6.in_use():
        subnets["default"].append(f"{ipv6.PREFIX}:1::/64")
        subnets["default-restricted"].append(f"{ipv6.PREFIX}:2::/64")
        routes.append("::/0")
    found = []
    for name, ranges in subnets.items():
        ipam: dict[str, object] = {
            "type": "host-local",
            "ranges": [[{"subnet": subnet}] for subnet in ranges],
        }
        if name == "default":
            ipam["routes"] = [{"dst": route} for route in routes]
        plugin = {"type": "ptp", "ipMasq": name == "default", "ipam": ipam}
        found.append(_config(paths, name, VERSION, [plugin]))
    return found


def _config(paths: Paths, name: str, version: str, plugins: Sequence[Plugin]) -> NetworkConfig:
    plugin_path = (
        *reversed(_directories(paths)),
        *settings(paths).plugin_directories,
        f"{paths.system_config}/plugins/net",
        "/usr/lib/cni",
        "/opt/cni/bin",
    )
    chain = tuple(_volatile(_without_rules(each), f"{paths.run}/networks") for each in plugins)
    return NetworkConfig(name, version, chain, "", plugin_path, any(map(_masks, plugins)))


def _masks(plugin: Plugin) -> bool:
    """Whether the plugin is to masquerade, and leaves it to us how."""
    wanted = plugin["type"] in _MASKING and plugin.get("ipMasq") is True
    return wanted and "ipMasqBackend" not in plugin


def _without_rules(plugin: Plugin) -> Plugin:
    """Have rules of ours masquerade: a plugin would run ten programs for what one script does, and
    nobody could make its rules anew while the pod runs."""
    if not _masks(plugin):
        return plugin
    return {name: value for name, value in plugin.items() if name != "ipMasq"}


def _volatile(plugin: Plugin, data_dir: str) -> Plugin:
    """Keep host-local's reservations under /run: the interfaces do not survive a reboot either."""
    ipam = plugin.get("ipam")
    if not isinstance(ipam, dict) or ipam.get("type") != "host-local" or "dataDir" in ipam:
        return plugin
    return {**plugin, "ipam": {**ipam, "dataDir": data_dir}}


class Settings(NamedTuple):
    """What rktsd.toml says of networks (``config.settings.NetworkSettings``)."""

    forward: bool = True
    plugin_directories: tuple[str, ...] = ()


def settings(paths: Paths) -> Settings:
    """The table [network] of rktsd.toml. Raises BadInput, StoreError.

    Only a file that may have one is parsed: a start of a pod waits for this.
    """
    for directory in paths.config_dirs():
        with contextlib.suppress(OSError), open(f"{directory}/rktsd.toml", "rb") as file:
            if b"network" in file.read(LIMIT):
                break
    else:
        return Settings()
    from rktsd.config.settings import read_network_settings

    found = read_network_settings(paths.config_dirs())
    return Settings(found.forward, found.plugin_directories)


def _directories(paths: Paths) -> list[str]:
    return [f"{directory}/net.d" for directory in paths.config_dirs()]


def _known(paths: Paths) -> dict[str, NetworkConfig]:
    """All networks by name, in load order.

    A file masks one of the same name in an earlier directory, a network another one's.
    """
    files: dict[str, str] = {}
    for directory in _directories(paths):
        with contextlib.suppress(FileNotFoundError):
            files |= dict.fromkeys(os.listdir(directory), directory)
    known: dict[str, NetworkConfig] = {}
    sources: dict[str, str] = {}
    for file in sorted(name for name in files if name.endswith((".conf", ".conflist"))):
        path = f"{files[file]}/{file}"
        network = _read(paths, path)
        other = sources.get(network.name)
        if other is not None:
            order = [_directories(paths).index(os.path.dirname(each)) for each in (other, path)]
            if order[0] == order[1]:
                raise BadInput(f"{path}: name: {network.name!r} is also that of {other}")
            if order[0] > order[1]:
                continue
        known[network.name] = network
        sources[network.name] = path
    for network in builtin(paths):
        known.setdefault(network.name, network)
    return known


def _read(paths: Paths, path: str) -> NetworkConfig:
    import json

    from rktsd.host.files import read_limited

    try:
        conf = json.loads(read_limited(path, LIMIT))
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: not JSON: {error}") from error
    if not isinstance(conf, dict):
        raise BadInput(f"{path}: not a JSON object")
    name = conf.get("name")
    if not valid_name(name):
        raise BadInput(f"{path}: name: not a network name: {name!r}")
    if name in ("host", "none", "all"):
        raise BadInput(f"{path}: name: {name!r} has a meaning of its own")
    versions = _versions(conf, path)
    chain, prefix = conf.get("plugins"), "plugins[{}]."
    if path.endswith(".conf"):
        chain, prefix = [{k: v for k, v in conf.items() if k not in _OF_LISTS}], ""
    if not isinstance(chain, list) or not chain:
        raise BadInput(f"{path}: plugins: not a list with at least one plugin")
    for index, plugin in enumerate(chain):
        _check_plugin(plugin, f"{path}: {prefix.format(index)}")
    found = _config(paths, str(name), versions[0] if versions else VERSION, chain)
    check = conf.get("disableCheck") not in (True, "true")
    return found._replace(versions=versions or VERSIONS, check=check)


def _versions(conf: Mapping[str, object], path: str) -> tuple[str, ...]:
    """What the file says of versions, the best first; empty when it leaves that to us."""
    version, more = conf.get("cniVersion") or None, conf.get("cniVersions") or []
    if version is not None and not isinstance(version, str):
        raise BadInput(f"{path}: cniVersion: not a string: {version!r}")
    if not isinstance(more, list) or not all(isinstance(each, str) for each in more):
        raise BadInput(f"{path}: cniVersions: not a list of strings: {more!r}")
    # Of a list, what is newer than we know is for others.
    listed = [each for each in VERSIONS if each in more or (more and each == version)]
    return tuple(listed) or ((version,) if version else ())


def _check_plugin(plugin: object, where: str) -> None:
    if not isinstance(plugin, dict):
        raise BadInput(f"{where.removesuffix('.')}: not an object")
    for field, kind in (("ipam", dict), ("capabilities", dict), ("ipMasq", bool)):
        if field in plugin and not isinstance(plugin[field], kind):
            raise BadInput(f"{where}{field}: {plugin[field]!r} is not a {kind.__name__}")
    ipam = plugin.get("ipam") or {}
    types = [("type", plugin.get("type")), ("ipam.type", ipam.get("type") if ipam else "none")]
    for field, value in types:
        # The type becomes a program's name: it must not lead out of the plugin directories.
        if not valid_name(value):
            raise BadInput(f"{where}{field}: not a plugin's name: {value!r}")
