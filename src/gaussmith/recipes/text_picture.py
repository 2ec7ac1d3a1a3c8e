"""Words become a picture: of several candidates, the one that the words fit best is kept.

shape    made things that the words name (`synth.lookup`), for a prior that learned from such things: their renders are
         the candidates
draw     where there are none, DDIM from pure noise with classifier-free guidance, all candidates at once
judge    how much better the words explain each candidate than no words do: the gap between the errors of the
         unconditional and the conditional prediction, at a few noise times (a diffusion classifier: Li et al. 2023)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from gaussmith.accelerator import enough_memory
from gaussmith.camera import DEFAULT_FOVY, PRIOR_FOVY
from gaussmith.diffusion.guidance import PICTURE_SCALE
from gaussmith.diffusion.prompts import Prompts
from gaussmith.diffusion.schedule import add_noise, ddim, even_times
from gaussmith.events import OnEvent, Step, UserError, Warned, ignore, timed
from gaussmith.mesh import Mesh
from gaussmith.picture import Prepared, prepare
from gaussmith.priors.base import EpsPrior, place_in_frame
from gaussmith.synth.lookup import Found, designs
from gaussmith.synth.views import render_views
from gaussmith.train import checkpoint
from gaussmith.train.subject import KnownView, Subject
from gaussmith.views import OrbitView

ShapeName = Literal["made", "none"]
RENDERED = 384  # side of a made thing's own pictures: what a frame of 512 pixels has of them
JUDGE_TIMES = (0.5, 0.65, 0.8)  # noise at which the kind of thing, not its texture, is what is unsure


@dataclass(frozen=True)
class Config:
    """Numbers of the drawing; none is from a paper.

    Attributes:
        candidates: pictures drawn. steps: of DDIM. guidance_scale: None for the prior's own, up to `PICTURE_SCALE`.
        azimuth, elevation: from where, degrees: a view that shows front, side and top tells most about a shape.
        shape: begin with a "made" thing where the words name one and the prior learned from such things, or with
            "none". designs: made things to choose among. (Drawn anew from their noised renders, as in SDEdit, they only
            got blotches from the present weights.)
        sides: pictures of a made thing, evenly around it, the others at `side_elevations` in turn. From one alone the
            prior takes the unseen sides for its own: a roof that the picture ends at is lost behind.
    """

    seed: int = 0
    candidates: int = 8
    steps: int = 30
    guidance_scale: float | None = None
    azimuth: float = 30.0
    elevation: float = 15.0
    shape: ShapeName = "made"
    designs: int = 4
    sides: int = 4
    side_elevations: tuple[float, ...] = (40.0, 15.0)


def run(config: Config, prompts: Prompts, prior: EpsPrior, on_event: OnEvent = ignore) -> tuple[Tensor, Tensor]:
    """Draw the candidates from noise.

    Returns:
        [N,4,s,s] premultiplied RGBA in [0,1] in the prior's frame, the best first (opaque if the prior sees no alpha),
        and the evidence [N] of each.

    Raises:
        UserError: the prior cannot draw from words.
    """
    if not hasattr(prior, "text_condition") or prior.group != 1:
        raise UserError(f"the prior {prior.name} cannot draw a picture from words; choose another picture prior")
    condition = prior.text_condition(prompts, on_event=on_event)
    generator = torch.Generator().manual_seed(config.seed)
    views = _views([(config.azimuth, config.elevation)] * config.candidates, prior.size)
    scale = min(prior.guidance_scale, PICTURE_SCALE) if config.guidance_scale is None else config.guidance_scale
    done = 0

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        nonlocal done
        clean = prior.predict(x, t, views, condition, scale)
        done += 1
        on_event(Step("picture", done))
        return clean

    with torch.no_grad():
        with timed(on_event, "picture", config.steps):
            shape = prior.encode(torch.zeros(1, 4, prior.size, prior.size, device=prior.device)).shape[1:]
            noise = torch.randn((len(views), *shape), generator=generator).to(prior.device)
            times = even_times(1.0, config.steps, getattr(prior, "least_time", 0.0))
            clean = ddim(denoise, noise, times, prior.schedule)
        evidence = _evidence(prior, clean, views, condition, generator)
        order = evidence.argsort(descending=True)
        pictures = prior.decode(clean)[order]
    prior.release()
    if pictures.shape[1] == 3:
        pictures = torch.cat([pictures, torch.ones_like(pictures[:, :1])], dim=1)
    return pictures.cpu(), evidence[order].cpu()


def side_angles(config: Config) -> list[tuple[float, float]]:
    """Azimuth in [-180, 180) and elevation of each picture of a made thing, degrees."""
    angles = [(config.azimuth, config.elevation)]
    for i in range(1, config.sides):
        azimuth = (config.azimuth + 360 * i / config.sides + 180) % 360 - 180
        angles.append((azimuth, config.side_elevations[(i - 1) % len(config.side_elevations)]))
    return angles


def _views(angles: list[tuple[float, float]], size: int) -> OrbitView:
    azimuths, elevations = zip(*angles)
    return OrbitView(torch.tensor(azimuths), torch.tensor(elevations), fovy=PRIOR_FOVY, size=size)


def _seen(shape: Found, views: OrbitView) -> Tensor:
    """[V,4,s,s] a made thing from these views, premultiplied RGBA in [0,1]."""
    rgba = render_views(shape.mesh, views.azimuth.numpy(), views.elevation.numpy(), views.size)
    return torch.from_numpy(rgba).permute(0, 3, 1, 2).float() / 255


def draw(
    config: Config,
    prompts: Prompts,
    prior: EpsPrior,
    on_event: OnEvent = ignore,
    keep: Path | None = None,
    resume: bool = False,
) -> Subject:
    """The words and the best picture of them, cut out: what a view-conditioned prior makes three-dimensional. Of a made
    thing, the pictures of its other sides and its shape too.

    Args:
        keep: folder where the pictures stay for a run that resumes: drawn again elsewhere, or by an accelerator, they
            may differ in their last bits. resume: take them from there.

    Raises:
        UserError: the prior cannot draw, or drew nothing that can be cut out.
    """
    path = None if keep is None else keep / "picture.safetensors"
    settings = {"config": asdict(config), "prompts": asdict(prompts), "prior": prior.name}
    if resume and path is not None and path.is_file():
        saved = checkpoint.load(path, config=settings)
        pictures, shape = saved.tensors["pictures"], _unpacked(saved)
    else:
        # What is to be cut out should stand on one colour; a prior that sees alpha draws no background at all.
        text = prompts.text if prior.sees_alpha else f"{prompts.text.strip()}, on a plain white background"
        with enough_memory(f"with the prior {prior.name}", "choose a smaller --picture-prior, or set --max-memory"):
            pictures, shape = _drawn(config, replace(prompts, text=text), prior, on_event)
        if path is not None:
            tensors, meta = _packed(shape)
            checkpoint.save(path, {"pictures": pictures, **tensors}, meta, config=settings)
    views = []
    for picture, angles in zip(pictures, side_angles(config)):
        prepared = as_prepared(picture) if prior.sees_alpha else _cut_out(picture, prompts, prior)
        for warning in prepared.warnings:
            on_event(Warned(warning))
        views.append(KnownView(prepared, *angles))
    return Subject(tuple(views), prompts, shape)


def _drawn(config: Config, prompts: Prompts, prior: EpsPrior, on_event: OnEvent) -> tuple[Tensor, Found | None]:
    """The pictures [K,4,s,s] to keep, and the made thing that they show."""
    shapes = _shapes(config, prompts, prior, on_event)
    if shapes:
        return _rendered(config, prompts, prior, shapes, on_event)
    return run(config, prompts, prior, on_event)[0][:1], None


@torch.no_grad()
def _rendered(
    config: Config, prompts: Prompts, prior: EpsPrior, shapes: Sequence[Found], on_event: OnEvent
) -> tuple[Tensor, Found]:
    """Renders [sides,4,s,s] of the made thing that the words explain best, and the thing."""
    angles = side_angles(config)
    with timed(on_event, "picture"):
        condition = prior.text_condition(prompts, on_event=on_event)  # type: ignore[attr-defined]
        views = _views(angles[:1] * len(shapes), prior.size)
        clean = prior.encode(torch.cat([_seen(shape, views[:1]) for shape in shapes]).to(prior.device))
        generator = torch.Generator().manual_seed(config.seed)
        shape = shapes[int(_evidence(prior, clean, views, condition, generator).argmax())]
        pictures = _seen(shape, _views(angles, RENDERED))
    prior.release()
    return pictures, shape


def _shapes(config: Config, prompts: Prompts, prior: EpsPrior, on_event: OnEvent) -> list[Found]:
    """Made things for the words; none for a prior that did not learn from such things."""
    if config.shape == "none" or not getattr(prior, "knows_made_things", False):
        return []
    with timed(on_event, "shape"):
        found = designs(prompts.text, config.seed, min(config.designs, config.candidates))
    if not found:
        on_event(Warned(f"No made shape is called what {prompts.text.strip()[:60]!r} says; the words alone are drawn."))
    elif found[0].unmet:
        on_event(Warned(f"The made shape to begin with ({found[0].caption}) knows nothing of: {_listed(found[0])}."))
    return found


def _listed(shape: Found) -> str:
    return ", ".join(word[:30] for word in shape.unmet[:12])


def _packed(shape: Found | None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A shape as tensors and JSON values for a checkpoint."""
    if shape is None:
        return {}, {}
    assert shape.mesh.vertex_colors is not None
    mesh = {name: getattr(shape.mesh, name) for name in ("vertices", "faces", "vertex_colors")}
    return checkpoint.with_prefix("shape", mesh), {"shape": shape.report()}


