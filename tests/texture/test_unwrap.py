"""The atlas that unwrapping makes: valid coordinates, no overlap, untouched topology, the same every time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh

from gaussmith.events import UserError
from gaussmith.mesh import Mesh
from gaussmith.texture.unwrap import _place_lost, chart_ids, unwrap


def areas_in_texels(mesh: Mesh, size: int) -> np.ndarray:
    corners = mesh.uv.double().numpy()[mesh.uv_faces.numpy()] * size
    (ax, ay), (bx, by) = (corners[:, 1] - corners[:, 0]).T, (corners[:, 2] - corners[:, 0]).T
    return np.abs(ax * by - ay * bx) / 2


def strictly_inside(mesh: Mesh, points: np.ndarray) -> np.ndarray:
    """How many faces have each uv point strictly inside: a slow loop over the faces."""
    count = np.zeros(len(points), dtype=int)
    for a, b, c in mesh.uv.double().numpy()[mesh.uv_faces.numpy()]:
        sides = [
            (q[0] - p[0]) * (points[:, 1] - p[1]) - (q[1] - p[1]) * (points[:, 0] - p[0])
            for p, q in ((a, b), (b, c), (c, a))
        ]
        tolerance = 1e-9
        count += np.all([s > tolerance for s in sides], axis=0) | np.all([s < -tolerance for s in sides], axis=0)
    return count


def test_keeps_the_mesh_and_gives_every_face_a_place(blob):
    mesh = blob.mesh
    assert mesh.uv_faces.shape == mesh.faces.shape
    assert mesh.uv.min() >= 0 and mesh.uv.max() <= 1
    flat = areas_in_texels(mesh, 256)
    shares = flat / flat.sum() / (torch.linalg.cross(*_edges(mesh)).norm(dim=1).double().numpy())
    shares /= np.median(shares)
    assert shares.min() > 0.2 and shares.max() < 20  # no face is crushed or blown up
    assert flat.sum() > 0.3 * 256**2  # the texture is used


def _edges(mesh: Mesh) -> tuple[torch.Tensor, torch.Tensor]:
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    return b - a, c - a


def test_no_point_of_the_texture_lies_in_two_faces(blob):
    points = np.random.default_rng(0).random((4000, 2))
    count = strictly_inside(blob.mesh, points)
    assert count.max() == 1 and (count == 1).mean() > 0.3


def test_charts_keep_their_distance(blob):
    charts = blob.atlas.image(chart_ids(blob.mesh)[blob.atlas.face], outside=-1)
    inside = blob.atlas.image(blob.atlas.inside, outside=False)
    rows, columns = np.nonzero(inside)
    for di, dj in ((0, 1), (0, 2), (0, 3), (1, 0), (2, 0), (3, 0), (1, 1), (2, 2), (1, -1), (2, -2)):
        i, j = np.clip(rows + di, 0, 255), np.clip(columns + dj, 0, 255)
        both = inside[i, j]
        assert (charts[rows, columns][both] == charts[i, j][both]).all()


def test_same_bytes_twice(blob):
    plain = blob.mesh.with_(uv=None, uv_faces=None)
    first, second = unwrap(plain, 128), unwrap(plain, 128)
    assert torch.equal(first.uv, second.uv) and torch.equal(first.uv_faces, second.uv_faces)
    assert torch.equal(first.faces, plain.faces) and torch.equal(first.vertices, plain.vertices)


@pytest.mark.parametrize("scale", [1e-4, 1e3])
def test_the_size_of_the_object_does_not_matter(blob, scale):
    plain = blob.mesh.with_(uv=None, uv_faces=None)
    scaled = unwrap(plain.with_(vertices=plain.vertices * scale), 256)
    assert areas_in_texels(scaled, 256).min() > 0


def test_degenerate_faces_still_get_coordinates():
    box = trimesh.creation.box(extents=(1, 1, 1))
    vertices = np.concatenate([box.vertices, box.vertices[:1], [[3.0, 0, 0]]])
    bad = [[0, 0, 1], [2, 2, 2], [box.faces[0, 0], box.faces[0, 1], 8], [9, 9, 9]]
    mesh = Mesh(torch.from_numpy(vertices).float(), torch.from_numpy(np.concatenate([box.faces, bad])).long())
    out = unwrap(mesh, 64)
    assert torch.equal(out.faces, mesh.faces)
    assert torch.isfinite(out.uv).all() and out.uv.min() >= 0 and out.uv.max() <= 1
    assert out.uv_faces.min() >= 0 and out.uv_faces.max() < len(out.uv)
    assert areas_in_texels(out, 64)[:12].min() > 50


def test_lost_faces_get_their_own_triangles():
    uv = np.array([[0.0, 0.0], [64.0, 0.0], [64.0, 64.0], [0.0, 64.0]])
    uv_faces = np.array([[0, 1, 2], [0, 2, 3], [1, 1, 2], [0, 0, 0]])
    texels, faces = _place_lost(uv, uv_faces, np.array([2, 3]), 64, 4)
    mesh = Mesh(
        torch.zeros(3, 3),
        torch.zeros(4, 3, dtype=torch.long),
        uv=torch.from_numpy(texels / 64).float(),
        uv_faces=torch.from_numpy(faces),
    )
    assert areas_in_texels(mesh, 64)[2:] == pytest.approx([4.5, 4.5], rel=1e-4)
    assert strictly_inside(mesh, np.random.default_rng(1).random((20000, 2))).max() == 1
    assert texels.min() >= 0 and texels.max() <= 64


def test_no_surface_is_a_user_error():
    flat = Mesh(torch.zeros(3, 3), torch.tensor([[0, 1, 2]]))
    with pytest.raises(UserError, match="no surface"):
        unwrap(flat, 64)
