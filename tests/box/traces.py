"""What networks of pods may leave on the machine in a box."""

from tests.box.box import Box

_LOOK = """set +e
ip -o link | cut -d: -f2
ip -4 -o route show table all | sed 's/ linkdown//'
ip -6 -o route show table all | grep -v -e fe80: -e ff00: -e anycast
iptables-save | grep ^-A
ip6tables-save | grep ^-A
ls /run/netns
grep -o /run/netns/.* /proc/self/mountinfo
find /run/rkt/networks /run/rkt/ports /run/rkt/pods -mindepth 1 ! -name lock ! -name last_reserved*
grep -e =172.16.28 -e =fd72 /proc/net/nf_conntrack
:
"""


def network_traces(box: Box) -> list[str]:
    """Links, routes, rules, namespaces, addresses and ports in use, tracked connections."""
    return box.shell(f"{{ {_LOOK} }} 2>/dev/null").splitlines()
