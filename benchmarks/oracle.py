"""A prior that knows the answer: the exact score of the true renders of a known object.

With a delta distribution over pictures the posterior mean is the true render, whatever the noise. What a recipe makes
of it is the ceiling of its algorithm: no prior can do better.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gaussmith.camera import PRIOR_FOVY, Camera, orbit
from gaussmith.diffusion.guidance import Predictions
from gaussmith.diffusion.schedule import CosineTime, eps_from_x0
from gaussmith.mesh import Mesh
from gaussmith.render.mesh import render_mesh
from gaussmith.views import OrbitView


class OraclePrior:
    """Implements `gaussmith.priors.base.EpsPrior`; pictures are premultiplied RGBA in [-1,1], `size` pixels a side."""

    name = "oracle"
    schedule = CosineTime()
    guidance_scale = 1.0
    device = torch.device("cpu")
    sees_alpha, bounded, group, from_reference, told_in_words = True, True, 1, True, False

    def __init__(self, mesh: Mesh, size: int = 128) -> None:
        self.mesh, self.size = mesh, size

    def condition(self, reference: Tensor, elevation: float, prompts: Any = None, on_event: Any = None) -> None:
        return None

    def encode(self, pictures: Tensor) -> Tensor:
        return F.interpolate(pictures, size=(self.size, self.size), mode="area") * 2 - 1

    def decode(self, clean: Tensor) -> Tensor:
        return clean * 0.5 + 0.5

    def release(self) -> None:
        pass

    def predict(self, noisy: Tensor, t: Tensor, views: OrbitView, condition: Any, guidance_scale: float) -> Tensor:
        return rgba(self.mesh, views.camera(self.size, PRIOR_FOVY)).permute(0, 3, 1, 2) * 2 - 1

    def eps(self, noisy: Tensor, t: Tensor, views: OrbitView, condition: Any) -> Predictions:
        eps = eps_from_x0(noisy, self.predict(noisy, t, views, condition, 1.0), self.schedule.level(t))
        return Predictions(eps, eps)


def rgba(mesh: Mesh, camera: Camera, supersample: int = 2) -> Tensor:
    """Premultiplied RGBA [B,H,W,4] of the unlit mesh."""
    view = render_mesh(mesh, camera, background=torch.zeros(3), supersample=supersample)
    return torch.cat([view.rgb, view.alpha], dim=-1)


def unseen_cameras(count: int = 24, size: int = 192, seed: int = 7) -> Camera:
    """Cameras that no stage uses: azimuths spread evenly from a random start, elevations -20..45 degrees."""
    random = np.random.default_rng(seed)
    azimuth = (np.arange(count) + random.random()) * 360 / count
    return orbit(torch.tensor(azimuth), torch.tensor(random.uniform(-20, 45, count)), width=size)
