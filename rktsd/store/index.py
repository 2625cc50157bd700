"""The index of images: SQLite in WAL mode, one row an image, one an origin.

Only this module knows the schema. A connection lives as long as one call: opening costs a quarter
of a millisecond, and nothing is shared between threads or across fork.
"""

import contextlib
import errno
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator

from rktsd.appc.types import NameValue
from rktsd.errors import StoreError, Unsupported
from rktsd.store.records import ImageRecord

VERSION = 2
_SHARED_MEMORY = 32 << 10
# Bytes of the header (https://www.sqlite.org/fileformat.html): what reads and what writes the file.
_JOURNAL_MODE = slice(18, 20)
_NO_WAL = b"\1\1"
_ATTEMPTS = 20
_PAUSE = 0.05
# What each version adds to the one before; an index is brought up to date when it is written to.
_SCHEMAS = (
    """
CREATE TABLE images (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, labels TEXT NOT NULL, kind TEXT NOT NULL,
    layers TEXT NOT NULL, blobs TEXT NOT NULL, size INTEGER NOT NULL,
    import_time INTEGER NOT NULL, source TEXT NOT NULL, verified_by TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX images_by_name ON images (name);
CREATE TABLE sources (
    source TEXT PRIMARY KEY,
    image TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX sources_by_image ON sources (image);
""",
    "CREATE TABLE layers (name TEXT PRIMARY KEY, size INTEGER NOT NULL) WITHOUT ROWID;",
)
_COLUMNS = "id, name, labels, kind, layers, blobs, size, import_time, source, verified_by"
_Row = tuple[str, str, str, str, str, str, int, int, str, str]


