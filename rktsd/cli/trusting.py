"""``rkt trust``."""

import sys

from rktsd.cli.context import Context
from rktsd.cli.fetching import ask_about
from rktsd.cli.parse import Parsed
from rktsd.errors import UsageError
from rktsd.images.trust import Key
from rktsd.images.trust import trust as trust_keys
from rktsd.pods.options import expand_insecure


def trust(context: Context, parsed: Parsed) -> int:
    """Take up keys for a prefix or for all images."""
    values = parsed.values
    prefix = values.last("prefix")
    if prefix is not None and values.on("root"):
        raise UsageError("--prefix and --root cannot be combined")
    if not prefix and not values.on("root"):
        raise UsageError("--prefix or --root required")
    review = not values.on("skip-fingerprint-review")
    if review and not sys.stdin.isatty():
        raise UsageError(
            "unable to ask about a key: standard input is not a terminal",
            hint="--skip-fingerprint-review trusts without asking",
        )
    insecure = expand_insecure(context.insecure)
    if values.on("insecure-allow-http"):
        insecure |= {"http", "pubkey"}

    def show(key: Key) -> bool:
        sys.stderr.write(f"{key.describe(prefix)}\n")
        return True

    written = trust_keys(
        prefix,
        parsed.arguments,
        paths=context.paths,
        confirm=ask_about(prefix) if review else show,
        insecure=insecure,
        report=context.note,
    )
    sys.stdout.writelines(f"{path}\n" for path in written)
    return 0
