import json
import os
from pathlib import Path

import pytest

from rktsd.errors import BadInput, NotFound, RktError, UsageError
from rktsd.net import ipv6
from rktsd.net.config import mode, networks, settings
from rktsd.paths import Paths


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    monkeypatch.setattr(ipv6, "_ADDRESSES", "/nonexistent")
    (tmp_path / "net.d").mkdir()
    return Paths(local_config=str(tmp_path), run="/run/elsewhere")


def write(paths: Paths, file: str, content: object) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    Path(paths.local_config, "net.d", file).write_text(text)


def names(paths: Paths, *wanted: str) -> list[str]:
    return [network.name for network in networks(paths, wanted)]


def test_default_is_what_nothing_means(paths: Paths) -> None:
    (default,) = networks(paths, [])
    assert [default] == networks(paths, ["default"])
    (plugin,) = default.plugins
    assert (default.name, plugin["type"], default.masquerade) == ("default", "ptp", True)
    assert plugin["ipam"] == {
        "type": "host-local",
        "ranges": [[{"subnet": "172.16.28.0/24"}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": "/run/elsewhere/networks",
    }


@pytest.mark.parametrize(
    ("addresses", "both"),
    [
        ("00000000000000000000000000000001 01 80 10 80 lo\n", False),
        ("fe800000000000000000000000000001 02 40 20 80 eth0\n", False),
        ("fd726b74736400010000000000000001 09 80 00 80 veth1\n", False),
        ("20010db8000000000000000000000001 02 40 00 80 eth0\n", True),
        ("fd000000000000000000000000000001 02 40 00 80 eth0\n", True),
    ],
)
def test_builtin_networks_have_ipv6_where_the_host_uses_it(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, addresses: str, both: bool
) -> None:
    file = tmp_path / "if_inet6"
    file.write_text(addresses)
    monkeypatch.setattr(ipv6, "_ADDRESSES", str(file))
    for network, subnet in (("default", "1"), ("default-restricted", "2")):
        ipam = networks(paths, [network])[0].plugins[0]["ipam"]
        assert isinstance(ipam, dict)
        assert ([{"subnet": f"fd72:6b74:7364:{subnet}::/64"}] in ipam["ranges"]) is both
        assert ({"dst": "::/0"} in ipam.get("routes", [])) is (both and network == "default")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([{"ipam": {"ranges": [[{"subnet": "fd00:1::/64"}]]}}], True),
        ([{"ipam": {"addresses": [{"address": "2001:db8::1/64"}]}}], True),
        ([{"ipam": {"subnet": "10.0.0.0/8"}, "mac": "02:00:00:00:00:01", "mtu": 9000}], False),
    ],
)
def test_ipv6_in_a_configuration(value: object, expected: bool) -> None:
    assert ipv6.mentioned(value) is expected


def test_restricted_has_no_way_out(paths: Paths) -> None:
    (network,) = networks(paths, ["default-restricted"])
    (plugin,) = network.plugins
    assert not network.masquerade
    ipam = plugin["ipam"]
    assert isinstance(ipam, dict)
    assert ipam["ranges"] == [[{"subnet": "172.31.0.0/16"}]]
    assert "routes" not in ipam


def test_no_directory_of_networks_is_fine(paths: Paths) -> None:
    os.rmdir(f"{paths.local_config}/net.d")
    assert names(paths, "default") == ["default"]


def test_files_come_in_order_of_their_names_and_before_the_builtin_ones(paths: Paths) -> None:
    write(paths, "20-b.conf", {"name": "b", "type": "macvlan"})
    write(
        paths, "10-z.conflist", {"name": "z", "plugins": [{"type": "bridge"}, {"type": "tuning"}]}
    )
    write(paths, "00-notes.txt", "not a network")
    assert names(paths, "all") == ["z", "b", "default", "default-restricted"]
    assert names(paths, "default", "b", "z") == ["z", "b", "default"]
    assert [plugin["type"] for plugin in networks(paths, ["z"])[0].plugins] == ["bridge", "tuning"]


