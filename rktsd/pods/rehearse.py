"""What a pod file would become, without a trace: nothing is fetched, written or started."""

from __future__ import annotations

import os
from dataclasses import replace

from rktsd.appc import names
from rktsd.appc.cursor import decode_json
from rktsd.appc.unread import unread, watched
from rktsd.errors import BadInput, RktError, UsageError
from rktsd.host import files
from rktsd.images.fetch import FetchOptions
from rktsd.paths import Paths
from rktsd.pods import directories, podfile
from rktsd.pods.compile import Compiled, compile_pod
from rktsd.pods.flavors import settled
from rktsd.pods.locate import MAX_POD_FILE
from rktsd.pods.options import AppOptions
from rktsd.pods.podfile import PodFile
from rktsd.pods.resolve import resolve
from rktsd.pods.spec import PodSpec
from rktsd.store.store import Store

UUID = "00000000-0000-4000-8000-000000000000"
"""Stands for that of the run, which a start makes up."""


def read_pod_file(word: str, paths: Paths, *, instance: str | None = None) -> PodFile:
    """The pod file that ``word`` means: a path, or the name of a pod that has one in /etc/rkt/pods.

    ``instance`` is what a template is read for. A file whose name is not that of a pod is read as
    if it were called by the UUID above. Raises NotFound, BadInput, StoreError, UsageError.
    """
    if "/" not in word and not word.endswith((".toml", ".json")):
        if instance is not None:
            raise UsageError("--instance is for the path of a template", hint="write POD@INSTANCE")
        return podfile.load(paths, word)
    stem, _, form = os.path.basename(word).rpartition(".")
    if form not in ("toml", "json"):
        raise UsageError(f"{word}: pod files end in .toml or .json")
    if stem.endswith("@"):
        pod = f"{stem}{instance or 'instance'}"
    elif instance is not None:
        raise UsageError(f"{word}: --instance is for templates, whose names end in @")
    else:
        pod = stem
    try:
        names.check_pod_name(pod, "pod")
    except BadInput:
        pod = UUID
    return podfile.parse(files.read_limited(word, MAX_POD_FILE), word, pod=pod)


def remarks(file: PodFile) -> list[str]:
    """What is no error in a pod file but hardly meant."""
    found = []
    if file.name == UUID:
        found.append(f"{file.path}: its name is not that of a pod: no unit can start it from there")
    if file.path.endswith(".json"):
        found += [f"{place}: unknown field, ignored" for place in unread_fields(file)]
    return found


def missing(file: PodFile, paths: Paths) -> list[str]:
    """What this machine lacks for the networks of the pod."""
    from rktsd.config.stage1 import read_stage1
    from rktsd.net.chains import chains
    from rktsd.net.config import networks
    from rktsd.net.ports import PortMapping

    some = [PortMapping(None, 1, 1, "tcp")] if file.manifest.ports else []
    try:
        stage1 = file.options.stage1 or read_stage1(paths.config_dirs())
        options = settled(replace(file.options, stage1=stage1))
        chains(networks(paths, options.networks or ()), some)
    except RktError as error:
        return [f"{file.path}: {error}"]
    return []


def unapplied(file: PodFile) -> list[str]:
    """What this machine would not do of the pod, of what stands in the file itself."""
    from rktsd.pods.launchers import unknown_calls
    from rktsd.pods.machine import this_machine
    from rktsd.stage1 import resources, users

    machine, options = this_machine(), file.options
    found = resources.unapplied(file.manifest.isolators, machine)
    found += resources.unapplied_settings(options.systemd or {}, machine)
    for app in file.manifest.apps:
        said = options.apps.get(app.name, AppOptions())
        asked = app.app.isolators if app.app is not None else said.overrides.isolators
        own = resources.unapplied(asked, machine)
        own += resources.unapplied_settings(said.systemd or {}, machine)
        own += users.powerless(asked) if options.private_users else []
        own += unknown_calls(asked)
        found += [f"app {app.name}: {each}" for each in own]
    return [f"{file.path}: not applied on this machine: {each}" for each in found]


def unread_fields(file: PodFile) -> list[str]:
    """``FILE: PATH`` of every field of a JSON pod file that nobody reads, in their order."""
    document = decode_json(file.text, file.path)
    document = watched(document)
    podfile.read_appc(document)
    return [place.where for place in unread(document)]


def reified(file: PodFile, paths: Paths) -> PodSpec:
    """The pod with every image found in the store. Raises NotFound for one that is not there."""
    return resolve(
        file.manifest,
        file.options,
        store=Store.open(paths.store),
        paths=paths,
        fetching=FetchOptions(),
        report=lambda _: None,
        pod_file=file.path,
        stored_only=True,
    )


def compiled(file: PodFile, paths: Paths) -> Compiled:
    """Everything that a start of the pod would do."""
    spec = reified(file, paths)
    directory = directories.stage_directory(paths, directories.RUN, UUID)
    return compile_pod(spec, pod=file.name, uuid=UUID, directory=directory, paths=paths, dry=True)
