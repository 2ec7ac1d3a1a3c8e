"""Triangle rasteriser on the CPU: coverage, interpolation, texture lookup with gradients, pictures of a mesh."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gaussmith.camera import Camera
from gaussmith.render import _mesh_numba as kernels

NEAR = 0.01  # world units; the object's nearest point is about 1.4 from the default camera
_SETUP_FACES = 1 << 20  # faces x views set up at once: 90 bytes each, so memory stays under 100 MB


@dataclass(frozen=True)
class Fragments:
    """What each pixel sees first.

    Attributes:
        face: [B,H,W] int64 index of the face, -1 where there is none.
        barycentric: [B,H,W,3] float32 perspective-correct weights of the face's corners, 0 where there is none.
        depth: [B,H,W] float32 camera z in world units, 0 where there is none.
    """

    face: Tensor
    barycentric: Tensor
    depth: Tensor


def rasterize_mesh(vertices: Tensor, faces: Tensor, camera: Camera) -> Fragments:
    """Find the nearest face behind every pixel centre, both sides of a face alike; no gradients.

    Faces nearer than `NEAR` are cut there. A pixel centre on an edge belongs to exactly one of the faces that share it.
    Source: Olano & Greer 1997 (homogeneous coverage), see `_mesh_numba`.

    Args:
        vertices: [V,3] world positions.
        faces: [F,3] vertex indices.
        camera: B cameras.

    Raises:
        ValueError: a vertex is not finite, or an index is out of range.
    """
    if not bool(torch.isfinite(vertices).all()):
        raise ValueError("mesh vertices must be finite")
    if faces.numel() and (int(faces.min()) < 0 or int(faces.max()) >= vertices.shape[0]):
        raise ValueError(f"face indices must be in [0, {vertices.shape[0]})")
    views, height, width = len(camera), camera.height, camera.width
    face = torch.empty(views, height, width, dtype=torch.int64)
    barycentric = torch.empty(views, height, width, 3)
    depth = torch.empty(views, height, width)
    points = vertices.detach().float().contiguous().numpy()
    triangles = faces.contiguous().numpy()
    projections = (camera.K.double() @ camera.w2c[:, :3].double()).numpy()
    step = max(1, _SETUP_FACES // max(1, faces.shape[0]))
    for start in range(0, views, step):
        part = slice(start, start + step)
        projected = kernels.project(points, projections[part])
        edges, boxes = kernels.setup(projected, triangles, NEAR, height, width)
        outputs = (face[part].numpy(), barycentric[part].numpy(), depth[part].numpy())
        kernels.draw(projected, triangles, edges, boxes, NEAR, *outputs)
    return Fragments(face, barycentric, depth)


def interpolate(attributes: Tensor, faces: Tensor, fragments: Fragments) -> Tensor:
    """Values [B,H,W,C] at the pixels from values [A,C] at the corners, 0 where there is no face; no gradients.

    `faces` [F,3] indexes `attributes`: a mesh's `faces` for vertex attributes, its `uv_faces` for `uv`.
    """
    flat = kernels.interpolate(
        attributes.detach().float().contiguous().numpy(),
        faces.contiguous().numpy(),
        fragments.face.reshape(-1).numpy(),
        fragments.barycentric.reshape(-1, 3).numpy(),
    )
    return torch.from_numpy(flat).reshape(*fragments.face.shape, attributes.shape[1])