def test_a_file_replaces_the_builtin_network_of_its_name(paths: Paths) -> None:
    write(
        paths, "x.conf", {"name": "default", "cniVersion": "0.3.1", "type": "bridge", "mtu": 9000}
    )
    (network,) = networks(paths, [])
    assert network.cni_version == "0.3.1"
    assert network.plugins == ({"type": "bridge", "mtu": 9000},)


def test_reservations_of_files_go_where_a_reboot_ends_them_unless_they_say_where(
    paths: Paths,
) -> None:
    ipam = {"type": "host-local", "subnet": "10.0.0.0/24"}
    write(paths, "a.conf", {"name": "a", "type": "ptp", "ipam": ipam})
    write(paths, "b.conf", {"name": "b", "type": "ptp", "ipam": ipam | {"dataDir": "/srv/kept"}})
    a, b = networks(paths, ["a", "b"])
    assert a.plugins[0]["ipam"] == ipam | {"dataDir": "/run/elsewhere/networks"}
    assert b.plugins[0]["ipam"] == ipam | {"dataDir": "/srv/kept"}


def test_arguments_belong_to_their_network(paths: Paths) -> None:
    restricted, default = "default-restricted", "default:IP=172.16.28.9;K=a:b"
    first, second = networks(paths, [restricted, default])
    assert (first.name, first.args) == ("default", "IP=172.16.28.9;K=a:b")
    assert (second.name, second.args) == ("default-restricted", "")


def test_plugins_are_sought_in_order(paths: Paths) -> None:
    assert networks(paths, [])[0].plugin_path == (
        f"{paths.local_config}/net.d",
        "/usr/lib/rkt/net.d",
        "/usr/lib/rkt/plugins/net",
        "/usr/lib/cni",
        "/opt/cni/bin",
    )


@pytest.mark.parametrize("only", ["host", "none"])
def test_host_and_none_read_no_file(paths: Paths, only: str) -> None:
    write(paths, "bad.conf", "{")
    assert mode([only]) == only
    assert networks(paths, [only]) == []


@pytest.mark.parametrize("wanted", [[], ["default"], ["all"], ["a", "b"]])
def test_the_rest_are_networks(wanted: list[str]) -> None:
    assert mode(wanted) == "networks"


def test_unknown_networks_are_listed(paths: Paths) -> None:
    with pytest.raises(NotFound, match=r"^networks not found: lab, dmz \(there are .*/net\.d\)$"):
        networks(paths, ["lab", "default", "dmz"])


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (["a", "b", "a:IP=1.2.3.4"], "network 'a' is given twice"),
        (["none", "default"], "network 'none' cannot be combined with others"),
        (["default", "host"], "network 'host' cannot be combined with others"),
        (["all:IP=1.2.3.4"], "network 'all' takes no arguments, got 'IP=1.2.3.4'"),
        (["a:IP"], "network 'a': argument 'IP' is not KEY=VALUE"),
        (["a:IP=1;;K=V"], "network 'a': argument '' is not KEY=VALUE"),
        ([""], "not a network name: '' in ''"),
        (["../etc"], "not a network name: '../etc' in '../etc'"),
    ],
)
def test_contradictions_are_refused(wanted: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        mode(wanted)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("x.conf", "{", "not JSON: "),
        ("x.conf", "[" * 100_000, "not JSON: "),
        ("x.conf", b"\xff".decode("latin-1"), "not JSON: "),
        ("x.conf", [], "not a JSON object"),
        ("x.conf", {"type": "ptp"}, "name: not a network name: None"),
        ("x.conf", {"name": "a/b", "type": "ptp"}, "name: not a network name: 'a/b'"),
        ("x.conf", {"name": "host", "type": "ptp"}, "name: 'host' has a meaning of its own"),
        ("x.conf", {"name": "a", "cniVersion": 1}, "cniVersion: not a string: 1"),
        ("x.conf", {"name": "a"}, "type: not a plugin's name: None"),
        ("x.conf", {"name": "a", "type": "../sh"}, "type: not a plugin's name: '../sh'"),
        ("x.conf", {"name": "a", "type": "ptp", "ipam": []}, "ipam: [] is not a dict"),
        (
            "x.conf",
            {"name": "a", "type": "ptp", "ipam": {"type": "a/b"}},
            "ipam.type: not a plugin's name: 'a/b'",
        ),
        ("x.conflist", {"name": "a"}, "plugins: not a list with at least one plugin"),
        (
            "x.conflist",
            {"name": "a", "plugins": []},
            "plugins: not a list with at least one plugin",
        ),
        ("x.conflist", {"name": "a", "plugins": [{"type": "ptp"}, 7]}, "plugins[1]: not an object"),
        (
            "x.conflist",
            {"name": "a", "plugins": [{"type": "ptp", "ipMasq": "yes"}]},
            "plugins[0].ipMasq: 'yes' is not a bool",
        ),
    ],
)
def test_bad_files_are_refused_with_file_field_and_value(
    paths: Paths, file: str, content: object, message: str
) -> None:
    write(paths, file, content)
    with pytest.raises(BadInput) as caught:
        networks(paths, ["default"])
    assert str(caught.value).startswith(f"{paths.local_config}/net.d/{file}: {message}")
    assert "\n" not in str(caught.value)


