from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import euler_number

from gaussmith.camera import orbit
from gaussmith.gaussians import Gaussians
from gaussmith.surface import check, extract_mesh
from gaussmith.surface.closing import closed

Bool = NDArray[np.bool_]
I64 = NDArray[np.int64]


def nowhere(nodes: I64) -> Bool:
    return np.zeros(len(nodes), bool)


def box(size: int = 24) -> Bool:
    return np.pad(np.ones((size,) * 3, bool), 2)


def drilled(width: int, length: int | None = None) -> Bool:
    """A box with a straight hole along z, `width` by `length` nodes."""
    body = box()
    body[12 : 12 + width, 8 : 8 + (length or width)] = False
    return body


def genus(body: Bool) -> int:
    """Of a body without voids."""
    return int(ndimage.label(body, np.ones((3, 3, 3)))[1] - euler_number(np.pad(body, 1), 3))


def box_with_pit(depth: int) -> Bool:
    body = box()
    body[12:15, 8:11, -2 - depth :] = False
    return body


def torus() -> Bool:
    x, y, z = np.mgrid[-12:13, -12:13, -6:7]
    return (np.hypot(x, y) - 8) ** 2 + z**2 < 3.5**2


def fence() -> Bool:
    """Slats two nodes thick, three apart, between two rails; the gaps are 14 long."""
    body = np.zeros((30, 24, 10), bool)
    body[2:28, 2:5, 4:7] = body[2:28, 19:22, 4:7] = True
    for left in range(2, 28, 5):
        body[left : left + 2, 2:22, 4:6] = True
    return body


@pytest.mark.parametrize(("width", "length"), [(1, 1), (2, 2), (3, 3), (1, 6), (3, 7)])
def test_a_narrow_tunnel_is_closed(width: int, length: int) -> None:
    body = drilled(width, length)
    assert genus(body) == 1
    filled = closed(body, nowhere)
    assert genus(filled) == 0
    assert filled[4:-4, 4:-4, 4:-4].all() and not (filled & ~box()).any()


@pytest.mark.parametrize("body", [drilled(6), drilled(3, 16), torus(), fence(), box()])
def test_holes_and_gaps_stay(body: Bool) -> None:
    assert np.array_equal(closed(body, nowhere), body)


def test_a_hole_that_a_picture_sees_through_stays() -> None:
    body = drilled(2)
    through: Callable[[I64], Bool] = lambda nodes: (nodes[:, :2] == [12, 8]).all(axis=1)  # noqa: E731
    assert np.array_equal(closed(body, through), body)
    beside: Callable[[I64], Bool] = lambda nodes: nodes[:, 0] < 12  # noqa: E731
    assert genus(closed(body, beside)) == 0


def test_pits_and_caves_are_filled_but_no_dents() -> None:
    assert closed(box_with_pit(8), nowhere)[12:15, 8:11, -10:-4].all()
    assert np.array_equal(closed(box_with_pit(1), nowhere), box_with_pit(1))
    cave = box_with_pit(8)
    cave[8:18, 6:16, 8:18] = False
    assert closed(cave, nowhere)[2:-2, 2:-2, 2:-5].all()


@pytest.mark.parametrize("normal", [(1, 0, 0), (1, 1, 0), (2, 1, 0), (1, 0.4, 0.3), (0.7, 1, 0.5)])
def test_grooves_and_corners_stay_open(normal: tuple[float, float, float]) -> None:
    """A groove three nodes wide, and the corner of two blocks, however they are turned."""
    x = np.stack(np.mgrid[-15:16, -15:16, -15:16], axis=-1) @ (np.array(normal) / np.linalg.norm(normal))
    z = np.mgrid[-15:16, -15:16, -15:16][2]
    ball = sum(np.mgrid[-15:16, -15:16, -15:16] ** 2) < 12**2
    groove, corner = ball & ~((np.abs(x) < 1.5) & (z > 2)), ball & ((x < 0) | (z < 0))
    for body in (groove, corner):
        changed = closed(body, nowhere) & ~body
        assert changed.sum() < 0.02 * (ball & ~body).sum()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), share=st.sampled_from([0.2, 0.5, 0.8]), blur=st.sampled_from([0.0, 1.0, 2.0]))
def test_any_body_only_grows_and_never_gains_handles(seed: int, share: float, blur: float) -> None:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random((14, 15, 16)), blur)
    body = ndimage.binary_fill_holes(noise < np.quantile(noise, share))
    seen: Callable[[I64], Bool] = lambda nodes: nodes[:, 0] == 7  # noqa: E731
    filled = closed(body, seen)
    added = filled & ~body
    assert filled[body].all() and not added[7].any()
    every = np.ones((3, 3, 3))
    assert ndimage.label(filled, every)[1] == ndimage.label(body, every)[1]
    assert genus(filled) <= genus(body)


def block_with_tunnel() -> Gaussians:
    """Gaussians a unit/20 apart, a block of 0.8 with a straight hole of about 0.06 along z."""
    means = torch.cartesian_prod(*[torch.linspace(-0.4, 0.4, 17)] * 3)
    means = means[(means[:, 0].abs() > 0.06) | ((means[:, 1] - 0.1).abs() > 0.06)]
    n = len(means)
    return Gaussians(
        means=means,
        log_scales=torch.full((n, 3), 0.03).log(),
        quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(n, 1),
        opacity_logits=torch.full((n,), 2.0),
        sh=torch.zeros(n, 1, 3),
    )


def test_meshes_have_no_tunnels_but_those_that_are_seen() -> None:
    g, camera = block_with_tunnel(), orbit(0.0, 0.0, width=64)
    full = torch.zeros(1, 64, 64, 1)
    full[:, 16:48, 16:48] = 1
    pierced = full.clone()
    pierced[:, 25:32, 30:34] = 0
    for trusted, handles in (((), 0), (((camera, full),), 0), (((camera, pierced),), 1)):
        found = check(extract_mesh(g, resolution=40, threshold=0.6, trusted=trusted))
        assert found.valid and found.genus == handles
