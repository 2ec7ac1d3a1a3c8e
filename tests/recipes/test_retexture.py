"""Retexturing anybody's mesh, with a prior that knows the answer: an ellipsoid coloured by position."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import trimesh
from torch import Tensor

import gaussmith
from gaussmith.camera import DEFAULT_FOVY, PRIOR_FOVY, orbit
from gaussmith.diffusion.prompts import Prompts
from gaussmith.diffusion.schedule import CosineTime
from gaussmith.events import StageFinished, Step, UserError, Warned
from gaussmith.gaussians import from_points
from gaussmith.io import load_mesh, save_gaussians, save_mesh
from gaussmith.mesh import Mesh
from gaussmith.picture import Prepared
from gaussmith.recipes.retexture import Config, run
from gaussmith.render.mesh import render_mesh
from gaussmith.texture.unwrap import unwrap
from gaussmith.texture.uv_check import uv_fault
from gaussmith.train.subject import KnownView, Subject
from gaussmith.train.texture import RefineConfig

RADII = torch.tensor([0.6, 0.4, 0.5])
CENTRE = torch.tensor([30.0, -7.0, 4.0])
SMALL = Config(refine=RefineConfig(steps=40, size=2), texture_size=128)


def colours(points: Tensor, blue: float = 0.0) -> Tensor:
    """Of points on the ellipsoid at the origin; the prior's opinion has more blue than the picture."""
    return (0.5 + 0.4 * points / RADII + torch.tensor([0.0, 0.0, blue])).clamp(0, 1)


def drawn(camera: Any, size: int, blue: float = 0.0) -> Tensor:
    """Premultiplied RGBA [B,size,size,4] of the ellipsoid, in closed form."""
    origin, direction = camera.rays()
    o, d = origin[:, None, None] / RADII, direction / RADII
    a, b, c = (d * d).sum(-1), (o * d).sum(-1), (o * o).sum(-1) - 1
    root = b * b - a * c
    point = origin[:, None, None] + ((-b - root.clamp_min(0).sqrt()) / a)[..., None] * direction
    hit = (root > 0).float()[..., None]
    rgba = torch.cat([colours(point, blue) * hit, hit], dim=-1).permute(0, 3, 1, 2)
    return F.interpolate(rgba, size=(size, size), mode="area").permute(0, 2, 3, 1)


class Oracle:
    """A prior that sees the ellipsoid itself, bluer by `blue`."""

    name, size, schedule, guidance_scale, device = "oracle", 32, CosineTime(), 1.0, torch.device("cpu")
    sees_alpha, bounded, group, from_reference, told_in_words = True, True, 1, False, False

    def __init__(self, blue: float = 0.0) -> None:
        self.blue = blue
        self.times: list[float] = []

    def condition(self, reference: Tensor, elevation: float, prompts: Any = None, on_event: Any = None) -> None:
        assert reference.shape[0] == 4

    def text_condition(self, prompts: Any, on_event: Any = None) -> None:
        assert prompts.text

    def encode(self, pictures: Tensor, background: float = 1.0) -> Tensor:
        return F.interpolate(pictures, size=(self.size, self.size), mode="area") * 2 - 1

    def decode(self, clean: Tensor) -> Tensor:
        return clean * 0.5 + 0.5

    def release(self) -> None:
        self.released = True

    def predict(self, noisy: Tensor, t: Tensor, views: Any, condition: Any, guidance_scale: float) -> Tensor:
        self.times.append(float(t[0]))
        seen = drawn(views.camera(4 * self.size, PRIOR_FOVY), self.size, self.blue)
        return seen.permute(0, 3, 1, 2) * 2 - 1


def ball(uv: bool = False) -> Mesh:
    """The ellipsoid, three times as large and far from the origin; half its faces are wound the wrong way."""
    sphere = trimesh.creation.icosphere(subdivisions=3)
    vertices = torch.from_numpy(np.array(sphere.vertices)).float() * RADII * 3 + CENTRE
    faces = torch.from_numpy(np.array(sphere.faces)).long()
    faces[::2] = faces[::2][:, [0, 2, 1]]
    mesh = Mesh(vertices, faces)
    return unwrap(mesh, 128) if uv else mesh


def known(azimuth: float = 0.0, elevation: float = 0.0, size: int = 256, zoom: float = 1.0) -> KnownView:
    """A picture of the ellipsoid, off its place and size by `zoom`."""
    rgba = drawn(orbit(azimuth, elevation, width=2 * size), size)[0]
    rgba = torch.cat([rgba[..., :3] / rgba[..., 3:].clamp_min(1e-6), rgba[..., 3:]], dim=-1)
    whole = Prepared(rgba, DEFAULT_FOVY, 1.0, (0.0, 0.0), (size, size), False, "alpha")
    return KnownView(whole.moved(zoom, (5.0, 9.0), size) if zoom != 1 else whole, azimuth, elevation)


