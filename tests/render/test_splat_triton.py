"""The Triton backend: how it is chosen, that its kernels compile for GPUs, and its cases in a process of their own.

With a GPU at hand the cases run on it too: `pytest tests/render/test_splat_triton.py` is the whole proof. Without one
they run in Triton's interpreter, and the machine code is still made.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from gaussmith.camera import orbit
from gaussmith.gaussians import from_points
from gaussmith.render import splat

CASES = Path(__file__).with_name("triton_cases.py")
needs_triton = pytest.mark.skipif(not find_spec("triton"), reason="triton is not installed: pip install triton")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


def in_a_process(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    return subprocess.run(
        [sys.executable, *command], env=inherited | environment, capture_output=True, text=True, check=False
    )


@needs_triton
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "environment",
    [pytest.param({"TRITON_INTERPRET": "1"}, id="interpreter"), pytest.param({}, id="cuda", marks=needs_gpu)],
)
def test_cases(environment: dict[str, str]) -> None:
    done = in_a_process(
        "-m", "pytest", str(CASES), "-x", "-p", "no:cacheprovider", "-o", "markers=shipped: kernel sizes as shipped",
        **environment,
    )  # fmt: skip
    assert done.returncode == 0 and "passed" in done.stdout, done.stdout + done.stderr


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from gaussmith.render import _triton, _triton_bin, _triton_blend, _triton_project

LONG = {"ends", "keys", "tile_start", "entry_pair", "done", "splat_end"}
INT = {"counts", "owners", "entry_splat"}
NUMBER = {"n", "m", "b", "width", "height", "stride", "stride2d"}

def make(kernel, pairs=(), options={}, **constants):
    def kind(name):
        if name in constants:
            return "constexpr"
        if name in NUMBER:
            return "i32"
        return "*i64" if name in LONG or name in pairs else "*i32" if name in INT else "*fp32"
    source = ASTSource(kernel, {name: kind(name) for name in kernel.arg_names}, constants)
    code = triton.compile(source, target=GPUTarget("cuda", 80, 32), options=options).asm["cubin"]
    assert len(code) > 1000, kernel

block = _triton_project.BLOCK
make(_triton_project.project, BANDS=16, BLOCK=block, ANTIALIASED=True)
make(_triton_project.project_backward, BANDS=4, ADD=True, BLOCK=block, ANTIALIASED=True)
for fill in (False, True):
    options = {"num_warps": 1, "enable_fp_fusion": False}
    make(_triton_bin.walk_tiles, FILL=fill, BLOCK=_triton_bin.BLOCK, options=options)
rows = ("means2d", "splats")
make(_triton_blend.blend, rows, GEOMETRY=True, CHUNK=_triton.CHUNK)
chunk = _triton.CHUNK_BACKWARD
backward, stride = _triton_blend.blend_backward, {"CHUNK": chunk, "STRIDE": 16}
make(backward, rows, {"num_warps": 2}, GEOMETRY=True, ABSOLUTE=False, ATOMIC=False, STRIDE=13, CHUNK=chunk)
make(backward, rows, {"num_warps": 2}, GEOMETRY=True, ABSOLUTE=True, ATOMIC=False, **stride)
make(backward, rows, GEOMETRY=False, ABSOLUTE=False, ATOMIC=True, **stride)
make(_triton_blend.gather, options={"num_warps": 1}, STRIDE=9, BLOCK=8, DEPTH=8)
"""


@needs_triton
@pytest.mark.timeout(900)
def test_every_kernel_becomes_machine_code(tmp_path: Path) -> None:
    # The interpreter accepts much that the compiler does not. Triton brings its assembler, so no GPU is needed.
    script = tmp_path / "compile.py"
    script.write_text(COMPILE)
    done = in_a_process(str(script), TRITON_CACHE_DIR=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr


def test_auto_takes_triton_on_a_gpu_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splat, "find_spec", lambda name: True)
    assert [splat._pick(torch.device(d)) for d in ("cpu", "cuda", "xpu", "mps")] == [
        "numba",
        "triton",
        "triton",
        "numba",
    ]
    monkeypatch.setattr(splat, "find_spec", lambda name: None)
    assert splat._pick(torch.device("cuda")) == "numba"


DRAW = """
import sys
{before}
from gaussmith.camera import orbit
from gaussmith.events import UserError
from gaussmith.gaussians import from_points
from gaussmith.render.splat import rasterize
import torch
scene = from_points(torch.zeros(1, 3), torch.ones(1, 3))
rasterize(scene, orbit(0.0, 0.0, width=16))
assert "triton" not in sys.modules or sys.modules["triton"] is None
try:
    rasterize(scene, orbit(0.0, 0.0, width=16), backend="triton")
except UserError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("before", "message"),
    [
        pytest.param("sys.modules['triton'] = None", "pip install triton", id="not installed"),
        pytest.param("", "move the Gaussians there", id="tensors on the CPU", marks=needs_triton),
    ],
)
def test_what_is_missing_is_one_sentence(before: str, message: str) -> None:
    done = in_a_process("-c", DRAW.format(before=before))
    assert done.returncode == 0 and message in done.stdout, done.stdout + done.stderr


def test_deterministic_is_accepted_everywhere() -> None:
    some, camera = from_points(torch.zeros(1, 3), torch.ones(1, 3)), orbit(0.0, 0.0, width=16)
    loose, strict = (splat.rasterize(some, camera, deterministic=d) for d in (False, True))
    assert torch.equal(loose.rgb, strict.rgb) and loose.rgb.any()
