"""Settings that must stand before torch is imported, and those of hypothesis."""

import os

# OpenMP threads that spin at barriers make a loaded machine several times slower; see cli.main.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from hypothesis import HealthCheck, settings

# No test judges by the clock: a machine that halts for a second would fail them.
settings.register_profile("gaussmith", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gaussmith")
