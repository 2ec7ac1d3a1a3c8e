"""The splat rasteriser in plain torch: slow, any floating dtype, differentiated by autograd. The oracle of the kernels.

No tiles: every Gaussian is evaluated at every pixel, by the definitions of `_splat_rules`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gaussmith import sh as spherical
from gaussmith.camera import Camera
from gaussmith.gaussians import Gaussians
from gaussmith.render._splat_rules import (
    ALPHA_MAX,
    ALPHA_MIN,
    FRUSTUM_MARGIN,
    LIMIT,
    LOW_PASS,
    NEAR,
    T_STOP,
)


def _covariance2d(gaussians: Gaussians, camera: Camera, local: Tensor) -> Tensor:
    """Low-passed screen covariances [N,2,2] of one camera at camera coordinates local [N,3] (Zwicker et al. 2001)."""
    (fx, fy), (cx, cy) = camera.K[0].diagonal()[:2], camera.K[0, :2, 2]
    z = local[:, 2]
    margin_x, margin_y = FRUSTUM_MARGIN * 0.5 * camera.width / fx, FRUSTUM_MARGIN * 0.5 * camera.height / fy
    u = (local[:, 0] / z).clamp(-cx / fx - margin_x, (camera.width - cx) / fx + margin_x)
    v = (local[:, 1] / z).clamp(-cy / fy - margin_y, (camera.height - cy) / fy + margin_y)
    zero = torch.zeros_like(z)
    jacobian = torch.stack([fx / z, zero, -fx * u / z, zero, fy / z, -fy * v / z], dim=-1).reshape(-1, 2, 3)
    m = jacobian @ camera.w2c[0, :3, :3]
    return m @ gaussians.covariances @ m.transpose(1, 2) + LOW_PASS * torch.eye(2).to(m)


def _normals(gaussians: Gaussians, position: Tensor) -> Tensor:
    """[N,3] shortest axes, turned to the camera at position [3]."""
    shortest = gaussians.log_scales.argmin(dim=1)[:, None, None].expand(-1, 3, 1)
    axis = gaussians.rotations.gather(2, shortest)[..., 0]
    facing = ((position - gaussians.means) * axis).sum(dim=1, keepdim=True)
    return torch.where(facing >= 0, axis, -axis)


def _filtered(opacity: Tensor, covariance: Tensor) -> Tensor:
    """Opacities [N] times sqrt(det S / det(S + LOW_PASS I)) at low-passed screen covariances [N,2,2]."""
    plain = covariance - LOW_PASS * torch.eye(2).to(covariance)
    return opacity * (plain.det().clamp_min(1e-30) / covariance.det()).sqrt()  # above 0 for the gradient of the root


def _on_screen(mean: Tensor, covariance: Tensor, reach: Tensor, camera: Camera) -> Tensor:
    """[N] whether the box around the ellipse of squared radius reach meets the pixel centres."""
    half = (reach[:, None] * covariance.diagonal(dim1=1, dim2=2)).sqrt()
    size = mean.new_tensor([camera.width, camera.height])
    return ((mean + half >= 0.5) & (mean - half <= size - 0.5)).all(dim=1)


@dataclass
class _Splats:
    """One camera's splats: means2d [N,2], covariance [N,2,2], opacity [N], values [N,7] (rgb, depth, normal) and radii
    [N]."""

    means2d: Tensor
    covariance: Tensor
    opacity: Tensor
    values: Tensor
    radii: Tensor


def _project(gaussians: Gaussians, camera: Camera, antialiased: bool) -> _Splats:
    w2c, K = camera.w2c[0], camera.K[0]
    local = gaussians.means @ w2c[:3, :3].T + w2c[:3, 3]
    drawn = gaussians.finite() & (local[:, 2] > NEAR)
    # What is not drawn is replaced before the division, so that no NaN reaches its gradient.
    safe = gaussians.map(lambda t: torch.where(drawn.reshape(-1, *[1] * (t.ndim - 1)), t, torch.zeros_like(t)))
    local = torch.where(drawn[:, None], local, local.new_tensor([0.0, 0.0, 1.0]))
    means2d = local[:, :2] / local[:, 2:] * K.diagonal()[:2] + K[:2, 2]
    covariance = _covariance2d(safe, camera, local)
    opacity = _filtered(safe.opacities, covariance) if antialiased else safe.opacities
    direction = torch.nn.functional.normalize(safe.means - camera.position[0], dim=-1)
    color = spherical.evaluate(safe.sh, direction)
    magnitude = torch.cat([means2d, covariance.flatten(1), color, local], dim=1).detach().abs()
    reach = 2 * (opacity.detach() / ALPHA_MIN).log().clamp_min(0)
    drawn = drawn & (magnitude < LIMIT).all(dim=1) & (reach > 0)
    drawn = drawn & _on_screen(means2d.detach(), covariance.detach(), reach, camera)
    radii = (reach * torch.linalg.eigvalsh(covariance.detach())[:, 1]).sqrt()
    values = torch.cat([color, local[:, 2:], _normals(safe, camera.position[0])], dim=1)
    return _Splats(means2d, covariance, opacity, values, torch.where(drawn, radii, torch.zeros_like(radii)))


class _PerPixel(torch.autograd.Function):
    """Positions [N,2] repeated for P pixels [N,P,2]; `absolute` [N,2] gets the sum of the absolute gradients."""

    @staticmethod
    def forward(ctx: Any, means2d: Tensor, absolute: Tensor, pixels: int) -> Tensor:
        return means2d[:, None].repeat(1, pixels, 1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        return gradient.sum(dim=1), gradient.abs().sum(dim=1), None


def _blend(splats: _Splats, means2d: Tensor, absolute: Tensor | None, width: int, height: int) -> tuple[Tensor, Tensor]:
    """Front-to-back composite: sums of the values [H,W,7] and what is left of the transmittance [H,W]."""
    order = torch.argsort(splats.values[:, 3].detach(), stable=True)
    order = order[splats.radii[order] > 0]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([x, y], dim=-1).reshape(1, -1, 2).to(means2d) + 0.5
    centre = means2d[order][:, None]
    if absolute is not None:
        centre = _PerPixel.apply(means2d[order], absolute[order], width * height)
    offset = pixels - centre
    power = -0.5 * torch.einsum("npi,nij,npj->np", offset, torch.linalg.inv(splats.covariance[order]), offset)
    alpha = (splats.opacity[order, None] * power.exp()).clamp_max(ALPHA_MAX)
    alpha = torch.where(alpha >= ALPHA_MIN, alpha, torch.zeros_like(alpha))
    before = torch.cat([torch.ones_like(offset[:1, :, 0]), (1 - alpha).cumprod(dim=0)])[:-1]
    alpha = torch.where(before >= T_STOP, alpha, torch.zeros_like(alpha))
    sums = (alpha * before).transpose(0, 1) @ splats.values[order]
    return sums.reshape(height, width, -1), (1 - alpha).prod(dim=0).reshape(height, width)


def rasterize(
    gaussians: Gaussians,
    camera: Camera,
    background: Tensor,
    geometry: bool,
    antialiased: bool,
    absolute: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """As `_numba.rasterize`, in the dtype of the Gaussians. Memory: some 10 N H W numbers a camera."""
    camera, background = camera.to(gaussians.means.device), background.to(gaussians.means.device)
    splats = [_project(gaussians, camera[b], antialiased) for b in range(len(camera))]
    means2d = torch.stack([s.means2d for s in splats])
    spread = [None] * len(camera) if absolute is None else list(absolute)
    drawn = [_blend(s, m, a, camera.width, camera.height) for s, m, a in zip(splats, means2d, spread)]
    sums, left = torch.stack([d[0] for d in drawn]), torch.stack([d[1] for d in drawn])
    rgb = sums[..., :3] + left[..., None] * background[:, None, None]
    extra = sums[..., 3:] if geometry else sums[:, :0, :, 3:]
    return rgb, 1 - left, extra, means2d, torch.stack([s.radii for s in splats])
