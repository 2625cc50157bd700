"""A strict reader of tar streams: ustar, GNU long names, PAX with xattrs, sparse files.

Reads forward only and holds one chunk in memory. What is malformed is refused, never guessed: a
checksum, a number, an unknown type, a name that leaves the root. Names stay bytes; they come out
relative, without empty or ``.`` components, never with ``..``. The caller decides what to make of
the members; this module touches no file.
"""

import struct
from collections.abc import Callable
from typing import NamedTuple

from rktsd.errors import BadInput, Unsupported
from rktsd.store import sparse

BLOCK = 512
EXTENSION_LIMIT = 1 << 20
_ZERO = bytes(BLOCK)
_HEADER = struct.Struct("100s8s8s8s12s12s8x1s100s8s64x8s8s155s12x")
_GNU = b"ustar  \0"
# Before POSIX there was none; readers differ in what they make of others.
_MAGIC = (b"ustar\x0000", _GNU, bytes(8))
_XATTR = b"SCHILY.xattr."
_KNOWN = 4096
_MAX_ID = 0xFFFF_FFFE
_MAX_NANOSECONDS = 1 << 63

FILE, LINK, SYMLINK, CHAR, BLOCK_DEVICE, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
_TYPES = frozenset((FILE, LINK, SYMLINK, CHAR, BLOCK_DEVICE, DIRECTORY, FIFO))


class Member(NamedTuple):
    """One member; ``kind`` is its tar type, ``mtime`` nanoseconds, ``target`` a link's target.

    A hard link's target is cleaned like a name, a symbolic link's is as it came. Of a sparse file
    ``size`` is the file's, ``parts`` says where in it the data belongs. ``device`` is major, minor.
    """

    name: bytes
    kind: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    target: bytes
    xattrs: dict[str, bytes] | None
    parts: tuple[tuple[int, int], ...] | None = None
    device: tuple[int, int] = (0, 0)


