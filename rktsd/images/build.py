"""Images made here: an appc image of a root, as a file with its signature or into the store."""

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator

from rktsd.errors import BadInput, NotFound, StoreError
from rktsd.host import process
from rktsd.host.files import arriving, sync_directory
from rktsd.images import acceptance
from rktsd.images.fetch import Job
from rktsd.store import publish
from rktsd.store.compression import compressed
from rktsd.store.pack import Packing, pack_archive, pack_directory
from rktsd.store.records import ImageRecord, Limits

IMPORTED = "import"
_KEPT = ("HOME", "GNUPGHOME", "GPG_TTY", "TERM", "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY",
         "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "PINENTRY_USER_DATA")  # fmt: skip


def pieces(
    source: str, manifest: bytes, packing: Packing, *, scratch: str, limits: Limits
) -> Iterator[bytes]:
    """The uncompressed ACI of the root ``source``: a directory, a tar archive, or "-" for one in
    standard input.

    ``scratch`` is a directory for what has to be kept meanwhile, ``limits`` are for archives.
    Raises NotFound, BadInput, Unsupported, StoreError.
    """
    if os.path.isdir(source):
        yield from pack_directory(source, manifest, packing)
        return
    label = "standard input" if source == "-" else source
    with _opened(source) as descriptor, tempfile.TemporaryFile(dir=scratch) as spool:
        yield from pack_archive(
            descriptor, label, manifest, packing, spool=spool.fileno(), limits=limits
        )


@contextlib.contextmanager
def _opened(source: str) -> Iterator[int]:
    if source == "-":
        yield 0
        return
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        kind = NotFound if isinstance(error, FileNotFoundError) else StoreError
        raise kind(f"cannot read {source}: {error.strerror}") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BadInput(f"{source}: neither a directory nor a regular file")
        yield descriptor
    finally:
        os.close(descriptor)


def build(
    source: str,
    manifest: bytes,
    target: str,
    *,
    packing: Packing,
    limits: Limits,
    compression: str = "gzip",
    sign: bool = False,
    key: str | None = None,
    replace: bool = False,
) -> None:
    """Write the ACI of ``source`` to the file ``target``.

    With ``sign`` its detached signature goes to ``target``.asc, by ``key`` of the caller's own
    keyring or its usual one. Raises what ``pieces`` does, CommandFailed when gpg does not sign;
    nothing is left then, and what ``replace`` was to replace is as it was.
    """
    signature = f"{target}.asc"
    directory = os.path.dirname(os.path.abspath(target))
    if sign and not replace and os.path.lexists(signature):
        raise BadInput(f"{signature}: exists", hint="--overwrite replaces it")
    _refuse_inside(source, directory, target)
    made = f"{signature}.{os.getpid()}.new"
    try:
        with arriving(target, replace=replace) as file:
            for piece in compressed(
                pieces(source, manifest, packing, scratch=directory, limits=limits), compression
            ):
                file.write(piece)
            file.flush()
            if sign:
                _sign(file.name, made, key)
        try:
            if sign:
                os.rename(made, signature)
            elif replace:
                # It belonged to the file that was replaced, and would have this one refused.
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(signature)
            sync_directory(directory)
        except OSError as error:
            raise StoreError(f"cannot write {signature}: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(made)


def _refuse_inside(source: str, directory: str, target: str) -> None:
    root = os.path.realpath(source)
    if os.path.isdir(source) and f"{os.path.realpath(directory)}/".startswith(f"{root}/"):
        raise BadInput(f"{target}: lies in the root {source} that it is made of")


def _sign(path: str, target: str, key: str | None) -> None:
    command = ["gpg", "--batch", "--yes", "--armor", "--output", target]
    command += ["--local-user", key] if key else []
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    process.run([*command, "--detach-sign", path], environment=environment)


def import_root(source: str, manifest: bytes, job: Job, *, packing: Packing) -> ImageRecord:
    """Store the image of the root ``source``, for which the caller vouches.

    What it depends on is fetched as usual. Raises what ``pieces`` and ``fetch`` do.
    """
    with job.store.temporary("aci") as place:
        directory = os.path.dirname(place)
        try:
            with open(place, "xb") as file:
                made = pieces(source, manifest, packing, scratch=directory, limits=job.limits())
                for piece in compressed(made, "gzip"):
                    file.write(piece)
                os.fsync(file.fileno())
        except OSError as error:
            raise StoreError(f"cannot write {place}: {error.strerror}") from error
        where = "standard input" if source == "-" else os.path.abspath(source)
        return publish.import_aci(
            job.store,
            place,
            source=f"{IMPORTED}:{where}",
            verified_by=IMPORTED,
            limits=job.limits(),
            label=where,
            accept=lambda _, found: acceptance.accept(job, where, found, None, None),
        )
