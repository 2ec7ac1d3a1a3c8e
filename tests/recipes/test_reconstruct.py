"""Reconstruction of small scenes whose truth is known: an ellipsoid coloured by position, seen in closed form."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gaussmith.camera import Camera, orbit
from gaussmith.events import Step, UserError, Warned
from gaussmith.gaussians import Gaussians
from gaussmith.io import load_gaussians
from gaussmith.io.cameras_json import load_cameras
from gaussmith.losses import photometric
from gaussmith.photos import Scene, Similarity, View
from gaussmith.recipes.reconstruct import PRESETS, Config, Result, run, with_steps
from gaussmith.train.judge import picture

RADII = torch.tensor([0.5, 0.3, 0.4])
SIZE = 48
SMALL = replace(
    with_steps(Config(), 120), points=600, max_gaussians=900, pixels_per_gaussian=1, save_every=7, eval_every=4
)


def seen(camera: Camera) -> Tensor:
    """Premultiplied RGBA [H,W,4] of the ellipsoid, averaged over 3x3 rays a pixel."""
    fine = camera.resized(3 * camera.width, 3 * camera.height)
    origin, direction = fine.rays()
    o, d = origin[:, None, None] / RADII, direction / RADII
    a, b, c = (d * d).sum(-1), (o * d).sum(-1), (o * o).sum(-1) - 1
    root = b * b - a * c
    point = origin[:, None, None] + ((-b - root.clamp_min(0).sqrt()) / a)[..., None] * direction
    hit = (root > 0).float()[..., None]
    stripes = 0.5 + 0.4 * torch.cat([point / RADII, (9 * point[..., :1]).sin()], dim=-1)[..., [3, 1, 2]]
    rgba = torch.cat([stripes * hit, hit], dim=-1).permute(0, 3, 1, 2)
    return F.avg_pool2d(rgba, 3).permute(0, 2, 3, 1)[0]


def view(name: str, camera: Camera, masked: bool) -> View:
    rgba = seen(camera)
    straight = rgba[..., :3] / rgba[..., 3:].clamp_min(1e-6) if masked else rgba[..., :3]
    colors, alpha = ((t.clamp(0, 1) * 255).round().to(torch.uint8) for t in (straight, rgba[..., 3]))
    return View(name, camera, colors, alpha if masked else None)


def scene(masked: bool = True, size: tuple[int, int] = (SIZE, SIZE), count: int = 12) -> Scene:
    """Views around the ellipsoid, on nothing or on black; the input's frame is another one."""
    turn = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]).double()
    to_input = Similarity(turn, torch.tensor([3.0, -1.0, 2.0]).double(), 4.0)
    views = []
    for i in range(count):
        width, height = (size[0] + 8 * (i % 2), size[1]) if size[0] != size[1] else size
        camera = orbit(360 * i / count, 20.0 * (i % 3 - 1), fovy=36.0, width=width, height=height)
        views.append(view(f"{i:02d}.png", camera, masked))
    points, colors = torch.zeros(0, 3), torch.zeros(0, 3)
    if not masked:
        on_sphere = F.normalize(torch.randn(300, 3, generator=torch.Generator().manual_seed(5)), dim=-1)
        points, colors = on_sphere * RADII, torch.full((300, 3), 0.5)
    return Scene(tuple(views), points, colors, to_input, 2.2, True, "test")


def same(a: Gaussians, b: Gaussians) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.tensors().values(), b.tensors().values()))


@pytest.fixture(scope="module")
def made() -> tuple[Result, list[Any]]:
    events: list[Any] = []
    return run(SMALL, scene(), events.append), events


def test_held_out_views_are_learned_and_never_trained_on(made):
    result, _ = made
    untrained = run(replace(SMALL, steps=1), scene())
    assert result.report["held_out"]["psnr"] > untrained.report["held_out"]["psnr"] + 8
    assert result.report["held_out"]["psnr"] > 26 and result.report["held_out"]["ssim"] > 0.9
    assert set(result.report["held_out"]["each"]) == {"00.png", "04.png", "08.png"}
    assert not set(result.report["held_out"]["each"]) & set(result.report["train"]["each"])


