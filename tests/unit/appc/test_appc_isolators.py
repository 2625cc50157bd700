"""Quantities to exact integers, isolator values checked, and what they mean."""

import pytest

from rktsd.appc import isolators, limits, quantities
from rktsd.appc.types import Isolator
from rktsd.errors import BadInput


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0), ("1", 1), ("+1", 1), ("1k", 1000), ("1Ki", 1024), ("512M", 512 * 10**6),
        ("1Gi", 1 << 30), ("2e3", 2000), ("2E3", 2000), ("2e-3", 1), ("1E", 10**18),
        ("1Ei", 1 << 60), ("0.5", 1), ("0.5Ki", 512), (".5k", 500), ("1.", 1), ("1.5G", 15 * 10**8),
        ("500m", 1), ("1500m", 2), ("1n", 1), ("2u", 1), ("1T", 10**12), ("1Pi", 1 << 50),
        ("9223372036854775807", (1 << 63) - 1), ("0.1Ki", 103), ("1e+2", 100),
        ("0.000000000000000000001", 1),
    ],
)  # fmt: skip
def test_bytes(text: str, value: int) -> None:
    assert quantities.parse_bytes(text, "f") == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1000), ("500m", 500), ("0.5", 500), ("1.2345", 1235), ("2e-1", 200), ("1u", 1),
     ("0", 0), ("1k", 10**6), ("100m", 100), ("0.1", 100)],
)  # fmt: skip
def test_milli(text: str, value: int) -> None:
    assert quantities.parse_milli(text, "f") == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not a quantity"), (".", "is not a quantity"), ("M", "is not a quantity"),
        ("-1", "is not a quantity"), ("1K", "is not a quantity"), ("1mi", "is not a quantity"),
        ("1 G", "is not a quantity"), ("1GB", "is not a quantity"), ("1.2.3", "is not a quantity"),
        ("0x10", "is not a quantity"), ("1e", "is not a quantity"), ("1e3M", "is not a quantity"),
        ("inf", "is not a quantity"), ("nan", "is not a quantity"), ("1\n", "is not a quantity"),
        ("\u0661", "is not a quantity"), ("1_000", "is not a quantity"),
        ("1ei", "is not a quantity"),
        ("1e99999999999", "out of bounds"), ("1e-99999999999", "out of bounds"),
        ("1e61", "out of bounds"), ("9" * 41, "out of bounds"), ("8Ei", "too large"),
        ("9223372036854775808", "too large"),
    ],
)  # fmt: skip
def test_bad_quantities(text: str, reason: str) -> None:
    with pytest.raises(BadInput, match=f"^f: .*{reason}"):
        quantities.parse_bytes(text, "f")


GOOD = [
    ("resource/memory", {"limit": "1G"}),
    ("resource/memory", {"request": "1M", "limit": "1G", "default": False}),
    ("resource/memory", {"limit": 4096}),
    ("resource/memory", {"request": "1"}),
    ("resource/cpu", {"limit": "1m"}),
    ("os/linux/cpu-shares", 2),
    ("os/linux/cpu-shares", 262144),
    ("os/linux/oom-score-adj", -1000),
    ("os/linux/oom-score-adj", 1000),
    ("os/linux/no-new-privileges", True),
    ("os/linux/no-new-privileges", False),
    ("os/linux/capabilities-retain-set", {"set": ["CAP_KILL"]}),
    ("os/linux/capabilities-remove-set", {"set": ["CAP_KILL", "CAP_SYS_ADMIN"]}),
    ("os/linux/seccomp-retain-set", {"set": ["@appc.io/all"]}),
    ("os/linux/seccomp-remove-set", {"set": ["mount", "umount2"], "errno": "EPERM"}),
    ("os/linux/seccomp-remove-set", {"set": ["@systemd/raw-io"], "errno": ""}),
    ("os/linux/selinux-context", {"user": "u", "role": "r", "type": "t", "level": "s0"}),
    ("os/linux/apparmor-profile", {"profile": "p"}),
    ("os/unix/sysctl", {"net.ipv4.ip_forward": "1"}),
    ("resource/block-bandwidth", {"default": True, "limit": "2M"}),
    ("resource/block-iops", {"default": True, "limit": "1000"}),
    ("resource/network-bandwidth", {"default": True, "limit": "1G"}),
    ("resource/pids", {"limit": 1}),
    ("os/unix/rlimits", {"nofile": "10:20", "core": "unlimited", "cpu": 5}),
    ("os/linux/seccomp-retain-set", {"set": ["_llseek"]}),
]


