"""The Triton backend of the splat rasteriser as two autograd functions, as in `_numba`: project and blend.

Everything stays on the Gaussians' device. The host waits for it once, for the number of pairs (`bin_splats`).
A picture takes six kernels, two sorts, one sum and one transfer of the cameras; its gradient three kernels.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gaussmith.accelerator import enough_memory, onto
from gaussmith.camera import Camera
from gaussmith.events import UserError
from gaussmith.gaussians import Gaussians

try:
    import triton
except ImportError:
    raise UserError(
        "The GPU kernels need Triton: pip install triton (on Windows: triton-windows), or draw with backend='numba'."
    ) from None

from gaussmith.render import _triton_bin, _triton_blend, _triton_project
from gaussmith.render._triton_blend import ROW
from gaussmith.render._triton_project import SPLAT

INTERPRETED = not isinstance(_triton_project.project, triton.runtime.JITFunction)
"""Whether the kernels run in Triton's interpreter on the CPU (TRITON_INTERPRET=1 before the import): for tests."""
CHUNK, CHUNK_BACKWARD = 8, 4
"""Entries per turn of a tile's loop: what four (backward: two) warps hold in registers without spilling."""
FEW_TILES = 2048
"""Pictures of fewer tiles do not fill a large GPU with backward programs of two warps; their tiles get four."""


def _memory(gaussians: int, cameras: int, width: int, height: int) -> AbstractContextManager[None]:
    return enough_memory(
        f"drawing {gaussians:,} Gaussians from {cameras} camera(s) at {width}x{height}",
        "lower the number of Gaussians, the picture size or the number of views per step",
    )


def _sent(tensors: list[Tensor], device: torch.device) -> list[Tensor]:
    """The tensors in float32 on `device`; from the CPU they come in one transfer, which the host does not wait for."""
    if any(t.device.type != "cpu" or t.requires_grad for t in tensors):
        return [onto(t.to(torch.float32), device).contiguous() for t in tensors]
    flat = torch.cat([t.to(torch.float32).flatten() for t in tensors])
    return [p.view(t.shape) for p, t in zip(onto(flat, device).split([t.numel() for t in tensors]), tensors)]


def _rows(gradient: Tensor | None, reach: Tensor, columns: int) -> Tensor:
    """A gradient [B,N,columns], zero if there is none, whose rows lie equally far apart through all cameras."""
    batch, n = reach.shape
    if gradient is None:
        return reach.new_zeros(batch, n, columns)
    even = gradient.stride(2) == 1 and (batch == 1 or gradient.stride(0) == n * gradient.stride(1))
    return gradient if even else gradient.contiguous()


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, means: Tensor, log_scales: Tensor, quats: Tensor, logits: Tensor, sh: Tensor, c2w: Tensor, K: Tensor,
        width: int, height: int, antialiased: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
        """means2d [B,N,2], splats [B,N,SPLAT], reach [B,N], radii [B,N]."""
        batch, n = len(c2w), len(means)
        means2d, splats = means.new_empty(batch, n, 2), means.new_empty(batch, n, SPLAT)
        reach, radii = means.new_empty(batch, n), means.new_empty(batch, n)
        if n:
            _triton_project.project[(triton.cdiv(n, _triton_project.BLOCK), batch)](
                means, log_scales, quats, logits, sh, c2w, K, n, width, height, means2d, splats, reach, radii,
                BANDS=sh.shape[1], BLOCK=_triton_project.BLOCK, ANTIALIASED=antialiased,
            )  # fmt: skip
        ctx.save_for_backward(means, log_scales, quats, logits, sh, c2w, K, reach)
        ctx.frame, ctx.antialiased = (width, height), antialiased
        ctx.mark_non_differentiable(reach, radii)
        ctx.set_materialize_grads(False)
        return means2d, splats, reach, radii

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_means2d: Tensor | None, g_splats: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        *inputs, c2w, K, reach = ctx.saved_tensors
        batch, n = reach.shape
        with _memory(n, batch, *ctx.frame):
            grads = [torch.empty_like(t) for t in inputs]
            g_means2d, g_splats = _rows(g_means2d, reach, 2), _rows(g_splats, reach, SPLAT)
        if n:
            _triton_project.project_backward[(triton.cdiv(n, _triton_project.BLOCK),)](
                *inputs, c2w, K, batch, n, *ctx.frame, reach,
                g_means2d, g_means2d.stride(1), g_splats, g_splats.stride(1), *grads,
                BANDS=inputs[4].shape[1], BLOCK=_triton_project.BLOCK, ANTIALIASED=ctx.antialiased,
            )  # fmt: skip
        return *grads, None, None, None, None, None