def test_every_step_is_told_and_the_report_can_be_written(made):
    result, events = made
    steps = [e for e in events if isinstance(e, Step) and e.stage == "train"]
    assert [e.step for e in steps] == list(range(1, SMALL.steps + 1))
    assert all(math.isfinite(e.values["loss"]) for e in steps)
    report = json.loads(json.dumps(result.report, allow_nan=False))
    assert report["seconds"].keys() == {"train", "judge"} and report["settings"]["steps"] == 120
    assert report["gaussians"]["count"] == len(result.gaussians) <= SMALL.max_gaussians
    assert report["gaussians"]["cloned"] + report["gaussians"]["split"] > 0
    assert report["frame"]["to_input"]["scale"] == 4.0


def test_same_seed_same_bytes_other_seed_other(made):
    result, _ = made
    short = replace(SMALL, steps=40)
    first, again, other = (run(replace(short, seed=seed), scene()).gaussians for seed in (0, 0, 1))
    assert same(first, again)
    assert len(first) != len(other) or not same(first, other)
    assert result.gaussians.sh.shape[1] == 16


class Stop(Exception):
    pass


@pytest.mark.parametrize(("strategy", "at"), [("adc", 39), ("mcmc", 33)])
def test_killed_and_resumed_equals_uninterrupted(tmp_path, strategy, at):
    config = replace(SMALL, steps=50, strategy=strategy)

    def interrupt(step: int, _: Gaussians) -> None:
        if step == at:
            raise Stop

    whole = run(config, scene())
    with pytest.raises(Stop):
        run(config, scene(), checkpoint_dir=tmp_path, on_state=interrupt)
    told: list[Any] = []
    rest = run(config, scene(), told.append, tmp_path, resume=True)
    assert min(e.step for e in told if isinstance(e, Step)) == at // 7 * 7 + 1
    assert same(whole.gaussians, rest.gaussians)
    assert whole.report["held_out"] == rest.report["held_out"]
    assert whole.report["gaussians"] == rest.report["gaussians"]


def test_mcmc_learns_within_its_bound():
    result = run(replace(SMALL, strategy="mcmc"), scene())
    assert result.report["held_out"]["psnr"] > 25
    assert 600 < len(result.gaussians) <= SMALL.max_gaussians


def test_few_pixels_carry_few_gaussians():
    few = run(replace(SMALL, steps=30, pixels_per_gaussian=20), scene())
    shown = sum(int((view.alpha > 0).sum()) for i, view in enumerate(scene().views) if i % 4)
    assert 100 < len(few.gaussians) <= shown / 20 < 600


def test_opaque_photos_of_mixed_sizes_start_at_the_points():
    result = run(replace(SMALL, eval_every=0, antialiased=True), scene(masked=False, size=(56, 40)))
    assert result.report["held_out"] == {"views": 0} and result.report["train"]["views"] == 12
    assert result.report["points"] == 300
    assert result.report["train"]["psnr"] > 26


def test_non_finite_gaussians_are_mended():
    def poison(step: int, gaussians: Gaussians) -> None:
        if step == 10:
            gaussians.log_scales[3] = torch.nan
            gaussians.sh[4, 0, 0] = torch.inf
        if step == 39:
            gaussians.means[5] = torch.nan

    result = run(replace(SMALL, steps=40), scene(), on_state=poison)
    assert bool(result.gaussians.finite().all())
    assert result.report["held_out"]["psnr"] > 18


