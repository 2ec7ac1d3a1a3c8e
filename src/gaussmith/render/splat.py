"""Differentiable rasteriser of 3D Gaussians: the only entrance, `rasterize`.

Every pixel blends the Gaussians in front of it, nearest first (Kerbl et al. 2023, eq. 3), each with the alpha of its
perspective projection (EWA splatting, Zwicker et al. 2001). The cut-offs stand in `_splat_rules`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from gaussmith import accelerator
from gaussmith.camera import Camera
from gaussmith.gaussians import Gaussians
from gaussmith.sh import degree_of

Backend = Literal["auto", "reference", "numba", "triton"]


@dataclass
class Render:
    """Pictures of N Gaussians from B cameras. World units; sRGB.

    Attributes:
        rgb: [B,H,W,3] colour over the background.
        alpha: [B,H,W,1] coverage in [0,1].
        depth: [B,H,W,1] mean camera z of what is seen, weighted as the colours are; 0 where alpha is 0.
        normal: [B,H,W,3] weighted sum of world normals: shortest axes, turned to the camera. Not normalised.
        means2d: [B,N,2] screen positions in pixels, on the path of the gradient and with it retained: after backward,
            `means2d.grad` is the gradient of the loss per pixel of shift.
        radii: [B,N] longest half axis in pixels of the ellipse where alpha reaches 1/255; 0 = not drawn.
        absolute2d: [B,N,2] zeros if asked for: after backward, `absolute2d.grad` is the sum over pixels of the absolute
            values of what each pixel adds to `means2d.grad` (AbsGS, Ye et al. 2024, eq. 6). None otherwise.
    """

    rgb: Tensor
    alpha: Tensor
    depth: Tensor
    normal: Tensor
    means2d: Tensor
    radii: Tensor
    absolute2d: Tensor | None = None


def _per_camera_background(background: Tensor | None, dtype: torch.dtype, batch: int) -> Tensor:
    """[B,3] from nothing (black), [3] or [B,3], where it lies."""
    if background is None:
        return torch.zeros(batch, 3, dtype=dtype)
    if tuple(background.shape) not in {(3,), (1, 3), (batch, 3)}:
        raise ValueError(f"background must be [3] or [{batch},3], got {tuple(background.shape)}")
    return background.to(dtype).expand(batch, 3)


def _pick(device: torch.device) -> Backend:
    """What "auto" means: Triton where the tensors lie on a device it compiles for and it is installed."""
    return "triton" if accelerator.compiles(device) else "numba"


def home(device: torch.device) -> torch.device:
    """Where Gaussians that are drawn again and again should lie: on `device` if "auto" draws there, else on the CPU."""
    return device if _pick(device) == "triton" else torch.device("cpu")


def _draw(backend: Backend, deterministic: bool) -> Callable[..., tuple[Tensor, ...]]:
    """The function of a backend; imported only when used, since Numba and Triton take their time."""
    if backend == "reference":
        from gaussmith.render import _reference

        return _reference.rasterize
    if backend == "numba":
        from gaussmith.render import _numba

        return _numba.rasterize
    if backend == "triton":
        from gaussmith.render import _triton

        return partial(_triton.rasterize, deterministic=deterministic)
    raise ValueError(f"backend must be auto, reference, numba or triton, got {backend!r}")


def rasterize(
    gaussians: Gaussians,
    camera: Camera,
    background: Tensor | None = None,
    *,
    geometry: bool = True,
    backend: Backend = "auto",
    deterministic: bool = True,
    antialiased: bool = False,
    absolute: bool = False,
) -> Render:
    """Draw N Gaussians from B cameras, differentiable in every tensor of `gaussians` and in `background`.

    Args:
        gaussians: N >= 0 Gaussians, SH degree 0 to 3. One with a non-finite parameter is skipped and gets no gradient.
        camera: B cameras without skew; they receive no gradient.
        background: [3] or [B,3] sRGB, default black.
        geometry: whether to draw depth and normal too; without, both are zero and the drawing is faster.
        backend: "numba" (CPU kernels in float32; tensors elsewhere travel there and back), "triton" (GPU kernels in
            float32), "reference" (plain torch, slow, any dtype) or "auto": triton for tensors on a GPU where it is
            installed, numba otherwise.
        deterministic: for triton only: whether gradients are summed in a fixed order, which takes 36 bytes (52 with
            geometry) per listed pair of Gaussian and tile during the backward pass, or by atomics in any order. The
            other backends are always deterministic.
        antialiased: whether to multiply each opacity by sqrt(det S / det(S + 0.3 I)), S the screen covariance before
            the low-pass, so that a Gaussian smaller than a pixel keeps its weight instead of growing (the 2D filter of
            Mip-Splatting, Yu et al. 2024, eq. 10).
        absolute: whether the backward pass also fills `Render.absolute2d.grad`.

    Returns:
        The pictures. The same input gives the same bits and, if deterministic, the same gradients, whatever the number
        of threads.

    Raises:
        ValueError: a wrong shape, a camera with skew or an unknown backend.
        UserError: triton is not installed, the tensors do not lie on a GPU, or its memory does not suffice.
    """
    degree_of(gaussians.sh.shape[1])
    background = _per_camera_background(background, gaussians.means.dtype, len(camera))
    if camera.K[:, 0, 1].any():  # a camera on the CPU is read without waiting for the GPU
        raise ValueError("cameras with skew (K[0,1] != 0) cannot be drawn")
    chosen = _pick(gaussians.means.device) if backend == "auto" else backend
    spread = None
    if absolute:
        spread = gaussians.means.new_zeros(len(camera), len(gaussians), 2)
        spread.requires_grad_(any(t.requires_grad for t in gaussians.tensors().values()))
    draw = _draw(chosen, deterministic)
    rgb, alpha, extra, means2d, radii = draw(gaussians, camera, background, geometry, antialiased, spread)
    if means2d.requires_grad:
        means2d.retain_grad()
    alpha = alpha[..., None]
    if not geometry:
        nothing = alpha.new_zeros(1)
        return Render(rgb, alpha, nothing.expand_as(alpha), nothing.expand_as(rgb), means2d, radii, spread)
    depth = extra[..., :1] / torch.where(alpha > 0, alpha, torch.ones_like(alpha))
    return Render(rgb, alpha, depth, extra[..., 1:], means2d, radii, spread)
