"""The frame that scenes are trained in: +Y up, about the origin, cameras at a distance of about 2.

It follows the cameras and points alone, so the same photos in any other world axes and units give the same frame.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gaussmith.camera import DEFAULT_RADIUS, Camera
from gaussmith.gaussians import Gaussians

# Pull of the mean camera up against level horizons. Small: it only decides where level horizons leave `up` open, as
# where all cameras look the same way, and its tilt (most cameras look down on things) should not show elsewhere.
_MEAN_UP = 0.02
# Cameras look at one point if nine of ten have it before them, at most half a common field of view off the axis, and
# if the axes meet at angles that fix it: the mean squared sine between them that two axes 10 degrees apart have.
_LOOKING, _OFF_AXIS, _SPREAD = 0.9, 25.0, 0.0076


@dataclass(frozen=True)
class Similarity:
    """x -> scale * rotation @ x + translation.

    Attributes:
        rotation: [3,3] float64, proper.
        translation: [3] float64.
        scale: positive.
    """

    rotation: Tensor
    translation: Tensor
    scale: float

    def inverse(self) -> Similarity:
        turned = self.rotation.T.contiguous()
        return Similarity(turned, -(turned @ self.translation) / self.scale, 1 / self.scale)

    def points(self, xyz: Tensor) -> Tensor:
        """Points [...,3] moved along, computed in float64, in their own type."""
        return (self.scale * xyz.double() @ self.rotation.T + self.translation).to(xyz.dtype)

    def gaussians(self, gaussians: Gaussians) -> Gaussians:
        """A splat moved along, its sizes and colours too."""
        return gaussians.transform(self.rotation, self.translation, self.scale)

    def camera_to(self, camera: Camera) -> Camera:
        """Cameras moved along: they see the moved scene as they saw the scene."""
        return replace(camera, c2w=self.poses(camera.c2w))

    def poses(self, c2w: Tensor) -> Tensor:
        """Camera-to-world transforms [B,4,4] moved along; they stay rigid."""
        out = c2w.double().clone()
        out[:, :3, :3] = self.rotation @ out[:, :3, :3]
        out[:, :3, 3] = self.points(out[:, :3, 3])
        return out.to(c2w.dtype)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "rotation": self.rotation.tolist(),
            "translation": self.translation.tolist(),
            "scale": self.scale,
        }

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Similarity:
        """The inverse of `to_dict`."""
        rotation, translation = (torch.tensor(values[k], dtype=torch.float64) for k in ("rotation", "translation"))
        return Similarity(rotation, translation, float(values["scale"]))


def scene_frame(c2w: Tensor, points: Tensor) -> tuple[Similarity, bool]:
    """The similarity that takes an input's world to the scene's, and whether the cameras look inwards.

    +Y is up and the first camera looks along -Z, so what it sees is the front. Where the cameras look at one point,
    that point is the origin, else the median of the points (or, without points, of the cameras); the median camera
    stands at a distance of 2 from it.

    Args:
        c2w: [M,4,4] float64 camera poses, M >= 1.
        points: [P,3] float64, P >= 0.
    """
    turn = _turn(c2w[:, :3, :3])
    position = c2w[:, :3, 3] @ turn.T
    direction = c2w[:, :3, 2] @ turn.T
    target = _looked_at(position, direction)
    if target is not None:
        center = target
    else:
        center = (points @ turn.T if len(points) else position).median(dim=0).values
    distance = float((position - center).norm(dim=-1).median())
    spread = max(float(position.abs().max()), 1e-6)  # against cameras that all stand at the centre
    scale = DEFAULT_RADIUS / distance if distance > 1e-9 * spread else 1.0
    return Similarity(turn, -scale * center, scale), target is not None


def scene_extent(positions: Tensor) -> float:
    """1.1 times the largest distance of a camera [M,3] from their mean (Kerbl et al. 2023, code: the scene's extent).

    Cameras that share one place say nothing of the scene's size; their scenes count as seen from a distance of 2.
    """
    largest = float((positions - positions.mean(dim=0)).norm(dim=-1).max())
    return 1.1 * (largest if largest > 1e-6 else DEFAULT_RADIUS)


def _turn(rotations: Tensor) -> Tensor:
    """[3,3] the rotation that takes the cameras' [M,3,3] common up to +Y and the first one's view to -Z.

    People hold cameras level, so up is at right angles to all the cameras' x axes: the direction that minimises their
    mean squared component along it, drawn to the mean of the cameras' own ups.
    """
    right, mean_up = rotations[:, :, 0], -rotations[:, :, 1].mean(dim=0)
    _, axes = torch.linalg.eigh(right.T @ right / len(right) - _MEAN_UP * torch.outer(mean_up, mean_up))
    up = axes[:, 0] * (1.0 if float(axes[:, 0] @ mean_up) >= 0 else -1.0)
    first = rotations[0]
    level = [v - (v @ up) * up for v in (-first[:, 2], first[:, 1])]
    # A camera that looks straight down has the top of its picture ahead.
    back = level[0] if level[0].norm() > 0.1 else level[1]
    back = torch.nn.functional.normalize(back, dim=0)
    return torch.stack([torch.linalg.cross(up, back), up, back])


def _looked_at(position: Tensor, direction: Tensor) -> Tensor | None:
    """[3] the point nearest to all optical axes (least squares), or None where the cameras do not look at one."""
    across = torch.eye(3, dtype=position.dtype) - direction[:, :, None] * direction[:, None, :]
    system = across.mean(dim=0)
    if float(torch.linalg.eigvalsh(system)[0]) < _SPREAD:
        return None
    target = torch.linalg.solve(system, (across @ position[:, :, None])[..., 0].mean(dim=0))
    toward = torch.nn.functional.normalize(target - position, dim=-1)
    seen = (toward * direction).sum(dim=-1) > torch.tensor(_OFF_AXIS).deg2rad().cos()
    return target if float(seen.double().mean()) >= _LOOKING else None
