"""From the command lines of ``rkt app`` to a pod without an app, and to an app that comes to it."""

from dataclasses import replace

from rktsd.appc import names
from rktsd.appc.types import NameValue, PodManifest
from rktsd.cli import values as read_value
from rktsd.cli.compose import MUTABLE, Given, app_of, pod_options
from rktsd.cli.context import Context
from rktsd.cli.fetching import fetch_options, pull_policy, report
from rktsd.cli.parse import AppArguments, Parsed, Values
from rktsd.cli.progress import talk
from rktsd.config.flavors import NSPAWN
from rktsd.errors import UsageError
from rktsd.pods.options import PodOptions, expand_insecure
from rktsd.pods.resolve import resolve
from rktsd.pods.spec import PodSpec
from rktsd.store.store import Store


def sandbox(context: Context, parsed: Parsed, store: Store) -> PodSpec:
    """A pod without an app, to which apps can be added while it runs. Raises UsageError, BadInput.

    It is one of systemd-nspawn, whatever the flavor that this machine uses otherwise.
    """
    values = parsed.values
    volumes, kinds = read_value.volumes(values.get("volume", []))
    usual = PodOptions(
        insecure=context.insecure, stage1=NSPAWN, on_app_failure="continue", mutable=True
    )
    annotations = read_value.name_values(values, "annotation")
    if any(each.name == MUTABLE for each in annotations):
        raise UsageError(f"--annotation: {MUTABLE} is true for every sandbox")
    manifest = PodManifest(
        ac_version=names.SPEC_VERSION,
        apps=(),
        volumes=volumes,
        annotations=(NameValue(MUTABLE, "true"), *annotations),
        ports=tuple(read_value.forwarded_port(text) for text in values.get("port", [])),
        user_annotations=read_value.pairs(values.get("user-annotation", []), "user-annotation"),
        user_labels=read_value.pairs(values.get("user-label", []), "user-label"),
    )
    return PodSpec(manifest, replace(pod_options(values, usual), volumes=kinds), {})


def added(
    context: Context, arguments: AppArguments, pod: PodSpec, *, values: Values, store: Store
) -> PodSpec:
    """``pod`` with the only app of a command line in place of its own, whose image is fetched and
    verified. Raises RktError."""
    policy = pull_policy(values, default="new")
    told = talk(report)
    known = {volume.name for volume in pod.manifest.volumes}
    app, options = app_of(
        arguments,
        Given(
            context, store, policy, told, values=values, shared=[], environment={}, volumes=known
        ),
    )
    # Of what --insecure-options has, the rest is about fetching.
    freed = sorted(expand_insecure(context.insecure) & {"capabilities", "paths", "seccomp"})
    options = replace(options, insecure=tuple(dict.fromkeys((*options.insecure, *freed))))
    return resolve(
        replace(pod.manifest, apps=(app,)),
        replace(pod.options, apps={app.name: options}),
        store=store,
        paths=context.paths,
        fetching=fetch_options(context, policy, watch=told.watch),
        report=told.report,
    )
