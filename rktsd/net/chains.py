"""Which plugins a pod's networks are joined with."""

from collections.abc import Mapping, Sequence

from rktsd.net import cni
from rktsd.net.config import NetworkConfig, Plugin
from rktsd.net.ports import PortMapping
from rktsd.net.state import Joined

# How long the kernel lets an interface send at full speed, in seconds of its rate, and the least
# amount of it in bits: a packet that the kernel has not split yet has to fit.
BURST_TIME = 0.1
LEAST_BURST = 8 * 64 * 1024
# The plugin's own limit: the kernel counts bytes in 32 bits.
MOST_BURST = 8 * (2**32 - 1)


def chains(networks: Sequence[NetworkConfig], ports: Sequence[PortMapping]) -> list[Joined]:
    """What to join: eth0, eth1, …, with the ports where they go."""
    masqueraded = (index for index, network in enumerate(networks) if _masquerades(network))
    target = next(masqueraded, len(networks) - 1) if ports else -1
    joining = []
    for index, network in enumerate(networks):
        mappings = tuple(ports) if index == target else ()
        cni.check_programs(network, rules=network.masquerade or bool(mappings))
        joining.append(Joined(network, f"eth{index}", mappings, None))
    return joining


def _masquerades(network: NetworkConfig) -> bool:
    return network.masquerade or any(plugin.get("ipMasq") for plugin in network.plugins)


def bounded(network: NetworkConfig, bandwidth: int | None) -> NetworkConfig:
    """``network`` with CNI's bandwidth plugin, its own or ours, which does what tc(8) would."""
    if bandwidth is None:
        return network
    rate = bandwidth * 8
    burst = min(max(int(rate * BURST_TIME), LEAST_BURST), MOST_BURST)
    limits: dict[str, object] = {}
    for way in ("ingress", "egress"):
        limits |= {f"{way}Rate": rate, f"{way}Burst": burst}
    plugins = [_told(plugin, limits) for plugin in network.plugins]
    if plugins == list(network.plugins):
        plugins.append({"type": "bandwidth", **limits})
    return network._replace(plugins=tuple(plugins))


def _told(plugin: Plugin, limits: Mapping[str, object]) -> Plugin:
    """A plugin that wants to know (CNI's conventions) with the limits in its runtimeConfig."""
    capabilities = plugin.get("capabilities")
    if not isinstance(capabilities, dict) or not capabilities.get("bandwidth"):
        return plugin
    return {**plugin, "runtimeConfig": {"bandwidth": limits}}
