"""``rkt run``, ``prepare`` and ``run-prepared``."""

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Callable, Iterator
from functools import partial

from rktsd.appc.names import check_pod_name
from rktsd.cli import compose
from rktsd.cli.arguments import one_pod
from rktsd.cli.context import Context, require_systemd, silence
from rktsd.cli.parse import Parsed
from rktsd.errors import BadInput, RktError, StoreError, UsageError
from rktsd.host.files import write, write_atomic
from rktsd.paths import Paths
from rktsd.pods import directories, kept, prepared, query
from rktsd.pods import spec as specs
from rktsd.pods.flavors import settled
from rktsd.store.store import Store

Make = Callable[[Context, Parsed, Store], specs.PodSpec]

_BEFORE = "before the images --name is that of the pod"


def run(context: Context, parsed: Parsed) -> int:
    """Prepare a pod and run it."""
    return _run_new(context, parsed, compose.spec)


def sandbox(context: Context, parsed: Parsed) -> int:
    """The same for a pod without an app, which lives until it is stopped."""
    from rktsd.cli.arguments import none
    from rktsd.cli.sandboxes import sandbox as compose_sandbox

    none(parsed)
    return _run_new(context, parsed, compose_sandbox)


def _run_new(context: Context, parsed: Parsed, make: Make) -> int:
    _check_flags(parsed)
    uuid = directories.new_uuid()
    # First, as rkt does: whoever wants the UUID in a file wants no pod without it.
    _save_uuid(parsed, uuid)
    try:
        _prepare(context, parsed, uuid, make=make)
        return _carry_out(context, parsed, uuid, _name(parsed) or uuid)
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


@contextlib.contextmanager
def _held(context: Context, uuid: str) -> Iterator[None]:
    """A pod that is removed when it has ended is there until we have read how it did (pod-reap)."""
    from rktsd.host.files import locked
    from rktsd.store.tree import remove_tree

    prepared_there = directories.stage_directory(context.paths, directories.PREPARED, uuid)
    mark = f"{prepared_there}/{kept.REMOVE}"
    if not os.path.exists(mark):
        yield
        return
    with locked(mark, shared=True):
        yield
        found = directories.find(context.paths, uuid)
        if found is not None and found[0] == directories.GARBAGE:
            with contextlib.suppress(OSError, RktError):
                remove_tree(found[1])


def _name(parsed: Parsed) -> str | None:
    """The name that the pod is given."""
    name = parsed.values.last("name")
    if name is None:
        if parsed.values.on("replace"):
            raise UsageError("--replace is about the pod that has the --name", hint=_BEFORE)
        return None
    return check_pod_name(name, "--name")


def prepare(context: Context, parsed: Parsed) -> int:
    """Prepare a pod and print its UUID."""
    uuid = directories.new_uuid()
    _save_uuid(parsed, uuid)
    if parsed.values.on("quiet"):
        with open(os.devnull, "w") as silence, contextlib.redirect_stderr(silence):
            _prepare(context, parsed, uuid)
    else:
        _prepare(context, parsed, uuid)
    sys.stdout.write(f"{uuid}\n")
    return 0


def run_prepared(context: Context, parsed: Parsed) -> int:
    """Run a pod that ``prepare`` made, with what the flags say of its network."""
    _check_flags(parsed)
    place = query.find(context.paths, one_pod(parsed))
    if place.stage != directories.PREPARED:
        raise BadInput(f'pod "{place.uuid}" is not prepared')
    _check_interactive(parsed, len(query.status(place, query.Live()).apps))
    _change_options(context, parsed, place.directory)
    if parsed.values.on("rm"):
        write(f"{place.directory}/{kept.REMOVE}", "")
    return _carry_out(context, parsed, place.uuid, place.pod)


def _check_interactive(parsed: Parsed, apps: int) -> None:
    if parsed.values.on("interactive") and apps != 1:
        raise UsageError(f"--interactive is for pods of one app, and this one has {apps}")


