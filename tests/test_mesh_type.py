"""The Mesh container."""

import pytest
import torch

from gaussmith.mesh import Mesh

# A right-angled tetrahedron, wound outwards.
VERTICES = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
FACES = torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])


def test_face_normals_point_out():
    mesh = Mesh(VERTICES, FACES)
    s = 3**-0.5
    expected = torch.tensor([[0.0, 0, -1], [0, -1, 0], [-1, 0, 0], [s, s, s]])
    torch.testing.assert_close(mesh.face_normals(), expected)


def test_vertex_normals_against_a_loop():
    mesh = Mesh(VERTICES, FACES)
    for v in range(4):
        total = torch.zeros(3)
        for face in FACES.tolist():
            if v in face:
                a, b, c = VERTICES[face]
                total += torch.linalg.cross(b - a, c - a)
        torch.testing.assert_close(mesh.vertex_normals()[v], total / total.norm())


def test_degenerate_faces_and_lone_vertices():
    mesh = Mesh(torch.cat([VERTICES, torch.ones(1, 3)]), torch.tensor([[0, 1, 1]]))
    torch.testing.assert_close(mesh.face_normals(), torch.zeros(1, 3))
    torch.testing.assert_close(mesh.vertex_normals(), torch.tensor([[0.0, 1, 0]]).repeat(5, 1))


def test_bounds_and_with():
    mesh = Mesh(VERTICES, FACES).with_(vertex_colors=torch.rand(4, 3, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(mesh.bounds, torch.tensor([[0.0, 0, 0], [1, 1, 1]]))
    assert mesh.vertex_colors is not None and torch.equal(mesh.faces, FACES)


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="vertices"):
        Mesh(VERTICES[:, :2], FACES)
    with pytest.raises(ValueError, match="faces"):
        Mesh(VERTICES, FACES[:, :2])
    with pytest.raises(ValueError, match="go together"):
        Mesh(VERTICES, FACES, uv=VERTICES[:, :2])
    with pytest.raises(ValueError, match="one row a face"):
        Mesh(VERTICES, FACES, uv=VERTICES[:, :2], uv_faces=FACES[:2])