class Index:
    """The index in the file ``path``. Every method raises StoreError when disk or file fail."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def create(self) -> None:
        """Make the tables unless they are there."""
        with self._connect() as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            self._begin(connection)
            connection.execute("COMMIT")

    def _begin(self, connection: sqlite3.Connection) -> None:
        """Begin to write, with the tables of this version."""
        connection.execute("BEGIN IMMEDIATE")
        version = self._version(connection)
        if version < VERSION:
            for schema in _SCHEMAS[version:]:
                for statement in schema.split(";"):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {VERSION}")

    def put(self, record: ImageRecord, *, additive: bool = False) -> None:
        """Add or replace an image, which becomes the newest one of its source.

        With ``additive`` an image that is known, and what its source leads to, stay as they are.
        """
        row: _Row = (
            record.id, record.name, json.dumps([(x.name, x.value) for x in record.labels]),
            record.kind, json.dumps(record.layers), json.dumps(record.blobs), record.size,
            record.import_time, record.source, record.verified_by,
        )  # fmt: skip
        updates = ", ".join(f"{c} = excluded.{c}" for c in _COLUMNS.split(", ")[1:])
        with self._connect() as connection:
            self._begin(connection)
            connection.execute(
                f"INSERT INTO images ({_COLUMNS}) VALUES ({', '.join('?' * len(row))}) "
                f"ON CONFLICT (id) DO {'NOTHING' if additive else f'UPDATE SET {updates}'}",
                row,
            )
            otherwise = "IGNORE" if additive else "REPLACE"
            connection.execute(
                f"INSERT OR {otherwise} INTO sources VALUES (?, ?)", (record.source, record.id)
            )
            connection.execute("COMMIT")

    def lead(self, source: str, image_id: str) -> None:
        """Have ``source`` lead to an image that is stored; one that is gone is no error."""
        with self._connect() as connection:
            self._begin(connection)
            connection.execute(
                "INSERT OR REPLACE INTO sources SELECT ?, id FROM images WHERE id = ?",
                (source, image_id),
            )
            connection.execute("COMMIT")

    def delete(self, image_id: str) -> bool:
        """Forget an image; whether it was there."""
        with self._connect() as connection:
            return connection.execute("DELETE FROM images WHERE id = ?", (image_id,)).rowcount > 0

    def put_layer(self, name: str, size: int) -> None:
        """Note the bytes of content of a layer."""
        with self._connect() as connection:
            self._begin(connection)
            connection.execute("INSERT OR REPLACE INTO layers VALUES (?, ?)", (name, size))
            connection.execute("COMMIT")

    def forget_layers(self, names: Iterable[str]) -> None:
        """Forget the sizes of layers that are gone."""
        rows = [(name,) for name in names]
        if rows:
            with self._connect() as connection:
                self._begin(connection)
                connection.executemany("DELETE FROM layers WHERE name = ?", rows)
                connection.execute("COMMIT")

    def layer_sizes(self) -> dict[str, int]:
        """The size of every layer by name."""
        with self._connect(read=True) as connection:
            if self._version(connection) < 2:
                return {}
            return dict(connection.execute("SELECT name, size FROM layers").fetchall())

    def all(self) -> list[ImageRecord]:
        """Every image, newest import first."""
        return self._select("")

    def by_prefix(self, prefix: str) -> list[ImageRecord]:
        """Images whose id begins with ``prefix``."""
        return self._select("WHERE id >= ? AND id < ?", prefix, prefix + "~")

    def by_name(self, name: str) -> list[ImageRecord]:
        """Images called ``name``, newest import first."""
        return self._select("WHERE name = ?", name)

    def by_source(self, source: str) -> list[ImageRecord]:
        """The image that ``source`` gave last."""
        return self._select("WHERE id = (SELECT image FROM sources WHERE source = ?)", source)

    def _select(self, condition: str, *values: str) -> list[ImageRecord]:
        with self._connect(read=True) as connection:
            rows: Iterable[_Row] = connection.execute(
                f"SELECT {_COLUMNS} FROM images {condition} ORDER BY import_time DESC, id", values
            ).fetchall()
        return [_record(row) for row in rows]

    @contextlib.contextmanager
    def _connect(self, *, read: bool = False) -> Iterator[sqlite3.Connection]:
        try:
            connection = self._opened(read)
            try:
                if self._version(connection) > VERSION:
                    raise Unsupported(f"{self.path} was written by a newer version of rktsd")
                connection.execute("PRAGMA foreign_keys = ON")
                connection.execute("PRAGMA synchronous = FULL")
                yield connection
            finally:
                connection.close()
        except sqlite3.Error as error:
            reason = os.strerror(errno.ENOSPC) if self._is_full() else str(error)
            raise StoreError(f"index of images {self.path}: {reason}") from error

    def _opened(self, read: bool) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=60, isolation_level=None)
        try:
            self._version(connection)
        except sqlite3.OperationalError:
            connection.close()
            # SQLite wants files of its own beside the index: not where the disk is full, nor for
            # those who may read and not write. A writer at work has made them for everybody.
            at_rest = self._at_rest() if read else None
            if at_rest is None:
                raise
            return at_rest
        return connection

    def _at_rest(self) -> sqlite3.Connection | None:
        """A copy in memory of the index that nobody writes to; None where it gets no rest."""
        for _ in range(_ATTEMPTS):
            try:
                with open(self.path, "rb") as file:
                    before = os.fstat(file.fileno())
                    content = bytearray(file.read())
                    after = os.fstat(file.fileno())
            except OSError:
                return None
            if before.st_mtime_ns == after.st_mtime_ns and not _size(f"{self.path}-wal"):
                content[_JOURNAL_MODE] = _NO_WAL
                connection = sqlite3.connect(":memory:", isolation_level=None)
                connection.deserialize(bytes(content))
                return connection
            time.sleep(_PAUSE)
        return None

    def _is_full(self) -> bool:
        """Whether the disk has no room even for the smallest of SQLite's files."""
        try:
            found = os.statvfs(os.path.dirname(self.path) or ".")
        except OSError:
            return False
        return found.f_bfree * found.f_frsize < _SHARED_MEMORY

    @staticmethod
    def _version(connection: sqlite3.Connection) -> int:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _record(row: _Row) -> ImageRecord:
    image_id, name, labels, kind, layers, blobs, size, import_time, source, verified_by = row
    # All at once, for a store may have thousands.
    pairs, layer_names, digests = json.loads(f"[{labels},{layers},{blobs}]")
    return ImageRecord(
        id=image_id,
        name=name,
        labels=tuple(NameValue(*pair) for pair in pairs),
        kind=kind,
        layers=tuple(layer_names),
        size=size,
        import_time=import_time,
        last_used=import_time,
        source=source,
        verified_by=verified_by,
        blobs=tuple(digests),
    )