@pytest.mark.parametrize(("name", "value"), GOOD)
def test_good_values(name: str, value: object) -> None:
    assert isolators.isolator(name, value, "f") == Isolator(name, value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("resource/disk", {}, 'f: unknown isolator "resource/disk"'),
        ("resource/memory", None, "f: missing"),
        ("resource/memory", "1G", 'f: "1G" is not an object'),
        ("resource/memory", {"default": True, "limit": "1G"}, "f: default: must be false"),
        ("resource/memory", {"limit": "1X"}, 'f: limit: "1X" is not a quantity'),
        ("resource/memory", {"limit": "4095"}, 'f: limit: "4095" is less than 4096'),
        ("resource/memory", {"limit": -1}, "f: limit: "),
        ("resource/memory", {"limit": 1.5}, "f: limit: 1.5 is not a whole number, or a string"),
        ("resource/memory", {"limit": True}, "f: limit: true is not a whole number, or a string"),
        ("resource/memory", {"request": ""}, "f: request: empty"),
        ("resource/cpu", {"limit": "0"}, "f: limit: no app can run without processor time"),
        ("os/linux/cpu-shares", 1, "f: 1 is not a number of shares (2 to 262144)"),
        ("os/linux/cpu-shares", "1024", 'f: "1024" is not a number of shares'),
        ("os/linux/cpu-shares", True, "f: true is not a number of shares"),
        ("os/linux/oom-score-adj", 1001, "f: 1001 is not an OOM score adjustment (-1000 to 1000)"),
        ("os/linux/oom-score-adj", 1.0, "f: 1.0 is not an OOM score adjustment"),
        ("os/linux/no-new-privileges", 1, "f: 1 is not true or false"),
        ("os/linux/capabilities-retain-set", {"set": []}, "f: set: empty"),
        ("os/linux/capabilities-retain-set", {}, "f: set: empty"),
        ("os/linux/capabilities-retain-set", {"set": "CAP_KILL"}, "f: set: "),
        ("os/linux/capabilities-retain-set", {"set": ["CAP_X"]}, 'f: set[0]: "CAP_X" is not'),
        ("os/linux/capabilities-remove-set", {"set": ["KILL"]}, 'f: set[0]: "KILL" is not'),
        ("resource/pids", {"limit": "0"}, "f: limit: nothing can run without a process"),
        ("os/unix/rlimits", {"files": 1}, "f: files: not one of as, core, "),
        ("os/unix/rlimits", {"nofile": "2:1"}, 'f: nofile: "2:1": the soft limit is above'),
        ("os/unix/rlimits", {"nofile": "many"}, 'f: nofile: "many" is not a quantity'),
        ("os/linux/seccomp-retain-set", {"set": []}, "f: set: empty"),
        ("os/linux/seccomp-retain-set", {"set": ["a b"]}, 'f: set[0]: "a b" is not'),
        ("os/linux/seccomp-retain-set", {"set": ["@all"]}, 'f: set[0]: "@all" is not'),
        ("os/linux/seccomp-remove-set", {"set": ["a"], "errno": "1"}, 'f: errno: "1" is not'),
        ("os/linux/apparmor-profile", {}, "f: profile: missing"),
        ("os/unix/sysctl", {"a.b": 1}, 'f: ["a.b"]: 1 is not a string'),
        ("os/unix/sysctl", [], "f: [] is not an object"),
        ("resource/block-iops", {"limit": "1"}, "f: default: must be true"),
        ("resource/block-iops", {"default": True, "limit": "1", "request": "1"}, "f: request: "),
        ("resource/block-bandwidth", {"default": True}, "f: limit: missing"),
    ],
)
def test_bad_values(name: str, value: object, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        isolators.isolator(name, value, "f")
    assert str(caught.value).startswith(message)


def make(*items: tuple[str, object]) -> tuple[Isolator, ...]:
    return tuple(isolators.isolator(name, value, "f") for name, value in items)


def test_nothing_said_means_the_defaults() -> None:
    assert isolators.memory_limit(()) is None
    assert isolators.cpu_limit_milli(()) is None
    assert isolators.cpu_shares(()) is None
    assert isolators.oom_score_adj(()) is None
    assert isolators.seccomp(()) is None
    assert isolators.no_new_privileges(()) is False
    assert isolators.misplaced(()) == []
    assert limits.pids(()) is None
    assert limits.block_bandwidth(()) is None
    assert limits.block_iops(()) is None
    assert limits.network_bandwidth(()) is None
    assert limits.sysctl(()) == {}
    assert limits.rlimits(()) == {}
    assert limits.selinux_label(()) is None
    assert limits.apparmor_profile(()) is None
    assert isolators.capability_set(()) == isolators.DEFAULT_CAPABILITIES
    assert len(isolators.DEFAULT_CAPABILITIES) == 14
    assert isolators.DEFAULT_CAPABILITIES < isolators.CAPABILITIES


def test_the_last_of_repeated_isolators_counts() -> None:
    found = make(
        ("resource/memory", {"limit": "1G"}),
        ("resource/memory", {"limit": "2Gi"}),
        ("resource/cpu", {"limit": "2"}),
        ("resource/cpu", {"limit": "250m"}),
        ("os/linux/no-new-privileges", True),
        ("os/linux/no-new-privileges", False),
        ("os/linux/cpu-shares", 10),
        ("os/linux/cpu-shares", 20),
        ("os/linux/oom-score-adj", 1),
        ("os/linux/oom-score-adj", -7),
    )
    assert isolators.memory_limit(found) == 2 << 30
    assert isolators.cpu_limit_milli(found) == 250
    assert isolators.no_new_privileges(found) is False
    assert isolators.cpu_shares(found) == 20
    assert isolators.oom_score_adj(found) == -7


def test_a_request_alone_is_no_limit() -> None:
    assert isolators.memory_limit(make(("resource/memory", {"request": "1G"}))) is None


def test_retain_replaces_the_default_capabilities() -> None:
    value = {"set": ["CAP_SYS_ADMIN", "CAP_KILL"]}
    found = make((isolators.CAPABILITIES_RETAIN, value))
    assert isolators.capability_set(found) == {"CAP_SYS_ADMIN", "CAP_KILL"}


def test_remove_subtracts_from_the_default_capabilities() -> None:
    found = make((isolators.CAPABILITIES_REMOVE, {"set": ["CAP_SYS_ADMIN", "CAP_KILL"]}))
    expected = isolators.DEFAULT_CAPABILITIES - {"CAP_KILL"}
    assert isolators.capability_set(found) == expected


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("retain", {"set": ["read", "write"]}, ("retain", ("read", "write"), None)),
        ("remove", {"set": ["mount"], "errno": "EPERM"}, ("remove", ("mount",), "EPERM")),
        ("remove", {"set": ["@appc.io/empty"], "errno": ""}, ("remove", ("@appc.io/empty",), None)),
    ],
)
def test_seccomp(name: str, value: object, expected: tuple[object, ...]) -> None:
    found = isolators.seccomp(make((f"os/linux/seccomp-{name}-set", value)))
    assert found == expected


