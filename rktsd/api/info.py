"""What runs here: versions, directories, flags."""

from __future__ import annotations

from rktsd import __version__
from rktsd.api.values import Typed
from rktsd.appc.names import SPEC_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktsd.paths import Paths

API_VERSION = "1.0.0"


def info(paths: Paths) -> tuple[dict[str, Typed]]:
    """As rkt's Info and GlobalFlags."""
    return (
        {
            "RktVersion": Typed("s", __version__),
            "AppcVersion": Typed("s", SPEC_VERSION),
            "ApiVersion": Typed("s", API_VERSION),
            "Directory": Typed("s", paths.data),
            "SystemConfigDirectory": Typed("s", paths.system_config),
            "LocalConfigDirectory": Typed("s", paths.local_config),
            "UserConfigDirectory": Typed("s", paths.user_config or ""),
            "InsecureOptions": Typed("as", []),
            "TrustKeysFromHttps": Typed("b", False),
        },
    )
