"""Reading files whose names somebody else chose."""

import os
from pathlib import Path

import pytest

from rktsd.errors import NotFound, StoreError
from rktsd.host.files import read_limited, require_regular


def test_a_fifo_does_not_hold_up_its_reader(tmp_path: Path) -> None:
    fifo = str(tmp_path / "pod.toml")
    os.mkfifo(fifo)
    for read in (lambda path: read_limited(path, 100), require_regular):
        with pytest.raises(StoreError) as caught:
            read(fifo)
        assert str(caught.value) == f"cannot read {fifo}: not a regular file"


@pytest.mark.parametrize(
    ("path", "reason"), [("/dev/zero", "not a regular file"), ("/", "Is a directory")]
)
def test_what_is_no_regular_file_is_not_read(path: str, reason: str) -> None:
    with pytest.raises(StoreError, match=f"cannot read {path}: {reason}"):
        read_limited(path, 100)


def test_files_links_and_limits(tmp_path: Path) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_bytes(b"12345")
    link.symlink_to(file)
    assert read_limited(str(link), 5) == b"12345"
    with pytest.raises(StoreError, match="larger than 4 bytes"):
        read_limited(str(file), 4)
    file.unlink()
    for path in (str(file), str(link)):
        with pytest.raises(NotFound, match=f"cannot read {path}"):
            read_limited(path, 5)
        with pytest.raises(NotFound, match=f"cannot read {path}: no such file"):
            require_regular(path)


def test_pipes_are_read_where_the_caller_takes_them() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"from a pipe")
    os.close(writer)
    assert read_limited(f"/dev/fd/{reader}", 100, pipes=True) == b"from a pipe"
    os.close(reader)
