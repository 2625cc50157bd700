"""From the command line of ``run`` and ``prepare`` to what a pod file would have said."""

import os
import posixpath
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from rktsd.appc import names, read
from rktsd.appc.quantities import parse_bytes
from rktsd.appc.types import (
    ImageManifest,
    Mount,
    NameValue,
    PodManifest,
    RuntimeApp,
    RuntimeImage,
    Volume,
)
from rktsd.cli import values as read_value
from rktsd.cli.context import Context
from rktsd.cli.fetching import fetch_options, pull_policy, report
from rktsd.cli.parse import AppArguments, Parsed, Values, truth
from rktsd.cli.progress import Talk, talk
from rktsd.errors import BadInput, UsageError
from rktsd.host.files import read_limited
from rktsd.images.fetch import fetch
from rktsd.pods import streams
from rktsd.pods.options import IPC, PID, AppOptions, PodOptions, app_options_at
from rktsd.pods.overrides import AppOverrides, overrides_at
from rktsd.pods.resolve import resolve
from rktsd.pods.spec import PodSpec
from rktsd.store.store import Store

MUTABLE = "coreos.com/rkt/stage1/mutable"
"""Whether apps can be added to the pod (rkt)."""

# Flags that are called otherwise than the fields of a pod file.
_FLAGS = {
    "working-directory": "working-dir",
    "user-annotations": "user-annotation",
    "user-labels": "user-label",
}

_NOT_WITH_MANIFEST = (
    "volume", "mount", "port", "inherit-env", "set-env", "set-env-file", "store-only", "no-store",
    "platform", "sysctl", "network-bandwidth",
)  # fmt: skip


def spec(context: Context, parsed: Parsed, store: Store) -> PodSpec:
    """What is to run, with every image fetched and verified. Raises RktError."""
    policy = pull_policy(parsed.values, default="new")
    told = talk(report)
    options = all_pod_options(context, parsed.values)
    if parsed.values.last("pod-manifest") is not None:
        manifest = _given_manifest(parsed)
        policy = "never"
    else:
        volumes, kinds = read_value.volumes(parsed.values.get("volume", []))
        manifest, apps = _manifest(
            context, parsed, store, volumes=volumes, policy=policy, told=told
        )
        options = replace(options, apps=apps, volumes=kinds)
    return resolve(
        manifest,
        options,
        store=store,
        paths=context.paths,
        fetching=fetch_options(context, policy, watch=told.watch),
        report=told.report,
    )


def all_pod_options(context: Context, values: Values) -> PodOptions:
    """What the flags say of the pod beyond its manifest. Raises RktError."""
    size = values.last("shm-size")
    usual = PodOptions(
        insecure=context.insecure,
        strict=values.on("strict"),
        shm_size=None if size is None else parse_bytes(size, "--shm-size"),
        stage1=read_value.stage1(values),
    )
    return pod_options(values, usual)


def pod_options(values: Values, usual: PodOptions) -> PodOptions:
    """``usual`` with what the flags say of network, DNS and host name. Raises BadInput."""
    changes: dict[str, object] = {}
    for flag, member in (
        ("net", "networks"),
        ("dns", "dns"),
        ("hosts-entry", "hosts_entries"),
        ("dns-search", "dns_search"),
        ("dns-opt", "dns_options"),
    ):
        if flag in values:
            changes[member] = tuple(values.words(flag))
    for flag, member in (
        ("follow-links", "follow_links"),
        ("private-users", "private_users"),
        ("mds-register", "metadata"),
    ):
        if flag in values:
            changes[member] = values.on(flag)
    for flag, words in (("ipc", IPC), ("pid", PID)):
        if values.last(flag) not in (None, *words):
            raise UsageError(f'--{flag}: "{values.last(flag)}" is not {", ".join(words)}')
    for flag, member in (
        ("dns-domain", "dns_domain"),
        ("hostname", "hostname"),
        ("ipc", "ipc"),
        ("pid", "pid"),
    ):
        if flag in values:
            changes[member] = values.last(flag)
    if "hosts_entries" in changes:
        changes["hosts_entries"] = tuple(dict.fromkeys(values.words("hosts-entry")))
    return replace(usual, **changes).checked("command line")  # type: ignore[arg-type]  # by name


