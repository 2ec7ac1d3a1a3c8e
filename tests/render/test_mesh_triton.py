"""The Triton backend of the mesh rasteriser: how it is chosen, that its kernels compile, and its cases in a process of
their own; as `test_splat_triton.py`."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from alone import TARGETS, assert_passes

from gaussmith import accelerator
from gaussmith.camera import orbit
from gaussmith.events import UserError
from gaussmith.render import _mesh_cpu, mesh

CASES = Path(__file__).with_name("mesh_triton_cases.py")
needs_triton = pytest.mark.skipif(not find_spec("triton"), reason="triton is not installed: pip install triton")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
FACE = torch.tensor([[-1.0, -1.0, 0.0], [1.0, -1.0, 0.0], [0.0, 1.0, 0.0]]), torch.tensor([[0, 1, 2]])


@needs_triton
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "environment",
    [pytest.param({"TRITON_INTERPRET": "1"}, id="interpreter"), pytest.param({}, id="cuda", marks=needs_gpu)],
)
def test_cases(environment: dict[str, str]) -> None:
    assert_passes(CASES, environment=environment)


TYPES = dict.fromkeys(["faces", "tile_start", "entries", "face"], "*i64") | {"boxes": "*i32", "drawn": "*u8"}
TYPES |= dict.fromkeys(["projections", "near", "rays", "scale"], "*fp64")
TYPES |= dict.fromkeys(["count", "width", "height", "views", "fine_width", "fine_height", "side", "columns"], "i32")


@needs_triton
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", TARGETS)
def test_every_kernel_becomes_machine_code(name: str) -> None:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from gaussmith.render import _mesh_triton, _mesh_triton_draw, _mesh_triton_shade

    def make(kernel: Any, types: dict[str, str], warps: int = 4, **constants: int) -> Any:
        types = TYPES | types | dict.fromkeys(constants, "constexpr")
        source = ASTSource(kernel, {name: types.get(name, "*fp32") for name in kernel.arg_names}, constants)
        options = {"num_warps": warps, "enable_fp_fusion": False}
        made = triton.compile(source, target=GPUTarget(*TARGETS[name]), options=options).asm
        assert len(made.get("cubin") or made["hsaco"]) > 1000, kernel
        assert "fma.rn" not in made.get("ptx", ""), kernel  # neighbours would see different edges
        return made

    rows, table = {"rows": "*fp64"}, {"rows": "i32"}
    make(_mesh_triton_draw.setup, rows, 2, BLOCK=_mesh_triton.SETUP_BLOCK)
    make(_mesh_triton_draw.draw, rows, 1, TILE=_mesh_triton.TILE, CHUNK=_mesh_triton.CHUNK)
    make(_mesh_triton_shade.geometry, {"count": "*fp32"}, BLOCK=_mesh_triton.BLOCK)
    sizes = {"CHANNELS": 11, "PADDED": _mesh_triton.CHANNELS, "BLOCK": _mesh_triton.BLOCK}
    for kind in ("*fp32", "*fp64") if name == "sm_80" else ("*fp32",):
        make(_mesh_triton_shade.interpolate, {"attributes": kind, "barycentric": kind, "out": kind}, **sizes)
        make(_mesh_triton_shade.lookup, table | {"texture": kind, "uv": kind, "out": kind}, **sizes)
        backward = make(_mesh_triton_shade.lookup_backward, table | {"gradient": kind, "out": "*i64"}, **sizes)
        assert "add.u64" in backward.get("ptx", "add.u64")  # whole numbers, whose sums have no order


@pytest.mark.parametrize(("there", "module"), [(True, "_mesh_triton"), (False, "_mesh_cpu")])
def test_auto_is_the_rule_of_the_splats(there: bool, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if there and not find_spec("triton"):
        pytest.skip("triton is not installed")
    monkeypatch.setattr(accelerator, "_triton", lambda: there)
    assert mesh._kernels("auto", torch.device("cuda")).__name__.endswith(module)
    assert mesh._kernels("auto", torch.device("cpu")) is _mesh_cpu
    assert mesh._kernels("numba", torch.device("cuda")) is _mesh_cpu


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(ValueError, match="auto, numba or triton"):
        mesh.rasterize_mesh(*FACE, orbit(0.0, 0.0, width=4), backend="cpu")


def test_without_triton_auto_draws_and_triton_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    for name in [m for m in sys.modules if m.startswith(("gaussmith.render._triton", "gaussmith.render._mesh_triton"))]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("_triton", "_mesh_triton"):
        monkeypatch.delattr(f"gaussmith.render.{name}", raising=False)
    camera = orbit(0.0, 0.0, width=8)
    assert (mesh.rasterize_mesh(*FACE, camera).face == 0).any()
    with pytest.raises(UserError, match="pip install triton"):
        mesh.rasterize_mesh(*FACE, camera, backend="triton")


@needs_triton
def test_tensors_on_the_cpu_are_refused_in_one_sentence() -> None:
    with pytest.raises(UserError, match="move the mesh there"):
        mesh.rasterize_mesh(*FACE, orbit(0.0, 0.0, width=8), backend="triton")
