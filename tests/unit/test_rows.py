"""The table of rkt's behaviours and of the tests that cover them has no holes."""

from __future__ import annotations

from tests.rows import covering, rows, table


def test_markers_name_rows_that_are_listed() -> None:
    assert set(covering()) <= set(rows().says)


def test_every_row_is_covered_or_has_a_reason() -> None:
    listed, tests = rows(), set(covering())
    assert not listed.left_out.keys() & listed.waiting.keys()
    reasons = {**listed.left_out, **listed.waiting}
    assert set(reasons) <= set(listed.says)
    assert [name for name in listed.says if name not in tests and name not in reasons] == []
    assert [name for name in reasons if name in tests] == []


def test_the_table_has_every_row() -> None:
    text = "\n".join(table())
    assert all(f"{name}: " in text for name in rows().says)
