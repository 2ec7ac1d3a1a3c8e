"""The texel map against slow loops and its own inverse."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gaussmith.mesh import Mesh
from gaussmith.texture.atlas import MARGIN, atlas_fragments


def test_one_triangle_against_a_slow_loop():
    uv = np.array([[0.13, 0.21], [0.81, 0.34], [0.42, 0.88]], dtype=np.float32)
    mesh = Mesh(torch.eye(3), torch.tensor([[0, 1, 2]]), uv=torch.from_numpy(uv), uv_faces=torch.tensor([[0, 1, 2]]))
    size = 16
    atlas = atlas_fragments(mesh, size)
    a, b, c = uv.astype(np.float64) * size
    expected = {}
    for i in range(size):
        for j in range(size):
            p = np.array([j + 0.5, i + 0.5])
            u, v = np.linalg.solve(np.stack([b - a, c - a], axis=1), p - a)
            if min(u, v, 1 - u - v) >= 0:
                expected[i * size + j] = (1 - u - v, u, v)
    assert set(atlas.texels[atlas.inside]) == set(expected)
    for texel, weights in zip(atlas.texels, atlas.barycentric):
        if texel in expected:
            assert weights == pytest.approx(expected[texel], abs=1e-5)


def test_round_trip_texel_to_surface_to_uv(blob):
    """The uv of the point a texel shows is the texel's centre, or the nearest point of a chart for the margin."""
    atlas, mesh = blob.atlas, blob.mesh
    back = atlas.at_corners(mesh.uv.numpy(), mesh.uv_faces.numpy()) * atlas.size
    centre = np.stack([atlas.texels % atlas.size, atlas.texels // atlas.size], axis=1) + 0.5
    away = np.linalg.norm(back - centre, axis=1)
    assert away[atlas.inside].max() < 1e-3
    assert away[~atlas.inside].min() > 0 and away[~atlas.inside].max() < MARGIN + 1e-3
    assert np.abs(atlas.barycentric.sum(axis=1) - 1).max() < 1e-5 and atlas.barycentric.min() > -1e-5


def test_every_bilinear_lookup_in_a_chart_reads_only_mapped_texels(blob):
    rng = np.random.default_rng(3)
    weights = rng.dirichlet([0.4, 0.4, 0.4], size=(len(blob.mesh.faces), 8))  # many near the faces' borders
    uv = np.einsum("fsk,fkc->fsc", weights, blob.mesh.uv.numpy()[blob.mesh.uv_faces.numpy()]).reshape(-1, 2)
    mapped = blob.atlas.image(np.ones(len(blob.atlas.texels), dtype=bool), outside=False)
    low = np.floor(uv * 256 - 0.5).astype(int)
    for di in (0, 1):
        for dj in (0, 1):
            assert mapped[np.clip(low[:, 1] + di, 0, 255), np.clip(low[:, 0] + dj, 0, 255)].all()


def test_spread_repeats_the_nearest_texel(blob):
    atlas = blob.atlas
    where = np.indices((256, 256)).transpose(1, 2, 0).astype(np.float32)
    out = atlas.spread(where)
    mapped = atlas.image(np.ones(len(atlas.texels), dtype=bool), outside=False)
    assert np.array_equal(out[mapped], where[mapped])
    targets = where[mapped]
    for i, j in np.argwhere(~mapped)[::997]:
        nearest = np.linalg.norm(targets - [i, j], axis=1).min()
        assert np.linalg.norm(out[i, j] - [i, j]) == pytest.approx(nearest)


def test_without_uv_is_an_error():
    with pytest.raises(ValueError, match="unwrap"):
        atlas_fragments(Mesh(torch.eye(3), torch.tensor([[0, 1, 2]])), 16)