class TarReader:
    """Members of the stream that ``source`` yields.

    ``source`` returns the next chunk of any length and b"" at the end. ``label`` names the archive
    in messages. All methods raise BadInput, or Unsupported for what tar knows but we do not.
    """

    __slots__ = ("_buffer", "_known", "_left", "_padding", "_position", "_source", "label")

    def __init__(self, source: Callable[[], bytes], label: str) -> None:
        self.label = label
        self._source = source
        self._buffer = b""
        self._position = 0
        self._left = 0
        self._padding = 0
        self._known: dict[tuple[bytes, bytes, bytes, bytes], tuple[int, int, int, int]] = {}

    def next(self) -> Member | None:
        """The next member, None after the last; unread data of the one before is skipped."""
        if self._left or self._padding:
            self._skip()
        pax: dict[bytes, bytes] = {}
        long_name = long_target = None
        extensions = 0
        while True:
            block = self._exactly(BLOCK)
            if block == _ZERO:
                if extensions:
                    raise self._bad("ends inside the description of a member")
                self._finish()
                return None
            (name, mode, uid, gid, size, mtime, kind, target, magic, major, minor, prefix) = (
                _HEADER.unpack(block)
            )
            self._verify(block)
            if magic not in _MAGIC:
                raise self._bad("a header is neither ustar, GNU's nor older")
            if kind not in b"xgLK":
                break
            length = self._number(size, name, "size")
            extensions += length + BLOCK
            if extensions > EXTENSION_LIMIT:
                raise self._bad(f"extended headers of a member are larger than {EXTENSION_LIMIT}")
            content = self._exactly(length)
            self._exactly(-length % BLOCK)
            if kind == b"x":
                pax.update(self._pax(content))
            elif kind == b"g":
                self._refuse_global(self._pax(content))
            elif not content.endswith(b"\0"):
                # Some readers go on behind its size then.
                raise self._bad("a long name without end")
            elif kind == b"L":
                long_name = content.rstrip(b"\0")
            else:
                long_target = content.rstrip(b"\0")
        if long_name is not None:
            name = long_name
        else:
            name = name.partition(b"\0")[0]
            if magic == _GNU:
                # Two times are in place of the prefix here, where there is anything.
                self._number(prefix[:12], name, "time", signed=True)
            elif prefix[0]:
                name = prefix.partition(b"\0")[0] + b"/" + name
        target = target.partition(b"\0")[0] if long_target is None else long_target
        fields = (mode, uid, gid, size, mtime)
        if kind == b"S" or (pax and sparse.is_sparse(pax)):
            return self._sparse(name, kind, fields, pax, block)
        member = self._member(name, kind, fields, target, pax)
        if kind in (CHAR, BLOCK_DEVICE):
            return member._replace(device=self._device(major, minor, name))
        return member

    def _device(self, major: bytes, minor: bytes, name: bytes) -> tuple[int, int]:
        numbers = self._number(major, name, "device"), self._number(minor, name, "device")
        # Twelve and twenty bits, as the kernel has them.
        if numbers[0] >= 1 << 12 or numbers[1] >= 1 << 20:
            raise self._bad(f"{show(name)}: bad device")
        return numbers

    def _sparse(
        self,
        name: bytes,
        kind: bytes,
        fields: tuple[bytes, bytes, bytes, bytes, bytes],
        pax: dict[bytes, bytes],
        block: bytes,
    ) -> Member:
        """A sparse file, whose map lies in the header, behind it, or before the data."""
        name = sparse.name_of(pax) or pax.get(b"path", name)
        try:
            if kind == b"S":
                found = sparse.old_map(
                    block, self._block, lambda field: self._number(field, name, "sparse map")
                )
                member = self._member(name, FILE, fields, b"", pax)
            else:
                if kind not in b"0\x007":
                    raise sparse.Malformed("sparse, but no regular file")
                member = self._member(name, kind, fields, b"", {**pax, b"path": name})
                found, taken = sparse.pax_map(pax, self._block)
                self._left -= taken
            sparse.check(found, self._left)
        except sparse.Malformed as error:
            raise self._bad(f"{show(name)}: {error}") from error
        return member._replace(size=found.size, parts=found.parts)

    def _block(self) -> bytes:
        return self._exactly(BLOCK)

    def _member(
        self,
        name: bytes,
        kind: bytes,
        fields: tuple[bytes, bytes, bytes, bytes, bytes],
        target: bytes,
        pax: dict[bytes, bytes],
    ) -> Member:
        # Members share modes, owners and times: all but the size is mostly read before.
        shared = (fields[0], fields[1], fields[2], fields[4])
        known = self._known.get(shared)
        if known is None:
            known = (
                self._number(fields[0], name, "mode") & 0o7777,
                self._number(fields[1], name, "uid"),
                self._number(fields[2], name, "gid"),
                self._number(fields[4], name, "mtime", signed=True) * 1_000_000_000,
            )
            if len(self._known) < _KNOWN:
                self._known[shared] = known
        mode, uid, gid, mtime = known
        size = self._number(fields[3], name, "size")
        xattrs: dict[str, bytes] | None = None
        if pax:
            name = pax.get(b"path", name)
            target = pax.get(b"linkpath", target)
            uid = self._pax_number(pax, b"uid", uid)
            gid = self._pax_number(pax, b"gid", gid)
            size = self._pax_number(pax, b"size", size)
            if b"mtime" in pax:
                mtime = self._pax_time(pax[b"mtime"])
            for key, value in pax.items():
                if key.startswith(_XATTR):
                    if b"\0" in key:
                        raise self._bad(f"{show(name)}: NUL in the name of an extended attribute")
                    xattrs = xattrs or {}
                    xattrs[key[len(_XATTR) :].decode("utf-8", "surrogateescape")] = value
        if kind in b"\x007":
            kind = DIRECTORY if name.endswith(b"/") and kind == b"\0" else FILE
        if kind == FILE and name.endswith(b"/"):
            # A directory to some readers, a file to others.
            raise self._bad(f"{show(name)}: a file by its type and a directory by its name")
        if kind not in _TYPES:
            self._refuse_type(name, kind)
        clean = self._clean(name, name)
        if uid > _MAX_ID or gid > _MAX_ID:
            raise self._bad(f"{show(name)}: owner {uid}:{gid} is out of range")
        if abs(mtime) > _MAX_NANOSECONDS:
            raise self._bad(f"{show(name)}: mtime is out of range")
        if kind == FILE:
            target = b""
            self._left = size
            self._padding = -size % BLOCK
        else:
            if size:
                # POSIX lets a hard link carry content, most readers take it to have none.
                raise self._bad(f"{show(name)}: has a size but no content")
            if kind == LINK:
                target = self._clean(target, name)
            elif kind != SYMLINK:
                target = b""
            elif not target or b"\0" in target:
                raise self._bad(f"{show(name)}: symbolic link with a bad target")
        return Member(clean, kind, mode, uid, gid, size, mtime, target, xattrs)

    def chunk(self) -> bytes | memoryview:
        """The next piece of the current member's data, empty at its end."""
        left = self._left
        if not left:
            return b""
        position = self._position
        buffer = self._buffer
        available = len(buffer) - position
        if not available:
            buffer = self._buffer = self._source()
            position = 0
            available = len(buffer)
            if not available:
                raise self._truncated()
        take = available if available < left else left
        self._position = position + take
        self._left = left - take
        if take == len(buffer):
            return buffer
        return memoryview(buffer)[position : position + take]

    def _skip(self) -> None:
        left = self._left + self._padding
        self._left = self._padding = 0
        while left > (available := len(self._buffer) - self._position):
            left -= available
            self._position = 0
            self._buffer = self._source()
            if not self._buffer:
                raise self._truncated()
        self._position += left

    def _exactly(self, count: int) -> bytes:
        position = self._position
        end = position + count
        buffer = self._buffer
        if end <= len(buffer):
            self._position = end
            return buffer[position:end]
        parts = [buffer[position:]]
        have = len(buffer) - position
        while have < count:
            buffer = self._source()
            if not buffer:
                raise self._truncated()
            parts.append(buffer)
            have += len(buffer)
        surplus = have - count
        self._buffer = buffer
        self._position = len(buffer) - surplus
        return b"".join(parts)[:count]

    def _finish(self) -> None:
        """After a zero block only zeros may follow, so that nothing hides behind the end."""
        rest = self._buffer[self._position :]
        while True:
            if rest.count(0) != len(rest):
                raise self._bad("has data after its end")
            rest = self._source()
            if not rest:
                break
        self._buffer, self._position = b"", 0

    def _verify(self, block: bytes) -> None:
        field = block[148:156].partition(b"\0")[0].strip(b" ")
        # Summed with the checksum field itself taken as eight spaces.
        if not field.isdigit() or sum(block) - sum(block[148:156]) + 256 != _octal(field):
            raise self._bad("is not a tar archive, or a header is damaged")

    def _number(self, field: bytes, name: bytes, what: str, *, signed: bool = False) -> int:
        digits = field.partition(b"\0")[0].strip(b" ")
        if digits.isdigit():
            value = _octal(digits)
            if value >= 0:
                return value
        elif not digits and field[0] in b" \0":
            return 0
        elif field[0] == 0x80:
            return int.from_bytes(field[1:], "big")
        elif field[0] == 0xFF and signed:
            return int.from_bytes(field, "big", signed=True)
        raise self._bad(f"{show(name)}: bad {what}")

    def _pax(self, content: bytes) -> dict[bytes, bytes]:
        """Records "LENGTH KEY=VALUE\\n" of a PAX header."""
        records: dict[bytes, bytes] = {}
        position = 0
        while position < len(content):
            space = content.find(b" ", position, position + 9)
            digits = content[position:space]
            if space < 0 or not digits.isdigit():
                raise self._bad("has a malformed extended header")
            end = position + int(digits)
            key, separator, value = content[space + 1 : end - 1].partition(b"=")
            if end > len(content) or not separator or not key or content[end - 1 : end] != b"\n":
                raise self._bad("has a malformed extended header")
            records[key] = value
            position = end
        return records

    def _refuse_global(self, records: dict[bytes, bytes]) -> None:
        """Global headers carry comments in practice; what would change members is refused."""
        for key in records:
            if key in (b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime") or key.startswith(
                (_XATTR, b"GNU.sparse.")
            ):
                raise Unsupported(f"{self.label}: global extended header {show(key)}")

    def _pax_number(self, pax: dict[bytes, bytes], key: bytes, default: int) -> int:
        value = pax.get(key)
        if value is None:
            return default
        if not value.isdigit() or len(value) > 19:
            raise self._bad(f"bad {show(key)} in an extended header")
        return int(value)

    def _pax_time(self, value: bytes) -> int:
        whole, _, fraction = value.partition(b".")
        digits = whole.removeprefix(b"-")
        if not digits.isdigit() or len(digits) > 12 or (fraction and not fraction.isdigit()):
            raise self._bad("bad mtime in an extended header")
        nanoseconds = int(digits) * 1_000_000_000 + int(fraction[:9].ljust(9, b"0"))
        return -nanoseconds if whole.startswith(b"-") else nanoseconds

    def _clean(self, name: bytes, member: bytes) -> bytes:
        """``name`` without empty and ``.`` components; b"" is the root itself."""
        if not name or b"\0" in name:
            raise self._bad(f"{show(member)}: empty name or NUL in a name")
        if name[0] == 0x2F:
            raise self._bad(f"{show(member)}: absolute name")
        if b"." not in name and b"//" not in name and name[-1] != 0x2F:
            return name
        parts = name.split(b"/")
        if b".." in parts:
            raise self._bad(f'{show(member)}: name with ".."')
        return b"/".join([part for part in parts if part and part != b"."])

    def _refuse_type(self, name: bytes, kind: bytes) -> None:
        raise self._bad(f"{show(name)}: unknown type {show(kind)}")

    def _truncated(self) -> BadInput:
        return BadInput(f"{self.label}: archive is truncated")

    def _bad(self, text: str) -> BadInput:
        return BadInput(f"{self.label}: {text}")


def _octal(digits: bytes) -> int:
    """The value of octal ``digits``, -1 when one of them is 8 or 9."""
    try:
        return int(digits, 8)
    except ValueError:
        return -1


def show(name: bytes) -> str:
    """A name of an archive as it may stand in a message: quoted, no control characters, bounded."""
    text = name[:200].decode("utf-8", "backslashreplace")
    return '"' + "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text) + '"'
