import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from gaussmith.surface import marching, simplify, validity


def report(vertices: np.ndarray, faces: np.ndarray) -> validity.MeshReport:
    return validity.check(validity.to_mesh(vertices, faces))


def test_box_keeps_its_corners() -> None:
    box = trimesh.creation.box().subdivide().subdivide().subdivide()
    vertices, faces = simplify.decimate(np.array(box.vertices), np.array(box.faces), 40)
    found = report(vertices, faces)
    assert found.faces == 40 and found.valid
    assert found.volume == pytest.approx(1.0, abs=2e-3)


def test_sphere_stays_round() -> None:
    ball = trimesh.creation.icosphere(5)
    vertices, faces = simplify.decimate(np.array(ball.vertices), np.array(ball.faces), 2000)
    found = report(vertices, faces)
    assert found.faces <= 2000 and found.valid and found.genus == 0
    np.testing.assert_allclose(np.linalg.norm(vertices[np.unique(faces)], axis=1), 1, atol=5e-3)
    assert found.volume == pytest.approx(ball.volume, rel=3e-3)


@pytest.mark.parametrize("scale", [1e-5, 1e5])
def test_unit_and_place_do_not_matter(scale: float) -> None:
    torus = trimesh.creation.torus(1, 0.3)
    small = simplify.decimate(np.array(torus.vertices), np.array(torus.faces), 300)
    other = simplify.decimate(scale * (np.array(torus.vertices) + 3), np.array(torus.faces), 300)
    found = report(scale * small[0], small[1])
    assert found.genus == 1 and found.valid and found.faces <= 300
    assert report(*other).volume == pytest.approx(found.volume, rel=1e-2)


def test_input_is_left_alone_and_small_meshes_pass() -> None:
    ball = trimesh.creation.icosphere(2)
    before = np.array(ball.vertices)
    vertices, faces = simplify.decimate(before, np.array(ball.faces), 10_000)
    np.testing.assert_array_equal(vertices, ball.vertices)
    simplify.decimate(before, faces, 20)
    np.testing.assert_array_equal(before, ball.vertices)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.floats(0, 1.5), st.floats(0.02, 0.8))
def test_topology_never_changes(seed: int, blur: float, share: float) -> None:
    values = ndimage.gaussian_filter(np.random.default_rng(seed).random((12, 12, 12)), blur).astype(np.float32)
    iso = float(np.quantile(values, 0.6))
    vertices, faces = marching.march_tetrahedra(marching.clean(values, iso, 0.0), iso)
    before = report(vertices, faces)
    after = report(*simplify.decimate(vertices, faces, int(share * len(faces))))
    assert after.manifold and after.watertight and not after.degenerate
    # In white noise a part may be one cell thick and turn inside out: its volume is no property of its topology.
    assert after.oriented or blur < 0.5
    assert (after.components, after.genus) == (before.components, before.genus)
    assert after.faces < before.faces


def test_projection_lands_on_the_level_set() -> None:
    index = np.stack(np.meshgrid(*[np.arange(20.0)] * 3, indexing="ij"), axis=-1) - 9.5
    square = np.square(index).sum(axis=-1)
    values = marching.clean(np.exp(-square / 50).astype(np.float32), 0.5, 0.2)
    vertices, faces = marching.march_cubes(values, 0.5)
    vertices = vertices - 10.5

    def query(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value = np.exp(-np.square(points).sum(axis=1) / 50)
        return value, -points * value[:, None] / 25

    radius = np.sqrt(50 * np.log(2))
    moved = simplify.project(vertices, faces, query, 0.5, max_step=0.7)
    error = np.abs(np.linalg.norm(moved, axis=1) - radius).max()
    assert error < 1e-3 < np.abs(np.linalg.norm(vertices, axis=1) - radius).max()
    assert np.linalg.norm(moved - vertices, axis=1).max() <= 0.7 + 1e-9
    assert report(moved, faces).valid
    # Evened out: the smallest angle-free measure, the shortest edge, grows.
    edges = simplify._unique_edges(faces)
    shortest = [np.linalg.norm(v[edges[:, 0]] - v[edges[:, 1]], axis=1).min() for v in (vertices, moved)]
    assert shortest[1] > shortest[0]


def test_smoothing_takes_off_stairs_without_shrinking() -> None:
    index = np.stack(np.meshgrid(*[np.arange(30.0)] * 3, indexing="ij"), axis=-1) - 14.5
    hard = (np.linalg.norm(index, axis=-1) < 11).astype(np.float32)
    vertices, faces = marching.march_cubes(marching.clean(hard, 0.5, 0.2), 0.5)
    smooth = simplify.smooth(vertices, faces)
    spread = [np.linalg.norm(v - 15.5, axis=1).std() for v in (vertices, smooth)]
    assert spread[1] < 0.7 * spread[0]
    assert report(smooth, faces).volume == pytest.approx(report(vertices, faces).volume, rel=0.02)
