"""``rkt trust``: take up keys, list them, and remove them."""

import re
import sys
import time

from rktsd.cli import table
from rktsd.cli.arguments import none, output_format
from rktsd.cli.context import Context
from rktsd.cli.fetching import ask_about
from rktsd.cli.parse import Parsed
from rktsd.errors import NotFound, RktError, UsageError
from rktsd.images.keystore import (
    TrustedKey,
    masked_keys,
    packets_of,
    remove_key,
    trusted_keys,
)
from rktsd.images.trust import Key, look_at
from rktsd.images.trust import trust as trust_keys
from rktsd.pods.options import expand_insecure

_TAKING = ("skip-fingerprint-review", "insecure-allow-http")
_LISTING = ("format", "no-legend")
_ALL = "(all images)"


def trust(context: Context, parsed: Parsed) -> int:
    """Take up keys for a prefix or for all images."""
    values = parsed.values
    prefix = values.last("prefix")
    if prefix is not None and values.on("root"):
        raise UsageError("--prefix and --root cannot be combined")
    if values.on("list") and values.on("remove"):
        raise UsageError("--list and --remove cannot be combined")
    action = next((each for each in ("list", "remove") if values.on(each)), None)
    others = {"list": _TAKING, "remove": (*_TAKING, *_LISTING), None: _LISTING}[action]
    for flag in others:
        if flag in values:
            raise UsageError(
                f"--{flag} has no meaning {f'with --{action}' if action else 'without --list'}"
            )
    if action == "list":
        return _list(context, parsed)
    if not prefix and not values.on("root"):
        raise UsageError("--prefix or --root required")
    if action == "remove":
        return _remove(context, prefix, parsed.arguments)
    return _take_up(context, prefix, parsed)


def _take_up(context: Context, prefix: str | None, parsed: Parsed) -> int:
    values = parsed.values
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


def _list(context: Context, parsed: Parsed) -> int:
    """Print all keys, those that count for images of a name, or those for all images."""
    none(parsed)
    values = parsed.values
    style, name = output_format(values), values.last("prefix") or None
    keys = [(key, False) for key in trusted_keys(context.paths, name)]
    keys += [(key, True) for key in masked_keys(context.paths, name)]
    chosen = [each for each in keys if not (values.on("root") and each[0].prefix is not None)]
    chosen.sort(key=lambda each: (each[0].prefix or "", each[0].fingerprint))
    rows = _described(context, chosen)
    if style is not None:
        sys.stdout.write(table.as_json(rows, style))
        return 0
    lines = [] if values.on("no-legend") else [["PREFIX", "FINGERPRINT", "STATE", "USER"]]
    for row in rows:
        expires = row["expires"]
        when = time.strftime(" %Y-%m-%d", time.gmtime(expires)) if isinstance(expires, int) else ""
        state = f"until{when}" if when and row["state"] == "valid" else f"{row['state']}"
        users = row["users"]
        user = str(users[0]) if isinstance(users, list) and users else ""
        lines.append([str(row["prefix"] or _ALL), str(row["fingerprint"]), state, user])
    sys.stdout.write(table.columns(lines))
    return 0


def _described(context: Context, keys: list[tuple[TrustedKey, bool]]) -> list[dict[str, object]]:
    packets = b""
    broken = set()
    for key, _ in keys:
        try:
            packets += packets_of(key)
        except RktError as error:
            context.note(str(error))
            broken.add(key.path)
    known = look_at(packets)
    rows: list[dict[str, object]] = []
    for key, masked in keys:
        found = None if key.path in broken else known.get(key.fingerprint)
        rows.append(
            {
                "prefix": key.prefix,
                "fingerprint": key.fingerprint,
                "state": "masked" if masked else _state(found),
                "expires": found.expires if found else None,
                "users": list(found.user_ids) if found else [],
                "file": key.path,
            }
        )
    return rows


def _state(key: Key | None) -> str:
    if key is None:
        return "broken"
    return "revoked" if key.revoked else "expired" if key.expired else "valid"


def _remove(context: Context, prefix: str | None, words: list[str]) -> int:
    """Trust keys no longer; prints the files that are gone."""
    if not words:
        raise UsageError("must provide at least one fingerprint")
    there = [key for key in trusted_keys(context.paths) if key.prefix == prefix]
    chosen = [_chosen(word, there, prefix) for word in words]
    for key in dict.fromkeys(chosen):
        for path, masked in remove_key(context.paths, key):
            what = "masked by the empty file" if masked else "removed"
            context.note(f"key {key.fingerprint} {what} {path!r}")
            sys.stdout.write(f"{path}\n")
    return 0


def _chosen(word: str, keys: list[TrustedKey], prefix: str | None) -> TrustedKey:
    """The key meant by a fingerprint or the end of one, as long as a key ID at least."""
    digits = "".join(word.split()).removeprefix("0x").lower()
    if not re.fullmatch("[0-9a-f]{16,40}", digits):
        raise UsageError(f"{word!r} is not a fingerprint, or its last 16 digits")
    found = [key for key in keys if key.fingerprint.endswith(digits)]
    where = "for all images" if prefix is None else f'for prefix "{prefix}"'
    if not found:
        hint = "rkt trust --list shows the keys there are"
        raise NotFound(f"no key {word} is trusted {where}", hint=hint)
    if len(found) > 1:
        raise UsageError(f"{len(found)} keys that are trusted {where} end in {word}")
    return found[0]
