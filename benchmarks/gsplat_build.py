"""gsplat built in the background from source that was carried along: a GPU machine may have no network.

Where there is one:

    BUILD_NO_CUDA=1 pip download --no-deps --no-build-isolation --no-binary :all: gsplat==1.5.3

saves gsplat-1.5.3.tar.gz: 4.7 MB, the headers of glm in it. Building it (some minutes) takes CUDA's compiler, ninja, a
C++ compiler, and the packages jaxtyping, numpy, packaging and rich.

`python benchmarks/gsplat_build.py gsplat-1.5.3.tar.gz` only builds it, and says where.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

PROGRAM = "from gsplat.cuda._backend import _C; assert _C is not None, 'no CUDA compiler was found'"


def unpacked(source: Path, work: Path) -> Path:
    """The folder that holds the package `gsplat`: of an sdist, of a folder with one in it, or of its source itself."""
    if (source / "gsplat" / "__init__.py").is_file():
        return source
    if source.is_dir():
        found = sorted(source.glob("gsplat-*.tar.gz"))
        if not found:
            raise FileNotFoundError(f"{source} holds neither gsplat's source nor gsplat-*.tar.gz")
        source = found[-1]
    with tarfile.open(source) as archive:
        archive.extractall(work, filter="data")
    return next(path.parent.parent for path in sorted(work.glob("*/gsplat/__init__.py")))


def cuda_home() -> str | None:
    """The toolkit that nvcc belongs to, by its own word: what stands on the PATH may be a script far from it."""
    if os.environ.get("CUDA_HOME") or not shutil.which("nvcc"):
        return os.environ.get("CUDA_HOME")
    said = subprocess.run(["nvcc", "--dryrun", "-x", "cu", "-c", os.devnull], capture_output=True, text=True).stderr
    top = re.search(r"TOP=(\S+)", said)
    return str(Path(top[1]).resolve()) if top else None


def _environment(folder: Path) -> dict[str, str]:
    """What gsplat's build and, later, its import read: for this GPU alone, all but two processors."""
    made = {"TORCH_EXTENSIONS_DIR": str(folder / "built"), "MAX_JOBS": str(max((os.cpu_count() or 1) - 2, 1))}
    if torch.cuda.is_available():
        made["TORCH_CUDA_ARCH_LIST"] = "{}.{}".format(*torch.cuda.get_device_capability())
    home = cuda_home()
    return made | ({"CUDA_HOME": home} if home else {})


@dataclass
class Build:
    """A build under way in `folder`; what it says goes to `log`."""

    folder: Path
    log: Path
    process: subprocess.Popen[bytes]
    environment: dict[str, str]
    began: float = field(default_factory=time.monotonic)

    def wait(self, seconds: float) -> str | None:
        """None once gsplat can be imported; else, after `seconds` at most, why not. A late build is ended."""
        try:
            code = self.process.wait(timeout=max(seconds, 0.0))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return f"not built after {time.monotonic() - self.began:.0f} s; log in {self.log}"
        if code:
            lines = self.log.read_text(errors="replace").splitlines()
            said = [line for line in lines if "error" in line.lower()] or lines[-1:] or ["it said nothing"]
            return f"its build ended with {code}: {said[0].strip()[:300]} (log in {self.log})"
        os.environ.update(self.environment)
        if str(self.folder) not in sys.path:
            sys.path.insert(0, str(self.folder))
        return None


def start(source: Path, work: Path | None = None) -> Build:
    """Begin to build gsplat from its sdist or folder `source`. Raises OSError or tarfile's errors for what is none."""
    work = Path(tempfile.mkdtemp(prefix="gsplat-")) if work is None else work
    folder = unpacked(source, work).resolve()
    environment = _environment(folder)
    (folder / "built").mkdir(exist_ok=True)
    log = work / "build.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM], cwd=folder, stdout=file, stderr=subprocess.STDOUT,
            env=os.environ | environment | {"PYTHONPATH": str(folder), "VERBOSE": "1"},
        )  # fmt: skip
    return Build(folder, log, process, environment)


def missing() -> str | None:
    """Why gsplat cannot be used in this process; None where it can."""
    try:
        from gsplat.cuda._backend import _C
    except Exception as error:  # a foreign build may end in anything
        return f"it cannot be imported: {type(error).__name__}: {error}"
    return None if _C is not None else "it has no compiled kernels"


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    build = start(Path(sys.argv[1]))
    reason = build.wait(3600)
    print(reason or f"built in {time.monotonic() - build.began:.0f} s: PYTHONPATH={build.folder}")
    sys.exit(bool(reason))


if __name__ == "__main__":
    main()