def _unpacked(saved: checkpoint.Checkpoint) -> Found | None:
    told = saved.meta.get("shape")
    if told is None:
        return None
    mesh = Mesh(**checkpoint.section("shape", saved.tensors))  # type: ignore[arg-type]
    return Found(mesh, told["caption"], tuple(told["met"]), tuple(told["unmet"]))


def _cut_out(picture: Tensor, prompts: Prompts, prior: EpsPrior) -> Prepared:
    try:
        return prepare(picture[:3].permute(1, 2, 0).clamp(0, 1))
    except UserError as error:
        raise UserError(
            f"the prior {prior.name} drew nothing of {prompts.text.strip()[:60]!r} that can be told from its "
            "background; try another --seed or other words, or draw the picture elsewhere and use `gaussmith image`"
        ) from error


def _evidence(prior: EpsPrior, clean: Tensor, views: OrbitView, condition: Any, generator: torch.Generator) -> Tensor:
    """[N] mean over the times of (error without the words - error with them) / error without."""
    gaps = []
    for time_ in JUDGE_TIMES:
        noise = torch.randn(clean.shape[1:], generator=generator).to(clean).expand_as(clean)
        t = torch.full((len(clean),), time_)
        parts = prior.eps(add_noise(clean, noise, prior.schedule.level(t)), t, views, condition)
        with_words, without = ((eps - noise).square().mean(dim=(1, 2, 3)) for eps in (parts.cond, parts.null))
        gaps.append((without - with_words) / without.clamp_min(1e-12))
    return torch.stack(gaps).mean(dim=0)


def as_prepared(picture: Tensor, size: int = 512) -> Prepared:
    """A drawn picture [4,s,s] with alpha, placed in the 49.1-degree frame."""
    premultiplied = place_in_frame(picture, size=size)
    alpha = premultiplied[3:].clamp_min(1e-4)
    rgba = torch.cat([(premultiplied[:3] / alpha).clamp(0, 1), premultiplied[3:]]).permute(1, 2, 0).contiguous()
    side = picture.shape[-1]
    return Prepared(rgba, DEFAULT_FOVY, 1.0, (0.0, 0.0), (side, side), True, "alpha")
