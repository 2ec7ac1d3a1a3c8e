"""An unwrapped object whose colours have a closed form."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
import trimesh
from torch import Tensor

from gaussmith.mesh import Mesh
from gaussmith.texture.atlas import Atlas, atlas_fragments
from gaussmith.texture.unwrap import unwrap

SIZE = 256


@dataclass(frozen=True)
class Coloured:
    """A mesh with uv, and a smooth colour for every place in the world."""

    mesh: Mesh
    atlas: Atlas

    @staticmethod
    def colour(points: Tensor) -> Tensor:
        return 0.5 + 0.4 * torch.sin(points * points.new_tensor([8.0, 9.0, 7.0]) + 5 * points.roll(1, dims=-1))

    def points(self) -> Tensor:
        """[T,3] place of every texel of the atlas."""
        return torch.from_numpy(self.atlas.at_corners(self.mesh.vertices.numpy(), self.mesh.faces.numpy()))

    def albedo(self) -> Tensor:
        """[S,S,3] the true texture, the gutter spread from it."""
        return torch.from_numpy(self.atlas.spread(self.atlas.image(self.colour(self.points()).numpy())))


@pytest.fixture(scope="session")
def blob() -> Coloured:
    """A closed surface of 1,280 faces with bumps, unwrapped for 256 x 256 texels."""
    sphere = trimesh.creation.icosphere(subdivisions=3, radius=1.0)
    v = torch.from_numpy(sphere.vertices.copy()).float()
    bumps = 0.5 + 0.06 * torch.sin(7 * v[:, :1]) * torch.cos(6 * v[:, 1:2]) + 0.05 * v[:, 2:]
    mesh = unwrap(Mesh(v * bumps, torch.from_numpy(sphere.faces.copy()).long()), SIZE)
    return Coloured(mesh, atlas_fragments(mesh, SIZE))
