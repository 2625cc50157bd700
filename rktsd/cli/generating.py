"""``rkt generate``: pod files from command lines, Quadlet files and Kubernetes manifests."""

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from rktsd.appc import names
from rktsd.appc.types import PodManifest
from rktsd.cli import compose
from rktsd.cli import values as read_value
from rktsd.cli.context import Context, one_line
from rktsd.cli.fetching import pull_policy
from rktsd.cli.parse import Parsed
from rktsd.errors import BadInput, UsageError
from rktsd.generate.images import app_name, lasting, stored_manifest
from rktsd.generate.inverse import document
from rktsd.generate.write import render
from rktsd.host.files import write_atomic
from rktsd.pods import podfile
from rktsd.pods.checks import check_pod_file
from rktsd.pods.options import AppOptions, PodOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktsd.generate.draft import Draft

# Flags that say of one run what a pod file does not; --detach and --replace go without saying.
_OF_A_RUN = {
    "rm": "rkt gc removes ended pods",
    "uuid-file-save": "rkt status tells the UUID",
    "interactive": "pods with a file have no terminal; use rkt enter",
    "detach-keys": "rkt attach has them as well",
    "inherit-env": "the environment is another one at each start; use --environment",
    "platform": "write the platform into the image: docker://NAME,os=OS,arch=ARCH",
    "signature": "fetch the image with it first; the signature is kept with the image",
    "user-annotation": "a pod file has no such field",
    "user-label": "a pod file has no such field",
}


class Made(NamedTuple):
    """A pod file that is made: ``pod`` is the name of the pod or empty, ``remarks`` what it lacks.

    ``secret``: it has what others were not to read. ``hints`` are for its head.
    """

    pod: str
    text: str
    remarks: Sequence[str]
    secret: bool = False
    hints: Sequence[str] = ()


def run(context: Context, parsed: Parsed) -> int:
    """A pod file that says what a command line of ``rkt run`` does."""
    values = parsed.values
    if values.last("pod-manifest") is not None:
        raise UsageError(
            "--pod-manifest: a pod manifest is a pod file already",
            hint="copy it to /etc/rkt/pods/POD.json",
        )
    given = [*values, *(flag for app in parsed.apps for flag in app.values)]
    remarks = [
        f"not carried over: --{flag}: {why}" for flag, why in _OF_A_RUN.items() if flag in given
    ]
    manifest, options = _pod(context, parsed)
    name = values.last("name") or ""
    if name:
        names.check_pod_name(name, "--name")
    secret = any(os.stat(path).st_mode & 0o004 == 0 for path in values.get("set-env-file", []))
    made = Made(name, render(document(manifest, options)), remarks, secret)
    return _hand_out(context, parsed, [made])


def quadlet(context: Context, parsed: Parsed) -> int:
    """Pod files from Quadlet files of Podman."""
    from rktsd.generate.quadlet import read_quadlets

    if not parsed.arguments:
        raise UsageError("must provide at least one .container or .pod file")
    return _hand_out(context, parsed, _made(read_quadlets(parsed.arguments, context.paths)))


def kube(context: Context, parsed: Parsed) -> int:
    """Pod files from manifests of Kubernetes."""
    from rktsd.generate.kube import read_manifests

    if not parsed.arguments:
        raise UsageError("must provide at least one YAML file")
    return _hand_out(context, parsed, _made(read_manifests(parsed.arguments, context.paths)))


def _made(drafts: "Iterable[Draft]") -> list[Made]:
    return [
        Made(each.name, each.text(), each.remarks, bool(each.secrets), each.hints)
        for each in drafts
    ]


