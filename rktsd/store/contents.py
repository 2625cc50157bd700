"""Write what an archive has of a file."""

import os

from rktsd.store.sparse import spread
from rktsd.store.tar import Member, TarReader


def write_contents(reader: TarReader, descriptor: int, member: Member) -> None:
    """Write the data of ``member``, at which ``reader`` is; what a sparse file lacks stays a hole.

    Raises BadInput, OSError.
    """
    if member.parts is not None:

        def write(data: bytes | memoryview, offset: int) -> int:
            return os.pwrite(descriptor, data, offset)

        spread(member.parts, reader.chunk, write)
        os.ftruncate(descriptor, member.size)
        return
    chunk = reader.chunk
    while data := chunk():
        written = os.write(descriptor, data)
        while written < len(data):
            written += os.write(descriptor, memoryview(data)[written:])
