"""`python -m gaussmith` is the command `gaussmith`."""

import sys

from gaussmith.cli import main

sys.exit(main())
