"""Colours that no picture shows, drawn to those that the pictures show at their height.

Where no picture looks, the texture has what a prior expects: the mean of all that may be there. Between yellow and blue
that is green, and the border of a stripe is a smear. But things have few colours, and those of the unseen side are
mostly those of the seen one at the same height. So each colour goes to where the pictures' colours near it lie: a step
of mean shift (Comaniciu and Meer 2002, section 2.1), over colour and height together.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from gaussmith.camera import Camera
from gaussmith.mesh import Mesh
from gaussmith.render.mesh import interpolate, rasterize_mesh

# None of these is from a paper.
MOST = 256  # samples of a picture
SOLID = 0.98  # alpha from which a pixel is the object's own colour
EVEN = 0.05  # range of the colours around a pixel up to which it lies on no border, where two are mixed
REACH = 0.03  # standard deviation of the window in height, world units
FAR = 0.4  # distance from all of the pictures' colours at which a colour stays as it is: it has nothing to do with them
_CHUNK = 1 << 15


def samples(mesh: Mesh, camera: Camera, picture: Tensor) -> tuple[Tensor, Tensor]:
    """Colours [N,3] that a picture [H,W,4], premultiplied, shows of the mesh, and their heights [N] in world units: of
    its solid pixels but for the half on the sharpest borders, every so many, so that N is up to `MOST`."""
    fragments = rasterize_mesh(mesh.vertices, mesh.faces, camera)
    height = interpolate(mesh.vertices, mesh.faces, fragments)[0, ..., 1]
    planes = picture.permute(2, 0, 1)[None]
    uneven = (F.max_pool2d(planes, 3, 1, 1) + F.max_pool2d(-planes, 3, 1, 1))[0].amax(dim=0)
    taken = (picture[..., 3] > SOLID) & (fragments.face[0] >= 0)
    if taken.any():
        taken &= uneven <= uneven[taken].median().clamp_min(EVEN)
    rgba, height = picture[taken], height[taken]
    step = max(1, math.ceil(len(rgba) / MOST))
    return rgba[::step, :3] / rgba[::step, 3:], height[::step]


def drawn_to(colors: Tensor, heights: Tensor, shown: tuple[Tensor, Tensor], width: float) -> Tensor:
    """Colours [M,3] at heights [M], each moved to the mean of what is shown around it.

    Args:
        shown: colours [N,3] and heights [N], see `samples`; N at least one.
        width: standard deviation of the window in colour, in [0,1].
    """
    palette, levels = shown
    moved = []
    for color, height in zip(colors.split(_CHUNK), heights.split(_CHUNK)):
        level = (height[:, None] - levels).square() / (-2 * REACH**2)
        near = torch.cdist(color, palette).square() / (-2 * width**2)
        stay = level.logsumexp(dim=1, keepdim=True) - FAR**2 / (2 * width**2)
        weight = torch.softmax(torch.cat([near + level, stay], dim=1), dim=1)
        moved.append(weight[:, :-1] @ palette + weight[:, -1:] * color)
    return torch.cat(moved) if moved else colors
