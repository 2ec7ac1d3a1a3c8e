"""The picture-to-mesh recipe end to end on small sizes, with a prior that knows the answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gaussmith.camera import DEFAULT_FOVY, PRIOR_FOVY, orbit
from gaussmith.density import dreamgaussian as density
from gaussmith.diffusion.family import DISTILLATIONS
from gaussmith.diffusion.guidance import Predictions
from gaussmith.diffusion.prompts import Prompts
from gaussmith.diffusion.schedule import CosineTime, eps_from_x0
from gaussmith.events import StageFinished, Step, UserError, ignore
from gaussmith.gaussians import from_points
from gaussmith.metrics import iou
from gaussmith.picture import Prepared
from gaussmith.priors.embedded.symmetry import Plane
from gaussmith.recipes.dreamgaussian import PRESETS, Config, _belief, _bending, _Job, _known, _mirrored, _start, run
from gaussmith.render.mesh import render_mesh
from gaussmith.render.splat import rasterize
from gaussmith.surface import check
from gaussmith.texture.consistency import Sighting
from gaussmith.train import checkpoint
from gaussmith.train.adam import Adam
from gaussmith.train.figures import reference_figures
from gaussmith.train.subject import KnownView, Subject
from gaussmith.train.texture import RefineConfig
from gaussmith.views import OrbitView

RADII = torch.tensor([0.45, 0.3, 0.35])

SMALL = Config(
    steps=60, views=2, points=800, max_gaussians=1500, sizes=((0.0, 1),), reference_size=96, resolution=48,
    max_faces=1500, texture_size=128, refine=RefineConfig(steps=4, size=2), save_every=20,
    densify=density.Config(start=20, every=20),
)  # fmt: skip


class Ellipsoid:
    """An oracle for an ellipsoid coloured by position: rays are intersected with it in closed form."""

    name, size, schedule, guidance_scale, device = "ellipsoid", 32, CosineTime(), 1.0, torch.device("cpu")
    sees_alpha, bounded, group, from_reference, told_in_words = True, True, 1, True, False

    def __init__(self, front: float = 0.0) -> None:
        self.front = front  # azimuth of the reference: what the prior is told counts from there

    def condition(self, reference: Tensor, elevation: float, prompts: Any = None, on_event: Any = None) -> None:
        assert reference.shape[0] == 4

    def text_condition(self, prompts: Any, on_event: Any = None) -> None:
        assert prompts.text

    def encode(self, pictures: Tensor) -> Tensor:
        return F.interpolate(pictures, size=(self.size, self.size), mode="area") * 2 - 1

    def decode(self, clean: Tensor) -> Tensor:
        return clean * 0.5 + 0.5

    def release(self) -> None:
        pass

    def predict(self, noisy: Tensor, t: Tensor, views: Any, condition: Any, guidance_scale: float) -> Tensor:
        turned = replace(views, azimuth=views.azimuth + self.front)
        return picture(turned.camera(4 * self.size, PRIOR_FOVY), self.size).permute(0, 3, 1, 2) * 2 - 1

    def eps(self, noisy: Tensor, t: Tensor, views: Any, condition: Any) -> Predictions:
        eps = eps_from_x0(noisy, self.predict(noisy, t, views, condition, 1.0), self.schedule.level(t))
        return Predictions(eps, eps)


def picture(camera: Any, size: int) -> Tensor:
    """Premultiplied RGBA [B,size,size,4] of the ellipsoid."""
    origin, direction = camera.rays()
    o, d = origin[:, None, None] / RADII, direction / RADII
    a, b, c = (d * d).sum(-1), (o * d).sum(-1), (o * o).sum(-1) - 1
    root = b * b - a * c
    hit = root > 0
    z = (-b - root.clamp_min(0).sqrt()) / a
    point = origin[:, None, None] + z[..., None] * direction
    rgb = (0.5 + 0.45 * point / RADII) * hit[..., None]
    rgba = torch.cat([rgb, hit[..., None].float()], dim=-1).permute(0, 3, 1, 2)
    return F.interpolate(rgba, size=(size, size), mode="area").permute(0, 2, 3, 1)


def known(azimuth: float, elevation: float) -> KnownView:
    rgba = picture(orbit(azimuth, elevation, width=512), 128)[0]
    rgba = torch.cat([rgba[..., :3] / rgba[..., 3:].clamp_min(1e-6), rgba[..., 3:]], dim=-1)
    return KnownView(Prepared(rgba, DEFAULT_FOVY, 1.0, (0.0, 0.0), (128, 128), True, "alpha"), azimuth, elevation)


def subject(elevation: float) -> Subject:
    return Subject((known(0.0, elevation),))


@pytest.fixture(scope="module")
def result():
    events: list[Any] = []
    return run(SMALL, subject(20.0), Ellipsoid(), events.append), events


def test_shape_stands_as_pictured(result):
    made, _ = result
    report = check(made.mesh)
    assert report.valid and report.components == 1 and report.genus == 0
    assert made.report["reference"]["iou"] > 0.9
    assert made.report["reference"]["psnr"] > 22
    # Turned views too, against closed form: not a front that merely looks right.
    for azimuth in (90.0, 180.0, 300.0):
        camera = orbit(azimuth, 0.0, width=128)
        alpha = render_mesh(made.mesh, camera).alpha[0]
        assert float(iou(alpha, picture(orbit(azimuth, 0.0, width=512), 128)[0, ..., 3:])) > 0.85


def test_events_tell_every_step(result):
    made, events = result
    steps = [e for e in events if isinstance(e, Step) and e.stage == "gaussians"]
    assert [e.step for e in steps] == list(range(1, SMALL.steps + 1))
    assert all(math.isfinite(e.values["loss"]) for e in steps)
    assert {e.stage for e in events if isinstance(e, StageFinished)} == {"gaussians", "mesh", "texture", "refine"}
    assert set(made.report["seconds"]) == {"gaussians", "mesh", "texture", "refine"}
    assert made.report["gaussians"]["cloned"] + made.report["gaussians"]["split"] > 0


def same(a: Any, b: Any) -> bool:
    tensors = list(zip(a.gaussians.tensors().values(), b.gaussians.tensors().values()))
    tensors += [(a.mesh.vertices, b.mesh.vertices), (a.mesh.faces, b.mesh.faces), (a.mesh.uv, b.mesh.uv)]
    tensors += [(a.mesh.albedo, b.mesh.albedo)]
    return all(torch.equal(x, y) for x, y in tensors)


def test_same_seed_same_bytes_other_seed_other(result):
    made, _ = result
    again = run(SMALL, subject(20.0), Ellipsoid())
    assert same(made, again)
    other = run(replace(SMALL, seed=1, steps=20, refine=RefineConfig(steps=1, size=2)), subject(20.0), Ellipsoid())
    assert not same(made, other)


class Stop(Exception):
    pass


@pytest.mark.parametrize("stage, at", [("gaussians", 47), ("refine", 3)])
def test_killed_and_resumed_equals_uninterrupted(result, tmp_path, stage, at):
    def interrupt(event: Any) -> None:
        if isinstance(event, Step) and (event.stage, event.step) == (stage, at):
            raise Stop

    with pytest.raises(Stop):
        run(SMALL, subject(20.0), Ellipsoid(), interrupt, tmp_path)
    seen: list[Any] = []
    resumed = run(SMALL, subject(20.0), Ellipsoid(), seen.append, tmp_path, resume=True)
    first = next(e for e in seen if isinstance(e, Step))
    assert first.step > 40 or first.stage == "refine"
    assert same(result[0], resumed)


def test_resume_refuses_other_settings(tmp_path):
    def interrupt(event: Any) -> None:
        if isinstance(event, Step) and event.step == 25:
            raise Stop

    with pytest.raises(Stop):
        run(SMALL, subject(20.0), Ellipsoid(), interrupt, tmp_path)
    with pytest.raises(UserError, match="other settings"):
        run(replace(SMALL, seed=5), subject(20.0), Ellipsoid(), checkpoint_dir=tmp_path, resume=True)


@pytest.mark.parametrize("steps", [1, 7, 61])
def test_any_number_of_steps_is_valid(steps):
    """Odd counts leave no half-done interval that prunes everything; the empty shape of few steps is a clear error."""
    config = replace(
        SMALL, steps=steps, points=200, resolution=24, refine=RefineConfig(steps=1, size=2), texture_size=64
    )
    try:
        made = run(config, subject(0.0), Ellipsoid())
    except UserError as error:
        assert steps < 10, error
    else:
        assert check(made.mesh).valid
        assert made.gaussians.finite().all()


def test_presets_are_ordered_by_effort():
    draft, standard, fine = (PRESETS[k] for k in ("draft", "standard", "fine"))
    assert draft.steps < standard.steps < fine.steps
    assert draft.texture_size < standard.texture_size < fine.texture_size


def test_reference_figures_see_a_wrong_pose(result):
    made, _ = result
    right = reference_figures(made.mesh, known(0.0, 20.0))
    wrong = reference_figures(made.mesh, replace(known(0.0, 20.0), elevation=-40.0))
    assert right["psnr"] > wrong["psnr"] + 3


SHORT = replace(SMALL, steps=24, resolution=32, refine=RefineConfig(steps=1, size=2), texture_size=64)


class Shift:
    """A trainable difference from the ellipsoid's own prediction: one number."""

    def __init__(self, prior: Ellipsoid) -> None:
        self.prior, self.value = prior, torch.zeros(1, requires_grad=True)

    def parameters(self) -> dict[str, Tensor]:
        return {"value": self.value}

    def variational_eps(self, noisy: Tensor, t: Tensor, views: OrbitView, condition: Any, null: bool = False) -> Tensor:
        return self.prior.eps(noisy, t, views, condition).cond + self.value


