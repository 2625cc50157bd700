"""Serve a directory over https: ``python3 -m tests.material.site DIR PORT CERT KEY [ADDRESS]``."""

import contextlib
import sys

from tests.material.certificates import Certificate
from tests.material.servers import HttpsSite


def main() -> int:
    """Serve until interrupted."""
    if len(sys.argv) not in (5, 6):
        sys.stderr.write(f"{__doc__}\n")
        return 2
    directory, port, certificate, key = sys.argv[1:5]
    address = sys.argv[5] if len(sys.argv) == 6 else "127.0.0.1"
    site = HttpsSite(directory, Certificate(certificate, key), port=int(port), address=address)
    with contextlib.suppress(KeyboardInterrupt):
        site.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
