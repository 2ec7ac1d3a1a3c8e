import math

import numpy as np
import pytest
import torch
import trimesh

from gaussmith.gaussians import Gaussians
from gaussmith.mesh import Mesh


@pytest.fixture
def cube() -> Mesh:
    """A watertight cube, each of its six sides a chart of its own in a texture of random colours."""
    box = trimesh.creation.box()
    faces = torch.tensor(np.array(box.faces))
    vertices = torch.tensor(np.array(box.vertices), dtype=torch.float32)
    uv, uv_faces = [], []
    sides = [tuple(np.round(normal).astype(int)) for normal in box.face_normals]
    for face, side in zip(faces.tolist(), sides):
        column, axis = sorted(set(sides)).index(side), int(np.argmax(np.abs(side)))
        flat = np.delete(np.array(box.vertices)[face], axis, axis=1) + 0.5
        uv_faces.append([len(uv) + i for i in range(3)])
        uv += [((column + 0.1 + 0.8 * u) / 6, 0.1 + 0.8 * v) for u, v in flat]
    generator = np.random.default_rng(0)
    albedo = torch.tensor(generator.integers(0, 256, (16, 64, 3)) / 255, dtype=torch.float32)
    unique, inverse = np.unique(np.array(uv, dtype=np.float32), axis=0, return_inverse=True)
    return Mesh(
        vertices,
        faces,
        uv=torch.tensor(unique),
        uv_faces=torch.tensor(inverse.reshape(-1))[torch.tensor(uv_faces)],
        albedo=albedo,
    )


@pytest.fixture(scope="session")
def make_splat():
    """make_splat(count, degree=0, seed=0, spread=1.0) -> random Gaussians, some colours out of range."""

    def make(count: int, degree: int = 0, seed: int = 0, spread: float = 1.0) -> Gaussians:
        generator = torch.Generator().manual_seed(seed)
        draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
        return Gaussians(
            means=spread * draw(count, 3),
            log_scales=draw(count, 3) - 4 + math.log(spread),
            quats=draw(count, 4),
            opacity_logits=3 * draw(count),
            sh=0.3 * draw(count, (degree + 1) ** 2, 3),
        )

    return make


@pytest.fixture(scope="session")
def angle():
    """angle(a, b) -> the largest angle in degrees between rotations given as quaternions [N,4] of any length."""

    def largest(a: torch.Tensor, b: torch.Tensor) -> float:
        a, b = (torch.nn.functional.normalize(q.double(), dim=1) for q in (a, b))
        apart = torch.minimum((a - b).norm(dim=1), (a + b).norm(dim=1))
        return float(torch.rad2deg(4 * torch.asin(apart / 2)).max()) if len(a) else 0.0

    return largest
