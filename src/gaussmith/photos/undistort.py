"""From a distorted photo to the picture that a pinhole camera in its place would have taken.

The pinhole camera sees a rectangle of rays that lies wholly inside what the photo shows, so no pixel of it is made up.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from gaussmith.capture import Lens
from gaussmith.events import UserError
from gaussmith.lens import is_pinhole, pinhole_matrix, project

# Half the widest field of view of a pinhole picture, degrees: beyond it corners are stretched more than fourfold.
WIDEST_HALF_ANGLE = 60.0
_STEPS, _BORDER = 2048, 64  # how finely the rectangle is grown (less than a pixel), and its sides looked at


@lru_cache(maxsize=64)
def pinhole_of(lens: Lens) -> Lens:
    """The PINHOLE lens of the largest picture of the lens's proportions that the photo covers.

    Around the optical axis it has the photo's pixels an angle, unless it had more pixels than the photo then. A lens
    that does not distort gives back itself.

    Raises:
        UserError: the lens pictures nothing around its axis.
    """
    fx, fy, cx, cy = (float(v) for v in pinhole_matrix(lens)[[0, 1, 0, 1], [0, 1, 2, 2]])
    if is_pinhole(lens):
        return Lens("PINHOLE", (fx, fy, cx, cy), lens.width, lens.height)
    left, top, right, bottom = (-cx / fx, -cy / fy, (lens.width - cx) / fx, (lens.height - cy) / fy)
    share = _covered(lens, _rectangle(left, top, right, bottom))
    around = torch.tensor([[-1e-4, -1e-4], [1e-4, 1e-4]], dtype=torch.float64)
    focal_x, focal_y = ((project(lens, around)[1] - project(lens, around)[0]) / 2e-4).tolist()
    width, height = share * (right - left) * focal_x, share * (bottom - top) * focal_y
    if not (share > 0 and width >= 1 and height >= 1):
        raise UserError(
            f"the camera {lens.model} {[float(f'{p:.5g}') for p in lens.params]} pictures nothing around its axis; "
            "calibrate it again, or undistort the photos first"
        )
    shrink = min(1.0, lens.width / width, lens.height / height)
    columns, rows = max(1, math.floor(width * shrink + 1e-9)), max(1, math.floor(height * shrink + 1e-9))
    focal_x, focal_y = focal_x * shrink, focal_y * shrink
    # What is less than a pixel too much goes off both sides.
    center_x = -share * left * focal_x - (width * shrink - columns) / 2
    center_y = -share * top * focal_y - (height * shrink - rows) / 2
    return Lens("PINHOLE", (focal_x, focal_y, center_x, center_y), columns, rows)


def undistort(picture: Tensor, lens: Lens, target: Lens, samples: int = 1) -> Tensor:
    """The picture [H,W,C] float32 of `lens` as `target`, a PINHOLE lens, would have taken it: [H',W',C].

    Every pixel is the mean of samples x samples places in it, read with bicubic interpolation (one sample), which may
    overshoot the picture's range at edges, or linear.
    """
    if (lens.width, lens.height) != (picture.shape[1], picture.shape[0]):
        raise ValueError(f"the lens is for {lens.width}x{lens.height} pixels, the picture is {tuple(picture.shape)}")
    planes = picture.permute(2, 0, 1)[None]
    mode = "bicubic" if samples == 1 else "bilinear"
    out = torch.nn.functional.grid_sample(
        planes, _places(lens, target, samples)[None], mode=mode, padding_mode="border", align_corners=False
    )
    if samples > 1:
        out = torch.nn.functional.avg_pool2d(out, samples)
    return out[0].permute(1, 2, 0).contiguous()


@lru_cache(maxsize=1)  # most photos of a scene share one lens
def _places(lens: Lens, target: Lens, samples: int) -> Tensor:
    """[H',W',2] float32 where each pixel's samples lie in the photo, in grid_sample's units (-1 to 1)."""
    fx, fy, cx, cy = target.params
    across = ((torch.arange(target.width * samples, dtype=torch.float64) + 0.5) / samples - cx) / fx
    down = ((torch.arange(target.height * samples, dtype=torch.float64) + 0.5) / samples - cy) / fy
    frame = torch.tensor([lens.width, lens.height], dtype=torch.float64)
    out = torch.empty(len(down), len(across), 2)
    for i in range(0, len(down), 256):  # in bands: a large picture's rays in float64 would take gigabytes
        y, x = torch.meshgrid(down[i : i + 256], across, indexing="ij")
        out[i : i + 256] = (2 * project(lens, torch.stack([x, y], dim=-1)) / frame - 1).float()
    return out


def _rectangle(left: float, top: float, right: float, bottom: float) -> Tensor:
    """[4 _BORDER,2] points along the border, corners included."""
    t = torch.linspace(0, 1, _BORDER, dtype=torch.float64)
    x, y = left + (right - left) * t, top + (bottom - top) * t
    ones = torch.ones_like(t)
    sides = [(x, top * ones), (x, bottom * ones), (left * ones, y), (right * ones, y)]
    return torch.cat([torch.stack(side, dim=-1) for side in sides])


def _covered(lens: Lens, border: Tensor) -> float:
    """The largest share of the rectangle with this border [B,2] (rays) that the photo covers, 0 if it covers none.

    Grown from the axis outwards, up to the first place that lies outside or where the model folds back.
    """
    most = math.tan(math.radians(WIDEST_HALF_ANGLE)) / float(border.abs().max())
    shares = torch.linspace(0, most, _STEPS + 1, dtype=torch.float64)
    pixels = project(lens, shares[:, None, None] * border)
    size = torch.tensor([lens.width, lens.height], dtype=torch.float64)
    good = (pixels.isfinite() & (pixels >= 0) & (pixels <= size)).all(dim=-1)
    radius = (pixels - pixels[:1]).norm(dim=-1)
    good[1:] &= radius[1:] > radius[:-1]
    through = good.all(dim=1).long().cumprod(dim=0)
    return float(shares[int(through.sum()) - 1]) if int(through.sum()) > 0 else 0.0
