"""How good views of an object are that nobody gave: figures a view, by the turn from the reference, and doubled faces.

Pictures are premultiplied RGBA [B,H,W,4] in [0,1], guess and truth from the same cameras.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from gaussmith.metrics.pictures import composite, iou, psnr, ssim, ssim_map
from gaussmith.views import OrbitView

# Degrees of turn from the reference: what it shows well, its rim, and (two) what it does not show.
OFFSET_EDGES = (0.0, 30.0, 60.0, 90.0, 135.0, 180.0)


@dataclass(frozen=True)
class ViewFigures:
    """Figures of B views: psnr (dB) and ssim on white, iou of alpha; each [B]."""

    psnr: Tensor
    ssim: Tensor
    iou: Tensor


def compare_views(guess: Tensor, truth: Tensor) -> ViewFigures:
    """Figures of each view of at least 11x11 pixels. Equal views have an infinite PSNR."""
    a, b = on_white(guess), on_white(truth)
    return ViewFigures(
        psnr=torch.stack([psnr(x, y) for x, y in zip(a, b)]),
        ssim=torch.stack([ssim(x, y) for x, y in zip(a, b)]),
        iou=torch.stack([iou(x[..., 3:], y[..., 3:]) for x, y in zip(guess, truth)]),
    )


def on_white(rgba: Tensor) -> Tensor:
    """[...,3] of premultiplied [...,4]."""
    return composite(rgba[..., :3], rgba[..., 3:])


@dataclass(frozen=True)
class OffsetBin:
    """The `count` views that are turned by low..high degrees, and the mean of their values (NaN if there is none)."""

    low: float
    high: float
    count: int
    mean: float

    @property
    def label(self) -> str:
        return f"{self.low:g}-{self.high:g}°"


def by_offset(offsets: Tensor, values: Tensor, edges: Sequence[float] = OFFSET_EDGES) -> list[OffsetBin]:
    """Means of values [N] by the azimuth offsets [N] from the reference (degrees, any turn and sign).

    Edges rise; a view on an inner edge belongs to the bin above it, one on the last edge to the last bin.
    """
    turn = ((offsets + 180) % 360 - 180).abs()
    index = torch.bucketize(turn, torch.tensor(list(edges[1:-1]), dtype=turn.dtype), right=True)
    inside = (turn >= edges[0]) & (turn <= edges[-1])
    bins = []
    for i, (low, high) in enumerate(pairwise(edges)):
        chosen = values[inside & (index == i)]
        bins.append(OffsetBin(low, high, len(chosen), float(chosen.mean()) if len(chosen) else math.nan))
    return bins


def opposite_views(spread: float = 30.0, elevation: float = 0.0, size: int = 128) -> tuple[OrbitView, OrbitView]:
    """Three views around the front (azimuths -spread, 0, spread) and those straight behind each: for `janus_score`.

    At elevation 0 opposite silhouettes are alike (mirrored, but for perspective): what is drawn on them decides.
    """
    front = torch.tensor([-spread, 0.0, spread])
    height = torch.full_like(front, elevation)
    return OrbitView(front, height, size=size), OrbitView((front + 360) % 360 - 180, height, size=size)


def janus_score(front: Tensor, back: Tensor, true_front: Tensor, true_back: Tensor) -> Tensor:
    """How much more an object's back looks like its front than the true object's does: the mark of a doubled face.

    Likeness of front and back: mean SSIM (on white) over the pixels that either covers, for each front view with the
    back view that would equal it if the front were there a second time. There are two ways, and the likelier counts: a
    front turned to the back (a camera-blind prior's doing) is seen again half a turn on; a front that shines through,
    or is drawn on both sides of a thin shape, is seen mirrored and as far to the other side.

    Args:
        front, back: [B,H,W,4] the object in views as of `opposite_views`: azimuths a, in pairs about 0, and a + 180.
        true_front, true_back: [B,H,W,4] the true object in the same views.

    Returns:
        Scalar in [-2,2], the difference of likeness: 0 if the back is as like the front as the truth's, above 0 if
        doubled (at most 1 minus the truth's likeness), below 0 if front and back differ more than the truth's. Small
        by nature where the truth's own back is like its front.
    """
    return _likeness(front, back) - _likeness(true_front, true_back)


def _likeness(front: Tensor, back: Tensor) -> Tensor:
    """Scalar in [-1,1], see `janus_score`; 1 where all is empty."""
    turned, mirrored = back, back.flip(0).flip(2)
    return torch.maximum(_object_ssim(front, turned).mean(), _object_ssim(front, mirrored).mean())


def _object_ssim(a: Tensor, b: Tensor) -> Tensor:
    similarity = ssim_map(on_white(a), on_white(b)).mean(dim=-1)
    margin = (a.shape[1] - similarity.shape[1]) // 2
    weight = torch.maximum(a[..., 3], b[..., 3])[:, margin:-margin, margin:-margin]
    total = weight.sum(dim=(1, 2))
    return torch.where(total > 0, (similarity * weight).sum(dim=(1, 2)) / total.clamp_min(1e-6), 1.0)
