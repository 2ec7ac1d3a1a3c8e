"""The Numba backend of the splat rasteriser as two autograd functions: project and blend.

Between them stand the tile lists, which carry no gradient. Tensors are float32 on the CPU here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from gaussmith.camera import Camera
from gaussmith.gaussians import Gaussians
from gaussmith.render._numba_bin import bin_splats
from gaussmith.render._numba_blend import blend, blend_backward, gather, gather_absolute
from gaussmith.render._numba_project import CAMERA, RGB_COLUMNS, SPLAT, project, project_backward
from gaussmith.threads import run


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.detach().contiguous().numpy()


def _camera_rows(camera: Camera) -> NDArray[np.float64]:
    """[B,CAMERA] float64: world-to-camera rotation and translation, fx, fy, cx, cy, centre."""
    c2w, K = (t.detach().to("cpu", torch.float64).numpy() for t in (camera.c2w, camera.K))
    rows = np.empty((len(c2w), CAMERA))
    rotation, position = c2w[:, :3, :3].swapaxes(1, 2), c2w[:, :3, 3]
    rows[:, :9] = rotation.reshape(-1, 9)
    rows[:, 9:12] = -np.einsum("bij,bj->bi", rotation, position)
    rows[:, 12:16] = K[:, (0, 1, 0, 1), (0, 1, 2, 2)]
    rows[:, 16:] = position
    return rows


def _schedule(tile_start: NDArray[np.int64], workers: int) -> NDArray[np.int64]:
    """Tiles in the order in which the workers take turns: longest first, dealt to and fro so that their loads match."""
    order = np.argsort(-np.diff(tile_start), kind="stable")
    whole = len(order) // (2 * workers) * 2 * workers
    rounds = order[:whole].reshape(-1, 2, workers)
    rounds[:, 1] = rounds[:, 1, ::-1].copy()
    return order


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, means: Tensor, log_scales: Tensor, quats: Tensor, logits: Tensor, sh: Tensor,
        cams: NDArray[np.float64], width: int, height: int, antialiased: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
        """means2d [B,N,2], splats [B,N,SPLAT], reach [B,N], radii [B,N]."""
        batch, n = cams.shape[0], means.shape[0]
        means2d, splats = means.new_empty(batch, n, 2), means.new_empty(batch, n, SPLAT)
        reach, radii = means.new_empty(batch, n), means.new_empty(batch, n)
        inputs = tuple(_array(t) for t in (means, log_scales, quats, logits, sh))
        run(project, *inputs, cams, width, height, antialiased, *(t.numpy() for t in (means2d, splats, reach, radii)))
        ctx.save_for_backward(means, log_scales, quats, logits, sh)
        ctx.frame = (cams, width, height, antialiased, reach.numpy())
        ctx.mark_non_differentiable(reach, radii)
        return means2d, splats, reach, radii

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_means2d: Tensor, g_splats: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors
        grads = tuple(torch.empty(t.shape) for t in inputs)
        run(
            project_backward,
            *(_array(t) for t in inputs),
            *ctx.frame,
            _array(g_means2d),
            _array(g_splats),
            *(t.numpy() for t in grads),
        )
        return *grads, None, None, None, None


class _Blend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, means2d: Tensor, splats: Tensor, background: Tensor, absolute: Tensor | None, reach: Tensor,
        width: int, height: int, geometry: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        """rgb [B,H,W,3], alpha [B,H,W], weighted sums of depth and normal [B,H,W,4] (height 0 without geometry).

        `absolute` [B,N,2] is not read; what it gets as its gradient is the sum of absolute screen gradients.
        """
        batch, n = reach.shape
        flat = _array(means2d).reshape(batch * n, 2), _array(splats).reshape(batch * n, SPLAT)
        lists = bin_splats(_array(means2d), _array(splats), _array(reach), width, height)
        schedule = _schedule(lists.tile_start, torch.get_num_threads())
        rgb, alpha = torch.empty(batch, height, width, 3), torch.empty(batch, height, width)
        extra = torch.empty(batch, height if geometry else 0, width, 4)
        done = np.empty(len(lists.tile_start) - 1, np.int64)
        scene = (*flat, lists.tile_start, lists.entry_splat, lists.entry_rows, schedule)
        pictures = (*(t.numpy() for t in (rgb, alpha, extra)), done)
        run(blend, *scene, _array(background), geometry, *pictures)
        ctx.kernel_inputs = (*scene, geometry, *pictures)
        ctx.pairs = lists.order, lists.pair_start, lists.slots
        ctx.shapes = means2d.shape, splats.shape
        ctx.save_for_backward(alpha)
        return rgb, alpha, extra

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_rgb: Tensor, g_alpha: Tensor, g_extra: Tensor) -> tuple[Tensor | None, ...]:
        g_means2d, g_splats = (torch.zeros(shape) for shape in ctx.shapes)
        g_absolute = torch.zeros(ctx.shapes[0]) if ctx.needs_input_grad[3] else None
        pairs, parts = len(ctx.pairs[-1]), 2 + (SPLAT if g_extra.numel() else RGB_COLUMNS)
        partial = np.empty((pairs, parts), np.float32)
        spread = None if g_absolute is None else np.empty((pairs, 2), np.float32)
        run(blend_backward, *ctx.kernel_inputs, *(_array(g) for g in (g_rgb, g_alpha, g_extra)), partial, spread)
        run(gather, partial, *ctx.pairs, g_means2d.numpy().reshape(-1, 2), g_splats.numpy().reshape(-1, SPLAT))
        if g_absolute is not None:
            run(gather_absolute, spread, *ctx.pairs, g_absolute.numpy().reshape(-1, 2))
        g_background = None
        if ctx.needs_input_grad[2]:
            (alpha,) = ctx.saved_tensors
            g_background = ((1 - alpha)[..., None] * g_rgb).sum(dim=(1, 2))
        return g_means2d, g_splats, g_background, g_absolute, None, None, None, None


def rasterize(
    gaussians: Gaussians,
    camera: Camera,
    background: Tensor,
    geometry: bool,
    antialiased: bool,
    absolute: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """rgb [B,H,W,3], alpha [B,H,W], depth and normal sums [B,H or 0,W,4], means2d [B,N,2], radii [B,N].

    Work and result of the kernels are on the CPU; means2d lies on the Gaussians' device, on the path of the gradient.
    """
    device = gaussians.means.device
    parameters = [t.to("cpu", torch.float32) for t in gaussians.tensors().values()]
    frame = (camera.width, camera.height)
    means2d, splats, reach, radii = _Project.apply(*parameters, _camera_rows(camera), *frame, antialiased)
    means2d = means2d.to(device)
    background = background.to("cpu", torch.float32)
    absolute = None if absolute is None else absolute.to("cpu", torch.float32)
    pictures = _Blend.apply(means2d.cpu(), splats, background, absolute, reach, *frame, geometry)
    rgb, alpha, extra = (t.to(device) for t in pictures)
    return rgb, alpha, extra, means2d, radii.to(device)
