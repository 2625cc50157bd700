"""python3 -m tests.box run [OPTION...] -- COMMAND... | shell [OPTION...]"""

import argparse
import os
import signal
import sys
from typing import NoReturn

from tests.box.box import Box, BoxError, CommandError


def _bind(text: str) -> tuple[str, str]:
    source, _, target = text.partition(":")
    target = target or os.path.abspath(source)
    if f"{os.path.normpath(target)}/".startswith(("/tmp/", "/run/")):
        reason = f"{target} would be hidden by the box's own /tmp or /run: write {source}:/mnt"
        raise argparse.ArgumentTypeError(reason)
    return source, target


def _parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument("--root", default="/", metavar="DIR", help="tree to boot (the host's)")
    options.add_argument("--cgroup", default="auto", choices=("auto", "hybrid", "unified"))
    options.add_argument("--tmpfs", action="store_true", help="keep nothing on the disk")
    options.add_argument("--bind", action="append", default=[], type=_bind, metavar="SRC[:DST]")
    options.add_argument("--deb", action="append", default=[], metavar="FILE", help="install it")
    options.add_argument("--timeout", type=float, default=60, metavar="S", help="for the boot")
    parser = argparse.ArgumentParser(prog="box", description="A private systemd in namespaces.")
    commands = parser.add_subparsers(dest="action", required=True)
    run = commands.add_parser("run", parents=[options], help="run a command in a new box")
    run.add_argument("command", nargs="+", metavar="COMMAND")
    commands.add_parser("shell", parents=[options], help="a shell in a new box")
    return parser


def _stop(number: int, _: object) -> NoReturn:
    sys.exit(128 + number)


def _run(box: Box, command: list[str], terminal: bool) -> int:
    environment = {"TERM": os.environ.get("TERM", "dumb")}
    process = box.popen(
        command, stdin=None, stdout=None, stderr=None, terminal=terminal, environment=environment
    )
    while True:
        try:
            status = process.wait()
        except KeyboardInterrupt:
            # the command got it as well and decides
            continue
        return status if status >= 0 else 128 - status


def main() -> int:
    arguments = _parser().parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    terminal = arguments.action == "shell" and sys.stdin.isatty()
    command = arguments.command if arguments.action == "run" else ["bash", "-l"]
    try:
        with Box(
            arguments.root,
            cgroup=arguments.cgroup,
            tmpfs=arguments.tmpfs,
            binds=arguments.bind,
            debs=arguments.deb,
            timeout=arguments.timeout,
        ) as box:
            return _run(box, command, terminal)
    except (BoxError, CommandError) as error:
        sys.stderr.write(f"box: {error}\n")
        return 254
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
