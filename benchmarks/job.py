"""The whole job as a user runs it: wall seconds, peak memory, and what the first run ever adds by compiling kernels.

    python benchmarks/job.py [--runs 3] [--presets draft,standard] [PICTURE]

Each run is a fresh process of `gaussmith image`. The first one of all gets an empty kernel cache; the others share it.
Prints a row a preset: first run, median of the others, the seconds of each stage, and the largest resident memory.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path, nargs="?", default=ROOT / "examples" / "chest.png")
    parser.add_argument("--elevation", type=float, default=15.0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--presets", default="draft,standard")
    args = parser.parse_args()
    print(f"{os.cpu_count()} processors, load average {os.getloadavg()[0]:.1f}")
    print(f"{'preset':>9} {'first s':>8} {'median s':>9} {'peak MB':>8}  stages of the median run, s")
    with tempfile.TemporaryDirectory() as scratch:
        environment = os.environ | {"NUMBA_CACHE_DIR": f"{scratch}/kernels"}
        first = None
        for preset in args.presets.split(","):
            runs = []
            if first is None:
                first = job(args, preset, scratch, environment)[0]
            for _ in range(args.runs):
                runs.append(job(args, preset, scratch, environment))
            runs.sort()
            stages = runs[len(runs) // 2][1]
            # The largest of all children so far, in kilobytes on Linux.
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
            print(
                f"{preset:>9} {first or 0:8.1f} {statistics.median(r[0] for r in runs):9.1f} {peak:8.0f}  "
                + " ".join(f"{k} {v:.1f}" for k, v in stages.items()),
                flush=True,
            )
            first = 0.0


def job(args: argparse.Namespace, preset: str, scratch: str, environment: dict[str, str]) -> tuple[float, dict]:
    """Wall seconds of one run, and its report's seconds per stage."""
    out = Path(scratch) / preset
    command = [sys.executable, "-m", "gaussmith", "image", str(args.picture), "--elevation", str(args.elevation)]
    start = time.perf_counter()
    subprocess.run([*command, "--preset", preset, "-o", str(out), "--quiet"], check=True, env=environment)
    return time.perf_counter() - start, json.loads((out / "report.json").read_text())["seconds"]


if __name__ == "__main__":
    main()
