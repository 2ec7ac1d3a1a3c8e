"""What every table begins with, and its rows as Markdown."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from gaussmith.events import UserError


def heading() -> str:
    """The command as typed, and the machine it runs on."""
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return (
        f"`python benchmarks/{command}`\n\n{_processor()}, {os.cpu_count()} processors, {torch.get_num_threads()} "
        f"threads, load {_load()}{gpu}; torch {torch.__version__}, Python {platform.python_version()}\n"
    )


def markdown(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def stop_on_user_error(work) -> None:
    """Run a benchmark; what its user can mend ends it in one sentence."""
    try:
        work()
    except UserError as error:
        sys.exit(f"error: {error}")


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
