"""The Triton backend of the triangle rasteriser: host side of `_mesh_triton_draw` and `_mesh_triton_shade`, with the
functions of `_mesh_cpu`. Everything stays on the inputs' device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from gaussmith.accelerator import enough_memory, onto
from gaussmith.events import UserError
from gaussmith.render._rows import from_whole, whole_scale
from gaussmith.render._triton import INTERPRETED  # its import says what to do where Triton is missing

# isort: split
import triton

from gaussmith.render import _mesh_triton_draw, _mesh_triton_shade
from gaussmith.render._mesh_triton_draw import ROW
from gaussmith.render._triton_bin import MAX_PAIRS

SETUP_FACES = 1 << 22
"""Faces x views drawn at once: 112 bytes each, 0.5 GB in all."""
TILE = 8
"""Side of a screen tile in samples: a face of a fine mesh spans a few of them, and each test beside it is float64."""
CHUNK = 2
"""Entries per turn of a tile's loop: what one warp holds in registers without spilling."""
SETUP_BLOCK, BLOCK, CHANNELS = 64, 256, 8
"""Faces, pixels, and most channels of a program. Not fewer pixels than threads: Triton 3.7 fails on that for gfx942."""


@contextmanager
def _beside(tensor: Tensor, work: str) -> Iterator[None]:
    """Kernels are launched on the tensor's device; what is wrong with it is one sentence."""
    if tensor.device.type == "cpu" and not INTERPRETED:
        raise UserError("The triton backend draws on a GPU; move the mesh there or draw with backend='numba'.")
    lower = "lower the number of faces, the picture size, the supersampling or the number of views at once"
    with enough_memory(work, lower), torch.cuda.device_of(tensor):
        yield


def home(device: torch.device) -> torch.device:
    """Where results lie for inputs on `device`."""
    return device


