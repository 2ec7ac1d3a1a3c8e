"""The Triton backend: how it is chosen, that its kernels compile for GPUs, and its cases in a process of their own.

With a GPU at hand the cases run on it too: `pytest tests/render/test_splat_triton.py` is the whole proof. Without one
they run in Triton's interpreter, and the machine code is still made.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from alone import TARGETS, assert_passes

from gaussmith import accelerator
from gaussmith.camera import orbit
from gaussmith.events import UserError
from gaussmith.gaussians import from_points
from gaussmith.render import splat

CASES = [Path(__file__).with_name("triton_cases.py"), Path(__file__).parents[1] / "benchmarks" / "rasterize_cases.py"]
needs_triton = pytest.mark.skipif(not find_spec("triton"), reason="triton is not installed: pip install triton")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


@needs_triton
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "environment",
    [pytest.param({"TRITON_INTERPRET": "1"}, id="interpreter"), pytest.param({}, id="cuda", marks=needs_gpu)],
)
def test_cases(environment: dict[str, str]) -> None:
    assert_passes(*(CASES if environment else CASES[:1]), environment=environment)


TYPES = {"keys": "*i16", "owners": "*i32", "entry_splat": "*i32"}
TYPES |= dict.fromkeys(["order", "ends", "tile_start", "entry_pair", "done"], "*i64")
TYPES |= dict.fromkeys(["n", "m", "batch", "width", "height", "stride", "stride2d"], "i32")
TYPES |= dict.fromkeys(["nowhere", "pairs", "tiles", "steps"], "i32")


@needs_triton
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", TARGETS)
def test_every_kernel_becomes_machine_code(name: str) -> None:
    # The interpreter accepts much that the compiler does not. Triton brings its assemblers, so no GPU is needed; it
    # also keeps what it has made, so only a changed kernel takes its time again.
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from gaussmith.render import _triton, _triton_bin, _triton_blend, _triton_project

    target = GPUTarget(*TARGETS[name])

    def make(kernel: Any, rows: Sequence[str] = (), options: dict[str, object] | None = None, **constants: Any) -> None:
        types = TYPES | dict.fromkeys(rows, "*i64") | dict.fromkeys(constants, "constexpr")
        source = ASTSource(kernel, {name: types.get(name, "*fp32") for name in kernel.arg_names}, constants)
        made = triton.compile(source, target=target, options=options or {}).asm
        assert len(made.get("cubin") or made["hsaco"]) > 1000, kernel

    bands = 4 if name == "sm_80" else 1  # compiling for the others need not take as long
    block, chunk = _triton_project.BLOCK, _triton.CHUNK_BACKWARD
    make(_triton_project.project, BANDS=bands, BLOCK=block, ANTIALIASED=True)
    make(_triton_project.project_backward, BANDS=bands, BLOCK=block, ANTIALIASED=True)
    for fill in (False, True):
        options = {"num_warps": 1, "enable_fp_fusion": False}
        make(_triton_bin.walk_tiles, FILL=fill, BLOCK=_triton_bin.BLOCK, options=options)
    make(_triton_bin.list_tiles, BLOCK=_triton_bin.LIST_BLOCK)
    rows = ("means2d", "splats")
    make(_triton_blend.blend, rows, GEOMETRY=True, CHUNK=_triton.CHUNK)
    full, bare = (dict.fromkeys(["GEOMETRY", "ALPHA", "ABSOLUTE"], flag) for flag in (True, False))
    make(_triton_blend.blend_backward, rows, {"num_warps": 2}, ATOMIC=False, STRIDE=16, CHUNK=chunk, **full)
    make(_triton_blend.blend_backward, rows, ATOMIC=True, STRIDE=16, CHUNK=chunk, **bare)
    make(_triton_blend.gather, options={"num_warps": 1}, STRIDE=9, BLOCK=8, DEPTH=8)


def test_auto_takes_triton_on_a_gpu_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerator, "_triton", lambda: True)
    drawn = [splat._pick(torch.device(d)) for d in ("cpu", "cuda", "xpu", "mps")]
    assert drawn == ["numba", "triton", "triton", "numba"]
    monkeypatch.setattr(accelerator, "_triton", lambda: False)
    assert splat._pick(torch.device("cuda")) == "numba"


def test_without_triton_auto_draws_and_triton_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    for name in [m for m in sys.modules if m.startswith("gaussmith.render._triton")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("gaussmith.render._triton", raising=False)
    some, camera = from_points(torch.zeros(1, 3), torch.ones(1, 3)), orbit(0.0, 0.0, width=16)
    assert splat.rasterize(some, camera).alpha.any()
    with pytest.raises(UserError, match="pip install triton"):
        splat.rasterize(some, camera, backend="triton")


@needs_triton
def test_tensors_on_the_cpu_are_refused_in_one_sentence() -> None:
    with pytest.raises(UserError, match="move the Gaussians there"):
        splat.rasterize(from_points(torch.zeros(1, 3), torch.ones(1, 3)), orbit(0.0, 0.0, width=16), backend="triton")


def test_deterministic_is_accepted_everywhere() -> None:
    some, camera = from_points(torch.zeros(1, 3), torch.ones(1, 3)), orbit(0.0, 0.0, width=16)
    loose, strict = (splat.rasterize(some, camera, deterministic=d) for d in (False, True))
    assert torch.equal(loose.rgb, strict.rgb) and loose.rgb.any()
