"""``python3 -m rktsd``: the command ``rkt`` by its package."""

import sys

from rktsd.cli.main import main

sys.exit(main())
