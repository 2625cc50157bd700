"""ACIs that somebody hands over as open files, because he may read them and we must not look."""

import fcntl
import os
import stat

from rktsd.errors import Absent, BadInput, StoreError
from rktsd.images.aci import Hear, import_verified
from rktsd.images.fetch import Job, with_limit
from rktsd.images.signatures import SIGNATURE_LIMIT
from rktsd.store.records import ImageRecord

_PIECE = 1 << 20


def import_passed(
    archive: int, signature: int | None, job: Job, *, label: str, source: str
) -> ImageRecord:
    """Import the ACI in the descriptor ``archive``, its signature in the other.

    ``label`` is what it is called in messages, ``source`` in the store. Raises as ``fetch`` does.
    """
    job = with_limit(job)
    for descriptor in (archive, *([] if signature is None else [signature])):
        _check(descriptor, label)

    def get_archive(target: str, hear: Hear) -> None:
        _copy(archive, target, limit=job.options.limit, label=label)

    def get_signature(target: str) -> bool:
        if signature is None:
            raise Absent(f"{label}.asc: no such file")
        _copy(signature, target, limit=SIGNATURE_LIMIT, label=f"signature of {label}")
        return True

    job.report(f"using image from file {label}")
    return import_verified(job, label, source, None, get_archive, get_signature).record


def _check(descriptor: int, label: str) -> None:
    """Nothing that has no end, waits for somebody, or does something when it is read."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise BadInput(f"{label}: not a regular file")
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    if flags & os.O_PATH or flags & os.O_ACCMODE == os.O_WRONLY:
        raise BadInput(f"{label}: not open for reading")


def _copy(descriptor: int, target: str, *, limit: int, label: str) -> None:
    """A copy of our own, that nobody else can change or cut short between check and import."""
    try:
        with open(target, "xb") as file:
            at = 0
            while data := os.pread(descriptor, _PIECE, at):
                at += len(data)
                if at > limit:
                    raise BadInput(f"{label}: larger than {limit} bytes")
                file.write(data)
    except OSError as error:
        raise StoreError(f"cannot copy {label}: {error.strerror}") from error
