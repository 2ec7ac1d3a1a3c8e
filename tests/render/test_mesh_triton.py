"""The Triton backend of the mesh rasteriser: how it is chosen, that its kernels compile, and its cases in a process of
their own; as `test_splat_triton.py`."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from gaussmith import accelerator
from gaussmith.camera import orbit
from gaussmith.render import _mesh_cpu, mesh

CASES = Path(__file__).with_name("mesh_triton_cases.py")
needs_triton = pytest.mark.skipif(not find_spec("triton"), reason="triton is not installed: pip install triton")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


@needs_triton
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "environment",
    [pytest.param({"TRITON_INTERPRET": "1"}, id="interpreter"), pytest.param({}, id="cuda", marks=needs_gpu)],
)
def test_cases(in_a_process: Callable[..., Any], environment: dict[str, str]) -> None:
    done = in_a_process(
        "-m", "pytest", str(CASES), "-x", "-p", "no:cacheprovider", "-o", "markers=shipped: kernel sizes as shipped",
        **environment,
    )  # fmt: skip
    assert done.returncode == 0 and "passed" in done.stdout, done.stdout + done.stderr


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from gaussmith.render import _mesh_triton, _mesh_triton_draw, _mesh_triton_shade

LONG = {"faces", "tile_start", "entries", "face"}
DOUBLE = {"projections", "near", "rows", "rays", "scale"}
NUMBER = {"width", "height", "views", "fine_width", "fine_height", "side", "columns"}

def make(kernel, options, numbers=(), kinds={}, **constants):
    def kind(name):
        if name in constants:
            return "constexpr"
        if name in kinds:
            return kinds[name]
        if name in NUMBER or name in numbers:
            return "i32"
        return "*i64" if name in LONG else "*fp64" if name in DOUBLE else "*fp32"
    source = ASTSource(kernel, {name: kind(name) for name in kernel.arg_names}, constants)
    options = options | {"enable_fp_fusion": False}
    code = triton.compile(source, target=GPUTarget("cuda", 80, 32), options=options).asm
    assert len(code["cubin"]) > 1000, kernel
    assert "fma.rn.f64" not in code["ptx"], kernel
    return code["ptx"]

ints = {"boxes": "*i32"}
make(_mesh_triton_draw.setup, {"num_warps": 2}, ["count"], ints, BLOCK=_mesh_triton.SETUP_BLOCK)
tiles = {"TILE": _mesh_triton.TILE, "CHUNK": _mesh_triton.CHUNK}
make(_mesh_triton_draw.draw, {"num_warps": 1}, ["count"], ints, **tiles)
make(_mesh_triton_shade.geometry, {}, BLOCK=128)
channels, sizes = {"CHANNELS": 3, "PADDED": 4, "BLOCK": 128}, ["rows"]
for kind in ("*fp32", "*fp64"):
    make(_mesh_triton_shade.interpolate, {}, kinds={"attributes": kind, "out": kind}, **channels)
    samples = {"drawn": "*u8", "uv": kind}
    make(_mesh_triton_shade.lookup, {}, sizes, samples | {"texture": kind, "out": kind}, **channels)
    back = make(_mesh_triton_shade.lookup_backward, {}, sizes, samples | {"gradient": kind, "out": "*i64"}, **channels)
    assert "add.u64" in back or "add.s64" in back
"""


@needs_triton
@pytest.mark.timeout(900)
def test_every_kernel_becomes_machine_code(in_a_process: Callable[..., Any], tmp_path: Path) -> None:
    script = tmp_path / "compile.py"
    script.write_text(COMPILE)
    done = in_a_process(str(script), TRITON_CACHE_DIR=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("there", "module"), [(True, "_mesh_triton"), (False, "_mesh_cpu")])
def test_auto_is_the_rule_of_the_splats(there: bool, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerator, "compiles", lambda device: there)
    if there and not find_spec("triton"):
        pytest.skip("triton is not installed")
    assert mesh._kernels("auto", torch.device("cuda")).__name__.endswith(module)
    assert mesh._kernels("numba", torch.device("cuda")) is _mesh_cpu


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(ValueError, match="auto, numba or triton"):
        mesh.rasterize_mesh(torch.rand(3, 3), torch.tensor([[0, 1, 2]]), orbit(0.0, 0.0, width=4), backend="cpu")


DRAW = """
import sys
{before}
from gaussmith.camera import orbit
from gaussmith.events import UserError
from gaussmith.render.mesh import rasterize_mesh
import torch
face = torch.rand(3, 3), torch.tensor([[0, 1, 2]]), orbit(0.0, 0.0, width=8)
rasterize_mesh(*face)
assert "triton" not in sys.modules or sys.modules["triton"] is None
try:
    rasterize_mesh(*face, backend="triton")
except UserError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("before", "message"),
    [
        pytest.param("sys.modules['triton'] = None", "pip install triton", id="not installed"),
        pytest.param("", "move the mesh there", id="tensors on the CPU", marks=needs_triton),
    ],
)
def test_what_is_missing_is_one_sentence(in_a_process: Callable[..., Any], before: str, message: str) -> None:
    done = in_a_process("-c", DRAW.format(before=before))
    assert done.returncode == 0 and message in done.stdout, done.stdout + done.stderr
