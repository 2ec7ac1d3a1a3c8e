"""Settings that must stand before torch is imported."""

import os

# OpenMP threads that spin at barriers make a loaded machine several times slower; see cli.main.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
