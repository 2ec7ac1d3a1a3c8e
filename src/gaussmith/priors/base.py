"""What a recipe asks of a diffusion prior.

A prior knows pictures, cameras and text; never Gaussians. Every prior speaks of RGBA pictures of one frame: a square
camera of `PRIOR_FOVY` at the default radius, looking at the origin. Recipes render or crop to that frame and nothing
else; an adapter whose network wants another frame converts inside.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from gaussmith.camera import DEFAULT_FOVY, PRIOR_FOVY
from gaussmith.events import OnEvent, ignore

if TYPE_CHECKING:
    from gaussmith.diffusion.guidance import Predictions
    from gaussmith.diffusion.prompts import Prompts
    from gaussmith.diffusion.schedule import Schedule
    from gaussmith.views import OrbitView


class Prior(Protocol):
    """A pose-conditioned diffusion model over pictures of one object.

    Attributes:
        name: what reports call it.
        size: side in pixels of the pictures that it looks at.
        schedule: its noise levels; times t run from 0 (clean) to 1 (noise).
        guidance_scale: its default classifier-free-guidance scale, in the convention null + s (cond - null).
        device: where its tensors live.
        sees_alpha: whether it noises RGBA; else pictures reach it opaque, on a background.
        bounded: whether what it noises lies in [-1,1] (pixels, not latents), so that x0 may be clipped there.
        group: how many views it denoises together: 1, or 4 a quarter turn apart (`views.four_view_ring`).
        from_reference: whether its azimuths count from where the reference was taken, if there is one; else from the
            object's front, as words do.
        told_in_words: whether it knows a view by its words alone ("overhead view"), not by the camera's angles.
    """

    name: str
    size: int
    schedule: Schedule
    guidance_scale: float
    device: torch.device
    sees_alpha: bool
    bounded: bool
    group: int
    from_reference: bool
    told_in_words: bool

    def condition(
        self, reference: Tensor, elevation: float, prompts: Prompts | None = None, on_event: OnEvent = ignore
    ) -> Any:
        """Digest the reference picture [4,H,W] (premultiplied RGBA in [0,1], prior frame, degrees) once a job; words
        too, if it reads any. What it cannot use it tells `on_event`."""
        ...

    def encode(self, pictures: Tensor, background: float = 1.0) -> Tensor:
        """Premultiplied RGBA pictures [B,4,H,W] in [0,1], prior frame -> what is noised [B,C,h,w]; differentiable.

        A prior that sees no alpha lays them over the grey level `background`, frame and all.
        """
        ...

    def decode(self, clean: Tensor) -> Tensor:
        """The inverse of `encode`: [B,C,h,w] -> premultiplied RGBA [B,4,size,size] in [0,1]."""
        ...

    def predict(self, noisy: Tensor, t: Tensor, views: OrbitView, condition: Any, guidance_scale: float) -> Tensor:
        """The guided clean-picture (x0) prediction [B,C,h,w] for noisy [B,C,h,w] at times t [B] on the CPU, seen from
        `views`."""
        ...

    def release(self) -> None:
        """Called when a job ends: let go what it needed beside the denoiser, and what it trained."""
        ...


class EpsPrior(Prior, Protocol):
    """A prior that also shows the parts of its prediction, which every score distillation but plain SDS needs."""

    def eps(self, noisy: Tensor, t: Tensor, views: OrbitView, condition: Any) -> Predictions:
        """The noise predictions by condition, unguided, without gradient.

        Args:
            noisy: [B,C,h,w], in the space of `encode`. t: [B] in (0,1], on the CPU as the views are, so that a loop
                never waits for a GPU. views: B of them.
            condition: what the adapter's own `condition` or `text_condition` returned.

        Returns:
            `Predictions` of [B,C,h,w] eps in the type of noisy, converted inside from v or x0; `negatives` only where
            the condition asks for Perp-Neg. `predict` is the x0 that `guidance.guide` of these implies.
        """
        ...


class Trainable(Protocol):
    """A small network (a LoRA) trained beside a frozen prior: the variational score of VSD, the expert of BSD."""

    def variational_eps(self, noisy: Tensor, t: Tensor, views: OrbitView, condition: Any, null: bool = False) -> Tensor:
        """The eps [B,C,h,w] of the prior with the trained part in it, camera-conditioned, differentiable with respect
        to `parameters()`; for the null text in place of the condition's if `null`. Arguments as in `EpsPrior.eps`."""
        ...

    def parameters(self) -> dict[str, Tensor]:
        """The trained tensors themselves by name: leaves with requires_grad, moved in place, always the same names."""
        ...


def crop_to_prior(picture: Tensor, fovy: float = DEFAULT_FOVY) -> Tensor:
    """Cut the prior's frame out of a picture taken at the default radius: the one place of this conversion.

    Both frames share the centre of projection, so the change of field of view is an exact zoom about the centre.

    Args:
        picture: [C,H,W] square picture with vertical field of view `fovy` >= PRIOR_FOVY, degrees; premultiplied.

    Returns:
        [C,h,h] with h = H tan(18 deg)/tan(fovy/2), rounded; resampled by area so that the frame is exact.
    """
    side = picture.shape[-1]
    share = math.tan(math.radians(PRIOR_FOVY) / 2) / math.tan(math.radians(fovy) / 2)
    out = max(1, round(side * share))
    centres = ((torch.arange(out, dtype=picture.dtype, device=picture.device) + 0.5) / out * 2 - 1) * share
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    grid = torch.stack([x, y], dim=-1)[None]
    return torch.nn.functional.grid_sample(picture[None], grid, align_corners=False, padding_mode="zeros")[0]


def place_in_frame(picture: Tensor, fovy: float = DEFAULT_FOVY, size: int = 512) -> Tensor:
    """The inverse of `crop_to_prior`: a picture [C,h,h] of the prior's frame in the middle of a frame [C,size,size] of
    vertical field of view `fovy`, bicubic, zero around; premultiplied, clamped to [0,1]."""
    share = math.tan(math.radians(PRIOR_FOVY) / 2) / math.tan(math.radians(fovy) / 2)
    centres = ((torch.arange(size, dtype=picture.dtype, device=picture.device) + 0.5) / size * 2 - 1) / share
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    grid = torch.stack([x, y], dim=-1)[None]
    placed = torch.nn.functional.grid_sample(
        picture[None], grid, mode="bicubic", align_corners=False, padding_mode="zeros"
    )
    return placed[0].clamp(0, 1)
