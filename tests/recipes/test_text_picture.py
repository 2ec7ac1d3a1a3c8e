"""Pictures of words that begin with a made shape, and jobs that begin with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gaussmith import api
from gaussmith.density import dreamgaussian as density
from gaussmith.diffusion.guidance import Predictions
from gaussmith.diffusion.prompts import Prompts
from gaussmith.diffusion.schedule import CosineTime, eps_from_x0
from gaussmith.events import Step, UserError, Warned, ignore
from gaussmith.metrics import iou
from gaussmith.priors.embedded.prior import load_weights
from gaussmith.recipes import dreamgaussian, text_picture
from gaussmith.recipes.text_picture import Config, draw
from gaussmith.synth.lookup import design
from gaussmith.synth.views import render_views
from gaussmith.train.subject import Subject
from gaussmith.train.texture import RefineConfig

TINY = dreamgaussian.Config(
    steps=6, views=1, points=400, max_gaussians=600, sizes=((0.0, 1),), reference_size=48, resolution=24,
    max_faces=400, texture_size=64, refine=RefineConfig(steps=2, size=2, denoise=(2, 2)), save_every=3,
    densify=density.Config(start=4, every=4),
)  # fmt: skip


class Smoother:
    """A prior that knows one thing of pictures: neighbours are alike."""

    name, size, schedule, guidance_scale, device = "embedded", 32, CosineTime(), 1.0, torch.device("cpu")
    sees_alpha, bounded, group, from_reference, told_in_words = True, True, 1, True, False
    knows_made_things = True

    def condition(self, reference: Tensor, elevation: float, prompts: Any = None, on_event: Any = None) -> None:
        assert reference.shape[0] == 4

    def text_condition(self, prompts: Prompts, on_event: Any = None) -> None:
        assert prompts.text

    def encode(self, pictures: Tensor, background: float = 1.0) -> Tensor:
        return F.interpolate(pictures, size=(self.size, self.size), mode="area") * 2 - 1

    def decode(self, clean: Tensor) -> Tensor:
        return (clean * 0.5 + 0.5).clamp(0, 1)

    def predict(self, noisy: Tensor, t: Tensor, views: Any, condition: Any, guidance_scale: float) -> Tensor:
        alpha, _ = self.schedule.level(t).like(noisy)
        return F.avg_pool2d(noisy / alpha.clamp_min(0.05), 3, 1, 1, count_include_pad=False).clamp(-1, 1)

    def eps(self, noisy: Tensor, t: Tensor, views: Any, condition: Any) -> Predictions:
        eps = eps_from_x0(noisy, self.predict(noisy, t, views, condition, 1.0), self.schedule.level(t))
        return Predictions(eps, eps)

    def release(self) -> None:
        pass


def overlap(subject: Subject) -> list[float]:
    """IoU of each known view's outline with the made shape's own, seen from there."""
    assert subject.shape is not None
    out = []
    for view in subject.views:
        true = render_views(subject.shape.mesh, [view.azimuth], [view.elevation], 128, fovy=49.1)[0, ..., 3:]
        mine = F.interpolate(view.prepared.rgba[None, ..., 3].unsqueeze(0), size=(128, 128), mode="area")[0, 0]
        out.append(float(iou(mine[..., None], torch.from_numpy(true).float() / 255)))
    return out


def test_pictures_show_the_shape_from_all_sides() -> None:
    events: list[Any] = []
    subject = draw(Config(candidates=2, steps=5), Prompts("a flying green bottle"), Smoother(), events.append)  # type: ignore[arg-type]
    assert subject.shape is not None and "green bottle" in subject.shape.caption
    assert [(view.azimuth, view.elevation) for view in subject.views] == [(30, 15), (120, 40), (-150, 15), (-60, 40)]
    assert min(overlap(subject)) > 0.7
    said = [event.message for event in events if isinstance(event, Warned)]
    assert len(said) == 1 and said[0].endswith("knows nothing of: flying.")
    # Another shape is another outline: the figure can fail.
    other = design("a burger")
    assert other is not None and max(overlap(replace(subject, shape=other))) < 0.7


def test_the_embedded_prior_keeps_the_outline() -> None:
    subject = draw(Config(candidates=1, sides=2), Prompts("a blue mug"), load_weights())
    assert len(subject.views) == 2 and min(overlap(subject)) > 0.75
    blue = subject.views[0].premultiplied()[..., :3].sum(dim=(0, 1))
    assert blue[2] > blue[0] and blue[2] > blue[1]


def test_without_a_shape_the_words_alone_are_drawn() -> None:
    few = Config(candidates=1, steps=2)
    events: list[Any] = []
    dragon = draw(few, Prompts("a dragon"), Smoother(), events.append)  # type: ignore[arg-type]
    assert dragon.shape is None and len(dragon.views) == 1
    assert "No made shape" in next(event.message for event in events if isinstance(event, Warned))
    quiet: list[Any] = []
    none = draw(replace(few, shape="none"), Prompts("a red car"), Smoother(), quiet.append)  # type: ignore[arg-type]
    assert none.shape is None and len(none.views) == 1 and not any(isinstance(event, Warned) for event in quiet)
    stranger = Smoother()
    stranger.knows_made_things = False
    assert draw(few, Prompts("a red car"), stranger).shape is None  # type: ignore[arg-type]


def test_gaussians_begin_on_the_shape() -> None:
    shape = design("a green tree")
    assert shape is not None
    subject = Subject(prompts=Prompts("a green tree"), shape=shape)
    job = dreamgaussian._Job(TINY, subject, Smoother(), None, ignore, lambda *_: None, {})  # type: ignore[arg-type]
    first = dreamgaussian._start(job, torch.Generator().manual_seed(0))
    assert len(first) == TINY.points
    low, high = shape.mesh.bounds
    assert torch.allclose(first.means.amin(dim=0), low, atol=0.06)
    assert torch.allclose(first.means.amax(dim=0), high, atol=0.06)
    assert float(first.sh.std()) > 0
    ball = replace(job, config=replace(TINY, start="ball"))
    assert float(dreamgaussian._start(ball, torch.Generator().manual_seed(0)).sh.std()) == 0


def same(a: dreamgaussian.Result, b: dreamgaussian.Result) -> bool:
    tensors = list(zip(a.gaussians.tensors().values(), b.gaussians.tensors().values()))
    tensors += [(a.mesh.vertices, b.mesh.vertices), (a.mesh.albedo, b.mesh.albedo)]
    return all(torch.equal(x, y) for x, y in tensors)


def test_a_resumed_job_begins_with_the_same_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(dreamgaussian.PRESETS, "draft", TINY)

    def job(**options: Any) -> dreamgaussian.Result:
        return api.text_to_3d("a green bottle", preset="draft", prior=Smoother(), **options)  # type: ignore[arg-type]

    def stop_in(stage: str, step: int) -> Any:
        def on_event(event: Any) -> None:
            if isinstance(event, Step) and (event.stage, event.step) == (stage, step):
                raise KeyboardInterrupt

        return on_event

    whole = job()
    assert whole.report["shape"]["unmet"] == [] and "green bottle" in whole.report["shape"]["caption"]
    with pytest.raises(KeyboardInterrupt):
        job(checkpoint_dir=tmp_path, on_event=stop_in("gaussians", 1))
    monkeypatch.setattr(text_picture, "designs", lambda *_: pytest.fail("the shape was looked for again"))
    with pytest.raises(KeyboardInterrupt):
        job(checkpoint_dir=tmp_path, resume=True, on_event=stop_in("gaussians", 5))
    again = job(checkpoint_dir=tmp_path, resume=True)
    assert same(whole, again) and again.report["shape"] == whole.report["shape"]
    with pytest.raises(UserError, match="other settings"):
        job(checkpoint_dir=tmp_path, resume=True, shape="none")
