"""Depth maps of Gaussians for surface extraction: where the surface is along each ray, and where that is doubtful.

The rasteriser's own depth blends the depths of the Gaussians' centres, which on a tilted surface is off by as much as a
Gaussian is wide. Here every Gaussian has a plane, where it is densest along each ray: with S the covariance of pixel
and depth, the slope of the depth is S_pp^-1 S_pz (the conditional mean of a normal distribution; RaDe-GS, Zhang et al.
2024, uses the same plane). In a perspective picture a plane's inverse depth is linear in the pixel, so it is three
numbers, which are drawn as a colour; a second picture of z and z^2 tells how far apart the Gaussians are that a pixel
blends.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gaussmith.camera import Camera
from gaussmith.gaussians import Gaussians
from gaussmith.render.splat import rasterize
from gaussmith.sh import rgb_to_dc

F32 = NDArray[np.float32]

# None of these is from a paper.
LOW_PASS = 0.1  # square pixels added to S_pp: less flattens slopes less, more steadies the planes of slivers
STEEPEST = 6.0  # tangent at which planes end, some 80 degrees: beyond, the linearisation says nothing
SOLID = 0.5  # alpha from which a pixel has a depth
EMPTY = 0.05  # alpha up to which a ray met nothing
BEYOND = 0.95  # share of `far` from which a depth says no more than "at least so far"


@torch.no_grad()
def depth_maps(gaussians: Gaussians, cameras: Camera, far: float) -> tuple[F32, F32]:
    """Depth [B,H,W] of the Gaussians in B views, and its spread [B,H,W]: standard deviation of what was blended.

    Depth is the camera z of the surface; 0 where it is not known, and negative where a ray met nothing: free up to
    that distance. Nothing is seen beyond `far`. World units.
    """
    shape = (len(cameras), cameras.height, cameras.width)
    depth, spread = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    covariances = gaussians.covariances
    for view in range(len(cameras)):
        depth[view], spread[view] = _view(gaussians, covariances, cameras[view], far)
    return depth, spread


def _view(gaussians: Gaussians, covariances: Tensor, camera: Camera, far: float) -> tuple[F32, F32]:
    z, planes = _planes(gaussians, covariances, camera, far)
    mean, alpha = _drawn(gaussians, planes, camera)
    y, x = (torch.arange(n) + 0.5 - n / 2 for n in (camera.height, camera.width))
    depth = 1 / (mean[..., 0] + mean[..., 1] * x + mean[..., 2] * y[:, None]).clamp_min(0.5 / far)
    near = z / far
    moments, _ = _drawn(gaussians, torch.stack([near, near * near, torch.zeros_like(z)], dim=1), camera)
    spread = far * (moments[..., 1] - moments[..., 0] ** 2).clamp_min(0).sqrt()
    depth = torch.where(alpha >= SOLID, depth, torch.zeros_like(depth))
    depth = torch.where(depth > BEYOND * far, depth.new_tensor(-BEYOND * far), depth)
    depth = torch.where(alpha <= EMPTY, depth.new_tensor(-1e30), depth)
    return depth.numpy(), spread.numpy()


def _planes(gaussians: Gaussians, covariances: Tensor, camera: Camera, far: float) -> tuple[Tensor, Tensor]:
    """Depths [N], at most `far`, and planes [N,3]: inverse depth in the picture's middle, and its slopes per pixel."""
    w2c, K = camera.w2c[0], camera.K[0]
    local = gaussians.means @ w2c[:3, :3].T + w2c[:3, 3]
    z = local[:, 2].clamp(1e-3 * far, far)
    focal, size = K.diagonal()[:2], torch.tensor([camera.width, camera.height])
    # As the rasteriser: beside the picture the perspective is linearised no further out than 1.3 of its half size.
    middle, half = (size / 2 - K[:2, 2]) / focal, 0.65 * size / focal
    ray = torch.minimum(torch.maximum(local[:, :2] / z[:, None], middle - half), middle + half)
    turned = w2c[:3, :3] @ covariances @ w2c[:3, :3].T
    jacobian = torch.zeros(len(z), 2, 3)
    jacobian[:, 0, 0], jacobian[:, 1, 1] = focal[0] / z, focal[1] / z
    jacobian[:, :, 2] = -focal * ray / z[:, None]
    cross = jacobian @ turned
    pixels = cross @ jacobian.transpose(1, 2) + LOW_PASS * torch.eye(2)
    a, b, c = pixels[:, 0, 0], pixels[:, 0, 1], pixels[:, 1, 1]
    u, v = cross[:, 0, 2], cross[:, 1, 2]
    slope = torch.stack([c * u - b * v, a * v - b * u], dim=1) / (a * c - b * b)[:, None]
    steepest = STEEPEST * z / focal.min()
    slope = slope * (steepest / slope.norm(dim=1).clamp_min(1e-30)).clamp_max(1)[:, None]
    slope = torch.where((local[:, 2] < far)[:, None] & slope.isfinite(), slope, torch.zeros_like(slope))
    inverse = -slope / z[:, None] ** 2
    place = ray * focal + K[:2, 2] - size / 2
    return z, torch.cat([(1 / z - (inverse * place).sum(dim=1))[:, None], inverse], dim=1)


def _drawn(gaussians: Gaussians, values: Tensor, camera: Camera) -> tuple[Tensor, Tensor]:
    """Mean [H,W,3] of values [N,3] over what each pixel blends, and its alpha [H,W]."""
    offset = -values.amin(dim=0).clamp_max(0)  # colours below zero are cut
    view = rasterize(replace(gaussians, sh=rgb_to_dc(values + offset)[:, None]), camera, geometry=False)
    alpha = view.alpha[0, ..., 0]
    return view.rgb[0] / alpha.clamp_min(1e-6)[..., None] - offset, alpha
