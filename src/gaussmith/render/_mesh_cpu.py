"""The Numba backend of the triangle rasteriser: host side of `_mesh_numba`. Tensors elsewhere are brought to the CPU;
what comes back lies there."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gaussmith.render import _mesh_numba as kernels
from gaussmith.threads import run

SETUP_FACES = 1 << 20
"""Faces x views set up at once: 88 bytes each, so memory stays under 100 MB."""


def _host(tensor: Tensor) -> np.ndarray:
    """The values as the kernels want them: contiguous, on the CPU."""
    return tensor.detach().cpu().contiguous().numpy()


def home(device: torch.device) -> torch.device:
    """Where results lie for inputs on `device`."""
    return torch.device("cpu")


def rasterize(
    vertices: Tensor, faces: Tensor, projections: Tensor, near: float, height: int, width: int
) -> tuple[Tensor, Tensor, Tensor]:
    """face [B,H,W] int64, barycentric [B,H,W,3] and depth [B,H,W] of float32 vertices under K [R|t] float64 [B,3,4]."""
    views = len(projections)
    face = torch.full((views, height, width), -1)
    barycentric = torch.zeros(views, height, width, 3)
    depth = torch.zeros(views, height, width)
    points, triangles, matrices = _host(vertices), _host(faces), _host(projections)
    step = max(1, SETUP_FACES // max(1, faces.shape[0]))
    for start in range(0, views, step):
        part = slice(start, start + step)
        outputs = (face[part].numpy(), barycentric[part].numpy(), depth[part].numpy())
        projected = np.empty((len(outputs[0]), len(points), 3))
        run(kernels.project, points, matrices[part], projected)
        edges = np.empty((len(projected), len(triangles), 3, 3))
        boxes = np.zeros((len(projected), len(triangles), 4), np.int32)
        run(kernels.setup, projected, triangles, near, height, width, edges, boxes)
        run(kernels.draw, projected, triangles, edges, boxes, near, *outputs)
    return face, barycentric, depth


def interpolate(attributes: Tensor, faces: Tensor, face: Tensor, barycentric: Tensor, side: int) -> Tensor:
    """[B,H/side,W/side,C] sums over each pixel's samples, of the type of attributes [A,C]."""
    size = len(face), face.shape[1] // side, face.shape[2] // side
    values = torch.zeros(*size, attributes.shape[1], dtype=attributes.dtype)
    samples = (_host(faces), _host(face), _host(barycentric), side)
    run(kernels.interpolate, _host(attributes), *samples, values.numpy())
    return values


def lookup(texture: Tensor, uv: Tensor, drawn: Tensor, side: int) -> Tensor:
    """[B,H/side,W/side,C] sums of bilinear samples of texture [H,W,C] at uv [B,H,W,2] where drawn [B,H,W]."""
    batch, height, width = drawn.shape
    out = torch.zeros(batch, height // side, width // side, texture.shape[2], dtype=texture.dtype)
    run(kernels.lookup, _host(texture), _host(uv), _host(drawn), side, out.numpy())
    return out


def lookup_backward(gradient: Tensor, uv: Tensor, drawn: Tensor, side: int, shape: torch.Size) -> Tensor:
    """Gradient of the texture of that shape from that of the result of `lookup`."""
    texture = torch.zeros(shape, dtype=gradient.dtype)
    run(kernels.lookup_backward, _host(gradient), _host(uv), _host(drawn), side, texture.numpy())
    return texture


def geometry(
    normals: Tensor, faces: Tensor, face: Tensor, barycentric: Tensor, depth: Tensor, rays: Tensor, side: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Covered samples [1,H,W,1], their mean depth [1,H,W,1] and mean normal [1,H,W,3] turned to the camera, of one view
    of samples [1,H*side,W*side]; rays [3,3] takes a sample's (x, y, 1) to its viewing direction."""
    size = face.shape[1] // side, face.shape[2] // side
    count, mean, normal = torch.zeros(1, *size, 1), torch.zeros(1, *size, 1), torch.zeros(1, *size, 3)
    samples = (_host(t[0]) for t in (face, barycentric, depth))
    outputs = (count[0, ..., 0].numpy(), mean[0, ..., 0].numpy(), normal[0].numpy())
    run(kernels.geometry, _host(normals), _host(faces), *samples, _host(rays), side, *outputs)
    return count, mean, normal
