"""That the training loops stay on their device and hardly wait for it: `device_cases.py` in a process of its own, with
Triton's interpreter."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from alone import assert_passes

HERE = Path(__file__).parent


@pytest.mark.skipif(not find_spec("triton"), reason="triton is not installed: pip install triton")
@pytest.mark.timeout(900)  # an interpreter is slow, and a machine may be busy
def test_cases() -> None:
    environment = {"TRITON_INTERPRET": "1", "PYTHONPATH": str(HERE)}
    assert_passes(HERE / "device_cases.py", environment=environment)


@pytest.mark.skipif(not find_spec("triton"), reason="triton is not installed: pip install triton")
@pytest.mark.timeout(900)  # an interpreter is slow, and a machine may be busy
def test_the_kernels_compile_for_a_gpu() -> None:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from gaussmith.metrics import _photometric_triton as photometric
    from gaussmith.train import _adam_triton as adam

    whole = {"rows", "seed", "length", "height", "inner", "plane", "slope_plane"}
    single = {"rate", "take1", "keep2", "take2", "inverse2", "eps", "l1_scale", "ssim_scale"}

    def make(kernel: Any, pointers: dict[str, str] | None = None, **constants: int | bool) -> None:
        types = dict.fromkeys(single, "fp32") | dict.fromkeys(constants, "constexpr")
        types |= dict.fromkeys(whole - (pointers or {}).keys(), "i32") | (pointers or {})
        source = ASTSource(kernel, {name: types.get(name, "*fp32") for name in kernel.arg_names}, constants)
        made = triton.compile(source, target=GPUTarget("cuda", 80, 32)).asm
        assert len(made["cubin"]) > 1000, kernel

    for storage, half in (("*fp32", False), ("*bf16", True)):
        pointers = {"bad": "*i32", "first": storage, "second": storage}
        make(adam._adam_rows, pointers, LENGTH=3, WIDTH=4, BLOCK=256, HALF=half)
    make(photometric._across, CHANNELS=3, BLOCK=photometric.BLOCK)
    make(photometric._similarity, {"rows": "*fp32"}, BLOCK=photometric.BLOCK)
    make(photometric._down, BLOCK=photometric.BLOCK)
    make(photometric._finish, CHANNELS=3, BLOCK=photometric.BLOCK)
