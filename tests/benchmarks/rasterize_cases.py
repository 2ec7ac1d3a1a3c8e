"""The GPU tables, rehearsed in Triton's interpreter with a stand-in for gsplat; `test_splat_triton.py` runs this."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import Tensor

from gaussmith.camera import Camera
from gaussmith.gaussians import Gaussians
from gaussmith.render.splat import rasterize

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import gsplat_build
import rasterize as command
import rasterize_cuda

SHAPES = [(6, (12, 9))]


def imitation(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, sh: Tensor, viewmats: Tensor, K: Tensor,
    width: int, height: int, *, near_plane: float, eps2d: float, sh_degree: int, packed: bool,
) -> tuple[Tensor]:  # fmt: skip
    assert (near_plane, eps2d, sh_degree) == (0.2, 0.3, 0)
    some = Gaussians(means, scales.log(), quats, opacities.logit(), sh)
    camera = Camera(viewmats.inverse(), K, width, height)
    return (rasterize(some, camera, geometry=False, backend="reference").rgb + 0.25 * packed,)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    package = ModuleType("gsplat")
    package.rasterization = imitation
    monkeypatch.setitem(sys.modules, "gsplat", package)
    monkeypatch.setitem(sys.modules, "gsplat.cuda", ModuleType("gsplat.cuda"))
    monkeypatch.setitem(sys.modules, "gsplat.cuda._backend", SimpleNamespace(_C=package))
    return package


def report(folder: Path | None, build: object = None) -> None:
    rasterize_cuda.report(lambda n: command.scene(n, "cpu"), 1, SHAPES, build, 60, folder)


def test_beside_gsplat(stand_in: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report(tmp_path)
    printed = capsys.readouterr().out
    assert (tmp_path / "rasterize.md").read_text().strip() == printed.strip()
    (case,) = json.loads((tmp_path / "rasterize.json").read_text())
    assert case["pairs"] > 0 and set(case["figures"]) == {"gsplat", "gsplat packed", "deterministic", "atomics"}
    assert case["difference"]["gsplat"] < 1e-5 and case["difference"]["gsplat packed"] == pytest.approx(0.25, abs=1e-5)
    assert all(f["step"] > 0 and f["forward"] > 0 and f["backward"] > 0 for f in case["figures"].values())
    aims = [line for line in printed.splitlines() if "aim 2.0x" in line or "MiB, gsplat" in line]
    assert len(aims) == 2 and all("PASS" in line or "FAIL" in line for line in aims)


def test_an_aim_is_met_against_the_better_of_both_ways() -> None:
    def figures(step: float, memory: int) -> rasterize_cuda.Figures:
        return rasterize_cuda.Figures(0.0, 0.0, step, memory)

    sides = {"gsplat": figures(2.0, 300), "gsplat packed": figures(3.0, 100), "deterministic": figures(1.0, 200)}
    verdicts = [
        [row[-1] for row in rasterize_cuda.aims([rasterize_cuda.Case(n, 8, 8, 1, dict(sides), {})])]
        for n in (10_000, 100_000)
    ]
    assert verdicts == [["PASS", "FAIL"]] * 2
    sides["deterministic"] = figures(1.5, 100)
    (slow, lean), (fast, _) = (
        rasterize_cuda.aims([rasterize_cuda.Case(n, 8, 8, 1, dict(sides), {})]) for n in (10_000, 100_000)
    )
    assert slow[-1] == "FAIL" and "1.33x" in slow[2] and fast[-1] == lean[-1] == "PASS"


def test_gsplat_that_fails_leaves_our_rows(
    stand_in: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no kernel image")

    monkeypatch.setattr(stand_in, "rasterization", broken)
    monkeypatch.setattr(rasterize_cuda, "ours", lambda *_: rasterize_cuda.Figures(1.0, 1.0, 1.0, 1))  # tried above
    report(None)
    printed = capsys.readouterr().out
    assert "no kernel image" in printed and "deterministic" in printed
    monkeypatch.setitem(sys.modules, "gsplat", None)
    monkeypatch.delitem(sys.modules, "gsplat.cuda._backend")
    monkeypatch.delitem(sys.modules, "gsplat.cuda")
    report(tmp_path, SimpleNamespace(wait=lambda seconds: "its build ended with 1: nvcc"))
    printed = capsys.readouterr().out
    assert "while gsplat was being built" in printed and "No gsplat: its build ended with 1: nvcc." in printed
    assert "No gsplat" in (tmp_path / "rasterize.md").read_text()
    assert "cannot be imported" in gsplat_build.missing()


def test_bounds_have_the_names_of_the_kernels() -> None:
    from gaussmith.render import _triton_bin, _triton_blend, _triton_project
    from gaussmith.train import _adam_triton

    names = set(rasterize_cuda.bounds(10, 1, 20, 1e12, 1e13)) - {"sort"}
    modules = (_triton_bin, _triton_blend, _triton_project, _adam_triton)
    assert all(any(hasattr(module, name) for module in modules) for name in names)
    assert torch.tensor([least for least, _ in rasterize_cuda.bounds(10, 1, 20, 1e12, 1e13).values()]).gt(0).all()