class Trainable(Ellipsoid):
    def trainable(self, seed: int) -> Shift:
        return Shift(self)


@pytest.mark.parametrize("name", DISTILLATIONS)
def test_every_distillation_runs_and_resumes(name, tmp_path):
    config = replace(SHORT, distillation=name)
    whole = run(config, subject(0.0), Trainable())
    assert check(whole.mesh).valid

    def interrupt(event: Any) -> None:
        if isinstance(event, Step) and event.step == 22:
            raise Stop

    with pytest.raises(Stop):
        run(config, subject(0.0), Trainable(), interrupt, tmp_path)
    assert same(whole, run(config, subject(0.0), Trainable(), checkpoint_dir=tmp_path, resume=True))


def test_what_trains_a_network_needs_one():
    with pytest.raises(UserError, match="sds, csd or ism"):
        run(replace(SHORT, distillation="vsd"), subject(0.0), Ellipsoid())


def test_words_alone_make_the_object():
    made = run(SMALL, Subject(prompts=Prompts("an ellipsoid")), Ellipsoid())
    assert check(made.mesh).valid and made.report["prompt"] == "an ellipsoid" and made.report["reference"] is None
    for azimuth in (0.0, 90.0, 200.0):
        alpha = render_mesh(made.mesh, orbit(azimuth, 0.0, width=128)).alpha[0]
        assert float(iou(alpha, picture(orbit(azimuth, 0.0, width=512), 128)[0, ..., 3:])) > 0.8