def _check_flags(parsed: Parsed) -> None:
    require_systemd()
    if parsed.values.on("interactive") and parsed.values.on("detach"):
        raise UsageError("--interactive and --detach contradict each other")
    if "detach-keys" in parsed.values:
        from rktsd.pods.attach import detach_keys

        detach_keys(parsed.values.last("detach-keys"))
        if not parsed.values.on("interactive"):
            raise UsageError("--detach-keys are for --interactive")


def _carry_out(context: Context, parsed: Parsed, uuid: str, pod: str) -> int:
    """Run a prepared pod in the foreground, or start it."""
    if not parsed.values.on("detach"):
        with _held(context, uuid):
            if parsed.values.on("interactive"):
                return _run_interactive(context, parsed, uuid, pod)
            return _run(context, uuid, pod)
    from rktsd.pods.run import start

    start(pod, context.paths)
    sys.stdout.write(f"{uuid}\n")
    return 0


def _prepare(context: Context, parsed: Parsed, uuid: str, *, make: Make = compose.spec) -> None:
    name = _name(parsed)
    with Store.open(context.paths.store, create=True) as store:
        spec = make(context, parsed, store)
        _check_interactive(parsed, len(spec.manifest.apps))
        unapplied = prepared.prepare(
            spec,
            context.paths,
            uuid=uuid,
            name=name,
            replace=partial(_replace, context.paths) if parsed.values.on("replace") else None,
            remove=parsed.values.on("rm"),
        )
    for line in unapplied:
        context.note(f"not applied: {line}")


def _replace(paths: Paths, place: query.Place) -> None:
    """Stop and remove the pod that has the name which another one is to have."""
    from rktsd.pods.remove import remove
    from rktsd.pods.stop import stop

    if place.uuid in query.running(paths, [place]).pods:
        stop(place, paths)
    # One that is removed at its end is gone now.
    if os.path.isdir(place.directory):
        remove(paths, place, live=query.running(paths, [place]))


def _save_uuid(parsed: Parsed, uuid: str) -> None:
    path = parsed.values.last("uuid-file-save")
    if path is not None:
        try:
            if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
                # Into a device or a pipe: in its place the machine would have a file.
                with open(path, "w") as file:
                    file.write(uuid)
            else:
                write_atomic(path, uuid)
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror}") from error


def _change_options(context: Context, parsed: Parsed, directory: str) -> None:
    spec = specs.load(directory)
    options = compose.pod_options(parsed.values, spec.options)
    # What cannot be is not written down either.
    settled(options)
    if options != spec.options:
        from rktsd.appc.write import dumps

        write_atomic(f"{directory}/options", dumps(options.to_json()), mode=0o640)


def _run(context: Context, uuid: str, pod: str) -> int:
    from rktsd.pods.run import run as run_pod

    sys.stdout.flush()
    lost: list[OSError] = []
    status = run_pod(uuid, context.paths, pod=pod, write=partial(_write, lost))
    return _unless_lost(lost, status)


def _run_interactive(context: Context, parsed: Parsed, uuid: str, pod: str) -> int:
    from rktsd.pods.attach import detach_keys
    from rktsd.pods.interactive import run as run_pod

    keys = detach_keys(parsed.values.last("detach-keys"))
    place = query.find(context.paths, uuid)
    (app,) = query.status(place, query.Live()).apps
    sys.stdout.flush()
    lost: list[OSError] = []
    write = partial(_write, lost)
    status = run_pod(uuid, context.paths, pod=pod, app=app.name, keys=keys, write=write)
    if status is None:
        context.note(f"detached; the way back: rkt attach {pod}")
        return 0
    return _unless_lost(lost, status)


def _write(lost: list[OSError], data: bytes) -> bool:
    """What the apps print, past the text layer: it may be anything.

    ``lost`` gets why it could not be written, but for a reader who has read enough and a terminal
    that was closed.
    """
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as error:
        closed = error.errno == errno.EIO and stat.S_ISCHR(os.fstat(1).st_mode)
        silence(1)
        if error.errno != errno.EPIPE and not closed:
            error.filename = "standard output"
            lost.append(error)
        return False
    return True


def _unless_lost(lost: list[OSError], status: int) -> int:
    """``status``, which says nothing of output that is not there. Raises what is in ``lost``."""
    if lost:
        raise lost[0]
    return status