def errors(mesh: Mesh, azimuth: float, blue: float = 0.0) -> Tensor:
    """Mean error of the colours seen from there, by channel, over what faces the camera."""
    centred = mesh.with_(vertices=(mesh.vertices - CENTRE) / 3)
    camera = orbit(azimuth, 0.0, width=64)
    truth, seen = drawn(orbit(azimuth, 0.0, width=256), 64, blue)[0], render_mesh(centred, camera)
    inside = F.avg_pool2d(1 - truth[None, ..., 3], 9, 1, 4)[0] == 0
    return (seen.rgb[0] - truth[..., :3])[inside].abs().mean(dim=0)


def test_a_grey_mesh_takes_the_picture_in_front_and_the_prior_behind():
    mesh, events = ball(), []
    prior = Oracle(blue=-0.3)
    made = run(SMALL, mesh, Subject((known(zoom=0.8),)), prior, events.append)
    assert errors(made.mesh, 0.0).max() < 0.03
    behind = errors(made.mesh, 180.0, blue=-0.3)
    assert behind.max() < 0.1 and errors(made.mesh, 180.0)[2] > 2 * behind[2]
    assert made.report["texture"]["started_from"] == "the picture" and max(prior.times) == pytest.approx(0.24, abs=0.01)
    assert 0.2 < made.report["texture"]["coverage"] < 0.5
    assert made.report["views"][0]["iou"] > 0.97 and made.report["views"][0]["psnr"] > 25
    assert not any(isinstance(e, Warned) for e in events) and prior.released
    assert [e.step for e in events if isinstance(e, Step)] == list(range(1, 41))
    assert [e.stage for e in events if isinstance(e, StageFinished)] == ["mesh", "texture", "refine"]


def test_vertices_and_faces_come_back_bit_for_bit():
    mesh = ball()
    made = run(replace(SMALL, refine=RefineConfig(steps=1, size=1)), mesh, Subject((known(),)), Oracle())
    assert torch.equal(made.mesh.vertices, mesh.vertices) and torch.equal(made.mesh.faces, mesh.faces)
    assert made.report["mesh"]["watertight"] and made.report["mesh"]["oriented"], "the copy is put right"
    assert made.report["mesh"]["faces_turned"] == len(mesh.faces) // 2
    assert not made.report["uv"]["kept"] and uv_fault(made.mesh, 128) is None


def test_words_alone_colour_every_side():
    made = run(replace(SMALL, refine=RefineConfig(steps=20, size=2)), ball(), Subject(prompts=Prompts("it")), Oracle())
    assert all(errors(made.mesh, azimuth).max() < 0.1 for azimuth in (0.0, 120.0, 240.0))
    assert made.report["texture"]["started_from"] == "nothing" and made.report["views"] == []


def test_same_seed_same_bytes():
    few = replace(SMALL, refine=RefineConfig(steps=2, size=1))
    a, b, c = (run(replace(few, seed=s), ball(), Subject((known(),)), Oracle()).mesh.albedo for s in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c)


# --- interrupted work ---

SAVED = replace(SMALL, refine=RefineConfig(steps=5, size=1), save_every=2)


def stopped(step: int, mesh: Mesh, subject: Subject, folder: Path, config: Config = SAVED) -> None:
    def listen(event: Any) -> None:
        if isinstance(event, Step) and event.step == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(config, mesh, subject, Oracle(), listen, folder)