def test_several_known_views_are_all_obeyed():
    """From angles other than the front's: the reference stands at 40 degrees, and the prior counts from there."""
    views = (known(40.0, 10.0), known(160.0, 30.0), known(-90.0, 0.0))
    made = run(SMALL, Subject(views), Ellipsoid(front=40.0))
    assert len(made.report["views"]) == 3
    assert all(figures["iou"] > 0.9 and figures["psnr"] > 21 for figures in made.report["views"])


class Drafts(Ellipsoid):
    """Knows where the object is, as the reference sees it: a bar towards the reference's own +X."""

    def draft_points(self, condition: Any, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        points = torch.rand(count, 3, generator=generator) * torch.tensor([0.4, 0.02, 0.02])
        return points, torch.tensor([1.0, 0.5, 0.0]).repeat(count, 1)


@pytest.mark.parametrize(("azimuth", "towards"), [(0.0, [1.0, 0, 0]), (90.0, [0, 0, -1.0]), (180.0, [-1.0, 0, 0])])
def test_stage_1_begins_on_the_draft_turned_as_the_reference_was(azimuth, towards):
    job = _Job(SMALL, Subject((known(azimuth, 0.0),)), Drafts(), None, ignore, lambda *a: None, {})
    first = _start(job, torch.Generator().manual_seed(0))
    assert len(first) == SMALL.points
    assert float((first.means.mean(dim=0) - 0.2 * torch.tensor(towards)).norm()) < 0.03
    ball = replace(job, config=replace(SMALL, start="ball"))
    assert float(_start(ball, torch.Generator().manual_seed(0)).means.mean(dim=0).norm()) < 0.05


def test_bending_flattens_the_depth_that_a_picture_cannot_see():
    g = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(*[torch.linspace(-0.5, 0.5, 26)] * 2, indexing="ij")
    noise = 0.05 * torch.randn(x.numel(), generator=g)
    wall = from_points(torch.stack([x.flatten(), y.flatten(), noise], dim=1), torch.full((x.numel(), 3), 0.5), 0.95)
    view = KnownView(Prepared(torch.ones(64, 64, 4), DEFAULT_FOVY, 1.0, (0.0, 0.0), (64, 64), True, "alpha"))
    found, optimizer = _known((view,), 64, torch.device("cpu")), Adam({"means": 0.003})
    assert found is not None

    def depth() -> Tensor:
        return rasterize(wall.detach(), found[0]).depth[0, 20:-20, 20:-20]

    before = depth()
    for _ in range(40):
        wall = wall.map(lambda t: t.requires_grad_())
        _bending(rasterize(wall, found[0]), found[1]).backward()
        optimizer.step(wall.tensors())
        wall = wall.detach()
    assert float(depth().std()) < 0.5 * float(before.std())
    assert float(depth().mean()) == pytest.approx(float(before.mean()), abs=0.03)  # flat where it stood


class Mirrored(Ellipsoid):
    """Sees a plane of symmetry half-way to azimuth 90, and is told when it is believed."""

    def mirror_planes(self, condition: Any) -> tuple[Plane, ...]:
        return (Plane(45.0, 3.0),)

    def with_mirrored(self, condition: Any, planes: Sequence[Plane]) -> str:
        return "mirrored"

    def predict(self, noisy: Tensor, t: Tensor, views: Any, condition: Any, guidance_scale: float) -> Tensor:
        self.told = condition
        return super().predict(noisy, t, views, condition, guidance_scale)


def half_red() -> KnownView:
    """A picture with a red left half: mirrored, the red is on the right."""
    view = known(0.0, 0.0)
    rgba = view.prepared.rgba.clone()
    half = rgba.shape[1] // 2
    rgba[..., :3] = torch.tensor([0.1, 0.1, 0.8])
    rgba[:, :half, :3] = torch.tensor([0.9, 0.1, 0.1])
    return KnownView(replace(view.prepared, rgba=rgba))


def test_a_mirrored_picture_is_a_view_beside_the_pictures():
    view = half_red()
    reds = {}
    for mirror in (0.0, 1.0):
        prior = Mirrored()
        result = run(replace(SHORT, mirror=mirror, sds_weight=0.0), Subject((view,)), prior)
        seen = rasterize(result.gaussians, orbit(90.0, 0.0, width=64)).rgb[0]
        reds[mirror] = float((seen[..., 0] - seen[..., 2])[:, 34:].mean())
        told = [{"plane_azimuth": 45.0, "promised_db": 3.0}]
        assert result.report["symmetry"] == (told if mirror else [])
        assert (prior.told == "mirrored") == (mirror > 0)
        assert len(result.report["views"]) == 1  # what is believed is not what is known
    assert reds[1.0] > reds[0.0] + 0.02


class Mistaken(Mirrored):
    """Sees the plane elsewhere: mirrored, the red half lies on what the half-red picture shows blue."""

    def mirror_planes(self, condition: Any) -> tuple[Plane, ...]:
        return (Plane(20.0, 3.0),)

    def draft_points(self, condition: Any, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return F.normalize(torch.randn(count, 3, generator=generator), dim=1) * RADII, torch.full((count, 3), 0.5)


def test_a_mirrored_picture_that_the_picture_contradicts_is_not_believed():
    view, side = half_red(), 128
    job = _Job(SHORT, Subject((view,)), Mistaken(), None, ignore, lambda *a, **k: None, {}, (view.mirrored(40.0),))
    found = _known(job.known, side, torch.device("cpu"))
    assert found is not None
    drawn = Mistaken().draft_points(None, 4000, torch.Generator().manual_seed(0))
    depth = rasterize(from_points(*drawn, opacity=0.95), found[0]).depth[..., 0]
    belief = _belief(Sighting(*found, depth), 1)
    assert torch.all(belief[0] == 1)
    # What the mirrored picture shows along the equator: blue from azimuth -50, red from 40 to 130. The picture: red to
    # azimuth 0, blue to 90, nothing further.
    row, (_, right) = belief[1, side // 2], (found[1][1, side // 2, :, 3] > 0.5).nonzero()[[0, -1], 0].tolist()
    middle, half = side // 2, right - side // 2
    across = {k: row[middle + round(a * half) : middle + round(b * half)] for k, (a, b) in {
        "blue on red": (-0.9, -0.75), "blue on blue": (-0.4, -0.2), "red on blue": (0.1, 0.5), "unseen": (0.95, 1.0),
    }.items()}  # fmt: skip
    assert float(across["blue on red"].mean()) < 0.2 and float(across["red on blue"].mean()) < 0.2
    assert float(across["blue on blue"].mean()) > 0.9 and float(across["unseen"].mean()) > 0.5


def test_where_it_is_contradicted_the_gaussians_are_as_the_picture_shows_them():
    """From azimuth 40, between the two: red on the left of azimuth 0 and blue on its right, not the other way."""

    def reds(mirror_check: float) -> list[float]:
        made = run(replace(SMALL, mirror=1.0, mirror_check=mirror_check), Subject((half_red(),)), Mistaken())
        red, _, blue = rasterize(made.gaussians, orbit(40.0, 0.0, width=64)).rgb[0, 28:36].mean(dim=0).unbind(dim=-1)
        return [float((red - blue)[columns].mean()) for columns in (slice(21, 24), slice(34, 37))]

    (left, right), (left_believing, right_believing) = reds(0.2), reds(1.0)
    assert left > left_believing + 0.2 and right < right_believing - 0.2


def test_what_is_believed_survives_an_interruption(tmp_path):
    def interrupt(event: Any) -> None:
        if isinstance(event, Step) and (event.stage, event.step) == ("gaussians", 47):
            raise Stop

    whole = run(SMALL, Subject((half_red(),)), Mistaken())
    with pytest.raises(Stop):
        run(SMALL, Subject((half_red(),)), Mistaken(), interrupt, tmp_path)
    saved = checkpoint.load(tmp_path / "checkpoint.safetensors").tensors["belief"]
    assert saved.shape[0] == 2 and bool((saved[1] < 0.5).any())
    assert same(whole, run(SMALL, Subject((half_red(),)), Mistaken(), checkpoint_dir=tmp_path, resume=True))


def test_several_pictures_need_no_mirror():
    views = (known(0.0, 0.0), known(120.0, 0.0))
    job = _Job(SHORT, Subject(views), Mirrored(), None, ignore, lambda *a, **k: None, {})
    assert _mirrored(SHORT, job.subject, job.prior, None) == (None, (), [])
    assert job.shares == [0.5, 0.5]


def test_a_prior_for_pictures_only_says_so():
    class Picture(Ellipsoid):
        text_condition = property()

    with pytest.raises(UserError, match="gaussmith image"):
        run(SHORT, Subject(prompts=Prompts("an ellipsoid")), Picture())
