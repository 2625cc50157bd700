"""Which nat rules go with a container, judged from the text of iptables-save."""

from rktsd.net.rules import chain_names, removal

MASQUERADE, FORWARD, _ = chain_names("default", "a")
OTHER, _, _ = chain_names("default", "ab")


def saved(*lines: str) -> str:
    return "\n".join(["# Generated", "*nat", ":POSTROUTING ACCEPT [0:0]", *lines, "COMMIT", ""])


def comment(container: str) -> str:
    return f'-m comment --comment "name: \\"default\\" id: \\"{container}\\""'


def test_names_are_those_the_plugins_choose() -> None:
    # Seen in iptables-save after ADD of ptp and portmap for network "default", container "a".
    assert MASQUERADE == "CNI-6a6c9ce43c41d96e226fe4ec"
    assert FORWARD == "CNI-DN-6a6c9ce43c41d96e226fe"


def test_rules_and_chains_of_the_container_go_and_no_others() -> None:
    text = saved(
        f":{MASQUERADE} - [0:0]",
        f":{OTHER} - [0:0]",
        ":CNI-HOSTPORT-DNAT - [0:0]",
        f"-A POSTROUTING -s 172.16.28.2/32 {comment('a')} -j {MASQUERADE}",
        f"-A POSTROUTING -s 172.16.28.3/32 {comment('ab')} -j {OTHER}",
        f"-A CNI-HOSTPORT-DNAT -p tcp {comment('a')} -m multiport --dports 80 -j {FORWARD}",
        f"-A {MASQUERADE} ! -d 224.0.0.0/4 {comment('a')} -j MASQUERADE",
        f"-A {OTHER} ! -d 224.0.0.0/4 {comment('ab')} -j MASQUERADE",
    )
    assert removal(text, "a", networks=["default"]).splitlines() == [
        "*nat",
        f"-F {MASQUERADE}",
        f"-D POSTROUTING -s 172.16.28.2/32 {comment('a')} -j {MASQUERADE}",
        f"-D CNI-HOSTPORT-DNAT -p tcp {comment('a')} -m multiport --dports 80 -j {FORWARD}",
        f"-X {MASQUERADE}",
        "COMMIT",
    ]


def test_a_chain_without_a_rule_goes() -> None:
    text = saved(f":{FORWARD} - [0:0]")
    expected = ["*nat", f"-F {FORWARD}", f"-X {FORWARD}", "COMMIT"]
    assert removal(text, "a", networks=["default"]).splitlines() == expected


def test_a_jump_without_a_comment_does_not_hold_a_chain() -> None:
    text = saved(f":{MASQUERADE} - [0:0]", f"-A POSTROUTING -j {MASQUERADE}")
    assert f"-D POSTROUTING -j {MASQUERADE}" in removal(text, "a", networks=["default"])


def test_nothing_to_remove_is_nothing_to_run() -> None:
    text = saved(f":{OTHER} - [0:0]", f"-A POSTROUTING {comment('ab')} -j {OTHER}")
    assert removal(text, "a", networks=["default"]) == ""
    assert removal("", "a", networks=["default"]) == ""
