"""A density corrected so that its surface has a known outline: that of the picture the Gaussians were made from.

One level for the whole object loses thin parts (antennae, rigging), which the splat shows only because many faint
Gaussians lie behind each other, and keeps the haze around thick ones. The picture says which rays hit the object. On a
ray that does, the density is scaled up until its peak is over the level; where the picture is transparent, the density
is capped below it. Both act along whole rays, so depth stays what the density says it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from gaussmith.camera import Camera
from gaussmith.surface import silhouette
from gaussmith.surface.density_query import Grid

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

PEAK = 1.5  # levels that the peak of a covered ray is raised to: the surface then lies where the density halves or so
MAX_GAIN = 20.0  # a ray fainter than a twentieth of that peak holds nothing to be raised
BLUR = 1.0  # pixels: gains of neighbouring rays are noisy, and the surface would be ragged
NEAR = 1e-6


@dataclass(frozen=True)
class Outline:
    """The correction of a density of that level.

    Attributes:
        camera: one camera. maps: [2,H,W] logarithm of the gain on each pixel's ray, and the picture's alpha less one:
            both are 0, which is no correction, outside the frame.
    """

    camera: Camera
    level: float
    maps: Tensor

    def grid(self, density: F32, grid: Grid) -> F32:
        """The corrected density at all nodes; one sheet of nodes at a time, to bound memory."""
        out = np.empty_like(density)
        _, y, z = (np.arange(n) for n in density.shape)
        sheet = np.stack(np.meshgrid([0], y, z, indexing="ij"), axis=-1).reshape(-1, 3)
        for x in range(density.shape[0]):
            points = torch.from_numpy(grid.to_world(sheet + np.array([x, 0, 0]))).float()
            out[x] = self._correct(torch.from_numpy(density[x].reshape(-1)), points).reshape(density[x].shape).numpy()
        return out

    def at(self, value: F64, gradient: F64, points: F64) -> tuple[F64, F64]:
        """Corrected values [M] and their gradients [M,3] from those of the plain density at points [M,3]."""
        x = torch.from_numpy(points).float().requires_grad_()
        plain = torch.from_numpy(value).float().requires_grad_()
        corrected = self._correct(plain, x)
        by_value, by_place = torch.autograd.grad(corrected.sum(), (plain, x))
        total = by_place.double().numpy() + by_value.double().numpy()[:, None] * gradient
        return corrected.detach().double().numpy(), total

    def _correct(self, density: Tensor, points: Tensor) -> Tensor:
        x, y, depth = self.camera.project(points)[0].unbind(dim=-1)
        size = torch.tensor([self.camera.width, self.camera.height])
        place = torch.where((depth > NEAR)[:, None], torch.stack([x, y], dim=-1) / size * 2 - 1, 9.0)
        gain, clear = F.grid_sample(self.maps[None], place[None, None], align_corners=False)[0, :, 0]
        alpha = 1 + clear
        cap = self.level * alpha / (1 - alpha).clamp_min(1e-4)  # the level itself where alpha is a half
        return torch.minimum(density * gain.exp(), cap)


def fit(density: F32, grid: Grid, level: float, camera: Camera, alpha: Tensor) -> Outline:
    """The correction that gives {density > level} the outline alpha [1,H,W,1] > 0.5 in the view of one camera."""
    peak = silhouette.peaks(density, grid, camera)[0]
    covered = silhouette.covered_pixels(alpha)[0]
    gain = np.where(covered, np.clip(PEAK * level / np.maximum(peak, 1e-9), 1, MAX_GAIN), 1)
    # A surface ends between the last covered pixel and the next, which must therefore be raised as well.
    gain = ndimage.gaussian_filter(np.log(ndimage.grey_dilation(gain, 3)), BLUR)
    clear = alpha.detach().cpu()[0, ..., 0].clamp(0, 1) - 1
    return Outline(camera, level, torch.stack([torch.from_numpy(gain).float(), clear.float()]))


def background(points: Tensor, camera: Camera, alpha: Tensor) -> Tensor:
    """[M] whether world points [M,3] lie in the frame of one camera where its alpha [1,H,W,1] is under a half."""
    x, y, depth = camera.project(points)[0].unbind(dim=-1)
    inside = (depth > NEAR) & (x >= 0) & (y >= 0) & (x < camera.width) & (y < camera.height)
    column, row = (torch.where(inside, along, 0.0).long() for along in (x, y))
    return inside & ~torch.from_numpy(silhouette.covered_pixels(alpha))[0, row, column]
