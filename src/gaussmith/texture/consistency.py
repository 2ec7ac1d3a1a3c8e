"""Where a mirrored picture is not to be believed: where the picture itself shows that surface in another colour.

That a thing is its own mirror image is a guess, true of most things but for details: a pattern on one side, a sword in
one hand. What the picture shows of a surface, from however aslant, is no guess. As in the consistency check of stereo
(Hirschmueller 2008, section 2.4), what a pixel of one picture shows is looked up in the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gaussmith.camera import Camera
from gaussmith.mesh import Mesh
from gaussmith.render.mesh import rasterize_mesh

# None of these is from a paper.
SLACK = (
    0.01  # distance, in shares of the picture's side, at which a colour is still found: guessed shapes are off by that
)
ALIKE, UNLIKE = 0.1, 0.3  # distances of two colours up to which they agree, and from which they contradict each other
SOLID = 0.5  # alpha from which a pixel shows the object


@dataclass(frozen=True)
class Sighting:
    """Pictures of a surface.

    Attributes:
        camera: B cameras.
        picture: [B,H,W,4] of the cameras' size, premultiplied.
        depth: [B,H,W] camera z of the surface in world units, 0 where there is none.
    """

    camera: Camera
    picture: Tensor
    depth: Tensor

    def __getitem__(self, index: slice) -> Sighting:
        return Sighting(self.camera[index], self.picture[index], self.depth[index])


def sighting(mesh: Mesh, camera: Camera, picture: Tensor) -> Sighting:
    """Pictures [B,H,W,4] of a mesh."""
    return Sighting(camera, picture, rasterize_mesh(mesh.vertices, mesh.faces, camera).depth)


@torch.no_grad()
def contradicted(believed: Sighting, known: Sighting) -> Tensor:
    """How far known pictures contradict believed ones of the same surface, pixel by pixel of the believed.

    Args:
        believed: B pictures. known: K pictures.

    Returns:
        [B,H,W] in [0,1]; 0 for points of the surface that no known picture shows, but beside those that one does.
    """
    device, reach = believed.depth.device, _reach(believed.picture)
    camera, (origin, rays) = known.camera.to(device), believed.camera.to(device).rays()
    points = origin[:, None, None] + rays * believed.depth[..., None]
    x, y, z = camera.project(points.reshape(-1, 3)).unbind(dim=-1)  # [K,N]
    place = torch.stack([x / camera.width, y / camera.height], dim=-1)[:, None] * 2 - 1
    # A slope spans some depth within a pixel: what lies behind all of a pixel's neighbours is hidden.
    farthest = F.max_pool2d(known.depth[:, None], 3, 1, padding=1)
    before, low, high = (
        F.grid_sample(plane, place, mode="nearest", align_corners=False)[:, :, 0]
        for plane in (farthest, *_range(known.picture))
    )
    visible = (z - before[:, 0] <= z / camera.K[:, :1, 0]) & (low <= high).all(dim=1)
    color = _straight(believed.picture).reshape(-1, 3).T
    distance = (color - torch.minimum(torch.maximum(color, low), high)).norm(dim=1)
    worst = (((distance - ALIKE) / (UNLIKE - ALIKE)).clamp(0, 1) * visible).amax(dim=0).reshape(believed.depth.shape)
    worst *= (believed.depth > 0) & (believed.picture[..., 3] > SOLID)
    # What lies beside it is doubted too: the rim of a dot would be worse than the dot.
    around = F.max_pool2d(worst[:, None], 4 * reach + 1, 1, 2 * reach)
    return F.avg_pool2d(around, 2 * reach + 1, 1, reach)[:, 0]


def _range(picture: Tensor) -> tuple[Tensor, Tensor]:
    """The least and the largest of each channel around each pixel of [B,H,W,4]: [B,3,H,W]; 2 and -2 for none."""
    color, solid = _straight(picture), picture[..., 3:] > SOLID
    reach = _reach(picture)
    below, largest = (
        F.max_pool2d(torch.where(solid, values, -2.0).permute(0, 3, 1, 2), 2 * reach + 1, 1, reach)
        for values in (-color, color)
    )
    return -below, largest


def _straight(picture: Tensor) -> Tensor:
    """Colours [B,H,W,3] of premultiplied ones [B,H,W,4]; those of what hardly shows stay dark."""
    return picture[..., :3] / picture[..., 3:].clamp_min(SOLID)


def _reach(picture: Tensor) -> int:
    """`SLACK` in pixels of [B,H,W,4]."""
    return max(1, round(SLACK * picture.shape[2]))