def _given_manifest(parsed: Parsed) -> PodManifest:
    """The manifest of --pod-manifest, which leaves little for flags to say (rkt)."""
    values = parsed.values
    conflicts = [flag for flag in _NOT_WITH_MANIFEST if flag in values]
    if values.last("pull-policy") in ("update", "never"):
        conflicts.append("pull-policy")
    if parsed.apps or conflicts:
        what = "images" if parsed.apps else f"--{conflicts[0]}"
        raise UsageError(f"conflicting flags set with --pod-manifest: {what}")
    path = values.last("pod-manifest") or ""
    manifest = read.pod_manifest(read_limited(path, 4 << 20, pipes=True), path)
    if not manifest.apps:
        raise BadInput(f"{path}: pod must contain at least one application")
    return manifest


def _manifest(
    context: Context,
    parsed: Parsed,
    store: Store,
    *,
    volumes: tuple[Volume, ...],
    policy: str,
    told: Talk,
) -> tuple[PodManifest, dict[str, AppOptions]]:
    values = parsed.values
    if not parsed.apps:
        raise UsageError("must provide at least one image or --pod-manifest")
    known = {volume.name for volume in volumes}
    ports = tuple(read_value.published_port(text) for text in values.get("port", []))
    given = Given(
        context,
        store,
        policy,
        told,
        values=values,
        shared=[read_value.mount(text) for text in values.get("mount", [])],
        environment=common_environment(values),
        volumes=known,
    )
    apps: list[RuntimeApp] = []
    options: dict[str, AppOptions] = {}
    for arguments in parsed.apps:
        app, options_of_app = app_of(arguments, given)
        if app.name in options:
            raise UsageError(f'app name "{app.name}" is used twice', hint="give one of them --name")
        options[app.name] = options_of_app
        apps.append(app)
    manifest = PodManifest(
        ac_version=names.SPEC_VERSION,
        apps=tuple(apps),
        volumes=volumes,
        isolators=read_value.pod_isolators(values),
        annotations=(NameValue(MUTABLE, "false"),),
        ports=ports,
    )
    return manifest, options


class Given(NamedTuple):
    """What is the same for all apps of a command line: ``values`` are the flags before the images,
    ``shared`` the mounts of all apps, ``volumes`` the names that mounts may have."""

    context: Context
    store: Store
    policy: str
    told: Talk
    values: Values
    shared: list[Mount]
    environment: dict[str, str]
    volumes: set[str]


def app_of(arguments: AppArguments, given: Given) -> tuple[RuntimeApp, AppOptions]:
    """An app of an image that is fetched and verified. Raises RktError."""
    app, own = runtime_app(arguments, mounts=app_mounts(arguments, given.shared, given.volumes))
    record = fetch(
        arguments.image,
        given.store,
        paths=given.context.paths,
        options=fetch_options(
            given.context,
            given.policy,
            app=arguments.values,
            all_apps=given.values,
            watch=given.told.watch,
        ),
        report=given.told.report,
    )
    image = read.image_manifest(given.store.manifest_bytes(record.id), f"image {record.id}")
    own = with_environment(own, {**_inherited(given.values, image), **given.environment})
    found = RuntimeImage(record.id, record.name, record.labels)
    return replace(app, name=_app_name(arguments, record.name), image=found), own


def runtime_app(
    arguments: AppArguments, *, mounts: tuple[Mount, ...]
) -> tuple[RuntimeApp, AppOptions]:
    """What the words behind an image say of its app, which has no name and no image yet.

    Raises UsageError, BadInput.
    """
    app = RuntimeApp(
        name="",
        image=RuntimeImage(""),
        read_only_root_fs=_is_on(arguments.values, "readonly-rootfs"),
        mounts=mounts,
        annotations=_annotations(arguments.values),
    )
    return app, _app_options(arguments.values, _overrides(arguments))


def with_environment(options: AppOptions, environment: Mapping[str, str]) -> AppOptions:
    """``options`` with these variables too, as far as they do not have them."""
    own = {each.name: each.value for each in options.overrides.environment}
    merged = tuple(NameValue(key, value) for key, value in {**environment, **own}.items())
    return replace(options, overrides=replace(options.overrides, environment=merged))


