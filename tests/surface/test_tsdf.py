"""Depth maps fused to surfaces: where the truth is known, and where nothing was seen."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from gaussmith.camera import Camera, concat, intrinsics, look_at, orbit
from gaussmith.events import UserError
from gaussmith.gaussians import Gaussians
from gaussmith.mesh import Mesh
from gaussmith.render.splat import rasterize
from gaussmith.rotation import matrix_to_quat
from gaussmith.surface import borders, check, density_query, tsdf
from gaussmith.surface.depth import depth_maps
from gaussmith.surface.tsdf import extract_tsdf


def discs(means: torch.Tensor, normals: torch.Tensor, size: float) -> Gaussians:
    """Opaque flat Gaussians that lie on a surface."""
    normals = torch.nn.functional.normalize(normals.float(), dim=1)
    side = torch.linalg.cross(normals, torch.tensor([0.31, 0.83, 0.47]).expand_as(normals))
    side = torch.nn.functional.normalize(side, dim=1)
    frame = torch.stack([side, torch.linalg.cross(normals, side), normals], dim=-1)
    n = len(means)
    return Gaussians(
        means.float(),
        torch.tensor([size, size, 0.03 * size]).log().repeat(n, 1),
        matrix_to_quat(frame),
        torch.full((n,), 3.0),
        torch.zeros(n, 1, 3),
    )


def sphere(count: int = 3000, radius: float = 0.5) -> Gaussians:
    i = torch.arange(count, dtype=torch.float64)
    z, turn = 1 - (2 * i + 1) / count, i * 2.399963229728653
    flat = (1 - z * z).sqrt()
    normals = torch.stack([flat * turn.cos(), flat * turn.sin(), z], dim=1)
    return discs(radius * normals, normals, 3.4 * radius / math.sqrt(count))


def wall(count: int = 40) -> Gaussians:
    """The square |x|, |y| < 0.5 at z = 0."""
    line = (torch.arange(count) + 0.5) / count - 0.5
    x, y = torch.meshgrid(line, line, indexing="ij")
    means = torch.stack([x, y, torch.zeros_like(x)], dim=-1).reshape(-1, 3)
    return discs(means, torch.tensor([0.0, 0, 1]).expand_as(means), 0.8 / count)


def cell(mesh: Mesh, resolution: int) -> float:
    return float((mesh.bounds[1] - mesh.bounds[0]).max()) / resolution


def test_a_sphere_comes_out_within_a_voxel_and_closed() -> None:
    mesh = extract_tsdf(sphere(), resolution=64)
    radius = mesh.vertices.norm(dim=1)
    # The discs touch the sphere from outside: a disc of 0.015 stands off by 0.0009 at twice its size.
    assert float((radius - 0.5).abs().max()) < cell(mesh, 64)
    assert float((radius - 0.5).abs().mean()) < 0.35 * cell(mesh, 64)
    report = check(mesh)
    assert report.valid and report.components == 1 and report.genus == 0
    facing = (mesh.vertex_normals() * mesh.vertices).sum(dim=1) / radius
    assert float(facing.min()) > 0.9


def test_a_tilted_wall_stays_flat_and_what_nobody_saw_stays_empty() -> None:
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(5)))[0]
    turn = turn * torch.linalg.det(turn)
    shift = torch.tensor([0.2, -0.1, 0.3])
    splat = wall().transform(turn, shift)
    ring = orbit(torch.tensor([-40.0, 0, 40, 0, 0]), torch.tensor([0.0, 0, 0, 35, -35]), width=96)
    c2w = ring.c2w.clone()
    c2w[:, :3, :3] = turn @ c2w[:, :3, :3]
    c2w[:, :3, 3] = c2w[:, :3, 3] @ turn.T + shift
    mesh = extract_tsdf(splat, replace(ring, c2w=c2w), resolution=48)
    flat = (mesh.vertices - shift) @ turn
    assert float(flat[:, 2].abs().max()) < 0.5 * cell(mesh, 48)
    assert float(flat[:, :2].abs().max()) < 0.5 + 3 * cell(mesh, 48)
    assert float(flat[:, :2].abs().amax(dim=0).min()) > 0.45
    # One sheet, seen from one side only: open, and facing the cameras.
    report = check(mesh)
    assert not report.watertight and report.components == 1
    assert float((mesh.face_normals() @ turn)[:, 2].min()) > 0.7
    assert float(triangle_areas(mesh).sum()) == pytest.approx(1, abs=0.12)


def triangle_areas(mesh: Mesh) -> torch.Tensor:
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    return torch.linalg.cross(b - a, c - a).norm(dim=1) / 2


def test_the_back_of_a_sphere_is_missing_where_no_camera_went() -> None:
    front = orbit(torch.tensor([-30.0, 0, 30, 0, 0]), torch.tensor([0.0, 0, 0, 30, -30]), width=96)
    mesh = extract_tsdf(sphere(1500), front, resolution=40)
    assert float(mesh.vertices[:, 2].min()) > -0.35 and float(mesh.vertices[:, 2].max()) > 0.48
    assert float((mesh.vertices.norm(dim=1) - 0.5).abs().max()) < 1.5 * cell(mesh, 40)
    assert not check(mesh).watertight


def room() -> tuple[Gaussians, Camera]:
    """Five inner sides of a box of side 2 (no roof), and cameras in it that look outwards."""
    side = wall(36).transform(torch.eye(3), torch.zeros(3), 2.0)
    turns = [torch.eye(3), *(torch.tensor(m, dtype=torch.float32) for m in (
        [[0, 0, 1], [0, 1, 0], [-1, 0, 0]], [[-1, 0, 0], [0, 1, 0], [0, 0, -1]],
        [[0, 0, -1], [0, 1, 0], [1, 0, 0]], [[1, 0, 0], [0, 0, 1], [0, -1, 0]],
    ))]  # fmt: skip
    parts = [side.transform(turn, turn @ torch.tensor([0.0, 0, -1])) for turn in turns]
    splat = Gaussians(**{k: torch.cat([p.tensors()[k] for p in parts]) for k in parts[0].tensors()})
    angle = torch.arange(8) * math.pi / 4
    target = torch.stack([angle.sin(), torch.full_like(angle, -0.4), angle.cos()], dim=1)
    eye = -0.4 * target * torch.tensor([1.0, 0, 1.0])
    return splat, Camera(look_at(eye, target), intrinsics(80.0, 80, 80).expand(8, 3, 3), 80, 80)


def test_a_room_is_meshed_from_within() -> None:
    splat, cameras = room()
    mesh = extract_tsdf(splat, cameras, resolution=64)
    reach = mesh.vertices.abs().amax(dim=1)
    assert float((reach - 1).abs().quantile(0.99)) < cell(mesh, 64)
    centres = mesh.vertices[mesh.faces].mean(dim=1)
    middle = centres.abs().sort(dim=1).values[:, 1] < 0.8  # away from the edges of the room
    inwards = -(mesh.face_normals() * centres)[middle].sum(dim=1)
    assert float(inwards.quantile(0.01)) > 0.6
    assert not check(mesh).watertight and float(mesh.vertices[:, 1].max()) < 1.01


def test_planes_beat_the_depths_of_centres_on_a_slope() -> None:
    splat = wall(10)  # large discs
    camera = orbit(60.0, 0.0, width=64)
    depth, _ = depth_maps(splat, camera, far=9.0)
    origin, rays = camera.rays()
    truth = (-origin[0, 2] / rays[0, ..., 2]).numpy()  # the plane z = 0
    inside = np.abs((origin[0] + rays[0] * torch.from_numpy(truth)[..., None])[..., :2].numpy()).max(axis=-1) < 0.4
    centres = rasterize(splat, camera).depth[0, ..., 0].numpy()
    assert (depth[0][inside] > 0).all()
    ours, theirs = (np.abs(d[inside] - truth[inside]).mean() for d in (depth[0], centres))
    assert ours < 0.004 and ours < 0.3 * theirs


def test_depth_tells_free_from_unknown_and_mixed_from_plain() -> None:
    two = wall().transform(torch.eye(3), torch.tensor([0.3, 0, 0]))
    veil = replace(wall(), opacity_logits=torch.full((1600,), -0.8)).transform(
        torch.eye(3), torch.tensor([0.3, 0, 0.6])
    )
    both = Gaussians(**{k: torch.cat([a, veil.tensors()[k]]) for k, a in two.tensors().items()})
    camera = orbit(0.0, 0.0, width=64)
    depth, spread = depth_maps(both, camera, far=9.0)
    assert depth[0, 32, 2] < -1e6  # beside the wall: free to infinity
    assert spread[0, 32, 40] > 0.1  # a veil before a wall
    plain, thin = depth_maps(two, camera, far=9.0)
    assert thin[0, 32, 40] < 0.02 and plain[0, 32, 40] == pytest.approx(2.0, abs=0.01)
    beyond, _ = depth_maps(two, camera, far=1.5)
    assert beyond[0, 32, 40] == pytest.approx(-0.95 * 1.5)


def test_the_result_does_not_depend_on_threads_and_leaves_the_input(monkeypatch: pytest.MonkeyPatch) -> None:
    splat = sphere(800)
    before = splat.map(torch.clone)
    first = extract_tsdf(splat, resolution=24)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    second = extract_tsdf(splat, resolution=24)
    assert torch.equal(first.vertices, second.vertices) and torch.equal(first.faces, second.faces)
    assert all(torch.equal(a, b) for a, b in zip(before.tensors().values(), splat.tensors().values()))


def test_a_fused_plane_is_the_mean_of_what_views_say() -> None:
    # Two maps of a plane in front of one camera, 1 % apart, trusted three to one.
    camera = Camera(torch.eye(4)[None], intrinsics(60.0, 32, 32), 32, 32)
    grid = density_query.Grid(np.array([-0.2, -0.2, 0.9]), 0.01, (41, 41, 21))
    depth = np.stack([np.full((32, 32), 1.0, np.float32), np.full((32, 32), 1.01, np.float32)])
    trust = np.stack([np.full((32, 32), 3.0, np.float32), np.full((32, 32), 1.0, np.float32)])
    volume = tsdf.fuse(depth, trust, concat([camera, camera]), grid, 0.04)
    vertices, faces = tsdf.level_set(volume)
    assert len(faces) and np.allclose(grid.to_world(vertices)[:, 2], 1.0025, atol=1e-4)


def test_faces_are_bounded_and_the_border_stays() -> None:
    ring = orbit(torch.tensor([-30.0, 0, 30]), 0.0, width=96)
    fine = extract_tsdf(wall(), ring, resolution=48)
    coarse = extract_tsdf(wall(), ring, resolution=48, max_faces=300)
    assert len(fine.faces) > 2000 and 50 < len(coarse.faces) <= 300
    assert float(triangle_areas(coarse).sum()) == pytest.approx(float(triangle_areas(fine).sum()), rel=0.02)
    assert float(coarse.vertices[:, 2].abs().max()) < cell(fine, 48)


def test_open_grids_keep_their_holes_when_decimated() -> None:
    n = 24
    place = np.stack([*np.meshgrid(np.arange(n), np.arange(n), indexing="ij"), np.zeros((n, n))], axis=-1)
    node = np.arange(n * n).reshape(n, n)
    a, b, c, d = node[:-1, :-1], node[1:, :-1], node[1:, 1:], node[:-1, 1:]
    hole = np.zeros((n - 1, n - 1), bool)
    hole[8:12, 8:14] = True
    faces = np.concatenate([np.stack([a, b, c], -1)[~hole], np.stack([a, c, d], -1)[~hole]])
    vertices, left = borders.decimate(place.reshape(-1, 3).astype(float), faces, 120)
    assert len(left) <= 120
    x, y = (vertices[left][..., i] for i in range(2))
    area = ((x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])) / 2
    assert area.min() > 0 and area.sum() == pytest.approx(23 * 23 - 24, rel=0.03)
    edges = borders.border_edges(left)
    assert len(np.unique(edges)) == len(edges)  # loops


def test_strips_between_holes_are_not_pinched() -> None:
    n = 24
    generator = np.random.default_rng(0)
    place = np.stack([*np.meshgrid(np.arange(n), np.arange(n), indexing="ij"), generator.random((n, n))], axis=-1)
    node = np.arange(n * n).reshape(n, n)
    a, b, c, d = node[:-1, :-1], node[1:, :-1], node[1:, 1:], node[:-1, 1:]
    hole = np.zeros((n - 1, n - 1), bool)
    hole[1::2, 1::2] = True  # a lattice of bars, one square wide
    faces = np.concatenate([np.stack([a, b, c], -1)[~hole], np.stack([a, c, d], -1)[~hole]])
    vertices, faces = borders.separate(place.reshape(-1, 3), faces)
    _, left = borders.decimate(vertices, faces, 500)
    assert len(left) < 0.8 * len(faces)
    edges = borders.border_edges(left)
    assert len(np.unique(edges[:, 0])) == len(edges)  # loops that meet nowhere


def test_pinched_vertices_are_separated() -> None:
    faces = np.array([[0, 1, 2], [0, 3, 4]])
    vertices, apart = borders.separate(np.eye(5, 3), faces)
    assert len(np.unique(apart)) == 6 and np.array_equal(vertices[apart], np.eye(5, 3)[faces])


def test_what_cannot_be_done_is_said() -> None:
    away = orbit(0.0, 0.0, width=32)
    away = replace(away, c2w=away.c2w @ torch.diag(torch.tensor([1.0, -1, -1, 1])))  # turned around
    with pytest.raises(UserError, match="another scene"):
        extract_tsdf(sphere(300), away)
    ghost = replace(sphere(300), opacity_logits=torch.full((300,), -2.5))
    with pytest.raises(UserError, match="no surface"):
        extract_tsdf(ghost, orbit(0.0, 0.0, width=32), resolution=16)
    for wrong in ({"resolution": 8}, {"max_faces": 2}, {"min_component": 2.0}):
        with pytest.raises(ValueError, match="needs"):
            extract_tsdf(sphere(300), **wrong)
