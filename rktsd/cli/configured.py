"""``rkt config``: what all files of configuration come to."""

import sys
from dataclasses import asdict

from rktsd.cli import table
from rktsd.cli.arguments import none
from rktsd.cli.context import Context
from rktsd.cli.parse import Parsed, truth
from rktsd.config import settings
from rktsd.config.merged import stage0


def config(context: Context, parsed: Parsed) -> int:
    """JSON, in the schema of rkt and with the settings of rktsd.toml beside it."""
    none(parsed)
    directories = context.paths.config_dirs()
    found = {
        "stage0": stage0(directories, context.paths.data),
        "rktsd": {
            "fetch": _named(settings.read_settings(directories)),
            "run": _named(settings.read_run_settings(directories)),
            "network": _named(settings.read_network_settings(directories)),
        },
    }
    pretty = parsed.values.last("pretty-print")
    style = "json-pretty" if pretty is None or truth(pretty, "pretty-print") else "json"
    sys.stdout.write(table.as_json(found, style))
    return 0


def _named(found: "settings.Settings | settings.RunSettings | settings.NetworkSettings") -> object:
    """Settings as rktsd.toml calls them."""
    return {name.replace("_", "-"): value for name, value in asdict(found).items()}
