"""``rkt run``, ``prepare`` and ``run-prepared``."""

import contextlib
import os
import sys

from rktsd.cli import compose
from rktsd.cli.arguments import one_pod
from rktsd.cli.context import Context, require_systemd, silence
from rktsd.cli.parse import Parsed
from rktsd.errors import BadInput, RktError, StoreError
from rktsd.host.files import write_atomic
from rktsd.pods import directories, prepared
from rktsd.pods import spec as specs
from rktsd.store.store import Store


def run(context: Context, parsed: Parsed) -> int:
    """Prepare a pod and run it."""
    require_systemd()
    uuid = directories.new_uuid()
    # First, as rkt does: whoever wants the UUID in a file wants no pod without it.
    _save_uuid(parsed, uuid)
    try:
        _prepare(context, parsed, uuid)
        return _run(context, uuid)
    finally:
        _discard(context, uuid)


def _discard(context: Context, uuid: str) -> None:
    """Remove the pod if it is still prepared: no start came so far as to take it."""
    from rktsd.store.tree import remove_tree

    with contextlib.suppress(OSError, RktError):
        remove_tree(
            directories.move(context.paths, uuid, directories.PREPARED, directories.GARBAGE)
        )
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{context.paths.run}/data/{uuid}")


def prepare(context: Context, parsed: Parsed) -> int:
    """Prepare a pod and print its UUID."""
    uuid = directories.new_uuid()
    if parsed.values.on("quiet"):
        with open(os.devnull, "w") as silence, contextlib.redirect_stderr(silence):
            _prepare(context, parsed, uuid)
    else:
        _prepare(context, parsed, uuid)
    sys.stdout.write(f"{uuid}\n")
    return 0


def run_prepared(context: Context, parsed: Parsed) -> int:
    """Run a pod that ``prepare`` made, with what the flags say of its network."""
    require_systemd()
    uuid = directories.match(context.paths, one_pod(parsed).lower())
    found = directories.find(context.paths, uuid)
    if found is None or found[0] != directories.PREPARED:
        raise BadInput(f'pod "{uuid}" is not prepared')
    _change_options(context, parsed, found[1])
    return _run(context, uuid)


def _prepare(context: Context, parsed: Parsed, uuid: str) -> None:
    with Store.open(context.paths.store, create=True) as store:
        spec = compose.spec(context, parsed, store)
        for line in prepared.prepare(spec, context.paths, uuid=uuid):
            context.note(f"not applied: {line}")


def _save_uuid(parsed: Parsed, uuid: str) -> None:
    path = parsed.values.last("uuid-file-save")
    if path is not None:
        try:
            write_atomic(path, uuid)
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror}") from error


def _change_options(context: Context, parsed: Parsed, directory: str) -> None:
    spec = specs.load(directory)
    options = compose.pod_options(parsed.values, spec.options)
    if options != spec.options:
        from rktsd.appc.write import dumps

        write_atomic(f"{directory}/options", dumps(options.to_json()), mode=0o640)


def _run(context: Context, uuid: str) -> int:
    from rktsd.pods.run import run as run_pod

    sys.stdout.flush()
    return run_pod(uuid, context.paths, write=_write)


def _write(data: bytes) -> bool:
    """What the apps print, past the text layer: it may be anything."""
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError:
        silence(1)
        return False
    return True
