"""Columns, times and sizes, as scripts for rkt expect them."""

from __future__ import annotations

import time

import pytest

from rktsd.cli import table

SECOND, MINUTE, HOUR, DAY = 1, 60, 3600, 86400


def test_columns_end_at_tab_stops() -> None:
    rows = [["UUID", "APP", "STATE"], ["5bc08337", "a", "exited"], ["", "longer-name", ""]]
    assert table.columns(rows) == (
        "UUID\t\tAPP\t\tSTATE\n5bc08337\ta\t\texited\n\t\tlonger-name\t\n"
    )


def test_a_cell_is_followed_by_at_least_one_tab() -> None:
    # Seven letters and the padding fill eight columns, eight letters do not.
    assert table.columns([["1234567", "x"]]) == "1234567\tx\n"
    assert table.columns([["12345678", "x"], ["1", "y"]]) == "12345678\tx\n1\t\ty\n"


def test_columns_of_nothing() -> None:
    assert table.columns([]) == ""
    assert table.columns([["", "", ""]]) == "\t\t\n"


def test_columns_count_characters() -> None:
    assert table.columns([["größer", "x"], ["1234567", "y"]]) == "größer\tx\n1234567\ty\n"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "now"),
        (1, "1 second ago"),
        (2, "2 seconds ago"),
        (59, "59 seconds ago"),
        (MINUTE, "1 minute ago"),
        (119, "1 minute ago"),
        (2 * MINUTE, "2 minutes ago"),
        (HOUR, "1 hour ago"),
        (2 * HOUR, "2 hours ago"),
        (DAY, "1 day ago"),
        (2 * DAY, "2 days ago"),
        (7 * DAY, "1 week ago"),
        (15 * DAY, "2 weeks ago"),
        (30 * DAY, "1 month ago"),
        (61 * DAY, "2 months ago"),
        (361 * DAY, "1 year ago"),
        (600 * DAY, "2 years ago"),
        (1100 * DAY, "3 years ago"),
        (40 * 360 * DAY, "a long while ago"),
        (-90, "1 minute from now"),
    ],
)
def test_ago(seconds: int, expected: str) -> None:
    now = 1_700_000_000 * 10**9
    assert table.ago(now - seconds * 10**9, now=now) == expected


@pytest.mark.parametrize(
    ("nanoseconds", "expected"),
    [
        (1_500_000_000_123_456_789, "2017-07-14 02:40:00.123 +0000 UTC"),
        (1_500_000_000_120_000_000, "2017-07-14 02:40:00.12 +0000 UTC"),
        (1_500_000_000_000_999_999, "2017-07-14 02:40:00 +0000 UTC"),
    ],
)
def test_exactly(monkeypatch: pytest.MonkeyPatch, nanoseconds: int, expected: str) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    try:
        assert table.exactly(nanoseconds) == expected
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 B"),
        (9, "9 B"),
        (10, "10 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (5 * 2**20 + 2**17, "5.1 MiB"),
        (83_000_000, "79 MiB"),
        (2**40, "1.0 TiB"),
    ],
)
def test_size(count: int, expected: str) -> None:
    assert table.size(count) == expected


def test_json_styles() -> None:
    assert table.as_json([{"a": 1}], "json") == '[{"a":1}]\n'
    assert table.as_json([{"a": 1}], "json-pretty") == '[\n\t{\n\t\t"a": 1\n\t}\n]\n'