def test_files_stand_in_the_frame_that_is_asked_for(made, tmp_path):
    result, _ = made
    paths = result.save(tmp_path / "a")
    assert [p.name for p in paths] == ["scene.ply", "cameras.json", "preview.png", "turntable.mp4", "report.json"]
    report = json.loads((tmp_path / "a" / "report.json").read_text())
    assert report["frame"]["written"] == "scene" and "torch" in report["versions"] and report["memory_mb"]
    result.save(tmp_path / "b", "input")
    pictures = []
    for folder in ("a", "b"):
        names, cameras = load_cameras(tmp_path / folder / "cameras.json")
        assert names == [f"{i:02d}.png" for i in range(12)]
        pictures.append(picture(load_gaussians(tmp_path / folder / "scene.ply"), cameras[4], torch.ones(3), False))
    assert float((pictures[0] - pictures[1]).abs().max()) < 0.02
    assert float((pictures[0] - pictures[0].mean()).abs().max()) > 0.2
    moved = load_gaussians(tmp_path / "b" / "scene.ply").means.mean(dim=0)
    assert float((moved - torch.tensor([3.0, -1.0, 2.0])).norm()) < 0.4


def test_faults_are_told_in_a_sentence(tmp_path):
    whole = scene()
    with pytest.raises(UserError, match="at least two photos"):
        run(SMALL, replace(whole, views=whole.views[:1]))
    with pytest.raises(UserError, match="8x8 pixels"):
        run(SMALL, scene(size=(8, 8)))
    with pytest.raises(UserError, match="no strategy"):
        run(replace(SMALL, strategy="luck"), whole)  # type: ignore[arg-type]
    told: list[Any] = []
    run(replace(SMALL, steps=7), whole, told.append, tmp_path, resume=True)
    assert any(isinstance(e, Warned) for e in told)
    with pytest.raises(UserError, match="other settings"):
        run(replace(SMALL, steps=8), whole, checkpoint_dir=tmp_path, resume=True)
    with pytest.raises(UserError, match="other settings"):
        run(replace(SMALL, steps=7), replace(whole, views=whole.views[1:]), checkpoint_dir=tmp_path, resume=True)


def test_schedules_shrink_with_short_runs_and_never_stretch():
    assert [c.steps for c in PRESETS.values()] == [2000, 7000, 30_000]
    assert PRESETS["fine"].sh_every == 1000 and PRESETS["fine"].warmup == Config().warmup
    short = with_steps(Config(), 700)
    assert short.sh_every == 100 and short.warmup == ((0, 4), (25, 2), (50, 1))
    assert with_steps(short, 7000).sh_every == 1000
    assert with_steps(Config(), 1).warmup[0] == (0, 4)


def test_a_checkpoint_is_left_where_it_belongs(tmp_path: Path):
    run(replace(SMALL, steps=7), scene(), checkpoint_dir=tmp_path / "kept")
    assert [p.name for p in (tmp_path / "kept").iterdir()] == ["checkpoint.safetensors"]


@pytest.mark.parametrize("cause", [torch.OutOfMemoryError("Tried to allocate 2.50 GiB."), MemoryError()])
def test_out_of_memory_is_one_sentence_and_spares_the_checkpoint(tmp_path, monkeypatch, cause):
    config, steps = replace(SMALL, steps=20), []

    def full(*args: Any) -> None:
        steps.append(args)
        if len(steps) == 17:
            raise cause
        return photometric(*args)

    monkeypatch.setattr("gaussmith.recipes.reconstruct.photometric", full)
    with pytest.raises(UserError, match=r"ran out of memory.* 900 Gaussians and 9 photos of up to 48x48.*--downscale"):
        run(config, scene(), checkpoint_dir=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.safetensors"]
    monkeypatch.undo()
    told: list[Any] = []
    rest = run(config, scene(), told.append, tmp_path, resume=True)
    assert min(e.step for e in told if isinstance(e, Step)) == 15
    assert same(run(config, scene()).gaussians, rest.gaussians)


def test_half_as_large_means_train_as_well():
    whole, half = (run(replace(SMALL, storage=storage), scene()) for storage in ("float32", "bfloat16"))
    assert half.report["held_out"]["psnr"] > whole.report["held_out"]["psnr"] - 0.3
    assert not same(whole.gaussians, half.gaussians)
