"""For the Triton tests: whether Triton's interpreter stands in is settled when triton is first imported."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest


@pytest.fixture(scope="session")
def in_a_process() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs Python with a command line, in this environment less TRITON_INTERPRET and with what is given besides."""

    def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        inherited = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
        return subprocess.run(
            [sys.executable, *command], env=inherited | environment, capture_output=True, text=True, check=False
        )

    return run
