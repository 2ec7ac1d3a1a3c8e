"""Words become a picture: several are drawn by diffusion from pure noise, and the one that the words fit best is kept.

draw     DDIM from t = 1 to 0 with classifier-free guidance, all candidates at once
judge    how much better the words explain each candidate than no words do: the gap between the errors of the
         unconditional and the conditional prediction, at a few noise times (a diffusion classifier: Li et al. 2023)
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gaussmith.accelerator import enough_memory
from gaussmith.camera import DEFAULT_FOVY, PRIOR_FOVY
from gaussmith.diffusion.guidance import PICTURE_SCALE
from gaussmith.diffusion.prompts import Prompts
from gaussmith.diffusion.schedule import add_noise, ddim, even_times
from gaussmith.events import OnEvent, StageFinished, StageStarted, Step, UserError, Warned, ignore
from gaussmith.picture import Prepared, prepare
from gaussmith.priors.base import EpsPrior, place_in_frame
from gaussmith.train import checkpoint
from gaussmith.train.subject import KnownView, Subject
from gaussmith.views import OrbitView

JUDGE_TIMES = (0.5, 0.65, 0.8)  # noise at which the kind of thing, not its texture, is what is unsure


@dataclass(frozen=True)
class Config:
    """Numbers of the drawing; none is from a paper.

    Attributes:
        candidates: pictures drawn. steps: of DDIM. guidance_scale: None for the prior's own, up to `PICTURE_SCALE`.
        azimuth, elevation: from where, degrees: a view that shows front, side and top tells most about a shape.
    """

    seed: int = 0
    candidates: int = 8
    steps: int = 30
    guidance_scale: float | None = None
    azimuth: float = 30.0
    elevation: float = 15.0


def run(config: Config, prompts: Prompts, prior: EpsPrior, on_event: OnEvent = ignore) -> tuple[Tensor, Tensor]:
    """Draw the candidates.

    Returns:
        [N,4,s,s] premultiplied RGBA in [0,1] in the prior's frame, the best first (opaque if the prior sees no alpha),
        and the evidence [N] of each.

    Raises:
        UserError: the prior cannot draw from words.
    """
    if not hasattr(prior, "text_condition") or prior.group != 1:
        raise UserError(f"the prior {prior.name} cannot draw a picture from words; choose another picture prior")
    started = time.monotonic()
    on_event(StageStarted("picture", config.steps))
    condition = prior.text_condition(prompts, on_event=on_event)
    generator = torch.Generator().manual_seed(config.seed)
    count = config.candidates
    views = OrbitView(
        torch.full((count,), config.azimuth), torch.full((count,), config.elevation), fovy=PRIOR_FOVY, size=prior.size
    )
    scale = min(prior.guidance_scale, PICTURE_SCALE) if config.guidance_scale is None else config.guidance_scale
    done = 0

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        nonlocal done
        clean = prior.predict(x, t, views, condition, scale)
        done += 1
        on_event(Step("picture", done))
        return clean

    shape = prior.encode(torch.zeros(1, 4, prior.size, prior.size, device=prior.device)).shape[1:]
    noise = torch.randn((count, *shape), generator=generator).to(prior.device)
    with torch.no_grad():
        clean = ddim(denoise, noise, even_times(1.0, config.steps), prior.schedule)
        evidence = _evidence(prior, clean, views, condition, generator)
        order = evidence.argsort(descending=True)
        pictures = prior.decode(clean)[order]
    prior.release()
    if pictures.shape[1] == 3:
        pictures = torch.cat([pictures, torch.ones_like(pictures[:, :1])], dim=1)
    on_event(StageFinished("picture", time.monotonic() - started))
    return pictures.cpu(), evidence[order].cpu()


def draw(
    config: Config,
    prompts: Prompts,
    prior: EpsPrior,
    on_event: OnEvent = ignore,
    keep: Path | None = None,
    resume: bool = False,
) -> Subject:
    """The words and the best picture of them, cut out: what a view-conditioned prior makes three-dimensional.

    Args:
        keep: folder where the picture stays for a run that resumes: drawn again elsewhere, or by an accelerator, it may
            differ in its last bits. resume: take it from there.

    Raises:
        UserError: the prior cannot draw, or drew nothing that can be cut out.
    """
    path = None if keep is None else keep / "picture.safetensors"
    settings = {"config": asdict(config), "prompts": asdict(prompts), "prior": prior.name}
    if resume and path is not None and path.is_file():
        picture = checkpoint.load(path, config=settings).tensors["picture"]
    else:
        # What is to be cut out should stand on one colour; a prior that sees alpha draws no background at all.
        text = prompts.text if prior.sees_alpha else f"{prompts.text.strip()}, on a plain white background"
        with enough_memory(f"with the prior {prior.name}", "choose a smaller --picture-prior, or set --max-memory"):
            picture = run(config, replace(prompts, text=text), prior, on_event)[0][0]
        if path is not None:
            checkpoint.save(path, {"picture": picture}, {}, config=settings)
    prepared = as_prepared(picture) if prior.sees_alpha else _cut_out(picture, prompts, prior)
    for warning in prepared.warnings:
        on_event(Warned(warning))
    return Subject((KnownView(prepared, config.azimuth, config.elevation),), prompts)


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
