"""Settings as unit files write them become properties as the bus wants them."""

from __future__ import annotations

import pytest

from rktsd.errors import BadInput, SystemdError
from rktsd.systemd import names
from rktsd.systemd.bus import _checked
from rktsd.systemd.properties import convert, known, limit
from rktsd.systemd.values import INFINITY


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("MemoryMax", "512M", [("MemoryMax", "t", 512 << 20)]),
        ("MemoryMax", 4096, [("MemoryMax", "t", 4096)]),
        ("MemoryMax", "infinity", [("MemoryMax", "t", INFINITY)]),
        ("MemoryHigh", "50%", [("MemoryHighScale", "u", 2**31)]),
        ("TasksMax", "100", [("TasksMax", "t", 100)]),
        ("CPUQuota", "150%", [("CPUQuotaPerSecUSec", "t", 1_500_000)]),
        ("RestartSec", "1min 30s", [("RestartUSec", "t", 90_000_000)]),
        ("RestartSec", "100ms", [("RestartUSec", "t", 100_000)]),
        ("TimeoutStopSec", 1.5, [("TimeoutStopUSec", "t", 1_500_000)]),
        ("Restart", "on-failure", [("Restart", "s", "on-failure")]),
        ("IPAccounting", "yes", [("IPAccounting", "b", True)]),
        ("IPAccounting", False, [("IPAccounting", "b", False)]),
        ("Nice", -5, [("Nice", "i", -5)]),
        ("StartLimitBurst", 3, [("StartLimitBurst", "u", 3)]),
        ("MemoryMax", "1.5G", [("MemoryMax", "t", 3 << 29)]),
        ("MemoryMax", "1G 512M", [("MemoryMax", "t", 3 << 29)]),
        ("MemoryLow", "12.5%", [("MemoryLowScale", "u", 2**29)]),
        ("TasksMax", "100%", [("TasksMaxScale", "u", 2**32 - 1)]),
        ("CPUWeight", "idle", [("CPUWeight", "t", 0)]),
        ("TimeoutSec", 5, [("TimeoutStartUSec", "t", 5000000), ("TimeoutStopUSec", "t", 5000000)]),
        (
            "IODeviceLatencyTargetSec",
            "/dev/sda 25ms",
            [("IODeviceLatencyTargetUSec", "a(st)", [("/dev/sda", 25000)])],
        ),
        (
            "IOReadBandwidthMax",
            ["/dev/sda 5M", "/srv 1K"],
            [("IOReadBandwidthMax", "a(st)", [("/dev/sda", 5000000), ("/srv", 1000)])],
        ),
        ("AllowedCPUs", "0-3,9", [("AllowedCPUs", "ay", [0x0F, 0x02])]),
        ("CPUAffinity", "numa", [("CPUAffinityFromNUMA", "b", True)]),
        (
            "IPAddressDeny",
            "any",
            [("IPAddressDeny", "a(iayu)", [(2, [0] * 4, 0), (10, [0] * 16, 0)])],
        ),
        (
            "SocketBindDeny",
            "any tcp:80 ipv6:udp:1000-1001",
            [("SocketBindDeny", "a(iiqq)", [(0, 0, 0, 0), (0, 6, 1, 80), (10, 17, 2, 1000)])],
        ),
        (
            "RestrictAddressFamilies",
            "~AF_PACKET AF_VSOCK",
            [("RestrictAddressFamilies", "(bas)", (False, ["AF_PACKET", "AF_VSOCK"]))],
        ),
        ("SuccessExitStatus", "3 TEMPFAIL KILL", [("SuccessExitStatus", "(aiai)", ([3, 75], [9]))]),
        (
            "SetCredential",
            "key:a b\\n\\x00" + "\u00e9",
            [("SetCredential", "a(say)", [("key", [*b"a b\n", 0, 0xC3, 0xA9])])],
        ),
        (
            "SetCredentialEncrypted",
            "key:YWI=",
            [("SetCredentialEncrypted", "a(say)", [("key", [*b"ab"])])],
        ),
        (
            "LoadCredential",
            ["a:/etc/a", "b"],
            [("LoadCredential", "a(ss)", [("a", "/etc/a"), ("b", "b")])],
        ),
        ("DeviceAllow", "/dev/fuse", [("DeviceAllow", "a(ss)", [("/dev/fuse", "rwm")])]),
        ("LogLevelMax", "err", [("LogLevelMax", "i", 3)]),
        ("CoredumpFilter", "default shared-huge", [("CoredumpFilter", "t", 0x73)]),
        ("TimerSlackNSec", "1ms", [("TimerSlackNSec", "t", 1000000)]),
        ("OpenFile", "/etc/a:a:read-only", [("OpenFile", "a(sst)", [("/etc/a", "a", 1)])]),
        (
            "LogFilterPatterns",
            ["~a", "b c"],
            [("LogFilterPatterns", "a(bs)", [(False, "a"), (True, "b c")])],
        ),
        ("Documentation", "man:a(1) man:b(1)", [("Documentation", "as", ["man:a(1)", "man:b(1)"])]),
    ],
)
def test_convert(setting: str, value: object, expected: list[object]) -> None:
    assert convert(setting, value, "here") == expected


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("MemoryMax", "much", 'here: "much" is not a size such as "512M"'),
        ("MemoryMax", True, 'here: true is not a size such as "512M"'),
        ("MemoryMax", "150%", 'here: "150%" is not a size such as "512M"'),
        ("TasksMax", -1, "here: -1 is not a whole number of 0 or more"),
        ("CPUQuota", "half", 'here: "half" is not a share such as "50%"'),
        ("CPUQuota", "0%", 'here: "0%" is not a share such as "50%"'),
        ("RestartSec", "5 parsecs", 'here: "5 parsecs" is not a time span such as "1min 30s"'),
        ("RestartSec", "", 'here: "" is not a time span such as "1min 30s"'),
        ("Restart", 5, "here: 5 is not a string"),
        ("IPAccounting", "perhaps", 'here: "perhaps" is not yes or no'),
        ("MemoryMax", "1GG", 'here: "1GG" is not a size such as "512M"'),
        ("TasksMax", "101%", 'here: "101%" is not a whole number of 0 or more'),
        ("AllowedCPUs", "3-1", 'here: "3-1" is not a range below 8192'),
        ("AllowedCPUs", "one", 'here: "one" is not a list of numbers such as "0-3,5"'),
        ("IPAddressAllow", "home", 'here: "home" is not an IP address or network'),
        ("SocketBindAllow", "tcp:0", 'here: "tcp:0" is not like "tcp:80" or "ipv6:udp:1000-2000"'),
        ("SocketBindAllow", "sctp", 'here: "sctp" is not like "tcp:80" or "ipv6:udp:1000-2000"'),
        ("SuccessExitStatus", "256", 'here: "256" is not a signal such as SIGTERM'),
        ("SetCredential", "secret", "here: not like NAME:VALUE"),
        ("SetCredentialEncrypted", "a:secret", "here: the value of a is not Base64"),
        ("DeviceAllow", "fuse", 'here: "fuse" is not a device such as "/dev/fuse rw"'),
        (
            "LogExtraFields",
            "A=b c",
            'here: "A=b c" is not like FIELD=VALUE (no blanks, dollars or'
            " semicolons; RKT_ and OBJECT_ are rktsd's)",
        ),
        (
            "LogExtraFields",
            "RKT_POD=b",
            'here: "RKT_POD=b" is not like FIELD=VALUE (no blanks,'
            " dollars or semicolons; RKT_ and OBJECT_ are rktsd's)",
        ),
        ("OpenFile", "etc", 'here: "etc" does not begin with an absolute path'),
        ("CPUSchedulingPolicy", "best", 'here: "best" is not one of other, fifo, rr, batch, idle'),
        (
            "IODeviceWeight",
            "/dev/sda",
            'here: "/dev/sda" is not a path and a value ("/dev/sda 5M")',
        ),
        ("Nice", "nice", 'here: "nice" is not a whole number'),
        ("StartLimitBurst", 2**32, "here: 4294967296 is not a number of 0 to 4294967295"),
        ("Documentation", [1], "here: [1] is not a list of strings"),
    ],
)
def test_refused(setting: str, value: object, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        convert(setting, value, "here")
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("setting", "value", "soft", "hard"),
    [
        ("LimitNOFILE", "1024:4096", 1024, 4096),
        ("LimitNOFILE", 5, 5, 5),
        ("LimitCORE", "0", 0, 0),
        ("LimitAS", "1G:infinity", 1 << 30, INFINITY),
        ("LimitNICE", "+5:-5", 15, 25),
        ("LimitNICE", 30, 30, 30),
        ("LimitCPU", "1min", 60, 60),
        ("LimitRTTIME", "5ms:7", 5000, 7),
    ],
)
def test_limits(setting: str, value: object, soft: int, hard: int) -> None:
    assert limit(setting, value, "here") == (soft, hard)


def test_limits_that_are_none() -> None:
    with pytest.raises(BadInput, match='here: "many" is not a whole number'):
        limit("LimitNOFILE", "1:many", "here")


def test_commands_are_not_passed_on() -> None:
    assert known("MemoryMax")
    assert not known("ExecStart")


@pytest.mark.parametrize(
    ("pod", "slice", "app"),
    [
        ("web", "rkt-web.slice", "rkt-web.nginx.service"),
        ("my-pod", "rkt-my\\x2dpod.slice", "rkt-my-pod.nginx.service"),
        ("many@7", "rkt-many\\x407.slice", "rkt-many:7.nginx.service"),
    ],
)
def test_unit_names(pod: str, slice: str, app: str) -> None:
    assert names.pod_slice(pod) == slice
    assert names.app_unit(pod, "nginx") == app


@pytest.mark.parametrize("text", ["cut\0short", "bad\udcff"])
def test_strings_that_the_bus_would_mangle(text: str) -> None:
    with pytest.raises(SystemdError, match="unit: Description"):
        _checked(["fine", [text]], "unit: Description")
