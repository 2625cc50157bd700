"""A new run of a pod that has a file in /etc/rkt/pods."""

from __future__ import annotations

import os
from collections.abc import Callable

from rktsd.host.files import locked
from rktsd.images.fetch import FetchOptions
from rktsd.paths import Paths
from rktsd.pods import cache, directories, podfile, runs
from rktsd.pods.checks import check_pod_file
from rktsd.pods.compile import Compiled, compile_pod
from rktsd.pods.options import PodOptions, expand_insecure
from rktsd.pods.resolve import resolve
from rktsd.store.store import Store


def compile_named(pod: str, paths: Paths, *, report: Callable[[str], None]) -> Compiled:
    """Read the file, fetch what is missing, compile, and begin a run. Raises RktError.

    The compiled form is kept for the next start, where that can be known to be the same.
    """
    file = podfile.load(paths, pod)
    check_pod_file(file)
    store = Store.open(paths.store, create=True)
    generation = cache.store_generation(paths)
    options = file.options
    fetching = FetchOptions(
        pull_policy=options.pull_policy, insecure=expand_insecure(options.insecure)
    )
    spec = resolve(
        file.manifest,
        options,
        store=store,
        paths=paths,
        fetching=fetching,
        report=report,
        pod_file=file.path,
    )
    uuid = directories.new_uuid()
    directory = directories.stage_directory(paths, directories.RUN, uuid)
    with locked(paths.store, shared=True):
        compiled = compile_pod(spec, pod=pod, uuid=uuid, directory=directory, paths=paths)
        compiled["files"][podfile.COPY] = file.text.decode()
        # What was found before the store changed may not be what would be found now.
        devices = any(_is_device(source) for _, source in compiled["host_volumes"])
        unchanged = generation == cache.store_generation(paths)
        cacheable = unchanged and not devices and not spec.privileged
        if cacheable and _depends_on_pod_file_alone(options):
            cache.save(paths, pod, compiled, file=file.path, text=file.text)
        return runs.begin(paths, compiled)


def _is_device(path: str) -> bool:
    # The next one that is plugged in there may have another number.
    return os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path))


def _depends_on_pod_file_alone(options: PodOptions) -> bool:
    """Whether the compiled form stays true as long as the pod file and the store are the same."""
    policies = {options.pull_policy, *(app.pull_policy for app in options.apps.values())}
    return "update" not in policies and "host" not in (*options.dns, *options.hosts_entries)