def test_alternatives_exclude_each_other() -> None:
    both = make(
        (isolators.CAPABILITIES_RETAIN, {"set": ["CAP_KILL"]}),
        (isolators.CAPABILITIES_REMOVE, {"set": ["CAP_KILL"]}),
    )
    with pytest.raises(BadInput, match=r"^f: both os/linux/capabilities-retain-set and "):
        isolators.check_alternatives(both, "f")
    twice = make(*[(isolators.SECCOMP_RETAIN, {"set": ["read"]})] * 2)
    with pytest.raises(BadInput, match=r"^f: more than one seccomp set"):
        isolators.check_alternatives(twice, "f")


def test_a_replacement_takes_the_place_of_its_counterpart() -> None:
    old = make(
        (isolators.CAPABILITIES_RETAIN, {"set": ["CAP_KILL"]}),
        ("resource/memory", {"limit": "1G"}),
        (isolators.SECCOMP_REMOVE, {"set": ["mount"]}),
    )
    new = make((isolators.CAPABILITIES_REMOVE, {"set": ["CAP_CHOWN"]}))
    assert isolators.replaced(old, new) == (*old[1:], *new)
    assert isolators.replaced(old, ()) == old


def test_what_says_nothing_of_a_pod_is_named() -> None:
    every = make(*dict(GOOD).items())
    assert isolators.misplaced(every) == [
        "os/linux/capabilities-remove-set",
        "os/linux/capabilities-retain-set",
        "os/linux/no-new-privileges",
        "os/linux/oom-score-adj",
        "os/linux/seccomp-remove-set",
        "os/linux/seccomp-retain-set",
        "os/unix/rlimits",
    ]


def test_what_rkt_ignored() -> None:
    found = make(
        ("resource/block-bandwidth", {"default": True, "limit": "2M"}),
        ("resource/block-iops", {"default": True, "limit": "1000"}),
        ("resource/network-bandwidth", {"default": True, "limit": "1G"}),
        ("resource/pids", {"limit": 64}),
        ("os/unix/sysctl", {"net.core.somaxconn": "1", "kernel.sem": "1 2 3 4"}),
        ("os/unix/rlimits", {"nofile": "1k:4Ki", "core": 0, "stack": "1M:unlimited"}),
        ("os/linux/selinux-context", {"user": "u", "role": "r", "type": "t", "level": "s0"}),
        ("os/linux/apparmor-profile", {"profile": "web"}),
    )
    assert limits.block_bandwidth(found) == 2_000_000
    assert limits.block_iops(found) == 1000
    assert limits.network_bandwidth(found) == 10**9
    assert limits.pids(found) == 64
    assert limits.sysctl(found) == {"net.core.somaxconn": "1", "kernel.sem": "1 2 3 4"}
    assert limits.rlimits(found) == {
        "nofile": (1000, 4096),
        "core": (0, 0),
        "stack": (1_000_000, quantities.INFINITY),
    }
    assert limits.selinux_label(found) == "u:r:t:s0"
    assert limits.apparmor_profile(found) == "web"
    without_level = make(("os/linux/selinux-context", {"user": "u", "role": "r", "type": "t"}))
    assert limits.selinux_label(without_level) == "u:r:t"
