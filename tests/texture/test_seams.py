"""Chart borders: found by topology, measured, and made to agree."""

from __future__ import annotations

import numpy as np
import torch

from gaussmith.mesh import Mesh
from gaussmith.texture.seams import equalise_seams, seam_edges, seam_error, seam_samples
from gaussmith.texture.unwrap import chart_ids


def surface_points(mesh: Mesh, uv: np.ndarray) -> np.ndarray:
    """The place in the world of uv points that lie on edges of the mesh: search every face, slowly."""
    corners = mesh.uv.double().numpy()[mesh.uv_faces.numpy()]
    places = mesh.vertices.double().numpy()[mesh.faces.numpy()]
    basis = np.linalg.inv(np.stack([corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]], axis=2))
    out = []
    for point in uv:
        uv_local = np.einsum("fij,fj->fi", basis, point - corners[:, 0])
        weights = np.concatenate([1 - uv_local.sum(axis=1, keepdims=True), uv_local], axis=1)
        face = weights.min(axis=1).argmax()
        assert weights[face].min() > -1e-3
        out.append(weights[face] @ places[face])
    return np.array(out)


def tinted(blob) -> torch.Tensor:
    """The true texture with every chart's brightness off by its own amount, as independent pictures would leave it."""
    charts = chart_ids(blob.mesh)
    offset = np.random.default_rng(1).uniform(-0.05, 0.05, (charts.max() + 1, 3)).astype(np.float32)
    return blob.albedo() + torch.from_numpy(blob.atlas.spread(blob.atlas.image(offset[charts[blob.atlas.face]])))


def test_both_sides_of_a_seam_are_one_place(blob):
    here, there = seam_samples(blob.mesh, 256)
    assert len(here) > 200
    pick = np.linspace(0, len(here) - 1, 60).astype(int)
    assert np.abs(surface_points(blob.mesh, here[pick]) - surface_points(blob.mesh, there[pick])).max() < 1e-3
    assert np.linalg.norm(here - there, axis=1).min() * 256 > 0


def test_seam_edges_are_the_edges_between_faces_that_part(blob):
    """Counted by a slow loop over the faces' edges."""
    sides: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for face, corners in zip(blob.mesh.faces.tolist(), blob.mesh.uv_faces.tolist()):
        for i in range(3):
            (a, u), (b, v) = sorted([(face[i], corners[i]), (face[(i + 1) % 3], corners[(i + 1) % 3])])
            sides.setdefault((a, b), []).append((u, v))
    assert all(len(pair) == 2 for pair in sides.values())
    assert len(seam_edges(blob.mesh)) == sum(one != other for one, other in sides.values())


def test_a_smooth_texture_has_no_jump_and_a_tinted_one_has(blob):
    assert seam_error(blob.albedo(), blob.mesh).p95 < 4
    assert seam_error(tinted(blob), blob.mesh).mean > 6


def test_equalising_closes_the_seams_and_little_else(blob):
    before = tinted(blob)
    after = equalise_seams(before, blob.mesh, blob.atlas)
    old, new = seam_error(before, blob.mesh), seam_error(after, blob.mesh)
    assert new.mean < 0.1 * old.mean and new.p95 < 2
    assert (after - before).abs().max() < 0.1  # the two sides meet in the middle
    same = equalise_seams(before, blob.mesh, blob.atlas)
    assert torch.equal(after, same)


def test_equalising_a_good_texture_changes_next_to_nothing(blob):
    truth = blob.albedo()
    change = equalise_seams(truth, blob.mesh, blob.atlas) - truth
    assert change.square().mean().sqrt() < 1 / 255


def test_without_seams_there_is_nothing_to_do(blob):
    triangle = Mesh(
        torch.eye(3),
        torch.tensor([[0, 1, 2]]),
        uv=torch.tensor([[0.1, 0.1], [0.9, 0.1], [0.1, 0.9]]),
        uv_faces=torch.tensor([[0, 1, 2]]),
    )
    albedo = torch.rand(256, 256, 3, generator=torch.Generator().manual_seed(0))
    assert seam_error(albedo, triangle).samples == 0
    assert torch.equal(equalise_seams(albedo, triangle, blob.atlas), albedo)
