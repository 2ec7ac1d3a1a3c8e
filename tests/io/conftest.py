import numpy as np
import pytest
import torch
import trimesh

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
