"""``python -m s2sfast``: the same as the command ``s2sfast``."""

import sys

from s2sfast.cli import main

sys.exit(main())
