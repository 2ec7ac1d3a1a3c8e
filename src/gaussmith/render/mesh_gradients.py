"""What a mesh's pixels see, differentiable in the vertices: barycentrics and depth as functions of the corners.

Which face a pixel sees has no gradient; where on that face it looks has one. This is the arithmetic of `_mesh_numba`
(homogeneous pixels, edge vectors) in plain torch and float64, operation by operation, so that nothing but the gradient
is new. What changes at silhouettes stands in `antialias`.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from gaussmith.accelerator import onto
from gaussmith.camera import Camera
from gaussmith.render._rows import take
from gaussmith.render.mesh import Fragments, projections


def homogeneous(vertices: Tensor, camera: Camera) -> Tensor:
    """Homogeneous pixels float64 [B,V,3] of vertices [V,3]: (x, y) times the camera depth, and that depth."""
    p = onto(projections(camera), vertices.device)[:, None]
    x, y, z = vertices.double().unbind(dim=-1)
    rows = [p[..., i, 0] * x + p[..., i, 1] * y + p[..., i, 2] * z + p[..., i, 3] for i in range(3)]
    return torch.stack(rows, dim=-1)


def cross(p: Tensor, q: Tensor) -> Tensor:
    """Cross product [...,3], rounded product by product: exactly opposite for exchanged arguments."""
    (p0, p1, p2), (q0, q1, q2) = p.unbind(dim=-1), q.unbind(dim=-1)
    return torch.stack([p1 * q2 - p2 * q1, p2 * q0 - p0 * q2, p0 * q1 - p1 * q0], dim=-1)


def edge_vectors(corners: Tensor) -> Tensor:
    """Edge vectors [...,3,3] of faces from the homogeneous pixels of their corners [...,3,3]: row i is the line through
    the corners other than i, and n_i . (x, y, 1) is proportional to the barycentric of corner i at that pixel."""
    a, b, c = corners.unbind(dim=-2)
    return torch.stack([cross(b, c), cross(c, a), cross(a, b)], dim=-2)


def at_pixels(lines: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Lines [...,3] at pixel positions: a x + b y + c."""
    return lines[..., 0] * x + (lines[..., 1] * y + lines[..., 2])


def with_gradients(fragments: Fragments, vertices: Tensor, faces: Tensor, camera: Camera) -> Fragments:
    """The same fragments, whose barycentrics and depth are differentiable in `vertices`.

    Use them with `gaussmith.render.mesh.interpolate`: positions, normals and colours then follow the vertices. Sums of
    gradients have the same bits every time. A GPU is waited for once, for the number of covered pixels.

    Args:
        fragments: from `rasterize_mesh` with these vertices, faces and cameras.
        vertices: [V,3], float32 or float64; so are the results.
    """
    at = b, row, column = torch.nonzero(fragments.face >= 0, as_tuple=True)
    points = homogeneous(vertices, camera)
    corner = faces[fragments.face[at]] + len(vertices) * b[:, None]
    corners = take(points.flatten(0, 1), corner.flatten()).reshape(-1, 3, 3)
    e0, e1, e2 = at_pixels(edge_vectors(corners), column[:, None] + 0.5, row[:, None] + 0.5).unbind(dim=-1)
    scale = 1 / (e0 + e1 + e2)
    weights = torch.stack([e0 * scale, e1 * scale, e2 * scale], dim=-1)
    z = corners[..., 2]
    depths = weights[:, 0] * z[:, 0] + weights[:, 1] * z[:, 1] + weights[:, 2] * z[:, 2]
    barycentric, depth = (vertices.new_zeros(*fragments.face.shape, *last) for last in ((3,), ()))
    barycentric[at], depth[at] = weights.to(vertices.dtype), depths.to(vertices.dtype)
    return replace(fragments, barycentric=barycentric, depth=depth)
