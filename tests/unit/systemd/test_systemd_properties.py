"""Settings as unit files write them become properties as the bus wants them."""

from __future__ import annotations

import pytest

from rktsd.errors import BadInput, SystemdError
from rktsd.systemd import names
from rktsd.systemd.bus import _checked
from rktsd.systemd.properties import FORMS, INFINITY, convert, known


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("MemoryMax", "512M", [("MemoryMax", "t", 512 << 20)]),
        ("MemoryMax", 4096, [("MemoryMax", "t", 4096)]),
        ("MemoryMax", "infinity", [("MemoryMax", "t", INFINITY)]),
        ("MemoryHigh", "50%", [("MemoryHighScale", "u", (2**32 - 1) // 2)]),
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
        ("LimitNOFILE", "1024:4096", [("LimitNOFILE", "t", 4096), ("LimitNOFILESoft", "t", 1024)]),
        ("LimitCORE", "0", [("LimitCORE", "t", 0), ("LimitCORESoft", "t", 0)]),
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
        ("Nice", "nice", 'here: "nice" is not a whole number'),
        ("StartLimitBurst", 2**32, "here: 4294967296 is too large"),
        ("Documentation", [1], "here: [1] is not a list of strings"),
    ],
)
def test_refused(setting: str, value: object, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        convert(setting, value, "here")
    assert str(caught.value) == message


def test_every_form_has_settings_of_its_own() -> None:
    listed = [name for names_ in FORMS.values() for name in names_.split()]
    assert len(listed) == len(set(listed))
    assert all(known(name) for name in listed)
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
