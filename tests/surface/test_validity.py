import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from gaussmith.events import UserError
from gaussmith.mesh import Mesh
from gaussmith.surface import validity


def mesh(*parts: trimesh.Trimesh, merge: bool = False) -> Mesh:
    joined = trimesh.util.concatenate(list(parts))
    if merge:
        joined.merge_vertices()
    return raw(joined.vertices, joined.faces)


def raw(vertices, faces) -> Mesh:
    return Mesh(torch.tensor(np.array(vertices), dtype=torch.float32), torch.tensor(np.array(faces), dtype=torch.int64))


def box(*shift: float) -> trimesh.Trimesh:
    return trimesh.creation.box(transform=trimesh.transformations.translation_matrix(shift or (0, 0, 0)))


def moebius(n: int = 30) -> Mesh:
    turn = 2 * np.pi * np.arange(n) / n
    sides = [(1 + w * np.cos(turn / 2)) for w in (-0.3, 0.3)]
    rows = [[r * np.cos(turn), r * np.sin(turn), w * np.sin(turn / 2)] for r, w in zip(sides, (-0.3, 0.3))]
    vertices = np.stack(rows).transpose(2, 0, 1).reshape(-1, 3)
    faces = []
    for k in range(n):
        a, b = 2 * k, 2 * k + 1
        c, d = (2 * k + 2, 2 * k + 3) if k < n - 1 else (1, 0)
        faces += [[a, b, c], [b, d, c]]
    return raw(vertices, faces)


@pytest.mark.parametrize(
    ("shape", "genus", "components"),
    [
        (trimesh.creation.icosphere(2), 0, 1),
        (trimesh.creation.torus(1, 0.3, 16, 12), 1, 1),
        (trimesh.util.concatenate([trimesh.creation.torus(1, 0.3, 16, 12), box(5, 0, 0)]), 1, 2),
        (trimesh.creation.annulus(0.4, 1, 1), 1, 1),
    ],
)
def test_report_agrees_with_trimesh(shape: trimesh.Trimesh, genus: int, components: int) -> None:
    found = validity.check(mesh(shape))
    assert found.valid and found.watertight == shape.is_watertight and found.oriented == shape.is_winding_consistent
    assert found.components == components == shape.body_count
    assert found.genus == genus == components - shape.euler_number // 2
    assert found.volume == pytest.approx(shape.volume, rel=1e-4)
    assert found.to_dict()["faces"] == len(shape.faces)
    assert validity.make_valid(mesh(shape)).vertices.shape == (found.vertices, 3)


def test_unused_vertices_do_not_count() -> None:
    cube = box()
    found = validity.check(raw(np.concatenate([cube.vertices, [[9, 9, 9]]]), cube.faces))
    assert found.valid and found.vertices == 8


def test_what_is_wrong_is_seen() -> None:
    cube = box()
    flipped = cube.faces.copy()
    flipped[0] = flipped[0, ::-1]
    hollow = trimesh.creation.icosphere(2, 0.2)
    hollow.invert()
    cases = {
        "open": raw(cube.vertices, cube.faces[1:]),
        "flipped face": raw(cube.vertices, flipped),
        "inside out": raw(cube.vertices, cube.faces[:, ::-1]),
        "corner": mesh(box(), box(1, 1, 1), merge=True),
        "edge": mesh(box(), box(1, 1, 0), merge=True),
        "hollow": mesh(cube, hollow),
        "island inside": mesh(cube, trimesh.creation.icosphere(2, 0.2)),
        "doubled face": raw(cube.vertices, np.concatenate([cube.faces, cube.faces[:1], cube.faces[:1]])),
        "one-sided": moebius(),
        "empty": Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64)),
    }
    found = {name: validity.check(m) for name, m in cases.items()}
    assert not any(report.valid for report in found.values())
    assert not found["open"].watertight and found["flipped face"].watertight
    assert not found["flipped face"].oriented and not found["inside out"].oriented
    assert found["corner"].watertight and not found["corner"].manifold and not found["edge"].manifold
    assert found["hollow"].inner_shells == 1 and found["island inside"].inner_shells == 1
    assert found["doubled face"].degenerate == 2
    assert not found["one-sided"].oriented
    for name, m in cases.items():
        if name != "empty":
            assert validity.check(validity.make_valid(m, resolution=24)).valid, name


def test_repair_moves_nothing_where_it_need_not() -> None:
    cube = box()
    alternating = cube.faces.copy()
    alternating[::2] = alternating[::2, ::-1]
    for broken in (
        raw(cube.vertices, alternating),
        raw(cube.vertices[cube.faces].reshape(-1, 3), np.arange(36).reshape(-1, 3)),
    ):
        mended = validity.check(validity.make_valid(broken))
        assert (mended.faces, mended.vertices, mended.genus) == (12, 8, 0)
        assert mended.volume == pytest.approx(1)
    split = validity.check(validity.make_valid(mesh(box(), box(1, 1, 1), merge=True)))
    assert (split.components, split.vertices) == (2, 16)


def test_a_hole_is_closed_by_voxels_near_the_surface() -> None:
    ball = trimesh.creation.icosphere(3)
    mended = validity.make_valid(raw(ball.vertices, ball.faces[3:]), resolution=48)
    radius = mended.vertices.norm(dim=1)
    assert radius.max() < 1.08
    assert validity.check(mended).valid


def test_nothing_to_mend() -> None:
    with pytest.raises(UserError, match="no face"):
        validity.make_valid(raw([[0, 0, 0], [1, 0, 0], [2, 0, 0]], [[0, 1, 2]]))


def test_fast_manifold_test_agrees_with_the_report() -> None:
    for shape in (mesh(box()), mesh(box(), box(1, 1, 1), merge=True), mesh(box(), box(1, 1, 0), merge=True), moebius()):
        _, faces = validity.arrays(shape)
        found = validity.check(shape)
        assert validity.is_closed_manifold(faces) == (found.manifold and found.oriented)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(4, 12), st.integers(1, 30))
def test_any_triangles_become_a_solid(seed: int, vertices: int, faces: int) -> None:
    rng = np.random.default_rng(seed)
    soup = raw(rng.normal(size=(vertices, 3)), rng.integers(0, vertices, (faces, 3)))
    try:
        mended = validity.make_valid(soup, resolution=16)
    except UserError:
        assert not validity.arrays(soup)[1].size or validity.degenerate(*validity.arrays(soup)).all()
        return
    assert validity.check(mended).valid
