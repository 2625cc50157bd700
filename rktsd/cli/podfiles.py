"""``rkt pod check``, ``show``, ``units`` and ``diff``: pod files looked at, nothing changed."""

import sys

from rktsd.cli import table
from rktsd.cli.arguments import one_pod, output_format
from rktsd.cli.context import Context, one_line
from rktsd.cli.parse import Parsed
from rktsd.errors import RktError, UsageError
from rktsd.pods import rehearse
from rktsd.pods.checks import check_pod_file
from rktsd.pods.podfile import PodFile


def check(context: Context, parsed: Parsed) -> int:
    """Whether pod files are valid; a line for the first fault and every remark. 254 for a fault."""
    if not parsed.arguments:
        raise UsageError("must provide at least one pod file or pod")
    status = 0
    for word in parsed.arguments:
        try:
            file = _read(context, parsed, word)
            check_pod_file(file)
        except RktError as error:
            context.fail(error)
            status = error.exit_code
            continue
        missing = rehearse.missing(file, context.paths)
        for remark in (*rehearse.remarks(file), *missing, *rehearse.unapplied(file)):
            context.note(f"warning: {remark}")
    return status


def show(context: Context, parsed: Parsed) -> int:
    """Print the reified manifest."""
    from rktsd.appc import write
    from rktsd.cli.images import print_manifest

    file = _checked(context, parsed)
    spec = rehearse.reified(file, context.paths)
    text = write.dumps(write.pod_manifest_json(spec.manifest))
    print_manifest(text.encode(), parsed.values, source=file.path)
    return 0


def units(context: Context, parsed: Parsed) -> int:
    """Print everything that a start would make."""
    style = output_format(parsed.values)
    compiled = rehearse.compiled(_checked(context, parsed), context.paths)
    if style is not None:
        sys.stdout.write(table.as_json(compiled, style))
        return 0
    from rktsd.stage1.show import render

    sys.stdout.write(render(compiled["plan"]))
    return 0


def diff(context: Context, parsed: Parsed) -> int:
    """What changed in the pod file since the start of the pod; exits as diff(1) does."""
    from rktsd.pods import query, stale

    place = query.find(context.paths, one_pod(parsed))
    lines = stale.difference(context.paths, place)
    sys.stdout.writelines(f"{one_line(line)}\n" for line in lines)
    return 1 if lines else 0


def _checked(context: Context, parsed: Parsed) -> PodFile:
    if len(parsed.arguments) != 1:
        raise UsageError("exactly one pod file or pod has to be given")
    file = _read(context, parsed, parsed.arguments[0])
    check_pod_file(file)
    return file


def _read(context: Context, parsed: Parsed, word: str) -> PodFile:
    instance = parsed.values.last("instance")
    return rehearse.read_pod_file(word, context.paths, instance=instance)
