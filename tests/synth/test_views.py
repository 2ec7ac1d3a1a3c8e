"""Training views: they are premultiplied, reproducible, resumable, and show what the cameras say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gaussmith.events import UserError
from gaussmith.mesh import Mesh
from gaussmith.synth.objects import ObjectSet
from gaussmith.synth.views import (
    load_views,
    misplaced,
    render_shards,
    render_views,
    sample_directions,
    softly_lit,
)


def objects(count: int = 5) -> ObjectSet:
    """Red tetrahedra, one corner of each a little further out than in the last."""
    corners = [np.array([[-9000, -9000, -9000], [18000 + i, 0, 0], [0, 18000, 0], [0, 0, 18000]]) for i in range(count)]
    sides = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32)
    return ObjectSet(
        positions=np.concatenate(corners).astype(np.int16),
        colors=np.tile(np.array([[200, 40, 0, 255]], np.uint8), (4 * count, 1)),
        faces=np.tile(sides, (count, 1)),
        vertex_offsets=np.arange(count + 1) * 4,
        face_offsets=np.arange(count + 1) * 4,
        names=np.array([f"object-{chr(97 + i)}" for i in range(count)]),
        packs=np.array(["pack"] * count),
    )


def test_colours_are_premultiplied_by_coverage() -> None:
    rgba = render_views(objects().mesh(0), np.array([0.0, 130.0]), np.array([10.0, -20.0]), size=32)
    assert rgba.shape == (2, 32, 32, 4) and rgba.dtype == np.uint8
    alpha = rgba[..., 3].astype(float)
    assert (alpha == 0).any() and (alpha == 255).any() and ((alpha > 0) & (alpha < 255)).any()
    np.testing.assert_allclose(rgba[..., 0], alpha * 200 / 255, atol=1)
    np.testing.assert_allclose(rgba[..., 1], alpha * 40 / 255, atol=1)


def test_positive_azimuth_moves_the_camera_towards_plus_x() -> None:
    """A dot at the front (+Z) appears left of the centre from azimuth 45, and hides behind the card from 180."""
    card = torch.tensor([[-0.5, -0.5, 0.0], [0.5, -0.5, 0.0], [0.5, 0.5, 0.0], [-0.5, 0.5, 0.0]])
    dot = torch.tensor([[-0.05, -0.05, 0.3], [0.05, -0.05, 0.3], [0.0, 0.05, 0.3]])
    colours = torch.tensor([[0.0, 0.0, 1.0]] * 4 + [[1.0, 0.0, 0.0]] * 3)
    faces = torch.tensor([[0, 1, 2], [0, 2, 3], [4, 5, 6]])
    mesh = Mesh(torch.cat([card, dot]), faces, vertex_colors=colours)
    red = render_views(mesh, np.array([0.0, 45.0, 180.0]), np.zeros(3), size=48)[..., 0].astype(float)
    columns = (red.sum(axis=1) * np.arange(48)).sum(axis=1) / np.maximum(red.sum(axis=(1, 2)), 1)
    assert columns[0] == pytest.approx(23.5, abs=0.5) and 0 < columns[1] < 20
    assert red[2].sum() == 0


def test_a_mesh_without_colours_is_refused() -> None:
    with pytest.raises(ValueError, match="colours"):
        render_views(objects().mesh(0).with_(vertex_colors=None), np.zeros(1), np.zeros(1))


def test_directions_are_stratified_and_in_range() -> None:
    azimuth, elevation = sample_directions(240, np.random.default_rng(0))
    np.testing.assert_array_equal(np.floor(azimuth / 1.5), np.arange(240))
    assert elevation.min() >= -20 and elevation.max() <= 60
    assert 0.8 < ((elevation > -10) & (elevation < 40)).mean() < 1


def test_shards_resume_to_the_same_bytes(tmp_path: Path) -> None:
    whole = render_shards(objects(), range(5), tmp_path / "a", 3, size=16, shard_objects=2)
    assert [path.name for path in whole] == ["shard_0000.npz", "shard_0001.npz", "shard_0002.npz"]
    render_shards(objects(), range(5), tmp_path / "b", 3, size=16, shard_objects=2)
    (tmp_path / "b" / "shard_0001.npz").unlink()
    kept = (tmp_path / "b" / "shard_0000.npz").stat().st_mtime_ns
    calls: list[tuple[int, int]] = []
    again = render_shards(
        objects(), range(5), tmp_path / "b", 3, size=16, shard_objects=2, on_shard=lambda *c: calls.append(c)
    )
    assert calls == [(1, 3), (2, 3), (3, 3)] and again[0].stat().st_mtime_ns == kept
    assert not list(tmp_path.rglob("*.part"))
    first, second = load_views(whole), load_views(again)
    assert first.rgba.shape == (5, 3, 16, 16, 4) and first.index.tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(first.rgba, second.rgba)


def test_an_objects_views_depend_on_its_index_and_the_seed_alone(tmp_path: Path) -> None:
    full = load_views(render_shards(objects(), [0, 1, 2, 3], tmp_path / "full", 4, size=16))
    part = load_views(render_shards(objects(), [3, 1], tmp_path / "part", 4, size=16))
    np.testing.assert_array_equal(part.rgba, full.rgba[[3, 1]])
    other = load_views(render_shards(objects(), [0], tmp_path / "other", 4, size=16, seed=1))
    assert (other.azimuth != full.azimuth[:1]).all()
    assert (full.azimuth[0] != full.azimuth[1]).all()


def test_shards_of_another_request_are_rendered_again(tmp_path: Path) -> None:
    render_shards(objects(), [0, 1], tmp_path, 2, size=16)
    views = load_views(render_shards(objects(), [2, 3], tmp_path, 2, size=16))
    assert views.index.tolist() == [2, 3]


def test_a_broken_shard_is_named(tmp_path: Path) -> None:
    (path,) = render_shards(objects(), [0], tmp_path, 2, size=16)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="shard_0000"):
        load_views([path])


def test_varied_objects_are_moved_a_little_and_half_of_them_lit(tmp_path: Path) -> None:
    """What a varied shard shows differs from the plain one in place, size and light, and is told apart when resumed."""
    plain, other = (tmp_path / name for name in ("plain", "varied"))
    (path,) = render_shards(objects(), np.arange(5), plain, 3, size=24)
    (moved,) = render_shards(objects(), np.arange(5), other, 3, size=24, varied=True)
    before, after = load_views([path]), load_views([moved])
    assert not np.array_equal(before.azimuth, after.azimuth)
    assert np.array_equal(before.caption, after.caption) and np.array_equal(before.index, after.index)
    stamp = moved.stat().st_mtime_ns
    assert render_shards(objects(), np.arange(5), other, 3, size=24, varied=True)[0].stat().st_mtime_ns == stamp


def test_a_misplaced_mesh_keeps_its_shape() -> None:
    mesh = objects().mesh(0)
    for seed in range(20):
        moved = misplaced(mesh, np.random.default_rng(seed))
        sides = [(m.vertices[1:] - m.vertices[:1]).norm(dim=1) for m in (mesh, moved)]
        scale = sides[1] / sides[0]
        assert torch.allclose(scale, scale[:1].expand(3), atol=1e-5) and 0.8 < float(scale[0]) < 1.2
        assert float((moved.vertices - mesh.vertices * scale[0]).abs().max()) < 0.1


def test_soft_light_shades_each_face_alike_and_never_turns_it_black() -> None:
    mesh, shaded = objects().mesh(0), 0
    for seed in range(20):
        lit = softly_lit(mesh, np.random.default_rng(seed))
        if lit is mesh:
            continue
        shaded += 1
        assert mesh.vertex_colors is not None and lit.vertex_colors is not None
        assert torch.equal(lit.vertices[lit.faces], mesh.vertices[mesh.faces])
        corners = lit.vertex_colors.reshape(-1, 3, 3)
        assert torch.equal(corners, corners[:, :1].expand_as(corners))
        assert float(corners[..., 0].min()) > 0.2 * 200 / 255
        assert len(torch.unique(corners[:, 0], dim=0)) > 1
    assert 4 < shaded < 16
