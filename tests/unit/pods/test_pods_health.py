"""The health table of an app: read, kept with a pod, and refused in plain words."""

from __future__ import annotations

import json

import pytest

from rktsd.errors import BadInput
from rktsd.pods import podfile
from rktsd.pods.health import of_image
from rktsd.pods.options import PodOptions
from rktsd.stage1.types import Health

HEAD = '[[app]]\nname = "one"\nimage = "example.com/one"\n[app.health]\n'


def parsed(text: str) -> PodOptions:
    return podfile.parse(f"{HEAD}{text}".encode(), "p.toml", pod="p").options


def test_what_is_not_said_has_defaults() -> None:
    found = parsed('command = ["/bin/check"]')
    assert found.apps["one"].health == Health(("/bin/check",), 30.0, 30.0, 3, 0.0, "restart")


def test_a_table_is_kept_with_the_pod() -> None:
    found = parsed(
        'command = ["/bin/check", "it is"]\ninterval = "2min"\ntimeout = 0.5\nretries = 1\n'
        'start-period = 90\naction = "stop"\n'
    )
    assert found.apps["one"].health == Health(("/bin/check", "it is"), 120.0, 0.5, 1, 90.0, "stop")
    assert PodOptions.from_json(found.to_json()) == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("interval = 5", "app[0].health.command: missing"),
        ('command = ["check"]', 'app[0].health.command: ["check"] is not a list that begins with'),
        ("command = []", "app[0].health.command: [] is not a list that begins with the whole path"),
        ('command = ["/c"]\nretries = 0', "app[0].health.retries: 0 is not a number (1 to 1000)"),
        ('command = ["/c"]\naction = "kill"', 'app[0].health.action: "kill" is not restart or'),
        ('command = ["/c"]\ninterval = 0', "app[0].health.interval: 0 is not a time"),
        ('command = ["/c"]\ntimout = 1', "app[0].health.timout: unknown field (did you mean"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        parsed(text)
    assert str(caught.value).startswith(f"p.toml: {message}")


def test_an_app_may_do_without() -> None:
    pod = 'network = "none"\n[[app]]\nname = "one"\nimage = "a"\nhealth = false\n'
    found = podfile.parse(pod.encode(), "p.toml", pod="p").options
    assert (found.apps["one"].health, found.apps["one"].unchecked) == (None, True)
    assert PodOptions.from_json(found.to_json()) == found


@pytest.mark.parametrize(
    ("check", "health"),
    [
        ({}, None),
        ({"Test": []}, None),
        ({"Test": ["NONE"]}, None),
        ({"Test": ["CMD", "c", "a b"]}, Health(("c", "a b"), 30.0, 30.0, 3, 0.0, "none")),
        (
            {"Test": ["CMD-SHELL", "a && b"], "Interval": 0, "Retries": 0},
            Health(("/bin/sh", "-c", "a && b"), 30.0, 30.0, 3, 0.0, "none"),
        ),
        (
            {
                "Test": ["CMD", "c"], "Interval": 5 * 10**9, "Timeout": 1500 * 10**6,
                "Retries": 7, "StartPeriod": 60 * 10**9, "StartInterval": 10**9,
            },
            Health(("c",), 5.0, 1.5, 7, 60.0, "none"),
        ),
        # Neither busy all the time, nor at it for ever.
        (
            {"Test": ["CMD", "c"], "Interval": 1, "Timeout": 2**62},
            Health(("c",), 1.0, 86400.0, 3, 0.0, "none"),
        ),
    ],
)  # fmt: skip
def test_the_healthcheck_of_an_image(check: dict[str, object], health: Health | None) -> None:
    assert of_image(json.dumps(check)) == health


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"Test": "c"}', '{"Test": ["CMD"]}', '{"Test": ["CMD-SHELL", "a", "b"]}',
     '{"Test": ["RUN", "a"]}', '{"Test": ["CMD", ""]}', '{"Test": ["CMD", "c"], "Retries": -1}',
     '{"Test": ["CMD", "c"], "Interval": "1s"}', '{"Test": ["CMD", 1]}'],
)  # fmt: skip
def test_a_healthcheck_that_makes_no_sense(text: str) -> None:
    with pytest.raises(BadInput):
        of_image(text)
