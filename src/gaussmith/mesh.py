"""Triangle meshes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh, wound counter-clockwise seen from outside.

    Attributes:
        vertices: [V,3] float32, world units.
        faces: [F,3] int64 vertex indices.
        normals: [V,3] unit vertex normals, or None.
        uv: [U,2] texture coordinates, glTF's convention: (0,0) is the top left corner of the texture, v points down.
        uv_faces: [F,3] int64 indices into uv (a vertex on a chart border has several uv).
        albedo: [H,W,3] float32 sRGB texture in [0,1]; texel (i,j) has its centre at uv ((j+.5)/W, (i+.5)/H).
        vertex_colors: [V,3] float32 sRGB in [0,1], or None.
        metallic_roughness: (metallic, roughness), both in [0,1].
    """

    vertices: Tensor
    faces: Tensor
    normals: Tensor | None = None
    uv: Tensor | None = None
    uv_faces: Tensor | None = None
    albedo: Tensor | None = None
    vertex_colors: Tensor | None = None
    metallic_roughness: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if self.vertices.ndim != 2 or self.vertices.shape[1] != 3:
            raise ValueError(f"vertices must be [V,3], got {tuple(self.vertices.shape)}")
        if self.faces.ndim != 2 or self.faces.shape[1] != 3:
            raise ValueError(f"faces must be [F,3], got {tuple(self.faces.shape)}")
        if (self.uv is None) != (self.uv_faces is None):
            raise ValueError("uv and uv_faces go together")
        if self.uv_faces is not None and self.uv_faces.shape != self.faces.shape:
            raise ValueError("uv_faces must have one row a face")

    def with_(self, **changes: object) -> Mesh:
        """A copy with some attributes replaced."""
        return replace(self, **changes)  # type: ignore[arg-type]

    @property
    def bounds(self) -> Tensor:
        """[2,3] smallest and largest vertex coordinates."""
        return torch.stack([self.vertices.amin(dim=0), self.vertices.amax(dim=0)])

    def face_normals(self) -> Tensor:
        """[F,3] unit normals (zero for degenerate faces)."""
        a, b, c = (self.vertices[self.faces[:, i]] for i in range(3))
        return torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=-1)

    def vertex_normals(self) -> Tensor:
        """[V,3] area-weighted unit vertex normals; +Y where a vertex has no area around it."""
        a, b, c = (self.vertices[self.faces[:, i]] for i in range(3))
        weighted = torch.linalg.cross(b - a, c - a)
        total = torch.zeros_like(self.vertices)
        for corner in range(3):
            total.index_add_(0, self.faces[:, corner], weighted)
        length = total.norm(dim=-1, keepdim=True)
        up = total.new_tensor([0.0, 1.0, 0.0]).expand_as(total)
        return torch.where(length > 1e-20, total / length.clamp_min(1e-20), up)