def _app_options(values: Values, overrides: AppOverrides) -> AppOptions:
    """What the flags behind an image say beyond its app section. Raises UsageError, BadInput."""
    from rktsd.appc.cursor import Cursor

    given = {
        "stop-signal": values.last("stop-signal"),
        "output": values.last("output"),
        "health": False if values.on("no-healthcheck") else None,
    }
    found = app_options_at(Cursor("command line", "", given), overrides=overrides)
    return replace(found, insecure=read_value.insecure(values))


def _annotations(values: Values) -> tuple[NameValue, ...]:
    """The app's, among them what its streams are (rkt)."""
    given = {name: values.last(name) for name in streams.KINDS}
    for name, value in given.items():
        if value is not None and value not in streams.KINDS[name]:
            raise UsageError(f'--{name}: "{value}" is not one of {", ".join(streams.KINDS[name])}')
    own = streams.as_annotations(given)
    taken = {each.name for each in own}
    others = read_value.name_values(values, "annotation")
    return (*(each for each in others if each.name not in taken), *own)


def _is_on(values: Values, flag: str) -> bool:
    given = values.last(flag)
    return given is not None and truth(given, flag)


def _app_name(arguments: AppArguments, image: str) -> str:
    """The name that was given, or the last part of the image's (rkt)."""
    given = arguments.values.last("name")
    if given is not None:
        return names.check_ac_name(given, "--name")
    return names.sanitise_ac_name(posixpath.basename(image))


def app_mounts(
    arguments: AppArguments, shared: list[Mount], volumes: set[str]
) -> tuple[Mount, ...]:
    """The app's own mounts, and those of all apps on other paths (rkt)."""
    own = [read_value.mount(text) for text in arguments.values.get("mount", [])]
    own += [read_value.mounted_volume(text) for text in arguments.values.get("mnt-volume", [])]
    taken = {posixpath.normpath(mount.path) for mount in own}
    found = (*own, *(each for each in shared if posixpath.normpath(each.path) not in taken))
    for mount in found:
        if mount.app_volume is not None:
            if mount.volume in volumes:
                raise UsageError(f'the pod has a volume "{mount.volume}": --mount mounts it')
        elif mount.volume not in volumes:
            raise UsageError(f"dangling mount point {mount.path}: volume {mount.volume} not found")
    return found


def _overrides(arguments: AppArguments) -> AppOverrides:
    """What the flags behind an image change of its app section."""
    values = arguments.values
    given: dict[str, object] = {
        "args": arguments.arguments or None,
        "user": values.last("user"),
        "group": values.last("group"),
        "working-directory": values.last("working-dir"),
    }
    if "exec" in values:
        given["exec"] = [values.last("exec")]
    if "supplementary-gids" in values:
        given["supplementary-gids"] = [
            read_value.number(word, "supplementary-gids")
            for word in values.words("supplementary-gids")
            if word
        ]
    given["environment"] = read_value.environment(values, "environment")
    for flag in ("user-annotation", "user-label"):
        given[f"{flag}s"] = read_value.pairs(values.get(flag, []), flag)
    from rktsd.appc.cursor import Cursor

    source = f"image {arguments.image}"
    try:
        found = overrides_at(Cursor(source, "", given))
    except BadInput as error:
        field, _, problem = str(error).removeprefix(f"{source}: ").partition(": ")
        name = field.partition("[")[0]
        raise UsageError(f"{source}: --{_FLAGS.get(name, name)}: {problem}") from error
    return replace(found, isolators=read_value.app_isolators(values))


def common_environment(values: Values) -> dict[str, str]:
    """The variables that the flags before the images give all apps. Raises RktError."""
    found: dict[str, str] = {}
    for path in values.get("set-env-file", []):
        found |= read_value.environment_file(path)
    return found | read_value.environment(values, "set-env")


def _inherited(values: Values, image: ImageManifest) -> dict[str, str]:
    """Our own environment, as far as the image does not say it better and appc can name it."""
    if not values.on("inherit-env"):
        return {}
    own = {each.name for each in image.app.environment} if image.app else set()
    found = {}
    for name, value in os.environ.items():
        try:
            names.check_environment_name(name, "environment")
            value.encode()
        except (BadInput, UnicodeEncodeError):
            report(f"the environment variable {name} cannot be handed on")
            continue
        if name not in own:
            found[name] = value
    return found
