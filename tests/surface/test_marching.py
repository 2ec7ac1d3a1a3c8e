import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from gaussmith.surface import marching, validity


def ball(shape: tuple[int, int, int], centre: tuple[float, float, float], radius: float) -> np.ndarray:
    """1 + radius - distance: level 1 is the sphere."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    return np.maximum(1 + radius - np.linalg.norm(index - np.array(centre), axis=-1), 0).astype(np.float32)


def report(vertices: np.ndarray, faces: np.ndarray) -> validity.MeshReport:
    return validity.check(validity.to_mesh(vertices, faces))


MARCHES = [marching.march_cubes, marching.march_tetrahedra]


@pytest.mark.parametrize("march", MARCHES)
def test_ball(march) -> None:
    values = marching.clean(ball((24, 25, 26), (11, 12, 13), 8.0), 1.0, 0.2)
    vertices, faces = march(values, 1.0)
    radius = np.linalg.norm(vertices - 1 - np.array([11, 12, 13]), axis=1)
    np.testing.assert_allclose(radius, 8.0, atol=0.1)
    found = report(vertices, faces)
    assert found.valid and found.components == 1 and found.genus == 0
    assert found.volume == pytest.approx(4 / 3 * np.pi * 8**3, rel=0.02)


def test_voids_are_filled_and_islands_in_them_too() -> None:
    shape, centre = (30, 30, 30), (14.5, 14.5, 14.5)
    shell = (ball(shape, centre, 12) > 1) & ~(ball(shape, centre, 9) > 1) | (ball(shape, centre, 3) > 1)
    np.testing.assert_array_equal(marching.solid(shell), ball(shape, centre, 12) > 1)


def test_seal_fills_leaking_rooms_but_keeps_open_hollows() -> None:
    room = np.zeros((30, 30, 30), bool)
    room[4:26, 4:26, 4:26] = True
    room[7:23, 7:23, 7:23] = False
    leak = room.copy()
    leak[14:17, 14:17, 20:] = False  # a keyhole three nodes wide
    cup = room.copy()
    cup[7:23, 7:23, 20:] = False  # an open top
    assert not marching.solid(leak)[14, 14, 14]
    sealed = marching.solid(leak, seal=2)
    assert sealed[14, 14, 14] and sealed[7:23, 7:23, 7:23].all()
    np.testing.assert_array_equal(marching.solid(cup, seal=2), cup)


def test_small_parts_go_and_the_largest_stays() -> None:
    mask = np.zeros((40, 20, 20), bool)
    mask[2:20, 2:18, 2:18] = True
    mask[30:32, 2:4, 2:4] = True
    assert marching.large_parts(mask, 0.2)[:25].sum() == mask[:25].sum()
    assert not marching.large_parts(mask, 0.2)[25:].any()
    np.testing.assert_array_equal(marching.large_parts(mask, 0.0), mask)
    assert marching.large_parts(mask[25:], 1.0).any()


@pytest.mark.parametrize("march", MARCHES)
def test_checkerboard(march) -> None:
    board = np.indices((7, 7, 7)).sum(axis=0) % 2
    found = report(*march(marching.clean(board.astype(np.float32), 0.5, 0.0), 0.5))
    assert found.valid


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.05, 0.9), st.floats(0, 1.2), st.sampled_from([0, 1]))
def test_any_grid_gives_a_valid_surface(seed: int, share: float, blur: float, seal: int) -> None:
    rng = np.random.default_rng(seed)
    values = ndimage.gaussian_filter((rng.random((9, 8, 7)) < share) * rng.random((9, 8, 7)), blur).astype(np.float32)
    iso = max(float(np.quantile(values, 0.5)), 1e-3)
    if not (values > iso).any():
        return
    for march in MARCHES:
        found = report(*march(marching.clean(values, iso, 0.0, seal), iso))
        # Marching cubes may pinch a vertex in principle; then extraction falls back to tetrahedra.
        assert found.valid or march is marching.march_cubes
