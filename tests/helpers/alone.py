"""Case files that need a process of their own: Triton decides on import whether it interprets."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

TARGETS = {"sm_80": ("cuda", 80, 32), "sm_90": ("cuda", 90, 32), "gfx942": ("hip", "gfx942", 64)}
"""What every kernel is compiled for, as `GPUTarget` takes it."""


def assert_passes(*cases: Path, environment: Mapping[str, str]) -> None:
    """Run the files by pytest with that environment; outside it nothing asks for the interpreter."""
    inherited = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    options = ["-x", "-p", "no:cacheprovider", "-o", "timeout=900", "-o", "markers=shipped: sizes as shipped"]
    command = [sys.executable, "-m", "pytest", *options, *map(str, cases)]
    done = subprocess.run(command, env=inherited | dict(environment), capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "passed" in done.stdout, done.stdout + done.stderr
