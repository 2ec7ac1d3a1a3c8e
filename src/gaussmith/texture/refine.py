"""Moving a texture towards target pictures without Adam.

DreamGaussian refines its texture with Adam at rate 0.2 on logit colours (section 3.3). Adam normalises each texel's
step by that texel's own gradient history, so texels seen once take full-size steps for rounding-size errors and go on
drifting while unseen: the pink and green casts that users report. The squared error of a rendered view is linear in
the texture, so we take the Jacobi-preconditioned gradient step instead: every texel moves by the weighted mean of the
residuals of the pixels that look it up. A texel without residual stays; one without a view stays too.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gaussmith.camera import Camera
from gaussmith.mesh import Mesh
from gaussmith.render.mesh import interpolate, rasterize_mesh, sample_texture


class View:
    """What a fixed mesh shows to one camera of the batch: texture coordinates and coverage, reusable at every step.

    Attributes:
        uv: [N,2] texture coordinates of the covered samples. covered: [B,H,W] bool. cosine: [N] of the viewing angle.
    """

    def __init__(self, mesh: Mesh, camera: Camera) -> None:
        if mesh.uv is None or mesh.uv_faces is None:
            raise ValueError("the mesh needs texture coordinates")
        fragments = rasterize_mesh(mesh.vertices, mesh.faces, camera)
        self.covered = fragments.face >= 0
        self.uv = interpolate(mesh.uv, mesh.uv_faces, fragments)[self.covered]
        _, rays = camera.rays()
        towards = -torch.nn.functional.normalize(rays[self.covered], dim=-1)
        # Smooth normals: bumps a few faces wide must not punch holes into what a view may colour.
        normals = interpolate(mesh.vertex_normals(), mesh.faces, fragments)[self.covered]
        self.cosine = (torch.nn.functional.normalize(normals, dim=-1) * towards).sum(dim=-1).clamp_min(0)

    def render(self, texture: Tensor) -> Tensor:
        """Premultiplied RGBA [B,H,W,4] of the texture [S,S,3]; hard coverage, one sample a pixel."""
        out = torch.zeros(*self.covered.shape, 4)
        out[self.covered] = torch.cat([sample_texture(texture, self.uv), torch.ones(len(self.uv), 1)], dim=-1)
        return out


def scatter(view: View, residual: Tensor, weight: Tensor, size: int) -> Tensor:
    """Gather residuals at the texels.

    Args:
        residual: [B,H,W,3] what the picture lacks. weight: [B,H,W], 0 to ignore a pixel.

    Returns:
        [size,size,4]: per texel the sum of (weight x bilinear share x residual) and, last, of (weight x share).
    """
    texture = torch.zeros(size, size, 4, requires_grad=True)
    values = torch.cat([residual, torch.ones_like(residual[..., :1])], dim=-1) * weight[..., None]
    with torch.enable_grad():
        (sample_texture(texture, view.uv) * values[view.covered]).sum().backward()
    assert texture.grad is not None
    return texture.grad


def step(texture: Tensor, gathered: Tensor, rate: float, floor: float = 0.05) -> Tensor:
    """One step: texture [S,S,3] + rate * mean residual, clamped to [0,1].

    The mean is over a small neighbourhood of texels, since a view's pixels are a few texels apart: alone, each would
    move the texels that it happens to hit and leave a grain between them. Only the change is smoothed, not the texture.

    Args:
        gathered: [S,S,4] from `scatter`, summed over views.
        floor: added to the weight, so that texels seen only from the corner of a pixel's eye move gently.
    """
    around = _around(gathered)
    return (texture + rate * around[..., :3] / (around[..., 3:] + floor)).clamp(0, 1)


def _around(gathered: Tensor) -> Tensor:
    # Two boxes make a tent, whose frequency response is nowhere negative: with one box, steps of rate 1 would diverge.
    reach = max(1, round(len(gathered) / 1024))
    around = gathered.permute(2, 0, 1)[None] * (2 * reach + 1) ** 2
    for _ in range(2):
        around = torch.nn.functional.avg_pool2d(around, 2 * reach + 1, 1, reach)
    return around[0].permute(1, 2, 0)