def test_two_files_with_one_name_are_refused(paths: Paths) -> None:
    write(paths, "1.conf", {"name": "a", "type": "ptp"})
    write(paths, "2.conf", {"name": "a", "type": "ptp"})
    with pytest.raises(BadInput, match=r"2\.conf: name: 'a' is also that of .*1\.conf$"):
        networks(paths, ["a"])


def test_a_huge_file_is_refused(paths: Paths) -> None:
    write(paths, "x.conf", " " * (1 << 21))
    with pytest.raises(RktError, match=r"x\.conf: larger than"):
        networks(paths, ["default"])


def test_later_directories_go_before_earlier_ones(tmp_path: Path) -> None:
    places = {name: tmp_path / name for name in ("system", "local", "user")}
    for place in places.values():
        (place / "net.d").mkdir(parents=True)

    def define(where: str, file: str, name: str) -> None:
        conf = {"name": name, "type": where, "ipam": {}}
        (places[where] / "net.d" / file).write_text(json.dumps(conf))

    define("system", "10-a.conf", "masked")
    define("local", "10-a.conf", "a")
    define("system", "20-b.conf", "b")
    define("local", "30-b.conf", "b")
    define("system", "40-c.conf", "c")
    define("user", "05-c.conf", "c")
    define("system", "50-d.conf", "default")
    paths = Paths(
        system_config=str(places["system"]),
        local_config=str(places["local"]),
        user_config=str(places["user"]),
    )
    found = networks(paths, ["all"])
    assert [(net.name, net.plugins[0]["type"]) for net in found] == [
        ("c", "user"),
        ("a", "local"),
        ("b", "local"),
        ("default", "system"),
        ("default-restricted", "ptp"),
    ]
    assert found[0].plugin_path[:3] == tuple(
        f"{places[n]}/net.d" for n in ("user", "local", "system")
    )


def test_plugin_directories_of_the_settings(paths: Paths) -> None:
    file = Path(paths.local_config, "rktsd.toml")
    file.write_text('[network]\nforward = false\nplugin-directories = ["/srv/cni"]\n')
    assert not settings(paths).forward
    assert "/srv/cni" in networks(paths, [])[0].plugin_path
    file.write_text('[network]\nplugin-directories = ["cni"]\n')
    with pytest.raises(BadInput, match=r"plugin-directories\[0\]: .* absolute path without colons"):
        networks(paths, [])
