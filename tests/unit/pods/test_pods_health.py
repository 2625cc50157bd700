"""The health table of an app: read, kept with a pod, and refused in plain words."""

from __future__ import annotations

import pytest

from rktsd.errors import BadInput
from rktsd.pods import podfile
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
        ("interval = 5", "app[0].health.command: not a list that begins with the whole path"),
        ('command = ["check"]', "app[0].health.command: not a list that begins with the whole"),
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
