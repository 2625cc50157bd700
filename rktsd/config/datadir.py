"""``paths.d``: where images and pods are kept (rktKind paths)."""

from collections.abc import Iterator, Sequence

from rktsd.appc.cursor import Cursor
from rktsd.config.kinds import read_kinds
from rktsd.errors import Unsupported

SUBDIRECTORY = "paths.d"


def read_data_directory(directories: Sequence[str]) -> str | None:
    """The data directory that paths.d of ``directories`` sets, lowest precedence first, or None.

    Raises BadInput, StoreError, and Unsupported for directories that are none here.
    """
    return read_kinds(directories, SUBDIRECTORY, kinds={"paths": _paths}).get("data")


def _paths(document: Cursor) -> Iterator[tuple[str, str]]:
    data, images = document.get("data"), document.get("stage1-images")
    if images.given:
        raise Unsupported(
            f"{images.where}: stage1 is no image here, so no directory has images of it",
            hint="take the field out; files in stage1.d choose what runs the apps",
        )
    if data.given:
        if not data.line().startswith("/"):
            raise data.wrong("an absolute path")
        yield "data", data.line()