def _pod(context: Context, parsed: Parsed) -> tuple[PodManifest, PodOptions]:
    """The pod as ``compose`` makes it, with the references to images in place of images."""
    values = parsed.values
    if not parsed.apps:
        raise UsageError("must provide at least one image")
    volumes, kinds = read_value.volumes(values.get("volume", []))
    known = {volume.name for volume in volumes}
    shared = [read_value.mount(text) for text in values.get("mount", [])]
    common = compose.common_environment(values)
    apps, options = [], dict[str, AppOptions]()
    for arguments in parsed.apps:
        mounts = compose.app_mounts(arguments, shared, known)
        app, own = compose.runtime_app(arguments, mounts=mounts)
        image = lasting(arguments.image)
        name = arguments.values.last("name")
        if name is None:
            stored = stored_manifest(context.paths, image)
            name = app_name(stored.name if stored else image)
        names.check_ac_name(name, "--name")
        if name in options:
            raise UsageError(f'app name "{name}" is used twice', hint="give one of them --name")
        options[name] = replace(compose.with_environment(own, common), image=image)
        apps.append(replace(app, name=name))
    manifest = PodManifest(
        ac_version=names.SPEC_VERSION,
        apps=tuple(apps),
        volumes=volumes,
        isolators=read_value.pod_isolators(values),
        ports=tuple(read_value.published_port(text) for text in values.get("port", [])),
    )
    pod = compose.all_pod_options(context, values)
    policy = pull_policy(values, default=pod.pull_policy)
    return manifest, replace(pod, apps=options, volumes=kinds, pull_policy=policy)


def _hand_out(context: Context, parsed: Parsed, made: Sequence[Made]) -> int:
    """Tell what is missing, and write every file or none."""
    for each in made:
        for remark in each.remarks:
            context.note(remark)
    if parsed.values.on("strict") and any(each.remarks for each in made):
        raise BadInput("not everything can be carried over, and --strict is given")
    output = parsed.values.last("output")
    if len(made) > 1 and (output is None or not os.path.isdir(output)):
        pods = ", ".join(each.pod for each in made)
        raise UsageError(f"more than one pod: {pods}", hint="give a directory: --output=DIR")
    replacing = parsed.values.on("overwrite") or parsed.values.on("force")
    targets = [_target(output, each, replacing=replacing) for each in made]
    if len(set(targets)) < len(targets):
        raise BadInput("two of the pods would have the same file", hint="generate them one by one")
    texts = [_checked(each, path) for each, path in zip(made, targets, strict=True)]
    for each, path, text in zip(made, targets, texts, strict=True):
        if output is None:
            sys.stdout.write(text)
            continue
        for hint in each.hints:
            context.note(hint)
        write_atomic(path, text, mode=0o600 if each.secret else 0o644)
        sys.stdout.write(f"{path}\n")
    return 0


def _target(output: str | None, made: Made, *, replacing: bool) -> str:
    """The path of a pod file; that of standard output is what the pod's could be."""
    if output is None:
        return f"{made.pod or 'pod'}.toml"
    path = output
    if os.path.isdir(output):
        if not made.pod:
            raise UsageError(f"--output: {output} is a directory", hint="give the pod a --name")
        path = f"{output.rstrip('/')}/{made.pod}.toml"
    if not path.endswith(".toml"):
        raise UsageError(f"--output: {path}: the file is to be called POD.toml")
    if os.path.basename(path).endswith("@.toml") != made.pod.endswith("@"):
        kind = "a template" if made.pod.endswith("@") else "no template"
        raise UsageError(f"--output: {path}: the pod is {kind}", hint="templates are POD@.toml")
    if not replacing and os.path.lexists(path):
        raise BadInput(f"{path}: exists", hint="--overwrite replaces it")
    return path


def _checked(made: Made, path: str) -> str:
    """The file's text, which ``rkt pod check`` takes. Raises BadInput."""
    head = [f"# Pod {made.pod}: a file for /etc/rkt/pods, see rkt-pod(5)." if made.pod else ""]
    head += [f"# {one_line(remark[0].upper() + remark[1:])}" for remark in made.remarks]
    head += [f"# {hint}" for hint in made.hints]
    text = "\n".join(line for line in head if line) + "\n" + made.text
    text = text.lstrip("\n")
    stem = os.path.basename(path).removesuffix(".toml")
    pod = f"{stem}instance" if stem.endswith("@") else stem
    check_pod_file(podfile.parse(text.encode(), path, pod=pod))
    return text
