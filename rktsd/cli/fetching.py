"""``rkt fetch``, and fetching as other commands do it."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator

from rktsd.cli.context import Context, note
from rktsd.cli.parse import Parsed, Values
from rktsd.cli.progress import talk
from rktsd.cli.refetching import shown_id
from rktsd.errors import StoreError, UsageError
from rktsd.images.fetch import POLICIES, FetchOptions
from rktsd.images.fetch import fetch as fetch_image
from rktsd.pods.options import expand_insecure
from rktsd.store.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktsd.images.progress import Watch
    from rktsd.images.trust import Key


def fetch(context: Context, parsed: Parsed) -> int:
    """Fetch every image, and print its ID."""
    if not parsed.apps:
        raise UsageError("must provide at least one image")
    from rktsd.cli import asking

    told = talk(report)
    policy = pull_policy(parsed.values, default="update")
    if policy != "never" and asking.possible(context):
        for image in asking.fetch(context, parsed, policy=policy, told=told):
            sys.stdout.write(f"{shown_id(image, parsed.values)}\n")
            sys.stdout.flush()
        return 0
    with Store.open(context.paths.store, create=True) as store:
        for app in parsed.apps:
            options = fetch_options(
                context, policy, app=app.values, all_apps=parsed.values, watch=told.watch
            )
            with _hint_at_root():
                record = fetch_image(
                    app.image, store, paths=context.paths, options=options, report=told.report
                )
            sys.stdout.write(f"{shown_id(record.id, parsed.values)}\n")
            sys.stdout.flush()
    return 0


@contextlib.contextmanager
def _hint_at_root() -> Iterator[None]:
    """What is unpacked gets the owners that the image says, and only root can give them."""
    try:
        yield
    except StoreError as error:
        if os.geteuid() == 0:
            raise
        raise StoreError(str(error), hint="to store an image needs root") from error


def report(message: str) -> None:
    """What fetching has to tell, as rkt prints it."""
    note("image", message)


def pull_policy(values: Values, *, default: str) -> str:
    """The policy, also in its deprecated forms. Raises UsageError."""
    given = values.last("pull-policy")
    short = [
        policy
        for flag, policy in (("store-only", "never"), ("no-store", "update"))
        if values.on(flag)
    ]
    if len(short) > 1:
        raise UsageError("both --store-only and --no-store are given")
    if given is not None and short:
        raise UsageError("--pull-policy cannot be combined with --store-only and --no-store")
    if given is not None and given not in POLICIES:
        raise UsageError(f'--pull-policy: "{given}" is not one of {", ".join(POLICIES)}')
    return given or (short[0] if short else default)


def fetch_options(
    context: Context,
    policy: str,
    *,
    app: Values | None = None,
    all_apps: Values | None = None,
    watch: "Watch | None" = None,
) -> FetchOptions:
    """How to fetch, by the global flags and those of an app; keys are asked about on a terminal."""
    ask = sys.stdin.isatty() and sys.stderr.isatty()
    return FetchOptions(
        pull_policy=policy,
        insecure=expand_insecure(context.insecure),
        signature=app.last("signature") if app else None,
        platform=(app.last("platform") if app else None)
        or (all_apps.last("platform") if all_apps else None),
        trust_keys_from_https=context.trust_keys_from_https,
        confirm=ask_about(None) if ask else None,
        watch=watch,
    )


def ask_about(prefix: str | None) -> "Callable[[Key], bool]":
    """Shows a key and asks for yes or no until one of them is said."""

    def confirm(key: "Key") -> bool:
        sys.stderr.write(f"{key.describe(prefix)}\n")
        while True:
            sys.stderr.write("Are you sure you want to trust this key (yes/no)?\n")
            sys.stderr.flush()
            answer = sys.stdin.readline()
            if answer.strip() in ("yes", "no") or not answer:
                return answer.strip() == "yes"

    return confirm
