"""What `python -m` and the pushed archive start with."""

from __future__ import annotations

import sys

from .main import main

sys.exit(main(sys.argv[1:]))
