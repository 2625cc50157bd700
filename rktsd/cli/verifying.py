"""``rkt image verify``: stored images are still what they were when they were verified."""

import sys
from typing import NamedTuple

from rktsd.cli import table
from rktsd.cli.arguments import output_format
from rktsd.cli.context import Context
from rktsd.cli.images import shown_name
from rktsd.cli.parse import Parsed
from rktsd.errors import BadInput, FetchError, NotFound, RktError, TrustError, Unsupported
from rktsd.images.checking import DOCUMENT, LAYER, Finding, Known, State, check
from rktsd.images.fetch import called
from rktsd.store.records import ImageRecord
from rktsd.store.store import Store

REPAIRED = 1
BAD = 254
_WORDS = {
    State.DAMAGED: "is damaged",
    State.MISSING: "is not in the store",
    State.UNKNOWN: "cannot be checked, because what it was made of is not right",
}


class _Verified(NamedTuple):
    """``bad`` says in a line why an image is not right now; "" when it is."""

    record: ImageRecord
    findings: tuple[Finding, ...]
    bad: str


def verify(context: Context, parsed: Parsed) -> int:
    """Check images to the last byte, and repair them; all of them when none is named."""
    style = output_format(parsed.values)
    fetching = parsed.values.on("fetch")
    status, known = 0, Known()
    done: list[_Verified] = []
    with Store.open(context.paths.store) as store:
        wanted: list[str | ImageRecord] = [*parsed.arguments]
        for each in wanted or store.images():
            try:
                record = each if isinstance(each, ImageRecord) else called(each, store)
                found = _verify(context, store, record, known, fetching=fetching)
            except RktError as error:
                context.fail(error)
                status = error.exit_code
                continue
            done.append(found)
            if found.bad:
                context.note(found.bad)
                status = BAD
            elif style is None:
                name = each if isinstance(each, str) else shown_name(record)
                line = f'successfully verified checksum for image: "{name}" ("{record.id}")'
                sys.stdout.write(f"{line}\n")
        repaired = {x.name for x in known.values() if x.kind == LAYER and x.differences and x.good}
        if repaired:
            _free(context, store, repaired)
    if style is not None:
        sys.stdout.write(table.as_json([_described(each) for each in done], style))
    states = {finding.state for each in done for finding in each.findings}
    return status or (REPAIRED if State.REPAIRED in states else 0)


def _verify(
    context: Context, store: Store, record: ImageRecord, known: Known, *, fetching: bool
) -> _Verified:
    """Check an image, and once more with what was fetched again."""
    from rktsd.images.refetch import where_from

    findings = _check(context, store, record, known)
    if all(finding.good for finding in findings):
        return _Verified(record, findings, "")
    bad = f"image {record.id} is not right: {where_from(record)}"
    if not fetching:
        return _Verified(record, findings, bad)
    try:
        _fetch(context, store, record, findings)
    except (FetchError, NotFound, TrustError, Unsupported) as error:
        return _Verified(record, findings, f"image {record.id} is not right: {error}")
    before = {(finding.kind, finding.name): finding for finding in findings}
    for key, finding in before.items():
        if not finding.good:
            known.pop(key, None)
    again = _check(context, store, record, known)
    findings = tuple(_since(before.get((x.kind, x.name)), x) for x in again)
    known |= {(x.kind, x.name): x for x in findings if x.kind != DOCUMENT}
    good = all(finding.good for finding in findings)
    return _Verified(record, findings, "" if good else bad)


def _since(before: Finding | None, now: Finding) -> Finding:
    """What is right now and was not before has been repaired."""
    if before and before.state in (State.DAMAGED, State.MISSING) and now.state == State.RIGHT:
        return now._replace(state=State.REPAIRED, differences=before.differences)
    return now


def _check(
    context: Context, store: Store, record: ImageRecord, known: Known
) -> tuple[Finding, ...]:
    findings = []
    told = set(known)
    for finding in check(store, record, known=known):
        findings.append(finding)
        if (finding.kind, finding.name) in told:
            continue
        what = f"{finding.kind} {finding.name}"
        for difference in finding.differences:
            context.note(f"{what}: {difference}")
        if finding.state == State.REPAIRED:
            layer = finding.kind == LAYER
            said = "tree cache verification failed; rebuilt" if layer else "made again"
            context.note(f"{what}: {said}")
        elif finding.state != State.RIGHT:
            context.note(f"{what}: {_WORDS[finding.state]}")
    return tuple(findings)


def _fetch(
    context: Context, store: Store, record: ImageRecord, findings: tuple[Finding, ...]
) -> None:
    from rktsd.cli.fetching import fetch_options, report
    from rktsd.cli.progress import talk
    from rktsd.images.fetch import Job, with_limit
    from rktsd.images.refetch import refetch

    told = talk(report)
    options = fetch_options(context, "update", watch=told.watch)
    job = Job(store, context.paths, options, told.report)
    refetch(record, findings, with_limit(job))


def _described(verified: _Verified) -> dict[str, object]:
    record = verified.record
    return {
        "id": record.id,
        "name": shown_name(record),
        "source": record.source,
        "right": not verified.bad,
        "parts": [
            {
                "kind": finding.kind,
                "name": finding.name,
                "state": str(finding.state),
                "differences": list(finding.differences),
            }
            for finding in verified.findings
        ],
    }


def _free(context: Context, store: Store, repaired: set[str]) -> None:
    from rktsd.pods.remove import free_images

    _tell_pods(context, repaired)
    store.close()
    free_images(context.paths, store, warn=context.note)


def _tell_pods(context: Context, layers: set[str]) -> None:
    """Who runs on a layer goes on with the old tree: it is not taken from under anybody."""
    from rktsd.pods import usage
    from rktsd.pods.directories import RUN

    try:
        uses = usage.of_pods(context.paths)
    except BadInput as error:
        context.note(str(error))
        return
    pods = sorted(use.place.pod for use in uses if use.place.stage == RUN and use.layers & layers)
    if pods:
        names = ", ".join(pods)
        context.note(f"pods that run keep the old tree until they are started again: {names}")
