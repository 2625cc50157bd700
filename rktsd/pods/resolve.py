"""From what somebody wrote to a spec: every image found, fetched if need be, and verified."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from rktsd.appc import isolators
from rktsd.appc.types import PodManifest, RuntimeApp, RuntimeImage
from rktsd.config.stage1 import read_stage1
from rktsd.errors import BadInput, CommandFailed, RktError, Unsupported
from rktsd.images.fetch import FetchOptions, fetch, stored
from rktsd.paths import Paths
from rktsd.pods.options import AppOptions, PodOptions, expand_insecure
from rktsd.pods.overrides import apply_overrides
from rktsd.pods.spec import AppImage, PodSpec, app_image
from rktsd.stage1.seccomp import narrows, with_blacklist
from rktsd.store.store import Store

_FLAG = re.compile(r"--insecure-options=([a-z]+(?:,[a-z]+)*)")


def resolve(
    manifest: PodManifest,
    options: PodOptions,
    *,
    store: Store,
    paths: Paths,
    fetching: FetchOptions,
    report: Callable[[str], None],
    pod_file: str | None = None,
    stored_only: bool = False,
) -> PodSpec:
    """Find the image of every app, and write down what runs.

    ``fetching`` holds where pod and apps say nothing of their own; with ``pod_file`` errors speak
    of what is written there; with ``stored_only`` nothing is fetched, and nothing written, not even
    that the images were used. Raises what ``fetch`` raises, NotFound for an image ID that is not
    stored, and BadInput for an app without a command.
    """
    granted: list[bool] = []

    def privileged() -> bool:
        from rktsd.config.settings import read_run_settings

        granted.append(read_run_settings(paths.config_dirs()).image_privileges)
        return granted[-1]

    if options.stage1 is None:
        options = replace(options, stage1=read_stage1(paths.config_dirs()))
    apps, images = [], {}
    for runtime in manifest.apps:
        app_options = options.apps.get(runtime.name, AppOptions())
        with _as_written_in(pod_file, runtime.name):
            if app_options.image is None:
                record = store.find(runtime.image.id)
            elif stored_only:
                record = stored(app_options.image, store)
            else:
                insecure = expand_insecure((*options.insecure, *app_options.insecure))
                record = fetch(
                    app_options.image,
                    store,
                    paths=paths,
                    options=replace(
                        fetching,
                        insecure=fetching.insecure | insecure,
                        pull_policy=app_options.pull_policy or fetching.pull_policy,
                    ),
                    report=report,
                )
        if not stored_only:
            store.touch(record.id)
        image = app_image(record, store.manifest_bytes(record.id))
        images[runtime.name] = image
        apps.append(_reified(runtime, image, app_options, privileged=privileged))
    return PodSpec(replace(manifest, apps=tuple(apps)), options, images, privileged=any(granted))


@contextlib.contextmanager
def _as_written_in(pod_file: str | None, app: str) -> Iterator[None]:
    """Errors name file and app, and say what to write instead of what to type."""
    try:
        yield
    except RktError as error:
        if pod_file is None:
            raise
        text = str(error)
        if pod_file.endswith(".toml"):
            text = _FLAG.sub(_field, text)
        # Of a program that failed, nobody asks for the status any more.
        kind = RktError if isinstance(error, CommandFailed) else type(error)
        raise kind(f"{pod_file}: app {app}: {text}") from error


def _field(flag: re.Match[str]) -> str:
    words = ", ".join(f'"{word}"' for word in flag[1].split(","))
    return f"insecure = [{words}]"


def _immodesty(app: str, image: AppImage, options: AppOptions) -> Unsupported | None:
    """What is wrong with an image that gives itself more than an app has.

    Nothing where the pod says what it gets.
    """
    wished = image.manifest.app.isolators if image.manifest.app else ()
    said = {each.name for each in options.overrides.isolators}
    asks, gets = f"app {app}: image {image.shown} asks for", "say what it gets:"
    more = isolators.capability_set(wished) - isolators.DEFAULT_CAPABILITIES
    if more and not said & {isolators.CAPABILITIES_RETAIN, isolators.CAPABILITIES_REMOVE}:
        return Unsupported(
            f"{asks} {', '.join(sorted(more))}",
            hint=f"{gets} capabilities-retain in a pod file, or --caps-retain",
        )
    score = isolators.oom_score_adj(wished)
    if score is not None and score < 0 and isolators.OOM_SCORE_ADJ not in said:
        return Unsupported(
            f"{asks} the OOM score {score}",
            hint=f"{gets} oom-score-adj in a pod file, or --oom-score-adj",
        )
    asked = isolators.seccomp(wished)
    if said & {isolators.SECCOMP_RETAIN, isolators.SECCOMP_REMOVE} or asked is None:
        return None
    if asked.mode == "retain" and not narrows(asked, app=app):
        return Unsupported(
            f"{asks} system calls that the default filter forbids",
            hint=f"{gets} seccomp-retain in a pod file, or --seccomp",
        )
    return None


def _reified(
    runtime: RuntimeApp, image: AppImage, options: AppOptions, *, privileged: Callable[[], bool]
) -> RuntimeApp:
    """The app with its image's ID, and with the app section that runs (appc spec, pods.md).

    rkt gave an app what its image asked for; here that is for ``privileged`` to say.
    """
    own = runtime.app or image.manifest.app
    if runtime.app is None and own is not None:
        problem = _immodesty(runtime.name, image, options)
        removes = any(each.name == isolators.SECCOMP_REMOVE for each in own.isolators)
        if (problem or removes) and not privileged():
            if problem:
                raise problem
            own = replace(own, isolators=with_blacklist(own.isolators))
    if own is None and options.overrides.exec is None:
        raise BadInput(
            f"app {runtime.name}: image {image.shown} has no app section", hint="give exec"
        )
    return replace(
        runtime,
        image=RuntimeImage(image.id, image.manifest.name, image.manifest.labels),
        app=apply_overrides(own, options.overrides, app=runtime.name),
    )
