"""What can be said against a pod file before any of its images is looked for."""

from __future__ import annotations

from rktsd.config.flavors import FLY
from rktsd.pods.options import AppOptions
from rktsd.pods.podfile import PodFile
from rktsd.stage1.order import check_order
from rktsd.stage1.settings import check_settings


def check_pod_file(file: PodFile) -> None:
    """Refuse what systemd is not to be told. Raises BadInput."""
    check_settings(file.options.systemd, f"{file.path}: systemd", slice=True)
    fly = file.options.stage1 == FLY
    for name, app in file.options.apps.items():
        check_settings(app.systemd, f"{file.path}: app {name}: systemd", slice=False, fly=fly)
    apps = {app.name: file.options.apps.get(app.name, AppOptions()) for app in file.manifest.apps}
    check_order(
        {name: {*app.after, *app.requires} for name, app in apps.items()},
        {name: f"{file.path}: app {name}" for name in apps},
    )