@pytest.mark.parametrize(("kind", "uv"), [("picture", False), ("picture", True), ("words", False)])
def test_killed_and_resumed_equals_uninterrupted(kind, uv, tmp_path):
    mesh = ball(uv)
    subject = Subject((known(zoom=0.8),)) if kind == "picture" else Subject(prompts=Prompts("it"))
    stopped(5, mesh, subject, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.safetensors"]
    events: list[Any] = []
    made = run(SAVED, mesh, subject, Oracle(), events.append, tmp_path, resume=True)
    assert [e.step for e in events if isinstance(e, Step)] == [5]  # what was done up to step 4 is not repeated
    whole = run(SAVED, mesh, subject, Oracle())
    assert all(
        torch.equal(getattr(made.mesh, part), getattr(whole.mesh, part)) for part in ("albedo", "uv", "uv_faces")
    )
    parts = [{k: v for k, v in result.report.items() if k != "seconds"} for result in (made, whole)]
    assert parts[0] == parts[1] and made.report["seconds"].keys() == whole.report["seconds"].keys()


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    mesh, subject = ball(), Subject((known(),))
    stopped(3, mesh, subject, tmp_path)
    for name, change in (
        ("config", {"config": replace(SAVED, seed=1)}),
        ("mesh", {"mesh": mesh.with_(vertices=mesh.vertices * 2)}),
        ("subject", {"subject": Subject((known(10.0),))}),
    ):
        job = {"config": SAVED, "mesh": mesh, "subject": subject, "prior": Oracle()} | change
        with pytest.raises(UserError, match=f"other settings .{name}.:"):
            run(**job, checkpoint_dir=tmp_path, resume=True)


def test_nothing_to_resume_from_starts_anew_and_says_so(tmp_path):
    events: list[Any] = []
    run(replace(SAVED, refine=RefineConfig(steps=1, size=1)), ball(), Subject((known(),)), Oracle(), events.append,
        tmp_path, resume=True)  # fmt: skip
    assert any("no checkpoint" in e.message for e in events if isinstance(e, Warned))
    assert not list(tmp_path.iterdir())


def test_several_pictures_are_each_laid_over_the_mesh():
    views = (known(), known(180.0, 20.0, zoom=0.7))
    made = run(replace(SMALL, refine=RefineConfig(steps=0)), ball(), Subject(views), Oracle())
    assert all(view["iou"] > 0.97 for view in made.report["views"])
    assert errors(made.mesh, 0.0).max() < 0.03 and errors(made.mesh, 180.0).max() < 0.03


# --- texture coordinates and colours that the mesh came with ---


def test_good_uv_are_kept_bit_for_bit():
    mesh = ball(uv=True)
    made = run(replace(SMALL, refine=RefineConfig(steps=2, size=1)), mesh, Subject((known(),)), Oracle())
    assert made.report["uv"]["kept"]
    assert torch.equal(made.mesh.uv, mesh.uv) and torch.equal(made.mesh.uv_faces, mesh.uv_faces)
    assert errors(made.mesh, 0.0).max() < 0.03


def bad_uv(kind: str) -> Mesh:
    mesh = ball(uv=True)
    uv, faces = mesh.uv.clone(), mesh.uv_faces
    if kind == "same place":  # the two halves of the texture one over the other
        uv[:, 0] = (2 * uv[:, 0]) % 1
        faces = faces[(uv[faces].amax(dim=1) - uv[faces].amin(dim=1)).amax(dim=1) < 0.3]
        faces = torch.cat([faces, faces])[: len(mesh.faces)]
        uv, faces = uv, torch.cat([faces, faces[: len(mesh.faces) - len(faces)]])
    uv = {"outside": uv + 0.5, "no place": uv * 0 + 0.5, "less than": 0.2 * uv}.get(kind, uv)
    if kind == "not finite":
        uv[7] = float("nan")
    return mesh.with_(uv=uv, uv_faces=faces)


@pytest.mark.parametrize("kind", ["same place", "outside", "no place", "less than", "not finite"])
def test_bad_uv_are_replaced_and_the_report_says_why(kind):
    mesh = bad_uv(kind)
    made = run(replace(SMALL, refine=RefineConfig(steps=1, size=1)), mesh, Subject((known(),)), Oracle())
    assert not made.report["uv"]["kept"] and kind in made.report["uv"]["why"]
    assert uv_fault(made.mesh, 128) is None
    assert errors(made.mesh, 0.0).max() < 0.03


def test_neighbours_do_not_overlap_but_copies_do():
    square = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    plane = Mesh(square, faces, uv=square[:, :2].contiguous(), uv_faces=faces)
    assert all(uv_fault(plane, size) is None for size in (16, 64, 100))
    double = plane.with_(faces=torch.cat([faces, faces.flip(1)]), uv_faces=torch.cat([faces, faces.flip(1)]))
    assert "same place" in uv_fault(double, 64)


def coloured(kind: str) -> Mesh:
    mesh = ball(uv=kind == "albedo")
    if kind == "vertices":
        return mesh.with_(vertex_colors=colours((mesh.vertices - CENTRE) / 3))
    albedo = torch.zeros(200, 300, 3)
    albedo[..., 0] = torch.linspace(0, 1, 300)
    albedo[..., 1] = torch.linspace(0, 1, 200)[:, None]
    return mesh.with_(albedo=albedo, uv=mesh.uv * 0.999 + 0.3)  # no longer good: the colours must move to new uv


@pytest.mark.parametrize("kind", ["albedo", "vertices"])
def test_the_mesh_s_own_colours_stay_where_no_picture_shows_better(kind):
    mesh = coloured(kind)
    made = run(replace(SMALL, refine=RefineConfig(steps=0)), mesh, Subject(prompts=Prompts("it")), Oracle())
    camera = orbit(140.0, 20.0, width=96)
    before, after = (render_mesh(m.with_(vertices=(m.vertices - CENTRE) / 3), camera).rgb for m in (mesh, made.mesh))
    assert made.report["texture"]["started_from"] == "its own colours" and not made.report["uv"]["kept"]
    assert (before - after).abs().mean() < 0.01
    assert made.mesh.vertex_colors is None
    fresh = run(
        replace(SMALL, refine=RefineConfig(steps=0), fresh=True), mesh, Subject(prompts=Prompts("it")), Oracle()
    )
    assert torch.allclose(fresh.mesh.albedo, torch.tensor(0.5)) and fresh.report["texture"]["started_from"] == "nothing"


def test_one_colour_is_no_texture():
    mesh = ball().with_(vertex_colors=torch.full((642, 3), 0.8))
    made = run(replace(SMALL, refine=RefineConfig(steps=0)), mesh, Subject((known(),)), Oracle())
    assert made.report["texture"]["started_from"] == "the picture"


# --- alignment ---


def test_a_wrong_angle_is_told():
    long = ball().with_(vertices=(ball().vertices - CENTRE) * torch.tensor([1.0, 1.0, 6.0]))
    events: list[Any] = []
    run(replace(SMALL, refine=RefineConfig(steps=0)), long, Subject((known(),)), Oracle(), events.append)
    assert not any(isinstance(e, Warned) for e in events)
    turned = replace(known(), azimuth=90.0)
    run(replace(SMALL, refine=RefineConfig(steps=0)), long, Subject((turned,)), Oracle(), events.append)
    assert ["does not seem to show this mesh" in e.message for e in events if isinstance(e, Warned)] == [True]


def test_a_plane_seen_edge_on_is_a_sentence():
    square = torch.tensor([[-1.0, 0.0, -1.0], [1.0, 0.0, -1.0], [1.0, 0.0, 1.0], [-1.0, 0.0, 1.0]])
    plane = Mesh(square, torch.tensor([[0, 1, 2], [0, 2, 3]]))
    with pytest.raises(UserError, match="nothing of the mesh is to be seen from azimuth 0"):
        run(SMALL, plane, Subject((known(),)), Oracle())
    made = run(
        replace(SMALL, refine=RefineConfig(steps=1)), plane, Subject((replace(known(), elevation=60.0),)), Oracle()
    )
    assert made.report["texture"]["coverage"] > 0.5, "an open mesh will do"


# --- files ---


@pytest.mark.parametrize("suffix", [".glb", ".obj", ".ply", ".stl"])
def test_every_format_in_and_its_files_out(suffix, tmp_path):
    save_mesh(ball(uv=suffix == ".glb"), tmp_path / f"in{suffix}")
    made = gaussmith.refine_mesh(
        tmp_path / f"in{suffix}", image=known().prepared, prior=Oracle(), steps=1, texture_size=128
    )
    paths = made.save(tmp_path / "out.glb")
    assert [p.name for p in paths] == ["out.glb", "out-preview.png", "out.json"]
    again = load_mesh(paths[0])
    assert torch.equal(again.vertices, made.mesh.vertices) and again.albedo.shape == (128, 128, 3)
    assert errors(again, 0.0).max() < 0.03
    assert json.loads(paths[2].read_text())["prior"] == "oracle"


def test_bad_input_is_one_sentence(tmp_path):
    save_gaussians(from_points(torch.randn(9, 3), torch.rand(9, 3), 0.9), tmp_path / "splat.ply")
    view, prior = known().prepared, Oracle()
    with pytest.raises(UserError, match="gaussmith mesh"):
        gaussmith.refine_mesh(tmp_path / "splat.ply", image=view, prior=prior)
    with pytest.raises(UserError, match="a picture or a prompt"):
        gaussmith.refine_mesh(ball(), prior=prior)
    with pytest.raises(UserError, match="no faces"):
        gaussmith.refine_mesh(ball().with_(faces=torch.zeros(0, 3, dtype=torch.long)), image=view, prior=prior)
    with pytest.raises(UserError, match="not finite"):
        gaussmith.refine_mesh(ball().with_(vertices=ball().vertices * float("nan")), image=view, prior=prior)
    with pytest.raises(UserError, match="no area"):
        gaussmith.refine_mesh(ball().with_(vertices=ball().vertices * 0), image=view, prior=prior)
    with pytest.raises(UserError, match="too large"):
        gaussmith.refine_mesh(ball().with_(vertices=ball().vertices * 1e30), image=view, prior=prior)