class _Blend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, means2d: Tensor, splats: Tensor, background: Tensor, absolute: Tensor | None, reach: Tensor,
        width: int, height: int, geometry: bool, deterministic: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        """rgb [B,H,W,3], alpha [B,H,W], weighted sums of depth and normal [B,H,W,4] (height 0 without geometry).

        `absolute` [B,N,2] is not read; what it gets as its gradient is the sum of absolute screen gradients.
        """
        batch = len(reach)
        lists = _triton_bin.bin_splats(means2d, splats, reach, width, height)
        rgb, alpha = means2d.new_empty(batch, height, width, 3), means2d.new_empty(batch, height, width)
        extra = means2d.new_empty(batch, height if geometry else 0, width, 4)
        tiles = len(lists.tile_start) - 1
        done = torch.empty_like(lists.tile_start[1:])
        _triton_blend.blend[(tiles,)](
            means2d.view(torch.int64), splats.view(torch.int64), lists.tile_start, lists.entry_splat, background,
            width, height, rgb, alpha, extra, done, GEOMETRY=geometry, CHUNK=CHUNK, num_warps=4,
        )  # fmt: skip
        ctx.save_for_backward(means2d, splats, rgb, alpha, extra, done, *lists)
        ctx.options = width, height, geometry, deterministic
        ctx.set_materialize_grads(False)
        return rgb, alpha, extra

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_rgb: Tensor | None, g_alpha: Tensor | None, g_extra: Tensor | None) -> tuple[Any, ...]:
        means2d, splats, rgb, alpha, extra, done, *rest = ctx.saved_tensors
        lists = _triton_bin.TileLists(*rest)
        width, height, geometry, deterministic = ctx.options
        batch, n = means2d.shape[:2]
        geometry, absolute = geometry and g_extra is not None, ctx.needs_input_grad[3]
        pairs, columns = len(lists.entry_splat), ROW if absolute else 13 if geometry else 9
        with _memory(n, batch, width, height):
            g_rgb = torch.zeros_like(rgb) if g_rgb is None else g_rgb.contiguous()
            g_alpha, g_extra = (None if g is None else g.contiguous() for g in (g_alpha, g_extra))
            g_background = None
            if ctx.needs_input_grad[2]:
                g_background = torch.einsum("bhw,bhwc->bc", 1 - alpha, g_rgb)
            if deterministic and pairs:  # the absolute gradients stand last, behind columns that may stay unwritten
                rows = means2d.new_empty(batch, n, ROW)
                out = means2d.new_zeros(pairs, columns) if absolute else means2d.new_empty(pairs, columns)
            else:
                out = rows = means2d.new_zeros(batch, n, ROW)
        if pairs:
            _triton_blend.blend_backward[(len(done),)](
                means2d.view(torch.int64), splats.view(torch.int64), lists.tile_start, lists.entry_splat,
                lists.entry_pair, width, height, rgb, alpha, extra, done, g_rgb,
                alpha if g_alpha is None else g_alpha, extra if g_extra is None else g_extra, out,
                GEOMETRY=geometry, ALPHA=g_alpha is not None, ABSOLUTE=absolute, ATOMIC=not deterministic,
                STRIDE=out.shape[-1], CHUNK=CHUNK_BACKWARD, num_warps=4 if len(done) < FEW_TILES else 2,
            )  # fmt: skip
            if deterministic:
                _triton_blend.gather[(triton.cdiv(batch * n, 8),)](
                    out, lists.order, lists.ends, batch * n, rows, STRIDE=columns, BLOCK=8, DEPTH=8, num_warps=1
                )
        g_absolute = rows[..., 2 + SPLAT :] if absolute else None
        return rows[..., :2], rows[..., 2 : 2 + SPLAT], g_background, g_absolute, None, None, None, None, None


def rasterize(
    gaussians: Gaussians,
    camera: Camera,
    background: Tensor,
    geometry: bool,
    antialiased: bool,
    absolute: Tensor | None,
    *,
    deterministic: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """As `_numba.rasterize`, on the Gaussians' device in float32. Raises UserError when its memory does not suffice.

    Cameras and background may lie on the CPU: sending them costs one transfer that the host does not wait for.
    """
    if gaussians.means.device.type == "cpu" and not INTERPRETED:
        raise UserError("The triton backend draws on a GPU; move the Gaussians there or draw with backend='numba'.")
    n, batch, width, height = len(gaussians), len(camera), camera.width, camera.height
    with _memory(n, batch, width, height), torch.cuda.device_of(gaussians.means):
        parameters = [t.to(torch.float32).contiguous() for t in gaussians.tensors().values()]
        c2w, K, background = _sent([camera.c2w.detach(), camera.K.detach(), background], gaussians.means.device)
        means2d, splats, reach, radii = _Project.apply(*parameters, c2w, K, width, height, antialiased)
        pictures = _Blend.apply(means2d, splats, background, absolute, reach, width, height, geometry, deterministic)
    return *pictures, means2d, radii
