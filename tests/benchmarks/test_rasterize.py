"""The build of gsplat from source, tried on packages laid out like it; `rasterize_cases.py` tests the tables."""

from __future__ import annotations

import io
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = str(Path(__file__).parents[2] / "benchmarks")


@pytest.fixture
def gsplat_build(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    for name in ("TORCH_EXTENSIONS_DIR", "MAX_JOBS", "CUDA_HOME", "TORCH_CUDA_ARCH_LIST"):  # a build sets them
        monkeypatch.setenv(name, "before")
    for name in [m for m in sys.modules if m.split(".")[0] == "gsplat"]:
        monkeypatch.delitem(sys.modules, name)
    import gsplat_build

    yield gsplat_build
    for name in [m for m in sys.modules if m.split(".")[0] == "gsplat"]:
        del sys.modules[name]


def sdist(path: Path, backend: str) -> Path:
    """An archive laid out as gsplat's, whose `_backend` is the given program."""
    files = {"gsplat/__init__.py": "", "gsplat/cuda/__init__.py": "", "gsplat/cuda/_backend.py": backend}
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"gsplat-1.5.3/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


MADE = "import os, pathlib; pathlib.Path(os.environ['TORCH_EXTENSIONS_DIR'], 'made').touch(); _C = 1"


def test_a_good_build_can_be_imported(gsplat_build: ModuleType, tmp_path: Path) -> None:
    sdist(tmp_path / "gsplat-1.5.3.tar.gz", MADE)
    build = gsplat_build.start(tmp_path, tmp_path / "work")  # a folder with the archive in it
    assert build.wait(60) is None and (build.folder / "built" / "made").exists()
    assert gsplat_build.missing() is None
    again = gsplat_build.start(build.folder, tmp_path)  # the source itself
    assert again.wait(60) is None and again.folder == build.folder
    sys.path.remove(str(build.folder))


@pytest.mark.parametrize(
    ("backend", "seconds", "reason"),
    [
        ("print('x.cu: error: no such thing'); raise SystemExit(3)", 60, "ended with 3: x.cu: error: no such thing"),
        ("_C = None", 60, "no CUDA compiler was found"),
        ("import time; time.sleep(60)", 0.1, "not built after"),
    ],
)
def test_a_bad_build_says_why(
    gsplat_build: ModuleType, tmp_path: Path, backend: str, seconds: float, reason: str
) -> None:
    build = gsplat_build.start(sdist(tmp_path / "gsplat.tar.gz", backend), tmp_path / "work")
    assert reason in build.wait(seconds)
    assert str(build.folder) not in sys.path and "cannot be imported" in gsplat_build.missing()


def test_what_is_no_source_is_refused(gsplat_build: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds neither"):
        gsplat_build.start(tmp_path, tmp_path / "work")