def _bin(boxes: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Tile lists of boxes [B,F,4]: tile_start [B*T+1] and entries, both int64, see `_mesh_triton_draw.draw`.

    The host waits for the device here, for the length of the lists. Raises UserError beyond MAX_PAIRS.
    """
    views, count = boxes.shape[:2]
    across, down = -(-width // TILE), -(-height // TILE)
    low = boxes[..., :2] // TILE
    spans = torch.where(boxes[..., 2:] > boxes[..., :2], (boxes[..., 2:] + TILE - 1) // TILE - low, 0)
    spans, low = spans.reshape(-1, 2).long(), low.reshape(-1, 2)
    counts = spans[:, 0] * spans[:, 1]
    ends = torch.cumsum(counts, 0)
    total = int(ends[-1])
    if total > MAX_PAIRS:
        raise UserError(
            f"The faces cover {total:,} tiles, more than the {MAX_PAIRS:,} that one picture may take; draw fewer or "
            "smaller faces, a smaller picture or fewer cameras at once."
        )
    owner = torch.repeat_interleave(torch.arange(views * count, device=boxes.device), counts, output_size=total)
    within = torch.arange(total, device=boxes.device) - (ends - counts)[owner]
    row, column = within // spans[owner, 0], within % spans[owner, 0]
    tile = (owner // count * down + low[owner, 1] + row) * across + low[owner, 0] + column
    tile, order = torch.sort(tile.int())
    bounds = torch.arange(views * across * down + 1, device=boxes.device, dtype=torch.int32)
    return torch.searchsorted(tile, bounds), owner[order]


def rasterize(
    vertices: Tensor, faces: Tensor, projections: Tensor, near: float, height: int, width: int
) -> tuple[Tensor, Tensor, Tensor]:
    """As `_mesh_cpu.rasterize`."""
    device, views, count = vertices.device, len(projections), len(faces)
    face = torch.full((views, height, width), -1, device=device)
    barycentric = torch.zeros(views, height, width, 3, device=device)
    depth = torch.zeros(views, height, width, device=device)
    if count == 0:
        return face, barycentric, depth
    work = f"drawing {count:,} faces from {views} camera(s) at {width}x{height}"
    with _beside(vertices, work):
        vertices, faces, matrices = vertices.contiguous(), faces.contiguous(), onto(projections, device).contiguous()
        clip = torch.full((1,), near, dtype=torch.float64, device=device)
        step = max(1, SETUP_FACES // count)
        for start in range(0, views, step):
            part = slice(start, start + step)
            some = len(face[part])
            rows = torch.empty(some, count, ROW, dtype=torch.float64, device=device)
            boxes = torch.empty(some, count, 4, dtype=torch.int32, device=device)
            _mesh_triton_draw.setup[(triton.cdiv(count, SETUP_BLOCK), some)](
                vertices, faces, matrices[part], count, width, height, clip, rows, boxes,
                BLOCK=SETUP_BLOCK, num_warps=2, enable_fp_fusion=False,
            )  # fmt: skip
            tile_start, entries = _bin(boxes, height, width)
            _mesh_triton_draw.draw[(len(tile_start) - 1,)](
                rows, boxes, tile_start, entries, count, width, height, clip,
                face[part], barycentric[part], depth[part], TILE=TILE, CHUNK=CHUNK, num_warps=1, enable_fp_fusion=False,
            )  # fmt: skip
    return face, barycentric, depth


def _blocks(pixels: int, channels: int) -> tuple[tuple[int, int], dict[str, Any]]:
    """Grid and constants of a kernel over pixels and channels."""
    padded = min(triton.next_power_of_2(channels), CHANNELS)
    constants = {"CHANNELS": channels, "PADDED": padded, "BLOCK": BLOCK, "enable_fp_fusion": False}
    return (triton.cdiv(pixels, BLOCK), triton.cdiv(channels, padded)), constants


def interpolate(attributes: Tensor, faces: Tensor, face: Tensor, barycentric: Tensor, side: int) -> Tensor:
    """As `_mesh_cpu.interpolate`."""
    views, high, wide = face.shape
    shape = views, high // side, wide // side, attributes.shape[1]
    with _beside(face, f"interpolating {shape[3]} channels at {views}x{wide}x{high} samples"):
        out = attributes.new_empty(shape)
        if out.numel():
            grid, constants = _blocks(out[..., 0].numel(), shape[3])
            tensors = (t.contiguous() for t in (attributes, faces, face, barycentric))
            _mesh_triton_shade.interpolate[grid](*tensors, *shape[:3], high, wide, side, out, **constants)
    return out


def lookup(texture: Tensor, uv: Tensor, drawn: Tensor, side: int) -> Tensor:
    """As `_mesh_cpu.lookup`."""
    (views, high, wide), (rows, columns, channels) = drawn.shape, texture.shape
    with _beside(texture, f"looking up a {columns}x{rows} texture at {views}x{wide}x{high} samples"):
        out = texture.new_empty(views, high // side, wide // side, channels)
        if out.numel():
            grid, constants = _blocks(out[..., 0].numel(), channels)
            samples, sizes = (uv.contiguous(), drawn.contiguous().view(torch.uint8)), (*out.shape[:3], high, wide, side)
            _mesh_triton_shade.lookup[grid](texture.contiguous(), *samples, rows, columns, *sizes, out, **constants)
    return out


def lookup_backward(gradient: Tensor, uv: Tensor, drawn: Tensor, side: int, shape: torch.Size) -> Tensor:
    """As `_mesh_cpu.lookup_backward`."""
    (views, high, wide), (rows, columns, channels) = drawn.shape, shape
    with _beside(gradient, f"pulling {views}x{wide}x{high} samples back to a {columns}x{rows} texture"):
        sums = torch.zeros(shape, dtype=torch.int64, device=gradient.device)
        scale = whole_scale(gradient, drawn.numel())
        if gradient.numel():
            grid, constants = _blocks(gradient[..., 0].numel(), channels)
            samples = (gradient.contiguous(), uv.contiguous(), drawn.contiguous().view(torch.uint8), scale)
            sizes = (*gradient.shape[:3], high, wide, side)
            _mesh_triton_shade.lookup_backward[grid](*samples, rows, columns, *sizes, sums, **constants)
        return from_whole(sums, scale, gradient.dtype)


def geometry(
    normals: Tensor, faces: Tensor, face: Tensor, barycentric: Tensor, depth: Tensor, rays: Tensor, side: int
) -> tuple[Tensor, Tensor, Tensor]:
    """As `_mesh_cpu.geometry`."""
    (_, high, wide), device = face.shape, face.device
    height, width = high // side, wide // side
    with _beside(face, f"shading {wide}x{high} samples"):
        count, mean, normal = (torch.empty(1, height, width, n, device=device) for n in (1, 1, 3))
        tensors = [t.contiguous() for t in (normals, faces, face, barycentric, depth)]
        directions = onto(rays, device).double().contiguous()
        _mesh_triton_shade.geometry[(triton.cdiv(height * width, BLOCK),)](
            *tensors, directions, height, width, wide, side, count, mean, normal, BLOCK=BLOCK, enable_fp_fusion=False
        )
    return count, mean, normal
