"""Where an object of unknown place and size is, and the similarity that moves it to where the cameras look."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gaussmith.camera import Camera
from gaussmith.gaussians import Gaussians
from gaussmith.mesh import Mesh

OBJECT_RADIUS = 0.6  # the sphere at the origin that an object fits (docs/conventions.md)


@dataclass(frozen=True)
class Fit:
    """The similarity x -> scale (x - centre) that moves an object to the origin, at the usual size.

    Attributes:
        centre: [3] world units of the object.
        scale: usual units per unit of the object, positive.
    """

    centre: Tensor
    scale: float

    def gaussians(self, gaussians: Gaussians) -> Gaussians:
        """Gaussians moved to the origin; colours stay exact, for nothing turns."""
        return gaussians.transform(torch.eye(3), -self.scale * self.centre, self.scale)

    def mesh(self, mesh: Mesh) -> Mesh:
        """A mesh moved to the origin."""
        return mesh.with_(vertices=(mesh.vertices - self.centre.to(mesh.vertices)) * self.scale)

    def camera(self, camera: Camera) -> Camera:
        """Cameras moved to the origin along with what they see."""
        c2w = camera.c2w.clone()
        c2w[:, :3, 3] = (c2w[:, :3, 3] - self.centre.to(c2w)) * self.scale
        return replace(camera, c2w=c2w)

    def undo(self, mesh: Mesh) -> Mesh:
        """A mesh moved from the origin back to where its object was."""
        return mesh.with_(vertices=mesh.vertices / self.scale + self.centre.to(mesh.vertices))


def fit_points(points: Tensor, radius: float = OBJECT_RADIUS) -> Fit:
    """The fit that moves the centre of the bounding box of points [N,3], N >= 1, to 0 and the farthest to `radius`."""
    if len(points) == 0:
        raise ValueError("no points to fit")
    points = points.detach().double()
    centre = (points.amin(dim=0) + points.amax(dim=0)) / 2
    farthest = float((points - centre).norm(dim=1).max())
    return Fit(centre.float(), radius / max(farthest, 1e-12))


def visible_points(gaussians: Gaussians, min_opacity: float = 0.05, trim: float = 0.005) -> Tensor:
    """Centres [M,3] of the Gaussians that make up the object: finite, not nearly transparent, no far floaters.

    A share `trim` at either end of every axis is left out when there are enough Gaussians for a share to mean
    something: captured splats have stray Gaussians far away, and one of them would make the object a dot. Both limits
    are ours. M may be 0.
    """
    keep = gaussians.finite() & (gaussians.opacities > min_opacity)
    points = gaussians.means[keep].detach()
    if len(points) < 200:
        return points
    ordered = points.sort(dim=0).values
    cut = int(trim * len(points))
    low, high = ordered[cut], ordered[len(points) - 1 - cut]
    return points[((points >= low) & (points <= high)).all(dim=1)]
