"""The photos of a scene as a training step wants them: one view, at one size, over one background."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from gaussmith.accelerator import onto
from gaussmith.camera import Camera
from gaussmith.photos import View

SMALLEST_SIDE = 11  # pixels: the window of SSIM


@dataclass(frozen=True)
class Target:
    """What a camera saw.

    Attributes:
        camera: one camera.
        rgb: [1,H,W,3] float32, premultiplied where there is an alpha.
        alpha: [1,H,W,1] float32, or None where every pixel belongs to the scene.
    """

    camera: Camera
    rgb: Tensor
    alpha: Tensor | None

    def over(self, background: Tensor) -> Tensor:
        """[1,H,W,3] the photo over a background colour [3]; the photo itself where it has no alpha."""
        return self.rgb if self.alpha is None else self.rgb + (1 - self.alpha) * background


def target(view: View, factor: int = 1, device: torch.device | str = "cpu") -> Target:
    """The view with both sides divided by `factor` (rounded down: a rest at the right and below is cut off), averaged
    over factor x factor pixels, premultiplied."""
    pixels = onto(view.rgb, device).float().div_(255)[None]
    alpha = None if view.alpha is None else onto(view.alpha, device).float().div_(255)[None, ..., None]
    rgba = pixels if alpha is None else torch.cat([pixels * alpha, alpha], dim=-1)
    camera = view.camera
    if factor > 1:
        rgba = F.avg_pool2d(rgba.permute(0, 3, 1, 2), factor).permute(0, 2, 3, 1).contiguous()
        scale = camera.K.new_tensor([[1 / factor], [1 / factor], [1.0]])
        camera = replace(camera, K=camera.K * scale, width=rgba.shape[2], height=rgba.shape[1])
    return Target(camera, rgba[..., :3], None if alpha is None else rgba[..., 3:])


def pinned(view: View, device: torch.device) -> View:
    """The view, whose pixels lie ready for `device` to fetch: in pinned memory of the machine, 3 or 4 bytes a pixel, so
    that the photos take none of the GPU's."""
    if device.type != "cuda":
        return view
    return replace(view, rgb=view.rgb.pin_memory(), alpha=None if view.alpha is None else view.alpha.pin_memory())


def allowed(view: View, factor: int) -> int:
    """The largest power of two up to `factor` that leaves the view's sides at least twice SSIM's window."""
    while factor > 1 and min(view.camera.width, view.camera.height) // factor < 2 * SMALLEST_SIDE:
        factor //= 2
    return factor


def background(view: View, generator: torch.Generator) -> Tensor:
    """[3] what a training step puts behind the view: a random colour where it has an alpha, so that nothing but a true
    hole or a true surface fits, and black where all of the photo belongs to the scene."""
    return torch.zeros(3) if view.alpha is None else torch.rand(3, generator=generator)


def held_out(views: Sequence[View], every: int) -> tuple[list[View], list[View]]:
    """(training views, held-out views): every `every`-th, from the first, is held out (the usual protocol); none if
    `every` is below 2 or there are fewer views than that."""
    if every < 2 or len(views) < every:
        return list(views), []
    return [v for i, v in enumerate(views) if i % every], [v for i, v in enumerate(views) if i % every == 0]


def shown_pixels(views: Sequence[View]) -> int:
    """How many pixels of the views show the scene: all of them, or those with an alpha above 0."""
    return sum(v.rgb[..., 0].numel() if v.alpha is None else int((v.alpha > 0).sum()) for v in views)
