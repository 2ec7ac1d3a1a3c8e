"""How well a splat shows the photos of a scene."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gaussmith.accelerator import onto
from gaussmith.camera import Camera
from gaussmith.events import UserError
from gaussmith.gaussians import Gaussians
from gaussmith.metrics import psnr, ssim
from gaussmith.metrics.lpips import SMALLEST_SIDE, Lpips, load_lpips
from gaussmith.photos import View
from gaussmith.render.splat import rasterize
from gaussmith.train.pictures import Target, target

MOST_VIEWS = 64  # of the training views, evenly chosen: they only tell how far the held-out ones lie behind


def picture(gaussians: Gaussians, camera: Camera, background: Tensor, antialiased: bool) -> Tensor:
    """[H,W,3] the splat from one camera over a background colour [3], in [0,1], on the CPU."""
    return _drawn(gaussians, camera, background, antialiased).cpu()


@torch.no_grad()
def _drawn(gaussians: Gaussians, camera: Camera, background: Tensor, antialiased: bool) -> Tensor:
    seen = rasterize(gaussians, camera, background, geometry=False, antialiased=antialiased)
    return seen.rgb[0].clamp(0, 1)


def ground(photo: View | Target) -> Tensor:
    """[3] the background that a photo is compared and shown over: white behind an alpha, else black."""
    return torch.zeros(3) if photo.alpha is None else torch.ones(3)


def figures(gaussians: Gaussians, views: Sequence[View], antialiased: bool, lpips: Lpips | None) -> dict[str, Any]:
    """Mean PSNR (dB), SSIM and, with `lpips`, LPIPS of whole pictures over the views, and those of each by name."""
    each = {view.name: _figures(gaussians, view, antialiased, lpips) for view in views}
    if not each:
        return {"views": 0}
    mean = {
        name: round(sum(row[name] for row in each.values()) / len(each), 4)
        for name in ("psnr", "ssim", "lpips")
        if all(name in row for row in each.values())
    }
    return {"views": len(each), **mean, "each": each}


def _figures(gaussians: Gaussians, view: View, antialiased: bool, lpips: Lpips | None) -> dict[str, float]:
    photo = target(view, device=gaussians.means.device)
    behind = onto(ground(photo), gaussians.means.device)
    truth, seen = photo.over(behind), _drawn(gaussians, photo.camera, behind, antialiased)[None]
    # 8 bits a channel, as the photos have: equal pictures would otherwise have an infinite PSNR.
    found = {"psnr": min(float(psnr(seen, truth)), 99.0), "ssim": float(ssim(seen, truth))}
    if lpips is not None and min(truth.shape[1:3]) >= SMALLEST_SIDE:
        found["lpips"] = float(lpips(seen.cpu(), truth.cpu()))
    return {name: round(value, 4) for name, value in found.items()}


def some(views: Sequence[View], most: int = MOST_VIEWS) -> list[View]:
    """At most `most` of the views, evenly chosen."""
    if len(views) <= most:
        return list(views)
    return [views[i * len(views) // most] for i in range(most)]


def installed_lpips() -> Lpips | None:
    """LPIPS with its weights if they are installed."""
    try:
        return load_lpips()
    except UserError:
        return None
